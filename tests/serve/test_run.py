"""The server's surroundings: the port, the network, the certificate, Ctrl-C, and LiteRT.js itself."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tarfile
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from ghostedge.cli.main import main
from ghostedge.errors import DeviceError, FetchError, UsageError
from ghostedge.files import locked
from ghostedge.serve import litert_js
from ghostedge.serve import run as serve_run
from ghostedge.serve.litert_js import LiteRtJs, find_litert_js, read_litert_js
from ghostedge.serve.run import Place, certificate, listen, qr_code
from tests.heed import heed
from tests.serve.phones import Phone


def archive(path: Path, **other: bytes) -> Path:
    """An archive with the files that LiteRT.js has."""
    files = dict.fromkeys(litert_js._NEEDED, b"") | {"package/package.json": b'{"version": "9.9"}'} | other
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_a_port_that_is_taken_is_one_line() -> None:
    first = listen(Place())
    port = first.socket.getsockname()[1]
    try:
        with pytest.raises(UsageError, match=f"--port {port} is taken by another program; name another"):
            listen(Place(port))
    finally:
        first.socket.close()


def test_the_port_of_the_last_time_is_taken_if_it_is_free() -> None:
    with listen(Place()).socket as first:
        port = first.getsockname()[1]
        with listen(Place(), port).socket as other:
            assert other.getsockname()[1] != port
    with listen(Place(), port).socket as again:
        assert again.getsockname()[1] == port
        with listen(Place(other_port := free_port()), port).socket as named:
            assert named.getsockname()[1] == other_port


def free_port() -> int:
    with listen(Place()).socket as bound:
        return int(bound.getsockname()[1])


@pytest.mark.parametrize("port", [-1, 65536])
def test_what_is_no_port_is_one_line(port: int) -> None:
    with pytest.raises(UsageError, match=f"--port {port} is not a port"):
        listen(Place(port))


def test_only_this_machine_connects_unless_asked_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for lan, host in ((False, "127.0.0.1"), (True, "0.0.0.0")):
        monkeypatch.setattr(serve_run, "_own_address", lambda: "192.0.2.7")
        address = listen(Place(lan=lan))
        with address.socket as bound:
            assert bound.getsockname()[0] == host
        assert address.url.startswith("http://192.0.2.7:" if lan else "http://127.0.0.1:")


def test_no_network_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unreachable(socket.socket):
        def connect(self, address: Any) -> None:
            raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "socket", Unreachable)
    with pytest.raises(DeviceError, match="this computer is in no network"):
        listen(Place(lan=True))


def test_the_certificate_is_for_the_address_and_its_fingerprint_is_shown() -> None:
    pytest.importorskip("cryptography")
    from cryptography import x509

    pem, fingerprint = certificate("192.0.2.7")
    der = ssl.PEM_cert_to_DER_cert(pem.decode().partition("-----BEGIN PRIVATE")[0])
    assert fingerprint.replace(":", "").lower() == hashlib.sha256(der).hexdigest()
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]


def test_the_qr_code_fits_a_terminal_and_holds_the_address() -> None:
    pytest.importorskip("segno")
    url = "https://192.168.178.123:43210/abcdefghijklmnopqrstuv/"
    lines = qr_code(url).splitlines()
    assert len(lines) < 24
    assert {len(line) for line in lines} == {len(lines[0])}
    assert len(lines[0]) < 80
    assert qr_code(url, colours=True).splitlines() == [f"\x1b[97;40m{line}\x1b[0m" for line in lines]
    cv2 = pytest.importorskip("cv2")
    halves = {"█": (1, 1), "▀": (1, 0), "▄": (0, 1), " ": (0, 0)}  # of a cell, 1 for white
    cells = np.array([[halves[each] for each in line] for line in lines], np.uint8).transpose(0, 2, 1)
    pixels = np.kron(cells.reshape(-1, len(lines[0])) * 255, np.ones((8, 8), np.uint8))
    assert cv2.QRCodeDetector().detectAndDecode(np.pad(pixels, 40))[0] == url


def test_litert_js_is_fetched_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = archive(tmp_path / "served.tgz")
    monkeypatch.setattr(litert_js, "SHA256", hashlib.sha256(source.read_bytes()).hexdigest())
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://npm.example/")
    fetched = []

    def fetch(name: str, folder: Path, **what: Any) -> None:
        fetched.append(what["url"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.tgz").write_bytes(source.read_bytes())

    monkeypatch.setattr(litert_js, "fetch", fetch)
    for _ in range(2):
        assert find_litert_js(None, lambda done, total: None).version == "9.9"
    assert fetched == ["https://npm.example/@litertjs/core/-/core-2.5.3.tgz"]
    (tmp_path / "ghostedge" / "litertjs-core-2.5.3.tgz").write_bytes(b"damaged")
    assert find_litert_js(None, lambda done, total: None).version == "9.9"
    assert len(fetched) == 2


def test_a_network_that_is_not_there_says_what_else_can_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def fetch(*_: object, **__: object) -> None:
        raise FetchError("cannot find the server")

    monkeypatch.setattr(litert_js, "fetch", fetch)
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://npm.example/")
    with pytest.raises(FetchError, match=r"find the server.*npm pack @litertjs/core@2.5.3.*--litert-js"):
        find_litert_js(None, lambda done, total: None)
    monkeypatch.delenv("NPM_CONFIG_REGISTRY")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FetchError, match=r"npm is not installed.*--litert-js"):
        find_litert_js(None, lambda done, total: None)


@pytest.mark.parametrize("content", [b"", b"not an archive", None])
def test_what_is_not_litert_js_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "x.tgz"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(FetchError, match="npm pack"):
        read_litert_js(file)


def test_an_archive_that_lacks_a_file_is_one_line(tmp_path: Path) -> None:
    file = archive(tmp_path / "x.tgz", **{"package/package.json": b"{}"})
    with pytest.raises(FetchError, match="not a whole archive"):
        read_litert_js(file)


def begun(url: str) -> socket.socket:
    """A line on which an upload has only begun."""
    parts = urlsplit(url)
    line = socket.create_connection((parts.hostname, parts.port), timeout=10)
    line.sendall(f"POST {parts.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{{".encode())
    return line


@pytest.mark.parametrize("https", [False, True])
def test_ctrl_c_ends_the_command_and_keeps_what_came(https: bool, model: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", reason="left out: the extra 'serve' is not installed")
    command = [sys.executable, "-m", "ghostedge", "serve", "--artifact", str(model), "--data", str(data), "--json"]
    command += ["--litert-js", str(archive(tmp_path / "x.tgz")), "--output", str(tmp_path / "phones")]
    process = subprocess.Popen(
        [*command, *(["--https"] if https else [])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        preexec_fn=heed,
    )
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert told["url"].startswith("https://127" if https else "http://127")
        assert (told["certificate_sha256"] is not None) is https
        if https:
            trusting = ssl._create_unverified_context()
            with urllib.request.urlopen(told["url"], context=trusting) as reply:
                assert b"ghostedge" in reply.read()
            assert not list(tmp_path.glob("ghostedge-serve-*")), "a kill -9 would leave the key"
        else:
            from ghostedge.serve.job import make_job

            phone = Phone(told["url"], make_job([model], data=data))
            phone.join()
            assert phone.rows([3], np.ones((1, 5), np.float32))[0] == 200
            cut_off, under_way = begun(f"{told['url']}phones"), begun(f"{told['url']}phones")
            cut_off.close()  # the phone went to sleep
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert "ERROR" not in said
    assert "the results are in" in said
    assert json.loads((tmp_path / "phones" / ".serve.json").read_text())["port"] == urlsplit(told["url"]).port
    if not https:
        under_way.close()
        assert "phone-0-tiny_fp32-litertjs-wasm-1t.jsonl; run the same command again to go on" in said
        assert len(next((tmp_path / "phones").glob("ledgers/*.part")).read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--artifact", "{model}.onnx"], "a browser runs .tflite"),
        (["--artifact", "{model}", "{model}"], "two artifacts are called"),
        (["--artifact", "{lone}", "--golden", "{lone}"], "is not a whole golden file"),
        (["--artifact", "{model}", "--data", "{data}", "--order", "decisive"], "give --reference too"),
        (["--artifact", "{model}", "--limit", "5", "--order", "decisive"], "--limit and --order: of the images"),
        (["--artifact", "{model}", "--golden", "nowhere.npz"], "does not exist"),
        (["--artifact", "{model}", "--litert-js", "nowhere.tgz"], "cannot be read"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    arguments: list[str], why: str, model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("uvicorn", reason="left out: the extra 'serve' is not installed")
    lone = tmp_path / "lone.tflite"
    lone.write_bytes(model.read_bytes())
    other = Path(f"{model}.onnx")
    other.write_bytes((Path(__file__).parents[1] / "data/tiny/tiny.onnx").read_bytes())
    given = [each.format(model=model, data=data, lone=lone) for each in arguments]
    code = main(["serve", *given, "--output", str(tmp_path / "phones")])
    other.unlink()
    assert code == 1
    said = capsys.readouterr().err.strip()
    assert why in said
    assert "\n" not in said
    assert not (tmp_path / "phones").exists()


def test_one_folder_has_one_server(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two would give two phones one name."""
    pytest.importorskip("uvicorn", reason="left out: the extra 'serve' is not installed")
    output = tmp_path / "phones"
    given = ["--artifact", str(model), "--litert-js", str(archive(tmp_path / "x.tgz")), "--output", str(output)]
    with locked(output / ".serve.lock", UsageError("")):
        assert main(["serve", *given]) == 1
    assert f"another ghostedge serve has its results in {output}; end it" in capsys.readouterr().err


def test_the_state_of_a_folder_is_for_its_user_alone(model: Path, tmp_path: Path) -> None:
    from ghostedge.serve.job import make_job
    from ghostedge.serve.results import Results

    Results(make_job([model]), "0", tmp_path, None, lambda text: None)
    assert (tmp_path / ".serve.json").stat().st_mode & 0o777 == 0o600
    (tmp_path / ".serve.json").write_text('{"token": 3}')
    with pytest.raises(DeviceError, match="token"):
        Results(make_job([model]), "0", tmp_path, None, lambda text: None)


def test_an_unknown_version_is_what_its_archive_says(tmp_path: Path) -> None:
    assert isinstance(read_litert_js(archive(tmp_path / "x.tgz")), LiteRtJs)
