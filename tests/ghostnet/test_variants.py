"""The variants' data gives the official names and shapes."""

from __future__ import annotations

import pytest

from ghostedge.errors import UsageError
from ghostedge.ghostnet.variants import (
    MIN_INPUT_SIZE,
    VARIANTS,
    check_input_size,
    get_variant,
    parameter_shapes,
)


def test_1x_has_the_official_parameters_in_their_order(oracle_names: dict[str, list[int]]) -> None:
    expected = [(name, tuple(shape)) for name, shape in oracle_names.items()]
    assert list(parameter_shapes(VARIANTS["1x"], 1000).items()) == expected


def test_nose_1x_is_1x_without_squeeze_and_excitation() -> None:
    full = parameter_shapes(VARIANTS["1x"], 1000)
    without = parameter_shapes(VARIANTS["nose_1x"], 1000)
    assert without == {name: shape for name, shape in full.items() if ".se." not in name}
    assert len(full) - len(without) == 4 * 7  # two convolutions with bias in each of seven blocks


def test_classes_change_the_classifier_alone() -> None:
    full, ten = parameter_shapes(VARIANTS["1.3x"], 1000), parameter_shapes(VARIANTS["1.3x"], 10)
    assert {name for name in full if full[name] != ten[name]} == {"classifier.weight", "classifier.bias"}
    assert ten["classifier.weight"] == (10, 1280)


def test_gate_upsampling_is_part_of_the_variant() -> None:
    assert get_variant("1x").gate_upsampling == "bilinear_align_corners"
    assert get_variant("1x", "nearest") != get_variant("1x")
    assert get_variant("1x", "nearest").blocks == get_variant("1x").blocks


@pytest.mark.parametrize(
    ("name", "rule", "suggestion"), [("nose1x", "nearest", "nose_1x"), ("1x", "neares", "nearest")]
)
def test_unknown_names_get_a_suggestion(name: str, rule: str, suggestion: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean '{suggestion}'"):
        get_variant(name, rule)


def test_the_smallest_input_still_feeds_the_last_gates() -> None:
    check_input_size(MIN_INPUT_SIZE, 640)
    with pytest.raises(UsageError, match="at least 33"):
        check_input_size(640, MIN_INPUT_SIZE - 1)
