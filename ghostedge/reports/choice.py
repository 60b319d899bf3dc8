"""Answer which file to ship: on each device the fastest one whose accuracy is shown to be within the margin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ghostedge.accuracy.parity import ParityResult
from ghostedge.reports.artifact_table import Beside, Row, rows_of
from ghostedge.reports.format import Stacked, answers_wrong, drop_text, plural, points_text, signed
from ghostedge.reports.latency import rank
from ghostedge.reports.parity import ParityReport

_Place = tuple[str, int]


def choice(report: ParityReport, beside: Beside) -> dict[str, Any]:
    """What the template shows: a row a device and one for the smallest file, and why others were not chosen.

    Returns:
        ``header``, ``rows`` and ``caption`` of the table, without rows where nothing is known but the accuracies;
        ``notes``: what is faster and was not chosen, and what is not known.
    """
    rows = rows_of(report, beside)
    places = dict.fromkeys(place for row in rows for place in row.runs)
    chosen = [_on_device(rows, place) for place in places]
    if any(row.exported for row in rows):
        chosen.append(_smallest(rows))
    margin = points_text(report.max_drop_points)
    return {
        "header": ("On", "Ship this file", "Top-1", "Drop, points", "Size (MB)", "Median latency"),
        "rows": chosen,
        "caption": f"The fastest file whose top-1 is shown to drop by at most {margin} (PASS), on each device",
        "notes": [*_notes(rows, places), *_unknown(rows, beside)],
    }


def _passes(row: Row) -> bool:
    return row.comparison is not None and row.comparison.result.verdict == "PASS"


def _on_device(rows: Sequence[Row], place: _Place) -> tuple[str, ...]:
    ranked = _ranked(rows, place)
    winner = next(filter(_passes, ranked), None)
    run = (winner or ranked[0]).runs[place]
    title = Stacked(_title(place), *filter(None, [run["device"]["model"] or run["device"]["cpu"]]))
    latency = Stacked(f"{run['latency_ms']['p50']:.2f} ms", *([] if run["valid"] else ["not a valid measurement"]))
    return _cells(title, winner, latency)


def _ranked(rows: Sequence[Row], place: _Place) -> list[Row]:
    """Those that were timed there, the fastest first; valid numbers come before others."""
    return sorted((row for row in rows if place in row.runs), key=lambda row: rank(row.runs[place]))


def _smallest(rows: Sequence[Row]) -> tuple[str, ...]:
    passed = [row for row in rows if _passes(row) and row.exported is not None]
    winner = min(passed, key=lambda row: row.exported.size_bytes if row.exported else 0, default=None)
    return _cells("any device, where size counts most", winner, "–")


def _cells(title: str, row: Row | None, latency: str) -> tuple[str, ...]:
    if row is None or row.comparison is None:
        return (title, "none yet", "–", "–", "–", "–")
    result = row.comparison.result
    size = f"{row.exported.size_bytes / 1e6:.1f}" if row.exported else "–"
    return (title, row.name, f"{result.candidate.top1.percent:.2f}%", drop_text(result.drop), size, latency)


def _title(place: _Place) -> str:
    return f"{place[0]}, {plural(place[1], 'thread')}"


def _notes(rows: Sequence[Row], places: Sequence[_Place] | dict[_Place, None]) -> Iterator[str]:
    """What is faster on a device than what was chosen, and why it was not."""
    for place in places:
        ranked = _ranked(rows, place)
        winner = next((number for number, row in enumerate(ranked) if _passes(row)), len(ranked))
        faster = [
            f"{row.name} ({row.runs[place]['latency_ms']['p50']:.2f} ms, {_why_not(row)})" for row in ranked[:winner]
        ]
        if faster:
            yield f"Faster on {_title(place)}, and not chosen: {'; '.join(faster)}."


def _why_not(row: Row) -> str:
    result: ParityResult | None = None if row.comparison is None else row.comparison.result
    if result is None:
        return "not evaluated"
    if result.verdict == "FAIL":
        return f"top-1 drops by at least {signed(result.drop.lower_points)} points"
    needed = result.images_to_decide
    return "undecided" if needed is None else f"undecided, about {needed:,} images would decide"


def _unknown(rows: Sequence[Row], beside: Beside) -> Iterator[str]:
    """What keeps the answer from being whole."""
    passed = [row.name for row in rows if _passes(row)]
    if not beside.latencies and beside.manifest is None:
        found = (
            f"Within the margin: {', '.join(passed)}." if passed else "No artifact is shown to be within the margin."
        )
        yield f"{found} Which is smallest or fastest this report does not know: --export and --latency say."
    elif not beside.latencies:
        yield "Latencies are not in this report: ghostedge benchmark measures them, and --latency brings them."
    if wrong := [device for device, record in beside.latencies if record["artifact"] and answers_wrong(record)]:
        yield f"Runs with wrong answers are not considered: on {', '.join(dict.fromkeys(wrong))}."
