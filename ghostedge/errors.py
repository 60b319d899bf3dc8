"""Every error that ghostedge raises on purpose.

::

    GhostedgeError                  exit code 1: the tool could not do what was asked
    ├── UsageError                  an argument or a combination of arguments that makes no sense
    ├── MissingExtraError           a package of an optional extra is not installed
    ├── OutputError                 a file could not be written (permissions, full disk)
    ├── ImageError                  a file that is not an image, or not a whole one
    ├── ArtifactError               a model file that is missing, damaged or not described
    │   └── RefusedError            some of several models that cannot be run here, all named
    ├── CheckpointError             weights that are damaged or belong to another network
    ├── ConvertError                a stage could not convert its input
    │   └── UnsupportedPrimitiveError   MindIR primitives without a lowering, all of them
    ├── RecipeError                 a recipe that cannot be read or asks for the impossible
    ├── ManifestError               a manifest of another schema version, or a damaged one
    ├── FetchError                  a download that failed
    ├── DatasetError                a data set of another layout, damaged, or with impossible labels
    ├── DeviceError                 a device that cannot be reached or used for a benchmark
    ├── LedgerError                 a ledger that is damaged, or that does not fit another one
    ├── BaselineError               a gate's baseline that is missing, damaged, or asks for the impossible
    └── ParityError                 exit code 2: an artifact differs from its source by more than its bound

A message is one line: what is wrong, where, and what to do. Errors of other libraries become one of
these where the library is called (``raise ... from exc``), so ``--debug`` still shows the cause.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

__all__ = [
    "ArtifactError",
    "BaselineError",
    "CheckpointError",
    "ConvertError",
    "DatasetError",
    "DeviceError",
    "FetchError",
    "GhostedgeError",
    "ImageError",
    "LedgerError",
    "ManifestError",
    "MissingExtraError",
    "OutputError",
    "ParityError",
    "RecipeError",
    "RefusedError",
    "UnsupportedPrimitiveError",
    "UsageError",
    "first_line",
    "last_line",
]


class GhostedgeError(Exception):
    """Base of all errors here; ``exit_code`` is what the command line exits with."""

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        """One line, also where a name out of a foreign file has several."""
        return " ".join(super().__str__().split("\n"))

    def __reduce__(self) -> tuple[Any, ...]:
        """As it is, whatever its constructor takes: a worker's error is raised again by its parent."""
        return _restored, (type(self), str(self), dict(vars(self)))


def _restored(kind: type[GhostedgeError], message: str, fields: dict[str, Any]) -> GhostedgeError:
    error = kind.__new__(kind, message)
    vars(error).update(fields)
    return error


class UsageError(GhostedgeError):
    """An argument or a combination of arguments that makes no sense."""


class MissingExtraError(GhostedgeError):
    """A package of an optional extra is not installed.

    Args:
        package: the import name that is missing, e.g. ``"onnx"``.
        extra: the extra of ghostedge that installs it, e.g. ``"export"``.
    """

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(f"the package '{package}' is not installed; {_how_to_install(package, extra)}")


#: Packages that exist for Python 3.11 and 3.12 alone; pyproject.toml leaves them out on later ones.
_FOR_EXPORT = frozenset({"mindspore", "tensorflow", "tf_keras", "onnx2tf", "nncf", "ai_edge_quantizer"})

#: Extras whose versions locks/export.txt holds; those of the others are in locks/edge.txt.
_EXPORT_EXTRAS = frozenset({"all", "cluster", "demo", "export", "mindcv", "mindspore", "torch"})


def _how_to_install(package: str, extra: str) -> str:
    """The command that works for how ghostedge is installed: in a clone, or from a package index."""
    if package in _FOR_EXPORT and sys.version_info >= (3, 13):
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        return f"it does not exist for Python {here}: export with Python 3.11 or 3.12 (evaluate and benchmark run here)"
    clone = Path(__file__).resolve().parents[1]
    if (clone / "pyproject.toml").is_file():
        lock = clone / "locks" / ("export.txt" if extra in _EXPORT_EXTRAS else "edge.txt")
        return f"run: pip install --constraint {lock} --editable '{clone}[{extra}]'"
    return f"run: pip install 'ghostedge[{extra}]'"


class OutputError(GhostedgeError):
    """A file could not be written: permissions, a full disk, a directory in its place."""


class ImageError(GhostedgeError):
    """A file that is not an image, or not a whole one."""


class ArtifactError(GhostedgeError):
    """A model file that is missing, damaged, or carries no input description."""


class RefusedError(ArtifactError):
    """Some of several models cannot be run here; the others can.

    Args:
        reasons: file -> why its runtime refuses it, one line each.
        of: how many models there are.
    """

    def __init__(self, reasons: Mapping[Path, str], of: int) -> None:
        self.reasons = reasons
        super().__init__(f"{len(reasons)} of {of} models cannot be run here: {'; '.join(reasons.values())}")


class CheckpointError(GhostedgeError):
    """Weights that are damaged or belong to another network."""


class ConvertError(GhostedgeError):
    """A stage could not convert its input."""


class UnsupportedPrimitiveError(ConvertError):
    """A MindIR graph holds primitives that have no lowering.

    Args:
        nodes: primitive name -> full names of the nodes that use it.
        supported: the primitives that do have a lowering.
    """

    def __init__(self, nodes: dict[str, tuple[str, ...]], supported: tuple[str, ...]) -> None:
        self.nodes = nodes
        self.supported = supported
        listing = "; ".join(f"'{primitive}' at {', '.join(names)}" for primitive, names in sorted(nodes.items()))
        super().__init__(
            f"no lowering for {len(nodes)} primitive(s): {listing}; add one each in "
            f"ghostedge/mindir/lowerings/ (supported: {', '.join(supported)})"
        )


class RecipeError(GhostedgeError):
    """A recipe that cannot be read or asks for something that does not exist."""


class ManifestError(GhostedgeError):
    """A manifest that is damaged or of another schema version."""


class FetchError(GhostedgeError):
    """A download that failed; what already came is kept and the next call resumes it."""


class DatasetError(GhostedgeError):
    """A data set of another layout than the known ones, damaged, empty, or with labels the model does not have."""


class DeviceError(GhostedgeError):
    """A device that cannot be reached or used, or a benchmark that failed on it."""


class LedgerError(GhostedgeError):
    """A ledger that is damaged, or that does not fit the one beside it."""


class BaselineError(GhostedgeError):
    """A gate's baseline that is missing, damaged, or asks for the impossible."""


class ParityError(GhostedgeError):
    """An artifact differs from its source by more than its bound."""

    exit_code: ClassVar[int] = 2


def first_line(exc: BaseException) -> str:
    """The first line of another library's message, to end one of ours with; its type where it says nothing."""
    return next((line.strip() for line in str(exc).splitlines() if line.strip()), type(exc).__name__)


def last_line(exc: BaseException) -> str:
    """The last line instead, for libraries that name their own source files in those before it (OpenVINO)."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return lines[-1] if lines else type(exc).__name__
