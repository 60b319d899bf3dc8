"""Make small pictures of a data set's images that travel inside a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable

from ghostedge.data.datasets import Dataset
from ghostedge.errors import ImageError
from ghostedge.lazy import require

__all__ = ["thumbnails"]

#: Twice the size they are shown at, for dense screens. Pixels.
_SIDE = 112


def thumbnails(dataset: Dataset, image_ids: Iterable[str]) -> dict[str, str]:
    """Image id -> ``data:image/jpeg`` address of its centre, 112 x 112 pixels, about 4 kB.

    Images that the data set does not have or that cannot be decoded are left out: a report is no place to fail on them.

    Args:
        dataset: where the images are.
        image_ids: of the images to show.
    """
    image_module, operations = require("PIL.Image", "evaluate"), require("PIL.ImageOps", "evaluate")
    place = {name.decode(): index for index, name in enumerate(dataset.image_ids)}
    made: dict[str, str] = {}
    for name in image_ids:
        if name in made or name not in place:
            continue
        try:
            with image_module.open(io.BytesIO(dataset.source(place[name]).read())) as image:
                image.draft("RGB", (2 * _SIDE, 2 * _SIDE))  # a JPEG is decoded at a fraction of its size
                small = operations.fit(image.convert("RGB"), (_SIDE, _SIDE))
        except (ImageError, OSError, ValueError, SyntaxError, image_module.DecompressionBombError):
            continue
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=72, optimize=True)
        made[name] = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return made
