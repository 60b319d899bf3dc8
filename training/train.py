"""Train GhostNetV2-1x of the official variant on composed pictures, on CPU cores alone.

    python training/train.py --minutes 75 --output DIR

Data parallel: each of `--workers` processes composes its own pictures, computes its own gradient on one thread, and
they average the gradients once a step. On cores shared with other programs that wastes less than many threads in one
process, which wait for each other at every layer. Pictures are composed as they are needed, none is seen twice.

``DIR/state.pt`` holds the newest state, ``DIR/log.jsonl`` one line every 20 steps. Killed, the same command continues.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import artwork
import numpy as np
import pictures
import timm
import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from chain import set_gates
from torch import Tensor, nn

MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
STD = np.array([0.229, 0.224, 0.225], np.float32) * 255
#: (share of the run, side of the pictures): small pictures first, they are cheap; the size of use last.
#: Trained on small pictures alone, a network that reaches 80% at 160 pixels reaches 46% at 224; the finish mends that.
SIDES = ((0.35, 64), (0.62, 96), (0.82, 128), (0.94, 160), (1.0, 224))

#: The finish's peak learning rate as a share of the run's, and how much of the averaged weights it keeps a step.
FINISH_SHARE, FINISH_DECAY = 0.25, 0.98


def build(classes: int) -> nn.Module:
    """timm's ghostnetv2_100 without weights, its DFC gates turned into the official variant's."""
    model = timm.create_model("ghostnetv2_100", pretrained=False, num_classes=classes)
    return set_gates(model).to(memory_format=torch.channels_last)


def side_at(progress: float) -> int:
    """The side of the training pictures, in pixels, at `progress` 0..1 of the run, 1..2 of its finish."""
    return next((side for until, side in SIDES if progress < until), SIDES[-1][1])


def difficulty_at(progress: float) -> float:
    """Difficulty of the training pictures: from none, rising to that of the saved ones.

    On difficult pictures alone the loss stays at chance for many minutes before the network finds the objects.
    """
    return min(pictures.DIFFICULTY, progress)


def learning_rate_at(progress: float, peak: float) -> float:
    """Linear warm-up over the first 3% of the run, then a cosine down to 1% of `peak`; likewise in the finish."""
    if progress >= 1:
        return FINISH_SHARE * peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress - 1))))
    if progress < 0.03:
        return peak * (0.05 + 0.95 * progress / 0.03)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - 0.03) / 0.97))))


def training_batch(
    art: artwork.Artwork, seed: int, first: int, count: int, side: int, difficulty: float
) -> tuple[Tensor, Tensor]:
    """Pictures `first` .. `first + count` of the endless training stream: float32 (n, 3, side, side), labels (n,)."""
    drawn = [pictures.training_picture(art, seed, first + i, side, difficulty) for i in range(count)]
    batch = (np.stack([p.pixels for p in drawn]).astype(np.float32) - MEAN) / STD
    labels = torch.tensor([p.label for p in drawn])
    return torch.from_numpy(batch).permute(0, 3, 1, 2), labels  # NHWC memory read as NCHW is channels_last


def average(tensors: list[Tensor]) -> None:
    """Replace each tensor by its mean over the workers."""
    flat = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    offset = 0
    for t in tensors:
        t.copy_(flat[offset : offset + t.numel()].view_as(t))
        offset += t.numel()


def check_in_step(model: nn.Module) -> None:
    """Fail if the workers' weights have drifted apart, which averaged gradients and one optimiser state rule out."""
    total = sum(parameter.detach().double().sum() for parameter in model.parameters())
    least, most = torch.as_tensor(total), torch.as_tensor(total).clone()
    dist.all_reduce(least, dist.ReduceOp.MIN)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    if least != most:
        raise RuntimeError(f"the workers' weights differ: their sums are {least} to {most}")


class Trainer:
    """One training process; rank 0 keeps the clock, the averaged weights, the log and the files."""

    def __init__(self, rank: int, args: argparse.Namespace) -> None:
        self.rank, self.args = rank, args
        self.art = artwork.load_artwork(args.cache)
        torch.manual_seed(args.seed)
        self.model = build(len(self.art.classes)).train()
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]  # biases and BatchNorm
        groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, weight_decay=0.05, fused=True)
        self.average = set_gates(copy.deepcopy(self.model)).eval()  # a copy's gates would still be the original's
        self.done = {"step": 0, "pictures": 0, "seconds": 0.0}
        self.recent: list[tuple[float, float]] = []  # loss and top-1 of the steps since the last line of the log
        self.stopping = False
        if (state := read_state(args.output, args.seed, self.art)) is not None:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.done = state["done"]
        self.started = time.monotonic() - self.done["seconds"]

    def run(self) -> None:
        """Train to the end of the budget or until SIGTERM, then keep the state."""
        before = signal.signal(signal.SIGTERM, self.stop)
        kept = time.monotonic()
        while (progress := self.shared_progress()) < (2 if self.args.finish_minutes else 1):
            self.step(progress)
            if self.rank == 0:
                self.update_average(FINISH_DECAY if progress >= 1 else self.args.average_decay)
                if self.done["step"] % 20 == 0:
                    self.log(progress)
                if time.monotonic() - kept > 120:
                    self.keep()
                    kept = time.monotonic()
        check_in_step(self.model)
        if self.rank == 0:
            self.keep()
        dist.barrier()
        signal.signal(signal.SIGTERM, before)

    def stop(self, *_: object) -> None:
        """Make `run` end after the current step."""
        self.stopping = True

    def shared_progress(self) -> float:
        """How much of the run is over, 0..1, and of its finish, 1..2, by rank 0's clock; infinity to stop."""
        seconds, steps = self.args.minutes * 60, self.args.steps
        clock = (time.monotonic() - self.started) / seconds if seconds else 0.0
        if clock > 1 and self.args.finish_minutes:
            clock = 1 + (time.monotonic() - self.started - seconds) / (self.args.finish_minutes * 60)
        spent = max(clock, self.done["step"] / steps if steps else 0.0)
        shared = torch.tensor(math.inf if self.stopping else spent, dtype=torch.float64)
        dist.broadcast(shared, 0)
        return shared.item()

    def step(self, progress: float) -> None:
        """One update of the weights."""
        each = self.args.batch // self.args.workers
        first = self.done["pictures"] + self.rank * each
        x, y = training_batch(self.art, self.args.seed, first, each, side_at(progress), difficulty_at(progress))
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate_at(progress, self.args.learning_rate)
        self.optimiser.zero_grad(set_to_none=True)
        logits = self.model(x)
        loss = F.cross_entropy(logits, y, label_smoothing=0.05)
        loss.backward()
        average([p.grad for p in self.model.parameters() if p.grad is not None])
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimiser.step()
        self.done["step"] += 1
        self.done["pictures"] += each * self.args.workers
        self.recent.append((loss.item(), (logits.argmax(1) == y).float().mean().item()))

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Move the averaged weights towards the current ones, quickly in the first steps."""
        kept = min(decay, (1 + self.done["step"]) / (10 + self.done["step"]))
        for mine, theirs in zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - kept)
            else:
                mine.copy_(theirs)

    def log(self, progress: float) -> None:
        """Append one line to the log; loss and top-1 are means since the last line, on this worker's pictures."""
        loss, top1 = np.mean(self.recent, axis=0)
        self.recent.clear()
        line = {
            "step": self.done["step"],
            "pictures": self.done["pictures"],
            "seconds": round(time.monotonic() - self.started, 1),
            "side": side_at(progress),
            "difficulty": round(difficulty_at(progress), 3),
            "learning_rate": round(learning_rate_at(progress, self.args.learning_rate), 6),
            "loss": round(float(loss), 4),
            "training_top1": round(float(top1), 4),
        }
        with (self.args.output / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")

    def keep(self) -> None:
        """Write the state that the next run continues from and `publish.py` reads."""
        self.done["seconds"] = time.monotonic() - self.started
        state = {
            "seed": self.args.seed,
            "classes": list(self.art.classes),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "done": self.done,
        }
        partial = self.args.output / ".partial-state.pt"
        torch.save(state, partial)
        partial.replace(self.args.output / "state.pt")


def read_state(output: Path, seed: int, art: artwork.Artwork) -> dict[str, Any] | None:
    """What `Trainer.keep` wrote, None before it did. Raises: SystemExit when it belongs to another training."""
    path = output / "state.pt"
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu")
    if (state["seed"], state["classes"]) != (seed, list(art.classes)):
        raise SystemExit(f"train: {path} belongs to another seed or list of classes; choose another --output")
    return state


def worker(rank: int, args: argparse.Namespace, rendezvous: str) -> None:
    """What each process does."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=args.workers)
    try:
        Trainer(rank, args).run()
    finally:
        dist.destroy_process_group()


def train(args: argparse.Namespace) -> None:
    """Run the workers to the end of the budget; a single one runs in this process."""
    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        if args.workers == 1:
            worker(0, args, f"{folder}/join")
            return
        context = torch.multiprocessing.get_context("spawn")
        processes = [context.Process(target=worker, args=(r, args, f"{folder}/join")) for r in range(args.workers)]
        for process in processes:
            process.start()
        before = signal.signal(signal.SIGTERM, lambda *_: [os.kill(p.pid, signal.SIGTERM) for p in processes if p.pid])
        for process in processes:
            process.join()
        signal.signal(signal.SIGTERM, before)
    if failed := [p.exitcode for p in processes if p.exitcode]:
        raise SystemExit(f"train: {len(failed)} of {args.workers} workers failed, see above")


def parser() -> argparse.ArgumentParser:
    """The command line; its defaults are the recipe of the shipped checkpoint."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--output", type=Path, required=True)
    result.add_argument("--minutes", type=float, default=0.0, help="wall-clock budget; the schedule ends with it")
    result.add_argument("--finish-minutes", type=float, default=0.0, help="then this long at 224 pixels (%(default)s)")
    result.add_argument("--steps", type=int, default=0, help="step budget; with both, whichever comes first")
    result.add_argument("--workers", type=int, default=2, help="processes, one core each (%(default)s)")
    result.add_argument("--batch", type=int, default=64, help="pictures a step, all workers together (%(default)s)")
    result.add_argument("--learning-rate", type=float, default=2e-3, help="peak of the schedule (%(default)s)")
    result.add_argument("--average-decay", type=float, default=0.998, help="of the averaged weights (%(default)s)")
    result.add_argument("--seed", type=int, default=0)
    result.add_argument("--cache", type=Path, default=artwork.CACHE)
    return result


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and train."""
    arguments = parser()
    args = arguments.parse_args(argv)
    if not args.minutes and not args.steps:
        arguments.error("give --minutes, --steps or both")
    try:
        read_state(args.output, args.seed, artwork.load_artwork(args.cache))
    except artwork.ArtworkError as exc:
        raise SystemExit(f"train: {exc}") from exc
    train(args)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
