"""Stored JSON and TOML are checked before they are used, and what is wrong is named with its place."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from ghostedge.errors import ManifestError
from ghostedge.model import InputSpec
from ghostedge.stored import as_type, json_schema, parse_json, parse_toml, plain


@dataclass(frozen=True)
class Sample:
    input: InputSpec
    sizes: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    note: str | None = None


def test_what_plain_gives_is_read_back() -> None:
    sample = Sample(InputSpec(height=96, width=96, resize=112), (1, 2), {"a": [1]}, "x")
    assert as_type(plain(sample), Sample, "it", ManifestError) == sample
    assert plain(as_type(plain(Sample(InputSpec())), Sample, "it", ManifestError))["note"] is None


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"sizes": "3"}, "$.sizes"),
        ({"sizes": [1, "2"]}, r"$.sizes[1]"),
        ({"input": {"layout": "NWHC"}}, "$.input.layout"),
        ({"input": {"std": ["a", "b", "c"]}}, "$.input.std[0]"),
        ({"note": 3}, "$.note"),
        ({"input": {"height": 300}}, "$.input"),  # what `__post_init__` refuses
    ],
)
def test_a_field_of_another_type_is_named(change: dict[str, Any], place: str) -> None:
    with pytest.raises(ManifestError, match=r"the file: .*") as caught:
        as_type({**plain(Sample(InputSpec())), **change}, Sample, "the file", ManifestError)
    assert f"`{place}`" in str(caught.value)


@pytest.mark.parametrize("document", ['{"a": [1, 1e999]}', '{"a": [1, NaN]}', '{"a": [1, ' + "9" * 401 + "]}"])
def test_a_number_that_nothing_holds_is_named_with_its_place(document: str) -> None:
    with pytest.raises(ManifestError, match=r"^the file is not JSON of ours: \$\.a\[1\] is "):
        parse_json(document, "the file", ManifestError)


def test_depth_is_bounded_before_anything_recursive_sees_it() -> None:
    parse_json("[" * 60 + "]" * 60, "the file", ManifestError)
    for depth in (70, 900):
        with pytest.raises(ManifestError, match="nested too deeply"):
            parse_json("[" * depth + "]" * depth, "the file", ManifestError)


def test_a_document_of_many_values_takes_no_more_memory_to_check_than_to_parse() -> None:
    text = b"[" + b"0," * 200_000 + b"0]"
    tracemalloc.start()
    try:
        parse_json(text, "the file", ManifestError)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 * len(text)  # json.loads alone: 5 times


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ('{"a": [{"b": 1}, {"c": "\\ud800"}]}', "$.a[1].c holds half"),
        ('{"a": [[], {"\\udfff": 1}]}', "$.a[1] holds half"),
        ("1e999", "$ is inf"),
    ],
)
def test_places_are_those_of_the_document(document: str, place: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_json(document, "the file", ManifestError)
    assert f"of ours: {place}" in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 50_000, '{"a": NaN}', b"\xff", "1" * 6000, "", '{"a": 1'])
def test_damaged_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(ManifestError, match=r"^the file "):
        parse_json(text, "the file", ManifestError)


def test_a_date_of_toml_is_no_value_of_ours() -> None:
    with pytest.raises(ManifestError, match=r"\$\.a\[0\] is a date, which JSON does not have"):
        parse_toml("a = [1979-05-27]", "the file", ManifestError)


@pytest.mark.parametrize("text", ["a = " + "[" * 3000, "a = ", b"\xff", "a = " + "1" * 6000, "a = 0x" + "f" * 6000])
def test_damaged_toml_is_refused(text: str | bytes) -> None:
    with pytest.raises(ManifestError, match=r"^the file "):
        parse_toml(text, "the file", ManifestError)


def test_the_schema_names_every_field() -> None:
    schema = json_schema(Sample, title="a sample")
    assert schema["title"] == "a sample"
    assert set(schema["$defs"]["Sample"]["properties"]) == {"input", "sizes", "options", "note"}


def test_depth_is_no_crash_where_a_library_took_pythons_limit_away() -> None:
    """onnx2tf does, as it is imported."""
    code = "import sys; sys.setrecursionlimit(2**31 - 1)\n"
    code += "from ghostedge.errors import ManifestError; from ghostedge.stored import parse_json\n"
    code += "try:\n    parse_json('[' * 1_000_000, 'it', ManifestError)\nexcept ManifestError as exc:\n    print(exc)\n"
    code += "print(sys.getrecursionlimit() == 2**31 - 1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.returncode
    assert done.stdout == "it is not JSON of ours: it is nested too deeply\nTrue\n"
