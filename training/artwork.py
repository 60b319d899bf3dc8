"""Fetch the pinned artwork packages and turn the pictures of the demo into one array of sprites.

Run once before anything else here (Node.js is needed; about a minute, 200 MB):

    python training/artwork.py

It installs ``artwork/package-lock.json`` (exact versions, checked by hash) into the cache, draws every picture of
``classes.txt`` and ``distractors.txt`` with librsvg, and writes ``sprites_*.npy``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent / ".cache" / "artwork"
SIZES = (256, 128, 64)  # pixels, the longer side of a sprite, finest first
#: Drawing styles = npm packages. The last one is held out: it is drawn in no training or calibration picture.
STYLES = ("noto", "noto-v1", "twemoji", "fluent-emoji", "fluent-emoji-flat", "emojione")
HELD_OUT_STYLE = STYLES.index("emojione")


class ArtworkError(Exception):
    """The artwork is not there; the message is one line that says which part and what to run."""


@dataclass(frozen=True)
class Artwork:
    """The sprites a picture is composed of.

    Attributes:
        classes: names of the classes, in the order of the labels.
        upright: per class, whether mirroring would change it (a clock at three o'clock shows nine).
        sprites: one array a size, finest first: uint8 (classes + distractors, styles, side, side, 4), RGBA with the
            colours multiplied by alpha, centred, the drawn part touching the border on its longer side.
    """

    classes: tuple[str, ...]
    upright: tuple[bool, ...]
    sprites: tuple[NDArray[np.uint8], ...]


def read_names(path: Path) -> list[tuple[str, bool]]:
    """(name, upright) of each line of a list of names."""
    lines = [line.split() for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return [(words[0], "upright" in words[1:]) for words in lines]


def load_artwork(cache: Path = CACHE) -> Artwork:
    """Map the sprites that `save_artwork` put into `cache`. Raises: ArtworkError when they are not there."""
    paths = [cache / "names.json", *(cache / f"sprites_{size}.npy" for size in SIZES)]
    if absent := [str(path) for path in paths if not path.exists()]:
        raise ArtworkError(f"the artwork is not installed: {absent[0]} is missing; run: python training/artwork.py")
    names = json.loads(paths[0].read_text())
    sprites = tuple(np.load(path, mmap_mode="r") for path in paths[1:])
    return Artwork(tuple(names["classes"]), tuple(names["upright"]), sprites)


def save_artwork(art: Artwork, cache: Path) -> None:
    """Write what `load_artwork` reads; the names last, so that a killed run leaves none rather than half of it."""
    names = cache / "names.json"
    names.unlink(missing_ok=True)
    for level, size in zip(art.sprites, SIZES, strict=True):
        np.save(cache / f"sprites_{size}.npy", level)
    names.write_text(json.dumps({"classes": art.classes, "upright": art.upright}))


def missing_packages(folder: Path) -> list[str]:
    """The artwork packages that are not installed in `folder`/node_modules."""
    return [s for s in STYLES if not (folder / "node_modules" / "@iconify-json" / s / "icons.json").exists()]


def square_sprite(path: Path, size: int) -> NDArray[np.uint8]:
    """The drawn part of a PNG, its longer side scaled to `size`, centred: uint8 (size, size, 4), premultiplied."""
    import cv2
    from PIL import Image

    with Image.open(path) as opened:
        rgba = np.asarray(opened.convert("RGBA")).astype(np.float32)
    rows, columns = np.nonzero(rgba[..., 3] > 8)
    rgba = rgba[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    rgba[..., :3] *= rgba[..., 3:] / 255  # or the colour under transparent pixels bleeds into the edges
    scale = size / max(rgba.shape[:2])
    height, width = (max(1, round(n * scale)) for n in rgba.shape[:2])
    rgba = cv2.resize(rgba, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    out = np.zeros((size, size, 4), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    out[top : top + height, left : left + width] = np.clip(np.rint(rgba), 0, 255)
    return out


def main(argv: list[str] | None = None) -> int:
    """Install, draw, pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=CACHE, help="where packages and sprites are kept (%(default)s)")
    parser.add_argument("--offline", action="store_true", help="use the packages already in the cache; install nothing")
    args = parser.parse_args(argv)
    args.cache.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / "artwork" / name, args.cache / name)
    if shutil.which("node") is None or shutil.which("npm") is None:
        print("artwork: Node.js is not installed (node, npm); run: apt-get install nodejs npm", file=sys.stderr)
        return 1
    if not args.offline:
        install = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=args.cache, stdout=sys.stderr)
        if install.returncode:
            print("artwork: npm could not install training/artwork/package-lock.json, see above", file=sys.stderr)
            return 1
    if absent := missing_packages(args.cache):
        packages = ", ".join(f"@iconify-json/{name}" for name in absent)
        print(f"artwork: {packages} not installed in {args.cache}; run: python training/artwork.py", file=sys.stderr)
        return 1
    classes, distractors = (read_names(HERE / file) for file in ("classes.txt", "distractors.txt"))
    names = [name for name, _ in classes + distractors]
    (args.cache / "names.txt").write_text("\n".join(names))
    png = args.cache / "png"
    render = ["node", str(HERE / "artwork" / "render.mjs"), str(png), str(SIZES[0]), "names.txt", *STYLES]
    if subprocess.run(render, cwd=args.cache).returncode:
        print("artwork: a picture could not be drawn, see above", file=sys.stderr)
        return 1
    sprites = tuple(
        np.stack([[square_sprite(png / style / f"{name}.png", size) for style in STYLES] for name in names])
        for size in SIZES
    )
    save_artwork(Artwork(tuple(n for n, _ in classes), tuple(u for _, u in classes), sprites), args.cache)
    print(f"{len(names)} names x {len(STYLES)} styles drawn into {args.cache}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
