"""The preprocessing gives MindSpore's bytes: on photos, on every kind of JPEG and PNG, on any size."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ghostedge.data.images import sample_images
from ghostedge.data.preprocess import (
    MAX_PIXELS,
    decode,
    normalise,
    preprocess,
    preprocess_batch,
    resize_and_crop,
    resized_size,
    to_spec,
)
from ghostedge.errors import ImageError, MissingExtraError
from ghostedge.lazy import require
from ghostedge.model import InputSpec

# SHA-256 of what MindSpore 2.9.0 makes of the sample images: the uint8 crop (224, 224, 3), and the float32
# (3, 224, 224) after Normalize and HWC2CHW. They hold where there is no MindSpore: on a Raspberry Pi, in an app.
GOLDEN = {
    "astronaut.jpg": (
        "c896f2ecc3e405ae6fde50b166bda1e1aa6794348bcaff95ac9782248e1b8530",
        "57934f76a246d2d599c5a474100b9a84da12e773bee8d6d9f6a103a031f25cf2",
    ),
    "cameraman.jpg": (
        "6295695ee19ac7571820cab0f85f8ad8c70b3be59383fa7040f68504b3b93c66",
        "0ca72a8c09b5d177cdcd69a9f32a640f2dd10bfeb8042d1bef23e3a225ebe1c6",
    ),
    "cat.jpg": (
        "96a0ce0fc07d51c1ec26cf89b98c2801d2ff2f257883de409467138e1e18d673",
        "dd99ac9e05cfbbf48c6f48af271bba8bc6fed24c5a5c108f871ec65994586b6d",
    ),
    "clock.jpg": (
        "efbc2a7905696e4d600ffeca94a51ee2fcd3fc4dcc0c8042bea53a884bea68d5",
        "4566dad37955e7450f106c0b123921d4984eb156ec9b963578a098ebc4074f4f",
    ),
    "coffee.jpg": (
        "5a98ded9d24ba57a0513997abe5ac8d933ff44a6c4b85d8ae46e7749aa8db34d",
        "a092bfc4a24384a87f867a27b5f5281fa93839467d6c26f15cdfe8889f6a990c",
    ),
    "deep_field.jpg": (
        "321f7a93138e9218e589607ca0307d0b4adad4205e3dec5d49958be14bc3fdd4",
        "871cc66c78da995e23fc27c17c0d3ebc51e4387e3f501a9521e9745e70bdb6cd",
    ),
    "retina.jpg": (
        "cdc40dbbfb83ad7146fea6e6671cdfc6a2161f1bf30a894aeb01d3eb16991a56",
        "b353d4706a8ca37b4028eb80382dafa937d3c629bad643295ef53dd031b20f02",
    ),
    "rocket.jpg": (
        "7908f6f4d254f135b30a53b9ff7033e7a42024f60a8b759756dc6368c908c61e",
        "9f469e104980e07d0a66eff1db5ac3b5b21328141208254c65b4212cefb8276e",
    ),
}


@pytest.fixture(scope="module")
def mindspore() -> SimpleNamespace:
    """MindSpore's own `decode(bytes)`, `crop(image, spec)` and `preprocess(bytes, spec)`."""
    try:
        vision = require("mindspore.dataset.vision", "mindspore")
    except MissingExtraError as exc:
        pytest.skip(f"left out: {exc}")

    def decode(data: bytes) -> Any:
        return vision.Decode()(np.frombuffer(data, np.uint8))

    def crop(image: NDArray[np.uint8], spec: InputSpec) -> Any:
        return vision.CenterCrop((spec.height, spec.width))(vision.Resize(spec.resize)(image))

    def whole(data: bytes, spec: InputSpec) -> Any:
        normalize = vision.Normalize([255 * value for value in spec.mean], [255 * value for value in spec.std])
        return vision.HWC2CHW()(normalize(crop(decode(data), spec)))

    return SimpleNamespace(decode=decode, crop=crop, preprocess=whole)


def test_photos_as_mindspore(mindspore: SimpleNamespace, photos: list[Path]) -> None:
    spec = InputSpec()
    assert len(photos) == 66
    for photo in photos:
        expected = mindspore.preprocess(photo.read_bytes(), spec)
        assert preprocess(photo, spec).dtype == expected.dtype == np.float32
        assert np.array_equal(preprocess(photo, spec)[0], expected), photo.name


def test_golden_hashes_are_mindspore_s(mindspore: SimpleNamespace) -> None:
    for path in sample_images():
        data = path.read_bytes()
        crop = mindspore.crop(mindspore.decode(data), InputSpec())
        assert GOLDEN[path.name] == (_sha256(crop), _sha256(mindspore.preprocess(data, InputSpec())))


def test_golden_hashes() -> None:
    assert GOLDEN.keys() == {path.name for path in sample_images()}
    for path in sample_images():
        crop = resize_and_crop(decode(path), InputSpec())
        assert GOLDEN[path.name] == (_sha256(crop), _sha256(preprocess(path, InputSpec())[0])), path.name


def _sha256(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


# --- Decode -----------------------------------------------------------------------------------------------------------


def picture(channels: int, height: int = 61, width: int = 83) -> NDArray[np.uint8]:
    """A smooth random picture: JPEG keeps its values apart, unlike noise."""
    rng = np.random.default_rng(channels)
    coarse = rng.integers(0, 256, (9, 11, channels), dtype=np.uint8)
    planes = [
        Image.fromarray(coarse[..., i]).resize((width, height), Image.Resampling.BICUBIC) for i in range(channels)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def save(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def rgb() -> Image.Image:
    return Image.fromarray(picture(3))


def rotated_by_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: turn by 90 degrees
    return exif


def cmyk(*, adobe: bool = True, ycck: bool = False) -> bytes:
    data = bytearray(save(Image.frombytes("CMYK", (83, 61), picture(4).tobytes()), "JPEG"))
    marker = data.index(b"Adobe")
    data[marker + 11] = 2 if ycck else 0  # Adobe's transform flag
    if not adobe:
        data[marker : marker + 5] = b"Other"
    return bytes(data)


def png(pixels: NDArray[Any], depth: int, colour_type: int, *chunks: bytes) -> bytes:
    """A PNG of any bit depth; Pillow writes only some of them."""
    height, width = pixels.shape[:2]
    if depth == 16:
        raw = pixels.astype(">u2").tobytes()
    else:
        bits = np.unpackbits(pixels.reshape(height, -1, 1).astype(np.uint8), axis=2)[:, :, 8 - depth :]
        raw = np.packbits(bits.reshape(height, -1), axis=1).tobytes()
    stride = len(raw) // height
    lines = b"".join(b"\0" + raw[y * stride : (y + 1) * stride] for y in range(height))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def deep(channels: int) -> NDArray[Any]:
    return np.random.default_rng(16).integers(0, 1 << 16, (41, 57, channels))


IMAGES: dict[str, Callable[[], bytes]] = {
    "jpeg 4:4:4": lambda: save(rgb(), "JPEG", quality=90, subsampling=0),
    "jpeg 4:2:2": lambda: save(rgb(), "JPEG", quality=30, subsampling=1),
    "jpeg 4:2:0": lambda: save(rgb(), "JPEG", quality=75, subsampling=2),
    "jpeg 4:1:1": lambda: save(rgb(), "JPEG", quality=75, subsampling="4:1:1"),
    "jpeg progressive": lambda: save(rgb(), "JPEG", quality=75, progressive=True),
    "jpeg stored as RGB": lambda: save(rgb(), "JPEG", keep_rgb=True),
    "jpeg grey": lambda: save(rgb().convert("L"), "JPEG"),
    "jpeg CMYK": cmyk,
    "jpeg CMYK without Adobe marker": lambda: cmyk(adobe=False),
    "jpeg YCCK": lambda: cmyk(ycck=True),
    "jpeg turned by EXIF": lambda: save(rgb(), "JPEG", exif=rotated_by_exif()),
    "jpeg of several pictures": lambda: save(rgb(), "MPO", save_all=True, append_images=[rgb().rotate(90)]),
    "jpeg with bytes after its end": lambda: save(rgb(), "JPEG") + b"more",
    "jpeg of one pixel": lambda: save(rgb().crop((0, 0, 1, 1)), "JPEG"),
    "png RGB": lambda: save(rgb(), "PNG"),
    "png grey": lambda: save(rgb().convert("L"), "PNG"),
    "png RGBA": lambda: save(Image.fromarray(picture(4)), "PNG"),
    "png grey with alpha": lambda: save(Image.frombytes("LA", (83, 61), picture(2).tobytes()), "PNG"),
    "png palette": lambda: save(rgb().quantize(200), "PNG"),
    "png palette of 4 colours": lambda: save(rgb().quantize(4), "PNG"),
    "png palette, a transparent colour": lambda: save(rgb().quantize(200), "PNG", transparency=3),
    "png palette with alpha": lambda: save(rgb().quantize(200), "PNG", transparency=bytes(range(200))),
    "png RGB, a transparent colour": lambda: save(rgb(), "PNG", transparency=(1, 2, 3)),
    "png black and white": lambda: save(rgb().convert("1"), "PNG"),
    "png grey 2 bits": lambda: png(deep(1)[..., 0] >> 14, 2, 0),
    "png grey 4 bits": lambda: png(deep(1)[..., 0] >> 12, 4, 0),
    "png grey 16 bits": lambda: png(deep(1)[..., 0], 16, 0),
    "png grey with alpha 16 bits": lambda: png(deep(2), 16, 4),
    "png RGB 16 bits": lambda: png(deep(3), 16, 2),
    "png RGBA 16 bits": lambda: png(deep(4), 16, 6),
    "png with gamma": lambda: png(picture(3), 8, 2, chunk(b"gAMA", struct.pack(">I", 100_000))),
    "png with background colour": lambda: png(picture(4), 8, 6, chunk(b"bKGD", struct.pack(">HHH", 9, 200, 30))),
    "png turned by EXIF": lambda: save(rgb(), "PNG", exif=rotated_by_exif()),
}


@pytest.mark.parametrize("name", IMAGES)
def test_decode_as_mindspore(name: str, mindspore: SimpleNamespace) -> None:
    data = IMAGES[name]()
    assert np.array_equal(decode(data), mindspore.decode(data))


def test_decode_reads_files_whatever_their_extension(tmp_path: Path) -> None:
    path = tmp_path / "n02105855_2933.JPEG"  # in ImageNet's training set a file of such a name is a PNG
    path.write_bytes(save(rgb(), "PNG"))
    assert np.array_equal(decode(path), picture(3))
    assert np.array_equal(decode(str(path)), decode(path.read_bytes()))


# --- Resize, CenterCrop -----------------------------------------------------------------------------------------------

SPECS = (
    InputSpec(),
    InputSpec(height=256, width=256),
    InputSpec(resize=235),
    InputSpec(resize=331, height=331, width=200),
    InputSpec(resize=224, height=1),
)


def sizes() -> list[tuple[int, int]]:
    """Heights and widths: 1 pixel, tiny, elongated, photo-sized, exact multiples and divisors of 256."""
    rng = np.random.default_rng(256)
    random = [*rng.integers(1, 30, (20, 2)), *rng.integers(100, 700, (20, 2)), *rng.integers(200, 300, (20, 2))]
    multiples = [(512, 512), (512, 768), (1024, 640), (128, 128), (64, 320), (256, 256), (256, 999)]
    elongated = [(1, 1), (1, 900), (900, 1), (2, 1001), (1500, 7), (40, 2000)]
    return [(int(height), int(width)) for height, width in [*random, *multiples, *elongated]]


def test_resize_and_crop_as_mindspore(mindspore: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate(sizes()):
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)  # the hardest: neighbours differ the most
        spec = SPECS[number % len(SPECS)]
        assert np.array_equal(resize_and_crop(noise, spec), mindspore.crop(noise, spec)), (height, width, spec)


def test_crop_offset_is_floored() -> None:
    # 15 rows are too many: 7 go above, 8 below. The image has the size of `resize`, so nothing is interpolated.
    rows = np.arange(239, dtype=np.uint8)[:, None, None].repeat(239, axis=1).repeat(3, axis=2)
    crop = resize_and_crop(rows, InputSpec(resize=239))
    assert (crop[0, 0, 0], crop[-1, 0, 0]) == (7, 230)


@pytest.mark.parametrize(
    ("size", "resize", "expected"),
    [
        ((375, 500), 256, (256, 341)),  # 341.33
        ((500, 375), 256, (341, 256)),
        ((256, 256), 256, (256, 256)),
        ((5, 21), 235, (235, 986)),  # exactly 987; float32(21 / 5) * 235 is just below it
        ((129, 66_113), 256, (256, 131_201)),  # 131,200.99 is rounded up by float32
    ],
)
def test_resized_size(size: tuple[int, int], resize: int, expected: tuple[int, int]) -> None:
    assert resized_size(*size, resize) == expected


def test_pillow_rule_is_pillow_s_and_not_mindspore_s() -> None:
    image = picture(3, 300, 480)
    spec = InputSpec(resize_rule="pillow_bilinear")
    whole = Image.fromarray(image).resize((409, 256), Image.Resampling.BILINEAR)
    assert np.array_equal(resize_and_crop(image, spec), np.asarray(whole)[16:240, 92:316])
    difference = np.abs(resize_and_crop(image, spec).astype(int) - resize_and_crop(image, InputSpec()))
    assert difference.max() > 0


@pytest.fixture(scope="module")
def tensorflow() -> Any:
    return pytest.importorskip("tensorflow")


#: Sizes that shrink, grow, do both nearly not at all, and have more columns or rows than the other.
SIZES = [(300, 480), (480, 300), (256, 256), (257, 255), (31, 47), (5, 400), (1000, 1500), (1, 1)]


@pytest.mark.parametrize("size", SIZES)
def test_tensorflow_rule_is_tensorflows_to_the_bit(size: tuple[int, int], tensorflow: Any) -> None:
    image = picture(7, *size)
    rows, columns = resized_size(*size, 256)
    top, left = (rows - 224) // 2, (columns - 224) // 2
    whole = tensorflow.image.resize(image, (rows, columns)).numpy()
    found = resize_and_crop(image, InputSpec(resize_rule="tensorflow_bilinear"))
    assert found.dtype == np.float32
    assert np.array_equal(found, whole[top : top + 224, left : left + 224])


def test_tensorflow_rule_on_photos_is_that_of_a_tensorflow_user(photos: list[Path], tensorflow: Any) -> None:
    spec = InputSpec(layout="NHWC", resize_rule="tensorflow_bilinear")
    mean, std = (np.array([255 * v for v in values], np.float32) for values in (spec.mean, spec.std))
    for photo in photos[:8]:
        image = decode(photo)
        rows, columns = resized_size(*image.shape[:2], 256)
        top, left = (rows - 224) // 2, (columns - 224) // 2
        resized = tensorflow.image.resize(image, (rows, columns))
        cropped = tensorflow.image.crop_to_bounding_box(resized, top, left, 224, 224)
        expected = ((cropped - mean) / std).numpy()[None]
        np.testing.assert_allclose(preprocess(photo, spec), expected, rtol=0, atol=1e-6)  # its division is not exact


def test_tensorflow_rule_is_neither_of_the_others() -> None:
    image = np.random.default_rng(0).integers(0, 256, (900, 1500, 3), dtype=np.uint8)
    found = resize_and_crop(image, InputSpec(resize_rule="tensorflow_bilinear"))
    # OpenCV's rule has the same taps with weights in 1/2048, and rounds: 0.5 grey levels and a little.
    assert 0.1 < np.abs(found - resize_and_crop(image, InputSpec())).max() < 0.8
    assert np.abs(found - resize_and_crop(image, InputSpec(resize_rule="pillow_bilinear"))).max() > 50


def test_tensorflow_rule_into_a_uint8_input_is_cast_as_tensorflow_casts(tensorflow: Any) -> None:
    image = picture(7, 300, 480)
    spec = InputSpec(layout="NHWC", dtype="uint8", range="raw", resize_rule="tensorflow_bilinear")
    cast = tensorflow.cast(tensorflow.image.resize(image, (256, 409)), tensorflow.uint8).numpy()
    assert np.array_equal(to_spec(resize_and_crop(image, spec)[None], spec)[0], cast[16:240, 92:316])


# --- Normalize, layouts -----------------------------------------------------------------------------------------------


def test_normalise_as_mindspore_for_every_value(mindspore: SimpleNamespace) -> None:
    # `resize` of the size of the image, so that every value arrives at Normalize as it is.
    values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    for mean, std in ((InputSpec.mean, InputSpec.std), ((0.5, 0.1, 0.9), (0.5, 1.0, 1 / 255))):
        spec = InputSpec(height=16, width=16, resize=16, mean=mean, std=std)
        expected = mindspore.preprocess(save(Image.fromarray(values), "PNG"), spec)
        assert np.array_equal(normalise(values, spec).transpose(2, 0, 1), expected)


def test_to_spec_layouts_ranges_and_colour_order() -> None:
    images = np.stack([picture(3, 8, 6), picture(3, 8, 6)[::-1]])
    base = InputSpec(height=8, width=6, resize=8, layout="NHWC", dtype="uint8", range="raw")
    assert np.array_equal(to_spec(images, base), images)
    nchw = to_spec(images, dataclasses.replace(base, layout="NCHW", dtype="float32"))
    assert (nchw.dtype, nchw.shape, nchw.flags.c_contiguous) == (np.float32, (2, 3, 8, 6), True)
    assert np.array_equal(nchw, images.transpose(0, 3, 1, 2))
    # mean and std stay in the order R, G, B: blue is normalised as blue, then takes the first place.
    normal = dataclasses.replace(base, dtype="float32", range="normalised")
    bgr = to_spec(images, dataclasses.replace(normal, colour_order="BGR"))
    assert np.array_equal(bgr, normalise(images, normal)[..., ::-1])
    assert not np.array_equal(bgr, normalise(images[..., ::-1], normal))


def test_preprocess_batch_keeps_the_order() -> None:
    paths = sample_images()[:3]
    batch = preprocess_batch(paths, InputSpec(layout="NHWC"))
    assert batch.shape == (3, 224, 224, 3)
    for row, path in zip(batch, paths, strict=True):
        assert np.array_equal(row, preprocess(path, InputSpec(layout="NHWC"))[0])


# --- Bad input --------------------------------------------------------------------------------------------------------


def forged_png(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "0 bytes"),
    "text": (lambda: b"not a picture at all\n" * 9, "not an image"),
    "zeros": (lambda: bytes(5000), "not an image"),
    "gif": (lambda: save(rgb(), "GIF"), "GIF"),
    "webp": (lambda: save(rgb(), "WEBP"), "WebP"),
    "tiff": (lambda: save(rgb(), "TIFF"), "TIFF"),
    "heic": (lambda: b"\0\0\0\x18ftypheic" + bytes(100), "HEIC"),
    "jpeg magic alone": (lambda: b"\xff\xd8\xff", "not a whole JPEG"),
    "jpeg without end": (lambda: save(rgb(), "JPEG")[:-2], "truncated"),
    "jpeg cut in the middle": (lambda: save(rgb(), "JPEG")[:1500], "truncated"),
    "jpeg cut in its header": (lambda: save(rgb(), "JPEG")[:200], "not a whole JPEG"),
    "progressive jpeg cut": (lambda: save(rgb(), "JPEG", progressive=True)[:1500], "truncated"),
    "png cut in the middle": (lambda: save(rgb(), "PNG")[:2000], "not a whole PNG"),
    "png without end": (lambda: save(rgb(), "PNG")[:-12], "not a whole PNG"),
    "png with damaged data": (
        lambda: save(rgb(), "PNG")[:99] + b"\0" * 9 + save(rgb(), "PNG")[108:],
        "not a whole PNG",
    ),
    "png of no pixels": (lambda: forged_png(0, 0), "not a whole PNG"),
    "png of too many pixels": (lambda: forged_png(60_000, 60_000), "at most 200 million"),
    "png of fewer lines than said": (lambda: forged_png(100, 100), "not a whole PNG"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_line_that_names_the_file(name: str, tmp_path: Path) -> None:
    make, reason = BAD[name]
    path = tmp_path / "photo.jpg"
    path.write_bytes(make())
    with pytest.raises(ImageError) as error:
        decode(path)
    assert str(path) in str(error.value)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.jpg does not exist"):
        decode(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        decode(tmp_path)
    with pytest.raises(ImageError, match="cannot be read"):
        decode("a\0b.jpg")


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(ImageError, match="cannot be read: Permission denied"):
        decode(tmp_path / "secret.jpg")


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    width = 20_000
    assert width * (MAX_PIXELS // width) == MAX_PIXELS
    with pytest.raises(ImageError, match="scale it down"):
        decode(forged_png(width, MAX_PIXELS // width + 1))


def test_an_elongated_image_does_not_fill_memory_under_the_pillow_rule() -> None:
    line = np.zeros((1, 5_000_000, 3), np.uint8)  # 256 x 1,280,000,000 when resized
    assert resize_and_crop(line, InputSpec()).shape == (224, 224, 3)
    with pytest.raises(ImageError, match="crop it first"):
        resize_and_crop(line, InputSpec(resize_rule="pillow_bilinear"))
