"""The comparison with the peers: who is compared with whom, how ratios are made, and what is written."""

from __future__ import annotations

import csv
import importlib
import io
import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "peers"
TINY = Path(__file__).parents[1] / "data" / "tiny"


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The comparison's modules by name; they import each other by their bare names."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield {name: importlib.import_module(name) for name in ("artifacts", "measure", "results")}
    for name in ("artifacts", "measure", "results"):
        sys.modules.pop(name, None)


@pytest.fixture
def found(peers: dict[str, ModuleType], tmp_path: Path) -> list[Any]:
    """A small comparison: two peers and ours as TFLite, one peer's int8 file, PyTorch."""
    entries = [
        ("slow peer", "slow.tflite", "fp32", False),
        ("fast peer", "fast.tflite", "fp32", False),
        ("fast peer", "fast_int8.tflite", "int8, float io", False),
        ("PyTorch eager", "w.safetensors", "fp32", False),
        ("ghostedge", "ghostnetv2_100_fp32.tflite", "fp32", True),
        ("ghostedge", "ghostnetv2_100_int8.tflite", "int8", True),
    ]
    for _, file, _, _ in entries:
        (tmp_path / file).write_bytes(bytes(1000))
    make = peers["artifacts"].Contestant
    return [make(name, tmp_path / file, precision, ours) for name, file, precision, ours in entries]


def measured(found: list[Any]) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """Agreement, times and counts of `found`; the machine grows slower in the last rounds."""
    typical = dict(zip((each.key for each in found), (12.0, 10.0, 8.0, 70.0, 9.0, 6.0), strict=True))
    slowdown = [1.0] * 10 + [3.0] * 10
    wall = {
        "threads": 1,
        "rounds": 20,
        "seconds": 0.5,
        "other_cores": 0.0,
        "medians_ms": {key: [value * factor for factor in slowdown] for key, value in typical.items()},
    }
    said = {"runtime": "litert 2.1.0", "delegated_share": 1.0, "partitions": 1, "snr_db": 120.0, "top1_agreement": 1.0}
    counts = {each.key: {"cortex-a72": 9e7} for each in found if each.format == "TFLite"}
    return {each.key: dict(said) for each in found}, [wall], counts


def test_ours_is_held_to_the_fastest_peer_of_its_format_and_arithmetic(
    peers: dict[str, ModuleType], found: list[Any]
) -> None:
    agreement, walls, counts = measured(found)
    rows = {row.contestant.file.name: row for row in peers["results"].rows(found, agreement, walls, counts)}
    assert rows["ghostnetv2_100_fp32.tflite"].against == {1: "fast peer fast.tflite"}
    assert rows["ghostnetv2_100_int8.tflite"].against == {1: "fast peer fast_int8.tflite"}
    assert rows["w.safetensors"].against == {1: "fast peer fast.tflite"}
    ratio = rows["ghostnetv2_100_fp32.tflite"].ratios[1]
    assert ratio == pytest.approx({"median": 0.9, "low": 0.9, "high": 0.9})  # whatever the machine did meanwhile


def test_the_range_leaves_out_one_round_in_twenty_at_each_end(peers: dict[str, ModuleType]) -> None:
    wall = {"medians_ms": {"a": [float(n) for n in range(1, 41)], "b": [1.0] * 40}}
    assert peers["measure"].ratios(wall, "a", "b") == {"median": 20.5, "low": 3.0, "high": 38.0}


def test_table_csv_and_plots(peers: dict[str, ModuleType], found: list[Any], tmp_path: Path) -> None:
    results = peers["results"]
    agreement, walls, counts = measured(found)
    rows = results.rows(found, agreement, walls, counts)
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "README.md").write_text(f"before\n{results._BEGIN}\nold\n{results._END}\nafter\n")
    written = {path.name for path in results.write(rows, walls, folder)}
    assert written == {"results.csv", "instructions-cortex-a72.svg", "latency-1t.svg", "README.md"}
    readme = (folder / "README.md").read_text()
    assert readme.startswith("before\n")
    assert readme.endswith("\nafter\n")
    assert "old" not in readme
    assert "**ghostnetv2_100_int8.tflite**" in readme
    assert "0.75 (0.75–0.75)" in readme
    lines = list(csv.DictReader(io.StringIO((folder / "results.csv").read_text())))
    assert len(lines) == len(found)
    assert {line["instructions_cortex-a72"] for line in lines} == {"90000000", ""}
    for plot in folder.glob("*.svg"):
        assert ElementTree.fromstring(plot.read_text()).tag == "{http://www.w3.org/2000/svg}svg"


def test_times_of_a_busy_machine_are_marked(peers: dict[str, ModuleType], found: list[Any]) -> None:
    agreement, walls, counts = measured(found)
    results = peers["results"]
    assert "wait for a run" not in results.markdown(results.rows(found, agreement, walls, counts), walls)
    walls[0]["other_cores"] = 1.5
    assert "wait for a run" in results.markdown(results.rows(found, agreement, walls, counts), walls)


def test_whatever_the_export_folder_holds_takes_part(peers: dict[str, ModuleType], tmp_path: Path) -> None:
    for name in (
        "ghostnetv2_100_int8_mixed.tflite",
        "ghostnetv2_100_equalised.tflite",
        "ghostnetv2_100.onnx",
        "ghostnetv2_100_fp16.xml",
        "manifest.json",
    ):
        (tmp_path / name).write_bytes(b"")
    found = peers["artifacts"].contestants(tmp_path / "no.safetensors", tmp_path, tmp_path / "peers")
    assert [(each.file.name, each.precision) for each in found] == [
        ("ghostnetv2_100_int8_mixed.tflite", "int8_mixed"),
        ("ghostnetv2_100_fp16.xml", "fp16"),
        ("ghostnetv2_100.onnx", "fp32"),
    ]


def test_every_recipe_is_exported_that_the_photos_allow(
    peers: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(peers["artifacts"], "_run", lambda command, **rest: commands.append(list(map(str, command))))
    for photos in (tmp_path, None):
        peers["artifacts"].make_ours(tmp_path / "weights.safetensors", tmp_path / "ours", photos, [])
    _, with_photos, _, without = commands
    recipes = {path.stem for path in (FOLDER.parents[1] / "export").glob("*.toml")}
    assert recipes <= set(with_photos)
    left_out = recipes - set(without)
    assert left_out == {name for name in recipes if name.endswith(("_int8", "_int16x8", "_mixed", "_equalised"))}


@pytest.mark.parametrize("model", ["tiny_fp32.tflite", "tiny.onnx"])
def test_a_contender_times_and_runs_what_it_is_asked(tmp_path: Path, model: str) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(TINY / "tiny_fp32.tflite"))
    interpreter.allocate_tensors()
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    _, height, width, _ = given["shape"]
    # Colours far apart, so that pixels in the wrong order are another picture.
    colours = np.array([[-2, 0, 2], [1, 2, -1]], np.float32)[:, :, None, None]
    images = colours + 0.1 * np.random.default_rng(0).standard_normal((2, 3, height, width)).astype(np.float32)
    np.save(tmp_path / "x.npy", images)
    requests = [{"seconds": 0.01}, {"images": str(tmp_path / "x.npy"), "logits": str(tmp_path / "y.npy")}]
    done = subprocess.run(
        [sys.executable, str(FOLDER / "contender.py"), str(TINY / model), "1"],
        input="".join(json.dumps(request) + "\n" for request in requests),
        capture_output=True,
        text=True,
        check=True,
    )
    said, timed, ran = map(json.loads, done.stdout.splitlines())
    assert said["runtime"].startswith(("litert", "onnxruntime"))
    assert timed["median_ms"] > 0
    assert ran == {"pictures": 2}
    expected = []
    for image in images:
        interpreter.set_tensor(given["index"], image.transpose(1, 2, 0)[None])
        interpreter.invoke()
        expected.append(interpreter.get_tensor(wanted["index"]).reshape(-1))
    found = np.load(tmp_path / "y.npy")
    assert found.shape == np.shape(expected)
    assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)
