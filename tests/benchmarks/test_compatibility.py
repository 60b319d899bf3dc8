"""The compatibility matrix: the tiny models in this very environment, and every way in which a cell can go wrong."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ghostedge.compare import Difference
from ghostedge.data.golden import Golden, write_golden
from ghostedge.manifest import ArtifactRecord, FileRecord, Manifest
from ghostedge.model import InputSpec
from tests.scripts import load_script

ROOT = Path(__file__).parents[2]
SPEC = InputSpec(height=32, width=32, resize=36)
FILES = {
    "tiny.onnx": ("onnx", "fp32"),
    "tiny.xml": ("openvino", "fp32"),
    "tiny_fp32.tflite": ("tflite", "fp32"),
}
#: tflite-runtime, of the packages, is not in this environment.
pytest.importorskip("onnx", reason="left out: the matrix is run where everything is installed")

USED = ("onnxruntime", "ai-edge-litert", "openvino", "onnx")
Main = Callable[..., int]
Out = pytest.CaptureFixture[str]


@pytest.fixture(scope="session")
def compat() -> ModuleType:
    """benchmarks/compatibility.py as a module."""
    return load_script(ROOT / "benchmarks" / "compatibility.py")


def part(name: str) -> ModuleType:
    """One of the modules that it imports from benchmarks/compat/."""
    return sys.modules[f"compat.{name}"]


@pytest.fixture
def export(tiny: Path, tmp_path: Path) -> Path:
    """The tiny models as an export leaves them: golden vectors (of tiny.onnx) and a manifest beside them."""
    ort = pytest.importorskip("onnxruntime")
    folder = tmp_path / "export"
    folder.mkdir()
    for path in tiny.glob("tiny*"):
        (folder / path.name).write_bytes(path.read_bytes())
    # Four colours: of noise, all pictures' means, and so all answers, would be nearly the same.
    rng = np.random.default_rng(3)
    crops = np.clip(rng.integers(0, 256, (4, 1, 1, 3)) + rng.integers(-20, 20, (4, 32, 32, 3)), 0, 255).astype(np.uint8)
    tensors = ((crops - 255 * np.array(SPEC.mean)) / (255 * np.array(SPEC.std))).astype(np.float32)
    session = ort.InferenceSession(folder / "tiny.onnx", providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    nchw = given.shape[1] == 3
    rows = [session.run(None, {given.name: t[None].transpose(0, 3, 1, 2) if nchw else t[None]})[0] for t in tensors]
    names = tuple(f"{index}.png" for index in range(4))
    write_golden(folder / "tiny.golden.npz", Golden(crops, np.concatenate(rows), names, (), "0" * 64))
    same = Difference(4, 0.0, 100.0, 1.0)
    manifest = Manifest({"file": "tiny.ckpt", "sha256": "0" * 64}, (), {}, {"ghostedge": "0"})
    for name, (target, precision) in FILES.items():
        record = ArtifactRecord(
            recipe=name, recipe_sha256="", target=target, precision=precision, files=(FileRecord.of(folder / name),),
            source="", input=SPEC, classes=10, build_key="", verify_key="", packages={}, build_seconds=0.0,
            runtime={}, difference=same, reference_difference=same, bounds={},
        )  # fmt: skip
        manifest = manifest.with_artifact(record)
    manifest.write(folder)
    return folder


@pytest.fixture
def matrix(compat: ModuleType, export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Main:
    """`matrix(*arguments)`: the program on `export`; its only environment is the one that runs this. No network."""

    def here(environment: Any, *_: object) -> tuple[Path, dict[str, str]]:
        return Path(sys.executable), {name: metadata.version(name) for name in (environment.package, "numpy")}

    monkeypatch.setattr(compat, "make", here)
    monkeypatch.setattr(compat, "LOCK", tmp_path / "lock.txt")
    monkeypatch.setattr(compat, "TABLE", tuple((name, compat.PINNED, ("3.11",)) for name in USED))

    def main(*arguments: object) -> int:
        page = ("--page", str(tmp_path / "page.md"))
        return int(compat.main(["--artifacts", str(export), *page, *map(str, arguments)]))

    return main


def cells(out: Out) -> dict[tuple[str, str], dict[str, Any]]:
    """(package, file) -> cell, of what --json printed."""
    found = json.loads(out.readouterr().out)
    return {(each["package"], cell["artifact"]): cell for each in found["environments"] for cell in each["cells"]}


# -- in this environment ----------------------------------------------------------------------------------------------


def test_sound_models_are_right_everywhere(matrix: Main, tmp_path: Path, capsys: Out) -> None:
    assert matrix("--json") == 0
    found = cells(capsys)
    assert list(found) == [
        ("onnxruntime", "tiny.onnx"),
        ("ai-edge-litert", "tiny_fp32.tflite"),
        ("openvino", "tiny.onnx"),
        ("openvino", "tiny.xml"),
        ("onnx", "tiny.onnx"),
    ]
    assert {cell["state"] for cell in found.values()} == {"right"}
    assert found["ai-edge-litert", "tiny_fp32.tflite"]["numbers"]["delegate"]["partitions"] == 1
    text = (tmp_path / "page.md").read_text()
    assert f"| {metadata.version('ai-edge-litert')} *pinned* | {sys.version.split()[0]} | {np.__version__} | " in text
    assert re.search(r"\| fp32 .tflite \|\n\|---.*\n.* \| \d+.\d dB, 100%, 1 part \|\n", text)
    assert "| passes |" in text
    assert "every version is as the pinned one" in text


def test_an_int8_ir_is_run_as_on_cpus_without_vnni_too(
    compat: ModuleType, matrix: Main, export: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = Manifest.read(export)
    assert manifest is not None
    record = dataclasses.replace(manifest.artifacts["tiny.xml"], precision="int8")
    manifest.with_artifact(record).write(export)
    limits: list[str | None] = []

    real = part("cells").finished

    def finished(command: list[Any], environment: dict[str, str]) -> Any:
        limits.append(environment.get("ONEDNN_MAX_CPU_ISA"))
        return real(command, environment)

    monkeypatch.setattr(part("cells"), "finished", finished)
    assert matrix("--json", "--only", "openvino") == 0
    assert [name for _, name in cells(capsys)] == ["tiny.onnx", "tiny.xml", "tiny.xml, AVX2 alone"]
    assert limits == [None, None, "AVX2"]


def test_a_wrong_weight_is_2_in_the_one_file_that_has_it(matrix: Main, export: Path, capsys: Out) -> None:
    weights = np.fromfile(export / "tiny.bin", np.float32)
    weights[0:8] *= -1  # of the first convolution's kernel; some of the file's constants are no float32
    weights.tofile(export / "tiny.bin")
    assert matrix("--json") == 2
    wrong = {key: cell for key, cell in cells(capsys).items() if cell["state"] != "right"}
    assert list(wrong) == [("openvino", "tiny.xml")]
    assert wrong["openvino", "tiny.xml"]["reason"].startswith(("its answers to the golden", "it agrees on", "another"))


def test_a_refused_model_is_1_and_costs_one_cell(matrix: Main, export: Path, tmp_path: Path, capsys: Out) -> None:
    (export / "tiny.xml").write_text("<?xml version='1.0'?><net name='x' version='11'>")
    assert matrix("--json") == 1
    failed = {key: cell for key, cell in cells(capsys).items() if cell["state"] != "right"}
    assert list(failed) == [("openvino", "tiny.xml")]
    reason = failed["openvino", "tiny.xml"]["reason"]
    assert reason.startswith("refused by openvino")
    assert reason.endswith("tiny.xml is damaged, its sha256 is not the one in manifest.json: copy it again")
    assert str(tmp_path) not in (tmp_path / "page.md").read_text()
    assert "**not run**: refused by openvino" in (tmp_path / "page.md").read_text()


#: A Python whose LiteRT dies of the signal 11 when a model is loaded.
CRASHING = f"""\
#!{sys.executable}
import os, runpy, sys
import ai_edge_litert.interpreter
ai_edge_litert.interpreter.Interpreter = lambda **_: os.kill(os.getpid(), 11)
sys.argv = sys.argv[2:]  # the first is -I
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_crash_is_1_and_costs_one_cell(
    matrix: Main, compat: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    python, here = tmp_path / "python", compat.make
    python.write_text(CRASHING)
    python.chmod(0o755)

    def make(environment: Any, *rest: object) -> Any:
        good, versions = here(environment, *rest)
        return python if environment.package == "ai-edge-litert" else good, versions

    monkeypatch.setattr(compat, "make", make)
    assert matrix("--json") == 1
    failed = {key: cell for key, cell in cells(capsys).items() if cell["state"] != "right"}
    assert list(failed) == [("ai-edge-litert", "tiny_fp32.tflite")]
    reason = f"litert {metadata.version('ai-edge-litert')} crashed (signal 11)"
    assert failed["ai-edge-litert", "tiny_fp32.tflite"]["reason"] == reason


def test_wrong_wins_over_not_run(matrix: Main, export: Path, capsys: Out) -> None:
    (export / "tiny_fp32.tflite").write_bytes(b"")
    onnx = pytest.importorskip("onnx")
    model = onnx.load(export / "tiny.onnx")
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 11  # it gives ten
    onnx.save(model, export / "tiny.onnx")
    assert matrix("--json", "--only", "onnx", "--only", "ai-edge-litert") == 2
    found = cells(capsys)
    assert found["onnx", "tiny.onnx"]["state"] == "wrong"
    assert "InferenceError" in found["onnx", "tiny.onnx"]["reason"]
    assert found["ai-edge-litert", "tiny_fp32.tflite"]["reason"] == "empty (0 bytes); copy it again"


def test_another_version_than_the_row_s_is_not_believed(
    matrix: Main, compat: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.setattr(compat, "make", lambda *_: (Path(sys.executable), {"openvino": "1.0"}))
    assert matrix("--json", "--only", "openvino") == 1
    reason = cells(capsys)["openvino", "tiny.xml"]["reason"]
    assert reason == f"it was version {metadata.version('openvino')} that ran, not 1.0"


def test_a_runtime_that_hangs(matrix: Main, compat: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    monkeypatch.setattr(part("cells"), "RUN_LIMIT_S", 0.05)
    assert matrix("--json", "--only", "onnxruntime") == 1
    assert cells(capsys)["onnxruntime", "tiny.onnx"]["reason"] == "no answer within 0.05 s"


def test_an_environment_that_cannot_be_made_costs_its_row(
    matrix: Main, compat: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    here = compat.make

    def make(environment: Any, *rest: object) -> Any:
        if environment.package == "openvino":
            raise compat.UnavailableError("no wheel for Python 3.11")
        return here(environment, *rest)

    monkeypatch.setattr(compat, "make", make)
    assert matrix("--json") == 1
    assert len(cells(capsys)) == 3
    text = (tmp_path / "page.md").read_text()
    row = "**not run**: no wheel for Python 3.11"
    assert f"| pinned | 3.11 | - | {row} | {row} |" in text
    assert "- OpenVINO pinned, Python 3.11: not run: no wheel for Python 3.11" in text


def test_a_folder_without_an_export(compat: ModuleType, tmp_path: Path, capsys: Out) -> None:
    assert compat.main(["--artifacts", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"compatibility: error: {tmp_path} holds no export (no manifest.json); run: make demo\n"
    )


# -- what is wrong ----------------------------------------------------------------------------------------------------


def record(agreement: float = 1.0, partitions: int = 1, reason: str | None = None) -> dict[str, Any]:
    return {
        "verification": {
            "correct": reason is None,
            "reason": reason,
            "top1_agreement": agreement,
            "disagreeing": ["a.jpg"],
        },
        "delegate": {"partitions": partitions, "delegated_nodes": 9, "nodes": 10},
    }


@pytest.mark.parametrize(
    ("precision", "found", "fault"),
    [
        ("fp32", record(), None),
        ("fp32", record(reason="its answers ..."), "its answers ..."),
        ("fp16", record(agreement=0.9), "another answer than MindSpore's to a.jpg"),
        ("int8", record(agreement=0.9), None),
        ("int8", record(partitions=15), "15 XNNPACK partitions with 9 of 10 operators, not one"),
        ("dynamic", record(partitions=0), "0 XNNPACK partitions with 9 of 10 operators, not one"),
        ("int16x8", record(partitions=0), None),
        ("int16x8", record(partitions=0, reason="wrong"), "wrong"),
    ],
)
def test_faults_of_a_record(compat: ModuleType, precision: str, found: dict[str, Any], fault: str | None) -> None:
    assert part("cells").fault(found, compat.Model(Path("m.tflite"), "tflite", precision)) == fault


def test_what_is_known_is_no_fault_and_being_right_is_one(
    matrix: Main, compat: ModuleType, export: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.setattr(part("cells"), "KNOWN", {("ai-edge-litert", compat.PINNED): {"fp32": "too old"}})
    assert matrix("--json", "--only", "ai-edge-litert") == 2
    reason = cells(capsys)["ai-edge-litert", "tiny_fp32.tflite"]["reason"]
    assert reason == "it is right, but KNOWN says: too old; take that out"
    (export / "tiny_fp32.tflite").write_bytes(b"")
    assert matrix("--json", "--only", "ai-edge-litert") == 0
    cell = cells(capsys)["ai-edge-litert", "tiny_fp32.tflite"]
    assert cell["state"] == "known"
    assert cell["reason"].startswith("too old (empty (0 bytes)")


# -- reasons ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "said", "reason"),
    [
        (
            1,
            "[1/1] m-litert-1t: loading\nedge_benchmark: error: /data/m.tflite is refused by litert 9: Bad op in "
            "/opt/src/x.cc; the file is whole, its sha256 is the one in manifest.json: try another version of litert",
            "refused by litert 9: Bad op in x.cc",
        ),
        (
            1,
            "edge_benchmark: error: /data/m.tflite: litert 9 crashed (signal 11); try another version of litert, or "
            "compare the file's sha256 with the one in its manifest.json",
            "litert 9 crashed (signal 11)",
        ),
        (
            1,
            "edge_benchmark: error: no runtime for tflite models is installed",
            "no runtime for tflite models is installed",
        ),
        (1, "edge_benchmark: error: /data/m.tflite has shapes that x refuses", "has shapes that x refuses"),
        (3, "Traceback\n  File /a/b/c.py\nValueError: no /a/b/d.bin", "exit code 3: ValueError: no d.bin"),
        (-11, "", "crashed (signal 11)"),
        (4, "", "exit code 4: no message"),
    ],
)
def test_the_reason_of_a_failure_is_one_short_line(compat: ModuleType, code: int, said: str, reason: str) -> None:
    done = subprocess.CompletedProcess([], code, "", said)
    assert part("cells").failure(done, Path("/data/m.tflite")) == reason


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "error: No solution found when resolving dependencies\n  cause: Because ai-edge-litert==1.2.0 has no "
            "wheels with a matching Python ABI tag (e.g., `cp313`) and you require ai-edge-litert==1.2.0, we can",
            "no wheel for Python 3.13",
        ),
        ("  cause: Because onnx==1.16.0 has no usable wheels and you require onnx==1.16.0", "no wheel for Python 3.13"),
        ("  cause: Because there is no version of onnx==99 and you require", "the index has no such version"),
        ("error: No interpreter found for Python 3.13 in managed installations", "there is no Python 3.13 here"),
        ("error: Failed to fetch: `https://host.example/simple/onnx/`\n", "Failed to fetch: `the index"),
        ("", "uv failed without a message"),
    ],
)
def test_why_an_environment_cannot_be_made(compat: ModuleType, said: str, reason: str) -> None:
    assert part("environments").uv_reason(said, compat.Environment("onnx", "99", "3.13")).rstrip("`") == reason


# -- environments -----------------------------------------------------------------------------------------------------


def test_an_environment_is_kept_until_its_versions_change(
    compat: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, calls = ["onnx==1.0", "numpy==2.0"], []

    def uv(*arguments: Any, **_: object) -> str:
        calls.append(arguments[0] if arguments[0] == "venv" else arguments[1])
        if calls[-1] == "venv":
            (arguments[-1] / "bin").mkdir(parents=True)
            (arguments[-1] / "bin" / "python").symlink_to(sys.executable)
        return "\n".join(index) if calls[-1] == "compile" else ""

    monkeypatch.setattr(part("environments"), "uv", uv)
    asked = compat.Environment("onnx", compat.NEWEST, "3.11")

    def make(locked: tuple[str, ...] | None = None) -> Any:
        calls.clear()
        return compat.make(asked, tmp_path, locked)[1]

    assert make() == {"onnx": "1.0", "numpy": "2.0"}
    assert calls == ["venv", "compile", "sync"]
    make()
    assert calls == ["compile"]
    index[0] = "onnx==1.1"
    assert make() == {"onnx": "1.1", "numpy": "2.0"}
    assert calls == ["compile", "sync"]
    assert make(("onnx==1.0",)) == {"onnx": "1.0"}
    assert calls == ["sync"]

    def broken(*arguments: Any, **_: object) -> str:
        if "sync" in arguments:
            raise compat.UnavailableError("no space")
        return uv(*arguments)

    monkeypatch.setattr(part("environments"), "uv", broken)
    with pytest.raises(compat.UnavailableError, match="no space"):
        make(("onnx==1.2",))
    monkeypatch.setattr(part("environments"), "uv", uv)
    make(("onnx==1.0",))
    assert calls == ["venv", "sync"], "what a failed installation left is made again"


def test_a_python_of_pyenv_s_is_found_second(
    compat: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def uv(*_: object, environment: Any, **variables: str) -> str:
        calls.append(variables)
        if not variables or environment.python == "3.14":
            raise compat.UnavailableError("there is no Python here" if not variables else "pyenv: not installed")
        return ""

    monkeypatch.setattr(part("environments"), "uv", uv)
    part("environments").make_venv(compat.Environment("onnx", "1", "3.13"), tmp_path)
    assert calls == [{}, {"PYENV_VERSION": "3.13"}]
    with pytest.raises(compat.UnavailableError, match="there is no Python here"):
        part("environments").make_venv(compat.Environment("onnx", "1", "3.14"), tmp_path)


def row(compat: ModuleType, version: str, versions: dict[str, str], *found: Any) -> Any:
    return compat.Row(compat.Environment("openvino", version, "3.11"), versions, "3.11.9", found)


def test_the_lock_moves_on_only_to_what_is_right(compat: ModuleType, tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    right, wrong = part("matrix").Cell("a.xml", "right"), part("matrix").Cell("a.xml", "wrong", "too far")
    compat.move_on(lock, [row(compat, compat.NEWEST, {"openvino": "1", "numpy": "2"}, right)])
    assert compat.read_lock(lock) == {"openvino": ("openvino==1", "numpy==2")}
    compat.move_on(lock, [row(compat, compat.NEWEST, {"openvino": "2"}, right, wrong)])
    assert compat.read_lock(lock) == {"openvino": ("openvino==1", "numpy==2")}
    compat.move_on(lock, [row(compat, "3", {"openvino": "3"}, right)])
    assert compat.read_lock(lock) == {"openvino": ("openvino==1", "numpy==2")}
    compat.move_on(lock, [row(compat, compat.NEWEST, {"openvino": "4"}, right)])
    assert compat.read_lock(lock) == {"openvino": ("openvino==4",)}


def test_the_short_form_runs_what_the_lock_says_and_does_not_change_it(
    matrix: Main, compat: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Out
) -> None:
    monkeypatch.setattr(compat, "TABLE", (("onnx", compat.NEWEST, ("3.11", "3.13")), ("onnx", "1.19.1", ("3.11",))))
    assert matrix("--only", "newest") == 1
    assert "lock.txt cannot be read" in capsys.readouterr().err
    (tmp_path / "lock.txt").write_text("# a comment\nonnx: onnx==1.0 numpy==2.0\n")
    here, asked = compat.make, []
    monkeypatch.setattr(compat, "make", lambda *each: asked.append((each[0].name, each[2])) or here(*each))
    assert matrix("--only", "newest") == 0
    assert asked == [(f"onnx-newest-py{compat.OWN_PYTHON}", ("onnx==1.0", "numpy==2.0"))]
    assert (tmp_path / "lock.txt").read_text() == "# a comment\nonnx: onnx==1.0 numpy==2.0\n"


def test_the_project_s_lock_and_table(compat: ModuleType) -> None:
    locked = compat.read_lock(compat.LOCK)
    assert set(locked) == {package for package, version, _ in compat.TABLE if version == compat.NEWEST}
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for lines in locked.values() for line in lines)
    assert all(any(line.startswith(f"{name}==") for line in lines) for name, lines in locked.items())
    # Where the pinned version is run on another Python too, it is named: that name must follow the pin.
    text = (ROOT / "locks" / "export.txt").read_text()
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)(?: ; python_full_version < '3.12')?$", text, re.MULTILINE))
    named = {(package, version) for package, version, _ in compat.TABLE}
    for package in ("onnxruntime", "ai-edge-litert", "onnx"):
        assert (package, pinned[package]) in named
    assert {package for package, version, _ in compat.TABLE if version == compat.PINNED} == set(locked)


# -- the page ---------------------------------------------------------------------------------------------------------


def numbers(
    snr: float | None, partitions: int | None = None, share: float = 1.0, agreement: float = 1.0
) -> dict[str, Any]:
    nodes = {"partitions": partitions, "delegated_share": share, "delegated_nodes": round(10 * share), "nodes": 10}
    delegate = None if partitions is None else nodes
    return {"snr_db": snr, "top1_agreement": agreement, "finite": True, "pictures": 4, "delegate": delegate}


@pytest.mark.parametrize(
    ("state", "reason", "found", "text"),
    [
        ("right", None, {}, "passes"),
        ("right", None, numbers(122.04), "122.0 dB, 100%"),
        ("right", None, numbers(None, 1), "identical, 100%, 1 part"),
        ("right", None, numbers(36.0, 12, 0.85), "36.0 dB, 100%, 12 parts (85%)"),
        ("right", None, numbers(50.0, 0, 0.0), "50.0 dB, 100%, no parts"),
        ("right", None, numbers(-0.04), "0.0 dB, 100%"),
        ("wrong", "x" * 80, numbers(3.0), "3.0 dB, 100%, **wrong**: " + "x" * 67 + "..."),
        ("not run", "crashed (signal 11)", {}, "**not run**: crashed (signal 11)"),
    ],
)
def test_a_cell(compat: ModuleType, state: str, reason: str | None, found: dict[str, Any], text: str) -> None:
    assert part("matrix").Cell("a", state, reason, found).text == text


def test_the_page_says_what_differs_from_the_pinned_version(compat: ModuleType) -> None:
    def cell(*found: Any, **named: Any) -> Any:
        return part("matrix").Cell("a.xml", "right", None, numbers(*found, **named))

    rows = [
        row(compat, compat.PINNED, {"openvino": "1"}, cell(100.0, 1)),
        row(compat, "2", {"openvino": "2"}, cell(100.4, 1)),
        row(compat, "3", {"openvino": "3"}, cell(90.0, 1)),
        row(compat, "4", {"openvino": "4"}, cell(100.0, 1, 0.9)),
        row(compat, "5", {"openvino": "5"}, cell(100.0, 1, agreement=0.75)),
        row(compat, compat.NEWEST, {"openvino": "6"}, part("matrix").Cell("a.xml", "wrong", "it has a | in it")),
    ]
    rows.append(dataclasses.replace(rows[-1], environment=compat.Environment("openvino", compat.NEWEST, "3.13")))
    assert part("page").notes(rows) == [
        "- OpenVINO 3, Python 3.11: `a.xml`: 90.0 dB, 100%, 1 part; pinned: 100.0 dB, 100%, 1 part",
        "- OpenVINO 4, Python 3.11: `a.xml`: 100.0 dB, 100%, 1 part (90%), 9 of 10 operators in XNNPACK; "
        "pinned: 100.0 dB, 100%, 1 part, 10 of 10 operators in XNNPACK",
        "- OpenVINO 5, Python 3.11: `a.xml`: 100.0 dB, 75%, 1 part; pinned: 100.0 dB, 100%, 1 part",
        "- OpenVINO 6, Python 3.11, 3.13: `a.xml`: wrong: it has a | in it",
    ]
    model = compat.Model(Path("a.xml"), "openvino", "fp32")
    last = part("page").table(rows, [model], compat.PACKAGES["openvino"])[-1]
    assert last == "| 6 *newest* | 3.11.9 | - | **wrong**: it has a \\| in it |"
