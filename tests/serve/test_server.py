"""The server without a browser: what it takes, what it refuses in one line, and that nothing of many phones is lost."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from ghostedge.cli.main import main
from ghostedge.evaluation.jsonl import read_json_lines
from ghostedge.evaluation.ledger import read_ledger
from ghostedge.latency.records import read_record
from ghostedge.serve.litert_js import LiteRtJs
from ghostedge.serve.messages import MAX_BYTES
from ghostedge.stored import parse_json
from tests.latency.schemas import check_record
from tests.serve.conftest import IMAGES, Served
from tests.serve.phones import Phone, packed, request


def answers(images: list[int], seed: int = 0) -> np.ndarray:
    """Logits that depend on the images' numbers alone: float32 (n, 5)."""
    rows = [np.random.default_rng([seed, image]).standard_normal(5) for image in images]
    return np.array(rows, np.float32).reshape(-1, 5)


@pytest.fixture
def phone(served: Served) -> Phone:
    phone = Phone(served.url, served.job)
    phone.join()
    return phone


def test_the_page_and_what_it_runs_are_served_with_their_types_and_headers(served: Served) -> None:
    for path, kind in (("", "text/html"), ("page.js", "text/javascript"), ("report.css", "text/css")):
        with urllib.request.urlopen(served.url + path) as reply:
            assert reply.headers["Content-Type"].startswith(kind)
            assert reply.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
            assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    assert request(served.url + "litert/index.js")[1] == b'import { createWasmLib } from "../loader.js";'
    assert request(served.url + "models/0")[1] == served.job.subjects[0].model.path.read_bytes()
    assert len(request(served.url + "models/0/golden")[1]) == 6 * 32 * 32 * 3
    assert len(request(served.url + "models/0/images/3")[1]) == 32 * 32 * 3
    job = json.loads(request(served.url + "job")[1])
    assert job["images"] == {"count": IMAGES, "browser_decodes": False}
    assert job["rules"]["full"]["min_samples"] == 1024


@pytest.mark.parametrize("path", ["", "/", "/wrong/", "/wrong/job", "/{token}x/job", "/{cut}/job"])
def test_without_the_token_there_is_nothing(served: Served, path: str) -> None:
    parts = urlsplit(served.url)
    token = parts.path.strip("/")
    status, said = request(f"http://{parts.netloc}{path.format(token=token, cut=token[:-1])}")
    assert status == 403
    assert b"Scan the QR code" in said
    assert token.encode() not in said


@pytest.mark.parametrize("path", ["../app.py", "%2e%2e/app.py", "src/page.ts", "index.html/../../app.py", "nothing.js"])
def test_no_other_file_is_served(served: Served, path: str) -> None:
    assert request(served.url + path)[0] in (403, 404)


@pytest.mark.parametrize("path", ["a" * 300 + ".js", "models/" + "9" * 5000, "models/0/images/" + "9" * 5000])
def test_an_address_of_any_length_is_answered(served: Served, path: str) -> None:
    assert request(served.url + path)[0] == 404


def test_the_others_are_answered_while_a_large_upload_is_read(
    served: Served, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, seen = threading.Event(), threading.Event()

    def slow(*what: Any) -> Any:
        seen.set()
        assert held.wait(10), "nobody else was answered"
        return parse_json(*what)

    monkeypatch.setattr("ghostedge.serve.app.parse_json", slow)
    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(phone.rows, [0], answers([0]))
        assert seen.wait(10)
        assert request(served.url + "page.js")[0] == 200
        held.set()
        assert upload.result()[0] == 200


def test_a_check_becomes_a_verification_record(served: Served, phone: Phone) -> None:
    status, said = phone.run(checked=phone.checked())
    assert status == 200, said
    record = read_record(served.output / "verification/phone-0/tiny_fp32-litertjs-wasm-1t-verify.json")
    check_record(record)
    assert record["verification"]["correct"] is True
    assert record["runtime"]["name"] == "litert.js"
    assert said == record
    assert any("answers right" in line for line in served.said)


def test_an_artifact_that_is_exported_anew_meanwhile_changes_nothing(
    serve: Any, no_litert_js: LiteRtJs, model: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copy(model, tmp_path))
    golden = Path(shutil.copy(next(model.parent.glob("*.npz")), tmp_path))
    content = own.read_bytes()
    records = []
    with serve(no_litert_js, tmp_path / "phones", [own]) as server:
        for change in (lambda: own.write_bytes(content + b"anew"), own.unlink, golden.unlink):
            change()
            phone = Phone(server.url, server.job)
            phone.join()
            told = json.loads(request(server.url + "job")[1])["models"][0]
            assert request(server.url + "models/0")[1] == content
            assert told["sha256"] == hashlib.sha256(content).hexdigest()
            status, record = phone.run(checked=phone.checked())
            assert status == 200, record
            records.append((record["artifact"], record["verification"]["golden"]))
    assert records[0][0]["size_bytes"] == told["size_bytes"] == len(content)
    assert records[0] == records[1] == records[2]


def test_before_there_is_a_result_its_page_says_so(served: Served) -> None:
    for name in ("latency.html", "parity.html", ".serve.json"):
        status, said = request(served.url + "results/" + name)
        assert status == 404
        assert b"Nothing there yet" in said


def test_a_timing_becomes_a_valid_latency_record_and_a_page(served: Served, phone: Phone) -> None:
    status, said = phone.run(checked=phone.checked(), timed=phone.timed())
    assert status == 200, said
    record = read_record(served.output / "latency/phone-0/tiny_fp32-litertjs-wasm-1t.json", "latency_record")
    check_record(record)
    assert record["valid"], record["invalid_reasons"]
    assert record["latency_ms"]["p50"] == 10.3
    assert "litert.js" in (served.output / "latency.html").read_text()
    assert b"phone-0" in request(served.url + "results/latency.html")[1]


def test_a_first_look_leaves_the_whole_measurement_there(served: Served, phone: Phone) -> None:
    for mode in ("full", "quick"):
        status, said = phone.run(checked=phone.checked(), timed=phone.timed(), mode=mode)
        assert status == 200, said
    records = [read_record(file, "latency_record") for file in served.output.glob("latency/phone-0/*.json")]
    assert {record["mode"]: record["valid"] for record in records} == {"full": True, "quick": False}


UNSTEADY = {"samples": 9, "duration_s": 30, "steady": False, "spread_percent": 9, "window_medians_ms": [1, 2]}


def test_benchmark_and_parity_read_what_came(
    serve: Any, no_litert_js: LiteRtJs, model: Path, data: Path, reference: Path, tmp_path: Path
) -> None:
    python = read_ledger(reference)
    with serve(no_litert_js, tmp_path, [model], reference, data=data) as server:
        phone = Phone(server.url, server.job)
        phone.join()
        phone.run(checked=phone.checked(), timed=phone.timed())
        logits = np.full((IMAGES, 5), -99, np.float32)
        np.put_along_axis(logits, python.top5_class, python.top5_logit, axis=1)
        assert phone.rows(list(range(IMAGES)), logits)[1]["top1"] == python.correct().mean()
    page = tmp_path / "all.html"
    assert main(["benchmark", "--records", str(tmp_path / "latency"), "--report", str(page)]) == 0
    assert "litert.js" in page.read_text()
    ledgers = [str(path) for path in tmp_path.glob("ledgers/*.jsonl")]
    compared = ["parity", "--reference", str(reference), "--ledger", *ledgers, "--report", str(page)]
    assert main([*compared, "--latency", str(tmp_path / "latency"), "--max-drop", "50"]) == 0
    assert "phone-0" in page.read_text()
    assert "phone-0" in (tmp_path / "parity.html").read_text()


@pytest.mark.parametrize(
    ("other", "code"),
    [
        ({"hidden_s": [3.0, 9.5]}, "hidden"),
        ({"clock_ms": 1.0}, "coarse_clock"),
        ({"samples_ms": [10.0] * 1000}, "too_short"),
        ({"overhead_us": 500.0}, "overhead"),
        ({"warmup": UNSTEADY}, "not_steady"),
    ],
)
def test_what_spoils_a_number_is_said(phone: Phone, other: dict[str, Any], code: str) -> None:
    status, said = phone.run(timed=phone.timed(**other))
    assert status == 200, said
    assert code in [reason["code"] for reason in said["invalid_reasons"]]
    assert not said["valid"]


def test_right_only_the_first_time_is_wrong(served: Served, phone: Phone) -> None:
    """What users of LiteRT.js report of some GPUs: google-ai-edge/LiteRT issue 8065."""
    assert phone.subject.golden is not None
    first = phone.subject.golden[1].logits[0]
    status, said = phone.run(checked=phone.checked(first_different=2, worst=packed(first[::-1])))
    assert status == 200
    found = said["verification"]
    assert found["correct"] is False
    assert found["repeats"]["first_different"] == 2
    assert "WRONG" in served.said[-1]


def test_wrong_answers_are_wrong(phone: Phone) -> None:
    assert phone.subject.golden is not None
    status, said = phone.run(checked=phone.checked(answers=packed(-phone.subject.golden[1].logits)))
    assert status == 200
    assert said["verification"]["correct"] is False
    status, said = phone.run(checked=phone.checked(answers=packed(np.full((6, 5), np.nan))))
    assert said["verification"]["finite"] is False


def test_images_become_a_ledger_in_batches(served: Served, phone: Phone) -> None:
    assert phone.left() == list(range(IMAGES))
    for start in range(0, IMAGES, 7):
        batch = phone.left()[:7]
        status, said = phone.rows(batch, answers(batch))
        assert (status, said["done"]) == (200, min(start + 7, IMAGES))
    ledger = read_json_lines(served.output / "ledgers/phone-0-tiny_fp32-litertjs-wasm-1t.jsonl")
    assert ledger.image_ids.tolist() == list(served.job.images.ids)  # type: ignore[union-attr]
    assert (ledger.top5_class[:, 0] == answers(list(range(IMAGES))).argmax(axis=1)).all()
    assert (ledger.content_crc32 >= 0).all()
    assert ledger.checksum
    assert ledger.metadata.runtime["accelerator"] == "wasm"
    assert not list(served.output.glob("ledgers/*.part"))


def test_what_is_sent_again_counts_once(served: Served, phone: Phone) -> None:
    for _ in range(3):
        status, said = phone.rows([4, 5], answers([4, 5]))
        assert (status, said["done"]) == (200, 2)
    part = next(served.output.glob("ledgers/*.part"))
    assert len(part.read_text().splitlines()) == 3


def test_images_without_an_answer_have_a_reason(served: Served, phone: Phone) -> None:
    logits = answers(list(range(IMAGES - 1)))
    logits[2] = np.nan
    phone.rows(list(range(IMAGES - 1)), logits, failed=[{"image": IMAGES - 1, "reason": "cannot decode it"}])
    ledger = read_json_lines(served.output / "ledgers/phone-0-tiny_fp32-litertjs-wasm-1t.jsonl")
    assert ledger.errors[2] == "the model's logits hold NaN or infinity"
    assert ledger.errors[IMAGES - 1] == "cannot decode it"


GARBAGE = [
    (b"", "is not JSON"),
    (b"\xff\xfe", "is not JSON"),
    (b"[" * 100_000, "nested too deeply"),
    (b"[]", "Expected `object`"),
    (b"{}", "missing required field"),
]


@pytest.mark.parametrize(("body", "why"), GARBAGE)
@pytest.mark.parametrize("path", ["phones", "phones/{id}/models/0/runs", "phones/{id}/models/0/rows"])
def test_garbage_is_one_line_and_leaves_nothing(served: Served, phone: Phone, path: str, body: bytes, why: str) -> None:
    status, said = request(served.url + path.format(id=phone.id), body, "POST")
    assert status == 400
    assert why in json.loads(said)["error"]
    assert "\n" not in json.loads(said)["error"]
    assert [each.name for each in served.output.iterdir()] == [".serve.json"]


@pytest.mark.parametrize(
    "send",
    [
        lambda phone: phone.rows([0, 0], answers([0, 0])),
        lambda phone: phone.rows([0, 10**6], answers([0, 1])),
        lambda phone: phone.rows([0, 1], answers([0])),
        lambda phone: phone.rows([0], answers([0]), failed=[{"image": 0, "reason": "x"}]),
        lambda phone: phone.run(),
        lambda phone: phone.run(checked=phone.checked(answers="####")),
        lambda phone: phone.run(checked=phone.checked(first_different=3)),
        lambda phone: phone.run(checked=phone.checked(), timed=phone.timed(again=None)),
        lambda phone: phone.run(timed=phone.timed(samples_ms=[])),
        lambda phone: phone.run(timed=phone.timed(samples_ms=[-1.0])),
    ],
)
def test_what_does_not_fit_is_refused(served: Served, phone: Phone, send: Callable[[Phone], tuple[int, Any]]) -> None:
    status, said = send(phone)
    assert status == 400, said
    assert "upload" in said["error"]
    assert not list(served.output.glob("*/*/*.json"))


def test_answers_of_another_model_are_refused(phone: Phone) -> None:
    phone.setting["sha256"] = "0" * 64
    for status, said in (phone.rows([0], answers([0])), phone.run(checked=phone.checked())):
        assert status == 400
        assert "another tiny_fp32.tflite" in said["error"]


def test_a_phone_that_has_not_joined_is_refused(served: Served) -> None:
    status, said = Phone(served.url, served.job, 7).rows([0], answers([0]))
    assert status == 400
    assert "has not joined" in said["error"]


def test_a_gigabyte_is_not_read(served: Served, phone: Phone) -> None:
    parts = urlsplit(f"{served.url}phones/{phone.id}/models/0/runs")
    for length, body in ((2**30, b""), (None, b"%x\r\n" % (MAX_BYTES + 2) + b"x" * (MAX_BYTES + 2) + b"\r\n0\r\n\r\n")):
        with socket.create_connection((parts.hostname, parts.port), timeout=20) as line:
            size = f"Content-Length: {length}" if length else "Transfer-Encoding: chunked"
            line.sendall(f"POST {parts.path} HTTP/1.1\r\nHost: x\r\n{size}\r\n\r\n".encode())
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it answers before it has read all
                line.sendall(body)
            assert line.recv(4096).split(b" ")[1] == b"413"


def test_too_many_uploads_are_slowed_down(served: Served, phone: Phone) -> None:
    found = [phone.rows([0], answers([0]))[0] for _ in range(150)]
    assert set(found) == {200, 429}
    assert 429 in [request(served.url + "phones", {})[0] for _ in range(150)]
    time.sleep(0.1)  # a twentieth of a second each
    other = Phone(served.url, served.job, 1)
    other.join()
    assert other.rows([0], answers([0]))[0] == 200


def test_twenty_phones_at_once_lose_nothing(served: Served) -> None:
    def work(number: int) -> str:
        phone = Phone(served.url, served.job, number)
        name = phone.join()
        assert phone.run(checked=phone.checked())[0] == 200
        while left := phone.left()[:5]:
            assert phone.rows(left, answers(left, number))[0] == 200
        assert phone.run(checked=phone.checked(), timed=phone.timed())[0] == 200
        return name

    with ThreadPoolExecutor(20) as pool:
        names = list(pool.map(work, range(20)))
    assert len(set(names)) == 20
    for number, name in enumerate(names):
        assert (
            read_record(served.output / f"latency/{name}/tiny_fp32-litertjs-wasm-1t.json")["device"]["host"]
            == f"Phone {number}"
        )
        assert (served.output / f"verification/{name}/tiny_fp32-litertjs-wasm-1t-verify.json").is_file()
        ledger = read_json_lines(served.output / f"ledgers/{name}-tiny_fp32-litertjs-wasm-1t.jsonl")
        assert (ledger.top5_class[:, 0] == answers(list(range(IMAGES)), number).argmax(axis=1)).all()
    assert (served.output / "latency.html").read_text().count("<h2>") == 20


def test_phones_of_one_name_are_told_apart(served: Served) -> None:
    phones = [Phone(served.url, served.job, number) for number in range(3)]
    for phone in phones:
        phone.name = "Anna's phone"
    assert [phone.join() for phone in phones] == ["anna-s-phone", "anna-s-phone-2", "anna-s-phone-3"]
    assert phones[1].join() == "anna-s-phone-2"


def test_a_server_that_was_ended_goes_on_with_the_same_address_and_rows(
    serve: Any, no_litert_js: LiteRtJs, model: Path, data: Path, tmp_path: Path
) -> None:
    tokens = []
    for start in (0, 10):
        with serve(no_litert_js, tmp_path, [model], data=data) as server:
            tokens.append(urlsplit(server.url).path)
            phone = Phone(server.url, server.job)
            phone.join()
            assert phone.left() == list(range(start, IMAGES))
            phone.rows(list(range(start, start + 10)), answers(list(range(start, start + 10))))
            if start == 0:  # a kill amid a write
                part = next(tmp_path.glob("ledgers/*.part"))
        if start == 0:
            part.write_text(part.read_text() + '{"image_id": "ima')
    assert tokens[0] == tokens[1]
    part = next(tmp_path.glob("ledgers/*.part"))
    assert len([json.loads(line) for line in part.read_text().splitlines()]) == 21
    with serve(no_litert_js, tmp_path, [model], data=data, keep_logits=True) as server:  # another ledger
        phone = Phone(server.url, server.job)
        phone.join()
        assert phone.left() == list(range(IMAGES))
    assert sorted(len(part.read_text().splitlines()) for part in tmp_path.glob("ledgers/*.part")) == [1, 21]
