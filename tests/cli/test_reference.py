"""``ghostedge reference``: arguments; what it makes is in tests/evaluation/test_reference.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from ghostedge.cli.main import main

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
