"""Write the comparison as CSV, SVG and a Markdown table."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
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

#: Around a variant's table in README.md.
_BEGIN, _END = "<!-- {}: written by compare.py -->", "<!-- end of {} -->"

_CPU_NAMES = {"cortex-a72": "A72", "cortex-a76": "A76", "cortex-a710": "A710"}
#: What of a count is in the CSV, by CPU: key of cost.py -> name of the column.
_COSTS = {
    "instructions": "instructions",
    "model_cycles": "model_cycles",
    "loaded_bytes": "loaded_bytes",
    "stored_bytes": "stored_bytes",
}


@dataclass(frozen=True)
class Row:
    """One contestant with everything measured of it; absent measurements are empty.

    `costs` is what cost.py says, by CPU; `newest_costs` with the newest LiteRT.
    """

    contestant: Contestant
    agreement: Json
    medians_ms: dict[int, float]
    ratios: dict[int, dict[str, float]]
    against: dict[int, str]
    costs: dict[str, Json]
    newest_costs: dict[str, Json]


def rows(
    found: Sequence[Contestant], agreement: dict[str, Json], walls: Sequence[Json], counts: Json, newest: Json
) -> list[Row]:
    """Every contestant beside the fastest peer that is chosen for the same devices, of one arithmetic; by format."""
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
        costs = (counted.get(each.key, {}) for counted in (counts, newest))
        made.append(Row(each, agreement[each.key], medians, compared, against, *costs))
    order = ("TFLite", "MNN", "ncnn", "ExecuTorch", "OpenVINO", "ONNX", "PyTorch")
    return sorted(
        made, key=lambda r: (order.index(r.contestant.format), "int8" in r.contestant.precision, not r.contestant.ours)
    )


def write(
    found: Sequence[Row], walls: Sequence[Json], folder: Path, variant: str, missing: Mapping[str, str]
) -> list[Path]:
    """Write a variant's CSV, its plots, and its table into README.md between its marks; the files written.

    Args:
        found: of `rows`.
        walls: of `measure.interleaved`.
        folder: where they go.
        variant: of the network.
        missing: peers that are not in it -> why.
    """
    texts = {folder / f"{variant}.csv": _csv(found)}
    for cpu in _measured(found)[1]:
        bars = [
            (_label(row), row.costs[cpu]["instructions"] / 1e6, row.contestant.ours)
            for row in found
            if cpu in row.costs
        ]
        plot = bar_plot(bars, f"million instructions on {cpu}", 720)
        texts[folder / f"{variant}-instructions-{cpu}.svg"] = standalone(plot)
    for count in (wall["threads"] for wall in walls):
        drawn = [(_label(row), row.ratios[count], row.contestant.ours) for row in found if count in row.ratios]
        plot = ratio_plot(drawn, f"time beside the fastest peer's, {count} thread(s)")
        texts[folder / f"{variant}-latency-{count}t.svg"] = standalone(plot)
    readme, begin, end = folder / "README.md", _BEGIN.format(variant), _END.format(variant)
    if readme.exists():
        before, _, rest = readme.read_text(encoding="utf-8").partition(begin)
        _, _, after = rest.partition(end)
        if not rest:
            raise SystemExit(f"{readme} has no line {begin!r}; put it back")
        plots = ", ".join(f"[{path.stem}]({path.name})" for path in texts if path.suffix == ".svg")
        table = markdown(found, walls, missing)
        texts[readme] = f"{before}{begin}\n{table}\nPlots: {plots}.\n{end}{after}"
    for path, text in texts.items():
        atomic_write(path, text)
    return list(texts)


def _measured(found: Sequence[Row]) -> tuple[list[int], list[str]]:
    """The counts of threads that times were taken with, and the CPUs whose instructions were counted."""
    threads = {count for row in found for count in row.medians_ms}
    return sorted(threads), [cpu for cpu in _CPU_NAMES if any(cpu in row.costs for row in found)]


def _label(row: Row) -> str:
    if row.contestant.ours:
        return row.contestant.file.name
    return f"{row.contestant.name} {row.contestant.precision}"


def _csv(found: Sequence[Row]) -> str:
    threads, cpus = _measured(found)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    head = ["maker", "file", "format", "precision", "size_bytes", "runtime", "delegated_share", "partitions"]
    head += ["snr_db", "top1_agreement", "fault"]
    for count in threads:
        head += [f"median_ms_{count}t", f"ratio_{count}t", f"ratio_low_{count}t", f"ratio_high_{count}t"]
        head += [f"against_{count}t"]
    head += [f"{column}_{cpu}" for cpu in cpus for column in _COSTS.values()]
    head += ["newest_litert", *(f"{column}_{cpu}_newest_litert" for cpu in cpus for column in _COSTS.values())]
    table.writerow(head)
    for row in found:
        each, said = row.contestant, row.agreement
        cells: list[object] = [each.name, each.file.name, each.format, each.precision, each.size_bytes]
        cells += [
            said[key] for key in ("runtime", "delegated_share", "partitions", "snr_db", "top1_agreement", "fault")
        ]
        for count in threads:
            ratio = row.ratios.get(count, {})
            cells.append(_rounded(row.medians_ms.get(count)))
            cells += [_rounded(ratio.get(part)) for part in ("median", "low", "high")]
            cells.append(row.against.get(count))
        cells += [*_numbers(row.costs, cpus), _newest([row]), *_numbers(row.newest_costs, cpus)]
        table.writerow(cells)
    return text.getvalue()


def _numbers(found: Mapping[str, Json], cpus: Sequence[str]) -> list[str]:
    """The cells of `_COSTS`, CPU by CPU."""
    return [_rounded(found.get(cpu, {}).get(key), 0) for cpu in cpus for key in _COSTS]


def _rounded(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def markdown(found: Sequence[Row], walls: Sequence[Json], missing: Mapping[str, str]) -> str:
    """The table, what its times are worth, who is left out and why, and the counts with the newest LiteRT."""
    threads, cpus = _measured(found)
    head = ["Format", "Artifact", "MB", "SNR (dB)"]
    head += [f"Time, {count} thread" + ("s" if count > 1 else "") for count in threads]
    costs_head = [f"{_CPU_NAMES[cpu]} (M instr. / M cycles)" for cpu in cpus]
    lines = _head(head + costs_head)
    for row in found:
        each = row.contestant
        snr = row.agreement["snr_db"]
        cells = [each.format, _marked(row), f"{each.size_bytes / 1e6:.1f}", "–" if snr is None else f"{snr:.1f}"]
        for count in threads:
            ratio = row.ratios.get(count)
            cells.append(f"{ratio['median']:.2f} ({ratio['low']:.2f}–{ratio['high']:.2f})" if ratio else "–")
        lines.append(_line(cells + _costs(row.costs, cpus)))
    notes = [
        "SNR: of the logits, against PyTorch. "
        + (
            "Time: 1 is the fastest peer of the same arithmetic (floating point or int8) for the same devices (TFLite, "
            "MNN, ncnn and ExecuTorch; OpenVINO and ONNX); the median of the rounds' ratios, and the range of nine "
            "rounds in ten. "
            if walls
            else "Times were not measured: they wait for a run on a quiet machine. "
        )
        + "Cycles are those of a model of the core, for ranking only."
    ]
    faults = [f"{_label(row)}: {fault}" for row in found if (fault := row.agreement["fault"])]
    if faults:
        notes.append(f"Not the network's answers, and therefore neither timed nor counted: {'; '.join(faults)}.")
    if missing:
        notes.append(f"Left out: {'; '.join(f'{peer}: {why}' for peer, why in sorted(missing.items()))}.")
    for wall in walls:
        busy = wall["other_cores"] > MAX_OTHER_CORES
        notes.append(
            f"{wall['threads']} thread(s): {wall['rounds']} rounds; other programs used {wall['other_cores']:.2f} cores"
            + (": **the times wait for a run on a quiet machine**." if busy else ".")
        )
    if newest := _newest(found):
        counted = [_line([_marked(row), *_costs(row.newest_costs, cpus)]) for row in found if row.newest_costs]
        notes.append("\n".join(_head([f"With LiteRT {newest}", *costs_head]) + counted))
    return "\n".join([*lines, "", *(f"{note}\n" for note in notes)])


def _newest(found: Sequence[Row]) -> str | None:
    """The version of LiteRT that `newest_costs` are of; None where nothing was counted with it."""
    return next((cost["litert"] for row in found for cost in row.newest_costs.values()), None)


def _head(cells: Sequence[str]) -> list[str]:
    return [_line(cells), "|" + "---|" * len(cells)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _marked(row: Row) -> str:
    return f"**{_label(row)}**" if row.contestant.ours else _label(row)


def _costs(found: Mapping[str, Json], cpus: Sequence[str]) -> list[str]:
    costs = (found.get(cpu) for cpu in cpus)
    return [f"{cost['instructions'] / 1e6:.1f} / {cost['model_cycles'] / 1e6:.1f}" if cost else "–" for cost in costs]


def bar_plot(bars: Sequence[tuple[str, float, bool]], unit: str, width: int) -> Markup:
    """One bar a row from zero: (label, value, whether it is ours); those of over thrice the median end at the edge."""
    layout = Rows([(label, f"{value:.1f}") for label, value, _ in bars], width, top=10)
    values = [value for _, value, _ in bars]
    scale = Scale(0.0, 1.05 * min(max(values), 3 * statistics.median(values)), *layout.ends)
    drawn = layout.axis(scale, unit)
    for place, (_, value, ours) in enumerate(bars):
        y = layout.middle(place)
        drawn += layout.texts(place, strong=ours)
        size = {"x": scale(0), "y": y - 7, "width": scale(value) - scale(0), "height": 14}
        drawn.append(element("rect", class_="bar" if ours else "peer", **size))
    said = "; ".join(f"{label}: {value:.1f}" for label, value, _ in bars)
    return layout.root(unit[0].upper() + unit[1:], said, drawn)


def ratio_plot(found: Sequence[tuple[str, dict[str, float], bool]], unit: str, width: int = 720) -> Markup:
    """One dot a row with its range, and a line at 1: (label, ratio, whether it is ours)."""
    layout = Rows([(label, f"{ratio['median']:.2f}") for label, ratio, _ in found], width, top=10)
    # PyTorch has no peer but itself and is at 1; one slow contestant must not squeeze the others.
    high = min(max(ratio["high"] for _, ratio, _ in found), 3.0)
    low = min(ratio["low"] for _, ratio, _ in found)
    scale = Scale(min(0.8, 0.95 * low), max(1.2, 1.05 * high), *layout.ends)
    drawn = [*layout.axis(scale, unit), *layout.verticals(scale(1.0), "zero")]
    for place, (_, ratio, ours) in enumerate(found):
        y = layout.middle(place)
        drawn += layout.texts(place, strong=ours)
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
