"""What `inspect` says of one small network in every format, and of files that are no model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from ghostedge.errors import ArtifactError
from ghostedge.inspection import ModelSummary, Port, inspect
from ghostedge.lazy import require
from ghostedge.model import InputSpec, Model, StageOutput
from ghostedge.openvino.from_onnx import OpenVinoStage
from ghostedge.tflite.flatbuffer import pack, unpack

SPEC = InputSpec(height=32, width=32, resize=36)
LABELS = tuple(f"class {index}" for index in range(5))

#: By hand: the stem 16 x 16 x 8 x (3 x 3 x 3), the depthwise convolution 16 x 16 x 8 x 5, the dense layer 16 x 5.
MACS = 16 * 16 * 8 * 27 + 16 * 16 * 8 * 5 + 16 * 5

#: Likewise, with biases.
PARAMETERS = (8 * 27 + 8) + (8 * 5 + 8) + (16 * 5 + 5)


@pytest.fixture(scope="session")
def tiny_ir(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tiny_ir")
    outputs = tuple(StageOutput(Model(folder / f"tiny_{p}.xml", "openvino", SPEC, LABELS, p)) for p in ("fp32", "fp16"))
    return {a.precision: a.path for a in OpenVinoStage().build(Model(tiny_onnx, "onnx", SPEC), outputs)}


@pytest.fixture(scope="session")
def summaries(tiny_onnx: Path, tiny_ir: dict[str, Path], tiny_tflite: dict[str, Model]) -> dict[str, ModelSummary]:
    tflite = {f"tflite {precision}": artifact.path for precision, artifact in tiny_tflite.items()}
    ir = {f"openvino {precision}": path for precision, path in tiny_ir.items()}
    return {name: inspect(path) for name, path in {"onnx": tiny_onnx, **ir, **tflite}.items()}


def test_every_format_has_the_same_network(summaries: dict[str, ModelSummary]) -> None:
    for name, summary in summaries.items():
        assert summary.macs == MACS, name
        # The Resize's scales and the hard sigmoid's constants come on top in some.
        assert PARAMETERS <= summary.weights.parameters <= PARAMETERS + 8, name
        assert (summary.quantised_per_tensor, summary.quantised_per_channel) == (0, 0)


def test_inputs_and_outputs_are_as_the_file_has_them(summaries: dict[str, ModelSummary]) -> None:
    logits: dict[str, tuple[int | str, ...]] = {"onnx": ("batch", 5), "openvino fp32": ("?", 5), "tflite fp32": (1, 5)}
    images: dict[str, tuple[int | str, ...]] = {
        "onnx": ("batch", 3, 32, 32),
        "openvino fp32": ("?", 3, 32, 32),
        "tflite fp32": (1, 32, 32, 3),
    }
    for name in logits:
        assert summaries[name].inputs == (Port("input", "float32", images[name]),)
        assert summaries[name].outputs == (Port("logits", "float32", logits[name]),)


def test_operators_are_counted_without_constants(summaries: dict[str, ModelSummary]) -> None:
    assert summaries["onnx"].operators["Conv"] == 2
    assert {"Convolution", "GroupConvolution", "Interpolate", "MatMul"} <= summaries["openvino fp32"].operators.keys()
    assert not {"Const", "Parameter", "Result"} & summaries["openvino fp32"].operators.keys()
    assert summaries["tflite fp32"].operators["CONV_2D"] == summaries["tflite fp32"].operators["DEPTHWISE_CONV_2D"] == 1


def test_weights_are_stored_as_the_precision_says(summaries: dict[str, ModelSummary]) -> None:
    for name, summary in summaries.items():
        dtype = "float16" if name.endswith("fp16") else "float32"
        assert summary.weights.dtypes[dtype] >= PARAMETERS, name
        assert summary.weights.stored_bytes >= PARAMETERS * np.dtype(dtype).itemsize
        assert summary.file_bytes == sum(Path(summary.path.parent, file).stat().st_size for file in summary.files)


def test_the_embedded_description_is_shown(summaries: dict[str, ModelSummary]) -> None:
    for name in ("openvino fp16", "tflite fp16"):
        described = summaries[name].description
        assert described is not None
        assert (described.labels, described.precision, described.input.height) == (LABELS, "fp16", 32)
    assert summaries["onnx"].description is None


def test_tflite_says_what_runs_fast(summaries: dict[str, ModelSummary]) -> None:
    summary = summaries["tflite fp32"]
    assert summary.xnnpack is not None
    assert summary.xnnpack.whole
    assert summary.xnnpack.nodes == sum(summary.operators.values())
    assert summary.spatial_transposes == ()


def test_a_summary_is_json(summaries: dict[str, ModelSummary]) -> None:
    for summary in summaries.values():
        plain = json.loads(json.dumps(summary.to_dict()))
        assert plain["macs"] == MACS
        assert plain["file_bytes"] == summary.file_bytes


def test_quantised_tensors_are_told_apart(tiny_tflite: dict[str, Model], tmp_path: Path) -> None:
    schema = require("ai_edge_litert.schema_py_generated", "tflite")
    graph = unpack(tiny_tflite["fp32"].path.read_bytes(), "tiny")
    constants = [t for i, t in enumerate(graph.tensors) if len(t.shape) == 4 and graph.stored(i) is not None]
    for tensor, steps in zip(constants, (1, 8), strict=True):
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [0.5] * steps, [0] * steps
    path = tmp_path / "quantised.tflite"
    graph.model.metadata = None  # it lists the files at the original's end
    path.write_bytes(pack(graph))
    summary = inspect(path)
    assert (summary.quantised_per_tensor, summary.quantised_per_channel) == (1, 1)


# -- files that are no model, or not a whole one -----------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".onnx", ".tflite", ".xml", ".mindir"])
@pytest.mark.parametrize("content", [b"", b"hello, world\n" * 20, bytes(range(256)) * 40, b"<html></html>"])
def test_a_file_of_another_kind_is_one_line(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"foreign{suffix}"
    path.write_bytes(content)
    path.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(ArtifactError, match="foreign") as caught:
        inspect(path)
    assert "\n" not in str(caught.value)


def test_a_file_cut_short_anywhere_is_one_line(
    tiny_onnx: Path, tiny_ir: dict[str, Path], tiny_tflite: dict[str, Model], tmp_path: Path
) -> None:
    for source in (tiny_onnx, tiny_ir["fp32"], tiny_tflite["fp32"].path):
        data = source.read_bytes()
        for part in (0.05, 0.3, 0.6, 0.9):
            path = tmp_path / f"cut{source.suffix}"
            path.write_bytes(data[: int(len(data) * part)])
            path.with_suffix(".bin").write_bytes(tiny_ir["fp32"].with_suffix(".bin").read_bytes())
            with pytest.raises(ArtifactError, match="cut") as caught:
                inspect(path)
            assert "\n" not in str(caught.value)


def test_weights_cut_short_or_missing_are_seen(tiny_ir: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "model.xml"
    path.write_bytes(tiny_ir["fp32"].read_bytes())
    with pytest.raises(ArtifactError, match=r"model\.bin"):
        inspect(path)
    path.with_suffix(".bin").write_bytes(tiny_ir["fp32"].with_suffix(".bin").read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=r"model\.bin is cut short"):
        inspect(path)


def test_a_name_that_cannot_be_a_model_says_what_can(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        inspect(tmp_path / "absent.onnx")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ArtifactError, match=r"\.tflite"):
        inspect(tmp_path / "notes.txt")
    (tmp_path / "weights.ckpt").write_bytes(b"")
    with pytest.raises(ArtifactError, match="export it to MindIR"):
        inspect(tmp_path / "weights.ckpt")


# -- ONNX alone --------------------------------------------------------------------------------------------------------


def onnx_file(path: Path, *nodes: onnx.NodeProto, image: tuple[str | int, ...], **weights: tuple[int, ...]) -> Path:
    info, float32 = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    constants = [onnx.numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in weights.items()]
    graph = onnx.helper.make_graph(list(nodes), "g", [info("x", float32, image)], [info("y", float32, None)], constants)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("node", "image", "weight", "macs"),
    [
        (onnx.helper.make_node("Conv", ["x", "w"], ["y"], group=2), ("n", 4, 5, 5), (6, 2, 3, 3), 3 * 3 * 6 * 2 * 9),
        (onnx.helper.make_node("ConvTranspose", ["x", "w"], ["y"]), ("n", 4, 5, 5), (4, 6, 2, 2), 5 * 5 * 4 * 6 * 4),
        (onnx.helper.make_node("MatMul", ["x", "w"], ["y"]), ("n", 7, 8), (8, 3), 7 * 8 * 3),
        (onnx.helper.make_node("Gemm", ["x", "w"], ["y"]), ("n", 8), (8, 3), 8 * 3),
    ],
)
def test_products_are_counted_by_hand(
    node: onnx.NodeProto, image: tuple[str | int, ...], weight: tuple[int, ...], macs: int, tmp_path: Path
) -> None:
    assert inspect(onnx_file(tmp_path / "one.onnx", node, image=image, w=weight)).macs == macs


def test_an_unknown_size_gives_no_count_instead_of_a_wrong_one(tmp_path: Path) -> None:
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"])
    path = onnx_file(tmp_path / "any_size.onnx", node, image=("n", 4, "height", "width"), w=(6, 4, 3, 3))
    assert inspect(path).macs is None


def test_a_model_that_crashes_the_inference_of_shapes_has_no_count(tmp_path: Path) -> None:
    """onnx 1.19 takes the fourth size of an image that has three; the process that asks lives on."""
    path = onnx_file(
        tmp_path / "damaged.onnx", onnx.helper.make_node("Conv", ["x", "w"], ["y"]), image=(3, 2, 2), w=(4, 3, 1, 1)
    )
    code = "import onnx, sys; onnx.shape_inference.infer_shapes(onnx.load(sys.argv[1]), data_prop=True)"
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode < 0
    assert inspect(path).macs is None


def test_pairs_that_saturate_without_vnni_are_counted(int8_irs: dict[str, Path], tiny_ir: dict[str, Path]) -> None:
    # Seven outputs with the weights of red and green beyond 64 in one of them; blue is alone.
    assert inspect(int8_irs["saturates"]).overflowing_pairs == 7
    assert inspect(int8_irs["fits"]).overflowing_pairs == 0
    assert inspect(tiny_ir["fp32"]).overflowing_pairs is None


def test_a_scale_without_a_zero_point_means_zero(tiny_tflite: dict[str, Model]) -> None:
    from types import SimpleNamespace

    from ghostedge.inspection.tflite import _port

    graph = unpack(tiny_tflite["fp32"].path.read_bytes(), "tiny")
    quantised = SimpleNamespace(scale=np.array([0.5], np.float32), zeroPoint=None, quantizedDimension=0)
    graph.tensors[graph.inputs[0]].quantization = quantised
    port = _port(graph, graph.inputs[0])
    assert (port.scale, port.zero_point) == (0.5, 0)
