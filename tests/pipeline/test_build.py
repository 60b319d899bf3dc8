"""The pipeline builds in order, admits only what agrees, and continues where it stopped.

The stages and the runtime here are stand-ins that copy a small file of weights, so that every fault can be planted and
counted; the real ones are run by tests/test_export.py.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ghostedge.data.golden import read_golden
from ghostedge.data.preprocess import preprocess_batch, to_spec
from ghostedge.errors import (
    ConvertError,
    GhostedgeError,
    ImageError,
    ManifestError,
    OutputError,
    ParityError,
    RecipeError,
    UsageError,
)
from ghostedge.files import locked, sha256_file
from ghostedge.manifest import FileRecord, Manifest
from ghostedge.model import InputSpec, Model, StageOutput
from ghostedge.pipeline import build as building
from ghostedge.pipeline import plan as planning
from ghostedge.pipeline import verify
from ghostedge.pipeline.build import Event, build
from ghostedge.pipeline.plan import ExportRequest, needs_calibration, plan
from ghostedge.pipeline.recipe import recipes
from ghostedge.pipeline.stages import QUANTISED
from ghostedge.runtimes.openvino import SATURATING, VNNI, OpenVinoRuntime, OtherCpu, int8_arithmetic, run_on_other_cpu
from tests.conftest import write_int8_ir

WEIGHTS = np.random.default_rng(0).standard_normal((3, 7)).astype(np.float32)


class TinyRuntime:
    """Logits are the mean colour times a matrix, which is what the model file holds."""

    float16_fault: ClassVar[Callable[[NDArray[Any]], NDArray[Any]]] = staticmethod(lambda weights: weights)

    def __init__(self, artifact: Model, threads: int = 1, *, float16: bool = False) -> None:
        self.artifact, self.input, self.info = artifact, artifact.input, {"name": "tiny", "version": "1"}
        self.weights = np.load(artifact.path, allow_pickle=False)
        if float16:
            with np.errstate(over="ignore"):
                self.weights = type(self).float16_fault(self.weights).astype(np.float16)

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        mean = batch.mean(axis=(2, 3) if self.input.layout == "NCHW" else (1, 2), dtype=np.float64)
        with np.errstate(invalid="ignore"):  # a planted infinity
            return (mean @ self.weights).astype(np.float32)

    def close(self) -> None: ...

    def __enter__(self) -> TinyRuntime:
        return self

    def __exit__(self, *args: object) -> None: ...


class TinyOtherCpu:
    """CPUs without VNNI compute as `TinyRuntime` does, but for `fault`."""

    fault: ClassVar[Callable[[NDArray[Any]], NDArray[Any]]] = staticmethod(lambda logits: logits)
    asked: ClassVar[list[str]] = []

    @classmethod
    def run(cls, artifact: Model, batch: NDArray[Any], threads: int) -> OtherCpu:
        cls.asked.append(artifact.path.name)
        return OtherCpu(VNNI, SATURATING, cls.fault(TinyRuntime(artifact).run(batch)))


#: What a real artifact says of itself; the stand-ins' files are too small to.
tiny_described: dict[str, Model] = {}


@dataclasses.dataclass
class TinyStage:
    """Copies the source's matrix; `fault` may change it or raise."""

    source: str
    target: str
    precisions: tuple[str, ...] = ("fp32", "fp16", "equalised")
    calibrated: ClassVar[tuple[str, ...]] = ()
    packages: tuple[str, ...] = ("numpy",)
    built: ClassVar[list[str]] = []
    faults: ClassVar[dict[str, Callable[[NDArray[Any]], NDArray[Any]]]] = {}

    def check(self, output: StageOutput) -> None: ...

    def prepare(self) -> None: ...

    def close(self) -> None: ...

    def build(self, source: Model, outputs: tuple[StageOutput, ...]) -> tuple[Model, ...]:
        made = []
        for output in outputs:
            weights = np.load(source.path, allow_pickle=False)
            if fault := self.faults.get(f"{self.target}_{output.precision}"):
                weights = fault(weights)
            artifact = output.model
            for path in artifact.files:
                with open(path, "wb") as file:
                    np.save(file, weights)
            tiny_described[output.path.name] = artifact
            self.built.append(output.path.name)
            made.append(artifact)
        return tuple(made)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> type[TinyStage]:
    sources = {"mindir": "checkpoint", "onnx": "mindir", "openvino": "onnx", "tflite": "onnx"}

    def make_stage(target: str, precision: str) -> TinyStage:
        if precision in QUANTISED:
            return TinyStage(target, target, QUANTISED)
        return TinyStage("onnx" if precision == "equalised" else sources[target], target)

    monkeypatch.setattr(planning, "make_stage", make_stage)
    monkeypatch.setattr(verify, "open_runtime", TinyRuntime)
    monkeypatch.setattr(building, "open_model", lambda path: tiny_described[path.name])
    monkeypatch.setattr(verify, "run_on_other_cpu", TinyOtherCpu.run)
    monkeypatch.setattr(TinyOtherCpu, "asked", [])
    monkeypatch.setattr(TinyStage, "built", [])
    monkeypatch.setattr(TinyStage, "faults", {})
    return TinyStage


@pytest.fixture
def request_(tmp_path: Path) -> ExportRequest:
    with open(tmp_path / "net.ckpt", "wb") as file:
        np.save(file, WEIGHTS)
    pictures = np.random.default_rng(1).integers(0, 256, (3, 300, 400, 3), np.uint8)
    pictures[1] //= 4  # pictures of different colours, so that the logits depend on them
    pictures[2, :, :, 0] //= 8
    images = tuple(tmp_path / f"{index}.png" for index in range(3))
    for picture, path in zip(pictures, images, strict=True):
        Image.fromarray(picture).save(path)
    return ExportRequest(
        source=Model(tmp_path / "net.ckpt", "checkpoint", InputSpec()),
        recipes=tuple(recipes().values()),
        output=tmp_path / "build",
        images=images,
        name="net",
    )


ALL = [
    "net.mindir",
    "net.onnx",
    "net_dynamic.tflite",
    "net_equalised.onnx",
    "net_equalised.tflite",
    "net_equalised.xml",
    "net_fp16.tflite",
    "net_fp16.xml",
    "net_fp32.tflite",
    "net_fp32.xml",
    "net_int16x8.tflite",
    "net_int8.tflite",
    "net_int8.xml",
    "net_mixed.tflite",
]


def test_sources_come_before_what_is_made_from_them(tiny: type[TinyStage]) -> None:
    steps = plan((recipes()["tflite_fp16"],), "checkpoint")
    assert [step.stage.target for step in steps] == ["mindir", "onnx", "tflite"]
    assert [step.source for step in steps] == [None, "mindir_fp32", "onnx_fp32"]
    assert [step.stage.target for step in plan((recipes()["onnx_fp32"],), "mindir")] == ["onnx"]


def test_a_quantised_artifact_is_made_from_the_float_one_with_normalised_input(tiny: type[TinyStage]) -> None:
    fp32_raw = dataclasses.replace(
        recipes()["tflite_fp32"], name="tflite_fp32_raw", input={"layout": "NHWC", "range": "raw", "dtype": "uint8"}
    )
    steps = plan((fp32_raw, recipes()["tflite_dynamic"]), "onnx")
    assert [(step.source, [recipe.name for recipe in step.recipes]) for step in steps] == [
        (None, ["tflite_fp32_raw", "tflite_fp32"]),
        ("tflite_fp32", ["tflite_dynamic"]),
    ]


def test_int8_is_made_from_the_equalised_model_and_dynamic_from_the_plain_one(tiny: type[TinyStage]) -> None:
    steps = plan((recipes()["tflite_int8"], recipes()["tflite_dynamic"], recipes()["tflite_fp16"]), "mindir")
    assert {recipe.name: step.source for step in steps for recipe in step.recipes} == {
        "onnx_fp32": None,
        "onnx_equalised": "onnx_fp32",
        "tflite_equalised": "onnx_equalised",
        "tflite_int8": "tflite_equalised",
        "tflite_fp16": "onnx_fp32",
        "tflite_fp32": "onnx_fp32",
        "tflite_dynamic": "tflite_fp32",
    }
    own = dataclasses.replace(recipes()["onnx_equalised"], name="gentle", options={"strength": 0.5})
    steps = plan((recipes()["openvino_int8"], own), "mindir")
    assert [(step.source, [recipe.name for recipe in step.recipes]) for step in steps] == [
        (None, ["onnx_fp32"]),
        ("onnx_fp32", ["gentle"]),
        ("gentle", ["openvino_equalised"]),
        ("openvino_equalised", ["openvino_int8"]),
    ]


def test_what_is_made_from_a_calibrated_model_needs_calibration_too() -> None:
    needing = {name for name, recipe in recipes().items() if needs_calibration(recipe)}
    assert needing == {name for name in recipes() if name.endswith(("equalised", "int8", "int16x8", "mixed"))}


def test_what_must_be_calibrated_is_refused_without_images(
    tiny: type[TinyStage], request_: ExportRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TinyStage, "calibrated", ("int8",))
    with pytest.raises(UsageError, match="_int8 needs images to calibrate on; give a folder with --calibration"):
        build(request_)
    assert tiny.built == []


def test_an_option_that_a_stage_does_not_know_is_refused_before_anything_is_made(
    tiny: type[TinyStage], request_: ExportRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(stage: TinyStage, output: StageOutput) -> None:
        if "strenght" in output.options:
            raise UsageError("unknown option 'strenght'; did you mean 'strength'?")

    monkeypatch.setattr(TinyStage, "check", check)
    wrong = dataclasses.replace(recipes()["tflite_fp16"], file="mine.toml", options={"strenght": 1})
    with pytest.raises(RecipeError, match=r"^recipe mine\.toml: unknown option 'strenght'; did you mean"):
        build(dataclasses.replace(request_, recipes=(wrong,)))
    assert tiny.built == []
    assert not request_.output.exists()


def test_what_is_slow_is_refused_of_ghostnetv2_and_said_of_other_networks(
    tiny: type[TinyStage], request_: ExportRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build_slow(stage: TinyStage, source: Model, outputs: tuple[StageOutput, ...]) -> tuple[Model, ...]:
        for output in outputs:
            assert output.options.get("xnnpack") == wanted.get(output.model.path.name)
            output.notes.append(f"{output.path.name} is slow")
        return plain_build(stage, source, outputs)

    plain_build = TinyStage.build
    monkeypatch.setattr(TinyStage, "build", build_slow)
    chosen = tuple(recipes()[name] for name in ("onnx_fp32", "tflite_fp32", "tflite_int16x8"))
    wanted = {"net_int16x8.tflite": "report"}  # as its recipe says
    build(dataclasses.replace(request_, recipes=chosen))
    wanted["net_fp32.tflite"] = "report"
    source = dataclasses.replace(request_.source, network="mindcv:resnet18")
    events: list[Event] = []
    manifest = build(dataclasses.replace(request_, source=source, recipes=chosen, force=True), events.append)
    assert "net_fp32.tflite is slow" in manifest.warnings
    assert ("warning", "net_fp32.tflite is slow") in [(event.kind, event.message) for event in events]
    assert tiny_described["net_fp32.tflite"].network == "mindcv:resnet18"
    own = dataclasses.replace(chosen[1], options={"xnnpack": "require"})
    wanted["net_fp32.tflite"] = "require"
    build(dataclasses.replace(request_, source=source, recipes=(own,), force=True))


def test_a_mindir_is_not_made_from_a_mindir(tiny: type[TinyStage]) -> None:
    with pytest.raises(UsageError, match="is mindir already"):
        plan((recipes()["mindir_fp32"],), "mindir")


def test_everything_is_made_verified_and_recorded(tiny: type[TinyStage], request_: ExportRequest) -> None:
    manifest = build(request_)
    assert sorted(tiny.built) == ALL
    assert manifest == Manifest.read(request_.output)
    assert {r.files[0].name for r in manifest.artifacts.values()} == set(ALL)
    assert manifest.artifacts["tflite_fp32"].source == "net.onnx"
    assert manifest.artifacts["tflite_fp32"].difference.snr_db > 100
    assert sorted(p.name for p in request_.output.iterdir()) == sorted(
        [
            *ALL,
            *("net_equalised.bin", "net_fp16.bin", "net_fp32.bin", "net_int8.bin"),
            *("manifest.json", "net.golden.npz"),
        ]
    )


def test_a_second_run_does_nothing_and_says_so(tiny: type[TinyStage], request_: ExportRequest) -> None:
    build(request_)
    before = {path.name: path.stat().st_mtime_ns for path in request_.output.iterdir()}
    tiny.built.clear()
    events: list[Event] = []
    build(request_, events.append)
    assert tiny.built == []
    assert {event.kind for event in events} == {"unchanged"}
    assert before == {path.name: path.stat().st_mtime_ns for path in request_.output.iterdir()}


def test_another_name_is_given_to_what_is_there(tiny: type[TinyStage], request_: ExportRequest) -> None:
    build(request_)
    manifest = build(dataclasses.replace(request_, name="other"))
    assert {record.files[0].name for record in manifest.artifacts.values()} == {
        name.replace("net", "other") for name in ALL
    }


def test_golden_vectors_are_the_photos_and_the_source_s_answers(tiny: type[TinyStage], request_: ExportRequest) -> None:
    source = dataclasses.replace(request_.source, labels=tuple("abcdefg"))
    manifest = build(dataclasses.replace(request_, source=source))
    golden = read_golden(request_.output / "net.golden.npz")
    assert golden.names == ("0.png", "1.png", "2.png")
    assert golden.class_names == tuple("abcdefg")
    assert golden.source_sha256 == sha256_file(source.path)
    batch = to_spec(golden.crops, source.input)
    np.testing.assert_array_equal(batch, preprocess_batch(request_.images, source.input))
    np.testing.assert_allclose(golden.logits, batch.mean(axis=(2, 3)) @ WEIGHTS, atol=1e-5)
    assert manifest.golden == FileRecord.of(request_.output / "net.golden.npz")


def test_golden_vectors_are_written_again_where_they_are_damaged_or_of_other_photos(
    tiny: type[TinyStage], request_: ExportRequest
) -> None:
    build(request_)
    path = request_.output / "net.golden.npz"
    first = path.read_bytes()
    path.write_bytes(first[:-1])
    tiny.built.clear()
    build(request_)
    assert path.read_bytes() == first
    assert tiny.built == []
    build(dataclasses.replace(request_, images=request_.images[:2]))
    assert read_golden(path).names == ("0.png", "1.png")


def test_an_export_of_another_checkpoint_has_other_golden_vectors(
    tiny: type[TinyStage], request_: ExportRequest
) -> None:
    build(request_)
    with open(request_.source.path, "wb") as file:
        np.save(file, 2 * WEIGHTS)
    build(request_)
    assert read_golden(request_.output / "net.golden.npz").source_sha256 == sha256_file(request_.source.path)


def test_pixels_that_are_no_whole_grey_levels_give_no_golden_vectors(
    tiny: type[TinyStage], request_: ExportRequest
) -> None:
    source = dataclasses.replace(request_.source, input=InputSpec(resize_rule="tensorflow_bilinear"))
    manifest = build(dataclasses.replace(request_, source=source, recipes=(recipes()["onnx_fp32"],)))
    assert manifest.golden is None
    assert "no golden vectors are written" in " ".join(manifest.warnings)


@pytest.mark.parametrize("damage", ["truncated", "removed", "removed .bin"])
def test_a_damaged_artifact_is_made_again_and_it_alone(
    tiny: type[TinyStage], request_: ExportRequest, damage: str
) -> None:
    build(request_)
    tiny.built.clear()
    victim = request_.output / ("net_fp16.bin" if damage.endswith(".bin") else "net_fp16.xml")
    if damage == "truncated":
        victim.write_bytes(victim.read_bytes()[:-1])
    else:
        victim.unlink()
    build(request_)
    assert tiny.built == ["net_fp16.xml"]


def test_other_weights_make_everything_anew(tiny: type[TinyStage], request_: ExportRequest) -> None:
    build(request_)
    tiny.built.clear()
    with open(request_.source.path, "wb") as file:
        np.save(file, WEIGHTS * 2)
    events: list[Event] = []
    build(request_, events.append)
    assert sorted(tiny.built) == ALL
    assert "other weights" in next(event.message for event in events if event.kind == "warning")


def test_other_labels_make_the_artifacts_anew(tiny: type[TinyStage], request_: ExportRequest) -> None:
    build(request_)
    tiny.built.clear()
    labels = tuple("abcdefg")
    build(dataclasses.replace(request_, source=dataclasses.replace(request_.source, labels=labels)))
    assert sorted(tiny.built) == ALL


def test_an_artifact_over_its_bound_is_rejected_and_the_others_stay(
    tiny: type[TinyStage], request_: ExportRequest
) -> None:
    tiny.faults["openvino_fp16"] = lambda weights: weights * 1.02  # 34 dB
    with pytest.raises(
        ParityError, match=r"net_fp16\.xml differs from net\.onnx.*SNR 34\.\d dB is below 50 dB"
    ) as caught:
        build(request_)
    assert caught.value.exit_code == 2
    manifest = Manifest.read(request_.output)
    assert manifest is not None
    assert "openvino_fp16" not in manifest.artifacts
    assert {"openvino_fp32", "tflite_fp16", "tflite_fp32"} <= manifest.artifacts.keys()
    assert not (request_.output / "net_fp16.xml").exists()
    assert {p.name for p in (request_.output / "rejected").iterdir()} == {"net_fp16.xml", "net_fp16.bin"}


def test_what_some_cpus_compute_in_float16_is_verified_in_float16_too(
    tiny: type[TinyStage], request_: ExportRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "allows_float16", lambda path: "_fp16" in path.name)
    manifest = build(request_)
    float16 = manifest.artifacts["tflite_fp16"].float16_difference
    assert float16 is not None
    assert 60 < float16.snr_db < 90  # weights of 11 bits
    assert manifest.artifacts["tflite_fp32"].float16_difference is None
    assert manifest.artifacts["openvino_fp16"].float16_difference is None
    read = Manifest.read(request_.output)
    assert read is not None
    assert read.artifacts["tflite_fp16"].float16_difference == dataclasses.replace(
        float16, snr_db=round(float16.snr_db, 2)
    )


def test_what_is_worse_than_its_bound_in_float16_alone_is_rejected(
    tiny: type[TinyStage], request_: ExportRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "allows_float16", lambda path: "_fp16" in path.name)
    monkeypatch.setattr(TinyRuntime, "float16_fault", staticmethod(lambda weights: weights * 1.02))  # 34 dB
    with pytest.raises(
        ParityError, match=r"net_fp16\.tflite, computed in float16, differs .*SNR 34\.\d dB is below 50"
    ):
        build(dataclasses.replace(request_, recipes=(recipes()["tflite_fp16"],)))
    assert not (request_.output / "net_fp16.tflite").exists()


def test_what_overflows_in_float16_is_rejected(
    tiny: type[TinyStage], request_: ExportRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(request_.source.path, "wb") as file:
        np.save(file, WEIGHTS * 1e5)  # float16 ends at 65,504
    monkeypatch.setattr(verify, "allows_float16", lambda path: "_fp16" in path.name)
    with pytest.raises(ParityError, match=r"net_fp16\.tflite"):
        build(request_)
    manifest = Manifest.read(request_.output)
    assert manifest is not None
    assert "tflite_fp16" not in manifest.artifacts
    assert "tflite_fp32" in manifest.artifacts
    assert (request_.output / "rejected" / "net_fp16.tflite").exists()


INT8_IR = "openvino_int8"


def test_an_int8_ir_is_verified_on_both_kinds_of_cpu(
    tiny: type[TinyStage], request_: ExportRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TinyOtherCpu, "fault", staticmethod(lambda logits: logits * 1.02))  # 34 dB, the bound is 18
    events: list[Event] = []
    manifest = build(request_, events.append)
    assert TinyOtherCpu.asked == ["net_int8.xml"]
    found = manifest.artifacts[INT8_IR].cpu_differences
    assert list(found) == ["with VNNI", "without VNNI (AVX2)"]
    assert found["with VNNI"] == manifest.artifacts[INT8_IR].reference_difference
    assert found["without VNNI (AVX2)"].snr_db == pytest.approx(34, abs=0.1)
    assert all(not record.cpu_differences for name, record in manifest.artifacts.items() if name != INT8_IR)
    assert any("; without VNNI (AVX2) 34.0 dB" in event.message for event in events if event.recipe == INT8_IR)
    read = Manifest.read(request_.output)
    assert read is not None
    assert read.artifacts[INT8_IR].cpu_differences["without VNNI (AVX2)"].snr_db == pytest.approx(34, abs=0.1)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda logits: logits * 1.3, r"SNR 10\.\d dB is below 18 dB"),
        (lambda logits: np.roll(logits, 1, axis=1), r"top-1 agreement 0\.0% is below 70\.0%"),
        (lambda logits: np.full_like(logits, np.nan), "NaN"),
    ],
)
def test_an_int8_ir_that_fails_on_the_other_kind_alone_is_rejected(
    tiny: type[TinyStage],
    request_: ExportRequest,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[NDArray[Any]], NDArray[Any]],
    said: str,
) -> None:
    monkeypatch.setattr(TinyOtherCpu, "fault", staticmethod(fault))
    with pytest.raises(ParityError, match=said) as caught:
        build(dataclasses.replace(request_, recipes=(recipes()[INT8_IR],)))
    assert "the file is kept as" in str(caught.value)
    assert not (request_.output / "net_int8.xml").exists()
    assert (request_.output / "rejected" / "net_int8.xml").exists()
    manifest = Manifest.read(request_.output)
    assert manifest is not None
    assert INT8_IR not in manifest.artifacts


@pytest.mark.parametrize("limit", [126, 63])
def test_a_real_ir_that_saturates_is_rejected_and_one_that_does_not_is_made(
    tiny: type[TinyStage], request_: ExportRequest, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """The same function in integers up to 126, two of which overflow 16 bits on bright images, and up to 63."""
    ov = pytest.importorskip("openvino")
    if int8_arithmetic() not in (VNNI, SATURATING):
        pytest.skip("left out: this is no x86 CPU")
    whole = np.rint(np.random.default_rng(3).uniform(0.6, 1, (3, 7)) * 63)
    with open(request_.source.path, "wb") as file:
        np.save(file, (whole / 63).astype(np.float32))
    spec = InputSpec(mean=(0, 0, 0), std=(1 / 255,) * 3)  # pixels are 0 to 255
    real = "net_int8.xml"

    def write(stage: TinyStage, source: Model, outputs: tuple[StageOutput, ...]) -> tuple[Model, ...]:
        built = tiny_build(stage, source, outputs)
        if outputs[0].path.name == real:
            integers = (whole.T * (limit // 63)).astype(np.int8)
            write_int8_ir(ov, outputs[0].path, integers, 1 / limit, side=224)
        return built

    def open_runtime(artifact: Model, threads: int = 1, *, float16: bool = False) -> Any:
        return (OpenVinoRuntime if artifact.path.name == real else TinyRuntime)(artifact, threads)

    tiny_build = TinyStage.build
    monkeypatch.setattr(TinyStage, "build", write)
    monkeypatch.setattr(verify, "open_runtime", open_runtime)
    monkeypatch.setattr(verify, "run_on_other_cpu", run_on_other_cpu)
    white = request_.images[0]
    Image.fromarray(np.full((300, 300, 3), 255, np.uint8)).save(white)
    wanted = dataclasses.replace(
        request_,
        source=dataclasses.replace(request_.source, input=spec),
        recipes=(recipes()[INT8_IR],),
    )
    if limit == 126:
        # The kind that saturates is this machine's own, or it is the other.
        with pytest.raises(ParityError, match=r"net_int8\.xml"):
            build(wanted)
    else:
        found = build(wanted).artifacts[INT8_IR].cpu_differences
        assert len(found) == 2
        assert all(difference.snr_db > 40 for difference in found.values())


def test_a_manifest_from_before_both_kinds_were_verified_is_read(
    tiny: type[TinyStage], request_: ExportRequest
) -> None:
    build(request_)
    path = request_.output / "manifest.json"
    document = json.loads(path.read_text())
    for record in document["artifacts"].values():
        del record["cpu_differences"]
    path.write_text(json.dumps(document))
    read = Manifest.read(request_.output)
    assert read is not None
    assert read.artifacts[INT8_IR].cpu_differences == {}


def test_a_flipped_class_is_over_the_bound_however_small_the_noise(
    tiny: type[TinyStage], request_: ExportRequest
) -> None:
    # Two classes apart by far less than the noise: 75 dB of SNR, but another answer.
    with open(request_.source.path, "wb") as file:
        np.save(file, np.tile(WEIGHTS[:, :1], (1, 7)) + np.eye(3, 7, dtype=np.float32) * 1e-4)
    tiny.faults["tflite_fp16"] = lambda weights: weights[:, ::-1]
    with pytest.raises(ParityError, match=r"top-1 agreement 0\.0% is below 90\.0%"):
        build(dataclasses.replace(request_, recipes=(recipes()["tflite_fp16"],)))


def test_nothing_is_made_from_what_was_rejected(tiny: type[TinyStage], request_: ExportRequest) -> None:
    tiny.faults["onnx_fp32"] = lambda weights: weights + 0.01
    events: list[Event] = []
    with pytest.raises(ParityError):
        build(request_, events.append)
    assert tiny.built == ["net.mindir", "net.onnx"]
    not_made = [event.recipe for event in events if "not made: onnx_fp32 failed" in event.message]
    assert sorted(not_made) == ["onnx_equalised", "openvino_fp16", "openvino_fp32", "tflite_fp16", "tflite_fp32"]


def test_a_stage_that_fails_does_not_stop_its_sibling(tiny: type[TinyStage], request_: ExportRequest) -> None:
    def refuse(weights: NDArray[Any]) -> NDArray[Any]:
        raise ConvertError("onnx2tf: no such operator")

    tiny.faults["tflite_fp32"] = refuse
    with pytest.raises(ConvertError, match="no such operator"):
        build(request_)
    manifest = Manifest.read(request_.output)
    assert manifest is not None
    assert recipes().keys() - manifest.artifacts.keys() == {
        "tflite_dynamic",
        "tflite_fp16",
        "tflite_fp32",
        "tflite_int16x8",
    }


def test_nan_logits_never_pass(tiny: type[TinyStage], request_: ExportRequest) -> None:
    tiny.faults["onnx_fp32"] = lambda weights: np.where(weights > 1, np.nan, weights)
    with pytest.raises(ParityError, match="NaN"):
        build(request_)


def test_an_interrupted_export_leaves_whole_files_and_continues(tiny: type[TinyStage], request_: ExportRequest) -> None:
    def interrupt(weights: NDArray[Any]) -> NDArray[Any]:
        raise KeyboardInterrupt

    tiny.faults["tflite_fp32"] = interrupt
    wanted = dataclasses.replace(request_, recipes=(recipes()["tflite_fp32"],))
    with pytest.raises(KeyboardInterrupt):
        build(wanted)
    assert sorted(p.name for p in request_.output.iterdir()) == ["manifest.json", "net.mindir", "net.onnx"]
    tiny.faults.clear()
    tiny.built.clear()
    build(wanted)
    assert tiny.built == ["net_fp32.tflite"]


def test_leftovers_of_a_killed_export_are_cleared(tiny: type[TinyStage], request_: ExportRequest) -> None:
    (request_.output / ".staging").mkdir(parents=True)
    (request_.output / ".staging" / "net.onnx").write_text("half")
    build(request_)
    assert not (request_.output / ".staging").exists()


def test_two_exports_into_one_folder_are_refused(tiny: type[TinyStage], request_: ExportRequest) -> None:
    holder = locked(request_.output / ".lock", OutputError("held"))
    with holder, pytest.raises(OutputError, match="another export is writing"):
        build(request_)
    build(request_)  # the lock goes with its holder


def test_a_manifest_of_a_later_version_is_not_overwritten(tiny: type[TinyStage], request_: ExportRequest) -> None:
    request_.output.mkdir()
    (request_.output / "manifest.json").write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(ManifestError, match="schema version 99"):
        build(request_)
    assert tiny.built == []


def test_weights_that_ignore_the_image_are_warned_about(tiny: type[TinyStage], request_: ExportRequest) -> None:
    black = request_.images[0].with_name("black.png")
    Image.fromarray(np.zeros((300, 300, 3), np.uint8)).save(black)
    # Twice the same picture under two names: the logits cannot depend on it.
    twin = black.with_name("twin.png")
    twin.write_bytes(black.read_bytes())
    manifest = build(dataclasses.replace(request_, images=(black, twin)))
    assert any("look untrained" in warning for warning in manifest.warnings)
    assert build(dataclasses.replace(request_, force=True)).warnings == ()


def test_no_images_is_an_error_not_a_pass(tiny: type[TinyStage], request_: ExportRequest) -> None:
    with pytest.raises(UsageError, match="no image"):
        build(dataclasses.replace(request_, images=()))


def test_a_file_that_says_another_input_than_asked_for_is_refused(
    tiny: type[TinyStage], request_: ExportRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swapped(path: Path) -> Model:
        artifact = tiny_described[path.name]
        spec = artifact.input
        return dataclasses.replace(artifact, input=dataclasses.replace(spec, mean=spec.std, std=spec.mean))

    monkeypatch.setattr(building, "open_model", swapped)
    with pytest.raises(ConvertError, match="was written with another input than asked for"):
        build(dataclasses.replace(request_, recipes=(recipes()["mindir_fp32"],)))


def test_a_damaged_image_is_named_before_anything_is_made(tiny: type[TinyStage], request_: ExportRequest) -> None:
    request_.images[1].write_bytes(request_.images[1].read_bytes()[:1000])
    with pytest.raises(ImageError, match=r"1\.png"):
        build(request_)
    assert tiny.built == []
    assert not request_.output.exists()


def test_several_failures_are_all_named(tiny: type[TinyStage], request_: ExportRequest) -> None:
    for recipe in ("openvino_fp32", "tflite_fp32"):
        tiny.faults[recipe] = lambda weights: weights * 1.1
    with pytest.raises(GhostedgeError) as caught:
        build(request_)
    assert "net_fp32.xml" in str(caught.value)
    assert "net_fp32.tflite" in str(caught.value)
    assert caught.value.exit_code == 2
