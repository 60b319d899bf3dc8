"""Answer which file to ship: on each device the cheapest one whose accuracy is shown to be within the margin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ghostedge.latency.instructions import Count
from ghostedge.reports.artifact_table import Beside, Record, Row, rows_of
from ghostedge.reports.format import Stacked, answers_wrong, drop_text, plural, points_text, signed
from ghostedge.reports.latency import rank
from ghostedge.reports.parity import ParityReport

#: ARM64 cores without float16 arithmetic: there a model that allows float16 is computed in float32, as any other.
_FLOAT32_CORES = frozenset({"cortex-a53", "cortex-a57", "cortex-a72", "cortex-a73"})

#: Core -> a device that has it.
_BOARDS = {"cortex-a72": "Raspberry Pi 4", "cortex-a76": "Raspberry Pi 5", "cortex-a710": "a phone of 2022"}


@dataclass(frozen=True)
class _Place:
    """Where files were measured.

    Attributes:
        title: its name.
        about: what it is; empty where that is not known.
        costs: what each file costs there, as text, with the file; the cheapest first.
    """

    title: str
    about: str
    costs: Sequence[tuple[Stacked, Row]]

    @property
    def winner(self) -> int:
        """The number of the first that passes; how many there are where none does."""
        return next((number for number, (_, row) in enumerate(self.costs) if _passes(row)), len(self.costs))


def choice(report: ParityReport, beside: Beside) -> dict[str, Any]:
    """What the template shows: a row a device and one for the smallest file, and why others were not chosen.

    Returns:
        ``header``, ``rows`` and ``caption`` of the table, without rows where nothing is known but the accuracies;
        ``notes``: what is cheaper and was not chosen, and what is not known.
    """
    rows = list(rows_of(report, beside))
    places = [*_timed(rows), *_counted(rows, beside.counts)]
    chosen = [_on(place) for place in places]
    if any(row.exported for row in rows):
        chosen.append(_smallest(rows))
    margin = points_text(report.max_drop_points)
    return {
        "header": ("On", "Ship this file", "Top-1", "Drop, points", "Size (MB)", "Cost of a picture"),
        "rows": chosen,
        "caption": f"On each device, the cheapest file whose top-1 is shown to drop by at most {margin} (PASS)",
        "notes": [*_notes(places), *_unknown(rows, beside)],
    }


def _passes(row: Row) -> bool:
    return row.comparison is not None and row.comparison.result.verdict == "PASS"


# -- Devices ------------------------------------------------------------------------------------------------


def _timed(rows: Sequence[Row]) -> Iterator[_Place]:
    """Devices with latencies; valid numbers come before others."""
    for place in dict.fromkeys(place for row in rows for place in row.runs):
        ranked = sorted((row for row in rows if place in row.runs), key=lambda row: rank(row.runs[place]))
        device = ranked[0].runs[place]["device"]
        costs = [(_latency(row.runs[place]), row) for row in ranked]
        yield _Place(f"{place[0]}, {plural(place[1], 'thread')}", device["model"] or device["cpu"] or "", costs)


def _latency(record: Record) -> Stacked:
    text = f"{record['latency_ms']['p50']:.2f} ms"
    return Stacked(text) if record["valid"] else Stacked(text, "not a valid measurement")


def _counted(rows: Sequence[Row], counts: Sequence[Count]) -> Iterator[_Place]:
    """Cores whose instructions were counted: a cost that ranks files without the device."""
    for cpu in dict.fromkeys(count.cpu for count in counts if count.xnnpack):
        found = []
        for row in rows:
            mine = [count for count in counts if count.cpu == cpu and count.xnnpack and _is_of(count, row)]
            if mine and row.key[1] == _arithmetic(cpu, row, rows):
                found.append((mine[0].instructions, row))
        if found:
            found.sort(key=lambda entry: entry[0])
            costs = [(Stacked(f"{number / 1e6:.1f} M instructions"), row) for number, row in found]
            yield _Place(cpu, _BOARDS.get(cpu, ""), costs)


def _is_of(count: Count, row: Row) -> bool:
    if count.sha256:
        return count.sha256 == row.key[0]
    model = {} if row.comparison is None else row.comparison.source.metadata.model
    return count.model == (row.exported.files[0].name if row.exported else model.get("file"))


def _arithmetic(cpu: str, row: Row, rows: Sequence[Row]) -> str:
    """In which arithmetic that core computes the file: it must be that of the accuracy."""
    allowed = row.exported is not None and row.exported.float16_difference is not None
    allowed = allowed or any(other.key == (row.key[0], "float16") for other in rows)
    return "float16" if allowed and cpu not in _FLOAT32_CORES else ""


# -- In words -----------------------------------------------------------------------------------------------


def _on(place: _Place) -> tuple[str, ...]:
    compared = f"{plural(len(place.costs), 'file')} compared"
    title = Stacked(place.title, *filter(None, [place.about]), compared)
    if place.winner == len(place.costs):
        return _cells(title, None, "–")
    cost, row = place.costs[place.winner]
    return _cells(title, row, cost)


def _smallest(rows: Sequence[Row]) -> tuple[str, ...]:
    passed = [row for row in rows if _passes(row) and row.exported is not None]
    winner = min(passed, key=lambda row: row.exported.size_bytes if row.exported else 0, default=None)
    return _cells("any device, where size counts most", winner, "–")


def _cells(title: str, row: Row | None, cost: str) -> tuple[str, ...]:
    if row is None or row.comparison is None:
        return (title, "none yet", "–", "–", "–", "–")
    result = row.comparison.result
    size = f"{row.exported.size_bytes / 1e6:.1f}" if row.exported else "–"
    return (title, row.name, f"{result.candidate.top1.percent:.2f}%", drop_text(result.drop), size, cost)


def _notes(places: Sequence[_Place]) -> Iterator[str]:
    """What is cheaper on a device than what was chosen, and why it was not."""
    for place in places:
        cheaper = [f"{row.name} ({cost.value}, {_why_not(row)})" for cost, row in place.costs[: place.winner]]
        if cheaper:
            yield f"Cheaper on {place.title}, and not chosen: {'; '.join(cheaper)}."


def _why_not(row: Row) -> str:
    if row.comparison is None:
        return "not evaluated"
    result = row.comparison.result
    if result.verdict == "FAIL":
        return f"top-1 drops by at least {signed(result.drop.lower_points)} points"
    needed = result.images_to_decide
    return "undecided" if needed is None else f"undecided, about {needed:,} images would decide"


def _unknown(rows: Sequence[Row], beside: Beside) -> Iterator[str]:
    """What keeps the answer from being whole."""
    passed = [row.name for row in rows if _passes(row)]
    if not (beside.latencies or beside.counts or beside.manifest):
        unknown = "Which is smallest or fastest this report does not know: --export and --latency say."
        yield (
            f"Within the margin: {', '.join(passed)}. {unknown}" if passed else "None is shown to be within the margin."
        )
    elif not beside.latencies:
        yield "Latencies are not in this report: ghostedge benchmark measures them, and --latency brings them."
    if beside.counts:
        yield "Instructions were counted under emulation: a cost that ranks files on one core, and not a time."
    if wrong := [device for device, record in beside.latencies if record["artifact"] and answers_wrong(record)]:
        yield f"Runs with wrong answers are not considered: on {', '.join(dict.fromkeys(wrong))}."
