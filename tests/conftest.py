"""Fixtures that the whole suite shares: the oracle's weights, inputs and checkpoint, the photos, small models."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.errors import MissingExtraError
from ghostedge.lazy import require
from ghostedge.model import InputSpec, Model, StageOutput
from tests.scripts import load_script

# As `ghostedge.lazy.require` does, and for its reason: some tests import onnx or TensorFlow before MindSpore.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
# Threads that wait do not take the core from another test.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

#: Tests of what only the `export` extra can do, by their place here: without it they are left out, and the run says so.
#: Single tests elsewhere that need one package of it skip themselves.
EXPORT_ALONE = (
    "inspection/test_inspect.py",
    "mindir/lowerings",
    "mindir/passes",
    "mindir/test_convert.py",
    "mindir/test_from_checkpoint.py",
    "onnx/rewrites",
    "onnx/test_equalise_stage.py",
    "onnx/test_from_mindir.py",
    "openvino/test_from_onnx.py",
    "openvino/test_quantize.py",
    "pipeline/test_build.py",
    "test_export.py",
    "tflite/quantize/test_stage.py",
    "tflite/test_from_onnx.py",
    "tflite/test_kinds.py",
    "tflite/test_onnx2tf.py",
    "tflite/test_recorded.py",
    "training",
)
HERE = Path(__file__).parent
DATA = HERE / "data"
SHARED = Path(__file__).resolve().parents[2] / "shared"

EXPORT_PACKAGES = ("mindspore", "onnx", "onnx2tf", "tensorflow", "nncf", "threadpoolctl")
MISSING = [name for name in EXPORT_PACKAGES if importlib.util.find_spec(name) is None]

#: Tests that need more than a moment, by their place here: a folder, a file or a test. `make check` leaves them out.
#: Single tests may carry the marker themselves. `pytest_runtest_call` fails where one is missing.
SLOW = (
    "benchmarks/test_compatibility.py",
    "docs/test_commands.py::test_the_commands_of_a_page_run",
    "docs/test_site.py",
    "benchmarks/test_interruptions.py",
    "evaluation/engines/test_ray.py",
    "evaluation/test_memory.py",
    "evaluation/test_run.py::test_a_killed_evaluation_resumes_and_gives_the_bytes_of_an_uninterrupted_one",
    "openvino/test_quantize.py",
    "pipeline/test_tuning.py::test_a_bound_that_cannot_be_met_is_said_to_be_so",
    "pipeline/test_tuning.py::test_the_fewest_operators_stay_in_float",
    "reports/test_browser.py",
    "serve/test_browsers.py",
    "serve/test_built.py",
    "serve/test_demo_artifacts.py",
    "serve/test_page.py",
    "test_export.py",
    "tflite/quantize/test_stage.py::test_raw_pixels_of_a_float_model_are_normalised_exactly",
    "tflite/test_from_onnx.py::test_a_failed_conversion_names_the_operator_and_keeps_the_log",
    "tflite/test_from_onnx.py::test_a_recipe_chooses_its_rewrites",
    "tflite/test_from_onnx.py::test_float16_is_allowed_where_the_recipe_asks_for_it",
    "tflite/test_from_onnx.py::test_the_same_onnx_gives_the_same_bytes_and_leaves_nothing_else",
    "training",
)
#: Tests that run MindSpore itself. Its answers in tests/data are recordings, which these tests hold to it.
ORACLE = (
    "evaluation/test_reference.py::test_the_reference_is_mindspores_answer_to_every_image_once",
    "evaluation/test_reference.py::test_a_device_that_is_not_there_is_one_line",
    "ghostnet/test_cell.py",
    "ghostnet/test_import_weights.py::test_timm_safetensors_give_timms_logits",
    "ghostnet/test_import_weights.py::test_a_training_checkpoint_of_timm_at_an_odd_size",
    "mindir/test_from_checkpoint.py",
    "mindir/test_schema.py",
    "onnx/test_from_mindir.py",
    "runtimes/test_mindspore.py",
    "serve/test_demo_artifacts.py",
    "test_export.py",
)
#: Fixtures that start one of them: every test that asks for it is marked.
FIXTURES = {
    "apk": "slow",
    "cluster": "slow",
    "converted_tiny_tflite": "slow",
    "jars": "slow",
    "java_tests": "slow",
    "mindspore": "oracle",
    "ms": "oracle",
    "tensorflow": "slow",
    "torch": "slow",
    "wheels": "slow",
}
#: Tests that drive a device or what stands in for one: an SSH server, an adb server, emulated ARM64.
DEVICE = (
    "benchmarks/test_arm64.py",
    "latency/devices/test_adb.py",
    "latency/devices/test_ssh.py",
)
MARKED = {"slow": SLOW, "oracle": ORACLE, "device": DEVICE}
IMPORTED = pytest.StashKey[set[str]]()
#: What only a marked test may import.
HEAVY = {"mindspore": {"oracle"}, "tensorflow": {"slow"}, "torch": {"slow", "oracle"}, "ray": {"slow"}}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--record``, which `make golden` gives."""
    parser.addoption("--record", action="store_true", help="write tests/data/mindir and tests/data/tiny_tflite anew")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to record in several processes, each of which would write its part of a file over another's."""
    if config.getoption("record") and hasattr(config, "workerinput"):
        raise pytest.UsageError("--record takes one process: leave --numprocesses out")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what needs the `export` extra where it is not installed, and imports of files that -m leaves out."""
    places = [*(EXPORT_ALONE if MISSING else ())]
    for marker, marked in MARKED.items():
        if f"not {marker}" in config.option.markexpr:
            places += marked
    return True if collection_path in {HERE / place for place in places} else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what the tables name. Long files come first, so that no core is idle while the last one runs."""
    for item in items:
        place = f"{item.path.relative_to(HERE).as_posix()}::{getattr(item, 'originalname', item.name)}"
        for marker, places in MARKED.items():
            if any(place.startswith((f"{each}/", f"{each}::")) or place == each for each in places):
                item.add_marker(marker)
        for fixture in FIXTURES.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(FIXTURES[fixture])
    marked = Counter(item.path for item in items for marker in ("slow", "oracle") if item.get_closest_marker(marker))
    items.sort(key=lambda item: (item.path != HERE / "test_export.py", not marked[item.path]))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Note what is imported before the test's fixtures are made."""
    item.stash[IMPORTED] = set(HEAVY.keys() & sys.modules.keys())
    yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Fail a test that imports a heavy package without the marker that says so."""
    yield
    before = item.stash[IMPORTED]
    for name in HEAVY.keys() & sys.modules.keys() - before:
        if not HEAVY[name] & {marker.name for marker in item.iter_markers()}:
            pytest.fail(f"imports {name}: mark it {' or '.join(sorted(HEAVY[name]))} (tests/conftest.py)")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what is left out."""
    if not MISSING:
        return []
    return [f"left out without the extra 'export' ({', '.join(MISSING)} missing): {', '.join(EXPORT_ALONE)}"]


@pytest.fixture(scope="session")
def oracle_value() -> Callable[[str, tuple[int, ...]], NDArray[np.float32]]:
    """`value(name, shape)`: the oracle's weight of a parameter, float32."""
    value: Callable[[str, tuple[int, ...]], NDArray[np.float32]] = load_script(DATA / "oracle" / "rule.py").value
    return value


@pytest.fixture(scope="session")
def oracle_inputs() -> NDArray[np.float32]:
    """The oracle's four inputs: float32 (4, 3, 224, 224)."""
    inputs: NDArray[np.float32] = load_script(DATA / "oracle" / "rule.py").inputs()
    return inputs


@pytest.fixture(scope="session")
def oracle_names() -> dict[str, list[int]]:
    """Official parameter name -> shape, of the 1x network."""
    pairs: list[tuple[str, list[int]]] = json.loads((DATA / "oracle" / "names_1x.json").read_text())
    return dict(pairs)


@pytest.fixture(scope="session")
def oracle_logits() -> dict[str, NDArray[np.float32]]:
    """Network (``1x``, ``nose_1x``, ``ghostnetv2_100``, ...) -> logits float32 (4, 1000) of the oracle's inputs."""
    merged: dict[str, Any] = {}
    for file in ("official.npz", "timm.npz"):
        with np.load(DATA / "oracle" / file) as archive:
            merged |= {key: archive[key] for key in archive.files}
    return merged


@pytest.fixture(scope="session")
def oracle_weights(
    oracle_value: Callable[[str, tuple[int, ...]], NDArray[np.float32]], oracle_names: dict[str, list[int]]
) -> dict[str, NDArray[np.float32]]:
    """Official parameter name -> the oracle's weight, of the 1x network."""
    return {name: oracle_value(name, tuple(shape)) for name, shape in oracle_names.items()}


@pytest.fixture(scope="session")
def oracle_checkpoint(oracle_weights: dict[str, NDArray[np.float32]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 1x checkpoint with the oracle's weights, like an official one: nothing recorded, so bilinear align_corners."""
    from ghostedge.ghostnet.ckpt_format import write_ckpt

    path = tmp_path_factory.mktemp("oracle") / "oracle_1x.ckpt"
    write_ckpt(path, oracle_weights, {})
    return path


class OracleRecording:
    """The MindIR of `oracle_checkpoint` as MindSpore exported it, kept without its weights, which are the oracle's."""

    path = DATA / "mindir" / "ghostnetv2_1x.npz"

    @classmethod
    def write(cls, mindir: bytes, weights: dict[str, NDArray[np.float32]], mindspore: str) -> None:
        """Cut the weights out of `mindir` and keep the rest, with the version that made it."""
        places = sorted((mindir.index(weight.tobytes()), name) for name, weight in weights.items())
        rest, end = b"", 0
        for start, name in places:
            rest, end = rest + mindir[end:start], start + weights[name].nbytes
        starts, names = zip(*places, strict=True)
        kept = np.frombuffer(rest + mindir[end:], np.uint8)
        np.savez_compressed(cls.path, rest=kept, starts=starts, names=names, mindspore=mindspore)

    @classmethod
    def mindspore(cls) -> str:
        """The version that made it."""
        with np.load(cls.path) as archive:
            return str(archive["mindspore"])

    @classmethod
    def read(cls, weights: dict[str, NDArray[np.float32]]) -> bytes:
        """The whole MindIR."""
        with np.load(cls.path) as archive:
            rest: bytes = archive["rest"].tobytes()
            places = zip(archive["starts"], archive["names"], strict=True)
        mindir, read = bytearray(), 0
        for start, name in places:
            more = start - len(mindir)
            mindir += rest[read : read + more] + weights[name].tobytes()
            read += more
        return bytes(mindir) + rest[read:]


@pytest.fixture(scope="session")
def oracle_recording() -> type[OracleRecording]:
    """Reads and writes the MindIR that `oracle_mindir` is made of."""
    return OracleRecording


@pytest.fixture(scope="session")
def oracle_mindir(oracle_checkpoint: Path, oracle_weights: dict[str, NDArray[np.float32]]) -> Path:
    """`oracle_checkpoint` as `MindIRStage` exports it, 224 x 224, beside it.

    A recording: tests/mindir/test_from_checkpoint.py holds MindSpore's own export against it, byte by byte.
    """
    path = oracle_checkpoint.with_suffix(".mindir")
    path.write_bytes(OracleRecording.read(oracle_weights))
    return path


@pytest.fixture(scope="session")
def photo_dir() -> Path:
    """The folder of real ImageNet photos that lies beside the project; the test is skipped where it is absent."""
    folder = SHARED / "images"
    if not folder.is_dir():
        pytest.skip("left out: the ImageNet photos (../shared/images) are not here")
    return folder


@pytest.fixture(scope="session")
def photos(photo_dir: Path) -> list[Path]:
    """The 66 photos, sorted by name."""
    return sorted(photo_dir.glob("*.JPEG"))


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small image classifier as ONNX: input (batch, 3, 32, 32), logits (batch, 5), with what GhostNetV2 is made of.

    A strided convolution with symmetric pads, a depthwise 1 x 5 one, a hard sigmoid gate, a pooled branch that is
    resized back (bilinear, align_corners), a concatenation, a dense layer.
    """
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(7)
    make, constants, nodes = onnx.helper.make_node, [], []

    def constant(name: str, value: NDArray[Any]) -> str:
        constants.append(onnx.numpy_helper.from_array(value, name))
        return name

    def conv(name: str, x: str, y: str, shape: tuple[int, ...], **attributes: Any) -> None:
        weight = (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        bias = rng.standard_normal(shape[0]).astype(np.float32)
        inputs = [x, constant(f"{name}.weight", weight), constant(f"{name}.bias", bias)]
        nodes.append(make("Conv", inputs, [y], name, **attributes))

    conv("stem", "input", "a", (8, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
    nodes.append(make("Relu", ["a"], ["b"], "stem_relu"))
    conv("cheap", "b", "c", (8, 1, 1, 5), group=8, pads=[0, 2, 0, 2])
    nodes.append(make("ReduceMean", ["c"], ["d"], "squeeze", axes=[2, 3], keepdims=1))
    nodes.append(make("HardSigmoid", ["d"], ["e"], "excite", alpha=1 / 6, beta=0.5))
    nodes.append(make("Mul", ["c", "e"], ["f"], "scale"))
    nodes.append(make("AveragePool", ["b"], ["g"], "gate_pool", kernel_shape=[2, 2], strides=[2, 2]))
    nodes.append(make("Sigmoid", ["g"], ["h"], "gate"))
    attributes = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    scales = constant("gate_scales", np.array([1, 1, 2, 2], np.float32))
    nodes.append(make("Resize", ["h", "", scales], ["i"], "gate_resize", **attributes))
    nodes.append(make("Mul", ["f", "i"], ["j"], "gated"))
    nodes.append(make("Concat", ["b", "j"], ["k"], "ghost", axis=1))
    nodes.append(make("GlobalAveragePool", ["k"], ["l"], "pool"))
    nodes.append(make("Flatten", ["l"], ["m"], "flatten"))
    weight, bias = rng.standard_normal((5, 16)).astype(np.float32), rng.standard_normal(5).astype(np.float32)
    dense = ["m", constant("head.weight", weight), constant("head.bias", bias)]
    nodes.append(make("Gemm", dense, ["logits"], "head", transB=1))
    float32, info = onnx.TensorProto.FLOAT, onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "tiny",
        [info("input", float32, ["batch", 3, 32, 32])],
        [info("logits", float32, ["batch", 5])],
        constants,
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    path = tmp_path_factory.mktemp("tiny") / "tiny.onnx"
    onnx.save(model, path)
    return path


LINEAR_WEIGHTS = np.array([[1, 0, -1, 0.5], [0, 1, -1, 0.5], [0.25, -0.25, 1, 0.5]], np.float32)
LINEAR_BIAS = np.array([0.1, -0.2, 0.3, 0.0], np.float32)


@pytest.fixture(scope="session")
def linear_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Format -> a model file whose 4 logits are ``mean over the 8 x 8 pixels @ weights + bias``, without a description.

    ``onnx`` and ``openvino`` take (n, 3, 8, 8) with a dynamic batch, ``tflite`` takes (1, 8, 8, 3).
    """
    onnx = pytest.importorskip("onnx")
    try:
        openvino = require("openvino", "openvino")
    except MissingExtraError as exc:
        pytest.skip(f"left out: {exc}")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    folder = tmp_path_factory.mktemp("linear")
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0),
            helper.make_node("Gemm", ["mean", "weights", "bias"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(LINEAR_WEIGHTS, "weights"), numpy_helper.from_array(LINEAR_BIAS, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "linear.onnx")
    openvino.save_model(openvino.convert_model(folder / "linear.onnx"), folder / "linear.xml", compress_to_fp16=False)
    return {
        "onnx": folder / "linear.onnx",
        "openvino": folder / "linear.xml",
        "tflite": DATA / "linear" / "fp32.tflite",
    }


@pytest.fixture(scope="session")
def linear_logits() -> Callable[[NDArray[Any]], NDArray[Any]]:
    """What every one of `linear_models` computes, in numpy: (n, 8, 8, 3) -> (n, 4)."""
    return lambda images: images.mean(axis=(1, 2)) @ LINEAR_WEIGHTS + LINEAR_BIAS


@pytest.fixture(scope="session")
def float16_tflite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The TFLite one of `linear_models`, which lets CPUs with float16 arithmetic compute in it."""
    pytest.importorskip("flatbuffers")
    pytest.importorskip("ai_edge_litert")
    from ghostedge.tflite.flatbuffer import pack, unpack
    from ghostedge.tflite.float16 import allow_float16

    source = Path(__file__).parent / "data" / "linear" / "fp32.tflite"
    model = unpack(source.read_bytes(), source.name)
    allow_float16(model)
    path = tmp_path_factory.mktemp("float16") / "linear.tflite"
    path.write_bytes(pack(model))
    return path


def convert_tiny(tiny_onnx: Path, folder: Path) -> dict[str, Model]:
    """``"fp32"``, ``"fp16"`` -> what `TFLiteStage` makes of `tiny_onnx` without rewrites; labels ``class 0``, ...."""
    from ghostedge.tflite.from_onnx import TFLiteStage

    outputs = tuple(replace(model, path=folder / model.path.name) for model in TINY_TFLITE.values())
    stage_outputs = tuple(StageOutput(model, {"rewrites": []}) for model in outputs)
    source = Model(tiny_onnx, "onnx", replace(outputs[0].input, layout="NCHW"), outputs[0].labels)
    return {model.precision: model for model in TFLiteStage().build(source, stage_outputs)}


#: The recordings of `convert_tiny`, and the packages that made them: others write other bytes.
TINY_TFLITE = {
    precision: Model(
        DATA / "tiny_tflite" / f"tiny_{precision}.tflite",
        "tflite",
        InputSpec(height=32, width=32, resize=36, layout="NHWC"),
        tuple(f"class {index}" for index in range(5)),
        precision,
    )
    for precision in ("fp32", "fp16")
}
TINY_TFLITE_PACKAGES = {"onnx2tf": "1.29.24", "tensorflow": "2.19.0"}


def other_packages() -> bool:
    """Whether others than `TINY_TFLITE_PACKAGES` are installed."""
    versions = {name: importlib.metadata.version(name) for name in TINY_TFLITE_PACKAGES if name not in MISSING}
    return not versions.items() <= TINY_TFLITE_PACKAGES.items()


@pytest.fixture(scope="session")
def tiny_tflite(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """``"fp32"``, ``"fp16"`` -> what `TFLiteStage` makes of `tiny_onnx` without rewrites; labels ``class 0``, ....

    Recordings (tests/tflite/test_recorded.py), where the packages that made them are installed.
    """
    folder = tmp_path_factory.mktemp("tiny_tflite")
    if other_packages():
        return convert_tiny(tiny_onnx, folder)
    for model in TINY_TFLITE.values():
        shutil.copy(model.path, folder)
    return {precision: replace(model, path=folder / model.path.name) for precision, model in TINY_TFLITE.items()}


@pytest.fixture(scope="session")
def converted_tiny_tflite(tiny_onnx: Path, request: pytest.FixtureRequest) -> dict[str, bytes]:
    """``"fp32"``, ``"fp16"`` -> the bytes that `TFLiteStage` makes of `tiny_onnx` now; with ``--record``, recorded."""
    if other_packages():
        pytest.skip(f"left out: the recordings were made with {TINY_TFLITE_PACKAGES}")
    with tempfile.TemporaryDirectory() as folder:
        made = convert_tiny(tiny_onnx, Path(folder))
        if request.config.getoption("record"):
            for precision, model in made.items():
                shutil.copy(model.path, TINY_TFLITE[precision].path)
        return {precision: model.path.read_bytes() for precision, model in made.items()}


@pytest.fixture(scope="session")
def make_ledger() -> Callable[..., Any]:
    """`make_ledger(logits, labels, **what)`: the ledger that a model with these logits would leave.

    `what`: `file`, `precision`, `runtime`, `ids`, `errors`, `keep_logits`, `content_crc32` (the row's number unless
    given), and every field of `LedgerMetadata`.
    """
    from ghostedge.evaluation.columns import rows_of_logits
    from ghostedge.evaluation.ledger import Ledger, LedgerMetadata, ids_sha256
    from ghostedge.model import InputSpec

    def make(
        logits: NDArray[np.float32],
        labels: NDArray[np.int32],
        *,
        file: str = "model.tflite",
        precision: str = "fp32",
        runtime: str = "LiteRT",
        ids: list[str] | None = None,
        errors: list[str | None] | None = None,
        keep_logits: bool = False,
        content_crc32: NDArray[np.int64] | None = None,
        **metadata: Any,
    ) -> Ledger:
        count, classes = logits.shape
        names = np.array(ids or [f"ILSVRC2012_val_{i + 1:08d}.JPEG" for i in range(count)])
        content = np.arange(count) if content_crc32 is None else content_crc32
        rows = rows_of_logits(
            names, labels, logits, errors or [None] * count, keep_logits=keep_logits, content_crc32=content
        )
        fields: dict[str, Any] = {
            "model": {
                "file": file,
                "sha256": hashlib.sha256(file.encode()).hexdigest(),
                "format": {"ckpt": "checkpoint", "xml": "openvino"}.get(
                    file.rpartition(".")[2], file.rpartition(".")[2]
                ),
                "precision": precision,
            },
            "input": InputSpec(),
            "preprocessing": "opencv_linear",
            "runtime": {"name": runtime, "version": "1.2.3"},
            "device": "CPU",
            "host": {"machine": "aarch64", "system": "Linux", "cpu": "Cortex-A76", "python": "3.11.9"},
            "classes": classes,
            "dataset": {"images": count, "ids_sha256": ids_sha256(names)},
            "is_reference": file.endswith(".ckpt"),
            "checkpoint_sha256": "c" * 64,
        }
        return Ledger.of(LedgerMetadata(**{**fields, **metadata}), rows)

    return make


@pytest.fixture(scope="session")
def paired_logits() -> Callable[..., Any]:
    """`paired_logits(losses=..., gains=..., others=...)`: labels, and logits of two models that differ in just these.

    Returns labels int32 (images,), reference and candidate float32 (images, classes); 74% of the reference is right,
    the candidate's logits carry noise of the size `noise` that turns no other decision.
    """

    def make(
        *,
        losses: int = 0,
        gains: int = 0,
        others: int = 0,
        images: int = 2000,
        classes: int = 20,
        noise: float = 1e-3,
        seed: int = 0,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, classes, images).astype(np.int32)
        reference = rng.normal(0, 1.5, (images, classes))
        row = np.arange(images)
        right = row < 0.74 * images
        best = np.where(right, labels, (labels + 1 + rng.integers(0, classes - 1, images)) % classes)
        reference[row, best] = reference.max(axis=1) + 4 * noise * np.sqrt(classes) + rng.exponential(2.0, images)
        candidate = reference + np.clip(rng.normal(0, noise, reference.shape), -2 * noise, 2 * noise)

        def flip(rows: NDArray[np.intp], winner: NDArray[Any]) -> None:
            candidate[rows, winner] = candidate[rows].max(axis=1) + 0.01 + rng.exponential(0.5, len(rows))

        lost = np.flatnonzero(right)[:losses]
        wrong = np.flatnonzero(~right)
        gained, other = wrong[:gains], wrong[gains : gains + others]
        assert (len(lost), len(gained), len(other)) == (losses, gains, others), "more flips than images for them"
        flip(lost, (labels[lost] + 1) % classes)
        flip(gained, labels[gained])
        neither = (labels[other] + 1) % classes
        flip(other, np.where(neither == best[other], (labels[other] + 2) % classes, neither))
        return labels, reference.astype(np.float32), candidate.astype(np.float32)

    return make


@pytest.fixture(scope="session")
def int8_irs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """``"saturates"``, ``"fits"`` -> an int8 IR of one function: (1, 3, 8, 8), 0..255 -> 7 logits, means of positions.

    The logits are ``matrix @ colour`` (`int8_ir_logits`). In the first the weights of red and green reach 126, so that
    the sum of two products goes beyond 16 bits on bright images; in the second they stop at 63.
    """
    ov = require("openvino", "openvino")
    folder = tmp_path_factory.mktemp("int8_irs")
    made = {"saturates": folder / "saturates.xml", "fits": folder / "fits.xml"}
    for path, limit in zip(made.values(), (126, 63), strict=True):
        write_int8_ir(ov, path, np.rint(INT8_MATRIX * limit).astype(np.int8), 1 / (255 * limit))
    return made


#: Of `int8_irs`: (7, 3), multiples of 1/63.
INT8_MATRIX = np.rint(np.random.default_rng(3).uniform(0.6, 1, (7, 3)) * [[1, 1, -1]] * 63) / 63


def write_int8_ir(ov: Any, path: Path, integers: NDArray[np.int8], step: float, side: int = 8) -> None:
    """An int8 IR with the weights ``integers * step``, (classes, 3), of a 1 x 1 convolution, as ghostedge writes it."""
    ops = ov.opset13

    def constant(value: Any) -> Any:
        return ops.constant(np.asarray(value, np.float32))

    image = ops.parameter([1, 3, side, side], np.float32, "image")
    levels = ops.fake_quantize(image, constant(0), constant(255), constant(0), constant(255), 256)
    wide = ops.convert(ops.constant(integers[:, :, None, None]), np.float32)
    weights = ops.multiply(wide, constant(np.full((len(integers), 1, 1, 1), step)))
    colours = ops.convolution(levels, weights, [1, 1], [0, 0], [0, 0], [1, 1])
    logits = ops.reduce_mean(colours, ops.constant(np.array([2, 3])), keep_dims=False)
    logits.set_friendly_name("logits")
    ov.save_model(ov.Model([logits], [image], "int8"), path, compress_to_fp16=False)


@pytest.fixture(scope="session")
def int8_ir_logits() -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """What the models of `int8_irs` compute, in numpy: (n, 3, 8, 8) -> (n, 7)."""
    return lambda images: (images.mean(axis=(2, 3)) @ INT8_MATRIX.T / 255).astype(np.float32)
