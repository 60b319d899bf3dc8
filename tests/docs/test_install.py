"""What the docs tell the reader to type: `ghostedge` commands parse, and the install commands can be taken out."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ghostedge.cli import main as cli
from ghostedge.cli.main import COMMANDS
from ghostedge.errors import UsageError
from tests.scripts import load_script

ROOT = Path(__file__).parents[2]
#: Every page: those of docs/, those at the top, and those beside what they are about.
DOCS = sorted(
    {*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")}
    | {ROOT / name / "README.md" for name in ("android_demo", "benchmarks", "benchmarks/peers", "export", "training")}
)
PI = ROOT / "docs" / "raspberry-pi.md"

install_path = load_script(ROOT / "benchmarks" / "arm64" / "install_path.py")


def commands(text: str) -> Iterator[tuple[list[str], bool]]:
    """The arguments of every `ghostedge` command in `text`, and whether it is whole, as in a block, or a mention."""
    fenced = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", flags=re.MULTILINE | re.DOTALL)
    for block in fenced.finditer(text):
        for line in install_path.command_lines(block[3]) if block[2] == "sh" else ():
            for words in _simple_commands(line):
                if Path(words[0]).name == "ghostedge":
                    yield words[1:], True
    for span in re.finditer(r"`(ghostedge [^`]+)`", fenced.sub("", text)):
        yield shlex.split(span[1])[1:], False


def _simple_commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("&|;"):
            if words:
                yield words
            words = []
        else:
            words.append(word)


def check(arguments: list[str], whole: bool) -> None:
    """Parse them as ghostedge does. Raises: UsageError."""
    try:
        cli._parser().parse_args(arguments)
    except UsageError as exc:
        if whole or not re.search(r"(the following arguments are|one of the arguments .* is) required", str(exc)):
            raise


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_in_the_docs_parses(path: Path) -> None:
    for arguments, whole in commands(path.read_text()):
        try:
            check(arguments, whole)
        except UsageError as exc:
            pytest.fail(f"{path.relative_to(ROOT)}: ghostedge {shlex.join(arguments)}: {exc}")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_every_help_parse(name: str) -> None:
    epilog: str = importlib.import_module(COMMANDS[name]).EPILOG
    examples = epilog.removeprefix("examples:\n").partition("\n\n")[0]
    found = list(commands(f"```sh\n{examples}\n```"))
    assert len(found) == examples.count("  ghostedge "), "one that is not found"
    for arguments, whole in found:
        assert arguments[0] == name
        check(arguments, whole)


def test_the_commands_are_found() -> None:
    readme = [words for words, _ in commands((ROOT / "README.md").read_text())]
    assert {"export", "predict", "evaluate", "parity", "verify"} <= {words[0] for words in readme}
    found = [words for path in DOCS for words, _ in commands(path.read_text()) if words]
    assert len(found) >= 50


@pytest.mark.parametrize(
    "text",
    [
        "```sh\nghostedge verfy --artifact a.tflite\n```\n",
        "```sh\n~/ghostedge-venv/bin/ghostedge verify --artefact a.tflite\n```\n",
        "```sh\ncd .. && ghostedge verify  # without what it needs\n```\n",
        "```sh\nghostedge benchmark --artifact a.tflite \\\n    --quik\n```\n",
        "Run `ghostedge parity --ledgers a.parquet` then.\n",
        "- In a list:\n\n  ```sh\n  ghostedge fetch --what\n  ```\n",
    ],
)
def test_a_wrong_command_is_seen(text: str) -> None:
    ((arguments, whole),) = commands(text)
    with pytest.raises(UsageError):
        check(arguments, whole)


def test_the_install_commands_can_be_taken_out() -> None:
    found = {name: lines for path in install_path.DOCS for name, lines in install_path.blocks(path.read_text()).items()}
    assert found.keys() == install_path.RUNS.keys()
    for name, lines in found.items():
        (install,) = (line for line in lines if "pip install" in line)
        assert "--constraint locks/edge.txt" in install, name
        assert any("apt install -y python3-venv" in line for line in lines), name
        assert any("ghostedge verify" in line for line in lines), name
        assert not any(re.search(r"[<>…]|\.\.\.", line) for line in lines), f"{name}: a placeholder"


def test_the_blocks_that_make_test_arm64_leaves_out_repeat_the_one_for_a_pi() -> None:
    pi = install_path.blocks(PI.read_text())["raspberry-pi"]
    install = install_path.blocks((ROOT / "docs" / "install.md").read_text())
    assert [line for line in install["debian"] if line in pi] == pi
    as_root = [line.replace("sudo ", "").replace("cd ghostedge", "cd ~/ghostedge") for line in install["debian"]]
    assert install["termux"] == as_root


def test_a_pi_needs_ten_lines_at_most() -> None:
    assert len(install_path.blocks(PI.read_text())["raspberry-pi"]) <= 10


def test_the_readme_is_a_page_and_not_a_book() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 120


def test_the_sizes_are_those_of_the_docs() -> None:
    install, pages = (ROOT / "docs/install.md").read_text(), (PI.read_text(), (ROOT / "README.md").read_text())
    sizes = {name: f"{run.most_mb} MB" for name, run in install_path.RUNS.items()}
    assert all(f"at most {sizes['raspberry-pi']}" in page for page in pages)
    assert f"Up to {sizes['debian']}" in install
    assert f"up to {sizes['ubuntu']}" in install


@pytest.mark.parametrize("text", ["<!-- run: a -->\n\nNo block.\n", "<!-- run: a -->\n```\n# nothing\n```\n"])
def test_a_mark_without_commands_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="'a'"):
        install_path.blocks(text)


def test_the_script_ends_at_the_first_command_that_fails() -> None:
    script = install_path.script(["echo one", "test -e /nowhere", "echo three"])
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "status 0" in done.stdout
    assert "status 1" in done.stdout
    assert "three" not in done.stdout
