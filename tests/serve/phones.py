"""A phone without a browser: sends what the page sends."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.serve.job import Job


def packed(values: NDArray[Any]) -> str:
    """float32 in base64."""
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


def request(url: str, body: Any = None, method: str | None = None) -> tuple[int, bytes]:
    """(status, body) of an answer; `body` is sent as JSON, bytes as they are."""
    data = body if isinstance(body, bytes | type(None)) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, method=method), timeout=30) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read()


class Phone:
    """One phone and what it would send of the job's first model."""

    def __init__(self, url: str, job: Job, number: int = 0) -> None:
        self.url, self.job, self.id = url, job, f"{number:032x}"
        self.name = f"Phone {number}"
        self.subject = job.subjects[0]
        self.setting = {"sha256": self.subject.model.sha256, "accelerator": "wasm", "threads": 1, "build": "x"}

    def send(self, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        """(status, what the server says)."""
        status, said = request(self.url + path, body)
        return status, json.loads(said)

    def join(self) -> str:
        """Returns: the name of its files."""
        status, said = self.send("phones", {"id": self.id, "name": self.name, "user_agent": "a test", "cores": 8})
        assert status == 200, said
        return str(said["name"])

    def checked(self, **other: Any) -> dict[str, Any]:
        """Right answers to the golden pictures."""
        assert self.subject.golden is not None
        logits = self.subject.golden[1].logits
        return {"answers": packed(logits), "first": packed(logits[0]), "inferences": 100, "duration_s": 0.5, **other}

    def timed(self, **other: Any) -> dict[str, Any]:
        """A valid timing: a minute of samples."""
        assert self.subject.golden is not None
        first, power = self.subject.golden[1].logits[0], {"source": "mains", "battery_percent": 100}
        steady = {"steady": True, "spread_percent": 1.0, "window_medians_ms": [10.0, 10.1, 10.0]}
        return {
            "warmup": {"samples": 150, "duration_s": 1.5, **steady},
            "samples_ms": [10.0 + (n % 7) / 10 for n in range(6000)],
            "duration_s": 61.0,
            "overhead_us": 0.2,
            "clock_ms": 0.005,
            "output": packed(first),
            "before": power,
            "after": power,
            "again": packed(first),
            **other,
        }

    def run(self, **parts: Any) -> tuple[int, dict[str, Any]]:
        """Send a run; of `parts` are `checked` and `timed`."""
        body = {"setting": self.setting, "mode": "full", "import_ms": 300, "load_ms": 20, "first_ms": 12, **parts}
        return self.send(f"phones/{self.id}/models/0/runs", body)

    def left(self) -> list[int]:
        """The images that the server lacks."""
        status, said = self.send(f"phones/{self.id}/models/0/left", self.setting)
        assert status == 200, said
        return list(said["left"])

    def rows(self, images: list[int], logits: NDArray[Any], **other: Any) -> tuple[int, dict[str, Any]]:
        """Send answers to images."""
        body = {"setting": self.setting, "images": images, "logits": packed(logits), **other}
        return self.send(f"phones/{self.id}/models/0/rows", body)
