"""``ghostedge serve``: a page that any phone opens, which checks, times and evaluates artifacts there."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path

from ghostedge.cli import GOLDEN, GROUND_TRUTH, INPUT_SPEC, LIMIT, LOGITS, Arguments, argument, options_given
from ghostedge.console import ProgressWriter

HELP = "serve a page that proves accuracy and speed on any phone that opens it"

EPILOG = """\
examples:
  ghostedge serve --artifact build/model_fp16.tflite --lan
  ghostedge serve --artifact build/*.tflite --data imagenet/val --limit 500 --reference ref.parquet --lan --https

The phone needs a browser and the same Wi-Fi; scan the QR code. The page checks the golden vectors, measures latency,
evaluates the images of --data and tries photos, in LiteRT.js (WebAssembly, or WebGPU where the browser has it).
What it finds comes back at once, as the records and ledgers that benchmark and parity read. Ctrl-C ends the server and
keeps what came; the same command goes on.

LiteRT.js takes float32 or uint8 inputs and float32 outputs: artifacts of ghostedge have these, int8 inside or not.

Without --lan only this machine can connect. With --lan anybody in the network who knows the address can; it holds a
random token. Over plain HTTP browsers give a page neither camera nor threads nor WebGPU: --https has them, with a
certificate made on the spot, which the phone asks you to accept.
"""

#: Options that say something of the images to evaluate.
_OF_DATA = ("ground_truth", "limit", "logits", "reference", "order", "jpeg")

ARGUMENTS: Arguments = {
    "what to serve": [
        argument("--artifact A...", ".tflite", Path, required=True),
        GOLDEN,
        INPUT_SPEC,
        argument("--data D", "labelled images to evaluate: folder, .tar or .parquet", Path),
        GROUND_TRUTH,
        LIMIT,
        LOGITS,
        argument("--reference R", "the reference's ledger (.parquet): judge each ledger as it is finished", Path),
        argument("--order {spread,decisive}", "decisive: first the images on which R wavers"),
        argument("--jpeg", "let the browser decode the images, to measure that too (default: send crops)"),
        argument("--litert-js F", "archive of 'npm pack @litertjs/core' (default: fetched once, and kept)", Path),
    ],
    "where": [
        argument("--port P", "default: that of the last time, or any that is free", int, default=0),
        argument("--lan", "let other devices in the network connect"),
        argument("--https", "encrypt; phones need it for camera, threads and WebGPU"),
        argument("--output DIR", "folder of the results (default: phones)", Path, default=Path("phones")),
    ],
}


def run(args: argparse.Namespace) -> int:
    """Run the command, until Ctrl-C. Returns: 0."""
    from ghostedge.errors import UsageError
    from ghostedge.files import locked
    from ghostedge.formats import load_input_spec
    from ghostedge.serve.run import Place, certificate, check_installed, listen, serve_until_stopped

    check_installed()
    _check(args)
    from ghostedge.serve.app import make_app
    from ghostedge.serve.job import make_job
    from ghostedge.serve.litert_js import find_litert_js
    from ghostedge.serve.results import Results

    job = make_job(
        args.artifact,
        golden=args.golden,
        input_spec=load_input_spec(args.input_spec) if args.input_spec else None,
        data=args.data,
        ground_truth=args.ground_truth,
        limit=args.limit,
        reference=args.reference,
        order=args.order or "spread",
        browser_decodes=args.jpeg,
        keep_logits=args.logits,
    )
    busy = UsageError(f"another ghostedge serve has its results in {args.output}; end it, or name another --output")
    with ProgressWriter(quiet=args.quiet) as progress, contextlib.ExitStack() as held:
        litert_js = find_litert_js(args.litert_js, _Fetching(progress))
        held.enter_context(locked(args.output / ".serve.lock", busy))
        results = Results(job, litert_js.version, args.output, args.reference, progress.line, progress.status)
        address = listen(Place(args.port, args.lan, args.https), results.port)
        results.listening(address.socket.getsockname()[1])
        pem, fingerprint = certificate(address.host) if args.https else (None, None)
        url = f"{address.url}/{results.token}/"
        _show(url, fingerprint, args)
        serve_until_stopped(make_app(job, litert_js, results), address, pem)
        pages = "".join(f", {page}" for page in results.pages)
        progress.line(f"ended; the results are in {args.output}{pages}")
        for ledger in results.open_ledgers:
            progress.line(f"not whole yet, and kept: {ledger.name}; run the same command again to go on")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse options of images where there are none. Raises: UsageError."""
    from ghostedge.errors import UsageError

    if args.data is None and (given := options_given(args, _OF_DATA)):
        raise UsageError(f"{given}: of the images to evaluate, of which there are none; add --data D")


def _show(url: str, fingerprint: str | None, args: argparse.Namespace) -> None:
    """The address, first of all; for people with a QR code and what can be done there."""
    from ghostedge.serve.run import qr_code

    if args.json:
        print(json.dumps({"url": url, "certificate_sha256": fingerprint, "output": str(args.output)}), flush=True)
        return
    print(url, flush=True)
    if args.quiet:
        return
    print(qr_code(url, colours=sys.stderr.isatty()), file=sys.stderr)
    if fingerprint:
        print(f"certificate, made just now; its SHA-256 fingerprint:\n{fingerprint}", file=sys.stderr)
    if not args.lan:
        print("only this machine can connect; add --lan for phones in the same network", file=sys.stderr)
    print("Ctrl-C ends it and keeps what came", file=sys.stderr, flush=True)


class _Fetching:
    """What is shown while LiteRT.js is fetched."""

    def __init__(self, progress: ProgressWriter) -> None:
        self._progress = progress

    def __call__(self, done: int, total: int | None) -> None:
        of = f" of {total / 1e6:.1f}" if total else ""
        self._progress.status(f"LiteRT.js: {done / 1e6:.1f}{of} MB", last=done == total)
