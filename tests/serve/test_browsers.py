"""The page where browsers differ: threads, a GPU, no HTTPS, no SIMD, and a computer that is gone for a while."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ghostedge.evaluation.jsonl import read_json_lines
from ghostedge.latency.records import read_record
from ghostedge.serve.litert_js import LiteRtJs
from ghostedge.serve.run import Place
from tests.chromium import CHROMIUM, Browser, BrowserError
from tests.serve.conftest import IMAGES
from tests.serve.page import do, serious

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="left out: Chromium is not installed")


def test_without_https_in_a_network_it_says_what_is_missing_and_checks_all_the_same(
    litert_js: LiteRtJs, model: Path, data: Path, serve: Callable[..., Any], tmp_path: Path
) -> None:
    """By another name than localhost, which browsers call insecure; the images are decoded by the browser."""
    with (
        serve(litert_js, tmp_path, [model], data=data, browser_decodes=True) as server,
        Browser("--host-resolver-rules=MAP phone.test 127.0.0.1") as browser,
    ):
        browser.open(server.url.replace("127.0.0.1", "phone.test"))
        browser.wait("document.body?.dataset.ready")
        assert browser.script("isSecureContext") is False
        told = browser.script("document.querySelector('#abilities').textContent")
        for name in ("Threads", "WebGPU", "Camera", "Battery"):
            assert f"{name}no: needs HTTPS: start ghostedge serve with --https" in told
        assert browser.script("document.querySelector('#try .start').disabled")
        assert "Right" in do(browser, "check")
        assert f"{IMAGES} of {IMAGES} images" in do(browser, "evaluate")
        assert serious(browser.messages) == []
    ledger = read_json_lines(next(tmp_path.glob("ledgers/*.jsonl")))
    assert ledger.metadata.runtime["decoder"] == "the browser's"
    assert all(error is None for error in ledger.errors)


def test_https_gives_what_http_does_not_once_the_certificate_is_accepted(
    litert_js: LiteRtJs, model: Path, serve: Callable[..., Any], tmp_path: Path
) -> None:
    mapped = "--host-resolver-rules=MAP phone.test 127.0.0.1"
    with serve(litert_js, tmp_path, [model], place=Place(https=True)) as server:
        url = server.url.replace("127.0.0.1", "phone.test")
        with Browser(mapped) as browser, pytest.raises(BrowserError, match="ERR_CERT_AUTHORITY_INVALID"):
            browser.open(url)
        with Browser(mapped, "--ignore-certificate-errors") as browser:
            browser.open(url)
            browser.wait("document.body?.dataset.ready")
            assert browser.script("isSecureContext && crossOriginIsolated")
            assert not browser.script("document.querySelector('#try .start').disabled")
            assert "Right" in do(browser, "check")


def test_a_browser_without_simd_is_told_so(
    litert_js: LiteRtJs, model: Path, serve: Callable[..., Any], browser: Browser, tmp_path: Path
) -> None:
    with serve(litert_js, tmp_path, [model]) as server:
        browser.before("WebAssembly.validate = () => false")
        browser.open(server.url)
        browser.wait("document.body?.dataset.ready")
    assert "no WebAssembly SIMD" in browser.script("document.querySelector('#line').innerText")
    assert browser.script("[...document.querySelectorAll('.task button:not(.stop)')].every(button => button.disabled)")


def test_another_token_is_told_so(
    litert_js: LiteRtJs, model: Path, serve: Callable[..., Any], browser: Browser, tmp_path: Path
) -> None:
    with serve(litert_js, tmp_path, [model]) as server:
        browser.open(server.url[:-2] + "/")
        browser.wait("document.body?.innerText.includes('Scan the QR code')")


def test_the_page_says_that_the_computer_is_gone_and_goes_on_when_it_is_back(
    litert_js: LiteRtJs, model: Path, data: Path, serve: Callable[..., Any], browser: Browser, tmp_path: Path
) -> None:
    with serve(litert_js, tmp_path, [model], data=data) as server:
        port = int(server.url.split(":")[2].split("/")[0])
        browser.open(server.url)
        browser.wait("document.body?.dataset.ready")
    browser.click("#evaluate .start")
    browser.wait("document.querySelector('#line').innerText.includes('does not answer')")
    with serve(litert_js, tmp_path, [model], place=Place(port), data=data):
        browser.wait(f"document.querySelector('#evaluate .result').innerText.startsWith('{IMAGES} of {IMAGES}')")
        browser.wait("document.querySelector('#line').hidden")


def test_threads_and_a_gpu_give_the_same_answers(
    litert_js: LiteRtJs, model: Path, serve: Callable[..., Any], tmp_path: Path
) -> None:
    """WebGPU on the software adapter that comes with Chromium."""
    flags = ("--enable-unsafe-webgpu", "--enable-features=Vulkan", "--use-webgpu-adapter=swiftshader")
    with serve(litert_js, tmp_path, [model]) as server, Browser(*flags) as browser:
        browser.open(server.url)
        browser.wait("document.body?.dataset.ready")
        usable = browser.script(
            "[...document.querySelectorAll('#where option')].filter(o => !o.disabled).map(o => o.value)"
        )
        assert {"wasm-1", "wasm-2"} <= set(usable)
        for where in set(usable) - {"wasm-1"}:
            browser.script(f"document.querySelector('#where').value = '{where}'")
            assert "Right" in do(browser, "check"), where
            accelerator, threads = where.split("-")
            record = read_record(next(tmp_path.glob(f"verification/*/*-{accelerator}-{threads}t-verify.json")))
            assert record["verification"]["snr_db"] is None or record["verification"]["snr_db"] >= 100
            assert record["runtime"]["build"].startswith(
                "litert_wasm_" + {"wasm": "thr", "webgpu": "jspi"}[accelerator]
            )
