"""A file appears whole or not at all."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from ghostedge.errors import OutputError, UsageError
from ghostedge.files import atomic_path, atomic_write, locked, output_error


def test_a_failure_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_success_replaces_it_and_makes_the_folder(tmp_path: Path) -> None:
    atomic_write(tmp_path / "new" / "a.json", "{}")
    assert (tmp_path / "new" / "a.json").read_text() == "{}"
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_a_full_disk_is_one_line_that_says_so() -> None:
    # /dev/full is the kernel's own full disk: every write to it fails with ENOSPC.
    with pytest.raises(OSError) as caught, open("/dev/full", "wb", buffering=0) as full:  # noqa: PT011
        full.write(b"x")
    assert caught.value.errno == errno.ENOSPC
    assert "the disk is full" in str(output_error(Path("build/x.onnx"), caught.value))


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "build").write_text("")
    with pytest.raises(OutputError, match="a file of another kind is in its place"):
        atomic_write(tmp_path / "build" / "x.json", "")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_no_permission_suggests_another_output(number: int) -> None:
    error = output_error(Path("build/x.onnx"), OSError(number, os.strerror(number)))
    assert str(error) == "cannot write build/x.onnx: permission denied; choose another --output"


def test_a_lock_is_held_once_and_freed(tmp_path: Path) -> None:
    path = tmp_path / "new" / ".lock"
    with locked(path, UsageError("busy")), pytest.raises(UsageError, match="busy"), locked(path, UsageError("busy")):
        pass
    with locked(path, UsageError("busy")):
        pass
    assert list(path.parent.iterdir()) == []


def test_who_waited_for_a_lock_keeps_others_out(tmp_path: Path) -> None:
    path, waited = tmp_path / ".lock", threading.Event()

    def wait() -> None:
        with locked(path, UsageError("busy")):
            waited.set()
            leave.wait()

    leave = threading.Event()
    with locked(path, UsageError("busy")):
        waiter = threading.Thread(target=wait)
        waiter.start()
        time.sleep(0.1)  # it has the file open whose name goes now
    assert waited.wait(10)
    with pytest.raises(UsageError, match="busy"), locked(path, UsageError("busy")):
        pass
    leave.set()
    waiter.join()
