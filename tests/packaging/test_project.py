"""What surrounds the code is in step with it: workflows call targets that exist, the citation is the last release's."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def unknown_targets(workflow: str, makefile: str) -> set[str]:
    """The targets of make that a workflow calls and the Makefile has not."""
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    called = re.findall(r"\bmake ([\w-]+)", workflow) + re.findall(r"\btarget: ([\w-]+)", workflow)
    return set(called) - targets


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_calls_the_makefile_alone(path: Path) -> None:
    text, makefile = path.read_text(), (ROOT / "Makefile").read_text()
    assert unknown_targets(text, makefile) == set()
    assert unknown_targets(text.replace("make test", "make tets"), makefile) or "make test" not in text
    commands = re.findall(r"run: (.*)", text)
    assert [
        line for line in commands if not re.match(r"make |sudo apt-get update && sudo apt-get install ", line)
    ] == []


def test_the_workflows_are_there() -> None:
    called = " ".join(path.read_text() for path in WORKFLOWS)
    for target in ("make check", "make docs", "test-edge", "test-oldest", "make test\n"):
        assert target in called, target


def test_every_yaml_file_can_be_read() -> None:
    yaml = pytest.importorskip("yaml", reason="left out: PyYAML (extra 'docs') is not installed")
    loader: Any = type("Loader", (yaml.SafeLoader,), {})
    loader.add_multi_constructor("!", lambda loader, suffix, node: None)
    files = [
        *ROOT.glob(".github/**/*.yml"),
        ROOT / ".pre-commit-config.yaml",
        ROOT / "CITATION.cff",
        ROOT / "mkdocs.yml",
    ]
    read = {path.name: yaml.load(path.read_text(encoding="utf-8"), loader) for path in files}
    assert all(isinstance(content, dict) for content in read.values())
    for form in ("bug.yml", "accuracy.yml"):
        assert {"name", "description", "body"} <= read[form].keys()
        ids = [part["id"] for part in read[form]["body"]]
        assert len(set(ids)) == len(ids)


def test_the_citation_is_of_the_last_release() -> None:
    released = re.search(r"^## (\d+\.\d+\.\d+) - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    citation = dict(
        re.findall(r'^(version|date-released): "?([^"\n]+)"?$', (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    )
    assert released
    assert (citation["version"], citation["date-released"]) == released.groups()


def test_the_linters_of_a_commit_are_those_of_make_lint() -> None:
    hooks = re.findall(r"entry: \.venv/bin/(\S+)", (ROOT / ".pre-commit-config.yaml").read_text())
    linted = re.findall(r"^\t\$\(BIN\)/(ruff|mypy)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert sorted(hooks) == sorted(linted)


def test_an_index_shows_who_it_is_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"authors", "classifiers", "description", "keywords", "license", "requires-python"} <= project.keys()
    oldest = int(re.findall(r"3\.(\d+)", project["requires-python"])[0])
    pythons = [int(found[1]) for each in project["classifiers"] if (found := re.search(r":: 3\.(\d+)$", each))]
    assert pythons == list(range(oldest, max(pythons) + 1))
    assert "Typing :: Typed" in project["classifiers"]
