"""What is served: the models, their golden vectors and the images, as the page is told them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.calibration import refuse_known
from ghostedge.data.datasets import Dataset, labels_for, open_dataset, spread
from ghostedge.data.golden import Golden, golden_beside, read_golden
from ghostedge.data.preprocess import decode, resize_and_crop
from ghostedge.errors import ArtifactError, ImageError, LedgerError, UsageError
from ghostedge.evaluation.ledger import ids_sha256, read_ledger
from ghostedge.files import sha256_file
from ghostedge.formats import open_model
from ghostedge.latency.edge.timing import (
    FULL,
    OVERHEAD_SAMPLES,
    QUICK,
    STEADY_MIN_SAMPLES,
    STEADY_SPREAD,
    STEADY_WINDOWS,
    WATCH_EVERY_S,
)
from ghostedge.latency.edge.verification import FEWEST_REPEATS, REPEATS, REPEATS_LIMIT_S
from ghostedge.model import InputSpec, Model

__all__ = ["Crops", "Images", "Job", "Order", "Subject", "make_job", "open_subjects"]

#: In which order the page runs the images.
Order = Literal["spread", "decisive"]

#: The resize rule that the page repeats to the bit, for photos and for --jpeg.
PAGE_RESIZE_RULE = "opencv_linear"

#: Crops that are kept: some 80 MB at 224 x 224, so that many phones cost one decoding.
_KEPT_CROPS = 512


@dataclass(frozen=True)
class Subject:
    """One model that is served.

    Attributes:
        model: the file.
        golden: its golden vectors, and their file; None where there are none.
        golden_sha256: of that file.
        classes: logits it gives; None where neither its labels nor golden vectors say.
        content: its bytes, read with its digest before anything is served: the file may be exported anew meanwhile.
    """

    model: Model
    golden: tuple[Path, Golden] | None
    golden_sha256: str
    classes: int | None
    content: bytes = field(repr=False)

    def to_dict(self, number: int) -> dict[str, Any]:
        """What the page is told."""
        file, golden = self.golden or (None, None)
        return {
            "number": number,
            "file": self.model.path.name,
            "sha256": self.model.sha256,
            "size_bytes": len(self.content),
            "precision": self.model.precision,
            "input": self.model.input.to_dict(),
            "labels": list(self.model.labels),
            "golden": golden and {"file": file and file.name, "images": len(golden.names)},
        }


def open_subjects(
    artifacts: Sequence[Path], golden: Path | None, input_spec: InputSpec | None = None
) -> tuple[Subject, ...]:
    """The models to serve, each with `golden` or with the golden vectors beside it.

    Raises:
        ArtifactError: a model or golden file is missing or damaged, or they do not belong together.
        UsageError: a model that LiteRT.js does not take, or two of one file name.
    """
    subjects: dict[str, Subject] = {}
    for path in artifacts:
        if path.suffix.lower() != ".tflite":
            raise UsageError(f"{path}: a browser runs .tflite (in LiteRT.js); export it with --target tflite")
        model = open_model(path, input_spec=input_spec)
        if path.name in subjects:
            raise UsageError(f"two artifacts are called {path.name}; results could not be told apart")
        file = golden or golden_beside(path)
        vectors = read_golden(file) if file else None
        if file and vectors and (misfit := _misfit(model, vectors)):
            if golden:
                raise ArtifactError(f"--golden {file} does not fit {path}: {misfit}; give that of its own export")
            file = None
        pair = (file, vectors) if file and vectors else None
        known = len(model.labels) or (vectors.logits.shape[1] if pair and vectors else None)
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != model.sha256:
            raise ArtifactError(f"{path} was changed while it was opened; start again")
        subjects[path.name] = Subject(model, pair, sha256_file(file) if file else "", known, content)
    return tuple(subjects.values())


def _misfit(model: Model, golden: Golden) -> str | None:
    """Why golden vectors are another model's."""
    size = (model.input.height, model.input.width)
    if golden.crops.shape[1:3] != size:
        return f"it holds pictures of {golden.crops.shape[1]} x {golden.crops.shape[2]}, not {size[0]} x {size[1]}"
    if model.labels and golden.logits.shape[1] != len(model.labels):
        return f"it has answers of {golden.logits.shape[1]} classes, not {len(model.labels)}"
    if model.source_sha256 and golden.source_sha256 != model.source_sha256:
        return f"it has the answers of the source {golden.source_sha256[:12]}, not {model.source_sha256[:12]}"
    return None


@dataclass(frozen=True)
class Images:
    """The labelled images that models are evaluated on.

    Attributes:
        dataset: where they are.
        chosen: intp (n,): which of them, by ascending id.
        ids: n ids.
        order: intp (n,): places in `ids` in the order in which the page runs them.
    """

    dataset: Dataset
    chosen: NDArray[np.intp]
    ids: tuple[str, ...]
    order: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.ids)

    def encoded(self, place: int) -> bytes:
        """The file of an image. Raises: ImageError."""
        return self.dataset.source(int(self.chosen[place])).read()

    @functools.cached_property
    def _content(self) -> dict[int, int]:
        return {}

    def content_crc32(self, place: int) -> int:
        """CRC-32 of an image's file; -1 where it cannot be read."""
        if place not in self._content:
            try:
                self._content[place] = crc32(self.encoded(place))
            except ImageError:
                return -1
        return self._content[place]

    def labels(self, subject: Subject) -> NDArray[np.int32]:
        """int32 (n,), -1 unknown, as indices of the model's logits. Raises: DatasetError."""
        return labels_for(self.dataset, subject.classes or 0, subject.model.labels)[self.chosen]

    @functools.cached_property
    def ids_sha256(self) -> str:
        """The identity of the set."""
        return ids_sha256(self.ids)


@dataclass(frozen=True)
class Job:
    """All that is served.

    Attributes:
        subjects: the models.
        images: None where none are evaluated.
        browser_decodes: whether the page gets the images' files and not crops.
        keep_logits: whether ledgers hold whole logits.
    """

    subjects: tuple[Subject, ...]
    images: Images | None = None
    browser_decodes: bool = False
    keep_logits: bool = False

    def to_dict(self, litert_js: str) -> dict[str, Any]:
        """What the page is told: everything but the bytes, and the rules that measuring follows."""
        steady = {"windows": STEADY_WINDOWS, "spread": STEADY_SPREAD, "min_samples": STEADY_MIN_SAMPLES}
        return {
            "litert_js": litert_js,
            "models": [subject.to_dict(number) for number, subject in enumerate(self.subjects)],
            "images": self.images and {"count": len(self.images), "browser_decodes": self.browser_decodes},
            "rules": {
                "repeats": {"most": REPEATS, "limit_s": REPEATS_LIMIT_S, "fewest": FEWEST_REPEATS},
                "full": FULL,
                "quick": QUICK,
                "steady": steady,
                "watch_every_s": WATCH_EVERY_S,
                "overhead_samples": OVERHEAD_SAMPLES,
            },
        }


class Crops:
    """Images as models see them, those asked for last kept: many phones cost one decoding."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._kept = functools.lru_cache(_KEPT_CROPS)(self._decoded)

    def _decoded(self, place: int, geometry: InputSpec) -> bytes:
        pixels = resize_and_crop(decode(self._images.encoded(place)), geometry)
        return np.ascontiguousarray(pixels.astype("<f4" if pixels.dtype.kind == "f" else np.uint8)).tobytes()

    def get(self, place: int, subject: Subject) -> bytes:
        """Before normalisation: (height, width, 3), RGB, uint8 or, by a rule that does not round, float32.

        Raises: ImageError.
        """
        return self._kept(place, subject.model.input.geometry)


def make_job(
    artifacts: Sequence[Path],
    *,
    golden: Path | None = None,
    input_spec: InputSpec | None = None,
    data: Path | None = None,
    ground_truth: Path | None = None,
    limit: int | None = None,
    reference: Path | None = None,
    order: Order = "spread",
    browser_decodes: bool = False,
    keep_logits: bool = False,
) -> Job:
    """Open everything that is served, so that what is wrong shows before a phone is there.

    Args:
        artifacts: ``.tflite`` files.
        golden: golden vectors; None for those beside each artifact.
        input_spec: what the models' input holds; None for what they say themselves.
        data: labelled images; None to evaluate none.
        ground_truth: the label file; None to look for it beside `data`.
        limit: so many images, spread evenly over the sorted ids; None for all.
        reference: a ledger of the same images, which ledgers are judged against, and which gives the order.
        order: ``"decisive"``: first the images on which the reference wavers most between two classes.
        browser_decodes: send the images' files, which the browser decodes and the page resizes.
        keep_logits: keep whole logits in the ledgers.

    Raises:
        ArtifactError, UsageError: see `open_subjects`.
        DatasetError: the images, or their labels, do not fit, or an artifact was calibrated on them.
        LedgerError: the reference is damaged, or of other images.
    """
    subjects = open_subjects(artifacts, golden, input_spec)
    if data is None:
        return Job(subjects)
    for subject in subjects:
        name = subject.model.path
        if subject.classes is None:
            raise UsageError(f"{name} does not say how many classes it has; name golden vectors with --golden")
        if browser_decodes and subject.model.input.resize_rule != PAGE_RESIZE_RULE:
            raise UsageError(f"--jpeg: the page resizes by {PAGE_RESIZE_RULE}, {name} by another rule; leave it out")
    dataset = open_dataset(data, ground_truth)
    chosen = spread(dataset.image_ids, limit)
    calibration = {
        digest: (image_id, subject.model.path.name)
        for subject in subjects
        for image_id, digest in subject.model.calibration.items()
    }
    refuse_known(dataset, chosen, calibration)
    chosen = chosen[np.argsort(dataset.image_ids[chosen], kind="stable")]
    ids = tuple(name.decode() for name in dataset.image_ids[chosen])
    images = Images(dataset, chosen, ids, np.arange(len(ids)))
    for subject in subjects:
        images.labels(subject)
    if reference is not None:
        images = replace(images, order=_order(images, reference, order))
    elif order == "decisive":
        raise UsageError("--order decisive: which images decide is the reference's to say; give --reference too")
    return Job(subjects, images, browser_decodes, keep_logits)


def _order(images: Images, reference: Path, order: Order) -> NDArray[np.intp]:
    """Places in the ids; for ``"decisive"`` the smallest distance between the reference's two best logits first.

    Raises:
        LedgerError: the reference is damaged, or of other images: no ledger could be judged in the end.
    """
    ledger = read_ledger(reference)
    if ledger.image_ids.tolist() != list(images.ids):
        raise LedgerError(
            f"{reference} is of {len(ledger):,} images, which are not the {len(images):,} of --data and --limit: give "
            "the reference of just these"
        )
    if order == "spread":
        return images.order
    return np.argsort(np.nan_to_num(ledger.top5_logit[:, 0] - ledger.top5_logit[:, 1]), kind="stable")
