"""Make the input: a real photo, or reproducible noise of the same range."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from ghostedge.latency.edge import BenchmarkError, Record


def input_spec(description: Record, shape: tuple[int, ...]) -> Record | None:
    """Layout, size and normalisation of the input: those of the description, else the usual ones of ImageNet."""
    nhwc = len(shape) == 4 and shape[3] == 3
    if len(shape) != 4 or (shape[1] != 3 and not nhwc):
        return None
    height, width = (shape[1], shape[2]) if nhwc else (shape[2], shape[3])
    spec = {
        "range": "normalised",
        "resize": round(max(height, width) * 256 / 224),
        "resize_rule": "opencv_linear",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "colour_order": "RGB",
    }
    spec.update(description.get("input", {}))
    spec.update(layout="NHWC" if nhwc else "NCHW", height=height, width=width)
    return spec


def decode(data: bytes) -> Any:
    """JPEG or PNG bytes to uint8 (h, w, 3), RGB."""
    try:
        from PIL import Image
    except ImportError:
        raise BenchmarkError("--image needs Pillow; run: pip install pillow") from None
    import numpy as np

    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode not in ("RGB", "L"):
                raise BenchmarkError(f"--image: take an RGB or grey photo, not one of mode {image.mode}")
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as exc:  # what Pillow raises for damaged files
        raise BenchmarkError("--image is not a whole JPEG or PNG; take another photo") from exc


def resize_and_crop(image: Any, spec: Record) -> Any:
    """The shorter side to ``spec["resize"]`` pixels, then the centre: uint8 (height, width, 3).

    The same integers as ghostedge.data.preprocess.resize_and_crop, where the rule (OpenCV's INTER_LINEAR) is explained;
    repeated here because this file travels alone, and held to it bit for bit by tests/benchmarks.
    """
    import numpy as np

    if spec["resize_rule"] != "opencv_linear":
        raise BenchmarkError(f"--image: the model's resize rule {spec['resize_rule']} is not known here")

    def axis(source: int, target: int, count: int) -> tuple[Any, Any]:
        position = (np.arange(count) + (target - count) // 2 + 0.5) * (1.0 / (target / source)) - 0.5
        position = position.astype(np.float32)
        index = np.floor(position)
        return index.astype(np.intp), position - index

    def weights(fraction: Any) -> Iterator[Any]:
        one = np.float32(1)
        return (np.rint(part * np.float32(2048)).astype(np.int32) for part in (one - fraction, fraction))

    height, width = image.shape[:2]
    longer = int(np.float32(max(height, width)) / np.float32(min(height, width)) * np.float32(spec["resize"]))
    rows, columns = (spec["resize"], longer) if height < width else (longer, spec["resize"])
    index, fraction = axis(width, columns, spec["width"])
    fraction[(index < 0) | (index >= width - 1)] = 0
    index = np.clip(index, 0, width - 1)
    left, right = (np.repeat(weight, 3) for weight in weights(fraction))
    row, fraction = axis(height, rows, spec["height"])
    upper, lower = np.clip(row, 0, height - 1), np.clip(row + 1, 0, height - 1)
    weight_upper, weight_lower = (weight[:, None] for weight in weights(fraction))
    used, place = np.unique(np.concatenate([upper, lower]), return_inverse=True)
    lines = image[used].take(index, axis=1).reshape(len(used), -1) * left
    lines += image[used].take(np.minimum(index + 1, width - 1), axis=1).reshape(len(used), -1) * right
    lines >>= 4
    place = place.reshape(-1)
    out = lines[place[: spec["height"]]] * weight_upper >> 16
    out += lines[place[spec["height"] :]] * weight_lower >> 16
    out += 2
    out >>= 2
    return out.astype(np.uint8).reshape(spec["height"], spec["width"], 3)


def to_tensor(image: Any, spec: Record, runtime: Any) -> Any:
    """A cropped picture as the model's input tensor: range, colours, layout, type (quantised where it is)."""
    import numpy as np

    out = image.astype(np.float32)
    if spec["range"] == "normalised":
        out -= np.array([255 * value for value in spec["mean"]], np.float32)
        out /= np.array([255 * value for value in spec["std"]], np.float32)
    if spec["colour_order"] == "BGR":
        out = out[..., ::-1]
    if spec["layout"] == "NCHW":
        out = out.transpose(2, 0, 1)
    return quantised(out[None], runtime)


def quantised(values: Any, runtime: Any) -> Any:
    """Float values as the model's input type."""
    import numpy as np

    dtype = np.dtype(runtime.dtype)
    if runtime.quantization is not None:
        scale, zero = runtime.quantization
        values = np.rint(values / np.float32(scale)) + zero
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return np.ascontiguousarray(values.astype(dtype).reshape(runtime.shape))


def noise(spec: Record | None, runtime: Any) -> Any:
    """Reproducible input: the same values on every machine, in the range that pictures have."""
    import numpy as np

    generator = np.random.default_rng(0)
    if spec is None:
        return quantised(generator.random(runtime.shape, dtype=np.float32), runtime)
    picture = generator.integers(0, 256, (spec["height"], spec["width"], 3), dtype=np.uint8)
    return to_tensor(picture, spec, runtime)
