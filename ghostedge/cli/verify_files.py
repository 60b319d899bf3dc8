"""``ghostedge verify-files``: whether the files of an export are those that it made."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ghostedge.cli import Arguments, argument
from ghostedge.console import aligned

HELP = "check that the files of an export are whole and as it made them, by size and SHA-256"

EPILOG = """\
examples:
  ghostedge verify-files build/
  ghostedge verify-files build/ --json

Every file that manifest.json records is read: artifacts, OpenVINO weights and golden vectors. Ends with 1 where one is
missing or was changed after the export. Files that the manifest does not name are not looked at. Nothing is run: verify
asks an artifact for its answers.
"""


ARGUMENTS: Arguments = {"": [argument("folder DIR", "the folder that export wrote, with its manifest.json", Path)]}


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns: 0; a file that is not whole is raised, after all are shown."""
    from ghostedge.errors import ArtifactError
    from ghostedge.manifest import check_files

    found = check_files(args.folder)
    if args.json:
        print(json.dumps({"files": [{"file": record.name, "state": state} for record, state in found.items()]}))
    else:
        rows = [("File", "Size (MB)", "State")]
        rows += [(record.name, f"{record.size_bytes / 1e6:.2f}", state) for record, state in found.items()]
        print(*aligned(rows, right=[1]), sep="\n")
    if wrong := [record.name for record, state in found.items() if state != "whole"]:
        raise ArtifactError(
            f"{len(wrong)} of {len(found)} files are not as they were exported: {', '.join(wrong)}; copy or export "
            "them again"
        )
    return 0
