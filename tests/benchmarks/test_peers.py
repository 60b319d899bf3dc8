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
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ghostedge.model import InputSpec

FOLDER = Path(__file__).parents[2] / "benchmarks" / "peers"
TINY = Path(__file__).parents[1] / "data" / "tiny"
_MODULES = ("environments", "artifacts", "measure", "results", "runtimes", "converters")


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The comparison's modules by name; they import each other by their bare names."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield {name: importlib.import_module(name) for name in _MODULES}
    for name in _MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def found(peers: dict[str, ModuleType], tmp_path: Path) -> list[Any]:
    """A small comparison: two peers' float32, one's int8, PyTorch; ours as TFLite and for PCs."""
    entries = [
        ("slow peer", "slow.tflite", "fp32", False),
        ("fast peer", "fast.mnn", "fp32", False),
        ("fast peer", "fast_int8.tflite", "int8, float io", False),
        ("PyTorch eager", "w.safetensors", "fp32", False),
        ("ghostedge", "ghostnetv2_100_fp32.tflite", "fp32", True),
        ("ghostedge", "ghostnetv2_100_int8.tflite", "int8", True),
        ("ghostedge", "ours.xml", "fp32", True),
    ]
    (tmp_path / "ours.bin").write_bytes(bytes(1000))
    for _, file, _, _ in entries:
        (tmp_path / file).write_bytes(bytes(1000))
    make = peers["artifacts"].Contestant
    return [make(name, tmp_path / file, precision, ours) for name, file, precision, ours in entries]


def measured(found: list[Any]) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """Agreement, times and counts of `found`; the machine grows slower in the last rounds."""
    typical = dict(zip((each.key for each in found), (12.0, 10.0, 8.0, 70.0, 9.0, 6.0, 5.0), strict=True))
    slowdown = [1.0] * 10 + [3.0] * 10
    wall = {
        "threads": 1,
        "rounds": 20,
        "seconds": 0.5,
        "other_cores": 0.0,
        "medians_ms": {key: [value * factor for factor in slowdown] for key, value in typical.items()},
    }
    said = {"runtime": "litert 2.1.0", "delegated_share": 1.0, "partitions": 1, "snr_db": 120.0, "top1_agreement": 1.0}
    said["fault"] = None
    cost = {"instructions": 9e7, "model_cycles": 4e7, "loaded_bytes": 1e8, "stored_bytes": 1e7}
    counts = {each.key: {"cortex-a72": cost} for each in found if each.format == "TFLite"}
    return {each.key: dict(said) for each in found}, [wall], counts


def with_newest(counts: dict[str, Any]) -> dict[str, Any]:
    """Of each file, half of `counts`, counted with LiteRT 9.9."""
    return {
        key: {cpu: {name: value / 2 for name, value in cost.items()} | {"litert": "9.9"} for cpu, cost in each.items()}
        for key, each in counts.items()
    }


def test_ours_is_held_to_the_fastest_peer_of_its_format_and_arithmetic(
    peers: dict[str, ModuleType], found: list[Any]
) -> None:
    agreement, walls, counts = measured(found)
    rows = {row.contestant.file.name: row for row in peers["results"].rows(found, agreement, walls, counts, {})}
    assert rows["ghostnetv2_100_fp32.tflite"].against == {1: "fast peer fp32 fast.mnn"}
    assert rows["ghostnetv2_100_int8.tflite"].against == {1: "fast peer int8, float io fast_int8.tflite"}
    assert rows["w.safetensors"].against == {1: "fast peer fp32 fast.mnn"}
    assert rows["ours.xml"].against == {}  # a phone's runtimes are no peers on a PC
    ratio = rows["ghostnetv2_100_fp32.tflite"].ratios[1]
    assert ratio == pytest.approx({"median": 0.9, "low": 0.9, "high": 0.9})  # whatever the machine did meanwhile


def test_the_range_leaves_out_one_round_in_twenty_at_each_end(peers: dict[str, ModuleType]) -> None:
    wall = {"medians_ms": {"a": [float(n) for n in range(1, 41)], "b": [1.0] * 40}}
    assert peers["measure"].ratios(wall, "a", "b") == {"median": 20.5, "low": 3.0, "high": 38.0}


def test_table_csv_and_plots(peers: dict[str, ModuleType], found: list[Any], tmp_path: Path) -> None:
    results = peers["results"]
    agreement, walls, counts = measured(found)
    rows = results.rows(found, agreement, walls, counts, with_newest(counts))
    folder = tmp_path / "results"
    folder.mkdir()
    marks = [mark.format(name) for name in ("official", "timm") for mark in (results._BEGIN, results._END)]
    (folder / "README.md").write_text("before\n{}\nother\n{}\n{}\nold\n{}\nafter\n".format(*marks))
    left_out = {"ncnn": "ncnn: no wheel for this Python"}
    written = {path.name for path in results.write(rows, walls, folder, "timm", left_out)}
    assert written == {"timm.csv", "timm-instructions-cortex-a72.svg", "timm-latency-1t.svg", "README.md"}
    readme = (folder / "README.md").read_text()
    assert readme.startswith("before\n")
    assert readme.endswith("\nafter\n")
    assert "old" not in readme
    assert "\nother\n" in readme  # the other variant's table
    assert "Left out: ncnn: ncnn: no wheel" in readme
    assert "| 90.0 / 40.0 |" in readme
    assert "**ghostnetv2_100_int8.tflite**" in readme
    assert "0.75 (0.75–0.75)" in readme
    lines = list(csv.DictReader(io.StringIO((folder / "timm.csv").read_text())))
    assert len(lines) == len(found)
    assert {line["instructions_cortex-a72"] for line in lines} == {"90000000", ""}
    assert {(line["newest_litert"], line["instructions_cortex-a72_newest_litert"]) for line in lines} == {
        ("9.9", "45000000"),
        ("", ""),
    }
    _, _, anew = readme.partition("| With LiteRT 9.9 | A72 (M instr. / M cycles) |\n")
    assert anew.count("| 45.0 / 20.0 |") == sum(each.format == "TFLite" for each in found)
    for plot in folder.glob("*.svg"):
        assert ElementTree.fromstring(plot.read_text()).tag == "{http://www.w3.org/2000/svg}svg"


def test_times_of_a_busy_machine_are_marked(peers: dict[str, ModuleType], found: list[Any]) -> None:
    agreement, walls, counts = measured(found)
    results = peers["results"]
    rows = results.rows(found, agreement, walls, counts, {})
    assert "wait for a run" not in results.markdown(rows, walls, {})
    walls[0]["other_cores"] = 1.5
    assert "wait for a run" in results.markdown(rows, walls, {})


def test_wrong_weights_are_neither_timed_nor_counted(peers: dict[str, ModuleType], tmp_path: Path) -> None:
    """Run as contenders: a network, the same, one with other weights, and what somebody quantised from that one."""
    onnx = pytest.importorskip("onnx", reason="left out: onnx is not installed")
    numpy_helper = onnx.numpy_helper
    model = onnx.load(str(TINY / "tiny.onnx"))
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(1.5 * numpy_helper.to_array(tensor), tensor.name))
    onnx.save(model, str(tmp_path / "wrong.onnx"))
    make = peers["artifacts"].Contestant
    right, same = TINY / "tiny.onnx", TINY / "tiny_fp32.tflite"
    found = [
        make("right", right, "fp32", False),
        make("same", same, "fp32", False),
        make("wrong", tmp_path / "wrong.onnx", "fp32", False),
        make("quantised", TINY / "tiny_int8.tflite", "int8", False, base="wrong.onnx"),
    ]
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    python = {"onnxruntime": Path(sys.executable)}
    agreed = peers["measure"].agreement(found, python, images, reference="right")
    assert agreed[found[1].key]["fault"] is None
    for wrong in found[2:]:
        assert "80 are the network's" in agreed[wrong.key]["fault"]
    rows = peers["results"].rows(found, agreed, [], {}, {})
    said = peers["results"].markdown(rows, [], {})
    assert "quantised int8: made from wrong.onnx, -1.9 dB" in said
    assert "wrong fp32: -1.9 dB, 80 are the network's" in said


def test_what_was_counted_is_not_counted_again(
    peers: dict[str, ModuleType], found: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def counts(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        said = {"instructions": 7, "model_cycles": 3, "functions": {"f": 7}}
        return subprocess.CompletedProcess(command, 0, json.dumps([said]), "")

    measure = peers["measure"]
    monkeypatch.setattr(measure.subprocess, "run", counts)
    arguments = (found, ["pi4", "pi5"], {"mnn": tmp_path / "arm64-mnn"}, tmp_path / "counts.json", lambda text: None)
    first = measure.instructions(*arguments)
    # Three .tflite, of which two are the same bytes, and MNN's; not PyTorch, nor what has no emulated environment.
    assert sorted(first) == sorted(each.key for each in found if each.file.suffix in (".tflite", ".mnn"))
    assert first[found[1].key]["pi5"] == {"instructions": 7, "model_cycles": 3}
    mnn = [command for command in asked if str(found[1].file) in command]
    assert len(mnn) == 2
    assert all("--sysroot" in command and "--precision" in command for command in mnn)
    asked.clear()
    assert measure.instructions(*arguments) == first
    assert asked == []
    anew = measure.instructions(*arguments, "9.9")
    assert anew.keys() == {each.key for each in found if each.format == "TFLite"}
    assert {cost["litert"] for each in anew.values() for cost in each.values()} == {"9.9"}
    assert all(command[command.index("--litert") + 1] == "9.9" for command in asked)
    asked.clear()
    found[1].file.write_bytes(b"another")
    left = measure.instructions(*arguments[:2], None, *arguments[3:])
    assert left == {key: value for key, value in first.items() if key != found[1].key}
    assert asked == []


@pytest.mark.parametrize(
    ("precision", "snr_db", "right"),
    [
        ("fp32", 122.0, True),
        ("fp32", None, True),  # identical
        ("fp32", 34.8, False),  # another upsampling
        ("fp16", 57.0, True),
        ("fp16", 34.8, False),
        ("int8, float io", 24.0, True),
        ("int8", 3.0, False),
        ("dynamic", 36.0, True),
    ],
)
def test_how_far_answers_may_be(
    peers: dict[str, ModuleType], precision: str, snr_db: float | None, right: bool
) -> None:
    contestant = peers["artifacts"].Contestant("peer", Path("a.tflite"), precision, False)
    assert (contestant.fault(snr_db) is None) is right


def test_a_peer_that_cannot_be_installed_is_named(
    peers: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments = peers["environments"]
    nowhere = environments.Environment(("ghostedge-peer @ file:///no/where",))
    monkeypatch.setitem(environments.ENVIRONMENTS, "mnn", nowhere)
    with pytest.raises(environments.NotInstallableError, match=r"^mnn: .") as caught:
        environments.python("mnn", tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "mnn" / "installed").exists()


def test_photos_are_handed_on_as_the_files_they_were(peers: dict[str, ModuleType], tmp_path: Path) -> None:
    artifacts = peers["artifacts"]
    (picture, *_) = artifacts.pictures(None)
    artifacts.save_picture(picture, tmp_path / "photo.png")
    with Image.open(tmp_path / "photo.png") as photo:
        pixels = np.asarray(photo, np.float32)
    mean, std = (np.array(of, np.float32) for of in (InputSpec().mean, InputSpec().std))
    assert np.abs((pixels / 255 - mean) / std - picture.transpose(1, 2, 0)).max() < 1e-5
    assert artifacts.VARIANTS.keys() == {"official", "timm"}


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


def test_what_a_peer_makes_is_held_to_its_float32(peers: dict[str, ModuleType], tmp_path: Path) -> None:
    artifacts = peers["artifacts"]
    for _, file, *_ in artifacts._PEERS:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    of_files = {each.file.name: each for each in artifacts.contestants(tmp_path / "no", tmp_path / "no", tmp_path)}
    for each in artifacts.contestants(tmp_path / "no", tmp_path / "no", tmp_path):
        assert (each.base in of_files) is (each.precision != "fp32"), each
    assert of_files["litert_torch_int8.tflite"].base == "litert_torch_slices_fp32.tflite"
    (tmp_path / "litert_torch_slices_fp32.tflite").unlink()
    (quantised,) = (
        each
        for each in artifacts.contestants(tmp_path / "no", tmp_path / "no", tmp_path)
        if each.file.name == "litert_torch_int8.tflite"
    )
    assert quantised.base == "litert_torch_fp32.tflite"


def test_every_recipe_is_exported_that_the_photos_allow(
    peers: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(peers["artifacts"], "_run", lambda command, **rest: commands.append(list(map(str, command))))
    for photos in (tmp_path, None):
        peers["artifacts"].make_ours(tmp_path / "official.safetensors", tmp_path / "ours", photos, [])
    _, with_photos, _, without = commands
    recipes = {path.stem for path in (FOLDER.parents[1] / "export").glob("*.toml")}
    assert recipes <= set(with_photos)
    left_out = recipes - set(without)
    assert left_out == {name for name in recipes if name.endswith(("_int8", "_int16x8", "_mixed", "_equalised"))}


def test_no_program_imports_another_folder_s_module_of_the_same_name() -> None:
    """The programs here put these folders side by side into their path."""
    paths = [path for folder in (FOLDER.parent, FOLDER, FOLDER.parent / "arm64") for path in folder.glob("*.py")]
    names = [path.name for path in paths]
    assert {name for name in names if names.count(name) > 1} == set()


@pytest.mark.slow
def test_executorch_gets_no_alias(peers: dict[str, ModuleType]) -> None:
    torch = pytest.importorskip("torch", reason="left out: torch is not installed")
    alias = torch.ops.aten.alias.default
    traced = torch.fx.symbolic_trace(lambda x: 2 * alias(alias(x) + 1))
    assert [node.target for node in traced.graph.nodes].count(alias) == 2
    # Of an exported program these two are used.
    peers["converters"]._without_aliases(SimpleNamespace(graph=traced.graph, graph_module=traced))
    assert alias not in [node.target for node in traced.graph.nodes]
    assert traced(torch.ones(3)).tolist() == [4.0, 4.0, 4.0]


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
