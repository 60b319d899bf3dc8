"""Find image files: the sample photographs of this package, and those in a user's folder."""

from __future__ import annotations

from pathlib import Path

from ghostedge.errors import ImageError

#: What counts as an image when a folder is listed; a file named directly may have any extension.
IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png")


def sample_images() -> tuple[Path, ...]:
    """The photographs that come with ghostedge, sorted; ``SOURCES.md`` beside them gives their authors and licences."""
    return tuple(sorted(Path(__file__).with_name("sample_images").glob("*.jpg")))


def list_images(folder: Path) -> tuple[Path, ...]:
    """The JPEG and PNG files directly in `folder`, by extension in upper or lower case, sorted by name.

    Hidden files (macOS leaves ``._photo.jpg``) are left out.

    Raises:
        ImageError: `folder` is not a readable folder, or there is no image in it.
    """
    try:
        found = sorted(
            path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
        )
    except OSError as exc:
        raise ImageError(f"cannot list the images of {folder}: {exc.strerror}") from exc
    if not found:
        raise ImageError(f"there is no image in {folder} ({', '.join(IMAGE_SUFFIXES)}); subfolders are not searched")
    return tuple(found)
