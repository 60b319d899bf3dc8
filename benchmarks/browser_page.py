"""Measure the page of ghostedge serve in a real Chromium with the demo's artifacts.

    python benchmarks/browser_page.py --artifacts build/demo --images 200

Prints, as docs/phone.md quotes them: what the page weighs, the time to the first check's result, each artifact's
distance from MindSpore, how often the browser's best class is that of Python's LiteRT, and the median latency as a
ratio to that of a page that does nothing but call LiteRT.js; the two are measured in turns.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ghostedge.evaluation.jsonl import read_json_lines
from ghostedge.evaluation.ledger import read_ledger
from ghostedge.serve.litert_js import LiteRtJs, find_litert_js
from tests.chromium import Browser
from tests.serve.conftest import running
from tests.serve.page import do

DATA = Path(__file__).resolve().parents[1] / "ghostedge" / "demo" / "files" / "validation"

#: LiteRT.js and nothing else, as its README shows it: copy in, run, copy out.
MINIMAL = """<!DOCTYPE html><script type="module">
import { loadLiteRt, loadAndCompile, Tensor } from "./litert/index.js";
await loadLiteRt("./litert/wasm/");
const model = await loadAndCompile("./model.tflite", { accelerator: "wasm" });
const data = new Float32Array(SIZE).map((_, i) => Math.sin(i));
window.measure = async (count) => {
  const samples = [];
  for (let i = 0; i < count; i++) {
    const before = performance.now();
    const input = new Tensor(data, SHAPE);
    const [output] = await model.run(input);
    await output.data();
    input.delete();
    output.delete();
    samples.push(performance.now() - before);
  }
  return samples;
};
document.title = "ready";
</script>"""
LOADER = """export async function createWasmLib(kind, address) {
  const script = document.createElement("script");
  script.src = address;
  await new Promise((resolve) => { script.onload = resolve; document.head.append(script); });
  return new kind(await self.ModuleFactory({}));
}"""


class _Isolated(http.server.SimpleHTTPRequestHandler):
    """Files with the headers that give a page the fine clock."""

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def minimal_page(folder: Path, litert_js: LiteRtJs, model: Path, side: int) -> http.server.ThreadingHTTPServer:
    """Write the page and serve it."""
    for name, content in litert_js.files.items():
        file = folder / "litert" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(
            content.replace(b'"@litertjs/wasm-utils"', b'"../loader.js"') if name == "index.js" else content
        )
    (folder / "loader.js").write_text(LOADER)
    (folder / "model.tflite").write_bytes(model.read_bytes())
    shape = f"[1, {side}, {side}, 3]"
    (folder / "index.html").write_text(MINIMAL.replace("SIZE", str(3 * side * side)).replace("SHAPE", shape))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Isolated, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


#: Opens the first model in the page's own worker; `measure(n)` is n samples of Measure's own loop.
OURS = """(async () => {
  const { Runner } = await import("./runner.js");
  const job = await (await fetch("job")).json();
  const runner = await Runner.open(job.models[0], "wasm", 1, () => {});
  window.measure = async (count) => {
    const timing = { min_samples: count, min_seconds: 0, window_s: 0, warmup_limit_s: 0 };
    const rules = { ...job.rules, quick: timing, overhead_samples: 1 };
    return (await runner.ask("time", { mode: "quick", rules })).samples_ms;
  };
})()"""


def compare_times(browser: Browser, url: str, model: Path, litert_js: LiteRtJs, side: int, turns: int) -> None:
    """Measure our page and the minimal one in turns of ten samples, each in a browser of its own."""
    with tempfile.TemporaryDirectory() as folder, Browser() as other:
        server = minimal_page(Path(folder), litert_js, model, side)
        browser.open(url)
        browser.wait("document.body?.dataset.ready")
        browser.script(OURS)
        other.open(f"http://127.0.0.1:{server.server_port}/")
        other.wait("document.title === 'ready'")
        pages = {"page": browser, "minimal page": other}
        for each in pages.values():
            each.script("measure(20)")
        samples: dict[str, list[list[float]]] = {name: [] for name in pages}
        for turn in range(turns):
            for name in sorted(pages, reverse=turn % 2 == 1):
                samples[name].append(pages[name].script("measure(10)"))
        server.shutdown()
    # Other programs make a median longer and leave the fastest sample nearly as it is.
    for what, summary in (("median", statistics.median), ("fastest", min)):
        times = {name: [summary(each) for each in turns_of] for name, turns_of in samples.items()}
        ratios = [a / b for a, b in zip(times["page"], times["minimal page"], strict=True)]
        low, high = statistics.quantiles(ratios, n=4)[::2]
        said = ", ".join(f"{name} {statistics.median(each):.2f} ms" for name, each in times.items())
        print(f"{what} of ten samples: {said}; ratio {statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})")


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=Path, default=Path("build/demo"), help="output of ghostedge demo")
    parser.add_argument("--names", default="fp32,fp16,int8,dynamic", help="which .tflite (default: %(default)s)")
    parser.add_argument("--images", type=int, default=200, help="for the ledgers, 0 for none (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=20, help="of the two pages (default: %(default)s)")
    args = parser.parse_args()
    models = [next(args.artifacts.glob(f"*_{name}.tflite")) for name in args.names.split(",")]
    litert_js = find_litert_js(None, lambda done, total: None)
    with (
        tempfile.TemporaryDirectory() as folder,
        running(
            litert_js, Path(folder), models, data=DATA if args.images else None, limit=args.images or None
        ) as server,
        Browser() as browser,
    ):
        started = time.monotonic()
        browser.open(server.url)
        browser.wait("document.body?.dataset.ready")
        do(browser, "check", seconds=300)
        print(f"first check's result: {time.monotonic() - started:.1f} s after opening")
        entries = "performance.getEntries().filter((e) => !e.name.includes('/models/'))"
        weight = browser.script(f"{entries}.reduce((sum, e) => sum + (e.encodedBodySize || 0), 0)")
        files = ("index.js", "wasm/litert_wasm_internal.js", "wasm/litert_wasm_internal.wasm")
        weight += sum(len(litert_js.files[name]) for name in files)  # fetched by the worker
        print(f"page without model and images: at most {weight / 1e6:.2f} MB")
        for number, model in enumerate(models):
            do(browser, "check", seconds=300, model=number)
            (file,) = Path(folder).glob(f"verification/*/{model.stem}-*.json")
            found = json.loads(file.read_text())["verification"]
            line = f"{model.name}: {found['snr_db']} dB, {found['top1_agreement']:.0%} of {found['golden']['images']}"
            if args.images:
                do(browser, "evaluate", seconds=300, model=number)
                (file,) = Path(folder).glob(f"ledgers/*-{model.stem}-*.jsonl")
                ledger, python = (
                    read_json_lines(file),
                    read_ledger(args.artifacts / "ledgers" / f"{model.name}.parquet"),
                )
                places = np.searchsorted(python.image_ids, ledger.image_ids)
                assert (python.image_ids[places] == ledger.image_ids).all()
                same = (ledger.top5_class[:, 0] == python.top5_class[places, 0]).mean()
                line += f", the best class of Python's LiteRT on {same:.2%} of {len(ledger)} images"
            print(line)
        if args.turns:
            side = server.job.subjects[0].model.input.height
            compare_times(browser, server.url, models[0], litert_js, side, args.turns)


if __name__ == "__main__":
    main()
