"""Convert one ONNX model to TFLite with onnx2tf, in a process of its own (``python -m ghostedge.tflite.onnx2tf DIR``).

TensorFlow takes seconds to import and a gigabyte of memory, prints what nobody asked for, and raises Python's
recursion limit; a process of its own keeps all of that away from ours, and can start to import before there is a
model to convert.

The protocol, one JSON document a line:

- DIR, the working directory, is this process's to litter; whoever started it removes it.
- What `Worker.convert` is asked for on stdin; it may come at any time. When stdin closes, this process removes DIR and
  ends, whatever it is doing: its parent has died.
- A `Reply` on stdout, and the process ends. Everything that libraries print goes to stderr.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

from ghostedge.errors import ConvertError, GhostedgeError, MissingExtraError
from ghostedge.files import output_error
from ghostedge.isolate import how_it_ended
from ghostedge.lazy import require
from ghostedge.onnx.rewrites import apply_rewrites, order_dependent, prepare
from ghostedge.signals import forget, note, shielded

__all__ = ["Reply", "Worker"]

#: The only image that onnx2tf looks at, to recognise layouts by value; without a file of this name in the working
#: directory it downloads one (onnx2tf.utils.common_functions.download_test_image_data).
_TEST_IMAGE = "calibration_image_sample_data_20x128x128x3_float32.npy"


@dataclass(frozen=True)
class Reply:
    """What came of it.

    Attributes:
        error: one line; empty when all files are written.
        input: the ONNX input's name.
        output: the ONNX output's name.
        order_dependent: the ONNX nodes that need a feature map in NCHW order, by name.
    """

    error: str = ""
    input: str = ""
    output: str = ""
    order_dependent: tuple[str, ...] = ()


class Worker:
    """The other process as its parent sees it; it starts at once and waits for the model.

    Attributes:
        directory: where it works; gone after `stop`.
        log: all that it prints; kept only when it fails.
    """

    def __init__(self) -> None:
        for package in ("onnx2tf", "tensorflow", "tf_keras", "onnx", "ai_edge_litert", "flatbuffers"):
            if importlib.util.find_spec(package) is None:
                raise MissingExtraError(package, "export")
        try:
            self.directory = Path(tempfile.mkdtemp(prefix="ghostedge-onnx2tf-"))
            self.log = self.directory.with_suffix(".log")
            self._stopped = self._failed = False
            note(self.directory)
            note(self.log)
            with self.log.open("wb") as log, shielded():
                # -P: this process's working directory is not a place to import from.
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "ghostedge.tflite.onnx2tf", str(self.directory)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    encoding="utf-8",
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )
        except OSError as exc:
            raise output_error(Path(tempfile.gettempdir()), exc) from exc

    def convert(self, onnx: Path, outputs: Mapping[str, tuple[Path, Sequence[str]]]) -> Reply:
        """Convert a model, once for all outputs that are made of the same graph.

        Args:
            onnx: the model; one input, float32 (batch, channels, height, width).
            outputs: precision (``"fp32"``, ``"fp16"``) -> the .tflite file to write, and the names of the rewrites to
                make, keys of `ghostedge.onnx.rewrites.REWRITES`.

        Raises:
            ConvertError: the process failed, or ended without a reply.
        """
        assert self._process.stdin
        assert self._process.stdout
        request = {"onnx": str(onnx.absolute()), "outputs": outputs}
        with contextlib.suppress(BrokenPipeError):  # it has ended early; the reply below says why
            self._process.stdin.write(json.dumps(request, default=str) + "\n")
            self._process.stdin.flush()
        reply = None
        with contextlib.suppress(ValueError):  # it has ended, or `stop`, called from another thread, closed the pipe
            reply = Reply(**json.loads(self._process.stdout.readline()))
        reply = reply or Reply(error=self._died())
        if reply.error:
            self._failed = not self._stopped  # what is stopped has not failed, and nobody will read of it
            raise ConvertError(f"cannot convert {onnx} to TFLite: {reply.error}; all that onnx2tf said: {self.log}")
        self.log.unlink(missing_ok=True)
        return reply

    def _died(self) -> str:
        how = how_it_ended(self._process.wait())
        said = "" if self._stopped else self.log.read_text("utf-8", "replace")
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        return f"the conversion process ended with {how}" + (f" after saying '{lines[-1]}'" if lines else "")

    def stop(self) -> None:
        """End the process if it still runs, and remove its directory. Calling it twice is harmless."""
        self._stopped = True
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError, ValueError):
                    pipe.close()
        shutil.rmtree(self.directory, ignore_errors=True)
        if not self._failed:
            self.log.unlink(missing_ok=True)
        for noted in (self.directory, self.log):
            forget(noted)


# -- the process itself --------------------------------------------------------------------------------------------


def _convert(source: str, outputs: Mapping[str, tuple[str, Sequence[str]]]) -> Reply:
    """See `Worker.convert`."""
    numpy = require("numpy", "export")
    onnx = require("onnx", "export")
    numpy.save(_TEST_IMAGE, numpy.random.default_rng(0).random((1, 128, 128, 3), dtype=numpy.float32))
    # Precisions that are made of the same graph are made of one conversion.
    reply, traced = Reply(), dict[tuple[str, ...], tuple[Any, Any]]()
    for precision, (path, rewrites) in outputs.items():
        names = tuple(rewrites)
        if names not in traced:
            model = apply_rewrites(prepare(onnx.load(source)), names)
            (image,), (logits,) = model.graph.input, model.graph.output
            reply = Reply(input=image.name, output=logits.name, order_dependent=order_dependent(model))
            traced[names] = _trace(model)
        _, function = traced[names]
        Path(path).write_bytes(_to_tflite(function, precision))
    return reply


def _trace(model: Any) -> tuple[Any, Any]:
    """(network, function) in TensorFlow of what `prepare` has made; the function lives as long as both."""
    onnx2tf = require("onnx2tf", "export")
    tf = require("tensorflow", "export")
    # `prepare` has done what the simplifier would; our converter has named the nodes. Without disable_model_save,
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
    if isinstance(exc, GhostedgeError):
        return str(exc)
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


def main(directory: str) -> Literal[0, 1]:
    """Convert what one request on stdin asks for. Returns: the exit code."""
    stdout = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)  # for the protocol
    os.dup2(2, 1)  # what anyone else prints there goes to stderr
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
        arrived.wait()
        request = json.loads(requests[0])
        reply = _convert(request["onnx"], request["outputs"])
    except (Exception, SystemExit) as exc:  # onnx2tf gives up with sys.exit
        import traceback

        traceback.print_exc()
        reply = Reply(error=_one_line(exc))
    print(json.dumps(dataclasses.asdict(reply)), file=stdout)
    stdout.flush()
    os._exit(1 if reply.error else 0)  # TensorFlow's own shutdown takes a second and has nothing left to save


if __name__ == "__main__":
    main(sys.argv[1])
