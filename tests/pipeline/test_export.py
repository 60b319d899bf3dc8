"""What a Python caller asks of `export` becomes one request; what a user should know comes as events.

The build and the search are stand-ins here; the real ones are run by tests/pipeline/test_build.py,
tests/pipeline/test_tuning.py and tests/test_export.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from ghostedge import demo
from ghostedge.accuracy.statistics import Decision, PairedDrop, Verdict
from ghostedge.cli.main import main
from ghostedge.data.imagenet import imagenet_labels
from ghostedge.data.images import sample_images
from ghostedge.errors import UsageError
from ghostedge.formats import open_model
from ghostedge.manifest import Manifest
from ghostedge.model import CalibrationSet, InputSpec
from ghostedge.pipeline import export as exporting
from ghostedge.pipeline.build import Event
from ghostedge.pipeline.devices import choose_artifact
from ghostedge.pipeline.export import Exported, export
from ghostedge.pipeline.plan import ExportRequest
from ghostedge.pipeline.recipe import recipes
from ghostedge.pipeline.tuning import REMEDIES, Repair, Trial

CALIBRATION = CalibrationSet("none", (), 0, 0)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[ExportRequest]:
    """The requests that were built."""
    asked: list[ExportRequest] = []

    def build(request: ExportRequest, on_event: Callable[[Event], None]) -> Manifest:
        asked.append(request)
        made: Any = {recipe.name: SimpleNamespace(files=[Path(recipe.name)]) for recipe in request.recipes}
        return Manifest({"file": request.source.path.name}, (), made)

    monkeypatch.setattr(exporting, "build", build)
    return asked


def names(request: ExportRequest) -> list[str]:
    return [recipe.name for recipe in request.recipes]


def test_without_calibration_what_needs_it_is_left_out_and_said(
    requests: list[ExportRequest], oracle_checkpoint: Path, tmp_path: Path
) -> None:
    events: list[Event] = []
    exported = export(checkpoint=str(oracle_checkpoint), output=tmp_path, on_event=events.append)
    (request,) = requests
    made = set(names(request))
    left_out = {name for name in recipes() if name.endswith(("equalised", "int8", "int16x8", "mixed"))}
    assert made == recipes().keys() - left_out
    assert [event.kind for event in events] == ["skipped"]
    assert events[0].message == f"without --calibration not made: {', '.join(sorted(left_out))}"
    assert (request.name, request.output, request.images) == ("oracle_1x", tmp_path, sample_images())
    assert request.source.labels == imagenet_labels()
    assert request.source_info["variant"] == "1x"
    assert (exported.folder, exported.verdict) == (tmp_path, "PASS")


def test_one_target_or_several_and_raw_input(requests: list[ExportRequest], oracle_checkpoint: Path) -> None:
    export(checkpoint=oracle_checkpoint, target="tflite", precision=("fp32", "int8"), calibration=CALIBRATION)
    export(checkpoint=oracle_checkpoint, target=["onnx", "openvino"], precision="fp32", input="raw", name="net")
    assert [names(request) for request in requests] == [
        ["tflite_fp32", "tflite_int8"],
        ["onnx_fp32", "openvino_fp32_raw"],
    ]
    raw = requests[1].recipes[1].input_spec(InputSpec())
    assert (raw.layout, raw.dtype, raw.range, requests[1].name) == ("NHWC", "uint8", "raw", "net")


def test_a_device_gets_what_is_cheapest_there_and_the_caller_is_told_why(
    requests: list[ExportRequest], oracle_checkpoint: Path
) -> None:
    events: list[Event] = []
    export(checkpoint=oracle_checkpoint, device="pi4", on_event=events.append)
    export(checkpoint=oracle_checkpoint, device=["pi5", "pi4", "pi5"], calibration=CALIBRATION, on_event=events.append)
    chosen = [choose_artifact("pi4", False), *(choose_artifact(name, True) for name in ("pi5", "pi4", "pi5"))]
    assert [(event.kind, event.recipe, event.message) for event in events] == [
        ("chosen", choice.recipe, str(choice)) for choice in chosen
    ]
    assert [names(request) for request in requests] == [
        [chosen[0].recipe],
        list(dict.fromkeys(choice.recipe for choice in chosen[1:])),
    ]


@pytest.mark.parametrize(
    ("devices", "kept"), [("pi4", "f32"), (["pc", "pi4"], "f32"), ("pi5", "f16"), (["pi4", "pi5"], "f16")]
)
def test_what_no_device_computes_in_float16_is_not_shaped_for_it(
    requests: list[ExportRequest], oracle_checkpoint: Path, devices: str | list[str], kept: str
) -> None:
    export(checkpoint=oracle_checkpoint, device=devices)
    (recipe,) = requests[0].recipes
    assert recipe.options == {**recipes()["tflite_dynamic"].options, "inference_precision": kept}


def test_labels_and_the_size_of_the_input_are_the_callers(
    requests: list[ExportRequest], oracle_checkpoint: Path, tmp_path: Path
) -> None:
    own = [f"class {index}" for index in range(1000)]
    export(checkpoint=oracle_checkpoint, recipes=["onnx_fp32"], labels=own, input_size=192, threads=1)
    source = requests[0].source
    assert source.labels == tuple(own)
    assert source.input == InputSpec(height=192, width=192, resize=219)
    assert requests[0].threads == 1
    (tmp_path / "two.txt").write_text("cat\ndog\n")
    with pytest.raises(UsageError, match=rf"two\.txt names 2 classes, but {oracle_checkpoint} has 1000"):
        export(checkpoint=oracle_checkpoint, labels=tmp_path / "two.txt")


@pytest.mark.parametrize("labels", [(), tuple(f"emoji {index}" for index in range(200))])
def test_classes_without_names_are_told_after_the_export(
    requests: list[ExportRequest], labels: tuple[str, ...]
) -> None:
    if not demo.FILES.exists():
        pytest.skip("left out: the demo is not published (training/README.md)")
    events: list[Event] = []
    export(
        checkpoint=demo.demo_file("artwork_1x.ckpt"),
        recipes=["onnx_fp32"],
        labels=labels,
        on_event=lambda event: events.append(event) if requests else pytest.fail("before the build"),
    )
    told = [event.message for event in events if event.kind == "unnamed"]
    assert bool(told) == (not labels)
    if told:
        assert told[0].startswith("artwork_1x.ckpt has no class names: predict will print numbers such as 'class 199'")
        assert "--labels F" in told[0]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"checkpoint": None}, "either a checkpoint or a MindIR"),
        ({"mindir": "x.mindir"}, "either a checkpoint or a MindIR"),
        ({"recipes": ["onnx_fp32"], "target": "onnx"}, "leave --target and --precision out"),
        ({"device": "pi5", "target": "onnx"}, "--for chooses what to make; leave --target"),
        ({"device": "pi5", "recipes": ["onnx_fp32"]}, "--for chooses what to make; leave --target"),
        ({"device": ["pi5", "pi45"]}, "unknown device 'pi45'; did you mean 'pi5'"),
        ({"recipes": ["onx_fp32"]}, "did you mean 'onnx_fp32'"),
        ({"target": "tflight"}, "did you mean 'tflite'"),
        ({"precision": "fp61"}, "did you mean 'fp16'"),
        ({"target": "onnx", "precision": "fp16"}, "supported by: openvino, tflite"),
        ({"input": "row"}, "did you mean 'raw'"),
        ({"input_size": 0, "target": "onnx"}, "--input-size is 0; at least 1 is needed"),
        ({"threads": 0, "target": "onnx"}, "--threads is 0; at least 1 is needed"),
        ({"name": "a/b", "target": "onnx"}, "--name a/b cannot begin a file's name"),
        ({"name": "..", "target": "onnx"}, r"--name \.\. cannot begin"),
        ({"tuning": "photos", "target": "onnx"}, "--tuning and --limit are for --max-drop"),
        ({"limit": 5, "target": "onnx"}, "--tuning and --limit are for --max-drop"),
        ({"max_drop": -1, "tuning": "photos"}, "--max-drop is -1 points; it must be above 0 and below 100"),
        ({"max_drop": float("nan"), "tuning": "photos"}, "--max-drop is nan points"),
        ({"max_drop": 1, "recipes": ["onnx_fp32"]}, "there is none among the recipes"),
        ({"max_drop": 1, "recipes": ["tflite_int8"]}, "needs --tuning DIR and --calibration DIR"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_made(
    requests: list[ExportRequest], oracle_checkpoint: Path, arguments: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        export(**{"checkpoint": oracle_checkpoint, **arguments})
    assert requests == []


def test_a_checkpoint_is_not_taken_for_a_mindir(requests: list[ExportRequest], oracle_checkpoint: Path) -> None:
    with pytest.raises(UsageError, match=r"is no MindIR \(\.mindir\); a checkpoint is given with --checkpoint"):
        export(mindir=oracle_checkpoint)
    assert requests == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--calibration-count", "0"], "--calibration-count: for --calibration alone; add it"),
        (["--calibration-seed", "0"], "--calibration-seed: for --calibration alone; add it"),
        (["--ground-truth", "F", "--limit", "5"], "--ground-truth and --limit: for --tuning alone; add it"),
        (["--calibration", "photos", "--calibration-count", "0"], "0 calibration images are too few"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(
    arguments: list[str], said: str, requests: list[ExportRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "--checkpoint", "a.ckpt", "--target", "onnx", *arguments]) == 1
    assert said in capsys.readouterr().err
    assert requests == []


class FoundSearch:
    """A search that tries one setting and comes to `verdict`."""

    verdict: ClassVar[Verdict] = "PASS"
    asked: ClassVar[dict[str, Any]] = {}

    def __init__(self, **asked: Any) -> None:
        FoundSearch.asked = asked

    def run(self) -> Repair:
        drop = PairedDrop(
            images=80, losses=3, gains=1, drop_points=2.5, lower_points=-1.0, upper_points=6.0, p_value=0.6
        )
        decision = Decision(self.verdict, 500 if self.verdict == "INCONCLUSIVE" else None)
        options = {**REMEDIES["tflite"][1], "keep_float": ["head"]}
        trial = Trial(options, drop, decision, 1.25, 7, Path("x.tflite"))
        self.asked["on_trial"](trial)
        return Repair(trial, (trial,), self.asked["max_drop"])


@pytest.mark.parametrize("verdict", ["PASS", "FAIL", "INCONCLUSIVE"])
def test_the_settings_that_a_search_chose_are_built(
    requests: list[ExportRequest],
    oracle_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verdict: Verdict,
) -> None:
    monkeypatch.setattr(exporting, "Search", FoundSearch)
    monkeypatch.setattr(FoundSearch, "verdict", verdict)
    monkeypatch.setattr(
        exporting, "open_model", lambda path, **given: open_model(path, **given) if path.suffix else path
    )
    events: list[Event] = []
    exported = export(
        checkpoint=oracle_checkpoint,
        target="tflite",
        precision="int8",
        output=tmp_path,
        calibration=CALIBRATION,
        tuning=object(),  # type: ignore[arg-type]
        max_drop=5,
        on_event=events.append,
    )
    floats, final = requests
    assert (names(floats), FoundSearch.asked["source"]) == (["tflite_equalised"], tmp_path / "tflite_equalised")
    assert FoundSearch.asked["folder"] == tmp_path / "repair" / "tflite_int8"
    plain = recipes()["tflite_int8"]
    assert FoundSearch.asked["base"] == {
        key: value for key, value in plain.options.items() if key not in ("estimator", "rounding")
    }
    chosen = {**FoundSearch.asked["base"], "estimator": "lp", "rounding": "compensated", "keep_float": ["head"]}
    assert final.recipes == (dataclasses.replace(plain, options=chosen),)
    said = (
        "estimator lp, rounding compensated, 1 operators in float (1.2% of the MACs): drop +2.50 points, at most 6.00 "
        f"(3 lost, 1 won of 80): {verdict}"
    )
    unmet = f"tflite_int8 is not shown to lose at most 5 points of top-1: the best of 1 trials is {said}"
    more = "; about 500 tuning images would decide" if verdict == "INCONCLUSIVE" else ""
    expected = [("trial", said), ("unmet", unmet + more)]
    assert [(event.kind, event.message) for event in events] == expected[: 1 if verdict == "PASS" else 2]
    assert exported.verdict == verdict


def test_the_worst_of_several_searches_counts() -> None:
    def repair(verdict: Verdict) -> Repair:
        drop = PairedDrop(images=1, losses=0, gains=0, drop_points=0, lower_points=0, upper_points=0, p_value=1)
        trial = Trial({}, drop, Decision(verdict, None), 0, 0, Path())
        return Repair(trial, (trial,), 1)

    both = {"a": repair("FAIL"), "b": repair("INCONCLUSIVE")}
    assert Exported(Path(), Manifest({}, ()), both).verdict == "FAIL"
    del both["a"]
    assert Exported(Path(), Manifest({}, ()), both).verdict == "INCONCLUSIVE"
