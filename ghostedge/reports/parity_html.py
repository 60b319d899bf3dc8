"""Write a parity report as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ghostedge.accuracy.attribution import STEPS, Attribution
from ghostedge.accuracy.parity import ParityResult
from ghostedge.accuracy.reliability import Calibration
from ghostedge.reports.artifact_table import Beside, artifacts_section, latency_sections
from ghostedge.reports.format import (
    class_name,
    drop_text,
    flips_text,
    kl_text,
    p_text,
    provenance,
    severity_text,
    share_text,
    snr_text,
)
from ghostedge.reports.page import Markup, breakable, element, figure, join, page, table
from ghostedge.reports.parity import Comparison, LedgerSource, ParityReport, explain, headline
from ghostedge.reports.plots import (
    IntervalRow,
    WaterfallStep,
    interval_plot,
    rate_plot,
    reliability_plot,
    responsive,
    signed,
    waterfall_plot,
)

__all__ = ["MOST_FLIPS", "parity_html"]

#: Flips that the page lists for each artifact; the JSON has more.
MOST_FLIPS = 20

_MOST_CLASSES = 12

#: A bin of fewer images says nothing about calibration.
_FEWEST_IN_BIN = 10

_VERDICTS = ("PASS", "INCONCLUSIVE", "FAIL")

_KINDS = {"loss": "loss", "gain": "gain", "other": "both wrong"}

_BASES = {"top5_float32": "best five classes", "all_float16": "all classes (float16)"}


def parity_html(
    report: ParityReport,
    class_names: Sequence[str],
    thumbnails: Mapping[str, str],
    beside: Beside | None = None,
) -> str:
    """The whole page.

    Args:
        report: what to show.
        class_names: in the order of the logits; empty where unknown.
        thumbnails: image id -> ``data:`` address of a small picture.
        beside: size, difference at export and latency of the artifacts, to be shown too; None for none.
    """
    sections = [_top(report, beside)]
    if beside is not None:
        sections.append(artifacts_section(report, beside))
    if report.attribution is not None:
        sections.append(_attribution(report.attribution, report.reference.name))
    sections += [
        _artifact(comparison, report.reference.name, place, class_names, thumbnails)
        for place, comparison in enumerate(report.comparisons)
    ]
    if beside is not None:
        sections += latency_sections(beside)
    sections += [_method(report), _appendix(report)]
    return page(f"Parity: {headline(report)}", join(sections))


def _verdict(verdict: str) -> Markup:
    return element("span", verdict, class_=f"verdict {verdict.lower()}")


def _paragraphs(lines: Iterable[str], class_: str | None = None) -> Markup:
    return join(element("p", line, class_=class_) for line in lines)


def _small(main: str, below: str) -> Markup:
    return join([main, element("small", below)])


# -- The answer ---------------------------------------------------------------------------------------------


def _top(report: ParityReport, beside: Beside | None) -> Markup:
    first = report.comparisons[0].result
    runtime = report.reference.metadata.runtime
    found = [comparison.result.verdict for comparison in report.comparisons]
    counts = ", ".join(f"{found.count(verdict)} {verdict}" for verdict in _VERDICTS if verdict in found)
    lead = (
        f"Top-1 accuracy may drop by at most {report.max_drop_points:g} points against {report.reference.name} "
        f"({runtime.get('name', '?')} {runtime.get('version', '?')} on {report.reference.metadata.device}), "
        f"compared image by image on {first.labelled:,} labelled images: {counts}."
    )
    rows = [
        IntervalRow(
            comparison.source.name,
            comparison.result.drop.drop_points,
            comparison.result.drop.lower_points,
            comparison.result.drop.upper_points,
            comparison.result.verdict,
        )
        for comparison in report.comparisons
    ]
    links = [(f"artifact-{i}", comparison.source.name) for i, comparison in enumerate(report.comparisons)]
    if report.attribution is not None:
        links.insert(0, ("attribution", "Where the drop comes from"))
    if beside is not None:
        links.insert(0, ("artifacts", "Every artifact"))
    if beside is not None and beside.latencies:
        links.append(("latency", "Latency"))
    links += [("method", "How to read this"), ("provenance", "Provenance")]
    return join(
        [
            element("p", "Parity report", class_="eyebrow"),
            element("h1", headline(report)),
            element("p", lead, class_="lead"),
            figure(
                responsive(lambda width: interval_plot(rows, report.max_drop_points, width)),
                "Each dot is the observed drop, each line its 90% interval: with 95% confidence the true drop is below "
                "the right end, and with 95% confidence above the left end. Left of zero is better than the reference.",
            ),
            _summary(report),
            element(
                "nav",
                element("ul", *(element("li", element("a", text, href=f"#{anchor}")) for anchor, text in links)),
                aria_label="Sections",
            ),
        ]
    )


def _summary(report: ParityReport) -> Markup:
    reference = report.comparisons[0].result.reference
    interval = f"{reference.top1.low_percent:.2f} to {reference.top1.high_percent:.2f}"
    rows: list[Sequence[str]] = [
        (
            report.reference.name,
            element("span", "reference", class_="soft"),
            _small(f"{reference.top1.percent:.2f}%", interval),
            f"{reference.top5.percent:.2f}%",
            *[""] * 4,
        )
    ]
    if report.published is not None:
        quoted = report.published
        rows.append(
            (
                quoted.model,
                element("span", "published", class_="soft"),
                _small(f"{quoted.top1_percent:.1f}%", "as published"),
                *[""] * 5,
            )
        )
    for comparison in report.comparisons:
        result = comparison.result
        top1, drop = result.candidate.top1, result.drop
        rows.append(
            (
                comparison.source.name,
                _verdict(result.verdict),
                _small(f"{top1.percent:.2f}%", f"{top1.low_percent:.2f} to {top1.high_percent:.2f}"),
                f"{result.candidate.top5.percent:.2f}%",
                _small(signed(drop.drop_points), f"{signed(drop.lower_points)} to {signed(drop.upper_points)}"),
                p_text(drop.p_value),
                f"{result.agreement.percent:.2f}%",
                snr_text(result.logits[0].snr_db) if result.logits else "",
            )
        )
    drawn = table(
        ("Model", "Verdict", "Top-1", "Top-5", "Drop, points", "McNemar p", "Agreement", "Logit SNR"),
        rows,
        caption="All models: accuracy with 95% interval, drop with 90% interval",
        numeric=range(2, 8),
    )
    if report.published is None:
        return drawn
    note = f"Published: {report.published.source}; {report.published.note}. It is quoted, not compared."
    return join([drawn, element("p", note, class_="soft")])


# -- Attribution --------------------------------------------------------------------------------------------


def _attribution(attribution: Attribution, reference: str) -> Markup:
    steps = [
        WaterfallStep(
            STEPS[step.step],
            before=before,
            after=step.top1_percent,
            low_drop=step.drop.lower_points,
            high_drop=step.drop.upper_points,
        )
        for before, step in zip(
            [attribution.reference_top1_percent, *(step.top1_percent for step in attribution.steps)],
            attribution.steps,
            strict=False,
        )
    ]
    charged = "No step has a drop that is distinguishable from chance."
    if attribution.charged is not None:
        step = next(step for step in attribution.steps if step.step == attribution.charged)
        charged = (
            f"{STEPS[step.step]} costs {step.drop.drop_points:.2f} points, the most of all steps "
            f"(p {p_text(step.p_adjusted)} after correction for {len(steps)} steps)."
        )
    rows = [
        (
            STEPS[step.step],
            step.model,
            f"{step.top1_percent:.2f}%",
            drop_text(step.drop),
            p_text(step.p_adjusted),
            snr_text(step.snr_db),
        )
        for step in attribution.steps
    ]
    last = attribution.steps[-1]
    rows.append(("All steps", last.model, f"{last.top1_percent:.2f}%", drop_text(attribution.total), "", ""))
    return element(
        "section",
        element("h2", "Where the drop comes from", id="attribution"),
        element("p", charged),
        figure(
            responsive(lambda width: waterfall_plot(reference, steps, last.model, width)),
            "Accuracy after each change, with the 90% interval of that change. A step is charged for what it does to "
            "the model as the earlier steps left it; in another order the shares could differ.",
        ),
        table(
            ("Step", "Model after it", "Top-1", "Drop, points (90%)", "p (Holm)", "Logit SNR"),
            rows,
            caption="Steps, each against the one before",
            numeric=range(2, 6),
        ),
    )


# -- One artifact -------------------------------------------------------------------------------------------


def _artifact(
    comparison: Comparison, reference: str, place: int, names: Sequence[str], thumbnails: Mapping[str, str]
) -> Markup:
    result, metadata = comparison.result, comparison.source.metadata
    facts: list[tuple[str, str]] = [
        ("Model", f"{metadata.model.get('file', '?')} ({metadata.model.get('precision', '?')})"),
        ("Runtime", f"{metadata.runtime.get('name', '?')} {metadata.runtime.get('version', '?')}, {metadata.device}"),
        ("Top-1", share_text(result.candidate.top1)),
        ("Top-5", share_text(result.candidate.top5)),
        ("Top-5 drop", f"{drop_text(result.top5_drop)} points"),
        ("Same best class", share_text(result.agreement)),
        ("Images", flips_text(result)),
    ]
    facts += [
        (
            f"Logits, {_BASES[difference.basis]}",
            f"SNR {snr_text(difference.snr_db)}, largest difference {difference.max_abs:.2g}, KL {kl_text(difference)}",
        )
        for difference in result.logits
    ]
    return element(
        "section",
        element("h2", comparison.source.name, id=f"artifact-{place}"),
        element("p", _verdict(result.verdict), " ", explain(result)),
        _paragraphs((f"{warning[:1].upper()}{warning[1:]}." for warning in result.warnings), "note"),
        element("dl", *(part for name, value in facts for part in (element("dt", name), element("dd", value)))),
        element("div", _confidence_figure(result), _calibration_figure(result, reference), class_="pair"),
        _flips(result, names, thumbnails),
        _classes(result, names),
        _failures(result),
    )


def _confidence_figure(result: ParityResult) -> Markup | None:
    bins = result.confidence_bins
    if not any(entry.flips for entry in bins):
        return None
    return figure(
        rate_plot(
            "Flips by the reference's confidence",
            [*(entry.low_percent for entry in bins), bins[-1].high_percent],
            [(entry.flips, entry.images) for entry in bins],
            "confidence of the reference, %",
        ),
        "Share of images with another best class, by how sure the reference was; the figures are their numbers. "
        "Flips at the left are close calls, flips at the right are damage.",
    )


def _calibration_figure(result: ParityResult, reference: str) -> Markup:
    before, after = result.reference.calibration, result.candidate.calibration
    return figure(
        reliability_plot(_points(before), _points(after), reference, "this artifact"),
        f"How often each model is right at each confidence. Expected calibration error: {before.error_percent:.2f}% "
        f"before, {after.error_percent:.2f}% now.",
    )


def _points(calibration: Calibration) -> list[tuple[float, float, float]]:
    images = sum(entry.images for entry in calibration.bins)
    filled = [entry for entry in calibration.bins if entry.images]
    large = [entry for entry in filled if entry.images >= _FEWEST_IN_BIN] or filled
    return [(e.images / images, e.confidence_percent or 0.0, e.accuracy_percent or 0.0) for e in large]


def _flips(result: ParityResult, names: Sequence[str], thumbnails: Mapping[str, str]) -> Markup:
    if not result.flips:
        return element("p", "No image changed its best class.", class_="soft")
    shown = result.flips[:MOST_FLIPS]
    pictures = any(flip.image_id in thumbnails for flip in shown)
    rows: list[Sequence[str]] = []
    for flip in shown:
        address = thumbnails.get(flip.image_id)
        picture = element("img", src=address, alt="") if address else Markup("")
        rows.append(
            (
                element("code", breakable(flip.image_id)),
                *([picture] if pictures else []),
                _KINDS[flip.kind],
                class_name(flip.label, names),
                f"{class_name(flip.reference_class, names)}, {flip.reference_confidence_percent:.0f}%",
                f"{class_name(flip.candidate_class, names)}, {flip.candidate_confidence_percent:.0f}%",
                severity_text(flip),
            )
        )
    total = sum(result.flip_counts.values())
    more = f"; the JSON lists {'all' if total == len(result.flips) else f'{len(result.flips):,}'}"
    header = ("Image", *(["Picture"] if pictures else []), "Kind", "Label", "Reference", "Now", "Logits moved")
    return join(
        [
            element("h3", "Flips, worst first"),
            table(
                header,
                rows,
                caption=f"{len(shown):,} of {total:,} flips{more if total > len(shown) else ''}",
                numeric=[len(header) - 1],
            ),
        ]
    )


def _classes(result: ParityResult, names: Sequence[str]) -> Markup:
    worse = [change for change in result.classes if change.losses > change.gains][:_MOST_CLASSES]
    significant = sum(change.p_adjusted < 0.05 for change in result.classes)
    text = (
        f"{significant} {'class loses' if significant == 1 else 'classes lose'} more images than chance explains."
        if significant
        else "No class loses more images than chance explains."
    )
    if not worse:
        return join([element("h3", "Classes"), element("p", text)])
    rows = [
        (
            class_name(change.index, names),
            f"{change.images:,}",
            f"{change.reference_correct:,}",
            f"{change.candidate_correct:,}",
            f"{change.losses:,}",
            f"{change.gains:,}",
            p_text(change.p_value),
            p_text(change.p_adjusted),
        )
        for change in worse
    ]
    return join(
        [
            element("h3", "Classes"),
            element("p", text),
            table(
                ("Class", "Images", "Right before", "Right now", "Losses", "Gains", "p", "p (Holm)"),
                rows,
                caption="Strongest evidence of a loss first; p (Holm) allows for testing every class",
                numeric=range(1, 8),
            ),
        ]
    )


def _failures(result: ParityResult) -> Markup | None:
    if not result.failures:
        return None
    rows = [
        (element("code", breakable(failure.image_id)), failure.reference or "answered", failure.candidate or "answered")
        for failure in result.failures[:MOST_FLIPS]
    ]
    total = max(result.reference.failures, result.candidate.failures, len(result.failures))
    return join(
        [
            element("h3", "Images without an answer"),
            table(("Image", "Reference", "Now"), rows, caption=f"{len(rows):,} of {total:,}; they count as wrong"),
        ]
    )


# -- Method and provenance ----------------------------------------------------------------------------------


def _method(report: ParityReport) -> Markup:
    terms = [
        (
            "Drop",
            "The reference's top-1 accuracy minus the artifact's on the same images: losses (only the reference is "
            "right) minus gains (only the artifact is right), over all labelled images. Positive is worse.",
        ),
        (
            "Verdict",
            f"PASS: the upper 95% bound of the drop is within {report.max_drop_points:g} points. FAIL: the lower 95% "
            "bound is beyond it. INCONCLUSIVE: neither; more images are needed.",
        ),
        (
            "Bounds",
            "Score bounds for paired proportions (Tango 1998) with Laud's skewness and variance corrections. Simulated "
            "coverage is 94 to 96% from about 10 images that exactly one of the two models gets right.",
        ),
        ("McNemar p", "Exact two-sided test that losses and gains are equally likely."),
        ("Agreement", "Share of images with the same best class, right or wrong."),
        (
            "Logit SNR",
            "Energy of the reference's logits over that of the difference. On the best five classes it uses float32 "
            "logits of the classes both models name; over all classes the ledgers keep float16, good to about 70 dB.",
        ),
        (
            "KL",
            "Mean Kullback-Leibler divergence of the artifact's class probabilities from the reference's. From the "
            "best five classes alone it is a lower bound, marked ≥.",
        ),
        ("Logits moved", "How far logits moved to turn the decision; ≥ where a class was outside the best five."),
        ("p (Holm)", "One-sided exact test of a loss, corrected for the number of classes or steps tested."),
        ("Failures", "An image that a model has no answer for counts as wrong; it never leaves the denominator."),
    ]
    return element(
        "section",
        element("h2", "How to read this", id="method"),
        element("dl", *(part for name, text in terms for part in (element("dt", name), element("dd", text)))),
    )


def _appendix(report: ParityReport) -> Markup:
    return element(
        "section",
        element("h2", "Provenance", id="provenance"),
        *(_source(source) for source in report.sources),
    )


def _source(source: LedgerSource) -> Markup:
    rows = [("ledger", source.file, True), ("ledger sha256", source.sha256, True), *provenance(source.metadata)]
    return join(
        [
            element("h3", source.name),
            element(
                "dl",
                *(
                    part
                    for name, value, code in rows
                    for part in (element("dt", name), element("dd", element("code", value) if code else value))
                ),
            ),
        ]
    )
