"""Write the matrix as Markdown for people and as JSON for programs."""

from __future__ import annotations

import json
import platform
from pathlib import Path

from compat.matrix import NEWEST, NOTE, PACKAGES, PINNED, Cell, Model, Package, Row, shortened

from ghostedge.manifest import Manifest

#: How far from the pinned version's a number may be before the page says so.
NOTABLE_DB = 1.0


def page(rows: list[Row], models: list[Model], manifest: Manifest) -> str:
    """The whole matrix as Markdown."""
    pictures = {cell.numbers["pictures"] for row in rows for cell in row.cells if cell.numbers}
    count = "/".join(map(str, sorted(pictures))) or "no"
    maker, source = manifest.environment.get("ghostedge", "unknown"), manifest.source
    lines = [
        "# Compatibility",
        "",
        "Written by `make compat` (`benchmarks/compatibility.py`); do not edit. Every artifact of the demo's export,",
        "run by `benchmarks/edge_benchmark.py --verify-only`, which is what runs on devices; an environment a row.",
        "",
        f"- A cell: SNR of the logits to MindSpore's and top-1 agreement with it, on {count} photos; for LiteRT the",
        "  XNNPACK partitions, and the share of operators in them where that is not all. What is wrong or was not run",
        "  says why; *known*: not right, and cannot be in that version.",
        "- *pinned*: what ghostedge itself installs, with the NumPy it pins; *newest*: the newest on the index then.",
        f"- The machine: {cpu()}; one thread.",
        f"- The artifacts: by ghostedge {maker} from `{source['file']}` (sha256 `{str(source['sha256'])[:12]}`).",
    ]
    for name, package in PACKAGES.items():
        found = [row for row in rows if row.environment.package == name]
        if found:
            checked = "" if package.runtime else ": checker and strict shape inference"
            lines += ["", f"## {package.title}{checked}", "", *table(found, models, package)]
    lines += ["", "## What differs", "", *(notes(rows) or [nothing(rows)])]
    return "\n".join(lines) + "\n"


def table(rows: list[Row], models: list[Model], package: Package) -> list[str]:
    """One package's part of the matrix: a row an environment, a column an artifact."""
    columns = [model for model in models if model.form in package.formats]
    lines = [
        "| Version | Python | NumPy | " + " | ".join(model.title for model in columns) + " |",
        "|---" * (3 + len(columns)) + "|",
    ]
    for row in rows:
        wanted = row.environment.version
        version = f"{row.version} *{wanted}*" if wanted in (PINNED, NEWEST) and row.versions else row.version
        cells = {cell.artifact: cell.text for cell in row.cells}
        texts = [cells.get(model.name, f"**not run**: {shortened(row.unavailable or '-')}") for model in columns]
        head = [version, row.python or row.environment.python, row.versions.get("numpy", "-")]
        lines.append("| " + " | ".join(text.replace("|", "\\|") for text in head + texts) + " |")
    return lines


def notes(rows: list[Row]) -> list[str]:
    """What is wrong or was not run, and numbers that are not those of the pinned version."""
    pinned = {
        (row.environment.package, cell.artifact): cell
        for row in reversed(rows)  # of several Pythons' the first
        for cell in row.cells
        if row.environment.version == PINNED
    }
    found: dict[tuple[str, str], list[str]] = {}  # (version, what) -> the Pythons with it
    for row in rows:
        package, version = row.environment.package, f"{PACKAGES[row.environment.package].title} {row.version}"
        said = [f"not run: {row.unavailable}"] if row.unavailable else []
        for cell in row.cells:
            base = pinned.get((package, cell.artifact))
            text = f"{cell.state}: {cell.reason}" if cell.reason is not None else base and changed(cell, base)
            said += [f"`{cell.artifact}`: {shortened(text, NOTE)}"] if text else []
        for text in said:
            found.setdefault((version, text), []).append(row.environment.python)
    return [f"- {version}, Python {', '.join(pythons)}: {text}" for (version, text), pythons in found.items()]


def nothing(rows: list[Row]) -> str:
    """What is said where `notes` finds nothing."""
    if not any(row.environment.version == PINNED for row in rows):
        return "Everything is right. The pinned versions are not in this run."
    return f"Nothing: to {NOTABLE_DB:g} dB, with the same answers and delegation, every version is as the pinned one."


def changed(cell: Cell, base: Cell) -> str | None:
    """How a cell that is right differs from the pinned version's, or None."""
    if not cell.numbers or not base.numbers:
        return f"{cell.text}; pinned: {base.text}" if base.state != "right" else None
    one, other = cell.numbers["snr_db"], base.numbers["snr_db"]
    same = abs(one - other) < NOTABLE_DB if None not in (one, other) else one == other
    keys = ("partitions", "delegated_nodes", "nodes")
    delegates = [tuple((each.numbers["delegate"] or {}).get(key) for key in keys) for each in (cell, base)]
    agree = cell.numbers["top1_agreement"] == base.numbers["top1_agreement"]
    if same and agree and delegates[0] == delegates[1]:
        return None
    graphs = ["" if each[2] is None else f", {each[1]} of {each[2]} operators in XNNPACK" for each in delegates]
    if delegates[0] == delegates[1]:
        graphs = ["", ""]
    return f"{cell.text}{graphs[0]}; pinned: {base.text}{graphs[1]}"


def cpu() -> str:
    """This machine's processor, with the instructions that decide how int8 is computed."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    known = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "fphp")
    name = fields.get("model name") or platform.processor() or "unknown"
    return ", ".join([f"{name} ({platform.machine()})", *(flag for flag in known if flag in flags)])


def as_json(rows: list[Row]) -> str:
    """The matrix for programs."""
    found = [
        {
            "package": row.environment.package,
            "asked": row.environment.version,
            "version": row.version,
            "python": row.python or row.environment.python,
            "packages": row.versions,
            "unavailable": row.unavailable,
            "cells": [vars(cell) for cell in row.cells],
        }
        for row in rows
    ]
    return json.dumps({"schema_version": 1, "cpu": cpu(), "environments": found}, indent=2) + "\n"
