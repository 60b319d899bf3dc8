"""What the page sends: the types that an upload is checked against before anything is made of it.

The page sends what only the phone knows: logits, samples, battery. Percentiles, differences and verdicts are computed
here, by the functions that every other device's results go through.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from ghostedge.errors import DeviceError
from ghostedge.latency.records import Amount, Count, Positive, Power, Sha256, Warmup

#: The largest body of an upload. A minute of the fastest model is a million samples, 10 MB.
MAX_BYTES = 32 * 2**20

PhoneId = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
Text = Annotated[str, Meta(max_length=512)]

#: Not of the page, but as strict, since addresses and folders are made of them: what an address holds, a phone's files.
Port = Annotated[int, Meta(ge=0, le=65535)]
Token = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{22}$")]
FileName = Annotated[str, Meta(pattern="^[a-z0-9-]{1,60}$")]

#: The accelerators of LiteRT.js.
Accelerator = Literal["wasm", "webgpu", "webnn"]

#: float32 in base64, little-endian: JSON has neither NaN nor all bits of a number.
Floats = Annotated[str, Meta(max_length=MAX_BYTES)]


@dataclass(frozen=True)
class PhoneMessage:
    """Who is there.

    Attributes:
        id: drawn by the page when it was first opened in this browser.
        name: as its user calls it.
        user_agent: of the browser.
        model: of the phone; None where the browser does not tell. So for what follows.
        system: e.g. ``"Android 15"``.
        architecture: e.g. ``"arm 64"``.
        cores: logical ones.
        memory_gib: rounded, at most 8 (the browser's own limit).
    """

    id: PhoneId
    name: Annotated[str, Meta(min_length=1, max_length=60)]
    user_agent: Text
    model: Text | None = None
    system: Text | None = None
    architecture: Text | None = None
    cores: Count | None = None
    memory_gib: Amount | None = None


@dataclass(frozen=True)
class Setting:
    """What ran a model.

    Attributes:
        sha256: of the model as the page was told it: a page of an earlier run may hold another one.
        accelerator: of LiteRT.js.
        threads: of WebAssembly.
        build: the file of LiteRT.js that was loaded.
    """

    sha256: Sha256
    accelerator: Accelerator
    threads: Annotated[int, Meta(ge=1, le=64)]
    build: Text


@dataclass(frozen=True)
class Checked:
    """Answers to golden pictures.

    Attributes:
        answers: float32 (pictures, classes).
        first: float32 (classes,): the very first answer to the first picture.
        inferences: of the first picture.
        first_different: the number of the first inference, from 1, whose answer was another one; None for none.
        worst: float32 (classes,): the answer that was farthest from the first; None where all were identical.
        duration_s: that it took.
    """

    answers: Floats
    first: Floats
    inferences: Positive
    duration_s: Amount
    first_different: Annotated[int, Meta(ge=2, le=2**53)] | None = None
    worst: Floats | None = None


@dataclass(frozen=True)
class Timed:
    """Samples, and what happened meanwhile.

    Attributes:
        warmup: as in a latency record.
        samples_ms: each: copy in, infer, copy out.
        duration_s: that the samples took.
        overhead_us: what the page adds to a sample.
        clock_ms: the smallest step of the browser's clock.
        output: float32 (classes,): the last answer.
        again: float32 (classes,): the answer to the first golden picture after the samples; None without golden.
        hidden_s: when the page was out of sight, seconds from the first sample on.
        before: where the power came from.
        after: likewise.
    """

    warmup: Warmup
    samples_ms: Annotated[list[Amount], Meta(min_length=1, max_length=2_000_000)]
    duration_s: Amount
    overhead_us: Amount
    clock_ms: Amount
    output: Floats
    before: Power
    after: Power
    again: Floats | None = None
    hidden_s: Annotated[tuple[Amount, ...], Meta(max_length=1000)] = ()


@dataclass(frozen=True)
class RunMessage:
    """One run of one model: its answers to golden pictures, its latency, or both.

    Attributes:
        setting: what ran it.
        mode: of the timing.
        import_ms: to load LiteRT.js.
        load_ms: from the model's bytes to a compiled model.
        first_ms: the first inference.
        whole: whether the accelerator takes all of the model's operators.
        checked: None without golden vectors.
        timed: None where only the answers are checked.
    """

    setting: Setting
    mode: Literal["full", "quick"]
    import_ms: Amount
    load_ms: Amount
    first_ms: Amount
    whole: bool = True
    checked: Checked | None = None
    timed: Timed | None = None


@dataclass(frozen=True)
class FailedImage:
    """An image that the page could not decode."""

    image: Count
    reason: Annotated[str, Meta(min_length=1, max_length=200)]


@dataclass(frozen=True)
class RowsMessage:
    """Answers to images of the data set.

    Attributes:
        setting: what ran the model.
        images: their numbers in the job.
        logits: float32 (images, classes).
        failed: images without an answer.
    """

    setting: Setting
    images: Annotated[list[Count], Meta(max_length=256)]
    logits: Floats
    failed: Annotated[tuple[FailedImage, ...], Meta(max_length=256)] = ()


def floats(text: str, *shape: int) -> NDArray[np.float32]:
    """The numbers of a `Floats`, in `shape`. Raises: DeviceError for what is not that many numbers."""
    try:
        values = np.frombuffer(base64.b64decode(text, validate=True), "<f4")
        return values.reshape(shape).astype(np.float32)
    except (binascii.Error, ValueError) as exc:
        raise DeviceError(f"the upload does not hold {' x '.join(map(str, shape))} float32 numbers ({exc})") from exc
