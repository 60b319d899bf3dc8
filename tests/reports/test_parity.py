"""The three forms of a parity report hold the numbers, and the JSON is what its schema says."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from ghostedge.errors import UsageError
from ghostedge.reports.parity import SCHEMA_PATH, ParityReport, explain, headline, summary_rows
from ghostedge.reports.parity_page import parity_html, parity_markdown, write_parity
from ghostedge.reports.published import PUBLISHED, published
from ghostedge.stored import json_schema

SCHEMA: dict[str, Any] = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))


def validate(document: dict[str, Any]) -> None:
    Draft202012Validator(SCHEMA).validate(document)


# -- JSON ---------------------------------------------------------------------------------------------------


def test_the_json_is_what_the_schema_says(report: ParityReport) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    document = json.loads(report.to_json())
    validate(document)
    assert document["verdict"] == "FAIL"
    assert [c["result"]["verdict"] for c in document["comparisons"]] == ["PASS", "INCONCLUSIVE", "FAIL", "FAIL"]
    validate(json.loads(dataclasses.replace(report, attribution=None, published=PUBLISHED["ghostnetv2_1x"]).to_json()))


@pytest.mark.parametrize(
    "damage",
    [
        lambda document: document.pop("verdict"),
        lambda document: document.update(extra=1),
        lambda document: document["comparisons"].clear(),
        lambda document: document["comparisons"][0]["result"]["drop"].update(losses=-1),
        lambda document: document["comparisons"][0]["result"].update(verdict="MAYBE"),
        lambda document: document["reference"].update(sha256="5" * 63),
        lambda document: document["attribution"].update(charged="the weather"),
    ],
)
def test_the_schema_sees_damage(report: ParityReport, damage: Callable[[dict[str, Any]], object]) -> None:
    document = copy.deepcopy(json.loads(report.to_json()))
    damage(document)
    with pytest.raises(ValidationError):
        validate(document)


def kinds(schema: dict[str, Any]) -> set[str]:
    """The JSON types that a schema allows; of an array or a reference with what it leads to."""
    if "$ref" in schema:
        return {str(schema["$ref"]).lower()}
    if "anyOf" in schema or "oneOf" in schema:
        return {kind for each in schema.get("anyOf") or schema["oneOf"] for kind in kinds(each)}
    if "enum" in schema:
        return {"null" if value is None else "string" for value in schema["enum"]}
    if schema["type"] == "array":
        return {f"array of {kinds(schema['items'])}"}
    return {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"])


def test_the_schema_describes_every_field_of_the_results() -> None:
    """It says more than the dataclasses (ranges, meanings), and of each of their fields the type that they say."""
    generated = json_schema(ParityReport)["$defs"]
    for name, definition in SCHEMA["$defs"].items():
        if name == "ledger":
            continue
        described = {
            key: kinds(value) for key, value in definition["properties"].items() if key not in ("ledger", "ledgers")
        }
        made = generated[name[0].upper() + name[1:]]["properties"]
        assert described == {key: kinds(value) for key, value in made.items()}, name
        assert set(definition["required"]) == definition["properties"].keys(), name
        assert definition["additionalProperties"] is False


# -- Words --------------------------------------------------------------------------------------------------


def test_the_headline_counts_the_artifacts(report: ParityReport) -> None:
    passing, undecided, failing, _ = report.comparisons
    two = dataclasses.replace(report, comparisons=(passing, undecided))
    assert headline(report) == "2 of 4 artifacts drop by more than 0.5 points"
    assert headline(two) == "1 of 2 artifacts needs more images to be judged"
    assert headline(dataclasses.replace(report, comparisons=(failing,))) == "int8.tflite drops by more than 0.5 points"
    assert headline(dataclasses.replace(report, comparisons=(passing, passing))).startswith(
        "All 2 artifacts are within"
    )


def test_every_verdict_is_explained(report: ParityReport) -> None:
    passing, undecided, failing, _ = (comparison.result for comparison in report.comparisons)
    assert f"at most {passing.drop.upper_points:.2f} points, within the margin of 0.5" in explain(passing)
    assert f"at least {failing.drop.lower_points:.2f} points, beyond the margin of 0.5" in explain(failing)
    assert f"About {undecided.images_to_decide:,} images would decide it" in explain(undecided)
    more = dataclasses.replace(undecided, images_to_decide=60_000)
    assert "more than ImageNet's validation set has" in explain(more)
    assert "more images alone would not decide" in explain(dataclasses.replace(undecided, images_to_decide=None))


def test_a_margin_of_one_is_in_the_singular(report: ParityReport) -> None:
    one = dataclasses.replace(report, max_drop_points=1.0)
    assert headline(one) == "2 of 4 artifacts drop by more than 1 point"
    assert "margin 1 point of top-1 accuracy" in parity_markdown(one)
    page = parity_html(one, [], {})
    assert not re.search(r"(?<![\d.])1 points", page)
    assert all(f"{text} 1 point" in page for text in ("at most", "is within", "a margin of"))


def test_the_rows_of_all_models_are_the_same_in_every_form(report: ParityReport) -> None:
    header, reference, quoted, *candidates = summary_rows(
        dataclasses.replace(report, published=PUBLISHED["ghostnetv2_1x"])
    )
    assert header[2:5] == ("Top-1 (95% interval)", "Top-5", "Drop, points (90%)")
    assert (reference[:2], quoted[:2]) == (("m.ckpt", "reference"), ("ghostnetv2_1x", "published"))
    assert {len(row) for row in (header, reference, quoted, *candidates)} == {8}
    page, text = parity_html(report, [], {}).replace("<wbr>", ""), parity_markdown(report)
    for row in candidates:
        assert f"| {' | '.join(row)} |" in text
        assert all(cell.partition(" (")[0].replace("<", "&lt;") in page for cell in row)


def test_a_published_accuracy_is_for_a_thousand_classes(report: ParityReport) -> None:
    imagenet = dataclasses.replace(report.reference.metadata, classes=1000)
    assert published("ghostnetv2_1x", imagenet).top1_percent == 74.0
    with pytest.raises(UsageError, match="this model has 20"):
        published("ghostnetv2_1x", report.reference.metadata)
    with pytest.raises(UsageError, match="did you mean 'ghostnetv2_1x'"):
        published("ghostnetv2", imagenet)


# -- Markdown and HTML --------------------------------------------------------------------------------------


def test_the_markdown_has_every_verdict_and_its_provenance(report: ParityReport) -> None:
    text = parity_markdown(report, [f"animal {i}" for i in range(20)])
    assert text.startswith("# Parity report: FAIL\n")
    for comparison in report.comparisons:
        assert f"| {comparison.source.name} | {comparison.result.verdict} |" in text
        assert f"`{comparison.source.metadata.model['sha256']}`" in text
    assert "Charged: **Activation quantisation**" in text
    assert "| animal " in text
    widths = {
        line.count(" | ") for line in text.splitlines() if line.startswith("| fp32") or line.startswith("| Model")
    }
    assert len(widths) == 1


def test_a_pipe_in_a_name_keeps_the_markdown_table_whole(report: ParityReport) -> None:
    source = dataclasses.replace(report.comparisons[0].source, name="a|b*.tflite")
    odd = dataclasses.replace(report, comparisons=(dataclasses.replace(report.comparisons[0], source=source),))
    assert r"| a\|b\*.tflite | PASS |" in parity_markdown(odd)


def test_the_page_has_every_number_of_the_answer(report: ParityReport) -> None:
    page = parity_html(report, [], {})
    assert "<h1>2 of 4 artifacts drop by more than 0.5 points</h1>" in page
    for comparison in report.comparisons:
        drop = comparison.result.drop
        assert f"{drop.drop_points:.2f} ({drop.lower_points:.2f} to {drop.upper_points:.2f})".replace("-", "−") in page
        assert str(comparison.source.metadata.model["sha256"]) in page
    assert page.count("<svg") == page.count('role="img" aria-label="')
    assert "published" not in page


def test_the_published_accuracy_is_a_row_marked_so(report: ParityReport) -> None:
    quoted = dataclasses.replace(report, published=PUBLISHED["ghostnetv2_1x"])
    page = parity_html(quoted, [], {})
    assert '<span class="soft">published</span>' in page
    assert "49,920 of 50,000 images. It is quoted, not compared." in page
    assert "| ghostnetv2\\_1x (published) |" in parity_markdown(quoted)


def test_links_lead_somewhere(report: ParityReport) -> None:
    page = parity_html(report, [], {})
    anchors = re.findall(r'href="#([^"]+)"', page)
    assert anchors == ["attribution", "each", "method", "provenance"]
    assert all(f'id="{anchor}"' in page for anchor in anchors)


def test_an_artifact_without_a_flip_is_one_line_and_the_page_is_small(report: ParityReport) -> None:
    page = parity_html(report, [], {})
    assert len(page.encode()) < 400_000
    parts = page.split('<details class="artifact"')[1:]
    assert [part.startswith(" open>") for part in parts] == [False, True, True, True]
    assert "<svg" not in parts[0]
    line = parts[0].partition("<summary>")[2].partition("</summary>")[0].replace("<wbr>", "")
    said = " ".join(re.sub("<[^>]*>", " ", line).split())
    assert said == "fp32.tflite PASS no flip; drop 0.00 (−0.15 to 0.15) points"


def test_flips_show_pictures_where_there_are_some(report: ParityReport) -> None:
    worst = report.comparisons[2].result.flips[0].image_id
    page = parity_html(report, [], {worst: "data:image/jpeg;base64,AAAA"})
    assert page.count('<img src="data:image/jpeg;base64,AAAA"') >= 1
    assert page.count('<ul class="flips">') >= 1
    assert '<ul class="flips">' not in parity_html(report, [], {})


def test_a_hostile_image_name_stays_text(report: ParityReport) -> None:
    comparison = report.comparisons[1]
    flip = dataclasses.replace(comparison.result.flips[0], image_id="<img onerror=alert(1)>")
    result = dataclasses.replace(comparison.result, flips=(flip,))
    page = parity_html(
        dataclasses.replace(report, comparisons=(dataclasses.replace(comparison, result=result),)), ["<b>"] * 20, {}
    )
    assert "<img" not in page
    assert "<b>" not in page


def test_the_three_files_lie_side_by_side(report: ParityReport, tmp_path: Path) -> None:
    paths = write_parity(report, tmp_path / "deep" / "parity.html")
    assert [path.name for path in paths] == ["parity.html", "parity.md", "parity.json"]
    assert all(path.stat().st_size > 1000 for path in paths)
    again = write_parity(report, tmp_path / "again.html")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]
    with pytest.raises(UsageError, match=r"does not end in .html"):
        write_parity(report, tmp_path / "parity.json")


def test_nothing_to_judge_is_no_pass() -> None:
    import ghostedge
    from ghostedge.errors import UsageError

    with pytest.raises(UsageError, match="no ledger to judge"):
        ghostedge.parity("absent.parquet", [])
