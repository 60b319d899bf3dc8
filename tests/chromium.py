"""Drive a real Chromium by its DevTools protocol over pipes: open, click, wait, look, take pictures."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

#: Nothing on the network, no questions asked; the profile is fresh each time.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
_CAMERA = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]


class BrowserError(AssertionError):
    """The browser, or a script in its page, failed."""


class Browser:
    """One page in one Chromium. A context manager.

    Attributes:
        messages: the console's warnings and errors, and uncaught exceptions.
    """

    def __init__(self, *flags: str) -> None:
        assert CHROMIUM is not None
        self.messages: list[str] = []
        self._number = 0
        self._once = ""
        self._buffer = b""
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        command = [
            CHROMIUM,
            *FLAGS,
            *_CAMERA,
            *flags,
            f"--user-data-dir={self._profile.name}",
            "--remote-debugging-pipe",
        ]
        # Chromium reads file descriptor 3 and writes 4.
        shell = ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "chromium", *command, "about:blank"]
        self._process = subprocess.Popen(
            shell, pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._session: str | None = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self._call(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._profile.cleanup()

    def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        while True:
            reply = self._receive()
            if reply.get("id") == self._number:
                if "error" in reply:
                    raise BrowserError(f"{method}: {reply['error']['message']}")
                return reply["result"]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            chunk = os.read(self._from, 1 << 20)
            if not chunk:
                raise BrowserError("Chromium ended")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method: str | None, told: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.messages.append(str(details.get("exception", {}).get("description", details["text"])))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("warning", "error"):
            self.messages.append(f"{told['entry']['text']} {told['entry'].get('url', '')}".strip())
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("warning", "error", "assert"):
            self.messages.append(" ".join(str(each.get("value", "")) for each in told["args"]))

    def open(self, url: str) -> None:
        """Go to a page. Raises: BrowserError where it does not load at all."""
        reply = self._call("Page.navigate", url=url)
        if self._once:
            self._call("Page.removeScriptToEvaluateOnNewDocument", identifier=self._once)
            self._once = ""
        if "errorText" in reply:
            raise BrowserError(f"{url}: {reply['errorText']}")

    def before(self, source: str) -> None:
        """Run a script before those of the next page; only once."""
        self._once = self._call("Page.addScriptToEvaluateOnNewDocument", source=source)["identifier"]

    def script(self, expression: str) -> Any:
        """What a JavaScript expression gives, awaited; plain JSON. Raises: BrowserError for an exception."""
        reply = self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in reply:
            details = reply["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description", details["text"]))
        return reply["result"].get("value")

    def wait(self, expression: str, seconds: float = 60.0) -> Any:
        """Wait until an expression is true. Returns: its value. Raises: BrowserError, with the page's text."""
        return wait_for(lambda: self._quietly(expression), seconds, lambda: f"{expression}: {self.text()}")

    def _quietly(self, expression: str) -> Any:
        """`script`, None where the page is just being changed for another."""
        try:
            return self.script(expression)
        except BrowserError as exc:
            if "context" in str(exc) or "navigat" in str(exc):
                return None
            raise

    def text(self) -> str:
        """What can be read on the page."""
        return str(self.script("document.body?.innerText"))

    def click(self, selector: str) -> None:
        """Click the middle of an element, as a finger would."""
        place = self.script(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'});"
            "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press a key: ``"Tab"``, ``"Enter"``."""
        code = {"Tab": 9, "Enter": 13}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def choose_file(self, selector: str, file: Path) -> None:
        """Give a file to an ``<input type="file">``."""
        root = self._call("DOM.getDocument")["root"]["nodeId"]
        node = self._call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self._call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def size(self, width: int, height: int, *, dark: bool = False, scale: float = 1) -> None:
        """Give the page the width of a phone, and its colours."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=True
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._call("Emulation.setEmulatedMedia", features=features)

    def picture(self) -> bytes:
        """What the page shows now: PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])


def wait_for(look: Callable[[], Any], seconds: float, what: Callable[[], str]) -> Any:
    """Wait until `look` gives something true. Returns: that. Raises: BrowserError, with `what`."""
    ends = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > ends:
            raise BrowserError(f"waited {seconds:g} s for {what()}")
        time.sleep(0.05)
    return found
