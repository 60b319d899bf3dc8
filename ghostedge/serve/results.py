"""Keep what phones send: each phone under its own name, records and ledgers in folders that other commands read.

Below the output folder::

    latency/PHONE/MODEL-litertjs-wasm-1t.json          latency records: ghostedge benchmark --records, parity --latency
    verification/PHONE/MODEL-litertjs-wasm-1t-verify.json
    ledgers/PHONE-MODEL-litertjs-wasm-1t.jsonl         ledgers: ghostedge parity --ledger; .KEY.part while they grow
    latency.html, parity.html                          every phone on one page, written anew with each result
    .serve.json                                        the token of the address, and which phone has which name
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ghostedge.console import one_line
from ghostedge.errors import DeviceError, GhostedgeError
from ghostedge.evaluation.ledger import LedgerMetadata
from ghostedge.evaluation.run import checkpoint_of
from ghostedge.files import PARTIAL_PREFIX, atomic_path, atomic_write
from ghostedge.latency.records import read_record
from ghostedge.reports import write_page
from ghostedge.reports.format import answers_text
from ghostedge.reports.latency import latency_html
from ghostedge.reports.parity import explain, parity
from ghostedge.reports.parity_page import write_parity
from ghostedge.serve.job import Images, Job, Subject
from ghostedge.serve.ledgers import LedgerRun
from ghostedge.serve.messages import (
    FileName,
    PhoneId,
    PhoneMessage,
    Port,
    RowsMessage,
    RunMessage,
    Setting,
    Token,
    floats,
)
from ghostedge.serve.record import make_record, run_name, runtime_of
from ghostedge.stored import as_type, parse_json, plain

__all__ = ["MAX_PHONES", "PAGES", "Results"]

#: The pages of all phones.
PAGES = ("latency.html", "parity.html")

#: More are not let in: their results would fill the disk.
MAX_PHONES = 256


@dataclass(frozen=True)
class _State:
    """What outlives a run of the server.

    Attributes:
        token: what the address holds.
        phones: a phone's id -> the name of its files.
        messages: a phone's id -> what it said of itself last: pages that stay open go on where the server is new.
        port: where the server listened last.
    """

    token: Token
    phones: Mapping[PhoneId, FileName] = field(default_factory=dict)
    messages: Mapping[PhoneId, PhoneMessage] = field(default_factory=dict)
    port: Port = 0


class Results:
    """The results of one job in one folder. Its methods may be called by several threads.

    Args:
        job: what is served.
        version: of LiteRT.js.
        output: the folder.
        reference: the ledger that finished ledgers are judged against; None to judge none.
        tell: called with a line of text for each result.
        status: called with how far a ledger is, often.

    Raises:
        DeviceError: the folder's own state is damaged.
        OutputError: the folder cannot be written.
    """

    def __init__(
        self,
        job: Job,
        version: str,
        output: Path,
        reference: Path | None,
        tell: Callable[[str], None],
        status: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._job, self._version, self._output = job, version, output
        self._reference, self._line, self._status = reference, tell, status
        self._told: dict[str, PhoneMessage] = {}
        self._runs: dict[str, LedgerRun] = {}
        self._lock = threading.RLock()
        self._file = output / ".serve.json"
        self._save(self._read_state())

    def _tell(self, text: str) -> None:
        self._line(one_line(text))  # what a phone says of itself makes no further lines

    @property
    def output(self) -> Path:
        """The folder."""
        return self._output

    @property
    def token(self) -> str:
        """What the address holds; the same for each run with one output folder, so that pages stay open."""
        return self._state.token

    @property
    def port(self) -> int:
        """Where the server listened last; 0 before the first time."""
        return self._state.port

    def listening(self, port: int) -> None:
        """Remember where the server listens, for its next run. Raises: OutputError."""
        self._save(replace(self._state, port=port))

    @property
    def pages(self) -> tuple[Path, ...]:
        """The pages that there are."""
        return tuple(path for name in PAGES if (path := self._output / name).is_file())

    @property
    def open_ledgers(self) -> tuple[Path, ...]:
        """The ledgers that are not whole yet."""
        return tuple(run.path for run in self._runs.values() if not run.whole)

    def _read_state(self) -> _State:
        try:
            data = self._file.read_bytes()
        except OSError:
            return _State(secrets.token_urlsafe(16))
        return as_type(parse_json(data, str(self._file), DeviceError), _State, str(self._file), DeviceError)

    def _save(self, state: _State) -> None:
        """Keep a state, from its first byte on readable to this user alone."""
        with atomic_path(self._file) as partial:
            partial.touch(mode=0o600)
            partial.write_text(json.dumps(plain(state), indent=1), encoding="utf-8")
        self._state = state

    def join(self, phone: PhoneMessage) -> str:
        """Let a phone in. Returns: the name of its files. Raises: DeviceError where there are too many, OutputError."""
        with self._lock:
            known = self._state.phones
            name = known[phone.id] if phone.id in known else self._new_name(phone)
            if self._state.messages.get(phone.id) != phone:
                messages = {**self._state.messages, phone.id: phone}
                self._save(replace(self._state, phones={**known, phone.id: name}, messages=messages))
            if self._told.get(phone.id) != phone:
                self._told[phone.id] = phone
                self._tell(f"{name}: {', '.join(filter(None, (phone.model, phone.system, phone.user_agent)))}")
            return name

    def _new_name(self, phone: PhoneMessage) -> str:
        taken = set(self._state.phones.values())
        if len(taken) >= MAX_PHONES:
            raise DeviceError(f"{MAX_PHONES} phones are here already; start ghostedge serve with another --output")
        short = re.sub(r"[^a-z0-9]+", "-", phone.name.lower()).strip("-")[:40] or "phone"
        names = [short, *(f"{short}-{number}" for number in range(2, MAX_PHONES + 2))]
        return next(name for name in names if name not in taken)

    def phone(self, phone_id: str) -> PhoneMessage:
        """A phone that has joined, this run of the server or an earlier one. Raises: DeviceError."""
        if phone_id not in self._state.messages:
            raise DeviceError("this phone has not joined; reload the page")
        return self._state.messages[phone_id]

    def take_run(self, phone_id: str, subject: Subject, message: RunMessage) -> dict[str, Any]:
        """Keep a verification or a latency. Returns: the record. Raises: DeviceError, OutputError."""
        _check_model(subject, message.setting)
        phone = self.phone(phone_id)
        record = make_record(subject, phone, message, self._version)
        timed = message.timed is not None
        with self._lock:
            name = self._state.phones[phone_id]
            folder = self._output / ("latency" if timed else "verification") / name
            atomic_write(folder / f"{record['name']}.json", json.dumps(record, separators=(",", ":")))
            if timed:
                self._write_latency()
            self._tell(f"{name}: {_said(record)}")
        return record

    def _write_latency(self) -> None:
        records = []
        for file in _whole_files(self._output / "latency", "*/*.json"):
            try:
                records.append((file.parent.name, read_record(file, "latency_record")))
            except DeviceError as exc:  # of another phone, and not what this one is told
                self._tell(f"left out of latency.html: {exc}")
        write_page(self._output / "latency.html", latency_html(records))

    def run_of(self, phone_id: str, subject: Subject, setting: Setting) -> LedgerRun:
        """The ledger of a phone, a model and a setting. Raises: DeviceError, OutputError."""
        _check_model(subject, setting)
        phone, images = self.phone(phone_id), self.images
        with self._lock:
            name = f"{self._state.phones[phone_id]}-{run_name(subject, setting)}"
            if (run := self._runs.get(name)) is None:
                run = self._runs[name] = LedgerRun(
                    self._output / "ledgers" / f"{name}.jsonl",
                    self._metadata(phone, subject, setting, images),
                    images.ids,
                    images.labels(subject),
                    keep_logits=self._job.keep_logits,
                )
                if run.replaces:
                    self._tell(f"{run.path} holds other answers, which are replaced once there are all of these")
            if run.finish():
                self._finished(self._state.phones[phone_id], run)
            return run

    @property
    def images(self) -> Images:
        """The images of the job. Raises: DeviceError where it has none."""
        if self._job.images is None:
            raise DeviceError("there are no images to evaluate; start ghostedge serve with --data")
        return self._job.images

    def _metadata(self, phone: PhoneMessage, subject: Subject, setting: Setting, images: Images) -> LedgerMetadata:
        model = subject.model
        runtime = {**runtime_of(setting, self._version), "threads": setting.threads}
        runtime["decoder"] = "the browser's" if self._job.browser_decodes else "ghostedge's"
        host = {
            "machine": phone.architecture,
            "system": phone.system,
            "model": phone.model,
            "browser": phone.user_agent,
        }
        return LedgerMetadata(
            model={
                "file": model.path.name,
                "sha256": model.sha256,
                "format": "tflite",
                "precision": model.precision,
            },
            input=model.input,
            preprocessing=model.input.resize_rule,
            runtime=runtime,
            device="CPU" if setting.accelerator == "wasm" else "GPU",
            host={"phone": phone.name, **{key: value for key, value in host.items() if value}},
            classes=subject.classes or 0,
            dataset={"images": len(images), "ids_sha256": images.ids_sha256},
            checkpoint_sha256=checkpoint_of(model, model.sha256),
        )

    def take_rows(self, phone_id: str, subject: Subject, message: RowsMessage) -> dict[str, Any]:
        """Keep answers to images. Returns: how far the ledger is. Raises: DeviceError, OutputError."""
        run, images = self.run_of(phone_id, subject, message.setting), self.images
        failed = {each.image: each.reason for each in message.failed}
        places = [*message.images, *failed]
        if len(set(places)) < len(places) or not all(place < len(images) for place in places):
            raise DeviceError("the upload names an image twice, or one that is not there; reload the page")
        answers = floats(message.logits, len(message.images), subject.classes or 0)
        logits = np.concatenate([answers, np.zeros((len(failed), answers.shape[1]), np.float32)])
        errors = [None] * len(message.images) + list(failed.values())
        content = [images.content_crc32(place) for place in places]
        with self._lock:
            name = self._state.phones[phone_id]
            whole = run.add(places, logits, errors, content)
            self._status(f"{name}: {run.path.name}: {len(run.done):,} of {len(images):,} images")
            if whole:
                self._finished(name, run)
            return self.progress(run)

    def progress(self, run: LedgerRun) -> dict[str, Any]:
        """How far a ledger is: ``done``, ``total``, ``top1`` (0..1, None without labels)."""
        return {"done": len(run.done), "total": len(self.images), "top1": run.top1}

    def _finished(self, name: str, run: LedgerRun) -> None:
        top1 = "" if run.top1 is None else f", top-1 {run.top1:.2%}"
        self._tell(f"{name}: {run.path.name}: {len(run.done):,} images{top1}")
        if self._reference is None:
            return
        try:
            report = parity(self._reference, _whole_files(self._output / "ledgers", "*.jsonl"))
            write_parity(report, self._output / "parity.html")
        except GhostedgeError as exc:  # of this ledger, or another one in the folder: all are kept
            self._tell(f"{name}: not judged: {exc}")
            return
        (own,) = [each for each in report.comparisons if each.source.file == run.path.name]
        self._tell(f"{name}: {own.result.verdict}: {explain(own.result)}")


def _whole_files(folder: Path, pattern: str) -> list[Path]:
    """The files there, without those that a kill left half-written."""
    return sorted(file for file in folder.glob(pattern) if not file.name.startswith(PARTIAL_PREFIX))


def _check_model(subject: Subject, setting: Setting) -> None:
    if setting.sha256 != subject.model.sha256:
        raise DeviceError(
            f"the upload is of another {subject.model.path.name} than the one that is served; reload the page"
        )


def _said(record: dict[str, Any]) -> str:
    """A record in a few words."""
    runtime = record["runtime"]
    words = [record["artifact"]["file"], f"{runtime['accelerator']}, {record['settings']['threads']} threads"]
    if record["kind"] == "latency_record":
        valid = "" if record["valid"] else f" (not valid: {', '.join(_codes(record['invalid_reasons']))})"
        words.append(f"p50 {record['latency_ms']['p50']:.2f} ms{valid}")
    words.append(f"answers {answers_text(record['verification'])}")
    return ", ".join(words)


def _codes(findings: Sequence[dict[str, str]]) -> list[str]:
    return [finding["code"] for finding in findings]
