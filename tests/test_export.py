"""The way of the data with the real tools: oracle weights through every stage, on photos; every planted fault seen."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.cli.main import main
from ghostedge.compare import compare
from ghostedge.data.calibration import choose_calibration
from ghostedge.data.images import list_images, sample_images
from ghostedge.data.preprocess import preprocess
from ghostedge.errors import ParityError
from ghostedge.explain.roles import roles
from ghostedge.formats import open_model
from ghostedge.ghostnet import checkpoint
from ghostedge.ghostnet.ckpt_format import CkptContent, parse_ckpt
from ghostedge.ghostnet.import_weights import PYTORCH_NAMES, import_weights
from ghostedge.ghostnet.variants import get_variant, parameter_shapes
from ghostedge.manifest import Manifest
from ghostedge.model import Model, StageOutput
from ghostedge.pipeline import plan, verify
from ghostedge.pipeline.build import build
from ghostedge.pipeline.plan import ExportRequest
from ghostedge.pipeline.recipe import recipes
from ghostedge.pipeline.stages import make_stage
from ghostedge.runtimes import open_runtime
from ghostedge.tflite.flatbuffer import unpack

onnx = pytest.importorskip("onnx")

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "images"

FILES = {
    "oracle_1x.mindir",
    "oracle_1x.onnx",
    "oracle_1x_dynamic.tflite",
    "oracle_1x_fp16.bin",
    "oracle_1x_fp16.tflite",
    "oracle_1x_fp16.xml",
    "oracle_1x_fp32.bin",
    "oracle_1x_fp32.tflite",
    "oracle_1x_fp32.xml",
    "manifest.json",
    "oracle_1x.golden.npz",
}


#: The checkpoints that `exported` parsed.
PARSED: list[str] = []


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fifth of the ImageNet photos beside the project, or where they are absent the package's sample photographs."""
    if not PHOTOS.is_dir():
        return sample_images()[0].parent
    folder = tmp_path_factory.mktemp("photos")
    for photo in list_images(PHOTOS)[::5]:
        (folder / photo.name).symlink_to(photo)
    return folder


@pytest.fixture(scope="module")
def exported(oracle_checkpoint: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `ghostedge export --target all` fills from the oracle's weights."""
    output = tmp_path_factory.mktemp("export") / "build"
    arguments = ["--checkpoint", str(oracle_checkpoint), "--target", "all", "--images", str(images)]

    def counted(data: bytes, name: str) -> CkptContent:
        PARSED.append(name)
        return parse_ckpt(data, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "parse_ckpt", counted)
        assert main(["export", *arguments, "--output", str(output), "--quiet"]) == 0
    return output


def test_every_artifact_is_there_and_nothing_else(exported: Path) -> None:
    assert {path.name for path in exported.iterdir()} == FILES


def test_the_checkpoint_is_parsed_once(exported: Path, oracle_checkpoint: Path) -> None:
    assert [str(oracle_checkpoint)] == PARSED


def test_every_artifact_agrees_with_mindspore(exported: Path, images: Path) -> None:
    manifest = Manifest.read(exported)
    assert manifest is not None
    assert len(manifest.images) == len(list_images(images))
    for name, record in manifest.artifacts.items():
        difference = record.reference_difference
        # float32 differs by the order of additions alone; float16 weights have 11 bits (about 64 dB here), dynamic 8.
        bound = {"fp32": 100, "fp16": 60, "dynamic": 28}[record.precision]
        assert difference.snr_db >= bound, name
        assert difference.top1_agreement >= (0.9 if record.precision == "dynamic" else 1.0), name


def test_what_a_phone_computes_in_float16_agrees_with_mindspore(exported: Path) -> None:
    manifest = Manifest.read(exported)
    assert manifest is not None
    found = {name: record.float16_difference for name, record in manifest.artifacts.items()}
    # Activations of 11 bits add to weights of 11 bits: 62 dB are left; to dynamic's 8 bits they add nothing.
    bounds = {"tflite_fp16": 56, "tflite_dynamic": 28}
    assert {name for name, difference in found.items() if difference is not None} == bounds.keys()
    for name, bound in bounds.items():
        float16, float32 = found[name], manifest.artifacts[name].reference_difference
        assert float16 is not None
        assert float16.snr_db >= bound, name
        assert float16.snr_db != float32.snr_db, name
        assert float16.top1_agreement >= 0.9, name


def test_int8_tflite_keeps_the_logits_in_a_quarter_of_the_size_on_one_partition(exported: Path, tmp_path: Path) -> None:
    if not PHOTOS.is_dir():
        pytest.skip("int8 is calibrated on 40 photos of ../shared/images, which are not here")
    calibration = choose_calibration(PHOTOS, 40)
    source = made = open_model(exported / "oracle_1x.onnx")
    for name in ("onnx_equalised", "tflite_equalised", "tflite_int8"):
        source, recipe = made, recipes()[name]
        wanted = Model(
            path=tmp_path / f"{name}.{recipe.target}",
            format=recipe.target,  # type: ignore[arg-type]
            input=recipe.input_spec(source.input),
            labels=source.labels,
            precision=recipe.precision,
        )
        output = StageOutput(wanted, recipe.options, calibration)
        (made,) = make_stage(recipe.target, recipe.precision).build(source, (output,))
    known = {image.image_id for image in calibration.images}
    others = [preprocess(path, source.input) for path in list_images(PHOTOS) if path.name not in known]
    logits = []
    for artifact in (source, made):
        with open_runtime(artifact) as runtime:
            logits.append(np.concatenate([runtime.run(photo) for photo in others]))
            info = runtime.info
    assert compare(*logits).snr_db > 25  # 31 measured; the planted faults of a conversion leave 20 at most
    assert (info["delegate_partitions"], info["operators_outside_delegate"]) == (1, {})
    # Parameters in bytes; scales and names are another 10%.
    assert made.path.stat().st_size < 1.15 * source.path.stat().st_size / 4


def test_timms_weights_are_one_partition_and_keep_timms_logits(
    oracle_value: Callable[[str, tuple[int, ...]], NDArray[np.float32]],
    oracle_inputs: NDArray[np.float32],
    oracle_logits: dict[str, NDArray[np.float32]],
    tmp_path: Path,
) -> None:
    """Their gates upsample by repetition, which XNNPACK has no operator for; the last ones grow from 3 x 3 to 7 x 7."""
    safetensors = pytest.importorskip("safetensors.numpy")
    shapes = parameter_shapes(get_variant("1x", "nearest"), 1000)
    weights = {PYTORCH_NAMES[name]: oracle_value(PYTORCH_NAMES[name], shape) for name, shape in shapes.items()}
    safetensors.save_file(weights, tmp_path / "timm.safetensors")
    import_weights(tmp_path / "timm.safetensors", tmp_path / "timm.ckpt")
    wanted = ["fp32", *(["int8", "int16x8"] if PHOTOS.is_dir() else [])]
    arguments = [argument for precision in wanted for argument in ("--precision", precision)]
    arguments += ["--calibration", str(PHOTOS), "--calibration-count", "24"] if PHOTOS.is_dir() else []
    assert main(["export", "--checkpoint", str(tmp_path / "timm.ckpt"), "--target", "tflite", *arguments,
                 "--output", str(tmp_path), "--quiet"]) == 0  # fmt: skip
    # int16x8 is not on XNNPACK, but there LiteRT's own kernels want the gate's sigmoid in steps of 1/32768.
    for precision, bound in {"fp32": 100, "int8": 25, "int16x8": 35}.items():
        if precision in wanted:
            artifact = open_model(tmp_path / f"timm_{precision}.tflite")
            with open_runtime(artifact) as runtime:
                logits = runtime.run(np.ascontiguousarray(oracle_inputs.transpose(0, 2, 3, 1)))
                whole = (runtime.info["delegate_partitions"], runtime.info["operators_outside_delegate"]) == (1, {})
            assert compare(oracle_logits["ghostnetv2_100"], logits).snr_db > bound, precision
            assert whole == (precision != "int16x8"), precision
            kinds = Counter(role.kind for role in roles(unpack(artifact.path.read_bytes(), precision)).values())
            # float is made with split_concat_conv, which takes the first block's first concatenation away
            assert (kinds["gate mul"], kinds["concat"]) == (14, 32 if precision == "int8" else 31), precision
            assert kinds["quantize"] == (precision != "fp32"), precision


def test_float32_tflite_is_as_large_as_its_parameters(exported: Path, oracle_names: dict[str, list[int]]) -> None:
    # BatchNorm is folded: of its four vectors a bias remains.
    folded = sum(
        int(np.prod(shape))
        for name, shape in oracle_names.items()
        if not name.endswith(("gamma", "moving_mean", "moving_variance"))
    )
    size = (exported / "oracle_1x_fp32.tflite").stat().st_size
    assert abs(size - 4 * folded) / (4 * folded) < 0.01


def test_the_manifest_lets_every_number_be_traced(exported: Path, oracle_checkpoint: Path) -> None:
    document = json.loads((exported / "manifest.json").read_text())
    assert document["source"]["file"] == oracle_checkpoint.name
    assert document["source"]["variant"] == "1x"
    assert document["source"]["classes"] == 1000
    for record in document["artifacts"].values():
        assert len(record["files"][0]["sha256"]) == 64
        assert record["packages"]["ghostedge"]
        assert record["runtime"]["version"]
        assert record["input"]["mean"] == [0.485, 0.456, 0.406]


def test_running_it_again_changes_nothing_and_says_so(
    exported: Path, oracle_checkpoint: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in exported.iterdir()}
    arguments = ["--checkpoint", str(oracle_checkpoint), "--images", str(images), "--output", str(exported)]
    assert main(["export", *arguments]) == 0
    assert before == {path.name: path.stat().st_mtime_ns for path in exported.iterdir()}
    assert capsys.readouterr().err.count("is up to date") == 7


def test_predict_gives_the_same_top5_from_every_format(
    exported: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = [str(path) for path in list_images(images)[:5]]
    answers = {}
    for name in ("oracle_1x.mindir", "oracle_1x.onnx", "oracle_1x_fp32.xml", "oracle_1x_fp32.tflite"):
        assert main(["predict", *photos, "--artifact", str(exported / name), "--json"]) == 0
        results = json.loads(capsys.readouterr().out)["results"]
        answers[name] = [[(entry["index"], entry["label"]) for entry in result["top"]] for result in results]
    expected = answers["oracle_1x.mindir"]
    assert [len(top) for top in expected] == [5] * 5
    assert answers == dict.fromkeys(answers, expected)


# -- planted faults ------------------------------------------------------------------------------------------

Fault = Callable[[Any], None]


def change_resizes(graph: Any, name: str, value: bytes) -> None:
    for node in graph.node:
        if node.op_type == "Resize":
            for attribute in node.attribute:
                if attribute.name == name:
                    attribute.s = value


def nearest(graph: Any) -> None:
    change_resizes(graph, "mode", b"nearest")


def half_pixel(graph: Any) -> None:
    change_resizes(graph, "coordinate_transformation_mode", b"half_pixel")


def mindspore_pads(graph: Any) -> None:
    """(top, bottom, left, right) where ONNX wants (top, left, bottom, right), as MindSpore's own exporter writes."""
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Conv" and attribute.name == "pads":
                top, left, bottom, right = attribute.ints
                attribute.ints[:] = [top, bottom, left, right]


def missing_relu(graph: Any) -> None:
    relu = next(node for node in graph.node if node.op_type == "Relu" and node.name.startswith("blocks.9"))
    relu.op_type = "Identity"


def scaled_by_another_epsilon(graph: Any) -> None:
    """BatchNorm folded with epsilon 1e-3 in place of 1e-5: here of one convolution whose variances are about 1."""
    name = "blocks.5.ghost1.primary_conv.conv.weight"
    tensor = next(tensor for tensor in graph.initializer if tensor.name == name)
    weight = onnx.numpy_helper.to_array(tensor) * np.float32(np.sqrt((1 + 1e-5) / (1 + 1e-3)))
    tensor.CopyFrom(onnx.numpy_helper.from_array(weight.astype(np.float32), name))


def channels_reversed(graph: Any) -> None:
    """The stem reads BGR."""
    tensor = next(tensor for tensor in graph.initializer if tensor.name == "conv_stem.weight")
    weight = np.ascontiguousarray(onnx.numpy_helper.to_array(tensor)[:, ::-1])
    tensor.CopyFrom(onnx.numpy_helper.from_array(weight, tensor.name))


@pytest.fixture
def reexport(exported: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Manifest]:
    """`reexport(fault=..., **input)`: the MindIR to ONNX again, with a fault in the graph or another InputSpec.

    The reference is the ONNX that `exported` verified against MindSpore.
    """
    source = open_model(exported / "oracle_1x.mindir")
    faithful = (exported / "oracle_1x.onnx").read_bytes()

    def runtime(artifact: Model, threads: int = 1, *, float16: bool = False) -> Any:
        if artifact.format == "mindir":
            # The right ONNX in MindSpore's place, so that ten faults do not start MindSpore ten times: 125 dB from it.
            artifact = dataclasses.replace(open_model(exported / "oracle_1x.onnx"), input=artifact.input)
        return open_runtime(artifact, threads, float16=float16)

    def run(fault: Fault | None = None, **fields: Any) -> Manifest:
        class Stage:
            source, target, precisions, calibrated, packages = "mindir", "onnx", ("fp32",), (), ("onnx",)

            def check(self, output: StageOutput) -> None: ...

            def prepare(self) -> None: ...

            def close(self) -> None: ...

            def build(self, artifact: Model, outputs: tuple[StageOutput, ...]) -> tuple[Model, ...]:
                model = onnx.load_from_string(faithful)
                if fault:
                    fault(model.graph)
                for entry in model.metadata_props:
                    entry.value = outputs[0].model.to_json()
                onnx.save(model, outputs[0].path)
                return (open_model(outputs[0].path),)

        monkeypatch.setattr(plan, "make_stage", lambda *_: Stage())
        monkeypatch.setattr(verify, "open_runtime", runtime)
        recipe = recipes()["onnx_fp32"]
        recipe = dataclasses.replace(recipe, input={**recipe.input, **fields})
        request = ExportRequest(source, (recipe,), tmp_path / "build", sample_images(), "oracle_1x")
        return build(request)

    return run


def test_without_a_fault_it_passes(reexport: Callable[..., Manifest]) -> None:
    assert reexport().artifacts["onnx_fp32"].difference.snr_db > 100


@pytest.mark.parametrize(
    "fault", [nearest, half_pixel, mindspore_pads, missing_relu, scaled_by_another_epsilon, channels_reversed]
)
def test_a_fault_in_the_graph_is_over_the_bound(reexport: Callable[..., Manifest], fault: Fault) -> None:
    with pytest.raises(ParityError, match=r"SNR .* dB is below 100 dB"):
        reexport(fault)


@pytest.mark.parametrize(
    "fields",
    [
        {"mean": (0.229, 0.224, 0.225), "std": (0.485, 0.456, 0.406)},
        {"colour_order": "BGR"},
        {"resize_rule": "pillow_bilinear"},
        {"resize": 248},
    ],
    ids=["mean and std swapped", "BGR", "antialiased resize", "another resize"],
)
def test_a_fault_in_the_input_is_over_the_bound(reexport: Callable[..., Manifest], fields: dict[str, Any]) -> None:
    with pytest.raises(ParityError, match=r"SNR .* dB is below 100 dB"):
        reexport(**fields)


# -- interruptions -------------------------------------------------------------------------------------------


def test_kill_9_leaves_whole_files_and_the_next_run_continues(exported: Path, images: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ghostedge", "export", "--mindir", str(exported / "oracle_1x.mindir")]
    command += ["--target", "tflite", "--precision", "fp32", "--output", str(tmp_path / "build")]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert first.stderr
    for line in first.stderr:
        if "making oracle_1x_fp32.tflite" in line:
            break
    first.send_signal(signal.SIGKILL)
    first.wait()
    whole = {path.name for path in (tmp_path / "build").glob("[!.]*")}
    assert whole == {"oracle_1x.onnx", "manifest.json"}
    onnx_time = (tmp_path / "build" / "oracle_1x.onnx").stat().st_mtime_ns
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "oracle_1x.onnx is up to date" in done.stderr
    assert (tmp_path / "build" / "oracle_1x.onnx").stat().st_mtime_ns == onnx_time
    made = {"oracle_1x_fp32.tflite", "oracle_1x.golden.npz"}
    assert {path.name for path in (tmp_path / "build").iterdir()} == whole | made
