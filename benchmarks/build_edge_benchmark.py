"""Build edge_benchmark.py, the one file that runs alone on a device, from the modules of ghostedge.latency.edge.

    python benchmarks/build_edge_benchmark.py

The file holds the modules one after the other, with one list of imports. It is committed, so that it can be copied from
a checkout as it is; a test holds that it is up to date.
"""

from __future__ import annotations

import ast
from pathlib import Path

from ghostedge.files import atomic_write

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "edge_benchmark.py"
PARTS = ROOT / "ghostedge" / "latency" / "edge"

#: Every module in the order of the file; what one imports of ghostedge stands before it.
MODULES = (
    *(PARTS / f"{name}.py" for name in ("__init__", "timing", "system")),
    ROOT / "ghostedge" / "telemetry.py",
    ROOT / "ghostedge" / "tflite" / "delegation.py",
    *(PARTS / f"{name}.py" for name in ("runtimes", "picture", "verification", "measure", "main")),
)

_RULE = "# " + 117 * "-"
_NOTE = """\
# Written by benchmarks/build_edge_benchmark.py; do not edit. Its parts are the modules of ghostedge/latency/edge/.
"""


def text() -> str:
    """The whole file."""
    plain: set[str] = set()
    named: dict[str, set[str]] = {}
    head, parts, defined = "", [], {}
    for path in MODULES:
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source, str(path), feature_version=(3, 9))
        for node in tree.body:
            if isinstance(node, ast.Import):
                plain.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.module, f"{path}: write whole names in imports"
                if node.module.startswith("ghostedge."):
                    missing = {alias.name for alias in node.names} - defined.keys()
                    assert not missing, f"{path}: {missing} must be defined by a module before it"
                else:
                    named.setdefault(node.module, set()).update(alias.name for alias in node.names)
            for name in _defines(node):
                assert name not in defined, f"{path}: {name} is defined in {defined[name]} too"
                defined[name] = path
        words, body = ast.get_docstring(tree) or "", _spaced(_body(source, tree))
        head = head or f'"""{words}\n"""\n'
        parts.append(f"{_RULE}\n# {words.partition(chr(10))[0]}\n{_RULE}\n\n{body}" if parts else body)
    future = named.pop("__future__")
    imports = [f"from __future__ import {', '.join(sorted(future))}", ""]
    imports += [f"import {name}" for name in sorted(plain)]
    imports += [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(named.items())]
    return f"#!/usr/bin/env python3\n{_NOTE}{head}\n" + "\n".join(imports) + "\n\n" + "\n\n".join(parts)


def _defines(node: ast.stmt) -> list[str]:
    """The names that a statement of a module binds, but for imports."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [each.id for target in node.targets for each in ast.walk(target) if isinstance(each, ast.Name)]
    return [node.target.id] if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else []


def _body(source: str, tree: ast.Module) -> str:
    """What stands in a module below its imports."""
    last = max(node.end_lineno or 0 for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom))
    return "\n".join(source.splitlines()[last:]).strip("\n") + "\n"


def _spaced(body: str) -> str:
    """A body as ruff wants it below a comment: two empty lines before a class or a function."""
    return f"\n{body}" if body.startswith(("def ", "class ", "@")) else body


if __name__ == "__main__":
    atomic_write(SCRIPT, text())
