"""Which operators XNNPACK took: known partitions, real models, and files that would crash LiteRT."""

from __future__ import annotations

from pathlib import Path

import pytest

from ghostedge.errors import ArtifactError
from ghostedge.model import Model
from ghostedge.tflite.coverage import Coverage, coverage, partition


def node(name: str, inputs: list[int], outputs: list[int]) -> dict[str, object]:
    return {"op_name": name, "inputs": inputs, "outputs": outputs}


def test_operators_between_a_delegates_inputs_and_outputs_are_delegated() -> None:
    # 0 -CONV-> 1 -CUSTOM-> 2 -CONV-> 3 -RELU-> 4, the custom operator splits it
    chain = [node("CONV_2D", [0], [1]), node("CUSTOM", [1], [2]), node("CONV_2D", [2], [3]), node("RELU", [3], [4])]
    delegates = [node("DELEGATE", [0], [1]), node("DELEGATE", [2], [4])]
    found = partition([*chain, *delegates])
    assert found == Coverage(nodes=4, delegated=3, partitions=2, outside=("CUSTOM",))
    assert not found.whole


def test_a_branch_that_goes_around_a_delegate_is_outside() -> None:
    # 0 -CONV-> 1 -ADD(1, 2)-> 3, and 0 -CUSTOM-> 2: ADD and CONV are delegated, 2 is handed in
    graph = [node("CONV_2D", [0], [1]), node("CUSTOM", [0], [2]), node("ADD", [1, 2], [3])]
    assert partition([*graph, node("DELEGATE", [0, 2], [3])]).outside == ("CUSTOM",)


def test_without_a_delegate_everything_is_outside() -> None:
    assert partition([node("CUSTOM", [0], [1])]) == Coverage(1, 0, 0, ("CUSTOM",))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_float_model_is_wholly_on_xnnpack(tiny_tflite: dict[str, Model], precision: str) -> None:
    found = coverage(tiny_tflite[precision].path)
    assert found.whole
    assert found.delegated == found.nodes > 10


def test_a_file_that_crashes_litert_is_one_line(tiny_tflite: dict[str, Model], tmp_path: Path) -> None:
    # The root table's offset leads outside: LiteRT reads there without asking.
    data = tiny_tflite["fp32"].path.read_bytes()
    path = tmp_path / "crash.tflite"
    path.write_bytes(b"\xff\xff\xff\x7f" + data[4:])
    with pytest.raises(
        ArtifactError, match=r"ai-edge-litert [\d.]+ does not run .*crash\.tflite: it crashed \(signal SIGSEGV\)$"
    ):
        coverage(path)


def test_a_file_that_litert_refuses_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "other.tflite"
    path.write_bytes(b"not a model at all")
    # What it says differs: LiteRT 2.1 names the mark TFL3, 2.3 says that the buffer is not valid.
    with pytest.raises(ArtifactError, match=r"does not run .*other\.tflite: .*(TFL3|not a valid Flatbuffer)"):
        coverage(path)
