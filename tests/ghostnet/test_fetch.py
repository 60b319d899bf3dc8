"""Downloads survive cut lines and lying servers, on a real HTTP server."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ghostedge.ghostnet.fetch
from ghostedge.errors import FetchError, OutputError, UsageError
from ghostedge.files import locked
from ghostedge.ghostnet.ckpt_format import write_ckpt
from ghostedge.ghostnet.fetch import PUBLISHED, Fetched, fetch

pytest.importorskip("httpx")


@dataclasses.dataclass
class Site:
    """A server of one file, how it behaves, and what it was asked.

    Attributes:
        data: the file.
        etag: sent as `ETag` unless empty; the file's version.
        modified: sent as `Last-Modified` unless empty.
        cuts: for each request in turn, after how many bytes of the body to cut the line; None or past the end: never.
        ranges: whether `Range` is honoured.
        statuses: for each request in turn, an error to answer with instead; None or past the end: none.
        content_length: what to say instead of the true length; None: no length, the line's end is the file's.
        content_type: the `Content-Type`.
        before: called with the number of each request before it is answered.
    """

    url: str = ""
    data: bytes = b""
    etag: str = '"v1"'
    modified: str = ""
    cuts: tuple[int | None, ...] = ()
    ranges: bool = True
    statuses: tuple[int | None, ...] = ()
    content_length: int | str | None = "true"
    content_type: str = "application/octet-stream"
    before: Callable[[int], None] = lambda number: None
    requests: list[dict[str, str]] = dataclasses.field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        site, number = self.site, len(self.site.requests)
        site.requests.append(dict(self.headers))
        site.before(number)
        if (status := site.statuses[number : number + 1] or (None,))[0]:
            self.send_error(status[0])
            return
        start = self._start()
        if start >= len(site.data) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(site.data)}")
            self.end_headers()
            return
        body = site.data[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(site.data) - 1}/{len(site.data)}")
        length = len(body) if site.content_length == "true" else site.content_length
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in (("ETag", site.etag), ("Last-Modified", site.modified), ("Content-Type", site.content_type)):
            if value:
                self.send_header(name, value)
        self.end_headers()
        cut = (site.cuts[number : number + 1] or (None,))[0]
        self.wfile.write(body if cut is None else body[:cut])
        self.close_connection = True

    def _start(self) -> int:
        """Where the body begins: `Range`, where it is honoured and `If-Range` names this version."""
        wanted = self.headers.get("Range")
        if not wanted or not self.site.ranges or self.headers["If-Range"] not in (self.site.etag, self.site.modified):
            return 0
        return int(wanted.removeprefix("bytes=").rstrip("-"))

    def log_message(self, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Half a megabyte in the form of a checkpoint: several reads of the downloader."""
    path = tmp_path_factory.mktemp("served") / "x.ckpt"
    rng = np.random.default_rng(0)
    write_ckpt(path, {f"p{i}": rng.standard_normal(20_000).astype(np.float32) for i in range(6)}, {})
    return path.read_bytes()


@pytest.fixture
def site(checkpoint: bytes) -> Iterator[Site]:
    site = Site(data=checkpoint)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"site": site}))
    site.url = f"http://127.0.0.1:{server.server_port}/files/model.ckpt"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


def get(site: Site, folder: Path, **options: Any) -> Fetched:
    return fetch("model", folder, url=site.url, **({"backoff_seconds": 0.0} | options))


def failure(site: Site, folder: Path, error: type[Exception] = FetchError, **options: Any) -> str:
    """The one line that the download fails with; nothing has taken the file's name."""
    with pytest.raises(error) as caught:
        get(site, folder, **options)
    assert "\n" not in str(caught.value)
    assert not (folder / "model.ckpt").exists()
    return str(caught.value)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_download_is_recorded_and_not_repeated(site: Site, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    fetched = get(site, tmp_path / "new", on_progress=lambda done, total: seen.append((done, total)))
    size, digest = len(site.data), hashlib.sha256(site.data).hexdigest()
    assert (tmp_path / "new" / "model.ckpt").read_bytes() == site.data
    assert json.loads((tmp_path / "new" / "model.ckpt.json").read_text()) == {
        "url": site.url,
        "size_bytes": size,
        "sha256": digest,
        "etag": '"v1"',
        "last_modified": "",
    }
    assert names(tmp_path / "new") == ["model.ckpt", "model.ckpt.json"]
    assert fetched.received_bytes == size
    assert (seen[0], seen[-1]) == ((0, size), (size, size))
    again = get(site, tmp_path / "new", sha256=digest.upper())
    assert (again.received_bytes, again.record, len(site.requests)) == (0, fetched.record, 1)


def test_a_cut_line_is_taken_up_where_it_was_cut(site: Site, tmp_path: Path) -> None:
    site.cuts = (100_000, 50_000)
    fetched = get(site, tmp_path)
    assert (tmp_path / "model.ckpt").read_bytes() == site.data
    assert fetched.received_bytes == len(site.data)
    assert [request.get("Range") for request in site.requests] == [None, "bytes=100000-", "bytes=150000-"]
    assert site.requests[1]["If-Range"] == '"v1"'


def test_the_next_call_goes_on_too(site: Site, tmp_path: Path) -> None:
    site.cuts = (100_000, 0, 0)
    message = failure(site, tmp_path, attempts=3)
    assert f"the line was cut after 100000 of {len(site.data)} bytes" in message
    assert "100000 bytes are kept, run it again to continue" in message
    assert names(tmp_path) == ["model.ckpt.part", "model.ckpt.part.json"]
    assert get(site, tmp_path).received_bytes == len(site.data) - 100_000
    assert (tmp_path / "model.ckpt").read_bytes() == site.data
    assert names(tmp_path) == ["model.ckpt", "model.ckpt.json"]


@pytest.mark.parametrize("record", ["", "[" * 100_000, '{"url": "x", "etag": null}', '{"url": "x", "more": 1}'])
def test_a_part_whose_record_is_damaged_begins_anew(site: Site, tmp_path: Path, record: str) -> None:
    site.cuts = (100_000, 0, 0)
    failure(site, tmp_path, attempts=3)
    (tmp_path / "model.ckpt.part.json").write_text(record)
    assert get(site, tmp_path).received_bytes == len(site.data)
    assert (tmp_path / "model.ckpt").read_bytes() == site.data


def test_a_stop_between_the_last_byte_and_the_name_needs_no_network(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ghostedge.ghostnet.fetch._Download, "_finish", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            get(site, tmp_path)
    fetched = get(site, tmp_path)
    assert (fetched.received_bytes, len(site.requests)) == (0, 1)
    assert (tmp_path / "model.ckpt").read_bytes() == site.data


def test_a_server_without_ranges_starts_over(site: Site, tmp_path: Path) -> None:
    site.cuts, site.ranges = (100_000,), False
    assert get(site, tmp_path).received_bytes == 100_000 + len(site.data)
    assert (tmp_path / "model.ckpt").read_bytes() == site.data


def test_a_server_that_always_cuts_at_the_same_place_ends(site: Site, tmp_path: Path) -> None:
    site.cuts, site.ranges = (100_000,) * 50, False
    failure(site, tmp_path, attempts=3)
    assert len(site.requests) == 3


@pytest.mark.parametrize(("etag", "modified"), [("", "Mon, 02 Nov 2026 10:00:00 GMT"), ('W/"weak"', ""), ("", "")])
def test_only_a_strong_validator_is_trusted(site: Site, tmp_path: Path, etag: str, modified: str) -> None:
    site.cuts, site.etag, site.modified = (100_000,), etag, modified
    get(site, tmp_path)
    assert (tmp_path / "model.ckpt").read_bytes() == site.data
    assert site.requests[1].get("Range") == ("bytes=100000-" if modified else None)
    assert site.requests[1].get("If-Range") == (modified or None)


def test_a_file_that_changes_between_two_attempts_is_not_mixed(site: Site, tmp_path: Path, checkpoint: bytes) -> None:
    changed = checkpoint.replace(b"p0", b"q0")  # among the bytes before the cut

    def change(number: int) -> None:
        if number == 1:
            site.data, site.etag = changed, '"v2"'

    site.cuts, site.before = (100_000,), change
    fetched = get(site, tmp_path)
    assert (tmp_path / "model.ckpt").read_bytes() == changed
    assert fetched.record.etag == '"v2"'


def test_a_server_that_serves_a_range_of_another_version_is_not_believed(
    site: Site, tmp_path: Path, checkpoint: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = checkpoint.replace(b"p0", b"q0")  # among the bytes before the cut

    def change(number: int) -> None:
        if number == 1:
            site.data, site.etag = changed, '"v2"'

    # This server does not look at If-Range, and answers 206 with the new version's bytes.
    monkeypatch.setattr(Handler, "_start", lambda self: int(self.headers.get("Range", "bytes=0-")[6:-1]))
    site.cuts, site.before = (100_000,), change
    get(site, tmp_path)
    assert (tmp_path / "model.ckpt").read_bytes() == changed


def test_a_file_that_became_shorter(
    site: Site, tmp_path: Path, checkpoint: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(number: int) -> None:
        if number == 1:
            site.data = checkpoint[: checkpoint.index(b"p1") - 8]

    monkeypatch.setattr(Handler, "_start", lambda self: int(self.headers.get("Range", "bytes=0-")[6:-1]))
    site.cuts, site.before = (100_000,), change
    with pytest.raises(FetchError, match="truncated"):  # the server's new file is no whole checkpoint: 416, then this
        get(site, tmp_path)
    assert [request.get("Range") for request in site.requests] == [None, "bytes=100000-", None]


@pytest.mark.parametrize(
    ("lie", "reason"), [(10_000_000, "announced 10000000 bytes but has none after"), (100_000, "truncated or damaged")]
)
def test_a_server_that_lies_about_the_length(site: Site, tmp_path: Path, lie: int, reason: str) -> None:
    site.content_length = lie
    assert reason in failure(site, tmp_path, attempts=2)


def test_no_length_at_all(site: Site, tmp_path: Path) -> None:
    site.content_length = None
    assert get(site, tmp_path).record.size_bytes == len(site.data)


@pytest.mark.parametrize("status", [404, 403, 410])
def test_an_answer_that_will_not_change_is_final(site: Site, tmp_path: Path, status: int) -> None:
    site.statuses = (status,) * 9
    assert f"{site.url}: the server answers {status}" in failure(site, tmp_path)
    assert len(site.requests) == 1


def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.statuses = (503, None, 500)
    site.cuts = (None, 100_000)
    get(site, tmp_path)
    assert (tmp_path / "model.ckpt").read_bytes() == site.data
    assert len(site.requests) == 4
    site.statuses, site.requests[:] = (503,) * 9, []
    (tmp_path / "model.ckpt").unlink()
    assert "the server answers 503" in failure(site, tmp_path, attempts=3)


def test_a_web_page_is_not_a_checkpoint(site: Site, tmp_path: Path) -> None:
    site.data, site.content_type = b"<!DOCTYPE html><html>sign in</html>", "text/html; charset=utf-8"
    assert "sends a web page (text/html)" in failure(site, tmp_path)
    site.content_type = "application/octet-stream"
    assert "not a MindSpore checkpoint" in failure(site, tmp_path)


def test_another_hash_than_asked_for(site: Site, tmp_path: Path) -> None:
    digest = hashlib.sha256(site.data).hexdigest()
    assert f"has SHA-256 {digest}, not {'0' * 64}" in failure(site, tmp_path, sha256="0" * 64)
    assert names(tmp_path) == []


def test_a_damaged_file_is_fetched_again_and_a_foreign_one_left_alone(site: Site, tmp_path: Path) -> None:
    get(site, tmp_path)
    (tmp_path / "model.ckpt").write_bytes(site.data[:-1] + b"?")
    assert get(site, tmp_path).received_bytes == len(site.data)
    assert (tmp_path / "model.ckpt").read_bytes() == site.data
    (tmp_path / "model.ckpt.json").unlink()
    (tmp_path / "model.ckpt").write_bytes(b"mine")
    with pytest.raises(FetchError, match="was not fetched by ghostedge"):
        get(site, tmp_path)
    assert (tmp_path / "model.ckpt").read_bytes() == b"mine"
    adopted = get(site, tmp_path, sha256=hashlib.sha256(b"mine").hexdigest())
    assert adopted.received_bytes == 0
    assert get(site, tmp_path).received_bytes == 0


def test_no_network(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"cannot find 'ghostedge\.invalid'"):
        fetch("model", tmp_path, url="http://ghostedge.invalid/model.ckpt")
    with pytest.raises(FetchError, match="Connection refused"):
        fetch("model", tmp_path, url="http://127.0.0.1:9/model.ckpt", attempts=2, backoff_seconds=0.0)
    assert names(tmp_path) == []


class FullDisk:
    """A file on a disk that has room for 100,000 bytes more."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, data: bytes) -> None:
        self.file.write(data[: 100_000 - self.file.tell()])
        if self.file.tell() == 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_keeps_what_came(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        full = lambda path, mode: FullDisk(open(path, mode))  # noqa: E731, SIM115  (closed by the class)
        patch.setattr(ghostedge.ghostnet.fetch, "open", full, raising=False)
        assert "the disk is full" in failure(site, tmp_path, OutputError)
    assert get(site, tmp_path).received_bytes == len(site.data) - 100_000


def test_two_downloads_of_one_file_do_not_mix(site: Site, tmp_path: Path) -> None:
    messages = []

    def also(number: int) -> None:
        with pytest.raises(FetchError) as caught:
            get(site, tmp_path)
        messages.append(str(caught.value))

    site.before = also
    get(site, tmp_path)
    assert messages == [f"{tmp_path / 'model.ckpt.part'} is being downloaded by another process; wait for it"]


def test_what_another_process_has_just_finished_is_not_fetched_again(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = locked

    @contextlib.contextmanager
    def late(path: Path, busy: FetchError) -> Iterator[None]:
        """The other process gives the file its name between our first look and our lock."""
        with monkeypatch.context() as patch:
            patch.setattr(ghostedge.ghostnet.fetch, "locked", real)
            get(site, tmp_path)
        with real(path, busy):
            yield

    monkeypatch.setattr(ghostedge.ghostnet.fetch, "locked", late)
    assert get(site, tmp_path).received_bytes == 0
    assert (len(site.requests), names(tmp_path)) == (1, ["model.ckpt", "model.ckpt.json"])
    assert (tmp_path / "model.ckpt").read_bytes() == site.data


def test_the_suffix_is_the_addresses(site: Site, tmp_path: Path) -> None:
    site.url = site.url.replace("model.ckpt", "weights-v2.pth.tar?download=1")
    assert get(site, tmp_path).path == tmp_path / "model.pth.tar"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"name": "ghostnetv2_1"}, "did you mean 'ghostnetv2_1x'"),
        ({"name": "a/b", "url": "http://x.org/a.ckpt"}, "'a/b' cannot be a file name"),
        ({"name": "a", "url": "file:///etc/passwd"}, "begins with http:// or https://"),
        ({"name": "a", "url": "http://x.org/a.ckpt", "sha256": "abc"}, "64 hexadecimal digits"),
    ],
)
def test_impossible_arguments(arguments: dict[str, str], reason: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=reason):
        fetch(arguments.pop("name"), tmp_path, **arguments)  # type: ignore[arg-type]


def test_the_published_address() -> None:
    assert PUBLISHED["ghostnetv2_1x"].startswith("https://download.mindspore.cn/model_zoo/research/cv/ghostnetv2/")
