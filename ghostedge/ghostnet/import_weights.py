"""Turn GhostNetV2 weights of timm and of the paper's PyTorch code into a MindSpore checkpoint."""

from __future__ import annotations

import argparse
import hashlib
import io
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ghostedge.errors import CheckpointError, UsageError, first_line
from ghostedge.ghostnet.checkpoint import checked_weights, parse_safetensors, read_bytes, recognise, save_checkpoint
from ghostedge.ghostnet.ckpt_format import parse_ckpt
from ghostedge.ghostnet.variants import VARIANTS, Variant, get_variant, parameter_shapes
from ghostedge.lazy import require

# timm and the paper's PyTorch code (huawei-noah/Efficient-AI-Backbones, ghostnetv2_pytorch) agree in every name. They
# number a block by its stage and its place there, and put convolutions and BatchNorms alternately in one sequence.
_STAGE_SIZES = (1, 1, 1, 1, 1, 1, 5, 1, 4, 1)
_PLACES = tuple(f"{stage}.{place}" for stage, size in enumerate(_STAGE_SIZES) for place in range(size))

_BATCH_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}

#: Where training scripts put the network's weights in their file, best first: the running average is what timm and the
#: paper evaluate.
_NESTED = ("state_dict_ema", "model_ema", "state_dict", "model")


def _pytorch_name(name: str) -> str:
    """The PyTorch name of an official parameter."""
    owner, _, leaf = name.rpartition(".")
    owner = re.sub(r"^blocks\.(\d+)", lambda match: f"blocks.{_PLACES[int(match[1])]}", owner)
    owner = re.sub(r"\.dw\.(conv|bn)$", r".\1_dw", owner)
    owner = re.sub(r"(primary_conv|cheap_operation)\.conv$", r"\1.0", owner)
    owner = re.sub(r"(primary_conv|cheap_operation)\.bn$", r"\1.1", owner)
    owner = re.sub(r"(short_conv|shortcut)\.(\d)\.conv$", lambda match: f"{match[1]}.{2 * int(match[2])}", owner)
    owner = re.sub(r"(short_conv|shortcut)\.(\d)\.bn$", lambda match: f"{match[1]}.{2 * int(match[2]) + 1}", owner)
    owner = re.sub(r"^blocks\.9\.0\.bn$", "blocks.9.0.bn1", owner)
    return f"{owner}.{_BATCH_NORM.get(leaf, leaf)}"


#: Official name -> PyTorch name, of every parameter that any variant has (`1x` has them all, with other sizes).
PYTORCH_NAMES: dict[str, str] = {name: _pytorch_name(name) for name in parameter_shapes(VARIANTS["1x"], 1)}


@dataclass(frozen=True)
class Imported:
    """What was made of a file of PyTorch weights.

    Attributes:
        path: the checkpoint.
        variant: the network, with the upsampling of its gates.
        num_classes: how many classes the classifier has.
        entry: where in the source's nesting the weights were; empty where they lay on top.
        ignored: entries that are not weights: counters of BatchNorm, operation counts of profilers.
    """

    path: Path
    variant: Variant
    num_classes: int
    entry: str
    ignored: tuple[str, ...]


def import_weights(source: Path | str, output: Path | str, gate_upsampling: str | None = None) -> Imported:
    """Write the weights in `source` as a MindSpore checkpoint that records variant and gate upsampling.

    >>> import ghostedge
    >>> made = ghostedge.import_weights("trained.ckpt", "mine.ckpt", "bilinear_align_corners")
    >>> made.path.name, made.variant.name, made.num_classes
    ('mine.ckpt', '1x', 1000)

    Args:
        source: timm ``.safetensors``, or what `torch.save` wrote (``.pth``, ``.pt``, ``.pth.tar``, ``.bin``): weights
            by name or a training checkpoint that holds them. Code in it is never run: pickles go through PyTorch's
            weights-only reader. A ``module.`` before every name (DataParallel) is dropped. Or a MindSpore ``.ckpt``
            whose gates were trained with another upsampling than it records.
        output: the ``.ckpt`` to write, whole or not at all.
        gate_upsampling: how the network was trained; None is ``"nearest"``, as timm and the paper's code do. For a
            ``.ckpt`` it must be said: the same code gives either, by the version of MindSpore
            (`ops.interpolate` was bilinear by default until 1.9, and is nearest in 2.x).

    Raises:
        CheckpointError: the source is missing, damaged, holds more than weights, or is another network.
        MissingExtraError: safetensors or torch is not installed.
        OutputError: the output cannot be written.
        UsageError: there is no such upsampling, a ``.ckpt`` without one, or `output` is `source` or not a ``.ckpt``.
    """
    source, output = Path(source), Path(output)
    if output.suffix != ".ckpt":
        raise UsageError(f"MindSpore knows checkpoints by their suffix: call the output {output.name}.ckpt")
    if output.exists() and source.exists() and output.samefile(source):
        raise UsageError(f"{output} is the source itself; give another --output")
    from_mindspore = source.suffix == ".ckpt"
    if gate_upsampling is None:
        if from_mindspore:
            raise UsageError(
                f"{source} is a MindSpore checkpoint already; to record how its gates upsample, give --gate-upsampling"
            )
        gate_upsampling = "nearest"
    get_variant("1x", gate_upsampling)
    data = read_bytes(source)
    entry, tensors = ("", parse_ckpt(data, str(source)).tensors) if from_mindspore else _read(data, source)
    display = None if from_mindspore else PYTORCH_NAMES
    official = {pytorch: name for name, pytorch in PYTORCH_NAMES.items()}
    arrays = {official.get(name, name): array for name, array in tensors.items()}
    found = recognise({name: array.shape for name, array in arrays.items()}, str(source), display)
    variant = get_variant(found.variant.name, gate_upsampling)
    names = parameter_shapes(found.variant, found.num_classes)
    weights = checked_weights(arrays, names, str(source), display)
    save_checkpoint(output, weights, variant, file=source.name, sha256=hashlib.sha256(data).hexdigest(), entry=entry)
    return Imported(output, variant, found.num_classes, entry, found.ignored)


def _read(data: bytes, source: Path) -> tuple[str, dict[str, NDArray[Any]]]:
    """Where the weights were nested, and PyTorch name -> array."""
    if data[8:9] == b"{":  # safetensors: the length of a JSON header in 8 bytes, then the header
        return "", _without_module(parse_safetensors(data, str(source)).tensors)
    entry, state = _state_dict(_load_pickle(data, source), source)
    return entry, _without_module({name: _array(name, tensor, source) for name, tensor in state.items()})


def _load_pickle(data: bytes, source: Path) -> Any:
    torch = require("torch", "torch")
    try:
        # Training scripts save their command line, an argparse.Namespace: plain data, and it calls nothing.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings(action="ignore"):
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as exc:  # torch raises UnpicklingError, RuntimeError, EOFError, KeyError, ...
        if match := re.search(r"(?:GLOBAL|function|class) ([\w.]+)", str(exc)):
            raise CheckpointError(
                f"{source} is refused: besides weights it holds '{match[1]}', which could run code; "
                "save the weights alone, with torch.save(model.state_dict(), ...) or as safetensors"
            ) from exc
        reason = first_line(exc.__context__ or exc)  # torch wraps the reason in two paragraphs of advice
        raise CheckpointError(
            f"{source} is neither a PyTorch file nor safetensors, or not a whole one ({reason}); download it again"
        ) from exc


def _state_dict(loaded: Any, source: Path) -> tuple[str, Mapping[str, Any]]:
    """The entry that holds the weights, and the weights."""
    for entry in _NESTED if isinstance(loaded, Mapping) else ():
        if isinstance(loaded.get(entry), Mapping):
            return entry, loaded[entry]
    if not isinstance(loaded, Mapping) or not loaded:
        raise CheckpointError(f"{source} holds a {type(loaded).__name__}, not weights by name")
    return "", loaded


def _array(name: Any, tensor: Any, source: Path) -> NDArray[Any]:
    torch = require("torch", "torch")
    if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
        raise CheckpointError(
            f"{source}: entry {name!r} is a {type(tensor).__name__}, not a tensor; "
            f"the weights must lie on top or under {', '.join(_NESTED)}"
        )
    try:
        plain = tensor.detach()
        array: NDArray[Any] = (plain.float() if plain.is_floating_point() else plain).numpy()
    except (RuntimeError, TypeError) as exc:  # quantised, sparse or without storage
        raise CheckpointError(f"{source}: '{name}' is not a plain tensor ({exc})") from exc
    return array


def _without_module(state: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Drop the ``module.`` that DataParallel puts before every name."""
    if all(name.startswith("module.") for name in state):
        return {name.removeprefix("module."): array for name, array in state.items()}
    return state
