"""Answer the page's requests: what is served below the token, and what is taken back, within bounds."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ghostedge.errors import DeviceError, GhostedgeError, ImageError, OutputError
from ghostedge.reports import TEMPLATES
from ghostedge.serve.job import Crops, Job, Subject
from ghostedge.serve.litert_js import LiteRtJs
from ghostedge.serve.messages import MAX_BYTES, PhoneMessage, RowsMessage, RunMessage, Setting
from ghostedge.serve.results import Results
from ghostedge.stored import as_type, parse_json

__all__ = ["make_app"]

#: The built page: what tsc made of page/src, with the HTML and the style.
PAGE = Path(__file__).with_name("page")

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
}

#: Nothing is fetched from elsewhere, and shared memory (threads) is allowed where the browser calls the address secure.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; connect-src 'self'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; media-src 'self' blob:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

#: Reports say themselves that their one script alone may run, by its hash; what a page cannot say itself is added.
_REPORTS_POLICY = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

#: Our own are half as long. Longer ones hold numbers that Python does not read, or names that no folder can hold.
_LONGEST_PATH = 200

#: Uploads that a phone may make at once, and then each second.
_BURST, _RATE = 60.0, 20.0

_WRONG_TOKEN = """<!DOCTYPE html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>ghostedge</title><h1>This is not the address</h1>
<p>The address belongs to another run of ghostedge serve, or a part of it is missing. Scan the QR code in the terminal
again.</p>
"""

_NO_PAGE = """<!DOCTYPE html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>ghostedge</title><h1>Nothing there yet</h1>
<p>Latencies are shown as soon as a phone has measured, accuracies when a ledger was judged: start ghostedge serve with
--data and --reference.</p>
"""

T = TypeVar("T")


class _Guard:
    """Lets in what is below the token, takes no body above `MAX_BYTES`, and puts the headers on every answer."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > MAX_BYTES:
                raise _TooLargeError
            return message

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                further = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message["headers"], *(pair for pair in further if pair[0] not in given)]
            await send(message)

        path = scope["path"].lstrip("/")
        first, _, rest = path.partition("/")
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not secrets.compare_digest(first.encode(), self._token.encode()):
            await HTMLResponse(_WRONG_TOKEN, 403)(scope, receive, with_headers)
        elif len(path.encode()) > _LONGEST_PATH:
            await _error("there is no such page", 404)(scope, receive, with_headers)
        elif not length.isdigit() or int(length) > MAX_BYTES:
            await _too_large()(scope, receive, with_headers)
        else:
            inner = {**scope, "path": f"/{rest}", "raw_path": f"/{rest}".encode()}
            await self._app(inner, bounded, with_headers)


class _TooLargeError(Exception):
    """A body above `MAX_BYTES`."""


def _too_large() -> Response:
    text = f"the upload is larger than {MAX_BYTES >> 20} MiB; nothing of it was kept"
    return _error(text, 413, Connection="close")


class _Rate:
    """A bucket of uploads for each phone."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}

    def allows(self, phone: str) -> bool:
        """Whether a phone may upload now; it is counted."""
        now = time.monotonic()
        left, when = self._left.get(phone, (_BURST, now))
        left = min(_BURST, left + (now - when) * _RATE)
        self._left[phone] = (left - 1 if left >= 1 else left, now)
        return left >= 1


class _Server:
    """The requests' handlers."""

    def __init__(self, job: Job, litert_js: LiteRtJs, results: Results) -> None:
        self._job, self._litert_js, self._results = job, litert_js, results
        self._crops = None if job.images is None else Crops(job.images)
        self._rate = _Rate()

    def routes(self) -> list[Route]:
        return [
            Route("/", self.page),
            Route("/job", self.job),
            Route("/litert/{path:path}", self.litert),
            Route("/models/{model:int}", self.model),
            Route("/models/{model:int}/golden", self.golden),
            Route("/models/{model:int}/images/{image:int}", self.image),
            Route("/phones", self.join, methods=["POST"]),
            Route("/phones/{phone}/models/{model:int}/runs", self.run, methods=["POST"]),
            Route("/phones/{phone}/models/{model:int}/rows", self.rows, methods=["POST"]),
            Route("/phones/{phone}/models/{model:int}/left", self.left, methods=["POST"]),
            Route("/results/{name}", self.report),
            Route("/{name}", self.page),
        ]

    def page(self, request: Request) -> Response:
        """A file of the page, in the reports' style."""
        name = request.path_params.get("name", "index.html")
        return _file(TEMPLATES if name == "report.css" else PAGE, name)

    def job(self, request: Request) -> Response:
        """What is served."""
        return JSONResponse(self._job.to_dict(self._litert_js.version))

    def litert(self, request: Request) -> Response:
        """A file of LiteRT.js; where it imports npm's loader of WebAssembly, it gets ours."""
        path = request.path_params["path"]
        content = self._litert_js.files.get(path)
        if content is None:
            return _error("there is no such file of LiteRT.js", 404)
        if path == "index.js":
            content = content.replace(b'"@litertjs/wasm-utils"', b'"../loader.js"')
        return _cached(request, content, _TYPES[Path(path).suffix], hashlib.sha256(content).hexdigest())

    def model(self, request: Request) -> Response:
        """The bytes of a model."""
        subject = self._subject(request)
        return _cached(request, subject.content, "application/octet-stream", subject.model.sha256)

    def golden(self, request: Request) -> Response:
        """The golden pictures: uint8 (n, height, width, 3), RGB."""
        golden = self._subject(request).golden
        if golden is None:
            return _error("this model has no golden vectors", 404)
        return Response(golden[1].crops.tobytes(), media_type="application/octet-stream")

    def image(self, request: Request) -> Response:
        """An image of the data set, as the model sees it or as it is in the file."""
        images, place = self._results.images, request.path_params["image"]
        if place >= len(images) or self._crops is None:
            return _error("there is no such image", 404)
        subject = self._subject(request)
        try:
            content = images.encoded(place) if self._job.browser_decodes else self._crops.get(place, subject)
        except ImageError as exc:
            return _error(str(exc), 422)
        return Response(content, media_type="application/octet-stream")

    async def join(self, request: Request) -> Response:
        """Let a phone in; they share a bucket, because an id is whatever the request says."""
        if not self._rate.allows("join"):
            raise _TooFastError
        phone = await _taken(request, PhoneMessage)
        return JSONResponse({"name": await run_in_threadpool(self._results.join, phone)})

    async def run(self, request: Request) -> Response:
        """A verification or a latency. The record goes back, without its samples."""
        phone, subject, message = await self._upload(request, RunMessage)
        record = await run_in_threadpool(self._results.take_run, phone, subject, message)
        return JSONResponse({key: value for key, value in record.items() if key != "samples_ms"})

    async def rows(self, request: Request) -> Response:
        """Answers to images."""
        phone, subject, message = await self._upload(request, RowsMessage)
        return JSONResponse(await run_in_threadpool(self._results.take_rows, phone, subject, message))

    async def left(self, request: Request) -> Response:
        """Which images a phone has not answered yet, in the order to run them."""
        phone, subject, setting = await self._upload(request, Setting)
        run = await run_in_threadpool(self._results.run_of, phone, subject, setting)
        order = [place for place in self._results.images.order.tolist() if place not in run.done]
        return JSONResponse({"left": order, **self._results.progress(run)})

    def report(self, request: Request) -> Response:
        """A page of every phone's results."""
        name = request.path_params["name"]
        if name not in [page.name for page in self._results.pages]:
            return HTMLResponse(_NO_PAGE, 404)
        return _file(self._results.output, name, **{"Content-Security-Policy": _REPORTS_POLICY})

    async def _upload(self, request: Request, kind: type[T]) -> tuple[str, Subject, T]:
        phone = request.path_params["phone"]
        self._results.phone(phone)
        if not self._rate.allows(phone):
            raise _TooFastError
        return phone, self._subject(request), await _taken(request, kind)

    def _subject(self, request: Request) -> Subject:
        number: int = request.path_params["model"]
        if number >= len(self._job.subjects):
            raise DeviceError("there is no such model; reload the page")
        return self._job.subjects[number]


class _TooFastError(Exception):
    """More uploads than a phone may make."""


async def _taken(request: Request, kind: type[T]) -> T:
    """The body of an upload. Raises: DeviceError where it is not of its type."""
    what, body = "the upload", await request.body()

    def checked() -> T:
        return as_type(parse_json(body, what, DeviceError), kind, what, DeviceError)

    return await run_in_threadpool(checked)  # megabytes take seconds, in which the other phones are answered


def _error(text: str, status: int, **headers: str) -> Response:
    return JSONResponse({"error": text}, status, headers=headers)


def _file(folder: Path, name: str, **headers: str) -> Response:
    path = folder / name
    if path.suffix not in _TYPES or not path.is_file():
        return _error("there is no such page yet", 404)
    return Response(path.read_bytes(), media_type=_TYPES[path.suffix], headers=headers)


def _cached(request: Request, content: bytes, kind: str, digest: str) -> Response:
    """What never changes under its digest: the browser asks again and gets nothing twice."""
    headers = {"ETag": f'"{digest}"', "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)


def make_app(job: Job, litert_js: LiteRtJs, results: Results) -> ASGIApp:
    """The application; its addresses begin with ``/TOKEN/``."""

    too_fast = "too many uploads in a second; they are tried again"
    handlers: dict[Any, Callable[[Request, Exception], Response]] = {
        OutputError: lambda request, exc: _error(str(exc), 507),
        GhostedgeError: lambda request, exc: _error(str(exc), 400),
        _TooFastError: lambda request, exc: _error(too_fast, 429, **{"Retry-After": "1"}),
        _TooLargeError: lambda request, exc: _too_large(),
        ClientDisconnect: lambda request, exc: _error("the upload was cut off", 400),  # nobody hears it
    }
    app = Starlette(routes=_Server(job, litert_js, results).routes(), exception_handlers=handlers)
    return _Guard(app, results.token)
