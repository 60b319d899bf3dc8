"""A ledger keeps what a model answered, row by row; equal contents are equal bytes."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ghostedge.errors import LedgerError
from ghostedge.evaluation.columns import Columns, Rows, rows_of_logits
from ghostedge.evaluation.ledger import (
    Ledger,
    LedgerMetadata,
    ids_sha256,
    merge_ledgers,
    read_ledger,
    write_ledger,
    write_pieces,
)
from ghostedge.ghostnet.arithmetic import Arithmetic
from ghostedge.model import InputSpec

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def metadata(ids: list[str], classes: int = 10) -> LedgerMetadata:
    return LedgerMetadata(
        model={"file": "model.onnx", "sha256": "0" * 64, "format": "onnx", "precision": "fp32"},
        input=InputSpec(),
        preprocessing="opencv_linear",
        runtime={"name": "fake", "version": "1"},
        device="CPU",
        host={"machine": "x86_64"},
        classes=classes,
        dataset={"images": len(ids), "ids_sha256": ids_sha256(ids)},
    )


def ledger(start: int, stop: int, *, classes: int = 10, keep_logits: bool = False) -> Ledger:
    """Images `start` .. `stop` - 1; the answers depend on the image alone."""
    ids = [f"{number:05d}.JPEG" for number in range(start, stop)]
    logits = np.stack([np.random.default_rng(number).standard_normal(classes) for number in range(start, stop)])
    labels = np.arange(start, stop, dtype=np.int32) % classes
    errors = [None] * len(ids)
    rows = rows_of_logits(np.array(ids), labels, logits.astype(np.float32), errors, keep_logits=keep_logits)
    return Ledger.of(metadata(ids, classes), rows)


# -- arithmetic ---------------------------------------------------------------------------------------------------


def test_metadata_without_an_arithmetic_are_the_bytes_of_before() -> None:
    """Ledgers of before, and those of other runtimes, have no such field: nothing of them changes."""
    text = metadata(["a"]).to_json()
    assert "arithmetic" not in text
    assert LedgerMetadata.from_json(text).arithmetic is None
    assert LedgerMetadata.from_json(text).to_json() == text


def test_metadata_keep_what_mindspore_said() -> None:
    said = Arithmetic("float32", {"conv_allow_hf32": False}, True, "Ascend910B2", {"cann": "8.2"}, (0, 3))
    kept = dataclasses.replace(metadata(["a"]), arithmetic=said)
    assert LedgerMetadata.from_json(kept.to_json()) == kept
    with pytest.raises(LedgerError, match=r"arithmetic\.device_ids"):
        LedgerMetadata.from_json(kept.to_json().replace("[0, 3]", '"all"'))


def test_the_numbers_of_the_cards_decide_nothing() -> None:
    one, other = (
        dataclasses.replace(ledger(start, start + 3), metadata=with_cards(cards, start))
        for start, cards in ((0, (0,)), (3, (5, 4)))
    )
    assert one.metadata.deciding.arithmetic == other.metadata.deciding.arithmetic
    merged = merge_ledgers([one, other]).metadata.arithmetic
    assert merged is not None
    assert merged.device_ids == (0, 4, 5)
    strict = dataclasses.replace(other.metadata, arithmetic=Arithmetic("default"))
    with pytest.raises(LedgerError, match="do not merge: arithmetic is"):
        merge_ledgers([one, dataclasses.replace(other, metadata=strict)])


def with_cards(cards: tuple[int, ...], start: int) -> LedgerMetadata:
    ids = [f"{number:05d}.JPEG" for number in range(start, start + 3)]
    return dataclasses.replace(metadata(ids), arithmetic=Arithmetic("float32", device_ids=cards))


COLUMNS = [field.name for field in dataclasses.fields(Rows)]


def assert_equal(one: Ledger, other: Ledger) -> None:
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


# -- from logits to a row -----------------------------------------------------------------------------------------


def rows(logits: list[list[float]], labels: list[int], errors: list[str | None] | None = None) -> Rows:
    ids = np.array([f"{number}" for number in range(len(logits))])
    values = np.array(logits, dtype=np.float32)
    none: list[str | None] = [None] * len(logits)
    return rows_of_logits(ids, np.array(labels, dtype=np.int32), values, errors or none, keep_logits=True)


def test_a_row_keeps_the_best_five_the_labels_logit_and_the_softmax_denominator() -> None:
    row = rows([[0.0, 3.0, 1.0, 2.0, -1.0, -2.0, 5.0]], [4])
    assert row.top5_class.tolist() == [[6, 1, 3, 2, 0]]
    assert row.top5_logit.tolist() == [[5.0, 3.0, 2.0, 1.0, 0.0]]
    assert row.label_logit.tolist() == [-1.0]
    expected = math.log(sum(math.exp(value) for value in [0, 3, 1, 2, -1, -2, 5]))
    assert row.log_sum_exp[0] == pytest.approx(expected, rel=1e-6)


def test_equal_logits_are_ordered_by_class() -> None:
    assert rows([[1.0, 2.0, 2.0, 1.0, 2.0, 0.0]], [0]).top5_class.tolist() == [[1, 2, 4, 0, 3]]


def test_the_softmax_denominator_of_large_logits_is_finite() -> None:
    assert rows([[1000.0, 1000.0]], [0]).log_sum_exp[0] == pytest.approx(1000 + math.log(2))


def test_fewer_than_five_classes_are_padded() -> None:
    row = rows([[0.0, 1.0]], [1])
    assert row.top5_class.tolist() == [[1, 0, -1, -1, -1]]
    assert np.isnan(row.top5_logit[0, 2:]).all()


def test_an_unknown_label_has_no_logit_and_is_never_right() -> None:
    one = Ledger.of(metadata(["0"], 2), rows([[0.0, 1.0]], [-1]))
    assert np.isnan(one.label_logit[0])
    assert not one.correct(5)[0]  # though the padding is -1 as well


def test_an_image_with_an_error_has_no_answer_and_is_wrong() -> None:
    one = Ledger.of(metadata(["0", "1"], 3), rows([[9.0, 0.0, 0.0], [9.0, 0.0, 0.0]], [0, 0], [None, "is empty"]))
    assert one.top5_class[1].tolist() == [-1] * 5
    assert np.isnan(one.top5_logit[1]).all()
    assert np.isnan(one.logits[1]).all()  # type: ignore[index]
    assert np.isnan([one.label_logit[1], one.log_sum_exp[1]]).all()
    assert one.correct().tolist() == [True, False]
    assert one.failed.tolist() == [False, True]


# -- the file -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_logits", [False, True])
def test_a_ledger_reads_back_as_it_was_written(tmp_path: Path, keep_logits: bool) -> None:
    written = ledger(0, 20, keep_logits=keep_logits)
    write_ledger(tmp_path / "a.parquet", written)
    read = read_ledger(tmp_path / "a.parquet")
    assert_equal(written, read)
    assert read.metadata == written.metadata


def test_the_columns_are_those_of_the_contract(tmp_path: Path) -> None:
    write_ledger(tmp_path / "a.parquet", ledger(0, 3, keep_logits=True))
    schema = parquet.read_schema(tmp_path / "a.parquet")
    assert {field.name: str(field.type) for field in schema} == {
        "image_id": "string",
        "label": "int32",
        "content_crc32": "int64",
        "top5_class": "fixed_size_list<element: int32>[5]",
        "top5_logit": "fixed_size_list<element: float>[5]",
        "label_logit": "float",
        "log_sum_exp": "float",
        "logits": "list<element: halffloat>",
        "error": "string",
    }


def test_pieces_of_any_size_give_the_same_bytes(tmp_path: Path) -> None:
    """More rows than one row group holds."""
    whole = ledger(0, 5000, classes=3)
    write_ledger(tmp_path / "whole.parquet", whole)
    pieces = (Columns(whole.table.slice(at, 700)) for at in range(0, 5000, 700))
    write_pieces(tmp_path / "pieces.parquet", whole.metadata, pieces, has_logits=False)
    assert (tmp_path / "whole.parquet").read_bytes() == (tmp_path / "pieces.parquet").read_bytes()


def test_ledgers_of_disjoint_images_merge_into_the_bytes_of_the_whole(tmp_path: Path) -> None:
    write_ledger(tmp_path / "whole.parquet", ledger(0, 30, keep_logits=True))
    parts = [ledger(20, 30, keep_logits=True), ledger(0, 7, keep_logits=True), ledger(7, 20, keep_logits=True)]
    write_ledger(tmp_path / "merged.parquet", merge_ledgers(parts))
    assert (tmp_path / "whole.parquet").read_bytes() == (tmp_path / "merged.parquet").read_bytes()


def test_an_image_in_two_ledgers_is_refused() -> None:
    with pytest.raises(LedgerError, match=r"image '00004\.JPEG' is there twice"):
        merge_ledgers([ledger(0, 5), ledger(4, 8)])


@pytest.mark.parametrize(
    "change",
    [
        {"input": InputSpec(layout="NHWC")},
        {"model": {"file": "other.onnx"}},
        {"preprocessing": "pillow_bilinear"},
        {"device": "GPU"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_ledgers_of_different_runs_do_not_merge(change: dict[str, object]) -> None:
    other = ledger(5, 8)
    other = dataclasses.replace(other, metadata=dataclasses.replace(other.metadata, **change))  # type: ignore[arg-type]
    with pytest.raises(LedgerError, match=f"do not merge: {next(iter(change))} is"):
        merge_ledgers([ledger(0, 5), other])


def test_nothing_to_merge() -> None:
    with pytest.raises(LedgerError, match="no ledger to merge"):
        merge_ledgers([])


# -- files that are not whole ledgers -----------------------------------------------------------------------------


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"x\.parquet cannot be read as a ledger: No such file"):
        read_ledger(tmp_path / "x.parquet")


def test_a_ledger_that_was_cut_short(tmp_path: Path) -> None:
    write_ledger(tmp_path / "a.parquet", ledger(0, 5))
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-10])
    with pytest.raises(LedgerError, match="cannot be read as a ledger") as caught:
        read_ledger(tmp_path / "a.parquet")
    assert "\n" not in str(caught.value)


def test_a_parquet_file_of_something_else(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    with pytest.raises(LedgerError, match="does not have a ledger's columns: it has x int64"):
        read_ledger(tmp_path / "a.parquet")


def test_an_older_ledger_has_no_checksums(tmp_path: Path) -> None:
    write_ledger(tmp_path / "a.parquet", ledger(0, 5))
    older = parquet.read_table(tmp_path / "a.parquet").drop_columns("content_crc32")
    parquet.write_table(older, tmp_path / "a.parquet")
    assert read_ledger(tmp_path / "a.parquet").content_crc32.tolist() == [-1] * 5


def rewritten(path: Path, change: str, to: str) -> Path:
    """The ledger at `path` with one text of its metadata changed."""
    table = parquet.read_table(path)
    text = table.schema.metadata[b"ghostedge"].decode()
    assert change in text
    parquet.write_table(table.replace_schema_metadata({"ghostedge": text.replace(change, to)}), path)
    return path


@pytest.mark.parametrize(
    ("change", "to", "message"),
    [
        ('"schema_version": 1', '"schema_version": 2', "schema version 2, this ghostedge reads 1; update ghostedge"),
        ('"classes": 10, ', "", "damaged metadata"),
        ('"layout": "NCHW"', '"layout": "CHWN"', r"damaged metadata, .*'CHWN' - at `\$\.input\.layout`"),
        ('"images": 5', '"images": 6', "its images are not those of its metadata"),
    ],
)
def test_metadata_that_cannot_be_true(tmp_path: Path, change: str, to: str, message: str) -> None:
    write_ledger(tmp_path / "a.parquet", ledger(0, 5))
    with pytest.raises(LedgerError, match=message):
        read_ledger(rewritten(tmp_path / "a.parquet", change, to))


def test_rows_that_were_taken_out_afterwards(tmp_path: Path) -> None:
    write_ledger(tmp_path / "a.parquet", ledger(0, 5))
    parquet.write_table(parquet.read_table(tmp_path / "a.parquet").slice(1), tmp_path / "a.parquet")
    with pytest.raises(LedgerError, match="its images are not those of its metadata; it was changed"):
        read_ledger(tmp_path / "a.parquet")


def test_rows_out_of_order(tmp_path: Path) -> None:
    write_ledger(tmp_path / "a.parquet", ledger(0, 5))
    parquet.write_table(parquet.read_table(tmp_path / "a.parquet").take([1, 0, 2, 3, 4]), tmp_path / "a.parquet")
    with pytest.raises(LedgerError, match=r"'00000\.JPEG' comes after '00001\.JPEG'"):
        read_ledger(tmp_path / "a.parquet")


# -- in memory ------------------------------------------------------------------------------------------------------


def test_numbers_are_read_where_arrow_has_them() -> None:
    whole = ledger(0, 9, keep_logits=True)
    address = whole.table.column("logits").chunk(0).values.buffers()[1].address
    assert whole.logits is not None
    assert whole.logits.__array_interface__["data"][0] == address


@pytest.mark.parametrize("start", [0, 4])
def test_a_slice_of_a_ledger_shows_its_own_rows(start: int) -> None:
    whole = ledger(0, 9, keep_logits=True)
    part = Columns(whole.table.slice(start, 3))
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[start : start + 3], err_msg=name)


@pytest.mark.parametrize("start", [0, 1, 9])
def test_what_the_checksums_are_of_tells_a_null_from_an_empty_text(start: int) -> None:
    errors = [None, "", "no image", *[None] * 7, ""]
    labels = np.zeros(len(errors), np.int32)
    rows = Rows.blank([f"{number:02d}" for number in range(len(errors))], labels, errors, None).columns()
    part = Columns(rows.table.slice(start, 2)).buffers()
    np.testing.assert_array_equal(part["error nulls"], [error is None for error in errors[start : start + 2]])
    assert not part["image_id nulls"].any()


def test_reading_a_ledger_loads_no_functions_of_arrow(tmp_path: Path) -> None:
    """They take longer to load than the checksums of 50,000 images to compute."""
    write_ledger(tmp_path / "a.parquet", ledger(0, 3))
    code = "import sys; from pathlib import Path; from ghostedge.evaluation.ledger import read_ledger\n"
    code += (
        f"assert len(read_ledger(Path({str(tmp_path / 'a.parquet')!r}))) == 3; print('pyarrow.compute' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
