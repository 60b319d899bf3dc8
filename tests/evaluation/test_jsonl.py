"""Ledgers of the Android demo: read as JSON Lines, refused by the line that is wrong."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostedge.errors import LedgerError
from ghostedge.evaluation.columns import Rows
from ghostedge.evaluation.jsonl import header_line, read_json_lines, row_lines
from ghostedge.evaluation.ledger import Ledger, ids_sha256


def lines_of(ledger: Ledger) -> list[dict[str, Any]]:
    """What the demo writes for this ledger, line by line."""

    def plain(values: Any) -> Any:
        if isinstance(values, np.ndarray):
            return [plain(value) for value in values]
        return None if np.isnan(values) else float(values)

    head = {
        "kind": "ledger",
        "has_logits": ledger.logits is not None,
        "metadata": json.loads(ledger.metadata.to_json()),
    }
    rows = []
    for i, image_id in enumerate(ledger.image_ids):
        row: dict[str, Any] = {
            "image_id": str(image_id),
            "label": int(ledger.labels[i]),
            "top5_class": ledger.top5_class[i].tolist(),
            "top5_logit": plain(ledger.top5_logit[i]),
            "label_logit": plain(ledger.label_logit[i]),
            "log_sum_exp": plain(ledger.log_sum_exp[i]),
            "error": ledger.errors[i],
        }
        if ledger.logits is not None:
            row["logits"] = plain(ledger.logits[i]) if ledger.errors[i] is None else None
        rows.append(row)
    return [head, *rows]


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def ledger(make_ledger: Callable[..., Ledger]) -> Ledger:
    """Six images of seven classes; one unlabelled, one with an error; the demo writes no checksums."""
    logits = np.random.default_rng(0).normal(0, 2, (6, 7)).astype(np.float16).astype(np.float32)
    labels = np.array([0, 1, -1, 3, 4, 6], np.int32)
    errors = [None, None, None, "cut short", None, None]
    return make_ledger(logits, labels, errors=errors, keep_logits=True, content_crc32=np.full(6, -1))


@pytest.mark.parametrize("keep_logits", [True, False])
def test_a_ledger_reads_as_it_would_from_parquet(ledger: Ledger, keep_logits: bool, tmp_path: Path) -> None:
    ledger = ledger if keep_logits else dataclasses.replace(ledger, table=ledger.table.drop_columns("logits"))
    read = read_json_lines(write(tmp_path / "phone.jsonl", lines_of(ledger)))
    assert read.metadata == ledger.metadata
    for field in dataclasses.fields(Rows):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(ledger, field.name))


def change(row: int, **values: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda lines: lines[row].update(values)


def metadata(**values: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda lines: lines[0]["metadata"].update(values)


NAN5 = [None] * 5


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda lines: lines.pop(), "5 images, its first line says 6"),
        (lambda lines: lines.append(lines[-1]), "7 images"),
        (lambda lines: lines.__setitem__(3, lines[2]), "is there twice"),
        (lambda lines: lines.__setitem__(slice(2, 4), [lines[3], lines[2]]), "comes after"),
        (lambda lines: lines.pop(0), "not that of a ledger"),
        (change(0, kind="latency_record"), "not that of a ledger"),
        (metadata(schema_version=9), "schema version 9"),
        (metadata(classes="7"), "damaged metadata"),
        (metadata(classes=10**15), "line 1 is damaged: 6 images of 1000000000000000 logits are too many"),
        (metadata(host={"cpu": "\ud800"}), r"line 1 .* \$\.metadata\.host\.cpu holds half a surrogate pair"),
        (metadata(host=None), "damaged metadata"),
        (metadata(input={"layout": "HWC"}), "layout"),
        (metadata(dataset={"images": 6, "ids_sha256": ids_sha256(["x"])}), "changed after it was made"),
        (change(1, image_id="another.JPEG"), "comes after"),
        (change(1, label=7), "line 2 .* label 7 of 7"),
        (change(1, label="1"), "line 2 .*label"),
        (change(2, top5_class=[1, 1, 2, 3, 4]), "line 3 .* top5_class"),
        (change(2, top5_class=[1, 2, 3, 4, 9]), "line 3 .* top5_class"),
        (change(2, top5_class=[1, 2]), "line 3 .* length 5, .*top5_class"),
        (change(2, top5_logit=[1.0, 2.0, 0.0, -1.0, -2.0]), "line 3 .* sorted"),
        (change(2, top5_logit=NAN5), "line 3 .* top5_logit holds None"),
        (change(2, log_sum_exp=None), "line 3 .* log_sum_exp"),
        (change(2, label_logit=1e39), "line 3 .* label_logit"),
        (change(3, label_logit=1.0), "line 4 .* label_logit"),
        (change(4, top5_class=[0, 1, 2, 3, 4]), "line 5 .* top5_class"),
        (change(4, logits=[0.0] * 7), "line 5 .* error"),
        (change(5, logits=[0.0] * 6), "line 6 .* 7 values"),
        (change(5, more=1), "line 6 .* more"),
        (lambda lines: lines[6].pop("error"), "line 7 .* error"),
    ],
)
def test_what_is_wrong_is_named(
    ledger: Ledger, fault: Callable[[list[dict[str, Any]]], None], message: str, tmp_path: Path
) -> None:
    lines = lines_of(ledger)
    fault(lines)
    with pytest.raises(LedgerError, match=rf"phone.jsonl: .*{message}"):
        read_json_lines(write(tmp_path / "phone.jsonl", lines))


def test_a_file_that_was_cut_is_named_by_its_last_line(ledger: Ledger, tmp_path: Path) -> None:
    path = write(tmp_path / "phone.jsonl", lines_of(ledger))
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(LedgerError, match="line 7 is cut short"):
        read_json_lines(path)
    path.write_bytes(b"")
    with pytest.raises(LedgerError, match="empty"):
        read_json_lines(path)
    path.write_bytes(whole.replace(b'"label": 1', b'"label": NaN'))
    with pytest.raises(LedgerError, match=r"line 3 is damaged \(NaN"):
        read_json_lines(path)
    path.write_bytes(whole.replace(b'"classes": 7', b'"classes": 7, "more": 1e999'))
    with pytest.raises(LedgerError, match=r"line 1 .*metadata\.more is inf"):
        read_json_lines(path)
    path.write_bytes(whole[:50] + b"\xff" + whole[50:])
    with pytest.raises(LedgerError, match="UTF-8"):
        read_json_lines(path)
    with pytest.raises(LedgerError, match="No such file"):
        read_json_lines(tmp_path / "absent.jsonl")


@pytest.mark.parametrize("keep_logits", [False, True])
def test_what_is_written_here_is_read_back_with_its_checksums(
    make_ledger: Callable[..., Ledger], tmp_path: Path, keep_logits: bool
) -> None:
    logits = np.random.default_rng(0).normal(0, 2, (4, 7)).astype(np.float16).astype(np.float32)
    errors = [None, None, "cut short", None]
    wanted = make_ledger(logits, np.array([0, -1, 2, 6], np.int32), errors=errors, keep_logits=keep_logits)
    rows = Rows(**{field.name: getattr(wanted, field.name) for field in dataclasses.fields(Rows)})
    lines = row_lines(rows)
    path = tmp_path / "phone.jsonl"
    path.write_text(header_line(wanted.metadata, has_logits=keep_logits) + "".join(f"{line}\n" for line in lines))
    found = read_json_lines(path)
    for field in dataclasses.fields(Rows):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(wanted, field.name))
    assert found.metadata == wanted.metadata
    assert found.content_crc32.tolist() == [0, 1, 2, 3]
    path.write_text(path.read_text().replace('"content_crc32":3', '"content_crc32":4294967296'))
    with pytest.raises(LedgerError, match="line 5 is not a row of this ledger: content_crc32 4294967296"):
        read_json_lines(path)
