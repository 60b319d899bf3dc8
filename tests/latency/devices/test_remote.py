"""A job goes on where it was, and what is here already is not measured again; on this machine as if it were another."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

from ghostedge.latency.devices.remote import Answer, Job, LostError
from ghostedge.latency.records import read_record
from tests.latency.devices.conftest import make_request
from tests.latency.schemas import check_record


class Here:
    """This machine; it is lost at each command that begins with `lost_at`."""

    name, storage = "here", "disk"

    def __init__(self, lost_at: str) -> None:
        self._lost_at = lost_at

    async def shell(self, command: str) -> Answer:
        if command.startswith(self._lost_at):
            raise LostError("here: the connection is lost")
        process = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
        said, _ = await process.communicate()
        return Answer(process.returncode or 0, said.decode())

    async def size(self, remote: str) -> int | None:
        return Path(remote).stat().st_size if Path(remote).exists() else None

    async def free_bytes(self, folder: str) -> int | None:
        return None

    async def send(self, file: Path, remote: str) -> None:
        Path(remote).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, remote)

    async def read(self, remote: str, offset: int = 0) -> bytes:
        return Path(remote).read_bytes()[offset:] if Path(remote).exists() else b""


def test_a_machine_that_goes_after_its_records_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder stays there; that is no reason to measure again."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    job = Job(make_request(), sys.executable, str(tmp_path / "jobs"), lambda line: None)
    (path,) = asyncio.run(job.go_on(Here(lost_at="rm -rf"), tmp_path / "out"))
    check_record(read_record(path))
    assert (tmp_path / "jobs").exists()


def test_a_machine_that_goes_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    lines: list[str] = []
    job = Job(make_request(), sys.executable, str(tmp_path / "jobs"), lines.append)
    with pytest.raises(LostError):
        asyncio.run(job.go_on(Here(lost_at="ls -1"), tmp_path / "out"))
    (path,) = asyncio.run(job.go_on(Here(lost_at="nothing"), tmp_path / "out"))
    assert path.is_file()
    assert sum("loading" in line for line in lines) == 1
    assert not (tmp_path / "jobs").exists()
