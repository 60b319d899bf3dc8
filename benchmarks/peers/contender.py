"""Hold one model, loaded, and time or run it whenever a line on stdin asks for it.

compare.py starts one such process a model and lets them work in turn, so that all of them meet the same machine. It
runs under the project's Python with the runtimes of edge_benchmark.py, and under the peers' for theirs (runtimes.py).

    python contender.py MODEL THREADS [SETTING]

One JSON document a line: on stdin ``{"seconds": 0.5}`` or ``{"images": "x.npy", "logits": "y.npy"}``; on stdout first
``{"runtime": "litert 2.1.0", "delegated_share": 1.0, "partitions": 1}``, then one answer a request. MODEL is a
.tflite, .xml or .onnx, one of a peer's runtime, or timm weights as .safetensors, which PyTorch runs eagerly.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import edge_benchmark
import runtimes

#: Fewer samples than this have no median to speak of.
MIN_SAMPLES = 9


class Eager:
    """timm's network in PyTorch, as written; with the interface of edge_benchmark.py's runtimes."""

    name, delegate, quantization = "pytorch", None, None
    shape, dtype = (1, 3, 224, 224), "float32"

    def __init__(self, weights: str, threads: int) -> None:
        import torch
        from timm_network import network

        torch.set_num_threads(threads)
        self._torch, self._network = torch, network(Path(weights))
        self.version = torch.__version__.partition("+")[0]

    def set_input(self, tensor: Any) -> None:
        """Take the input that every sample hands over."""
        self._input = self._torch.from_numpy(tensor)

    def run(self) -> Any:
        """Infer."""
        with self._torch.inference_mode():
            self._last = self._network(self._input).numpy()
        return self._last

    def output(self) -> Any:
        """The logits of the last inference."""
        return self._last


def load(model: str, threads: int, setting: str) -> Any:
    """The runtime for a model, as edge_benchmark.py chooses it."""
    if model.endswith(".safetensors"):
        return Eager(model, threads)
    if runtimes.is_for(model):
        return runtimes.load(model, threads, setting)
    name = edge_benchmark.choose_runtime(edge_benchmark.model_format(model), "auto")
    # f32: what OpenVINO takes by itself on the processors of this comparison, said so that it stays comparable
    settings = {"threads": threads, "xnnpack": True, "precision_hint": "f32"}
    return edge_benchmark.load_runtime(name, model, settings)[0]


def fitting(picture: Any, runtime: Any) -> Any:
    """One normalised picture, float32 (3, 224, 224), in the layout and type of the model's input."""
    channels_last = runtime.shape[-1] == 3
    return edge_benchmark.quantised(picture.transpose(1, 2, 0)[None] if channels_last else picture[None], runtime)


def answer(request: dict[str, Any], runtime: Any) -> dict[str, Any]:
    """Do what one line asks for."""
    if "seconds" in request:
        samples, _ = edge_benchmark.collect(runtime.run, MIN_SAMPLES, request["seconds"])
        return {"median_ms": statistics.median(samples), "samples": len(samples)}
    rows = []
    for picture in np.load(request["images"]):
        runtime.set_input(fitting(picture, runtime))
        runtime.run()
        rows.append(np.array(runtime.output(), np.float32).reshape(-1))
    np.save(request["logits"], np.stack(rows))
    return {"pictures": len(rows)}


def main() -> None:
    """Load, say so, and serve until stdin ends."""
    model, threads, setting = sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "fp32"
    answers = os.fdopen(os.dup(1), "w", buffering=1)  # what runtimes print goes to stderr, not among the answers
    os.dup2(2, 1)
    runtime = load(model, threads, setting)
    runtime.set_input(edge_benchmark.noise(None, runtime))
    for _ in range(3):
        runtime.run()
    delegate = runtime.delegate or {}
    said = {key: delegate.get(key) for key in ("delegated_share", "partitions")}
    answers.write(json.dumps({"runtime": f"{runtime.name} {runtime.version}", **said}) + "\n")
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line), runtime)) + "\n")


if __name__ == "__main__":
    main()
