"""Load and save GhostNetV2 checkpoints, and recognise which network their weights belong to."""

from __future__ import annotations

import hashlib
import json
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import CheckpointError, first_line
from ghostedge.ghostnet.ckpt_format import CkptContent, parse_ckpt, write_ckpt
from ghostedge.ghostnet.variants import VARIANTS, GateUpsampling, Variant, get_variant, parameter_shapes
from ghostedge.lazy import require
from ghostedge.stored import shallow

#: The entry of a checkpoint (MindSpore's `append_dict`) that says in JSON what weights cannot.
RECORD_KEY = "ghostedge"

_RECORD_VERSION = 1

#: How PyTorch's ``.pth`` files begin: they are zip archives.
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True)
class Recognised:
    """Which GhostNetV2 a set of weights is.

    Attributes:
        variant: the variant, its gate upsampling as in `VARIANTS` (weights do not tell it).
        num_classes: how many classes the classifier has.
        ignored: entries that are not weights of the network: optimizer state, running averages, counters.
    """

    variant: Variant
    num_classes: int
    ignored: tuple[str, ...]


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one network and what is known of them.

    Attributes:
        path: the file.
        sha256: the hash of its bytes.
        variant: the network, with the upsampling of its gates.
        gate_upsampling_recorded: whether the file says the upsampling; official checkpoints do not, and are bilinear.
        num_classes: how many classes the classifier has.
        weights: official parameter name -> float32 array, finite, of the shape of `parameter_shapes`, read-only.
        ignored: entries of the file that are not weights: optimizer state, running averages, counters.
    """

    path: Path
    sha256: str
    variant: Variant
    gate_upsampling_recorded: bool
    num_classes: int
    weights: Mapping[str, NDArray[np.float32]]
    ignored: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """How many trained numbers there are; BatchNorm's moving statistics are not trained."""
        return sum(array.size for name, array in self.weights.items() if ".moving_" not in name)

    def describe(self) -> dict[str, Any]:
        """What was recognised, in JSON types, for manifests and people."""
        return {
            "network": "GhostNetV2",
            "variant": self.variant.name,
            "gate_upsampling": self.variant.gate_upsampling,
            "gate_upsampling_recorded": self.gate_upsampling_recorded,
            "classes": self.num_classes,
            "parameters": self.parameters,
            "ignored_entries": len(self.ignored),
        }


#: File and SHA-256 of its bytes -> what was parsed, for as long as somebody holds it.
_IN_USE: weakref.WeakValueDictionary[tuple[Path, str], Checkpoint] = weakref.WeakValueDictionary()


def load_checkpoint(path: Path, num_classes: int | None = None) -> Checkpoint:
    """Load a MindSpore GhostNetV2 checkpoint: ``.ckpt``, or ``.safetensors`` with the official names.

    Variant and number of classes are recognised from the weights. MindSpore is not needed. While a caller holds the
    result, further calls give the same object, so that whoever holds it through an export has it parsed once.

    Args:
        path: the file.
        num_classes: the number of classes it must have; any where None.

    Raises:
        CheckpointError: the file is missing, empty, truncated or damaged; the weights belong to another network, have
            another number of classes, or are not finite.
        MissingExtraError: the file is ``.safetensors`` and safetensors is not installed.
    """
    data = read_bytes(path)
    key = path, hashlib.sha256(data).hexdigest()
    if (checkpoint := _IN_USE.get(key)) is None:
        checkpoint = _IN_USE[key] = _parse(data, *key)
    if num_classes is not None and checkpoint.num_classes != num_classes:
        raise CheckpointError(f"{path} has {checkpoint.num_classes} classes, but {num_classes} were asked for")
    return checkpoint


def _parse(data: bytes, path: Path, sha256: str) -> Checkpoint:
    if data.startswith(_ZIP):
        raise CheckpointError(_import_first(path))
    content = (parse_safetensors if path.suffix == ".safetensors" else parse_ckpt)(data, str(path))
    if any(name.endswith(".running_mean") for name in content.tensors):
        raise CheckpointError(_import_first(path))
    found = recognise({name: array.shape for name, array in content.tensors.items()}, str(path))
    upsampling = _recorded_upsampling(content.texts, path)
    return Checkpoint(
        path=path,
        sha256=sha256,
        variant=found.variant if upsampling is None else get_variant(found.variant.name, upsampling),
        gate_upsampling_recorded=upsampling is not None,
        num_classes=found.num_classes,
        weights=checked_weights(content.tensors, parameter_shapes(found.variant, found.num_classes), str(path)),
        ignored=found.ignored,
    )


def _import_first(path: Path) -> str:
    return (
        f"{path} holds PyTorch weights, not a MindSpore checkpoint; "
        f"run: ghostedge import-weights {path} --output {path.name.partition('.')[0]}.ckpt"
    )


def parse_safetensors(data: bytes, name: str) -> CkptContent:
    """Read the bytes of a ``.safetensors`` file, called `name` in errors.

    Raises:
        CheckpointError: the file is truncated or damaged, or holds a type that NumPy does not have.
        MissingExtraError: safetensors is not installed.
    """
    safetensors = require("safetensors.numpy", "export")
    try:
        return CkptContent(safetensors.load(data), {})
    except Exception as exc:  # SafetensorError, or what NumPy cannot hold
        raise CheckpointError(
            f"{name} is not a whole safetensors file ({first_line(exc)}); download or copy it again"
        ) from exc


def _recorded_upsampling(texts: Mapping[str, str], path: Path) -> str | None:
    """The gate upsampling that `save_checkpoint` recorded, None where it did not write the file."""
    if RECORD_KEY not in texts:
        return None
    try:
        with shallow():
            record = json.loads(texts[RECORD_KEY])
        version, upsampling = record["schema_version"], record["gate_upsampling"]
        if version == _RECORD_VERSION and upsampling in get_args(GateUpsampling):
            return str(upsampling)
        what = f"has schema version {version} and gate upsampling {upsampling!r}"
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        what = f"is damaged ({exc!r})"
    raise CheckpointError(f"{path}: its entry '{RECORD_KEY}' {what}; update ghostedge or import the weights again")


def save_checkpoint(path: Path, weights: Mapping[str, NDArray[np.float32]], variant: Variant, **source: str) -> None:
    """Write a ``.ckpt`` that MindSpore loads and that says which variant and gate upsampling it is.

    Args:
        path: where; written whole or not at all.
        weights: official parameter name -> float32 array.
        variant: the network; its name and gate upsampling are recorded in the entry `RECORD_KEY`.
        source: where the weights come from, recorded beside them.

    Raises:
        OutputError: the file cannot be written.
    """
    record = {
        "schema_version": _RECORD_VERSION,
        "variant": variant.name,
        "gate_upsampling": variant.gate_upsampling,
        "source": source,
    }
    write_ckpt(path, weights, {RECORD_KEY: json.dumps(record, sort_keys=True)})


def recognise(shapes: Mapping[str, tuple[int, ...]], name: str, display: Mapping[str, str] | None = None) -> Recognised:
    """Which variant, with how many classes, has parameters of these names and shapes.

    Args:
        shapes: official parameter name -> shape; further entries are allowed where they are training state.
        name: what to call the file in errors.
        display: official name -> the name in the file, for errors, where they differ.

    Raises:
        CheckpointError: no variant fits; the message says what the nearest one lacks.
    """
    num_classes = (shapes.get("classifier.bias") or (1000,))[0]
    variant = min(VARIANTS.values(), key=lambda variant: _distance(shapes, parameter_shapes(variant, num_classes)))
    expected = parameter_shapes(variant, num_classes)
    shown = display or {}
    ignored, others = compare_names(shapes, expected, shown)
    if others:
        raise CheckpointError(
            f"{name} is not a GhostNetV2 checkpoint: of the nearest variant, {variant.name}, {', '.join(others)}"
        )
    if wrong := [key for key in expected if shapes[key] != expected[key]]:
        key, more = wrong[0], f"; {len(wrong)} parameters differ in shape" if len(wrong) > 1 else ""
        raise CheckpointError(
            f"{name}: parameter '{shown.get(key, key)}' has shape {shapes[key]}, "
            f"but GhostNetV2 {variant.name} needs {expected[key]}{more}"
        )
    return Recognised(variant, num_classes, tuple(ignored))


def compare_names(
    shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], display: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Compare the names of a file's entries with those of a network's parameters.

    Returns:
        The entries that are training state; what is missing and what is unexpected, in words, nothing where all fits.
    """
    ignored, unexpected = _split_training_state(shapes, expected)
    missing = [display.get(key, key) for key in expected if key not in shapes]
    parts = []
    if missing:
        parts.append(f"{len(missing)} of its {len(expected)} parameters are missing (first: '{missing[0]}')")
    if unexpected:
        parts.append(f"{len(unexpected)} are unexpected (first: '{unexpected[0]}')")
    return ignored, parts


def _distance(shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    """Sorts the nearest variant first: most parameters in common, then least that is wrong."""
    common = len(expected.items() & shapes.items())
    return -common, len(expected) - common + len(_split_training_state(shapes, expected)[1]) if common else 0


def _split_training_state(
    shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """The entries that are no parameters of a network: training state, and others.

    Args:
        shapes: name -> shape of all entries.
        expected: the network's parameters.
    """
    found: tuple[list[str], list[str]] = [], []
    for key in (key for key in shapes if key not in expected):
        found[not _is_training_state(key, shapes, expected)].append(key)
    return found


def _is_training_state(key: str, shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, Any]) -> bool:
    """Whether an entry is a counter or a setting, or an optimizer's or average's copy of a parameter.

    Training loops save ``global_step`` and ``learning_rate`` (one number), and ``moments.conv_stem.weight`` or
    ``ema.conv_stem.weight`` (a prefix, and a parameter that is there itself too).
    """
    if shapes[key] in ((), (1,)):
        return True
    owner = key
    while "." in owner:
        owner = owner.partition(".")[2]
        if owner in expected:
            return shapes.get(owner) == shapes[key]
    return False


def checked_weights(
    tensors: Mapping[str, NDArray[Any]], names: Iterable[str], file: str, display: Mapping[str, str] | None = None
) -> dict[str, NDArray[np.float32]]:
    """A network's weights in its own order, as float32.

    Args:
        tensors: name -> array, of all `names` at least.
        names: the network's parameters.
        file: what to call the file in errors.
        display: as for `recognise`.

    Raises:
        CheckpointError: one is not of a floating type, holds NaN or infinity, or is a variance below zero.
    """
    weights = {}
    for key in names:
        shown = (display or {}).get(key, key)
        array = tensors[key]
        if array.dtype.kind != "f":
            raise CheckpointError(f"{file}: parameter '{shown}' is {array.dtype}, not floating point")
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is named below
            array = array.astype(np.float32, copy=False).view()
        if bad := array.size - int(np.count_nonzero(np.isfinite(array))):
            raise CheckpointError(
                f"{file}: parameter '{shown}' holds {bad} NaN or infinite value(s); use an earlier checkpoint"
            )
        if key.endswith(".moving_variance") and array.min() < 0:
            raise CheckpointError(f"{file}: variance '{shown}' goes below zero ({array.min():g}); copy the file again")
        array.setflags(write=False)
        weights[key] = array
    return weights


def read_bytes(path: Path) -> bytes:
    """The bytes of a file of weights. Raises: CheckpointError where it cannot be read or is empty."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as exc:
        raise CheckpointError(f"{path} does not exist") from exc
    except IsADirectoryError as exc:
        raise CheckpointError(f"{path} is a folder; give the checkpoint file inside it") from exc
    except OSError as exc:
        raise CheckpointError(f"cannot read {path}: {exc.strerror or exc}") from exc
    if not data:
        raise CheckpointError(f"{path} is empty (0 bytes); download or copy it again")
    return data
