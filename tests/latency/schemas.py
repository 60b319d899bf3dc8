"""Hold a record to what is published about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from ghostedge.latency.records import SCHEMA, VERIFICATION_SCHEMA, parse_record


@cache
def _validator(path: Path) -> Any:
    schema = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())


def check_record(record: Mapping[str, Any]) -> None:
    """Raise jsonschema.ValidationError or DeviceError unless `record` is a whole one of its kind."""
    _validator(VERIFICATION_SCHEMA if record["kind"] == "verification_record" else SCHEMA).validate(record)
    parse_record(json.dumps(record).encode(), "the record")
