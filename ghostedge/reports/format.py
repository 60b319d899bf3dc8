"""Say numbers, models and classes the same way in every form of a report."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ghostedge.accuracy.logits import LogitDifference
    from ghostedge.accuracy.parity import Flip, ParityResult
    from ghostedge.accuracy.statistics import PairedDrop, Proportion
    from ghostedge.evaluation.ledger import LedgerMetadata
    from ghostedge.model import InputSpec

# -- Numbers ------------------------------------------------------------------------------------------------


class Stacked(str):
    """``"73.96% (73.57 to 74.34)"``: one line of text, of which a page sets the brackets' parts in lines below."""

    value: str
    below: tuple[str, ...]

    def __new__(cls, value: str, *below: str) -> Stacked:
        """Put `below` into brackets behind `value`."""
        made = super().__new__(cls, f"{value} ({'; '.join(below)})" if below else value)
        made.value, made.below = value, below
        return made


def signed(value: float, decimals: int = 2) -> str:
    """A number with a true minus sign and without a negative zero."""
    text = f"{value:.{decimals}f}"
    return "−" + text[1:] if text.startswith("-") and float(text) != 0 else text.removeprefix("-")


def sentence(text: str) -> str:
    """`text` with a full stop, and a capital letter where it does not begin with a file's name."""
    is_name = re.match(r"\S*\w[._/]\w", text)
    return f"{text}." if is_name else f"{text[:1].upper()}{text[1:]}."


def plural(count: int, one: str, many: str = "") -> str:
    """``"1 image"``, ``"2,000 images"``; `many` where the plural is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def points_text(value: float) -> str:
    """A margin: ``"0.5 points"``, ``"1 point"``."""
    return f"{value:g} {'point' if value == 1 else 'points'}"


def share_text(share: Proportion) -> Stacked:
    """``"73.96% (73.57 to 74.34)"``, with the 95% interval."""
    return Stacked(f"{share.percent:.2f}%", f"{share.low_percent:.2f} to {share.high_percent:.2f}")


def drop_text(drop: PairedDrop) -> Stacked:
    """``"0.12 (−0.03 to 0.27)"``, points with the 90% interval."""
    return Stacked(signed(drop.drop_points), f"{signed(drop.lower_points)} to {signed(drop.upper_points)}")


def p_text(p: float) -> str:
    """A p value with two significant digits, ``"<0.0001"`` below that."""
    return "<0.0001" if p < 1e-4 else f"{p:.2g}"


def snr_text(snr_db: float | None) -> str:
    """``"64.2 dB"``, or ``"identical"``."""
    return "identical" if snr_db is None else f"{snr_db:.1f} dB"


def kl_text(difference: LogitDifference) -> str:
    """The divergence, with ≥ where it is a lower bound."""
    return f"{'≥ ' if difference.kl_is_lower_bound else ''}{difference.kl_nats:.2g} nats"


def severity_text(flip: Flip) -> str:
    """How far logits moved, with ≥ where it is a lower bound."""
    return f"{'≥ ' if flip.severity_is_lower_bound else ''}{flip.severity:.2f}"


# -- Models -------------------------------------------------------------------------------------------------


def named(name: str, arithmetic: str) -> str:
    """A model's name, with the arithmetic it was computed in where that is not float32: ``"m.tflite in float16"``."""
    return f"{name} in {arithmetic}" if arithmetic else name


def arithmetic_of(runtime: Mapping[str, Any]) -> str:
    """``"float16"`` or ``"bfloat16"`` where floating-point operators were computed so, else ``""``.

    That is another result at another speed than in float32.

    Args:
        runtime: of a ledger or a latency record.
    """
    return {"f16": "float16", "bf16": "bfloat16"}.get(str(runtime.get("inference_precision")), "")


def computed_in(metadata: LedgerMetadata) -> str:
    """In which arithmetic a ledger's numbers were computed: ``"float32"``, ``"not recorded"``.

    MindSpore records it; older ledgers of MindSpore do not. The other runtimes say so where it is not what the model
    file says.
    """
    if metadata.arithmetic is not None:
        return str(metadata.arithmetic)
    precision = metadata.runtime.get("inference_precision")
    if precision is not None:
        return arithmetic_of(metadata.runtime) or {"f32": "float32"}.get(str(precision), str(precision))
    return "not recorded" if metadata.runtime.get("name") == "mindspore" else "as the model file says"


def backend_of(record: Mapping[str, Any]) -> str:
    """What a latency record's runtime was told to use, where that is not the usual: ``"no XNNPACK"``, ``"WebGPU"``."""
    if record["settings"]["xnnpack"] is False:
        return "no XNNPACK"
    return {"gpu": "GPU", "webgpu": "WebGPU", "webnn": "WebNN"}.get(str(record["runtime"].get("accelerator")), "")


#: A model file's sha256, and `arithmetic_of` its runtime.
ModelKey = tuple[str, str]


def model_key(model: Mapping[str, Any], runtime: Mapping[str, Any]) -> ModelKey:
    """What an accuracy and a latency must share to stand side by side.

    Args:
        model: a ledger's ``model`` or a latency record's ``artifact``.
        runtime: its ``runtime``.
    """
    return str(model.get("sha256")), arithmetic_of(runtime)


def answers_text(verification: Mapping[str, Any] | None) -> str:
    """Whether a latency record's answers were right: ``"right, 64.2 dB"``, ``"WRONG, 3.1 dB"``, ``"not checked"``."""
    if verification is None:
        return "not checked"
    snr = snr_text(verification["snr_db"]) if verification["finite"] else "not finite"
    return f"{'right' if verification['correct'] else 'WRONG'}, {snr}"


def answers_wrong(record: Mapping[str, Any]) -> bool:
    """Whether a latency record says that the model's answers were wrong there; False where they were not checked."""
    return bool(record["verification"]) and not record["verification"]["correct"]


def class_name(index: int, names: Sequence[str]) -> str:
    """The first of a class's names, or its number where names are unknown."""
    if index < 0:
        return "unknown"
    return names[index].partition(",")[0] if index < len(names) else f"class {index}"


# -- Ledgers ------------------------------------------------------------------------------------------------


def values_text(spec: InputSpec) -> str:
    """What an input's numbers are: ``"raw"``, or ``"normalised, mean 0.5 0.5 0.5, std 0.2 0.2 0.2"``."""
    if spec.range == "raw":
        return "raw"
    mean, std = (" ".join(f"{value:g}" for value in values) for values in (spec.mean, spec.std))
    return f"normalised, mean {mean}, std {std}"


def spec_text(spec: InputSpec, resize_rule: str) -> str:
    """What the network sees, in one line."""
    return (
        f"shorter side {spec.resize} by {resize_rule}, centre {spec.height} x {spec.width}; "
        f"{spec.layout} {spec.dtype} {spec.colour_order} {values_text(spec)}"
    )


def provenance(metadata: LedgerMetadata) -> list[tuple[str, str, bool]]:
    """What is behind a ledger's numbers: (name, value, whether the value is code: a hash, a file)."""
    model, runtime = dict(metadata.model), dict(metadata.runtime)
    return [
        ("model", str(model.pop("file", "?")), True),
        ("model sha256", str(model.pop("sha256", "?")), True),
        *((f"model {key}", str(value), key.endswith("sha256")) for key, value in sorted(model.items())),
        ("checkpoint sha256", metadata.checkpoint_sha256 or "not recorded", metadata.checkpoint_sha256 is not None),
        ("runtime", f"{runtime.pop('name', '?')} {runtime.pop('version', '?')}", False),
        *((f"runtime {key}", str(value), False) for key, value in sorted(runtime.items())),
        ("device", metadata.device, False),
        ("arithmetic", computed_in(metadata), False),
        *_below(metadata),
        ("host", ", ".join(f"{key} {value}" for key, value in sorted(metadata.host.items())), False),
        ("input", spec_text(metadata.input, metadata.preprocessing), False),
        ("classes", f"{metadata.classes:,}", False),
        ("data set", f"{metadata.dataset.get('images', 0):,} images", False),
        ("image ids sha256", str(metadata.dataset.get("ids_sha256", "?")), True),
    ]


def _below(metadata: LedgerMetadata) -> list[tuple[str, str, bool]]:
    """The card and the software below MindSpore, where they are recorded."""
    found = metadata.arithmetic
    if found is None:
        return []
    cards = ", ".join(map(str, found.device_ids))
    named = [("card", f"{found.card or 'unknown'}, number {cards}")] if found.device_ids else []
    return [(name, text, False) for name, text in (*named, *sorted(found.versions.items()))]


def flips_text(result: ParityResult) -> str:
    """``"51 flips: 30 losses, 12 gains, 9 wrong either way"``."""
    counts = result.flip_counts
    losses, gains = plural(counts["loss"], "loss", "losses"), plural(counts["gain"], "gain")
    return f"{plural(sum(counts.values()), 'flip')}: {losses}, {gains}, {counts['other']:,} wrong either way"
