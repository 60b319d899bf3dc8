"""Say what a model sees in images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.images import list_images
from ghostedge.data.preprocess import decode, resize_and_crop, to_spec
from ghostedge.errors import ArtifactError, ImageError, UsageError
from ghostedge.formats import open_model
from ghostedge.model import Model, Runtime
from ghostedge.runtimes import open_runtime

#: Encoded files and folders of them by their paths, or decoded pictures: uint8 (h, w, 3), RGB.
Images: TypeAlias = "Path | str | NDArray[np.uint8] | Iterable[Path | str | NDArray[np.uint8]]"


@dataclass(frozen=True)
class Prediction:
    """The best classes of one image, the best first.

    Attributes:
        image: the file; ``"image 0"``, ``"image 1"``, ... for pictures given as arrays.
        classes: their indices.
        names: their names, in the same order; empty where the model has none.
        probabilities: 0..1: the softmax of the logits, or the model's own probabilities where it ends with a softmax.
        logits: what the model gave.
        error: why the image has no answer; None where it has one.
    """

    image: str
    classes: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    logits: tuple[float, ...] = ()
    error: str | None = None


def predict(model: Model | Path | str, images: Images, *, top: int = 5, threads: int = 1) -> tuple[Prediction, ...]:
    """Classify images.

    >>> import numpy as np, ghostedge
    >>> red = np.full((40, 60, 3), (200, 0, 0), np.uint8)
    >>> [seen] = ghostedge.predict("model_fp32.tflite", [red], top=2)
    >>> seen.names, [round(p, 2) for p in seen.probabilities]
    (('dog', 'elk'), [0.71, 0.18])

    Args:
        model: what `ghostedge.open_model` gave, or the path of a model that describes itself.
        images: JPEG or PNG files, folders of them, or decoded pictures: uint8 (h, w, 3), RGB; one or several.
        top: how many classes an image, at least 1.
        threads: of the runtime.

    Returns:
        One `Prediction` an image, in the order given; a folder's images by name.

    Raises:
        ImageError: an image cannot be read.
        ArtifactError: the model is missing, damaged or not described, or gives NaN or infinity.
        MissingExtraError: the runtime of its format is not installed.
    """
    model = model if isinstance(model, Model) else open_model(model)
    with open_runtime(model, threads=threads) as runtime:
        found = []
        for prediction in classify(runtime, images, top=top):
            if prediction.error is not None:
                raise ImageError(prediction.error)
            found.append(prediction)
    return tuple(found)


def classify(runtime: Runtime, images: Images, *, top: int = 5) -> Iterator[Prediction]:
    """Classify images with a model that is loaded; one that cannot be read gets its `Prediction.error`.

    See `predict` for the arguments and the other errors.
    """
    if top < 1:
        raise UsageError(f"--top is {top}; it must be at least 1")
    for name, source in _named(images):
        try:
            if isinstance(source, ImageError):
                raise source
            yield _best(name, runtime.run(_batch(name, source, runtime))[0], runtime.artifact, top)
        except ImageError as exc:
            yield Prediction(name, error=str(exc))


def _named(images: Images) -> Iterator[tuple[str, Path | NDArray[np.uint8] | ImageError]]:
    """Every image with its name; a folder that cannot be listed with the reason."""
    for number, source in enumerate([images] if isinstance(images, Path | str | np.ndarray) else images):
        if isinstance(source, np.ndarray):
            yield f"image {number}", source
            continue
        path = Path(source)
        try:
            yield from ((str(found), found) for found in (list_images(path) if path.is_dir() else [path]))
        except ImageError as exc:
            yield str(path), exc


def _batch(name: str, source: Path | NDArray[np.uint8], runtime: Runtime) -> NDArray[Any]:
    if isinstance(source, Path):
        source = decode(source)
    elif source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or not source.size:
        raise ImageError(f"{name} is {source.dtype} {source.shape}; a picture is uint8 (h, w, 3), RGB")
    return to_spec(resize_and_crop(source, runtime.input)[None], runtime.input)


def _best(name: str, logits: NDArray[np.float32], model: Model, top: int) -> Prediction:
    if model.labels and len(model.labels) != len(logits):
        raise ArtifactError(f"{model.path} tells {len(logits)} classes apart, but there are {len(model.labels)} labels")
    chances = _probabilities(logits, model.path)
    best = (-chances).argsort(kind="stable")[:top]
    return Prediction(
        image=name,
        classes=tuple(map(int, best)),
        names=tuple(model.labels[index] for index in best) if model.labels else (),
        probabilities=tuple(map(float, chances[best])),
        logits=tuple(map(float, logits[best])),
    )


def _probabilities(logits: NDArray[np.float32], path: Path) -> NDArray[np.float64]:
    """The softmax of `logits`; `logits` themselves where the model ends with a softmax of its own."""
    values = logits.astype(np.float64)
    if not np.isfinite(values).all():
        raise ArtifactError(f"{path} gives NaN or infinity as a logit; verify how it was made")
    if values.min() >= 0 and abs(values.sum() - 1) < 0.02:  # 8-bit probabilities do not sum to 1 exactly
        return values
    exponentials = np.exp(values - values.max())
    return np.asarray(exponentials / exponentials.sum())
