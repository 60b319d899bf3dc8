"""``ghostedge fetch`` downloads, says what it did, and does nothing twice."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ghostedge.cli.main import main

pytest.importorskip("httpx")


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def address(oracle_checkpoint: Path) -> Iterator[str]:
    handler = functools.partial(QuietHandler, directory=str(oracle_checkpoint.parent))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/{oracle_checkpoint.name}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_fetch_then_nothing_to_do(
    address: str, oracle_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["fetch", "oracle", "--url", address, "--output", str(tmp_path)]
    digest = hashlib.sha256(oracle_checkpoint.read_bytes()).hexdigest()
    assert main(command) == 0
    shown = capsys.readouterr()
    assert shown.out == (
        f"{tmp_path / 'oracle.ckpt'}: {oracle_checkpoint.stat().st_size} bytes, SHA-256 {digest}, "
        "recorded in oracle.ckpt.json\n"
    )
    assert "100%" in shown.err
    assert (tmp_path / "oracle.ckpt").read_bytes() == oracle_checkpoint.read_bytes()
    assert main([*command, "--sha256", digest]) == 0
    shown = capsys.readouterr()
    assert "is there and whole" in shown.out
    assert shown.err == ""


@pytest.mark.parametrize("flag", ["--json", "--quiet"])
def test_no_progress_with(
    flag: str, address: str, oracle_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", "oracle", "--url", address, "--output", str(tmp_path), flag]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    if flag == "--json":
        size = oracle_checkpoint.stat().st_size
        assert json.loads(shown.out) == {
            "path": str(tmp_path / "oracle.ckpt"),
            "url": address,
            "size_bytes": size,
            "sha256": hashlib.sha256(oracle_checkpoint.read_bytes()).hexdigest(),
            "received_bytes": size,
        }


def test_failures_are_one_line_and_exit_code_1(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", "x", "--url", address.replace("oracle_1x", "gone"), "--output", str(tmp_path)]) == 1
    assert main(["fetch", "ghostnetv2", "--output", str(tmp_path)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "the server answers 404" in lines[0]
    assert "did you mean 'ghostnetv2_1x'" in lines[1]
    assert list(tmp_path.iterdir()) == []
