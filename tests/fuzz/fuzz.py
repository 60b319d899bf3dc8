"""Fuzz one reader with Atheris: ``python -m tests.fuzz.fuzz ledger -max_total_time=600`` (``make fuzz``).

Atheris is not among the test's packages: it has wheels for few Pythons, and instruments what is imported.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ghostedge"]):
    from tests.fuzz.targets import TARGETS, attempt

    NAME = sys.argv.pop(1)
    TARGET = TARGETS[NAME]
    attempt(TARGET, TARGET.whole())  # imports all that is lazy


def main() -> None:
    """Fuzz, from the whole file and the corpus of attacks on."""
    corpus = Path("build/fuzz") / NAME
    corpus.mkdir(parents=True, exist_ok=True)
    (corpus / "whole").write_bytes(TARGET.whole())
    attacks = Path("tests/data/attacks") / NAME
    arguments = [sys.argv[0], str(corpus), *([str(attacks)] if attacks.is_dir() else []), "-rss_limit_mb=2048"]
    atheris.Setup([*arguments, "-timeout=20", f"-artifact_prefix=build/fuzz/{NAME}-", *sys.argv[1:]], one)
    atheris.Fuzz()


def one(data: bytes) -> None:
    """Read one file."""
    attempt(TARGET, data)


if __name__ == "__main__":
    main()
