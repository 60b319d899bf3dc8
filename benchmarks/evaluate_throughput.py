"""Measure what evaluating costs beside decoding and inference alone, all in one run.

Per round, on the same images and as many processes as cores: D, images/s of decode + resize alone; I, images/s of
inference alone, of each artifact; E, images/s of `evaluate`, of each artifact alone and of all in one pass. An ideal
evaluation that does one after the other reaches ``1 / (1/D + 1/I)``. Rounds are interleaved and medians reported, so
that other load on the machine meets all of them alike. Beside each rate stands the processor time of one image, in
milliseconds, which other load hardly changes: on a machine that is not idle compare those.

    python benchmarks/evaluate_throughput.py --artifact a.tflite b.xml --data photos/ --images 500
    python benchmarks/evaluate_throughput.py --artifact a.tflite --data photos/ --threads 1 2  # processes or threads?
    python benchmarks/evaluate_throughput.py --artifact a.tflite --data photos/ --model-eval C --timm ghostnetv2_100

The last line measures two other ways to the same accuracy beside ours, each in a process of its own: MindSpore's
``Model.eval`` and the loop of timm's ``validate.py`` (needs timm and PyTorch).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ghostedge.data.datasets import NO_LABELS, open_dataset
from ghostedge.data.images import list_images
from ghostedge.data.preprocess import decode, preprocess, resize_and_crop
from ghostedge.evaluation.run import Options, evaluate, subjects_of
from ghostedge.formats import load_input_spec, open_model
from ghostedge.model import InputSpec, Model
from ghostedge.runtimes import open_runtime

#: Images of one inference of the other contenders; `evaluate` runs one at a time.
_BATCH = 32


@dataclass(frozen=True)
class Cost:
    """What `images` images cost: seconds on the clock, seconds of processors."""

    images: int
    wall_s: float
    cpu_s: float

    @property
    def rate(self) -> float:
        """Images/s."""
        return self.images / self.wall_s

    @property
    def cpu_ms(self) -> float:
        """Processor time of one image, milliseconds."""
        return 1e3 * self.cpu_s / self.images


def in_processes(target: Callable[..., Callable[[int], None]], processes: int, images: int, *arguments: Any) -> Cost:
    """Run `target` on its share of `images` in `processes` processes at once; their start is not counted."""
    context = multiprocessing.get_context("spawn")
    ready, go, spent = context.Barrier(processes + 1), context.Barrier(processes + 1), context.Value("d", 0.0)
    share = -(-images // processes)
    running = [
        context.Process(target=timed, args=(ready, go, spent, target, share, *arguments)) for _ in range(processes)
    ]
    for process in running:
        process.start()
    ready.wait()
    go.wait()
    started = time.perf_counter()
    for process in running:
        process.join()
    if any(process.exitcode for process in running):
        raise SystemExit("a process of the benchmark failed")
    return Cost(share * processes, time.perf_counter() - started, spent.value)


def timed(
    ready: Any, go: Any, spent: Any, target: Callable[..., Callable[[int], None]], count: int, *arguments: Any
) -> None:
    """In a process: prepare `target`, wait for the others, run images 0 .. count - 1."""
    run = target(*arguments)
    run(0)
    ready.wait()
    go.wait()
    before = time.process_time()
    for number in range(count):
        run(number)
    with spent.get_lock():
        spent.value += time.process_time() - before
    os._exit(0)  # not timed: what a vendor's library does at exit


def decode_alone(files: list[Path], spec: InputSpec) -> Callable[[int], None]:
    """Read, decode and resize."""
    return lambda number: void(resize_and_crop(decode(files[number % len(files)].read_bytes()), spec))


def infer_alone(files: list[Path], artifact: Model, threads: int) -> Callable[[int], None]:
    """Inference of images that are prepared already."""
    runtime = open_runtime(artifact, threads)
    batches = [preprocess(file, artifact.input) for file in files[:8]]
    return lambda number: void(runtime.run(batches[number % len(batches)]))


def void(result: object) -> None:
    """Drop a result."""


def evaluation(artifacts: list[Model], data: Path, workers: int, threads: int) -> Cost:
    """`ghostedge evaluate` while all workers run: from the answers to their first tasks until the tasks run out.

    Loading the models takes as long as hundreds of images do; it happens once, however many images there are.
    """
    marks: list[tuple[int, float, float]] = []
    with tempfile.TemporaryDirectory() as output:
        evaluate(
            subjects_of(artifacts, Path(output), threads=threads),
            open_dataset(data, NO_LABELS),
            Options(workers=workers),
            lambda progress: marks.append((progress.done, time.perf_counter(), processor_time())),
        )
    # As many tasks are unfinished at the first mark as at the last one.
    (images, wall, cpu), (more, wall_end, cpu_end) = marks[workers - 1], marks[-workers]
    return Cost(more - images, wall_end - wall, cpu_end - cpu)


def in_own_process(target: Callable[..., Cost], *arguments: Any) -> Cost:
    """`target` in a fresh process, so that no contender meets what another one left: its threads, its memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(target, *arguments).result()


def processor_time() -> float:
    """Of this process and of its children, those that have ended and those that run, seconds."""
    ended = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    ticks = 0
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime and stime of proc(5)
    return ended + ticks / os.sysconf("SC_CLK_TCK")


def model_eval(checkpoint: Path, data: Path, count: int) -> Cost:
    """MindSpore's own ``Model.eval`` on the CPU: its own data pipeline on all cores, batches of 32, compiled before."""
    import mindspore as ms
    from mindspore import dataset, nn
    from mindspore.dataset import vision

    from ghostedge.ghostnet.cell import build_cell
    from ghostedge.ghostnet.checkpoint import load_checkpoint

    ms.set_context(mode=ms.GRAPH_MODE)
    content = load_checkpoint(checkpoint)
    network = build_cell(content.variant, content.weights)
    mean, std = [255 * v for v in InputSpec().mean], [255 * v for v in InputSpec().std]
    steps = [vision.Decode(), vision.Resize(256), vision.CenterCrop(224), vision.Normalize(mean, std), vision.HWC2CHW()]

    def images(take: int) -> Any:
        files = dataset.ImageFolderDataset(str(data), shuffle=False, num_parallel_workers=os.cpu_count()).take(take)
        files = files.map(steps, "image", num_parallel_workers=os.cpu_count())
        return files.map(ms.dataset.transforms.TypeCast(ms.int32), "label").batch(_BATCH, drop_remainder=True)

    model = ms.Model(network, nn.CrossEntropyLoss(), metrics={"top1": nn.Top1CategoricalAccuracy()})
    model.eval(images(_BATCH), dataset_sink_mode=False)
    count = max(count // _BATCH, 1) * _BATCH
    started, before = time.perf_counter(), processor_time()
    model.eval(images(count), dataset_sink_mode=False)
    return Cost(count, time.perf_counter() - started, processor_time() - before)


def timm_loop(model: str, data: Path, count: int) -> Cost:
    """The loop of timm's ``validate.py``: eager PyTorch on all cores, its own transforms in DataLoader processes.

    The weights are random: they do not change what an inference costs.
    """
    import timm
    import torch

    network = timm.create_model(model, pretrained=False).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=network))
    images = timm.data.create_dataset("", root=str(data), transform=transform)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.Subset(images, range(count)),
        batch_size=_BATCH,
        num_workers=os.cpu_count() or 1,
        persistent_workers=True,
    )

    def validate() -> Cost:
        started, before = time.perf_counter(), processor_time()
        right = 0
        with torch.inference_mode():
            for pictures, labels in loader:
                right += int((network(pictures).argmax(dim=1) == labels).sum())
        return Cost(count, time.perf_counter() - started, processor_time() - before)

    validate()  # starts the workers; nothing is read ahead of the pass that is timed
    return validate()


class Figures:
    """Every figure of every round, printed as it comes."""

    def __init__(self) -> None:
        self._found: dict[str, list[float]] = {}

    def note(self, name: str, value: float) -> None:
        """Take one figure."""
        self._found.setdefault(name, []).append(value)
        print(f"{name}: {value:.2f}", flush=True)

    def measured(self, name: str, cost: Cost) -> Cost:
        """Take a cost, and give it back."""
        self.note(f"{name} (images/s)", cost.rate)
        self.note(f"{name} (CPU ms)", cost.cpu_ms)
        return cost

    def medians(self) -> dict[str, float]:
        """Of the rounds."""
        return {name: round(statistics.median(values), 3) for name, values in self._found.items()}


def one_round(args: argparse.Namespace, artifacts: list[Model], files: list[Path], photos: Path, to: Figures) -> None:
    """Measure every contender once."""
    cores = os.cpu_count() or 1
    peers = {}
    if args.model_eval:
        peers["Model.eval"] = in_own_process(model_eval, args.model_eval, photos.parent, args.peer_images)
    if args.timm:
        peers["timm"] = in_own_process(timm_loop, args.timm, photos.parent, args.peer_images)
    for name, cost in peers.items():
        to.measured(name, cost)
    d = to.measured("D", in_processes(decode_alone, cores, args.images, files, artifacts[0].input))
    for threads in args.threads:
        workers = max(cores // threads, 1)
        alone = []
        for artifact in artifacts:
            name = f"{artifact.path.name} {workers} processes x {threads} threads"
            i = to.measured(f"I {name}", in_processes(infer_alone, workers, args.images, files, artifact, threads))
            e = to.measured(f"E {name}", evaluation([artifact], photos, workers, threads))
            to.note(f"E / ideal {name} (clock)", e.rate * (1 / d.rate + 1 / i.rate))
            to.note(f"E / ideal {name} (CPU)", (d.cpu_ms + i.cpu_ms) / e.cpu_ms)
            for peer, cost in peers.items():
                to.note(f"E / {peer} {name} (clock)", e.rate / cost.rate)
                to.note(f"E / {peer} {name} (CPU)", cost.cpu_ms / e.cpu_ms)
            alone.append(i)
        if len(artifacts) > 1:
            name = f"all in one pass, {workers} processes x {threads} threads"
            e = to.measured(f"E {name}", evaluation(artifacts, photos, workers, threads))
            ideal = 1 / d.rate + sum(1 / i.rate for i in alone)
            to.note(f"cost / ideal {name} (clock)", 1 / (e.rate * ideal))
            to.note(f"cost / ideal {name} (CPU)", e.cpu_ms / (d.cpu_ms + sum(i.cpu_ms for i in alone)))


def main() -> None:
    """Parse, measure, print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=Path, nargs="+", required=True)
    parser.add_argument("--input-spec", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of photos; they are repeated")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1], help="of one inference; processes are cores/threads"
    )
    parser.add_argument("--model-eval", type=Path, metavar="C", help="also MindSpore's Model.eval of this checkpoint")
    parser.add_argument(
        "--timm", metavar="MODEL", help="also timm's validation loop with this model, e.g. ghostnetv2_100"
    )
    parser.add_argument(
        "--peer-images", type=int, default=128, help="images of one round of Model.eval and timm (default: 128)"
    )
    args = parser.parse_args()
    if args.images < max(64 * (os.cpu_count() or 1), args.peer_images):
        parser.error(f"--images {args.images} must be at least 64 for each core, and --peer-images")
    spec = load_input_spec(args.input_spec) if args.input_spec else None
    artifacts = [open_model(path, input_spec=spec) for path in args.artifact]
    files = list(list_images(args.data))
    found = Figures()
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "class"
        photos.mkdir()
        for number in range(args.images):
            file = files[number % len(files)].resolve()
            (photos / f"{number:06d}{file.suffix}").symlink_to(file)
        for _ in range(args.rounds):
            one_round(args, artifacts, files, photos, found)
    figures = {"images": args.images, "rounds": args.rounds, "cores": os.cpu_count() or 1, "median": found.medians()}
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
