"""Recipes: every shipped one loads and says what its name says; a wrong one is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ghostedge.errors import RecipeError, UsageError
from ghostedge.model import InputSpec
from ghostedge.pipeline.recipe import find_recipe, load_recipe, recipes
from ghostedge.pipeline.stages import STAGES

GOOD = """
target = "onnx"
precision = "fp32"
description = "x"
[input]
layout = "NCHW"
[bounds]
min_snr_db = 100.0
min_top1_agreement = 1.0
"""


def test_every_target_has_a_float32_recipe_named_after_it() -> None:
    known = recipes()
    assert {f"{target}_fp32" for target in STAGES} <= known.keys()
    for name, recipe in known.items():
        assert name == f"{recipe.target}_{recipe.precision}"


def test_a_recipe_sets_its_fields_of_the_input_and_keeps_the_others() -> None:
    spec = recipes()["tflite_fp32"].input_spec(InputSpec(height=192, width=192, resize=220))
    assert spec == InputSpec(layout="NHWC", height=192, width=192, resize=220)


def test_the_hash_is_of_what_it_says_not_of_its_comments(tmp_path: Path) -> None:
    plain, commented, other = tmp_path / "a" / "r.toml", tmp_path / "b" / "r.toml", tmp_path / "c" / "r.toml"
    for path, text in ((plain, GOOD), (commented, "# note\n" + GOOD), (other, GOOD.replace("100.0", "90.0"))):
        path.parent.mkdir()
        path.write_text(text)
    assert load_recipe(plain).sha256 == load_recipe(commented).sha256 != load_recipe(other).sha256


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('target = "onnx"', "target = onnx", "not valid TOML"),
        ('target = "onnx"', 'target = "onnxx"', "target 'onnxx' is not one of"),
        ('precision = "fp32"', "", "'precision' is missing"),
        ('precision = "fp32"', "precision = 32", "'precision' must be a string"),
        ('description = "x"', 'description = "x"\nprecisoin = "fp16"', "unknown entry 'precisoin'"),
        ("min_snr_db", "min_snr", r"\[bounds\] must hold"),
        ('layout = "NCHW"', 'layout = "NCWH"', "NCHW, NHWC"),
        ('layout = "NCHW"', 'layuot = "NCHW"', "InputSpec has no field 'layuot'"),
    ],
)
def test_a_wrong_recipe_says_what_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'tflite_fp16'"):
        find_recipe("tflite_pf16")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"mine\.toml: No such file"):
        find_recipe(str(tmp_path / "mine.toml"))
