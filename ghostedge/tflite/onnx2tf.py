"""Convert one ONNX model to TFLite with onnx2tf, in a process of its own (``python -m ghostedge.tflite.onnx2tf DIR``).

TensorFlow takes seconds to import and a gigabyte of memory, prints what nobody asked for, and raises Python's
recursion limit; a process of its own keeps all of that away from ours, and can start to import before there is a
model to convert.

The protocol, one JSON document a line:

- DIR, the working directory, is this process's to litter; whoever started it removes it.
- ``{"ready": true}`` on stdout once TensorFlow is imported.
- A `Request` on stdin; it may come at any time. When stdin closes, this process removes DIR and ends, whatever it is
  doing: its parent has died.
- A `Reply` on stdout, and the process ends. Everything that libraries print goes to stderr.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

from ghostedge.lazy import require
from ghostedge.onnx.rewrites import apply_rewrites

__all__ = ["Reply", "Request", "rewrite"]

#: The only image that onnx2tf looks at, to recognise layouts by value; without a file of this name in the working
#: directory it downloads one (onnx2tf.utils.common_functions.download_test_image_data).
_TEST_IMAGE = "calibration_image_sample_data_20x128x128x3_float32.npy"

#: ONNX operators whose result depends on the order of a tensor in memory; of an NCHW feature map they have no
#: NHWC equivalent without a transpose.
_ORDER_DEPENDENT = frozenset({"Flatten", "MatMul", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


@dataclass(frozen=True)
class Request:
    """What to convert.

    Attributes:
        onnx: the model; one input, float32 (batch, channels, height, width).
        outputs: precision (``"fp32"``, ``"fp16"``) -> the .tflite file to write.
        rewrites: precision -> the names of the rewrites to make, keys of `ghostedge.onnx.rewrites.REWRITES`.
    """

    onnx: str
    outputs: Mapping[str, str]
    rewrites: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Reply:
    """What came of it.

    Attributes:
        error: one line; empty when all files are written.
        input: the ONNX input's name.
        output: the ONNX output's name.
        order_dependent: the ONNX nodes that need a feature map in NCHW order, by name.
        peak_rss_bytes: the most memory this process had.
    """

    error: str = ""
    input: str = ""
    output: str = ""
    order_dependent: tuple[str, ...] = ()
    peak_rss_bytes: int = 0


def rewrite(model: Any) -> tuple[Any, tuple[str, ...]]:
    """Make of an ONNX model one that becomes pure NHWC operators which XNNPACK has.

    The batch is set to 1: sizes computed from it become constants, and phones' delegates want static shapes; LiteRT can
    still resize the input. Operators are written as others, with the same values, where onnx2tf or TensorFlow would
    make something slow of them; see `_RULES`.

    Args:
        model: ``onnx.ModelProto``, changed in place.

    Returns:
        The model with inferred shapes, and the names of the nodes that need a feature map in NCHW order.

    Raises:
        ValueError: the model is not one image in, one row of logits out, with every size but the batch's known.
    """
    onnx = require("onnx", "export")
    graph = model.graph
    if len(graph.input) != 1 or len(graph.output) != 1:
        raise ValueError(f"the ONNX model has {len(graph.input)} inputs and {len(graph.output)} outputs, not one each")
    dims = graph.input[0].type.tensor_type.shape.dim
    if len(dims) != 4 or not all(dim.dim_value > 0 for dim in dims[1:]):
        shape = [dim.dim_value or dim.dim_param or "?" for dim in dims]
        raise ValueError(f"the ONNX input has shape {shape}, not (batch, channels, height, width) of known size")
    dims[0].dim_value = 1
    del graph.value_info[:]
    graph.output[0].type.tensor_type.ClearField("shape")
    nodes = [new for node in graph.node for new in _RULES.get(node.op_type, _keep)(graph, node)]
    del graph.node[:]
    graph.node.extend(nodes)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    return model, _order_dependent(model.graph)


def _keep(graph: Any, node: Any) -> list[Any]:
    return [node]


def _hard_sigmoid(graph: Any, node: Any) -> list[Any]:
    """max(0, min(1, a x + b)) as a * clip(x + b/a, 0, 1/a): with a = 1/6 a ReLU6.

    TensorFlow makes RELU_0_TO_1 of the former, which XNNPACK does not have (LiteRT 2.1.0).
    """
    numpy = require("numpy", "export")
    make = require("onnx.helper", "export").make_node
    attributes = _attributes(node)
    alpha, beta = numpy.float32(attributes.get("alpha", 0.2)), numpy.float32(attributes.get("beta", 0.5))
    if alpha <= 0:
        return [node]
    name = node.name or node.output[0]
    shift, low, high, scale = (
        _constant(graph, f"{name}/{key}", numpy.array(value, numpy.float32))
        for key, value in {"shift": beta / alpha, "low": 0, "high": 1 / alpha, "scale": alpha}.items()
    )
    return [
        make("Add", [node.input[0], shift], [f"{name}/shifted"], f"{name}/add"),
        make("Clip", [f"{name}/shifted", low, high], [f"{name}/clipped"], f"{name}/clip"),
        make("Mul", [f"{name}/clipped", scale], list(node.output), f"{name}/mul"),
    ]


def _max_pool(graph: Any, node: Any) -> list[Any]:
    """Pads around what is never negative as zeros, by a Pad of its own.

    onnx2tf pads with the lowest float, which becomes PADV2; XNNPACK does not have that (LiteRT 2.1.0).
    """
    numpy = require("numpy", "export")
    make = require("onnx.helper", "export").make_node
    attributes = _attributes(node)
    pads = attributes.get("pads", [])
    producer = next((other for other in graph.node if node.input[0] in other.output), None)
    never_negative = producer is not None and producer.op_type in ("Relu", "Sigmoid")
    if not any(pads) or not never_negative or attributes.get("ceil_mode"):
        return [node]
    name, half = node.name or node.output[0], len(pads) // 2
    widths = _constant(graph, f"{name}/pads", numpy.array([0, 0, *pads[:half], 0, 0, *pads[half:]], numpy.int64))
    attributes["pads"] = [0] * len(pads)
    return [
        make("Pad", [node.input[0], widths], [f"{name}/padded"], f"{name}/pad"),
        make("MaxPool", [f"{name}/padded"], list(node.output), name, **attributes),
    ]


def _reduce_mean(graph: Any, node: Any) -> list[Any]:
    """The mean of an image's rows and columns as GlobalAveragePool, Flatten.

    onnx2tf transposes a feature map to NCHW before some means that drop these axes.
    """
    make = require("onnx.helper", "export").make_node
    attributes = _attributes(node)
    if sorted(attributes.get("axes", [])) != [2, 3] or attributes.get("keepdims", 1):
        return [node]
    name = node.name or node.output[0]
    return [
        make("GlobalAveragePool", [node.input[0]], [f"{name}/pooled"], f"{name}/pool"),
        make("Flatten", [f"{name}/pooled"], list(node.output), f"{name}/flatten"),
    ]


#: ONNX operator -> what it is written as.
_RULES: dict[str, Callable[[Any, Any], list[Any]]] = {
    "HardSigmoid": _hard_sigmoid,
    "MaxPool": _max_pool,
    "ReduceMean": _reduce_mean,
}


def _attributes(node: Any) -> dict[str, Any]:
    value = require("onnx.helper", "export").get_attribute_value
    return {attribute.name: value(attribute) for attribute in node.attribute}


def _constant(graph: Any, name: str, value: Any) -> str:
    graph.initializer.append(require("onnx.numpy_helper", "export").from_array(value, name))
    return name


def _order_dependent(graph: Any) -> tuple[str, ...]:
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }

    def spatial(name: str) -> bool:
        shape = shapes.get(name, [])
        return len(shape) >= 4 and any(size != 1 for size in shape[2:])

    return tuple(
        node.name or node.output[0]
        for node in graph.node
        if node.op_type in _ORDER_DEPENDENT and any(spatial(name) for name in (*node.input, *node.output))
    )


def _convert(request: Request) -> Reply:
    numpy = require("numpy", "export")
    onnx = require("onnx", "export")
    numpy.save(_TEST_IMAGE, numpy.random.default_rng(0).random((1, 128, 128, 3), dtype=numpy.float32))
    # Precisions that are made of the same graph are made of one conversion.
    reply, traced = Reply(), dict[tuple[str, ...], tuple[Any, Any]]()
    for precision, path in request.outputs.items():
        names = tuple(request.rewrites[precision])
        if names not in traced:
            model, order_dependent = rewrite(onnx.load(request.onnx))
            model = apply_rewrites(model, names)
            reply = Reply(
                input=model.graph.input[0].name, output=model.graph.output[0].name, order_dependent=order_dependent
            )
            traced[names] = _trace(model)
        _, function = traced[names]
        Path(path).write_bytes(_to_tflite(function, precision))
    return reply


def _trace(model: Any) -> tuple[Any, Any]:
    """(network, function) in TensorFlow of what `rewrite` has made; the function lives as long as both."""
    onnx2tf = require("onnx2tf", "export")
    tf = require("tensorflow", "export")
    # `rewrite` has done what the simplifier would; our converter has named the nodes. Without disable_model_save,
    # onnx2tf writes a SavedModel and both TFLite files, tracing the network four times instead of once. onnx2tf 2
    # writes TFLite of its own unless it is told to use TensorFlow; 1.29 knows no other way.
    backend = {"tflite_backend": "tf_converter"} if onnx2tf.__version__.partition(".")[0] != "1" else {}
    network = onnx2tf.convert(
        onnx_graph=model,
        output_folder_path="onnx2tf",
        not_use_onnxsim=True,
        not_use_opname_auto_generate=True,
        disable_model_save=True,
        non_verbose=True,
        **backend,
    )
    signature = [tf.TensorSpec(network.inputs[0].shape, tf.float32, name=model.graph.input[0].name)]
    return network, tf.function(network, input_signature=signature, autograph=False).get_concrete_function()


def _to_tflite(traced: Any, precision: str) -> bytes:
    tf = require("tensorflow", "export")
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision == "fp16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    data: bytes = converter.convert()
    return data


def _one_line(exc: BaseException) -> str:
    """The first line of an exception's message that says what is wrong, and the ONNX node that onnx2tf was at."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip(" \t-=")]
    if len(lines) > 1 and lines[0].startswith("Exception encountered when calling layer"):
        del lines[0]  # Keras; the next line is the exception
    # MLIR puts a Python file and line, of TensorFlow's own, before "error:".
    message = ": ".join([type(exc).__name__, *(line.rpartition(" error: ")[2] for line in lines[:1])])
    node = getattr(exc, "onnx_op_name", None)
    return f"{message} (at ONNX node {node})" if node else message


def _end_with_parent(stdin: TextIO) -> None:
    """Wait until stdin closes, then end this process, whatever its other threads are doing."""
    with contextlib.suppress(OSError, ValueError):
        stdin.read()
    shutil.rmtree(Path.cwd(), ignore_errors=True)
    os._exit(1)


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise OSError(f"a conversion may not use the network ({event} {arguments[-1]!r})")


def _private_stdout() -> TextIO:
    """Keep stdout for the protocol and send what anyone else prints there to stderr."""
    stdout = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return stdout


def main(directory: str) -> Literal[0, 1]:
    """Convert what one request on stdin asks for. Returns: the exit code."""
    stdout = _private_stdout()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends this process at once, without a traceback
    os.chdir(directory)
    sys.addaudithook(_refuse_network)
    os.environ |= {
        "TMPDIR": directory,
        "CUDA_VISIBLE_DEVICES": "-1",  # a conversion on another device gives other bytes
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_USE_LEGACY_KERAS": "1",
        "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "upb",  # MindSpore, which needs the Python one, is not in here
    }

    requests: list[str] = []
    arrived = threading.Event()

    def listen() -> None:
        requests.append(sys.stdin.readline())
        arrived.set()
        _end_with_parent(sys.stdin)

    threading.Thread(target=listen, daemon=True).start()
    try:
        require("onnx2tf", "export")
        print(json.dumps({"ready": True}), file=stdout)
        arrived.wait()
        reply = _convert(Request(**json.loads(requests[0])))
    except (Exception, SystemExit) as exc:  # onnx2tf gives up with sys.exit
        import traceback

        traceback.print_exc()
        reply = Reply(error=_one_line(exc))
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(dataclasses.asdict(dataclasses.replace(reply, peak_rss_bytes=peak))), file=stdout)
    stdout.flush()
    os._exit(1 if reply.error else 0)  # TensorFlow's own shutdown takes a second and has nothing left to save


if __name__ == "__main__":
    main(sys.argv[1])
