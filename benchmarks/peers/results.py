"""Write the comparison as CSV, SVG and a Markdown table."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from artifacts import Contestant
from measure import ratios

from ghostedge.files import atomic_write
from ghostedge.latency.edge.timing import MAX_OTHER_CORES
from ghostedge.reports.svg import Markup, Rows, Scale, element, join, svg_line

Json = dict[str, Any]

_BEGIN, _END = "<!-- results: written by compare.py -->", "<!-- end of results -->"

_CPU_NAMES = {"cortex-a72": "A72", "cortex-a76": "A76"}


@dataclass(frozen=True)
class Row:
    """One contestant with everything measured of it; absent measurements are empty."""

    contestant: Contestant
    agreement: Json
    medians_ms: dict[int, float]
    ratios: dict[int, dict[str, float]]
    against: dict[int, str]
    instructions: dict[str, float]


def rows(found: Sequence[Contestant], agreement: dict[str, Json], walls: Sequence[Json], counts: Json) -> list[Row]:
    """Every contestant beside the fastest peer of its format and arithmetic, by format."""
    made = []
    for each in found:
        medians: dict[int, float] = {}
        compared: dict[int, dict[str, float]] = {}
        against: dict[int, str] = {}
        for wall in walls:
            if each.key not in wall["medians_ms"]:
                continue
            typical = {key: statistics.median(values) for key, values in wall["medians_ms"].items()}
            peers = [peer.key for peer in found if each.is_held_to(peer) and peer.key in typical]
            medians[wall["threads"]] = typical[each.key]
            if peers:
                best = min(peers, key=typical.__getitem__)
                against[wall["threads"]] = best
                compared[wall["threads"]] = ratios(wall, each.key, best)
        made.append(Row(each, agreement[each.key], medians, compared, against, counts.get(each.key, {})))
    order = {"TFLite": 0, "OpenVINO": 1, "ONNX": 2, "PyTorch": 3}
    return sorted(
        made, key=lambda r: (order[r.contestant.format], "int8" in r.contestant.precision, not r.contestant.ours)
    )


def write(found: Sequence[Row], walls: Sequence[Json], folder: Path) -> list[Path]:
    """Write results.csv, the plots, and the table into README.md between its marks; the files written."""
    texts = {folder / "results.csv": _csv(found)}
    for cpu in _measured(found)[1]:
        bars = [
            (_label(row), row.instructions[cpu] / 1e6, row.contestant.ours) for row in found if cpu in row.instructions
        ]
        plot = bar_plot(bars, f"million instructions on {cpu}", 720)
        texts[folder / f"instructions-{cpu}.svg"] = standalone(plot)
    for count in (wall["threads"] for wall in walls):
        drawn = [(_label(row), row.ratios[count], row.contestant.ours) for row in found if count in row.ratios]
        plot = ratio_plot(drawn, f"time beside the fastest peer's, {count} thread(s)")
        texts[folder / f"latency-{count}t.svg"] = standalone(plot)
    readme = folder / "README.md"
    if readme.exists():
        before, _, rest = readme.read_text(encoding="utf-8").partition(_BEGIN)
        _, _, after = rest.partition(_END)
        if not rest:
            raise SystemExit(f"{readme} has no line {_BEGIN!r}; put it back")
        plots = ", ".join(f"[{path.stem}]({path.name})" for path in texts if path.suffix == ".svg")
        texts[readme] = f"{before}{_BEGIN}\n{markdown(found, walls)}\nPlots: {plots}.\n{_END}{after}"
    for path, text in texts.items():
        atomic_write(path, text)
    return list(texts)


def _measured(found: Sequence[Row]) -> tuple[list[int], list[str]]:
    """The counts of threads that times were taken with, and the CPUs whose instructions were counted."""
    threads = {count for row in found for count in row.medians_ms}
    return sorted(threads), sorted({cpu for row in found for cpu in row.instructions})


def _label(row: Row) -> str:
    if row.contestant.ours:
        return row.contestant.file.name
    return f"{row.contestant.name} {row.contestant.precision}"


def _csv(found: Sequence[Row]) -> str:
    threads, cpus = _measured(found)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    head = ["maker", "file", "format", "precision", "size_bytes", "runtime", "delegated_share", "partitions"]
    head += ["snr_db", "top1_agreement"]
    for count in threads:
        head += [f"median_ms_{count}t", f"ratio_{count}t", f"ratio_low_{count}t", f"ratio_high_{count}t"]
        head += [f"against_{count}t"]
    table.writerow([*head, *(f"instructions_{cpu}" for cpu in cpus)])
    for row in found:
        each, said = row.contestant, row.agreement
        cells: list[object] = [each.name, each.file.name, each.format, each.precision, each.size_bytes]
        cells += [said[key] for key in ("runtime", "delegated_share", "partitions", "snr_db", "top1_agreement")]
        for count in threads:
            ratio = row.ratios.get(count, {})
            cells.append(_rounded(row.medians_ms.get(count)))
            cells += [_rounded(ratio.get(part)) for part in ("median", "low", "high")]
            cells.append(row.against.get(count))
        table.writerow([*cells, *(_rounded(row.instructions.get(cpu), 0) for cpu in cpus)])
    return text.getvalue()


def _rounded(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def markdown(found: Sequence[Row], walls: Sequence[Json]) -> str:
    """The table, and under it what the wall-clock columns are worth."""
    threads, cpus = _measured(found)
    head = ["Format", "Artifact", "MB", "SNR (dB)"]
    head += [f"Time, {count} thread" + ("s" if count > 1 else "") for count in threads]
    head += [f"{_CPU_NAMES.get(cpu, cpu)} (M instr.)" for cpu in cpus]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in found:
        each = row.contestant
        label = f"**{_label(row)}**" if each.ours else _label(row)
        snr = row.agreement["snr_db"]
        cells = [each.format, label, f"{each.size_bytes / 1e6:.1f}", "–" if snr is None else f"{snr:.1f}"]
        for count in threads:
            ratio = row.ratios.get(count)
            cells.append(f"{ratio['median']:.2f} ({ratio['low']:.2f}–{ratio['high']:.2f})" if ratio else "–")
        cells += [f"{row.instructions[cpu] / 1e6:.1f}" if cpu in row.instructions else "–" for cpu in cpus]
        lines.append("| " + " | ".join(cells) + " |")
    notes = [
        "SNR: of the logits, against PyTorch. "
        + (
            "Time: 1 is the fastest peer of the same format and arithmetic (floating point or int8); the median of the "
            "rounds' ratios, and the range of nine rounds in ten."
            if walls
            else "Times were not measured: they wait for a run on a quiet machine."
        )
    ]
    for wall in walls:
        busy = wall["other_cores"] > MAX_OTHER_CORES
        notes.append(
            f"{wall['threads']} thread(s): {wall['rounds']} rounds; other programs used {wall['other_cores']:.2f} cores"
            + (": **the times wait for a run on a quiet machine**." if busy else ".")
        )
    return "\n".join([*lines, "", *(f"{note}\n" for note in notes)])


def bar_plot(bars: Sequence[tuple[str, float, bool]], unit: str, width: int) -> Markup:
    """One bar a row from zero: (label, value, whether it is ours)."""
    layout = Rows(len(bars), width, top=10)
    scale = Scale(0.0, 1.05 * max(value for _, value, _ in bars), *layout.ends)
    drawn = layout.axis(scale, unit)
    for place, (label, value, ours) in enumerate(bars):
        y = layout.middle(place)
        drawn += layout.texts(place, label, f"{value:.1f}", strong=ours)
        size = {"x": scale(0), "y": y - 7, "width": scale(value) - scale(0), "height": 14}
        drawn.append(element("rect", class_="bar" if ours else "peer", **size))
    said = "; ".join(f"{label}: {value:.1f}" for label, value, _ in bars)
    return layout.root(unit[0].upper() + unit[1:], said, drawn)


def ratio_plot(found: Sequence[tuple[str, dict[str, float], bool]], unit: str, width: int = 720) -> Markup:
    """One dot a row with its range, and a line at 1: (label, ratio, whether it is ours)."""
    layout = Rows(len(found), width, top=10)
    # PyTorch has no peer but itself and is at 1; one slow contestant must not squeeze the others.
    high = min(max(ratio["high"] for _, ratio, _ in found), 3.0)
    low = min(ratio["low"] for _, ratio, _ in found)
    scale = Scale(min(0.8, 0.95 * low), max(1.2, 1.05 * high), *layout.ends)
    drawn = [*layout.axis(scale, unit), *layout.verticals(scale(1.0), "zero")]
    for place, (label, ratio, ours) in enumerate(found):
        y = layout.middle(place)
        drawn += layout.texts(place, label, f"{ratio['median']:.2f}", strong=ours)
        drawn.append(svg_line(scale(ratio["low"]), y, scale(ratio["high"]), y, "whisker", 3))
        drawn.append(
            element(
                "circle", cx=scale(ratio["median"]), cy=y, r=5, class_="after" if ours else "before", stroke_width=2
            )
        )
    said = "; ".join(f"{label}: {r['median']:.2f} ({r['low']:.2f} to {r['high']:.2f})" for label, r, _ in found)
    return layout.root(unit[0].upper() + unit[1:], said, drawn)


def standalone(drawing: Markup) -> str:
    """An SVG file of its own: a plot of the reports with their style inside."""
    css = resources.files("ghostedge.reports").joinpath("templates", "report.css").read_text(encoding="utf-8")
    own = "svg{font-family:system-ui,sans-serif;background:var(--paper)} .peer{fill:var(--soft)}"
    style = element("style", Markup(f"{css}{own}"))
    head, _, rest = drawing.partition(">")
    return join([Markup(f'{head} xmlns="http://www.w3.org/2000/svg">'), style, Markup(rest), "\n"])
