"""Load a model in one of the runtimes, or say what the user can do."""

from __future__ import annotations

import importlib
import importlib.util
import json
import platform
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

from ghostedge.latency.edge import BenchmarkError, Record, one_line, sha256_of
from ghostedge.latency.edge.system import is_android
from ghostedge.telemetry import report_nothing
from ghostedge.tflite.delegation import cpu_has_float16, delegated

#: Under this key, or as this file, an artifact of ghostedge carries its description.
DESCRIPTION_KEY = "ghostedge"
_DISTRIBUTIONS = {"ai_edge_litert": "ai-edge-litert", "tflite_runtime": "tflite-runtime"}


class Loaded:
    """What the runtimes have in common: one input tensor, which every sample hands over."""

    delegate: Record | None = None
    quantization: Any = None

    def set_input(self, tensor: Any) -> None:
        """Take the input tensor."""
        self._tensor = tensor


def check_one_input(path: str, count: int) -> None:
    """Raise BenchmarkError for a model of several inputs."""
    if count != 1:
        raise BenchmarkError(f"{path} has {count} inputs; models with one are measured")


class LiteRT(Loaded):
    """ai-edge-litert, or its predecessor tflite-runtime: the same interface."""

    def __init__(self, module: str, path: str, threads: int, xnnpack: bool, **_: object) -> None:
        self.name = "litert" if module.startswith("ai_edge_litert") else "tflite-runtime"
        library = importlib.import_module(module)
        self.version = version_of(module)
        resolver = library.OpResolverType
        self._interpreter = library.Interpreter(
            model_path=path,
            num_threads=threads,
            experimental_op_resolver_type=resolver.AUTO if xnnpack else resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        self._interpreter.allocate_tensors()
        inputs = self._interpreter.get_input_details()
        check_one_input(path, len(inputs))
        self._output = self._interpreter.get_output_details()[0]
        self._index = inputs[0]["index"]
        self.shape = tuple(int(size) for size in inputs[0]["shape"])
        self.dtype = inputs[0]["dtype"].__name__
        self.quantization = inputs[0]["quantization"] if inputs[0]["quantization"][0] else None
        self.delegate = delegation(self._interpreter._get_ops_details())
        allowed = allows_float16(path)
        self.details: Record = {"inference_precision": "f16" if xnnpack and allowed and cpu_has_float16() else "f32"}
        self.description = zipped_description(path)

    def run(self) -> Any:
        """Copy in, infer, copy out."""
        self._interpreter.set_tensor(self._index, self._tensor)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output["index"])

    def output(self) -> Any:
        """The output of the last inference, dequantised: float32."""
        values = self._interpreter.get_tensor(self._output["index"])
        scale, zero = self._output["quantization"]
        return (values.astype("float32") - zero) * scale if scale else values.astype("float32")


class OpenVino(Loaded):
    """OpenVINO on the CPU, one stream: its setting for the latency of single requests."""

    name = "openvino"

    def __init__(self, module: str, path: str, threads: int, precision_hint: str | None, **_: object) -> None:
        ov = importlib.import_module("openvino")
        self.version = version_of("openvino")
        core = ov.Core()
        model = core.read_model(path)
        check_one_input(path, len(model.inputs))
        self.shape = tuple(
            dimension.get_length() if dimension.is_static else 1 for dimension in model.input(0).get_partial_shape()
        )
        found = model.get_rt_info([DESCRIPTION_KEY]) if model.has_rt_info([DESCRIPTION_KEY]) else None
        self.description = parse_description(found if isinstance(found, str) else getattr(found, "value", None))
        model.reshape(list(self.shape))
        config = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": str(threads)}
        if precision_hint and precision_hint != "default":
            config["INFERENCE_PRECISION_HINT"] = precision_hint
        compiled = core.compile_model(model, "CPU", config)
        self._request = compiled.create_infer_request()
        self._input = self._request.get_input_tensor(0).data
        self.dtype = self._input.dtype.name
        precision = compiled.get_property("INFERENCE_PRECISION_HINT")
        name = precision.to_string() if hasattr(precision, "to_string") else str(precision)
        self.details = {"inference_precision": name}

    def run(self) -> Any:
        """Copy in, infer, copy out."""
        self._input[:] = self._tensor
        self._request.infer()
        return self._request.get_output_tensor(0).data.copy()

    def output(self) -> Any:
        """The output of the last inference: float32."""
        return self._request.get_output_tensor(0).data.astype("float32")


class OnnxRuntime(Loaded):
    """ONNX Runtime on its CPU provider."""

    name = "onnxruntime"

    def __init__(self, module: str, path: str, threads: int, **_: object) -> None:
        ort = importlib.import_module("onnxruntime")
        self.version = version_of("onnxruntime")
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        inputs = self._session.get_inputs()
        check_one_input(path, len(inputs))
        self._name = inputs[0].name
        self.shape = tuple(size if isinstance(size, int) else 1 for size in inputs[0].shape)
        # "tensor(float)", "tensor(uint8)", ...
        kind = inputs[0].type[len("tensor(") : -1]
        self.dtype = {"float": "float32", "double": "float64"}.get(kind, kind)
        self.details: Record = {}
        self.description = parse_description(self._session.get_modelmeta().custom_metadata_map.get(DESCRIPTION_KEY))

    def set_input(self, tensor: Any) -> None:
        """Take the input tensor."""
        self._feed = {self._name: tensor}

    def run(self) -> Any:
        """Hand over, infer, receive."""
        self._last = self._session.run(None, self._feed)
        return self._last

    def output(self) -> Any:
        """The output of the last inference: float32."""
        return self._last[0].astype("float32")


#: Runtime -> (module, class, formats it reads). The order is the one in which they are tried.
RUNTIMES = {
    "litert": ("ai_edge_litert.interpreter", LiteRT, ("tflite",)),
    "tflite-runtime": ("tflite_runtime.interpreter", LiteRT, ("tflite",)),
    "openvino": ("openvino", OpenVino, ("openvino", "onnx", "tflite")),
    "onnxruntime": ("onnxruntime", OnnxRuntime, ("onnx",)),
}

#: Format -> the runtimes that are tried for it unless --runtime names one.
PREFERRED = {"tflite": ("litert", "tflite-runtime"), "openvino": ("openvino",), "onnx": ("onnxruntime", "openvino")}


def version_of(module: str) -> str:
    """The version of the distribution that `module` comes from; "unknown" for one without metadata."""
    from importlib import metadata

    package = module.partition(".")[0]
    try:
        return metadata.version(_DISTRIBUTIONS.get(package, package))
    except metadata.PackageNotFoundError:
        return str(getattr(importlib.import_module(package), "__version__", "unknown"))


def model_format(path: str) -> str:
    """``"tflite"``, ``"openvino"`` or ``"onnx"``, by the file's content where it has a mark."""
    try:
        with open(path, "rb") as file:
            head = file.read(1024)
    except FileNotFoundError:
        raise BenchmarkError(f"{path} does not exist") from None
    except OSError as exc:
        raise BenchmarkError(f"{path} cannot be read: {exc.strerror}") from exc
    suffix = Path(path).suffix.lower()
    if not head:
        raise BenchmarkError(f"{path} is empty (0 bytes); copy it again")
    if head[4:8] == b"TFL3":
        return "tflite"
    if suffix == ".xml" and b"<net" in head:
        if not Path(path).with_suffix(".bin").exists():
            raise BenchmarkError(f"{path}: its weights, the .bin file of the same name, are not beside it")
        return "openvino"
    if suffix == ".onnx":
        return "onnx"
    if suffix in (".mindir", ".ckpt", ".pth", ".safetensors"):
        raise BenchmarkError(f"{path} is not a model for a device; convert it first: ghostedge export --help")
    raise BenchmarkError(f"{path} is not a model: .tflite, OpenVINO .xml and .onnx are measured")


def choose_runtime(form: str, asked: str) -> str:
    """The name of the runtime to use for a format: `asked`, or the first that is installed."""
    if asked != "auto":
        if form not in RUNTIMES[asked][2]:
            raise BenchmarkError(f"{asked} does not read {form} models; leave --runtime out")
        names: tuple[str, ...] = (asked,)
    else:
        names = PREFERRED[form]
    for name in names:
        package = RUNTIMES[name][0].partition(".")[0]
        if importlib.util.find_spec(package) is not None:
            return name
    looked_for = ", ".join(names)
    raise BenchmarkError(
        f"no runtime for {form} models is installed (looked for: {looked_for}); {how_to_install(names[0])}"
    )


def how_to_install(
    runtime: str, machine: str | None = None, android: bool | None = None, bits: int | None = None
) -> str:
    """What installs `runtime` on this device."""
    machine = machine or platform.machine()
    android = is_android() if android is None else android
    bits = bits or (64 if sys.maxsize > 2**32 else 32)
    packages = {"litert": "ai-edge-litert", "tflite-runtime": "tflite-runtime"}.get(runtime, runtime)
    if android:
        return (
            "the runtimes have no packages for Android's own Python: in Termux run 'pkg install proot-distro && "
            "proot-distro install debian', and this script inside it; or use the app's benchmark mode"
        )
    if machine.startswith("arm") or bits == 32:
        if runtime == "litert":
            return (
                "this is a 32-bit system, for which ai-edge-litert has no package: install the 64-bit Raspberry Pi OS "
                "(or, with Python 3.9 to 3.11: pip install 'tflite-runtime==2.14.0' 'numpy<2', for fp32 and fp16 "
                "alone: dynamic and int8 may give wrong answers in it, which --golden tells)"
            )
        return f"this is a 32-bit system, for which {packages} has no package: install a 64-bit one"
    return (
        f"run: python3 -m venv ~/benchmark && ~/benchmark/bin/pip install numpy pillow {packages}, and this script "
        "with ~/benchmark/bin/python"
    )


def load_runtime(name: str, path: str, settings: Record) -> tuple[Any, float, float]:
    """Import the runtime and load the model: (runtime, import_ms, load_ms)."""
    module, kind, _ = RUNTIMES[name]
    started = time.perf_counter()
    try:
        report_nothing(module)
        importlib.import_module(module)
    except ImportError as exc:
        raise BenchmarkError(
            f"{name} is installed but does not load here ({one_line(exc)}); it may be built for another processor or "
            f"Python; {how_to_install(name)}"
        ) from exc
    imported = time.perf_counter()
    try:
        runtime = kind(module, path, **settings)
    except BenchmarkError:
        raise
    except Exception as exc:  # what a vendor's loader raises is an open set
        raise BenchmarkError(load_error(name, path, one_line(exc))) from exc
    return runtime, 1e3 * (imported - started), 1e3 * (time.perf_counter() - imported)


def load_error(name: str, path: str, reason: str) -> str:
    """One line for a model that a runtime refused."""
    text, runtime = reason.lower(), f"{name} {version_of(RUNTIMES[name][0])}"
    if "returned a result with an exception set" in text and version_of("numpy").partition(".")[0] not in ("0", "1"):
        # ai-edge-litert 1.0 and tflite-runtime were built for NumPy 1 and do not say so.
        return f"{runtime} is built for NumPy 1, not for {version_of('numpy')}; run: pip install 'numpy<2' ({reason})"
    if "edgetpu" in text or "edge-tpu" in text:
        return f"{path} is compiled for the Edge TPU; measure the file it was compiled from ({reason})"
    if any(mark in text for mark in ("custom op", "didn't find op", "not_implemented", "unsupported op", "opset")):
        return f"{path} holds an operator that {runtime} does not have here; update it or convert again ({reason})"
    if "shapeinferenceerror" in text:
        # ONNX Runtime since 1.28, of a Resize that ghostedge wrote before 0.2.
        return f"{path} has shapes that {runtime} refuses ({reason}); export it again with ghostedge 0.2 or newer"
    return f"{path} is refused by {runtime}: {reason.rstrip('.')}; {what_to_do(path, name)}"


def what_to_do(path: str, runtime: str) -> str:
    """Advice on a model that its runtime refuses or that crashes it: copied again only where its bytes are others."""
    changed = changed_since_export(path)
    if changed is None:
        return f"try another version of {runtime}, or compare the file's sha256 with the one in its manifest.json"
    if changed:
        return f"{changed} is damaged, its sha256 is not the one in manifest.json: copy it again"
    return f"the file is whole, its sha256 is the one in manifest.json: try another version of {runtime}"


def changed_since_export(path: str) -> str | None:
    """The file of a model that has another sha256 than the manifest.json beside it says, "" for none.

    None where there is no manifest, or the model is not in it.
    """
    try:
        manifest = json.loads((Path(path).parent / "manifest.json").read_text(encoding="utf-8"))
        recorded = {file["name"]: file["sha256"] for each in manifest["artifacts"].values() for file in each["files"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    files = [file for file in (Path(path), Path(path).with_suffix(".bin")) if file.name in recorded]
    if not files:
        return None
    return next((file.name for file in files if not file.exists() or sha256_of(file) != recorded[file.name]), "")


def delegation(nodes: list[dict[str, Any]]) -> Record:
    """How much of a model the delegate runs, from LiteRT's list of nodes."""
    operators, inside, delegates = delegated(nodes)
    return {
        "name": "XNNPACK" if delegates else None,
        "nodes": len(operators),
        "delegated_nodes": len(inside),
        "delegated_share": round(len(inside) / len(operators), 4) if operators else 0.0,
        "partitions": delegates,
    }


def parse_description(text: str | bytes | None) -> Record:
    """The description that ghostedge puts into its artifacts: input, labels, precision; {} for models of others."""
    try:
        description = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return description if isinstance(description, dict) else {}


def zipped_description(path: str) -> Record:
    """As `parse_description`, from the archive that follows a .tflite model. Raises: BenchmarkError: it is damaged."""
    if not zipfile.is_zipfile(path):
        return {}
    try:
        with zipfile.ZipFile(path) as archive:
            name = f"{DESCRIPTION_KEY}.json"
            return parse_description(archive.read(name) if name in archive.namelist() else None)
    except Exception as exc:  # what zipfile raises for damaged files is an open set
        raise BenchmarkError(f"{path}: the files at its end are damaged ({one_line(exc)}); copy it again") from exc


def allows_float16(path: str) -> bool:
    """Whether a .tflite model lets XNNPACK compute it in float16: TensorFlow's reduced_precision_metadata.h."""
    data = Path(path).read_bytes()
    return b"reduced_precision_support" in data and b"fp16accfp16" in data
