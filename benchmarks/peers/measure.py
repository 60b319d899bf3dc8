"""Run contestants on the same pictures, time them in turn on this machine, and count their ARM64 instructions."""

from __future__ import annotations

import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from artifacts import HERE, ROOT, Contestant
from environments import ENVIRONMENTS
from numpy.typing import NDArray

from ghostedge.compare import compare
from ghostedge.files import atomic_write, sha256_file
from ghostedge.latency.edge.system import busy_seconds

Json = dict[str, Any]
#: Name of an environment -> its interpreter, or its folder of ../arm64/sysroot.py.
Places = Mapping[str, Path]


class Contender:
    """A process that holds one loaded model; see contender.py."""

    def __init__(self, contestant: Contestant, pythons: Places, threads: int, log: Path) -> None:
        own = pythons[contestant.environment] if contestant.environment else Path(sys.executable)
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TF_CPP_MIN_LOG_LEVEL": "3"}
        self.contestant = contestant
        self._log = log
        with open(log, "wb") as errors:
            self._process = subprocess.Popen(
                [str(own), str(HERE / "contender.py"), str(contestant.file), str(threads), contestant.setting],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
            )
        self.said = self._read()

    def ask(self, **request: object) -> Json:
        """Send one request and wait for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Json:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            said = self._log.read_text(errors="replace").strip().splitlines()
            raise SystemExit(f"{self.contestant.key} failed: {said[-1] if said else 'without a message'}")
        answer: Json = json.loads(line)
        return answer

    def cpu_seconds(self) -> float:
        """Processor time that the process has used."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End the process."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait(30)


@contextlib.contextmanager
def contenders(found: Sequence[Contestant], pythons: Places, threads: int) -> Iterator[list[Contender]]:
    """A process for each contestant, all loaded and warm."""
    started: list[Contender] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for index, each in enumerate(found):
                started.append(Contender(each, pythons, threads, Path(folder) / f"{index}.log"))
            yield started
        finally:
            for each in started:
                each.close()


def agreement(
    found: Sequence[Contestant], pythons: Places, pictures: NDArray[np.float32], reference: str = "PyTorch eager"
) -> dict[str, Json]:
    """How far each contestant's logits are from those of the one that is named `reference`.

    Returns:
        key -> ``runtime``, delegation, ``snr_db``, ``top1_agreement``, and ``fault``: why the answers are not the
        network's (None where they are), which also holds for what was quantised from such a file.
    """
    logits: dict[str, NDArray[np.float32]] = {}
    said: dict[str, Json] = {}
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.npy"
        np.save(images, pictures)
        for each in found:
            with contenders([each], pythons, 1) as (contender,):
                contender.ask(images=str(images), logits=str(Path(folder) / "logits.npy"))
                logits[each.key] = np.load(Path(folder) / "logits.npy")
                said[each.key] = contender.said
    wanted = next(logits[each.key] for each in found if each.name == reference)
    agreed = {key: said[key] | compare(wanted, logits[key]).to_dict() for key in logits}
    faults = {each.file.name: each.fault(agreed[each.key]["snr_db"]) for each in found if each.precision == "fp32"}
    for each in found:
        of_base = faults.get(each.base)
        inherited = f"made from {each.base}, {of_base}" if of_base else None
        agreed[each.key]["fault"] = inherited or each.fault(agreed[each.key]["snr_db"])
    return agreed


def interleaved(
    found: Sequence[Contestant], pythons: Places, threads: int, rounds: int, seconds: float, progress: Any
) -> Json:
    """Let every contestant work `seconds` in each round, in an order of its own each round.

    Returns:
        ``threads``, ``rounds``, ``seconds``, ``other_cores`` (what else the machine did meanwhile), and ``medians_ms``:
        key -> one median a round.
    """
    order = random.Random(0)
    with contenders(found, pythons, threads) as ready:
        medians: dict[str, list[float]] = {each.contestant.key: [] for each in ready}
        for each in ready:
            each.ask(seconds=seconds)  # warm-up
        busy, own, started = busy_seconds() or 0.0, _own_seconds(ready), time.monotonic()
        for number in range(rounds):
            for each in order.sample(ready, len(ready)):
                medians[each.contestant.key].append(each.ask(seconds=seconds)["median_ms"])
            progress(f"{threads} threads: round {number + 1} of {rounds}")
        elapsed = time.monotonic() - started
        others = ((busy_seconds() or 0.0) - busy) - (_own_seconds(ready) - own)
    return {
        "threads": threads,
        "rounds": rounds,
        "seconds": seconds,
        "other_cores": round(max(0.0, others) / elapsed, 3),
        "medians_ms": medians,
    }


def _own_seconds(ready: Sequence[Contender]) -> float:
    own = os.times()
    return own.user + own.system + sum(each.cpu_seconds() for each in ready)


def instructions(
    found: Sequence[Contestant],
    cpus: Sequence[str],
    sysroots: Places | None,
    cache: Path,
    progress: Any,
    litert: str | None = None,
) -> dict[str, Json]:
    """ARM64 instructions an inference: key -> CPU -> what ../arm64/cost.py says of it, and `litert` where it is given.

    Args:
        found: those that ghostedge's own environment runs as .tflite, or one of `sysroots`, are counted.
        cpus: as cost.py names them.
        sysroots: of the other environments that can be emulated; None: nothing is counted, only looked up.
        cache: of what was counted before, by the files' sha256, setting and runtime; a count repeats to 0.01%.
        progress: called with a line of text.
        litert: count the .tflite alone, with this version of LiteRT; None: with that of locks/export.txt.
    """
    own = "own" if litert is None else f"LiteRT {litert}"
    known: Json = json.loads(cache.read_text()) if cache.exists() else {}
    emulated = ENVIRONMENTS if sysroots is None else sysroots
    wanted = {
        (each.key, cpu): (each, " ".join([sha256_file(each.file), each.setting, each.environment or own, cpu]))
        for each in found
        if each.format == "TFLite" or (litert is None and each.environment in emulated)
        for cpu in cpus
    }
    unknown = {place: (each, cpu) for (_, cpu), (each, place) in wanted.items() if place not in known}
    missing = {} if sysroots is None else unknown
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # what else the machine does changes no count
        counted = {
            pool.submit(_count, each, cpu, sysroots or {}, litert): place for place, (each, cpu) in missing.items()
        }
        for done in as_completed(counted):
            known[counted[done]] = done.result()
            atomic_write(cache, json.dumps(known, indent=1))
            progress(f"{len(known)} counted, the last {missing[counted[done]][0].key} on {missing[counted[done]][1]}")
    counts: dict[str, Json] = {}
    for (key, cpu), (_, place) in wanted.items():
        if place in known:
            counts.setdefault(key, {})[cpu] = known[place] | ({"litert": litert} if litert else {})
    return counts


def _count(contestant: Contestant, cpu: str, sysroots: Places, litert: str | None) -> Json:
    cost = [sys.executable, str(ROOT / "benchmarks" / "arm64" / "cost.py"), str(contestant.file), "--cpu", cpu]
    if contestant.environment:
        cost += ["--sysroot", str(sysroots[contestant.environment]), "--precision", contestant.setting]
    elif litert:
        cost += ["--litert", litert]
    done = subprocess.run([*cost, "--profile", "--json"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{contestant.key}: {done.stderr.strip()}")
    (said,) = json.loads(done.stdout)
    return {name: value for name, value in said.items() if name != "functions"}


def ratios(wall: Json, key: str, against: str) -> dict[str, float]:
    """How long `key` takes where `against` takes 1, round by round: median, and the range of nine rounds in ten."""
    pairs = zip(wall["medians_ms"][key], wall["medians_ms"][against], strict=True)
    found = sorted(a / b for a, b in pairs)
    cut = len(found) // 20
    return {"median": statistics.median(found), "low": found[cut], "high": found[-1 - cut]}
