"""Compare the answers of a loaded model with golden vectors."""

from __future__ import annotations

import math
import time
import zipfile
from pathlib import Path
from typing import Any

from ghostedge.latency.edge import BenchmarkError, Record, one_line, sha256_of
from ghostedge.latency.edge.picture import to_tensor

#: One picture is run so often, or until so many seconds have passed on a slow device, and each answer compared.
REPEATS, REPEATS_LIMIT_S, FEWEST_REPEATS = 100, 20.0, 3
#: What answers are held to where the model does not say it: the bounds of the loosest recipe of ghostedge.
DEFAULT_BOUNDS = {"min_snr_db": 18.0, "min_top1_agreement": 0.7}
#: A model that the runtime computes in float16 or bfloat16 where its bounds are of float32 is held to these.
BOUNDS_16_BIT = {"min_snr_db": 40.0, "min_top1_agreement": 0.85}
#: The arrays of a golden file and their dtypes: ghostedge.data.golden.
GOLDEN = {
    "schema_version": "i",
    "crops_u8": "u1",
    "logits": "f4",
    "names": "U",
    "class_names": "U",
    "source_sha256": "U",
}
GOLDEN_SCHEMA_VERSION = 1


def check_golden_file(path: str) -> None:
    """Raise BenchmarkError for a golden file that is missing or not whole, before anything is loaded (no NumPy)."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            missing = sorted({f"{name}.npy" for name in GOLDEN} - set(archive.namelist()))
    except FileNotFoundError:
        raise BenchmarkError(
            f"--golden: {path} does not exist; ghostedge export writes NAME.golden.npz beside the models"
        ) from None
    except Exception as exc:  # what zipfile raises for damaged files is an open set
        raise BenchmarkError(golden_error(path, one_line(exc))) from exc
    if damaged or missing:
        raise BenchmarkError(golden_error(path, f"{damaged} is damaged" if damaged else f"{missing[0]} is missing"))


def golden_error(path: str, reason: str) -> str:
    """One line for a golden file that cannot be used."""
    return f"--golden: {path} is not a whole golden file ({reason}); copy it again, or run ghostedge export again"


def read_golden(path: str) -> dict[str, Any]:
    """The arrays of a golden file by name, checked; see `GOLDEN`."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in GOLDEN}  # what is no .npy comes as bytes
    except Exception as exc:  # what NumPy raises for damaged files is an open set
        raise BenchmarkError(golden_error(path, one_line(exc))) from exc
    for name, kind in GOLDEN.items():
        if not arrays[name].dtype.str[1:].startswith(kind):
            raise BenchmarkError(golden_error(path, f"{name} is {arrays[name].dtype}"))
    if arrays["schema_version"].shape or int(arrays["schema_version"]) != GOLDEN_SCHEMA_VERSION:
        raise BenchmarkError(
            f"--golden: {path} has schema version {arrays['schema_version']}, this script reads "
            f"{GOLDEN_SCHEMA_VERSION}; use the script and the file of one ghostedge"
        )
    crops, logits, names = arrays["crops_u8"], arrays["logits"], arrays["names"]
    if crops.ndim != 4 or crops.shape[3] != 3 or logits.ndim != 2 or not 0 < len(crops) == len(logits) == len(names):
        raise BenchmarkError(golden_error(path, f"crops {crops.shape} and logits {logits.shape} do not fit"))
    return arrays


class Verification:
    """Whether a loaded model gives the right answers; the one that is timed, with its delegate and its threads.

    Raises: BenchmarkError, where the golden vectors are for another model.
    """

    def __init__(self, path: str, golden: dict[str, Any], model: str, runtime: Any, spec: Record | None) -> None:
        if spec is None:
            raise BenchmarkError(f"--golden: the input {runtime.shape} of {model} is not a picture")
        said, wanted = str(golden["source_sha256"]), runtime.description.get("source_sha256", "")
        if wanted and said != wanted:
            raise BenchmarkError(
                f"--golden: {path} has the answers of the source {said[:12]}, {model} was made from {wanted[:12]}: "
                "give the golden file of its own export; where that export was made anew since, copy both again"
            )
        found, needed = tuple(golden["crops_u8"].shape[1:3]), (spec["height"], spec["width"])
        if found != needed:
            raise BenchmarkError(
                f"--golden: {path} holds pictures of {found[0]} x {found[1]}, {model} takes {needed[0]} x {needed[1]}: "
                "give the golden file of its own export"
            )
        self._path, self._golden, self._runtime, self._model, self._spec = path, golden, runtime, model, spec

    def first_input(self) -> Any:
        """The tensor of the first picture, for the very first inference after loading."""
        return to_tensor(self._golden["crops_u8"][0], self._spec, self._runtime)

    def _answer(self) -> Any:
        """The logits of the inference just made: float32 (classes,)."""
        logits, classes = self._runtime.output().reshape(-1), self._golden["logits"].shape[1]
        if logits.size != classes:
            raise BenchmarkError(
                f"--golden: {self._path} has answers of {classes} classes, {self._model} gives {logits.size}: give the "
                "golden file of its own export"
            )
        return logits.copy()

    def run(self, bounds: Record) -> Record:
        """Compare all answers; to be called right after an inference of `first_input`.

        The first picture is run `REPEATS` times. Its last answer is the one compared with the golden one: a driver that
        is right only the first time has wrong answers.
        """
        import numpy as np

        started = time.perf_counter()
        first, worst, different, count = self._answer(), 0.0, None, 1
        while count < REPEATS and (count < FEWEST_REPEATS or time.perf_counter() - started < REPEATS_LIMIT_S):
            self._runtime.run()
            count += 1
            again = self._answer()
            if not np.array_equal(first, again, equal_nan=True):
                different = different or count
                worst = max(worst, noise_power(first, again))
        rows = [again]
        for crop in self._golden["crops_u8"][1:]:
            self._runtime.set_input(to_tensor(crop, self._spec, self._runtime))
            self._runtime.run()
            rows.append(self._answer())
        self._first = first
        found = np.stack(rows)
        file = {"file": Path(self._path).name, "sha256": sha256_of(self._path)}
        repeats = {"inferences": count, "first_different": different, "worst": worst}
        return compared(self._golden, file, found, repeats, bounds, time.perf_counter() - started)

    def again(self, record: Record) -> None:
        """After the timed samples: run the first picture once more."""
        self._runtime.set_input(self.first_input())
        self._runtime.run()
        compare_again(record, self._first, self._answer())


def compared(
    golden: dict[str, Any], file: Record, found: Any, repeats: Record, bounds: Record, duration_s: float
) -> Record:
    """What a record says of answers to golden vectors.

    `file` is their file's name and sha256; `found` the answers, float32 (pictures, classes). `repeats` are those of the
    first picture: ``inferences``, ``first_different`` (from 1, None for none) and ``worst``, the `noise_power` of the
    answer that was farthest from the first.
    """
    import numpy as np

    wanted = golden["logits"]
    same = found.argmax(axis=1) == wanted.argmax(axis=1)
    finite = bool(np.isfinite(found).all())
    error = np.abs(found.astype(np.float64) - wanted) if finite else None
    different, worst = repeats["first_different"], repeats["worst"]
    record: Record = {
        "golden": {**file, "images": len(found), "source_sha256": str(golden["source_sha256"])},
        "snr_db": snr_db(noise_power(wanted, found)) if finite else None,
        "max_abs": float(error.max()) if error is not None else None,
        "finite": finite,
        "top1_agreement": float(same.mean()),
        "disagreeing": [str(name) for name in golden["names"][~same][:5]],
        "bounds": bounds,
        "repeats": {
            "inferences": repeats["inferences"],
            "identical": different is None,
            "first_different": different,
            "snr_db": None if different is None or not math.isfinite(worst) else snr_db(worst),
            "after_timing_identical": None,
        },
        "duration_s": round(duration_s, 3),
    }
    reason = wrong_answers(record)
    record.update(correct=reason is None, reason=reason)
    return record


def compare_again(record: Record, first: Any, answer: Any) -> None:
    """Add to a record the answer to the first picture after the timed samples; another one may be a wrong one."""
    import numpy as np

    same = bool(np.array_equal(first, answer, equal_nan=True))
    record["repeats"]["after_timing_identical"] = same
    snr = None if same else snr_db(noise_power(first, answer))
    if record["correct"] and snr is not None and snr < record["bounds"]["min_snr_db"]:
        record.update(correct=False, reason="after the timed samples one picture got another answer than before")


def noise_power(wanted: Any, found: Any) -> float:
    """The power of the difference as a share of the power of `wanted`; infinite where a number is not finite."""
    import numpy as np

    exact = wanted.astype(np.float64)
    noise = float(((found.astype(np.float64) - exact) ** 2).sum())
    return noise / max(float((exact**2).sum()), 1e-300) if math.isfinite(noise) else math.inf


def snr_db(share: float) -> float | None:
    """Signal to noise ratio, dB, of `noise_power`; None for identical numbers, since JSON has no infinity."""
    return None if share == 0.0 else -9999.0 if math.isinf(share) else round(-10.0 * math.log10(share), 2)


def wrong_answers(verification: Record) -> str | None:
    """Why the answers are wrong, for people; None where they are right."""
    bounds, repeats = verification["bounds"], verification["repeats"]
    if not verification["finite"]:
        return "its answers to the golden pictures hold NaN or infinity"
    snr, least = verification["snr_db"], bounds["min_snr_db"]
    if snr is not None and snr < least:
        return f"its answers to the golden pictures are {snr:.1f} dB from MindSpore's, the bound is {least:g} dB"
    share, least_share = verification["top1_agreement"], bounds["min_top1_agreement"]
    if share < least_share:
        names = ", ".join(verification["disagreeing"])
        return f"it agrees on {share:.0%} of the golden pictures, the bound is {least_share:.0%} (not on {names})"
    if not repeats["identical"] and (repeats["snr_db"] is None or repeats["snr_db"] < least):
        return f"inference {repeats['first_different']} of one picture gave another answer than the first"
    return None


def bounds_of(job: Record, runtime: Any) -> Record:
    """What the answers are held to: what the command line says, else the model, else `DEFAULT_BOUNDS`.

    Recipes hold float32 models to more than 16 bits can give, so that those are held to `BOUNDS_16_BIT` at most.
    """
    said = runtime.description.get("bounds") or {}
    bounds = {name: float(said.get(name, default)) for name, default in DEFAULT_BOUNDS.items()}
    if runtime.details.get("inference_precision") in ("f16", "bf16"):
        bounds = {name: min(value, BOUNDS_16_BIT[name]) for name, value in bounds.items()}
    asked = {name: job[name] for name in DEFAULT_BOUNDS if job[name] is not None}
    where = "command line" if asked else "model" if set(said) >= set(DEFAULT_BOUNDS) else "default"
    return {**bounds, **asked, "from": where}
