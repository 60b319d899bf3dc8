"""Tell from the manifest.json beside a model whether its bytes are as exported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from ghostedge.errors import ManifestError, first_line
from ghostedge.files import sha256_file
from ghostedge.stored import parse_json

_MANIFEST = "manifest.json"


def as_exported(path: Path) -> Literal["same", "other", "unknown"]:
    """Whether a file has the SHA-256 that the manifest.json beside it records under its name.

    ``"unknown"``: no manifest, one that cannot be read, or one that does not name the file.
    """
    try:
        manifest = parse_json((path.parent / _MANIFEST).read_bytes(), _MANIFEST, ManifestError)
        recorded = {record["sha256"] for record in _files(manifest) if record.get("name") == path.name}
        if not recorded:
            return "unknown"
        return "same" if sha256_file(path) in recorded else "other"
    except (OSError, ManifestError):
        return "unknown"


def changed(files: Iterable[Path]) -> Iterator[str]:
    """A line about each file whose SHA-256 is not the one that the manifest.json beside it records under its name."""
    for path in files:
        if as_exported(path) == "other":
            yield f"{path} was changed after its export: its sha256 is not the one that {_MANIFEST} beside it records"


def _files(part: Any) -> Iterator[dict[str, Any]]:
    """Everything in a JSON document that has a name and a SHA-256, whatever version of ghostedge wrote it."""
    if isinstance(part, dict):
        if "name" in part and "sha256" in part:
            yield part
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from _files(inner)


def refusal(path: Path, runtime: str, did: str, reason: BaseException | str) -> str:
    """A message of one line: which runtime did not take a file, why, and what to do.

    Damage is suggested only where the manifest beside the file shows other bytes: a runtime may refuse a good file.

    Args:
        path: the model.
        runtime: its name and version.
        did: e.g. ``"does not load"``.
        reason: what it said.
    """
    said = first_line(reason) if isinstance(reason, BaseException) else reason
    hint = {
        "same": f"; the file is as it was exported ({_MANIFEST} has its sha256): try another version of the runtime",
        "other": f"; its sha256 is not the one that {_MANIFEST} beside it records: copy or export it again",
        "unknown": "",
    }[as_exported(path)]
    return f"{runtime} {did} {path}: {said}{hint}"
