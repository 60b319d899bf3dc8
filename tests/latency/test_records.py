"""A record is held to its type before it is used; what is damaged is one line that names the file and the field."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from ghostedge.cli.main import main
from ghostedge.errors import DeviceError
from ghostedge.latency.records import read_record, schemas
from tests.latency.schemas import check_record


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    """A record as the script wrote it."""
    record: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "latency_record.json").read_text())
    check_record(record)
    return record


def planted(record: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """A copy with another value at ``"context.during.0.t_s"``; without the field where `value` is ``...``."""
    record = copy.deepcopy(record)
    *parents, last = [int(each) if each.isdigit() else each for each in place.split(".")]
    inside: Any = record
    for each in parents:
        inside = inside[each]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    return record


def test_the_schemas_are_what_the_types_say() -> None:
    """`python -m ghostedge.latency.records` writes them anew."""
    for path, schema in schemas().items():
        assert json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(schema))


def test_a_record_is_read_as_it_was_written(made: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(made))
    assert json.dumps(read_record(path)) == json.dumps(made)
    assert read_record(path, "latency_record") == made
    later = {**made, "battery": {"wear": 3}}
    path.write_text(json.dumps(later))
    assert read_record(path) == later


def test_an_older_record_did_not_check_the_answers(made: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps({**planted(made, "verification", ...), "schema_version": 1}))
    assert read_record(path)["verification"] is None


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("memory", [], "$.memory"),
        ("memory", ..., "missing required field `memory`"),
        ("latency_ms.p50", "9.5", "$.latency_ms.p50"),
        ("latency_ms.p50", -5, "$.latency_ms.p50"),
        ("latency_ms.p99", 10**400, "$.latency_ms.p99"),
        ("samples_ms.3", None, "$.samples_ms[3]"),
        ("samples_ms", [], "$.samples_ms"),
        ("settings.threads", 0, "$.settings.threads"),
        ("settings.threads", True, "$.settings.threads"),
        ("artifact.sha256", "ab", "$.artifact.sha256"),
        ("artifact.files", [], "$.artifact.files"),
        ("sustained.curve.0.p50_ms", -1, "$.sustained.curve[0].p50_ms"),
        ("context.before.power.source", "sun", "$.context.before.power.source"),
        ("valid", 1, "$.valid"),
        ("warnings", [{"code": "A B", "text": ""}], "$.warnings[0].code"),
        ("schema_version", 3, "schema version 3"),
        ("schema_version", "2", "$.schema_version"),
        ("schema_version", ..., "missing required field `schema_version`"),
        ("kind", "ledger", "is not a latency record"),
        ("kind", "verification_record", "$.mode"),
        ("kind", [], "is not a latency record"),
    ],
)
def test_a_damaged_field_is_named(made: dict[str, Any], tmp_path: Path, place: str, value: Any, said: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(planted(made, place, value)))
    with pytest.raises(DeviceError) as caught:
        read_record(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "null", "[" * 60_000, '{"kind": ', '{"load_ms": NaN}', "1" * 5000, "\xff"])
def test_what_is_no_record(tmp_path: Path, text: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(DeviceError, match=r"record\.json .*is ") as caught:
        read_record(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(DeviceError, match="cannot be read"):
        read_record(tmp_path / "none.json")


def test_a_number_that_overflows_is_refused(made: dict[str, Any], tmp_path: Path) -> None:
    """JSON's 1e999 is Python's infinity."""
    path = tmp_path / "record.json"
    path.write_text(json.dumps(planted(made, "load_ms", 123456.5)).replace("123456.5", "1e999"))
    with pytest.raises(DeviceError, match=r"\$\.load_ms"):
        read_record(path)


def test_the_command_refuses_it_in_one_line(
    made: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(planted(made, "memory", [])))
    assert main(["benchmark", "--records", str(path), "--report", str(tmp_path / "latency.html")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path) in line
    assert "$.memory" in line
