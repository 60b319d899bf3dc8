"""TFLite out of ONNX: the same logits, all on XNNPACK, and a conversion process that never outlives its use."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from ghostedge.compare import compare
from ghostedge.data.preprocess import normalise
from ghostedge.errors import ConvertError, MissingExtraError, UsageError
from ghostedge.lazy import require
from ghostedge.model import InputSpec, Model, StageOutput
from ghostedge.runtimes import open_runtime
from ghostedge.tflite import from_onnx as tflite
from ghostedge.tflite.coverage import coverage
from ghostedge.tflite.flatbuffer import pack, unpack
from ghostedge.tflite.float16 import allows_float16
from ghostedge.tflite.from_onnx import TFLiteStage
from ghostedge.tflite.graph import Graph, schema

NCHW = InputSpec(height=32, width=32, resize=36)
NHWC = dataclasses.replace(NCHW, layout="NHWC")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for the temporary files of the test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def infer(path: Path, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits of an NCHW batch, the interpreter's input resized to its size."""
    interpreter = require("ai_edge_litert.interpreter", "tflite").Interpreter(model_path=str(path))
    nhwc = np.ascontiguousarray(batch.transpose(0, 2, 3, 1))
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], nhwc.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], nhwc)
    interpreter.invoke()
    logits: NDArray[np.float32] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return logits


# float32 sums in another order: about 130 dB; weights of 11 bits: about 66 dB.
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 110), ("fp16", 55)])
@pytest.mark.parametrize("images", [1, 3])
def test_tflite_gives_the_logits_of_the_onnx(
    tiny_tflite: dict[str, Model], tiny_onnx: Path, precision: str, bound: float, images: int
) -> None:
    batch = np.random.default_rng(0).standard_normal((images, 3, 32, 32), dtype=np.float32)
    (expected,) = onnxruntime.InferenceSession(tiny_onnx).run(None, {"input": batch})
    difference = expected - infer(tiny_tflite[precision].path, batch)
    assert 10 * np.log10((expected**2).sum() / (difference**2).sum()) > bound


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_all_of_it_is_on_xnnpack_in_nhwc(tiny_tflite: dict[str, Model], precision: str) -> None:
    path = tiny_tflite[precision].path
    assert coverage(path).whole
    assert unpack(path.read_bytes(), "tiny").spatial_transposes() == ()
    interpreter = require("ai_edge_litert.interpreter", "tflite").Interpreter(model_path=str(path))
    ports = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    assert [(p["name"], p["shape"].tolist(), p["dtype"]) for p in ports] == [
        ("input", [1, 32, 32, 3], np.float32),
        ("logits", [1, 5], np.float32),
    ]
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["input"], "outputs": ["logits"]}}


def test_float16_is_allowed_where_the_recipe_asks_for_it(
    tiny_tflite: dict[str, Model], tiny_onnx: Path, tmp_path: Path
) -> None:
    asked = StageOutput(
        Model(tmp_path / "f16.tflite", "tflite", NHWC, precision="fp16"),
        options={"rewrites": [], "inference_precision": "f16"},
    )
    wanted = Model(
        tmp_path / "raw.tflite", "tflite", dataclasses.replace(NHWC, range="raw", dtype="uint8"), precision="fp16"
    )
    raw = dataclasses.replace(asked, model=wanted)
    source = Model(tiny_onnx, "onnx", NCHW)
    made, made_raw = TFLiteStage().build(source, (asked, raw))
    assert (allows_float16(made.path), allows_float16(tiny_tflite["fp16"].path)) == (True, False)
    pixels = np.random.default_rng(5).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    for artifact, batch in ((made, normalise(pixels, NHWC)), (made_raw, pixels)):
        with open_runtime(artifact) as runtime:
            float32 = runtime.run(batch)
        with open_runtime(artifact, float16=True) as runtime:
            float16 = runtime.run(batch)
        assert np.array_equal(float16, float16.astype(np.float16))
        assert compare(float32, float16).snr_db > 50


@pytest.mark.parametrize("precision", ["fp32", "equalised"])
def test_float32_stays_float32(tiny_onnx: Path, tmp_path: Path, precision: str) -> None:
    output = StageOutput(
        Model(tmp_path / "m.tflite", "tflite", NHWC, precision=precision), options={"inference_precision": "f16"}
    )
    with pytest.raises(UsageError, match=rf"is for dynamic and fp16, not {precision}"):
        TFLiteStage().build(Model(tiny_onnx, "onnx", NCHW), (output,))
    unknown = dataclasses.replace(output, options={"inference_precision": "f8"})
    with pytest.raises(UsageError, match="unknown inference_precision 'f8'"):
        TFLiteStage().build(Model(tiny_onnx, "onnx", NCHW), (unknown,))


def test_the_same_onnx_gives_the_same_bytes_and_leaves_nothing_else(
    tiny_tflite: dict[str, Model], tiny_onnx: Path, tmp_path: Path, temporary: Path
) -> None:
    first = tiny_tflite["fp32"]
    output = StageOutput(Model(tmp_path / first.path.name, "tflite", NHWC, first.labels), {"rewrites": []})
    stage = TFLiteStage()
    stage.prepare()  # with or without it
    (again,) = stage.build(Model(tiny_onnx, "onnx", NCHW), (output,))
    assert again == dataclasses.replace(first, path=output.path)
    assert again.path.read_bytes() == first.path.read_bytes()
    assert list(temporary.iterdir()) == []


def test_a_failed_conversion_names_the_operator_and_keeps_the_log(tmp_path: Path, temporary: Path) -> None:
    info, float32 = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("GlobalAveragePool", ["input"], ["a"], "pool"),
            onnx.helper.make_node("Asinh", ["a"], ["b"], "head"),  # TFLite has no such operator
            onnx.helper.make_node("Flatten", ["b"], ["logits"], "flatten"),
        ],
        "unsupported",
        [info("input", float32, ["batch", 3, 32, 32])],
        [info("logits", float32, ["batch", 3])],
    )
    source = tmp_path / "unsupported.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), source)
    output = StageOutput(Model(tmp_path / "unsupported.tflite", "tflite", NHWC))
    with pytest.raises(ConvertError, match=r"unsupported\.onnx to TFLite: \w+: .*Asinh") as caught:
        TFLiteStage().build(Model(source, "onnx", NCHW), (output,))
    assert "\n" not in str(caught.value)
    (log,) = temporary.iterdir()
    assert str(log) in str(caught.value)
    assert "Traceback" in log.read_text()
    assert not output.path.exists()


# -- what is not fast is refused ---------------------------------------------------------------------------------------


def finish(raw: bytes, tmp_path: Path, **fields: Any) -> Model:
    """`tflite.finish` on what a converter wrote."""
    order_dependent = bool(fields.pop("order_dependent", ()))
    output = StageOutput(Model(tmp_path / "made.tflite", "tflite", NHWC), **fields)
    return tflite.finish(unpack(raw, "raw"), output, tmp_path / "source.onnx", ("input", "logits"), order_dependent)


def with_an_operator_that_xnnpack_lacks(graph: Graph) -> bytes:
    kinds = schema().BuiltinOperator
    (code,) = (c for c in graph.model.operatorCodes if c.builtinCode == kinds.LOGISTIC)
    code.builtinCode, code.deprecatedBuiltinCode = kinds.RELU_0_TO_1, kinds.PLACEHOLDER_FOR_GREATER_OP_CODES
    return pack(graph)


def with_a_transposed_feature_map(graph: Graph) -> bytes:
    """Exchange rows and columns of the (square) feature map that the gate's resizing reads."""
    resized = next(operator for operator in graph.operators if operator.kind == "RESIZE_BILINEAR")
    image, size = resized.inputs
    order = graph.add_constant(np.array([0, 2, 1, 3], np.int32), "order")
    transposed = graph.add_tensor(graph.shape(image), "FLOAT32", "transposed")
    resized.inputs = [transposed, size]
    graph.replace(resized, [graph.make("TRANSPOSE", [image, order], [transposed]), resized])
    return pack(graph)


def test_operators_off_xnnpack_are_refused_unless_the_recipe_accepts_them(
    tiny_tflite: dict[str, Model], tmp_path: Path
) -> None:
    graph = unpack(tiny_tflite["fp32"].path.read_bytes(), "tiny")
    raw = with_an_operator_that_xnnpack_lacks(graph)
    with pytest.raises(ConvertError, match=r"would be slow: .* partitions, operators left out: RELU_0_TO_1; .*report"):
        finish(raw, tmp_path)
    assert not (tmp_path / "made.tflite").exists()
    made = finish(raw, tmp_path, options={"xnnpack": "report"})
    assert coverage(made.path).outside == ("RELU_0_TO_1",)


def test_a_layout_transpose_is_refused_unless_the_onnx_needs_the_order(
    tiny_tflite: dict[str, Model], tmp_path: Path
) -> None:
    graph = unpack(tiny_tflite["fp32"].path.read_bytes(), "tiny")
    raw = with_a_transposed_feature_map(graph)
    with pytest.raises(ConvertError, match=r"1 layout transpose.* the first makes transposed"):
        finish(raw, tmp_path)
    made = finish(raw, tmp_path, order_dependent=("flatten",))
    assert unpack(made.path.read_bytes(), "made").spatial_transposes() == ("transposed",)


def test_what_cannot_be_made_is_refused_by_name(tiny_onnx: Path, tmp_path: Path) -> None:
    def build(**fields: Any) -> None:
        options = fields.pop("options", {})
        output = StageOutput(Model(tmp_path / "x.tflite", "tflite", **{"input": NHWC, **fields}), options)
        TFLiteStage().build(Model(tiny_onnx, "onnx", NCHW), (output,))

    with pytest.raises(UsageError, match="unknown precision 'int9'"):
        build(precision="int9")
    with pytest.raises(UsageError, match="did you mean 'xnnpack'"):
        build(options={"xnpack": "report"})
    with pytest.raises(UsageError, match="did you mean 'require'"):
        build(options={"xnnpack": "required"})
    with pytest.raises(ConvertError, match="in NHWC layout"):
        build(input=NCHW)
    with pytest.raises(ConvertError, match="must be that of"):
        build(input=dataclasses.replace(NHWC, mean=(0.5, 0.5, 0.5)))


# -- the process -------------------------------------------------------------------------------------------------------


def gone(pid: int) -> bool:
    """Whether a process of another parent has ended (a zombie has)."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_the_conversion_process_dies_with_its_killed_parent_and_cleans_up(temporary: Path) -> None:
    code = (
        "import time\n"
        "from ghostedge.tflite.from_onnx import TFLiteStage\n"
        "stage = TFLiteStage()\n"
        "stage.prepare()\n"
        "print(stage._worker._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        worker = int(parent.stdout.readline())
        assert wait_until(lambda: len(list(temporary.glob("*/"))) == 1, 10)
        os.kill(parent.pid, signal.SIGKILL)
    assert wait_until(lambda: gone(worker), 20)
    assert wait_until(lambda: not list(temporary.glob("*/")), 5)


def test_close_stops_a_build_in_another_thread(tiny_onnx: Path, tmp_path: Path, temporary: Path) -> None:
    stage = TFLiteStage()
    stage.prepare()
    errors: list[BaseException] = []

    def build() -> None:
        try:
            stage.build(Model(tiny_onnx, "onnx", NCHW), (StageOutput(Model(tmp_path / "x.tflite", "tflite", NHWC)),))
        except ConvertError as exc:
            errors.append(exc)

    thread = threading.Thread(target=build)
    thread.start()
    time.sleep(0.5)
    stage.close()
    thread.join(10)
    assert not thread.is_alive()
    assert "ended with signal SIGKILL" in str(errors[0])
    assert not list(temporary.glob("*/"))
    stage.close()  # once more does no harm


def test_a_missing_package_is_named_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx2tf" else find(name))
    with pytest.raises(MissingExtraError, match=r"pip install .*\[export\]'"):
        TFLiteStage().prepare()


# -- rewrites ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rewrites", ["pool_as_depthwise", ["pool_as_depth"], True])
def test_rewrites_are_a_list_of_their_names(tiny_onnx: Path, tmp_path: Path, rewrites: Any) -> None:
    output = StageOutput(Model(tmp_path / "tiny.tflite", "tflite", NHWC), options={"rewrites": rewrites})
    with pytest.raises(UsageError, match="pool_as_depthwise"):
        TFLiteStage().build(Model(tiny_onnx, "onnx", NCHW), (output,))


def test_a_recipe_chooses_its_rewrites(tiny_onnx: Path, tiny_tflite: dict[str, Model], tmp_path: Path) -> None:
    """Two precisions with different rewrites in one build: each gets its own."""
    outputs = (
        StageOutput(Model(tmp_path / "plain.tflite", "tflite", NHWC, precision="fp16"), options={"rewrites": []}),
        StageOutput(Model(tmp_path / "fast.tflite", "tflite", NHWC)),
    )
    TFLiteStage().build(Model(tiny_onnx, "onnx", NCHW), outputs)

    def pools(path: Path) -> bool:
        return any(o.kind == "AVERAGE_POOL_2D" for o in unpack(path.read_bytes(), path.name).operators)

    assert pools(tmp_path / "plain.tflite")
    assert not pools(tmp_path / "fast.tflite")
    batch = np.random.default_rng(0).standard_normal((1, 3, 32, 32), dtype=np.float32)
    plain, fast = (infer(path, batch) for path in (tiny_tflite["fp32"].path, tmp_path / "fast.tflite"))
    assert np.abs(plain - fast).max() < 1e-5 * np.abs(plain).max()
