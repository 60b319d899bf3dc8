"""Load a checkpoint as the network that its weights belong to: GhostNetV2, or one that MindCV builds."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import io
import re
import warnings
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import CheckpointError, ConvertError, UsageError, first_line
from ghostedge.ghostnet.cell import LOCK, build_cell, mindspore_here
from ghostedge.ghostnet.checkpoint import (
    Checkpoint,
    checked_weights,
    compare_names,
    load_checkpoint,
    parse_safetensors,
    read_bytes,
)
from ghostedge.ghostnet.ckpt_format import parse_ckpt
from ghostedge.ghostnet.variants import check_input_size
from ghostedge.lazy import require

__all__ = ["Network", "build", "input_size", "load_network", "mindcv_name"]

_PREFIX = "mindcv:"

#: How many classes MindCV builds its networks for unless it is told otherwise.
_CLASSES = 1000

#: MindCV names the pixels of an input that is not 224 x 224: ``mobilenet_v2_100_192``.
_SIZE = re.compile(r"mobilenet_v2_\d{3}_(\d{2,3})")


class Network(Protocol):
    """A network with its weights.

    Attributes:
        path: the checkpoint.
        num_classes: how many logits it gives.
    """

    @property
    def path(self) -> Path:
        """See above."""

    @property
    def num_classes(self) -> int:
        """See above."""

    def describe(self) -> dict[str, Any]:
        """What was recognised, in JSON types, for manifests and people."""

    def check_input(self, height: int, width: int) -> None:
        """Raise UsageError for an image that the network cannot take."""

    def cell(self) -> Any:
        """The Cell in inference mode: float32 Tensor (n, 3, h, w), RGB, normalised, to logits float32 (n, classes)."""


def load_network(path: Path, network: str = "", num_classes: int | None = None) -> Network:
    """Load a checkpoint.

    While a caller holds the result, further calls do not parse the file again.

    Args:
        path: ``.ckpt`` or ``.safetensors``.
        network: ``"mindcv:NAME"``; empty for GhostNetV2, whose variant is recognised.
        num_classes: the number of classes it must have; any where None.

    Raises:
        CheckpointError: the file is missing or damaged, the weights belong to another network, have another number of
            classes, or are not finite.
        UsageError: no such network.
        MissingExtraError: MindSpore or MindCV is not installed, for a network of MindCV.
    """
    if not network:
        return _GhostNetV2(load_checkpoint(path, num_classes))
    name = mindcv_name(network)
    data = read_bytes(path)
    key = (path, hashlib.sha256(data).hexdigest(), name)
    with LOCK:
        if (found := _IN_USE.get(key)) is None:
            found = _IN_USE[key] = _load(data, path, name)
    if num_classes is not None and found.num_classes != num_classes:
        raise CheckpointError(f"{path} has {found.num_classes} classes, but {num_classes} were asked for")
    return found


def mindcv_name(network: str) -> str:
    """The NAME of ``mindcv:NAME``, one that MindCV can build.

    Raises:
        UsageError: another form, or a name that MindCV does not have; the message suggests the nearest one.
        MissingExtraError: MindSpore or MindCV is not installed.
    """
    name = network.removeprefix(_PREFIX)
    if name == network or not name:
        raise UsageError(f"unknown network '{network}'; give {_PREFIX}NAME, such as {_PREFIX}mobilenet_v3_small_100")
    known = _mindcv().list_models()  # some hundreds, too many to list
    if name not in known:
        near = [f"'{other}'" for other in difflib.get_close_matches(name, known, n=3)]
        hint = f"did you mean {' or '.join(near)}?" if near else "mindcv.list_models() names all"
        raise UsageError(f"unknown network of MindCV '{name}'; {hint}")
    return name


def input_size(network: str) -> int:
    """The rows and columns of the images that a network was trained on, by its name."""
    found = _SIZE.fullmatch(network.removeprefix(_PREFIX))
    return int(found[1]) if found else 224


@dataclass(frozen=True)
class _GhostNetV2:
    checkpoint: Checkpoint

    @property
    def path(self) -> Path:
        return self.checkpoint.path

    @property
    def num_classes(self) -> int:
        return self.checkpoint.num_classes

    def describe(self) -> dict[str, Any]:
        return self.checkpoint.describe()

    def check_input(self, height: int, width: int) -> None:
        check_input_size(height, width)

    def cell(self) -> Any:
        return build_cell(self.checkpoint.variant, self.checkpoint.weights)


@dataclass(frozen=True, eq=False)
class _OfMindCV:
    """See `Network`. The Cell is built once: its shapes said whether the weights are its own."""

    path: Path
    num_classes: int
    name: str
    parameters: int
    ignored: tuple[str, ...]
    built: Any = field(repr=False)

    def describe(self) -> dict[str, Any]:
        return {
            "network": _PREFIX + self.name,
            "classes": self.num_classes,
            "parameters": self.parameters,
            "ignored_entries": len(self.ignored),
        }

    def check_input(self, height: int, width: int) -> None:
        """MindCV's networks say themselves, when they are run, what they cannot take."""

    def cell(self) -> Any:
        return self.built


#: File, SHA-256 of its bytes, name -> what was loaded, for as long as somebody holds it.
_IN_USE: weakref.WeakValueDictionary[tuple[Path, str, str], _OfMindCV] = weakref.WeakValueDictionary()


def _mindcv() -> Any:
    """MindCV's module of models; it needs MindSpore, which is missed first."""
    mindspore_here()
    with LOCK, warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return require("mindcv.models", "mindcv")


def _load(data: bytes, path: Path, name: str) -> _OfMindCV:
    content = (parse_safetensors if path.suffix == ".safetensors" else parse_ckpt)(data, str(path))
    cell, classes = build(name, _CLASSES), _CLASSES
    shapes = {key: array.shape for key, array in content.tensors.items()}
    if (found := _classes(shapes, cell)) != classes:
        cell, classes = build(name, found), found
    expected = _shapes(cell)
    ignored = _refuse_other(shapes, expected, path, name)
    weights: Mapping[str, NDArray[np.float32]] = checked_weights(content.tensors, expected, str(path))
    ms = mindspore_here()
    for key, parameter in cell.parameters_dict().items():
        parameter.set_data(ms.Tensor(weights[key]))
    cell.set_train(False)
    trained = sum(parameter.size for parameter in cell.trainable_params())
    return _OfMindCV(path, classes, name, trained, ignored, cell)


def build(name: str, classes: int = _CLASSES) -> Any:
    """A network of MindCV, most of its weights zeros. Raises: ConvertError where MindCV cannot build it."""
    models = _mindcv()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _zeros_at_first():
            warnings.simplefilter("ignore")
            return models.create_model(name, num_classes=classes, pretrained=False)
    except Exception as exc:  # MindCV's and MindSpore's are of every kind
        raise ConvertError(f"MindCV cannot build {name}: {first_line(exc)}") from exc


@contextlib.contextmanager
def _zeros_at_first() -> Iterator[None]:
    """Let MindCV's own initial values be zeros: the checkpoint replaces them all.

    Drawing them takes time, and MindCV 0.3's ReXNet reshapes one before it is drawn, which MindSpore 2.9 refuses.
    """
    ms = require("mindspore", "mindspore")
    module: Any = require("mindspore.common.initializer", "mindspore")
    drawing = module.initializer

    def zeros(init: Any, shape: Any = None, dtype: Any = ms.float32) -> Any:
        return drawing(init, shape, dtype) if shape is None else ms.Tensor(np.zeros(shape), dtype)

    module.initializer = zeros
    try:
        yield
    finally:
        module.initializer = drawing


def _shapes(cell: Any) -> dict[str, tuple[int, ...]]:
    return {key: tuple(parameter.shape) for key, parameter in cell.parameters_dict().items()}


def _classes(shapes: Mapping[str, tuple[int, ...]], cell: Any) -> int:
    """How many classes weights have, by the first parameter whose length of `_CLASSES` is another one in the file."""
    for key, shape in _shapes(cell).items():
        other = shapes.get(key)
        if other and shape[:1] == (_CLASSES,) and other[1:] == shape[1:] and other != shape:
            return other[0]
    return _CLASSES


def _refuse_other(
    shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], path: Path, name: str
) -> tuple[str, ...]:
    """The entries that are training state. Raises: CheckpointError for weights of another network."""
    ignored, parts = compare_names(shapes, expected, {})
    if wrong := [key for key in expected if key in shapes and shapes[key] != expected[key]]:
        key = wrong[0]
        parts.append(f"{len(wrong)} differ in shape (first: '{key}' is {shapes[key]}, not {expected[key]})")
    if parts:
        raise CheckpointError(f"{path} is not a checkpoint of {_PREFIX}{name}: {', '.join(parts)}")
    return tuple(ignored)
