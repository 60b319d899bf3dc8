"""``ghostedge reference``: arguments; what it makes is in tests/evaluation/test_reference.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from ghostedge.cli.main import main
from ghostedge.evaluation.ledger import read_metadata
from ghostedge.runtimes import RUNTIMES

pytest.importorskip("pyarrow")


@pytest.fixture
def arguments(tmp_path: Path, oracle_checkpoint: Path) -> list[str]:
    (tmp_path / "d").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "d" / "a.png")
    return [
        "reference",
        "--checkpoint",
        str(oracle_checkpoint),
        "--data",
        str(tmp_path / "d"),
        "--output",
        "r.parquet",
    ]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "there is no label file beside them"),
        (
            ["--ground-truth", "none", "--protocol", "modelzoo"],
            "--protocol counts right answers, but the images have no",
        ),
        (
            ["--ground-truth", "none", "--device-target", "TPU"],
            "unknown device target 'TPU'; did you mean 'GPU'? available: Ascend, CPU, GPU",
        ),
        (["--ground-truth", "none", "--threads", "0"], "--threads 0: at least 1"),
        (["--ground-truth", "none", "--protocol", "paper"], "unknown --protocol 'paper'"),
        (["--ground-truth", "none", "--arithmetic", "float23"], "unknown arithmetic 'float23'; did you mean 'float32'"),
        (["--device-id", "1-3"], "--device-id 1-3 is not one card; several are --devices 1-3"),
        (["--device-id", "1", "--devices", "0-7"], "--device-id is one card and --devices are several"),
        (["--ground-truth", "none", "--devices", "0-x"], "'0-x' names no cards; write numbers and ranges"),
        (["--repeat", "0"], "--repeat 0: at least 1"),
        (["--ground-truth", "none", "--repeat", "2"], "--repeat counts right answers, but the images have no labels"),
        (["--allow-calibration-images"], "unrecognized arguments: --allow-calibration-images"),
        (["--shuffle-seed", "1"], "--shuffle-seed: for --protocol modelzoo alone"),
        (
            ["--protocol", "modelzoo", "--crop-pct", "0.9", "--std", "1,1,1"],
            "--crop-pct and --std: for --protocol mindcv",
        ),
        (["--protocol", "mindcv", "--mean", "a"], "'a' is not three numbers such as 0.485,0.456,0.406"),
        (["--protocol", "mindcv", "--interpolation", "bicubic"], "--interpolation bicubic: of MindCV's, bilinear is"),
        (["--protocol", "modelzoo", "--shard", "0/8"], "--shard is of one shuffle: add --shuffle-seed N"),
        (["--protocol", "modelzoo", "--shard", "8"], "'8' is not a shard such as 0/8"),
    ],
)
def test_mistakes_are_one_line_before_mindspore_is_loaded(
    more: list[str], message: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, *more]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_the_protocol_needs_a_whole_batch(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "d" / "val.txt").write_text("a.png 3\n")
    assert main([*arguments, "--protocol", "modelzoo"]) == 1
    assert "takes whole batches of 128; 1 images make none" in capsys.readouterr().err


def test_twice_the_same_is_no_noise_and_the_protocols_are_told(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a runtime that stands for MindSpore, down to the ledgers and what is printed of them."""
    monkeypatch.setitem(RUNTIMES, "checkpoint", "tests.evaluation.engines.card_runtime:CardRuntime")
    monkeypatch.chdir(tmp_path)
    for number in range(9):
        Image.new("RGB", (9, 9), (number * 20, 0, 0)).save(tmp_path / "d" / f"{number}.png")
    names = sorted(path.name for path in (tmp_path / "d").iterdir())
    (tmp_path / "d" / "val.txt").write_text("".join(f"{name} 1\n" for name in names))
    alike = ["--device-target", "Ascend", "--arithmetic", "default", "--deterministic", "--protocol", "mindcv"]
    more = [*alike, "--devices", "2-3", "--repeat", "2"]
    assert main([*arguments, *more, "--crop-pct", "1", "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "arithmetic: default (deterministic)\n" in printed
    assert "r.repeat2.parquet: every answer is the same as in the first run, to the last bit" in printed
    assert "note: MindCV's validate.py would print {'Top_1_Accuracy': " in printed
    metadata = read_metadata(tmp_path / "r.parquet")[0]
    assert metadata.arithmetic is not None
    assert (metadata.arithmetic.device_ids, metadata.input.resize, metadata.is_reference) == ((2, 3), 224, True)
    assert (tmp_path / "r.parquet").read_bytes() == (tmp_path / "r.repeat2.parquet").read_bytes()
    # Another card continues, or finds, the ledger of the first ones.
    monkeypatch.setenv("DEVICE_ID", "5")
    assert main([*arguments, *alike, "--crop-pct", "1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["unchanged"] is True
    assert document["protocol_mindcv"]["Top_5_Accuracy"] >= document["protocol_mindcv"]["Top_1_Accuracy"]


def test_a_device_id_of_something_else_is_no_matter_of_the_cpu(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEVICE_ID", "livingroom-7")
    assert main(arguments) == 1
    assert "there is no label file beside them" in capsys.readouterr().err
    assert main([*arguments, "--device-target", "GPU"]) == 1
    assert "the environment's DEVICE_ID 'livingroom-7' names no cards" in capsys.readouterr().err
