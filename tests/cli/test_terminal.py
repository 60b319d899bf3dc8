"""What a command prints where names come from others, and where nothing can be printed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ghostedge import console
from ghostedge.cli.main import main
from ghostedge.errors import OutputError

LINEAR = Path(__file__).parents[1] / "data" / "linear"


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which ``G`` is ghostedge."""
    line = command.replace("G ", f"{sys.executable} -m ghostedge ")
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, env={**os.environ, **environment})


@pytest.mark.parametrize(("target", "reason"), [("> /dev/full", "No space left"), (">&-", "it is closed")])
@pytest.mark.parametrize("command", ["G parity --plan", "G parity --help"])
def test_output_that_cannot_be_written_is_one_line(command: str, target: str, reason: str) -> None:
    done = shell(f"{command} {target}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"ghostedge: error: cannot write to stdout: {reason}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("target", ["2> /dev/full", "2>&-"])
def test_errors_that_cannot_be_written_do_not_change_the_exit_code(target: str) -> None:
    assert shell(f"G inspect absent.onnx {target}").returncode == 1


def test_a_closed_pipe_is_silent() -> None:
    done = shell("set -o pipefail; G parity --plan | true")
    assert (done.returncode, done.stderr) == (0, "")


def stream(encoding: str) -> tuple[console._Stream, io.BytesIO]:
    raw = io.BytesIO()
    return console._Stream(io.TextIOWrapper(raw, encoding, write_through=True), "stdout"), raw


def test_control_characters_are_shown() -> None:
    out, raw = stream("utf-8")
    print("a\x1b[2Jb\tc\x9bd\u202ee\x7f\0\r", file=out)
    assert raw.getvalue().decode() == "a\\u001b[2Jb\tc\\u009bd\\u202ee\\u007f\\u0000\\u000d\n"


def test_an_encoding_that_lacks_a_sign_gets_another() -> None:
    out, raw = stream("ascii")
    print("\u22120.5 points, caf\u00e9 \U0001f600 \udc80", file=out)
    assert raw.getvalue().decode() == "-0.5 points, caf\\u00e9 \\ud83d\\ude00 \\udc80\n"


def test_json_stays_json() -> None:
    out, raw = stream("ascii")
    document = {"a": "\u2212\x9b\u202e\U0001f600\x1b"}
    print(json.dumps({"b": "\x9b\u202e\U0001f600\x1b"}, ensure_ascii=False), file=out)
    assert json.loads(raw.getvalue()) == {"b": document["a"][1:]}


def test_what_cannot_be_written_is_an_error_of_ours() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="cannot write to stdout: No space left on device"):
        print("x", file=console._Stream(Full(), "stdout"))
    print("x", file=console._Stream(Full(), "stderr"))


def test_a_message_with_a_name_of_others_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = tmp_path / "a\n\x1b[31mred.onnx"
    assert main(["inspect", str(name)]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_labels_cannot_command_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ai_edge_litert")
    Image.new("RGB", (20, 30), (255, 0, 0)).save(tmp_path / "a.png")
    spec = {"layout": "NHWC", "height": 8, "width": 8, "resize": 8, "mean": [0, 0, 0], "std": [1, 1, 1]}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    (tmp_path / "labels.txt").write_text("\x1b]0;title\x07\nb\nc\nd\n")
    arguments = ["predict", str(tmp_path / "a.png"), "--artifact", str(LINEAR / "fp32.tflite")]
    arguments += ["--input-spec", str(tmp_path / "spec.json"), "--labels", str(tmp_path / "labels.txt")]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "\\u001b]0;title\\u0007" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("kind", ["image", "model", "folder", "flat"])
def test_a_pipe_in_place_of_a_file_does_not_hang(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a pipe that nobody writes to, the opening alone never ends."""
    from ghostedge.data.datasets import NO_LABELS, open_dataset
    from ghostedge.data.preprocess import decode
    from ghostedge.errors import ArtifactError, GhostedgeError, ImageError
    from ghostedge.formats import open_model

    name = {"image": "a.jpg", "model": "a.onnx", "folder": "d/c/a.jpg", "flat": "d/a.jpg"}[kind]
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    if kind == "image":
        with pytest.raises(ImageError, match=r"a\.jpg cannot be read: it is a pipe"):
            decode(path)
    elif kind == "model":
        with pytest.raises(ArtifactError, match="it is a pipe"):
            open_model(path)
    else:
        with pytest.raises(GhostedgeError, match=r"it is a pipe|no images"):
            open_dataset(tmp_path / "d", NO_LABELS).source(0).read()


def test_a_name_that_is_too_long_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["inspect", "a" * 300 + ".onnx"], ["parity", "--reference", "a" * 5000, "--ledger", "b"]):
        assert main(arguments) == 1
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert "File name too long" in err


def test_a_changed_file_is_named_before_it_is_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ghostedge.files import sha256_file

    model = tmp_path / "m.tflite"
    model.write_bytes((LINEAR / "fp32.tflite").read_bytes())
    recorded = {"name": model.name, "sha256": sha256_file(model), "size_bytes": model.stat().st_size}
    (tmp_path / "manifest.json").write_text(json.dumps({"artifacts": {"r": {"files": [recorded]}}}))
    evaluate = ["evaluate", "--data", "d", "--output", "o", "--artifact"]
    for command in (["inspect"], ["predict", "x.png", "--artifact"], evaluate):
        main([*command, str(model)])
        assert "changed after its export" not in capsys.readouterr().err
    data = bytearray(model.read_bytes())
    data[np.flatnonzero(np.frombuffer(data, np.uint8))[-1]] ^= 1
    model.write_bytes(data)
    for command in (
        ["inspect"],
        ["predict", "x.png", "--artifact"],
        evaluate,
        ["benchmark", "--output", str(tmp_path / "o"), "--device", "usb:1", "--artifact"],
        ["verify", "--artifact"],
    ):
        main([*command, str(model)])
        assert "m.tflite was changed after its export" in capsys.readouterr().err


def test_a_command_that_runs_others_rewrites_its_status_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    with console.terminal(), console.terminal(), console.ProgressWriter() as progress:
        progress.status("half\x1b[2J", last=True)
    assert shown.getvalue() == "\r\x1b[Khalf\\u001b[2J\n"
