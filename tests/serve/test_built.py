"""The page's JavaScript is what the TypeScript compiler makes of its source, and nothing else is needed to serve it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "ghostedge" / "serve" / "page"


def test_every_file_that_the_page_asks_for_is_there() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in [PAGE / "index.html", *PAGE.glob("*.js")])
    named = set(re.findall(r'["\'](?:\./)?([\w-]+\.(?:js|css))["\']', text)) - {"report.css"}
    assert {"page.js", "worker.js", "engine.js", "loader.js", "page.css"} <= named
    assert [name for name in sorted(named) if not (PAGE / name).is_file()] == []


def test_the_page_names_no_other_place() -> None:
    for path in (*PAGE.glob("*.*"), *PAGE.glob("src/*.ts")):
        assert not re.findall(r"(?:https?:)?//[\w-]+\.[\w.]+", path.read_text(encoding="utf-8")), path


def test_the_javascript_is_built_of_this_source(tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("left out: npm, which has the TypeScript compiler, is not here")
    source = tmp_path / "page" / "src"
    shutil.copytree(PAGE / "src", source, ignore=shutil.ignore_patterns("node_modules"))
    install = [npm, "install", "--no-audit", "--no-fund", "--silent", "--no-package-lock"]
    if (done := subprocess.run(install, cwd=source, capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"left out: npm does not install TypeScript ({done.stderr.strip().splitlines()[-1:]})")
    made = subprocess.run([npm, "run", "--silent", "build"], cwd=source, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout
    built = {path.name: path.read_text(encoding="utf-8") for path in source.parent.glob("*.js")}
    kept = {path.name: path.read_text(encoding="utf-8") for path in PAGE.glob("*.js")}
    assert built == kept, "run: npm install && npm run build, in ghostedge/serve/page/src"
