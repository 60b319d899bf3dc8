"""Write the explanation of a quantised model as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ghostedge.explain.explain import Explanation, LayerError
from ghostedge.files import atomic_write
from ghostedge.reports.explanation_plots import LayerRow, sqnr_plot
from ghostedge.reports.page import Markup, element, figure, join, page, table
from ghostedge.reports.plots import responsive, signed
from ghostedge.reports.write import check_report_path

__all__ = ["CAUSES", "decibels", "explanation_html", "write_explanation"]

#: What the name of a cause means.
CAUSES = {
    "range": "values lie beyond the output's range and are cut off",
    "weights": "the quantised weights themselves",
    "offset": "whole channels are shifted, as by a wrong bias",
    "rounding": "the output's steps: its range is wide for the signal, or eight bits are few",
    "input": "activations are float, and the layer quantises its input as it runs",
    "arithmetic": "more than rounding, and neither range, weights nor offset",
    "none": "no error of its own",
}

#: Layers in the plot; the table has all of them.
_PLOTTED = 25

_STAGES = {
    "float conversion": "float .tflite against MindSpore, from the manifest",
    "weight quantisation": "float .tflite with the dequantised weights against the float .tflite",
    "activation quantisation": "quantised against the float .tflite with the dequantised weights",
    "both": "quantised against the float .tflite",
}


def write_explanation(explanation: Explanation, path: Path) -> Path:
    """Write the page, whole or not at all.

    Raises:
        UsageError: `path` does not end in ``.html``.
        OutputError: it cannot be written.
    """
    atomic_write(check_report_path(path), explanation_html(explanation))
    return path


def explanation_html(explanation: Explanation) -> str:
    """The whole page."""
    layers = explanation.layers
    images = "1 image" if explanation.images == 1 else f"{explanation.images} images"
    worst = layers[0]
    lead = (
        f"{explanation.quantised.name} beside {explanation.against.name} on {images}: logits at {explanation.whole}. "
        f"The layer that adds most for its signal is {worst.place} ({worst.kind}), {decibels(worst.own_sqnr_db)} of "
        f"its own: {CAUSES[worst.cause]}."
    )
    top = join(
        [
            element("p", "ghostedge quantisation report", class_="eyebrow"),
            element("h1", "What quantisation cost, layer by layer"),
            element("p", lead, class_="lead"),
        ]
    )
    return page("Quantisation report", join([top, _stages(explanation), _worst(layers), _kinds(layers), _all(layers)]))


def decibels(value: float | None) -> str:
    """A signal-to-noise ratio; None is no noise at all."""
    return "exact" if value is None else f"{signed(value, 1)} dB"


def _stages(explanation: Explanation) -> Markup:
    rows = [
        (name, _STAGES[name], decibels(None if stage.snr_db == float("inf") else stage.snr_db), f"{stage.max_abs:.2g}",
         f"{stage.top1_agreement:.1%}")
        for name, stage in explanation.stages()
    ]  # fmt: skip
    header = ("Stage", "Compared", "SNR of logits", "Max abs", "Top-1 agreement")
    notes = [f"Weights of {explanation.weight_operators} operators were put back into the float model."]
    if explanation.unmatched:
        notes.append(
            f"{len(explanation.unmatched)} activations of the float model have no partner of their name; their error "
            "is part of the next layer's."
        )
    return element(
        "section",
        element("h2", "By stage"),
        table(header, rows, caption="The error of the logits", numeric=(2, 3, 4)),
        element("p", " ".join(notes), class_="soft"),
    )


def _worst(layers: Sequence[LayerError]) -> Markup:
    shown = [layer for layer in layers if layer.own_sqnr_db is not None][:_PLOTTED]
    rows = [
        LayerRow(f"{layer.place} · {layer.kind}", layer.own_sqnr_db or 0.0, layer.sqnr_db, layer.cause)
        for layer in shown
    ]
    legend = (
        "Filled dot: the layer's own SQNR. It is run in float on the quantised model's inputs, so that noise from "
        "earlier layers cancels. Hollow dot: accumulated SQNR, with all noise up to here. Left is worse."
    )
    drawing = (
        [figure(responsive(partial(sqnr_plot, rows)), legend)] if rows else [element("p", "No layer has an error.")]
    )
    return element("section", element("h2", "Worst layers"), *drawing)


def _kinds(layers: Sequence[LayerError]) -> Markup:
    """Each kind of layer by the median of its own SQNR, worst first."""
    groups: dict[str, list[float]] = {}
    for layer in layers:
        if layer.own_sqnr_db is not None:
            groups.setdefault(layer.kind, []).append(layer.own_sqnr_db)
    rows = [
        (kind, str(len(values)), decibels(sorted(values)[len(values) // 2]), decibels(min(values)))
        for kind, values in sorted(groups.items(), key=lambda item: sorted(item[1])[len(item[1]) // 2])
    ]
    return element(
        "section",
        element("h2", "By kind of layer"),
        table(("Kind", "Layers", "Median own SQNR", "Worst"), rows, caption="Worst first", numeric=(1, 2, 3)),
    )


def _all(layers: Sequence[LayerError]) -> Markup:
    header = ("Layer", "Kind", "Own SQNR", "Accumulated", "Drop (dB)", "MSE", "Cosine", "Cause", "Step", "Zero point",
              "Saturated", "At the ends")  # fmt: skip
    rows = [
        (
            layer.place,
            layer.kind,
            decibels(layer.own_sqnr_db),
            decibels(layer.sqnr_db),
            "–" if layer.drop_db is None else signed(layer.drop_db, 1),
            f"{layer.mse:.2g}",
            f"{layer.cosine:.5f}",
            layer.cause,
            layer.dtype if layer.scale is None else f"{layer.scale:.4g}",
            "–" if layer.zero_point is None else signed(layer.zero_point, 0),
            f"{layer.saturated:.2%}",
            f"{layer.ends:.1%}",
        )
        for layer in layers
    ]
    meanings = [part for cause, text in CAUSES.items() for part in (element("dt", cause), element("dd", f"{text}."))]
    return element(
        "section",
        element("h2", "Every layer"),
        element("p", "Causes, each the one that makes most of a layer's own error:"),
        element("dl", *meanings),
        table(header, rows, caption="Worst own SQNR first", numeric=(2, 3, 4, 5, 6, 8, 9, 10, 11)),
    )
