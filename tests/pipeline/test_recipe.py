"""Recipes: every shipped one loads and says what its name says; a wrong one is refused in one line."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from ghostedge.errors import GhostedgeError, RecipeError, UsageError
from ghostedge.model import CalibrationSet, InputSpec, Model, StageOutput
from ghostedge.pipeline.recipe import find_recipe, load_recipe, recipes
from ghostedge.pipeline.stages import STAGES, make_stage

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
        ('target = "onnx"', "target = onnx", "is not TOML"),
        ('target = "onnx"', 'target = "onnxx"', "target 'onnxx' is not one of"),
        ('precision = "fp32"', "", "missing required field `precision`"),
        ('precision = "fp32"', "precision = 32", r"Expected `str`, got `int` - at `\$\.precision`"),
        ('description = "x"', 'description = "x"\nprecisoin = "fp16"', "'precisoin' is unknown; known: bounds, desc"),
        ("min_snr_db", "min_snr", r"'min_snr' is unknown in \[bounds\], which holds"),
        ("min_snr_db = 100.0", "", "missing required field `min_snr_db`"),
        ("100.0", '"100"', r"Expected `float`, got `str` - at `\$\.bounds\.min_snr_db`"),
        ("100.0", "nan", r"\$\.bounds\.min_snr_db is nan; every number must be finite"),
        ("agreement = 1.0", "agreement = 1.5", "min_top1_agreement is 1.5; it must lie within 0 and 1"),
        ('layout = "NCHW"', "mean = [0, inf, 0]", r"\$\.input\.mean\[1\] is inf"),
        ('layout = "NCHW"', 'height = "224"', "InputSpec.height is '224'; it must be a whole number"),
        ("[bounds]", "[options]\nstrength = inf\n[bounds]", r"\$\.options\.strength is inf"),
        ("[input]", "[input]\noptions = 3\n[options.a]", "InputSpec has no field 'options'"),
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
    assert str(caught.value).startswith(f"recipe {path}")


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("mindir_fp32", {"opset": 17}, "opset"),
        ("onnx_fp32", {"dynamic_batch": "no"}, "dynamic_batch"),
        ("onnx_equalised", {"limit": 0.5}, "limit be at least 1"),
        ("openvino_fp16", {"compress": True}, "compress"),
        ("openvino_int8", {"saturation_fix": "paris"}, "did you mean 'pairs'"),
        ("tflite_fp16", {"rewrites": "all"}, "rewrites must be a list"),
        ("tflite_int8", {"estimator": "msee"}, "did you mean 'mse'"),
        ("tflite_int8", {"keep_float": "head"}, r"Expected `array`, got `str` - at `\$\.keep_float`"),
        ("tflite_int8", {"bias_correction": "no"}, r"Expected `bool`, got `str` - at `\$\.bias_correction`"),
        ("tflite_dynamic", {"xnnpack": 3}, "unknown value of option xnnpack '3'"),
        ("openvino_int8", {"keep_float": 3}, r"\$\.keep_float"),
    ],
)
def test_every_stage_knows_its_options_without_a_model(name: str, options: dict[str, object], reason: str) -> None:
    recipe = recipes()[name]
    spec = recipe.input_spec(InputSpec())
    model = Model(Path(name), recipe.target, spec, precision=recipe.precision)  # type: ignore[arg-type]
    calibration = CalibrationSet("none", (), 0, 0)
    stage = make_stage(recipe.target, recipe.precision)
    stage.check(StageOutput(model, recipe.options, calibration))
    with pytest.raises(GhostedgeError, match=reason):
        stage.check(StageOutput(model, options, calibration))


@pytest.mark.parametrize("name", sorted(recipes()))
@pytest.mark.parametrize("value", [3, -1, 1e300, "x", [], ["a"], [3], {"a": 1}, True], ids=repr)
def test_an_option_of_another_type_is_refused_or_harmless(name: str, value: object) -> None:
    """Every option of every stage, before any work."""
    recipe = recipes()[name]
    known = {option for each in recipes().values() for option in each.options}
    known |= {"estimator", "rounding", "bias_correction", "subset_size", "keep_float", "int16", "min_weight_elements"}
    spec = recipe.input_spec(InputSpec())
    model = Model(Path(name), recipe.target, spec, precision=recipe.precision)  # type: ignore[arg-type]
    stage = make_stage(recipe.target, recipe.precision)
    for option in sorted(known | {"limit", "strength", "rewrites", "xnnpack", "dynamic_batch", "saturation_fix"}):
        output = StageOutput(model, {**recipe.options, option: value}, CalibrationSet("none", (), 0, 0))
        with contextlib.suppress(GhostedgeError):
            stage.check(output)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'tflite_fp16'"):
        find_recipe("tflite_pf16")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"mine\.toml: No such file"):
        find_recipe(str(tmp_path / "mine.toml"))
