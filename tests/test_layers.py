"""The rooms depend on each other in one direction, and vendor libraries stay in the rooms that own them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ghostedge

PACKAGE = Path(ghostedge.__file__).parent

#: Room -> its layer; a module imports only from lower layers or from its own room.
LAYERS: dict[str, float] = {
    "errors": 0,
    "signals": 0,
    "telemetry": 0,
    "lazy": 1,
    "files": 1,
    "stored": 1,
    "wire": 1,
    "compare": 1,
    "isolate": 1,
    "console": 1,
    "model": 2,
    "provenance": 2,
    "manifest": 3,
    "data": 3,
    "quantize": 3,
    "ghostnet": 4,
    "networks": 4.5,
    "mindir": 5,
    "onnx": 6,
    "tflite": 7,
    "runtimes": 8,
    "openvino": 9,
    "formats": 9,
    "inspection": 10,
    "explain": 10,
    "evaluation": 10,
    "prediction": 10,
    "latency": 10,
    "accuracy": 11,
    "pipeline": 12,
    "demo": 12,
    "reports": 13,
    "regression": 14,
    "serve": 14,
    "cli": 15,
    "__main__": 16,
}

#: Vendor library -> the modules that may name it.
VENDORS = {
    "mindcv": {"networks"},
    "mindspore": {"ghostnet", "networks", "mindir.read", "mindir.from_checkpoint", "runtimes.mindspore"},
    "onnx": {"mindir.to_onnx", "onnx", "tflite.onnx2tf", "inspection.onnx"},
    "onnxruntime": {"runtimes.onnx", "onnx.equalise"},
    "openvino": {"openvino", "runtimes.openvino"},
    "nncf": {"openvino.quantize"},
    "tensorflow": {"tflite.onnx2tf"},
    "onnx2tf": {"tflite.onnx2tf"},
    "ai_edge_litert": {"tflite", "runtimes.tflite", "runtimes.tflite_float16"},
    "ai_edge_quantizer": {"tflite.quantize.write"},
    "tflite_runtime": {"runtimes.tflite"},
    "flatbuffers": {"tflite"},
    "torch": {"ghostnet.import_weights"},
    "safetensors": {"ghostnet"},
    "asyncssh": {"latency.devices.ssh"},
    "adbutils": {"latency.devices.phone", "latency.devices.adb"},
    "pyarrow": {"evaluation", "accuracy", "data.datasets"},
    "ray": {"evaluation.engines.ray"},
    "msgspec": {"stored", "latency.records", "serve.messages"},
    "filelock": {"files"},
    "jinja2": {"reports"},
    "httpx": {"ghostnet.fetch"},
    "starlette": {"serve"},
    "uvicorn": {"serve"},
    "segno": {"serve"},
    "cryptography": {"serve"},
}

HEAVY = {*VENDORS, "cv2", "PIL", "tqdm", "keras", "scipy", "pandas", "google"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        yield name.removesuffix(".__init__"), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that a syntax tree imports, by statement, by `require("x", ...)` or in a "module:Name" string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "require":
            assert isinstance(node.args[0], ast.Constant), "require() takes a literal module name"
            yield str(node.args[0].value)
        elif isinstance(node, ast.Constant) and (named := re.fullmatch(r"(ghostedge[.\w]+):\w+", str(node.value))):
            yield named[1]


def room(name: str) -> str:
    return name.split(".")[0]


def upward_imports(name: str, tree: ast.AST) -> list[str]:
    """The imports of `name` that go to a room of the same or a higher layer."""
    found = []
    for target in imported(tree):
        if not target.startswith("ghostedge."):
            continue
        other = room(target.removeprefix("ghostedge."))
        if other != room(name) and other in LAYERS and LAYERS[other] >= LAYERS[room(name)]:
            found.append(target)
    return found


def foreign_vendors(name: str, tree: ast.AST) -> list[str]:
    """The vendor libraries that `name` imports although another room owns them."""
    found = []
    for target in imported(tree):
        owners = VENDORS.get(room(target))
        if owners is not None and not any(name == owner or name.startswith(owner + ".") for owner in owners):
            found.append(target)
    return found


def test_every_room_has_a_layer() -> None:
    rooms = {room(name) for name, _ in modules() if name != "__init__"}
    assert rooms - LAYERS.keys() == set()


@pytest.mark.parametrize(("name", "tree"), [pytest.param(n, t, id=n) for n, t in modules() if n != "__init__"])
def test_imports_point_down_and_vendors_stay_home(name: str, tree: ast.Module) -> None:
    assert upward_imports(name, tree) == []
    assert foreign_vendors(name, tree) == []


def test_the_check_sees_an_upward_import() -> None:
    planted = ast.parse("from ghostedge.pipeline.build import export")
    assert upward_imports("onnx.from_mindir", planted) != []


def test_the_check_sees_an_upward_table_entry() -> None:
    planted = ast.parse('STAGES = {"x": "ghostedge.pipeline.build:build"}')
    assert upward_imports("onnx.from_mindir", planted) != []


def test_the_check_sees_a_vendor_in_the_wrong_room() -> None:
    planted = ast.parse("def f():\n    tf = require('tensorflow', 'export')")
    assert foreign_vendors("cli.export", planted) == ["tensorflow"]


def heavy_modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(' '.join({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()) & HEAVY


def test_import_ghostedge_loads_no_heavy_library() -> None:
    assert heavy_modules_after("import ghostedge, ghostedge.model, ghostedge.errors") == set()


def test_help_loads_no_heavy_library_nor_numpy_users() -> None:
    statement = "from ghostedge.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"
    assert heavy_modules_after(statement) == set()


def test_the_check_sees_a_heavy_import() -> None:
    assert heavy_modules_after("import PIL.Image") == {"PIL"}
