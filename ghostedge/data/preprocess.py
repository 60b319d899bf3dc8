"""Turn an image file into a model's input, bit for bit as MindSpore's evaluation transform does.

The transform is ``Decode -> Resize(resize) -> CenterCrop((height, width)) -> Normalize -> HWC2CHW`` of
``mindspore.dataset.vision`` (2.9.0). It is written out here in integers and float32, so that it can be repeated in
another language and gives the same bytes on x86 and ARM:

1. **Decode.** JPEG and PNG, to 8-bit RGB. EXIF orientation is *not* applied and alpha is dropped, not blended. Grey
   becomes three equal channels, 16-bit values keep their upper 8 bits. A four-channel JPEG becomes
   ``r = c * k // 255`` (``g`` from ``m``, ``b`` from ``y``), where c, m, y, k count 255 as *no ink*: the stored values
   if the file has an Adobe marker, 255 minus the stored values if it has none. JPEG decoding itself is
   libjpeg-turbo's with its defaults: accurate integer DCT, smooth ("fancy") chroma upsampling.
2. **Resize**, see `resized_size` for the size and `resize_and_crop` for the values: OpenCV's ``INTER_LINEAR`` on
   uint8, which does not antialias. (Pillow's bilinear does; it is up to 135 grey levels away on ImageNet photos.)
3. **CenterCrop.** The first row is ``(rows - height) // 2``, the first column ``(columns - width) // 2``.
4. **Normalize.** ``(x - m) / s`` in float32, with m and s the float32 values of ``255 * mean`` and ``255 * std``.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import ImageError
from ghostedge.files import open_regular
from ghostedge.model import InputSpec

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile


#: Resized pixels: uint8, or float32 on the scale 0..255 by the rule that does not round.
Pixels = NDArray[np.uint8 | np.float32]

#: Larger images are refused before they are decoded, because a forged header could take all memory. The largest phone
#: sensors give 200 million pixels.
MAX_PIXELS = 200_000_000

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"

#: Other formats that people have photos in, for the error to name: (offset, bytes, name).
_UNREADABLE = (
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (8, b"WEBP", "WebP"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftypavif", "AVIF"),
    (0, b"%PDF", "PDF"),
)


def decode(source: Path | str | bytes) -> NDArray[np.uint8]:
    """Decode a JPEG or PNG, whatever its extension says.

    Args:
        source: a file, or the bytes of one.

    Returns:
        uint8 (h, w, 3), RGB; possibly read-only.

    Raises:
        ImageError: missing, unreadable, empty, truncated, more than `MAX_PIXELS` pixels, or another format.
    """
    if isinstance(source, bytes):
        name, data = "the file", source
    else:
        name, data = str(source), _read(Path(source))
    if not data:
        raise ImageError(f"{name} is empty (0 bytes); get it again")
    if data.startswith(_JPEG):
        return _decode(name, data, "JPEG")
    if data.startswith(_PNG):
        return _decode(name, data, "PNG")
    for offset, magic, kind in _UNREADABLE:
        if data[offset : offset + len(magic)] == magic:
            raise ImageError(f"{name} is a {kind} file; convert it to JPEG or PNG")
    raise ImageError(f"{name} is not an image; JPEG and PNG are read")


def _read(path: Path) -> bytes:
    """Read the file; only its first few bytes if they cannot begin a JPEG or PNG."""
    try:
        with open_regular(path) as file:
            head = file.read(16)
            return head + file.read() if head.startswith((_JPEG, _PNG)) else head
    except FileNotFoundError as exc:
        raise ImageError(f"{path} does not exist") from exc
    except IsADirectoryError as exc:
        raise ImageError(f"{path} is a folder, not an image") from exc
    except (OSError, ValueError) as exc:
        raise ImageError(f"{path} cannot be read: {exc.strerror if isinstance(exc, OSError) else exc}") from exc


def _decode(name: str, data: bytes, kind: str) -> NDArray[np.uint8]:
    # The format's own class and not Image.open: no search through other formats, and the first picture of a
    # multi-picture JPEG as the reference takes it. Image.open's own size bound is replaced by MAX_PIXELS.
    image: ImageFile
    try:
        if kind == "JPEG":
            from PIL.JpegImagePlugin import JpegImageFile

            image = JpegImageFile(io.BytesIO(data))
        else:
            from PIL.PngImagePlugin import PngImageFile

            image = PngImageFile(io.BytesIO(data))
        with image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ImageError(
                    f"{name} holds {width} x {height} pixels; at most {MAX_PIXELS // 10**6} million are decoded, "
                    "scale it down first"
                )
            if kind == "PNG" and _PNG_END not in data:
                raise ImageError(f"{name} is not a whole PNG: its end is missing; get the file again")
            if image.mode == "RGB":
                return np.asarray(image)
            if image.mode == "CMYK":
                # Pillow has inverted the stored values, whether the file has an Adobe marker or not.
                cmyk = np.asarray(image)
                ink_free = (255 - cmyk if "adobe" in image.info else cmyk).astype(np.uint16)
                return (ink_free[..., :3] * ink_free[..., 3:] // 255).astype(np.uint8)
            if image.mode.startswith("I"):  # 16-bit grey
                return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
            image.load()
            image.info.pop("transparency", None)  # Pillow would warn that convert() does not blend it
            return np.asarray(image.convert("RGB"))
    except ImageError:
        raise
    except Exception as exc:  # what a decoder raises on damaged data is an open set
        raise ImageError(f"{name} is not a whole {kind}: {exc}; get the file again") from exc


def resized_size(height: int, width: int, resize: int) -> tuple[int, int]:
    """The size of a `height` x `width` image whose shorter side becomes `resize`: (rows, columns).

    The longer side is ``float32(float32(longer / shorter) * resize)`` without its fraction. The float32
    matters: 5 x 21 at ``resize`` 235 becomes 235 x 986, where exact arithmetic gives 987.
    """
    shorter, longer = sorted((height, width))
    scaled = int(np.float32(longer) / np.float32(shorter) * np.float32(resize))
    return (resize, scaled) if height < width else (scaled, resize)


def resize_and_crop(image: NDArray[np.uint8], spec: InputSpec) -> Pixels:
    """Resize the shorter side to ``spec.resize`` and cut out the centre, computing only what is cut out.

    The resize is OpenCV's ``INTER_LINEAR`` for uint8. Along one axis of n source and N target pixels, with
    ``scale = 1 / (N / n)`` in float64, target pixel t reads source pixels i and i + 1 with the integer weights w0, w1::

        f  = float32((t + 0.5) * scale - 0.5)
        i  = floor(f);  f = float32(f - i)
        w0 = round(float32(1 - f) * 2048);  w1 = round(f * 2048)            # halves to even

    Columns outside the image: if i < 0, then i = 0 and f = 0; if i >= n - 1, then i = n - 1 and f = 0. Rows outside
    the image: i and i + 1 are each clipped to 0..n-1 and the weights stay. First along the rows of the image, then
    down its columns, all in integers::

        line = left * w0 + right * w1                                       # at most 255 * 2048
        out  = (((upper_line >> 4) * w0 >> 16) + ((lower_line >> 4) * w1 >> 16) + 2) >> 2

    An exact halving, for which OpenCV averages 2 x 2 pixels, comes out the same by this rule.

    The other rules resize to the same size and cut out the same pixels, so that the filter is all that differs:
    ``pillow_bilinear`` is Pillow's, ``tensorflow_bilinear`` that of `_tensorflow_resize`.

    Args:
        image: uint8 (h, w, 3), RGB.
        spec: `height`, `width`, `resize` and `resize_rule` are used.

    Returns:
        uint8 (spec.height, spec.width, 3), RGB; under ``tensorflow_bilinear`` float32, 0..255.

    Raises:
        ImageError: ``pillow_bilinear`` of an image so elongated that resized it would exceed `MAX_PIXELS`.
    """
    height, width = image.shape[:2]
    rows, columns = resized_size(height, width, spec.resize)
    top, left = (rows - spec.height) // 2, (columns - spec.width) // 2
    if spec.resize_rule == "pillow_bilinear":
        return _pillow_resize(image, rows, columns)[top : top + spec.height, left : left + spec.width]
    if spec.resize_rule == "tensorflow_bilinear":
        return _tensorflow_resize(image, (rows, columns), (top, left), (spec.height, spec.width))

    index, fraction = _positions(width, columns, left, spec.width)
    outside = (index < 0) | (index >= width - 1)
    fraction[outside] = 0
    index = np.clip(index, 0, width - 1)
    weight_left, weight_right = (np.repeat(weight, 3) for weight in _weights(fraction))

    row_index, row_fraction = _positions(height, rows, top, spec.height)
    upper, lower = np.clip(row_index, 0, height - 1), np.clip(row_index + 1, 0, height - 1)
    weight_upper, weight_lower = (weight[:, None] for weight in _weights(row_fraction))

    used, place = np.unique(np.concatenate([upper, lower]), return_inverse=True)
    source = image[used] if len(used) < used[-1] - used[0] + 1 else image[used[0] : used[-1] + 1]
    lines = source.take(index, axis=1).reshape(len(used), -1) * weight_left
    lines += source.take(np.minimum(index + 1, width - 1), axis=1).reshape(len(used), -1) * weight_right
    lines >>= 4
    out = lines[place[: spec.height]] * weight_upper >> 16
    out += lines[place[spec.height :]] * weight_lower >> 16
    out += 2
    out >>= 2
    pixels: Pixels = out.astype(np.uint8).reshape(spec.height, spec.width, 3)
    return pixels


def _positions(source: int, target: int, start: int, count: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """i and f, as `resize_and_crop` defines them before clipping, of target pixels start .. start + count - 1."""
    scale = 1.0 / (target / source)
    position = ((np.arange(start, start + count) + 0.5) * scale - 0.5).astype(np.float32)
    index = np.floor(position)
    return index.astype(np.intp), position - index


def _weights(fraction: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """w0 and w1 in units of 1/2048; `np.rint` rounds halves to even, as OpenCV does."""
    return (
        np.rint((np.float32(1) - fraction) * np.float32(2048)).astype(np.int32),
        np.rint(fraction * np.float32(2048)).astype(np.int32),
    )


def _pillow_resize(image: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    from PIL import Image

    if rows * columns > MAX_PIXELS:
        raise ImageError(
            f"an image of {image.shape[1]} x {image.shape[0]} pixels would become {columns} x {rows}; crop it first"
        )
    return np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR))


def _tensorflow_resize(
    image: NDArray[np.uint8], size: tuple[int, int], start: tuple[int, int], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """What ``tf.image.resize(image, size)`` has from `start` on: bilinear, half-pixel centres, no antialiasing.

    The kernel (``ResizeBilinear`` with ``half_pixel_centers``, in TensorFlow's ``core/kernels/image``) works in
    float32 throughout. With ``scale = float32(n / N)`` target pixel t lies at ``p = (t + 0.5) * scale - 0.5``, between
    the source pixels floor(p) and ceil(p), each clipped to 0..n-1, at the fraction ``p - floor(p)``; first along the
    columns, then along the rows, each time ``a + (b - a) * fraction``. Nothing is rounded to whole grey levels.

    Returns:
        float32 (shape[0], shape[1], 3), 0..255.
    """
    taps = []
    for source, target, first, count in zip(image.shape[:2], size, start, shape, strict=True):
        scale = np.float32(source) / np.float32(target)
        half = np.float32(0.5)
        position = (np.arange(first, first + count, dtype=np.float32) + half) * scale - half
        floor = np.floor(position)
        lower, upper = (np.clip(edge.astype(np.intp), 0, source - 1) for edge in (floor, np.ceil(position)))
        taps.append((lower, upper, position - floor))
    (above, below, down), (left, right, across) = taps

    def line(rows: NDArray[np.intp]) -> NDArray[np.float32]:
        chosen = image[rows]
        first, second = (chosen[:, columns].astype(np.float32) for columns in (left, right))
        second -= first
        second *= across[:, None]
        second += first
        return second

    upper_line, out = line(above), line(below)
    out -= upper_line
    out *= down[:, None, None]
    out += upper_line
    return out


def normalise(images: Pixels, spec: InputSpec) -> NDArray[np.float32]:
    """``(x - 255 * mean) / (255 * std)`` in float32.

    Args:
        images: uint8 or float32 (..., 3), RGB, 0..255.
        spec: `mean` and `std` are used.

    Returns:
        float32 of the same shape, RGB.
    """
    mean, std = _scale(spec)
    out = images.astype(np.float32, order="C")
    # Whole lines at a time, which NumPy computes four times as fast as triples.
    columns = images.shape[-2] if images.ndim > 1 else 1
    lines = out.reshape(-1, 3 * columns)
    lines -= np.tile(mean, columns)
    lines /= np.tile(std, columns)
    return out


def _scale(spec: InputSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """255 * mean and 255 * std, in RGB order."""
    mean, std = (np.array([255 * value for value in values], dtype=np.float32) for values in (spec.mean, spec.std))
    return mean, std


def to_spec(images: Pixels, spec: InputSpec) -> Pixels:
    """Give cropped images the range, colour order, layout and dtype that a model takes.

    Args:
        images: (n, spec.height, spec.width, 3), RGB, as `resize_and_crop` returns them. For a uint8 input fractions
            are cut off, as ``tf.cast`` does.
        spec: the model's input.

    Returns:
        ``spec.dtype``, shape ``spec.shape(n)``, C-contiguous.
    """
    order = -1 if spec.colour_order == "BGR" else 1
    if spec.layout == "NHWC":
        out: Pixels = normalise(images, spec) if spec.range == "normalised" else images.astype(spec.dtype)
        return np.ascontiguousarray(out[..., ::order])
    # Bytes are moved before they become floats: a quarter of the memory.
    planes = np.ascontiguousarray(images[..., ::order].transpose(0, 3, 1, 2)).astype(spec.dtype)
    if spec.range == "normalised":
        mean, std = (values[::order, None, None] for values in _scale(spec))
        planes -= mean
        planes /= std
    return planes


def preprocess(source: Path | str | bytes, spec: InputSpec) -> Pixels:
    """One image as a batch of one, see `preprocess_batch`."""
    return preprocess_batch([source], spec)


def preprocess_batch(sources: Iterable[Path | str | bytes], spec: InputSpec) -> Pixels:
    """Decode, resize and crop at least one image, and bring all to `spec` as one batch, in the order given.

    Returns:
        ``spec.dtype``, shape ``spec.shape(n)``.

    Raises:
        ImageError: see `decode`.
    """
    return to_spec(np.stack([resize_and_crop(decode(source), spec) for source in sources]), spec)
