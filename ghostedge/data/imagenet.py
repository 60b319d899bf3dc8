"""ImageNet's class names, and class names from a user's file."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ghostedge.errors import UsageError


@cache
def _classes() -> tuple[tuple[str, str], ...]:
    """(synset, names) in the order of the logits; source and licence are the file's own first lines."""
    text = Path(__file__).with_name("imagenet_classes.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    return tuple((synset, names) for synset, names in rows)


def imagenet_labels() -> tuple[str, ...]:
    """The names of the 1,000 classes in alphabetical order of their synsets, e.g. ``"tench, Tinca tinca"``."""
    return tuple(names for _, names in _classes())


def imagenet_synsets() -> tuple[str, ...]:
    """The WordNet synsets of the 1,000 classes, e.g. ``"n01440764"``, in alphabetical order: that of the logits."""
    return tuple(synset for synset, _ in _classes())


def load_labels(path: Path) -> tuple[str, ...]:
    """Class names from a text file: one class a line, in the order of the logits.

    In a line with tabs the name is what follows the last one, so ``n01440764<TAB>tench`` is read as well. Lines at
    the top that begin with ``#`` are skipped.

    Raises:
        UsageError: the file is missing, not UTF-8 text, empty, or has an empty line between two names.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as exc:
        raise UsageError(f"the label file {path} is not UTF-8 text; give one class name a line") from exc
    except OSError as exc:
        raise UsageError(f"cannot read the label file {path}: {exc.strerror}") from exc
    first = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    names = tuple(line.rpartition("\t")[2].strip() for line in lines[first:])
    if not names:
        raise UsageError(f"the label file {path} holds no class names; give one a line")
    if "" in names:
        raise UsageError(f"line {first + names.index('') + 1} of the label file {path} is empty; every line is a class")
    return names
