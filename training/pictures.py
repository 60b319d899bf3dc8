"""Compose labelled pictures out of the artwork: a pure function of (seed, split, index), and a command that saves them.

    python training/pictures.py --split validation --count 2000 --output DIR

writes ``DIR/<class folder>/<split>_<index>.jpg`` (ImageNet's class-folder layout), ``DIR/labels.txt`` and
``DIR/pictures.json`` (seed, split, difficulty, versions). Killed, it continues; the same values of these give the same
bytes.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import artwork
import cv2
import numpy as np
from numpy.typing import NDArray

cv2.setNumThreads(1)  # one picture is too small to share

#: Each split draws from a random stream of its own: SeedSequence([seed, SPLITS[split], index]).
SPLITS = {"train": 0, "calibration": 1, "validation": 2}
#: How hard the training pictures are in the end, and the saved ones unless told otherwise; see `compose`.
DIFFICULTY = 0.6
#: Change it with every change of what a seed draws.
VERSION = 1
Image = NDArray[np.float32]  # (height, width, 3) RGB, 0..255


@dataclass(frozen=True)
class Picture:
    """One composed picture.

    Attributes:
        pixels: uint8 (height, width, 3), RGB.
        label: index of the class.
        style: index of the drawing style in `artwork.STYLES`.
        grey: the scene is greyscale (the three channels are equal); ImageNet has such photos too.
    """

    pixels: NDArray[np.uint8]
    label: int
    style: int
    grey: bool


def stream(seed: int, split: str, index: int) -> np.random.Generator:
    """The random stream of one picture; no two (split, index) share one."""
    return np.random.default_rng([seed, SPLITS[split], index])


def smooth_field(rng: np.random.Generator, height: int, width: int, cells: int, channels: int) -> Image:
    """Random values 0..1 on a `cells` x `cells` grid, interpolated: float32 (height, width, channels)."""
    grid = rng.random((cells, cells, channels), dtype=np.float32)
    field = cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)
    return field.reshape(height, width, channels)


def background(rng: np.random.Generator, height: int, width: int, difficulty: float) -> Image:
    """A ground: smooth colour fields, stripes, and discs, bars and polygons on top, as many as `difficulty` says."""
    low, high = np.sort(rng.uniform(0, 255, (2, 3)), axis=0).astype(np.float32)
    field = smooth_field(rng, height, width, int(rng.integers(2, 9)), 3 if rng.random() < 0.7 else 1)
    ground = low + (high - low) * field
    if rng.random() < 0.4 * difficulty:  # stripes or a checker board
        angle, period = rng.uniform(0, np.pi), rng.uniform(0.04, 0.25) * min(height, width)
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * np.float32(2 * np.pi / period))
        if rng.random() < 0.5:
            wave = wave * np.sin((y * np.cos(angle) - x * np.sin(angle)) * np.float32(2 * np.pi / period))
        strength = rng.uniform(10, 70, 3).astype(np.float32)
        ground += (np.sign(wave) if rng.random() < 0.5 else wave)[..., None].astype(np.float32) * strength
    ground = np.ascontiguousarray(ground)
    for _ in range(int(rng.integers(0, 10) * difficulty)):
        colour = rng.uniform(0, 255, 3).tolist()
        centre = (rng.random(2) * (width, height)).astype(int)
        radius = rng.uniform(0.04, 0.3) * min(height, width)
        shape = rng.integers(3)
        if shape == 0:
            axes = tuple(int(max(1, radius * f)) for f in rng.uniform(0.3, 1, 2))
            cv2.ellipse(ground, tuple(map(int, centre)), axes, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_8)
        elif shape == 1:
            end = tuple(int(v) for v in centre + rng.uniform(-2, 2, 2) * radius)
            cv2.line(ground, tuple(map(int, centre)), end, colour, int(max(1, radius * 0.3)), cv2.LINE_8)
        else:
            corners = (centre + rng.uniform(-1, 1, (int(rng.integers(3, 6)), 2)) * radius).astype(np.int32)
            cv2.fillPoly(ground, [corners], colour, cv2.LINE_8)
    return ground


Sprite = tuple[int, int]  # (name, style), the first two axes of `Artwork.sprites`


def sprite_at(art: artwork.Artwork, sprite: Sprite, side: float) -> NDArray[np.float32]:
    """Premultiplied RGBA, if possible less than twice as fine as `side` pixels, or bilinear warping would alias."""
    fitting = [level for level in art.sprites if level.shape[2] < 2 * side]
    level = fitting[0] if fitting else art.sprites[-1]
    return level[sprite].astype(np.float32)


def distractor(rng: np.random.Generator, art: artwork.Artwork) -> Sprite:
    """A sprite that belongs to no class."""
    name = rng.integers(len(art.classes), len(art.sprites[0]))
    return int(name), int(rng.integers(len(artwork.STYLES)))


def paste(
    rng: np.random.Generator,
    art: artwork.Artwork,
    scene: Image,
    sprite: Sprite,
    side: float,
    centre: tuple[float, float],
    tilt: float,
    mirror: bool,
    strength: float = 1.0,
) -> None:
    """Draw `sprite` into `scene`, `side` pixels large: tilt up to `tilt` degrees, squeeze and colours by `strength`."""
    rgba = sprite_at(art, sprite, side)
    n = rgba.shape[0]
    angle = np.deg2rad(strength * rng.uniform(-tilt, tilt))
    squeeze = np.exp(strength * rng.uniform(-0.2, 0.2))
    shear = strength * rng.uniform(-0.15, 0.15)
    scale = side / n
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = rotation @ np.array([[1, shear], [0, 1]]) @ np.diag([squeeze * scale, scale / squeeze])
    if mirror and rng.random() < 0.5:
        linear = linear @ np.diag([-1.0, 1.0])
    # Only the rectangle that the sprite can touch is warped and blended.
    reach = side * 0.95
    height, width = scene.shape[:2]
    x0, x1 = max(0, int(centre[0] - reach)), min(width, int(centre[0] + reach) + 1)
    y0, y1 = max(0, int(centre[1] - reach)), min(height, int(centre[1] + reach) + 1)
    colour_mix = np.eye(3) + strength * (np.eye(3) * rng.uniform(-0.25, 0.25, 3) + rng.uniform(-0.08, 0.08, (3, 3)))
    offset = strength * rng.uniform(-20, 20, 3)
    if x1 <= x0 or y1 <= y0:
        return
    shift = np.array(centre) - (x0, y0) - linear @ np.array([(n - 1) / 2, (n - 1) / 2])
    warped = cv2.warpAffine(rgba, np.column_stack([linear, shift]), (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
    alpha = warped[..., 3:] / 255
    colour = warped[..., :3] @ colour_mix.T.astype(np.float32) + alpha * offset.astype(np.float32)
    np.clip(colour, 0, 255, out=colour)
    patch = scene[y0:y1, x0:x1]
    patch *= 1 - alpha
    patch += colour


def occlude(rng: np.random.Generator, scene: Image, side: float, centre: tuple[float, float]) -> None:
    """Cover part of the object with a disc or a bar of one colour, in place: up to about a quarter of it."""
    colour = rng.uniform(0, 255, 3).tolist()
    angle = rng.uniform(0, 2 * np.pi)
    towards = np.array([np.cos(angle), np.sin(angle)])
    if rng.random() < 0.5:
        middle = np.array(centre) + towards * side * rng.uniform(0.25, 0.5)
        cv2.circle(scene, tuple(int(v) for v in middle), int(side * rng.uniform(0.1, 0.25)), colour, -1, cv2.LINE_8)
    else:
        middle = np.array(centre) + towards * side * rng.uniform(0, 0.4)
        along = np.array([-towards[1], towards[0]]) * side
        ends = [tuple(int(v) for v in middle + sign * along) for sign in (-1, 1)]
        cv2.line(scene, ends[0], ends[1], colour, int(max(1, side * rng.uniform(0.04, 0.14))), cv2.LINE_8)


def camera(rng: np.random.Generator, scene: Image, difficulty: float) -> tuple[NDArray[np.uint8], bool]:
    """Light, lens and sensor: a light gradient, white balance, blur, noise. Returns: uint8 pixels, whether grey."""
    height, width = scene.shape[:2]
    light = 1 + difficulty * (0.75 * smooth_field(rng, height, width, 2, 1) - 0.45)
    balance = (1 + difficulty * rng.uniform(-0.15, 0.15, 3)).astype(np.float32)
    scene = scene * (light * (balance * np.float32(1 + difficulty * rng.uniform(-0.2, 0.15))))
    contrast = np.float32(1 + difficulty * rng.uniform(-0.35, 0.1))
    scene = (scene - 128) * contrast + np.float32(128 + difficulty * rng.uniform(-20, 20))
    if rng.random() < 0.4 * difficulty:
        sigma = rng.uniform(0.003, 0.010) * min(height, width)
        scene = cv2.GaussianBlur(scene, (0, 0), sigma)
    grey = bool(rng.random() < 0.03 * difficulty)
    if grey:
        luma = scene @ np.array([0.299, 0.587, 0.114], np.float32)
        scene = np.repeat(luma[..., None], 3, axis=2)
    if rng.random() < 0.5 * difficulty:
        noise = rng.standard_normal((height, width, 1), dtype=np.float32)
        scene = scene + noise * np.float32(rng.uniform(2, 10))
    return np.clip(np.rint(scene), 0, 255).astype(np.uint8), grey


def compose(
    rng: np.random.Generator,
    art: artwork.Artwork,
    label: int,
    style: int,
    height: int,
    width: int,
    crop: float,
    difficulty: float = DIFFICULTY,
) -> Picture:
    """One scene with one object of class `label`.

    Args:
        crop: the side, in pixels, of the centred square that the network will see; the object lies mostly inside.
        difficulty: 0, a large upright object on a plain ground, to 1: small, tilted, distorted, in odd colours and
            light, partly covered, in clutter, blurred, noisy.
    """
    scene = background(rng, height, width, difficulty)
    for _ in range(int(rng.integers(2, 7) * difficulty)):
        sprite = distractor(rng, art)
        place = (rng.uniform(0, width), rng.uniform(0, height))
        paste(rng, art, scene, sprite, crop * rng.uniform(0.15, 0.4), place, 180, mirror=True)
    side = crop * rng.uniform(0.78 - 0.36 * difficulty, 0.9 - 0.05 * difficulty)
    play = (crop - 0.75 * side) / 2
    centre = (width / 2 + rng.uniform(-play, play), height / 2 + rng.uniform(-play, play))
    tilt = 15 if art.upright[label] else 30
    paste(rng, art, scene, (label, style), side, centre, tilt, mirror=not art.upright[label], strength=difficulty)
    if rng.random() < 0.5 * difficulty:
        occlude(rng, scene, side, centre)
    if rng.random() < 0.3 * difficulty:  # something small in front
        sprite = distractor(rng, art)
        angle = rng.uniform(0, 2 * np.pi)
        place = (centre[0] + 0.45 * side * np.cos(angle), centre[1] + 0.45 * side * np.sin(angle))
        paste(rng, art, scene, sprite, side * rng.uniform(0.25, 0.45), place, 180, mirror=True)
    pixels, grey = camera(rng, scene, difficulty)
    return Picture(pixels, label, style, grey)


def training_picture(art: artwork.Artwork, seed: int, index: int, side: int, difficulty: float = DIFFICULTY) -> Picture:
    """Training picture `index`, composed at the `side` x `side` pixels the network sees, in a style not held out."""
    rng = stream(seed, "train", index)
    label = int(rng.integers(len(art.classes)))
    style = int(rng.integers(len(artwork.STYLES)))
    while style == artwork.HELD_OUT_STYLE:
        style = int(rng.integers(len(artwork.STYLES)))
    return compose(rng, art, label, style, side, side, side, difficulty)


def saved_subject(art: artwork.Artwork, split: str, index: int) -> tuple[int, int]:
    """(label, style) of picture `index` of a split that is saved.

    Classes take turns, so every `len(art.classes)` pictures hold each class once; so do the drawing styles, of which
    calibration leaves out the held-out one.
    """
    label = index % len(art.classes)
    styles = [s for s in range(len(artwork.STYLES)) if split == "validation" or s != artwork.HELD_OUT_STYLE]
    # + label: the round robin over styles starts elsewhere for each class, so every part of the split sees all styles.
    return label, styles[(index // len(art.classes) + label) % len(styles)]


def saved_picture(art: artwork.Artwork, seed: int, split: str, index: int, difficulty: float = DIFFICULTY) -> Picture:
    """Picture `index` of a split that is saved as JPEG: shorter side 330 to 400 pixels, longer side up to 500."""
    rng = stream(seed, split, index)
    short = int(rng.integers(330, 401))
    long = int(rng.integers(short + 20, 501))
    height, width = (short, long) if rng.random() < 0.7 else (long, short)
    label, style = saved_subject(art, split, index)
    # The network sees 224 of 256 parts of the shorter side (Resize 256, CenterCrop 224).
    return compose(rng, art, label, style, height, width, crop=short * 224 / 256, difficulty=difficulty)


def jpeg_bytes(picture: Picture, quality: int) -> bytes:
    """Encode as baseline JPEG (4:2:0); a grey scene has one component."""
    from PIL import Image as PillowImage

    image = PillowImage.fromarray(picture.pixels[..., 0] if picture.grey else picture.pixels)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


@functools.cache
def versions() -> dict[str, str]:
    """What decides the bytes besides the seed."""
    import PIL

    files = (artwork.HERE / "classes.txt", artwork.HERE / "distractors.txt", artwork.HERE / "artwork/package-lock.json")
    digest = hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()
    return {
        "generator": str(VERSION),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
        "artwork": digest,
    }


def write_split(
    art: artwork.Artwork,
    output: Path,
    split: str,
    count: int,
    seed: int,
    quality: int,
    difficulty: float = DIFFICULTY,
    progress: bool = False,
) -> None:
    """Save `count` pictures of `split` in class folders under `output`; those already there are kept.

    Raises:
        artwork.ArtworkError: `output` holds pictures of another seed, split, quality, difficulty or version.
    """
    description: dict[str, Any] = {
        "split": split,
        "seed": seed,
        "quality": quality,
        "difficulty": difficulty,
        "versions": versions(),
    }
    record = output / "pictures.json"
    if record.exists():
        before = json.loads(record.read_text())
        different = [key for key in description if before.get(key) != description[key]]
        if different:
            raise artwork.ArtworkError(
                f"{output} holds pictures made with another {', '.join(different)}; give another --output or delete it"
            )
    output.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(description, indent=1) + "\n")
    (output / "labels.txt").write_text("".join(f"{name}\n" for name in art.classes))
    for index in range(count):
        name = art.classes[index % len(art.classes)]
        path = output / name / f"{split}_{index:05d}.jpg"
        if path.exists():
            continue
        path.parent.mkdir(exist_ok=True)
        partial = path.with_name(f".partial-{path.name}")
        partial.write_bytes(jpeg_bytes(saved_picture(art, seed, split, index, difficulty), quality))
        partial.replace(path)  # so a picture is there whole or not at all, and a killed run continues
        if progress and (index + 1) % 200 == 0:
            print(f"{split}: {index + 1} of {count}", file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and write one split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("calibration", "validation"), required=True)
    parser.add_argument("--count", type=int, required=True, help="how many pictures; classes take turns")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quality", type=int, default=60, help="JPEG quality (%(default)s)")
    parser.add_argument("--difficulty", type=float, default=DIFFICULTY, help="0, plain, to 1 (%(default)s)")
    parser.add_argument("--cache", type=Path, default=artwork.CACHE)
    args = parser.parse_args(argv)
    try:
        art = artwork.load_artwork(args.cache)
        write_split(art, args.output, args.split, args.count, args.seed, args.quality, args.difficulty, progress=True)
    except artwork.ArtworkError as exc:
        print(f"pictures: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
