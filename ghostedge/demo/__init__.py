"""The trained demo: a GhostNetV2-1x checkpoint of 200 classes and the images it was not trained on.

In the folder ``files``:

========================== =================================================================================
file                       what it is
========================== =================================================================================
``artwork_1x.ckpt``        the checkpoint: official names, gates upsampled bilinearly with aligned corners
``labels.txt``             its class names, one a line, in the order of the logits
``validation/``            JPEGs in class folders
``calibration/``           JPEGs in class folders, for quantisation; no image is in both
``reference.parquet``      MindSpore's own answers on ``validation/``: the reference ledger of ``ghostedge parity``
``reference_hf32.parquet`` the same with every convolution in HF32, as Ascend computes by default, emulated on a CPU by
                           ``benchmarks/reduced_mantissa.py``: the noise floor of ``ghostedge parity``
``training.json``          how the checkpoint was trained and what it reaches on ``validation/``
``training.jsonl``         the training log, a line every 20 steps
``ATTRIBUTION.md``         whose artwork the images are composed of, and under which licences
``SHA256SUMS``             the hash of every file above, as ``sha256sum`` writes it
========================== =================================================================================

The recipe in the folder ``training`` of the repository makes all of them. The wheel of ghostedge leaves them out; the
distribution ``ghostedge-demo`` (extra ``demo``) holds them.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from ghostedge.errors import DatasetError
from ghostedge.files import sha256_file


def _find() -> Path:
    """The folder ``files``: of the clone, or of the distribution ghostedge-demo."""
    own = Path(__file__).resolve().parent / "files"
    installed = importlib.util.find_spec("ghostedge_demo")
    if own.is_dir() or installed is None or installed.origin is None:
        return own
    return Path(installed.origin).resolve().parent / "files"


#: Where the demo's files are.
FILES = _find()

#: The second run of the reference that the demo's report shows as its noise floor.
NOISE_FLOOR = "reference_hf32.parquet"

_SUMS = "SHA256SUMS"
_WAY_OUT = "run: pip install --force-reinstall ghostedge-demo (in a clone: git checkout ghostedge/demo/files)"
_NOT_INSTALLED = "the demo's files are not installed; run: pip install 'ghostedge[demo]'"


def demo_file(name: str) -> Path:
    """The file or the folder of images `name`. Raises: DatasetError where it is missing."""
    path = FILES / name
    if not FILES.is_dir():
        raise DatasetError(_NOT_INSTALLED)
    if not path.exists():
        raise DatasetError(f"the demo file {path} is missing; {_WAY_OUT}")
    return path


def demo_record() -> dict[str, Any]:
    """How the checkpoint was trained and what it reaches: the content of ``training.json``. Raises: DatasetError."""
    record: dict[str, Any] = json.loads(demo_file("training.json").read_text(encoding="utf-8"))
    return record


def verify_demo_files(folder: Path | None = None) -> int:
    """Compare every demo file with its recorded hash.

    Args:
        folder: where the files are; the installed ones where None.

    Returns:
        How many files were compared.

    Raises:
        DatasetError: files are missing, were changed, or do not belong there; the message names the first of them.
    """
    folder = FILES if folder is None else folder
    if not folder.is_dir():
        raise DatasetError(_NOT_INSTALLED)
    try:
        lines = (folder / _SUMS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as exc:
        raise DatasetError(f"the demo file {folder / _SUMS} is missing; {_WAY_OUT}") from exc
    except OSError as exc:
        raise DatasetError(f"cannot read {folder / _SUMS}: {exc.strerror}; {_WAY_OUT}") from exc
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    missing = [name for name in expected if not (folder / name).is_file()]
    changed = [name for name in expected if name not in missing and sha256_file(folder / name) != expected[name]]
    # Images alone: an added one would be evaluated, anything else beside them changes nothing.
    images = (path for split in ("validation", "calibration") for path in (folder / split).glob("*/*"))
    added = sorted(name for path in images if (name := path.relative_to(folder).as_posix()) not in expected)
    for what, names in (
        ("is missing", missing),
        ("has another sha256 than recorded", changed),
        ("does not belong there", added),
    ):
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise DatasetError(f"the demo file {folder / names[0]} {what}{more}; {_WAY_OUT}")
    return len(expected)
