"""Other Pythons of this machine, for tests that run one."""

from __future__ import annotations

import shutil
import subprocess


def find_python(version: str) -> str | None:
    """One that runs, by its name, or one of pyenv's, whose names run only when chosen; None where there is none.

    Args:
        version: e.g. ``"3.13"``.
    """
    candidates = [path] if (path := shutil.which(f"python{version}")) else []
    if shutil.which("pyenv"):
        versions = [each for each in _said("pyenv", "versions", "--bare").split() if each.startswith(f"{version}.")]
        prefixes = [_said("pyenv", "prefix", each) for each in versions]
        candidates += [f"{prefix}/bin/python" for prefix in prefixes if prefix]
    return next((python for python in candidates if _said(python, "-c", "print('runs')") == "runs"), None)


def _said(*command: str) -> str:
    """What a command prints; nothing where it fails."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
