"""``ghostedge reference``: the ledger that MindSpore itself makes, once, where it runs best."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ghostedge.cli import ENGINE, IMAGES, NETWORK, Arguments, argument
from ghostedge.cli.evaluate import EvaluationProgress, table, to_json

if TYPE_CHECKING:
    from ghostedge.accuracy.noise import NoiseFloor
    from ghostedge.data.datasets import Dataset
    from ghostedge.evaluation.ledger import Ledger
    from ghostedge.evaluation.run import Evaluation
    from ghostedge.model import Model

HELP = "run a checkpoint on MindSpore over labelled images: the reference ledger"

EPILOG = """\
examples:
  ghostedge reference --checkpoint ghostnetv2_1x.ckpt --data imagenet/val --device-target Ascend --output ref.parquet
  ghostedge reference --checkpoint C.ckpt --data D --device-target Ascend --devices 0-7 --output ref.parquet
  ghostedge reference --checkpoint C.ckpt --data D --device-target Ascend --arithmetic default --output default.parquet
  ghostedge reference --checkpoint C.ckpt --data D --repeat 2 --output ref.parquet
  ghostedge reference --checkpoint C.ckpt --data val.tar --output ref.parquet --protocol modelzoo --shuffle-seed 1
  ghostedge reference --checkpoint C.ckpt --data D --output ref.parquet --protocol mindcv --crop-pct 0.95

Every image is run exactly once. The ledger is one file: make it where MindSpore has its accelerator, then compare with
it anywhere (ghostedge parity). A run that was killed goes on where it stopped. --arithmetic float32 switches off what
a device computes with fewer bits by itself (HF32 on Ascend, TF32 on GPU); what was asked for and what MindSpore
reports is in the ledger. --repeat 2 runs all twice and says how much the reference itself moves (parity --noise-floor).
"""


def _numbers(text: str) -> tuple[float, ...]:
    """Parse ``"0.485,0.456,0.406"``."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not three numbers such as 0.485,0.456,0.406") from None


def _shard(text: str) -> tuple[int, int]:
    """Parse ``"0/8"``."""
    rank, slash, size = text.partition("/")
    if not (rank.isdecimal() and slash and size.isdecimal()):
        raise argparse.ArgumentTypeError(f"'{text}' is not a shard such as 0/8")
    return int(rank), int(size)


ARGUMENTS: Arguments = {
    "": [
        argument("--checkpoint C", "MindSpore checkpoint (.ckpt)", Path, required=True),
        argument("--output F", "the ledger (.parquet)", Path, required=True),
        NETWORK,
    ],
    **IMAGES,
    "how": [
        argument("--device-target T", "CPU, GPU or Ascend (default: CPU)", default="CPU"),
        argument("--device-id N", "the card (default: the environment's DEVICE_ID, or 0)"),
        argument("--devices A-B", "several cards of this machine, a process each: 0-7 or 0,2,4-6"),
        argument(
            "--arithmetic A",
            "float32: no HF32, no TF32, types kept (default); default: what MindSpore does by itself; float16",
            default="float32",
        ),
        argument("--deterministic", "have the device compute the same on every run, at the price of speed"),
        argument(
            "--repeat N", "run all N times, into F, F.repeat2, ..., and say how far apart they are", int, default=1
        ),
        argument("--batch-size N", "images of one inference (default: 32)", int, default=32),
        argument("--threads N", "threads of MindSpore and of decoding (default: all cores)", int),
    ],
    "published evaluations": [
        argument(
            "--protocol {modelzoo,mindcv}",
            "also say what the model zoo's eval.py (batches of 128, the last partial one dropped), or MindCV's "
            "validate.py (its preprocessing, nothing dropped) would print",
        ),
        argument("--shuffle-seed N", "modelzoo: the shuffle after mindspore.dataset.config.set_seed(N)", int),
        argument("--shard I/N", "modelzoo: the part RANK_ID=I of RANK_SIZE=N (its eval.py takes all)", _shard),
        argument("--crop-pct P", "mindcv: share of the shorter side that is cut out (default: 0.875)", float),
        argument("--interpolation I", "mindcv: bilinear (default)"),
        argument("--mean R,G,B", "mindcv: on the scale 0..255 or 0..1 (default: the checkpoint's)", _numbers),
        argument("--std R,G,B", "mindcv: likewise", _numbers),
    ],
    **ENGINE,
}

#: Protocol -> the arguments that are for it alone.
_OF_PROTOCOL = {
    "modelzoo": ("shuffle_seed", "shard"),
    "mindcv": ("crop_pct", "interpolation", "mean", "std"),
}


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns: 0; failures are raised."""
    from dataclasses import replace

    from ghostedge.data.datasets import open_dataset
    from ghostedge.evaluation.api import engine_of
    from ghostedge.evaluation.protocols import mindcv_input
    from ghostedge.evaluation.reference import reference
    from ghostedge.evaluation.run import Options
    from ghostedge.formats import open_model

    _check(args)
    threads = (os.cpu_count() or 1) if args.threads is None else args.threads
    checkpoint = open_model(args.checkpoint, network=args.network)
    if args.protocol == "mindcv":
        given = {name: value for name in _OF_PROTOCOL["mindcv"] if (value := getattr(args, name)) is not None}
        checkpoint = replace(checkpoint, input=mindcv_input(checkpoint.input, **given))
    dataset = open_dataset(args.data, args.ground_truth)
    _check_protocol(args, dataset)
    options = Options(
        limit=args.limit,
        decode_threads=threads,
        keep_logits=args.logits,
        on_error=args.on_error,
        engine=engine_of(args.engine, args.address, args.device_target),
    )
    results = []
    for number in range(1, args.repeat + 1):
        again = "" if number == 1 else f".repeat{number}"
        with EvaluationProgress([checkpoint.path.name], quiet=args.quiet) as progress:
            results.append(
                reference(
                    checkpoint,
                    dataset,
                    args.output.with_name(f"{args.output.stem}{again}{args.output.suffix}"),
                    options,
                    device_target=args.device_target,
                    device_ids=_cards(args),
                    arithmetic=args.arithmetic,
                    deterministic=args.deterministic,
                    batch_size=args.batch_size,
                    threads=threads,
                    on_progress=progress,
                    warn=lambda text: progress.warn(f"ghostedge: {text}"),
                )
            )
    _tell(args, results, dataset, checkpoint)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse what cannot be asked for, before anything is read. Raises: UsageError."""
    from ghostedge.errors import UsageError
    from ghostedge.evaluation.reference import cards_of

    for name in ("threads", "repeat"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise UsageError(f"--{name} {getattr(args, name)}: at least 1 is needed")
    _cards(args)
    if args.devices is not None and args.device_id is not None:
        raise UsageError("--device-id is one card and --devices are several: give one of them")
    if args.device_id is not None and len(cards_of(args.device_id, {})) != 1:
        raise UsageError(f"--device-id {args.device_id} is not one card; several are --devices {args.device_id}")
    for protocol, names in _OF_PROTOCOL.items():
        given = [f"--{name.replace('_', '-')}" for name in names if getattr(args, name) is not None]
        if given and args.protocol != protocol:
            raise UsageError(f"{' and '.join(given)}: for --protocol {protocol} alone")
    if args.shard is not None and args.shuffle_seed is None:
        raise UsageError("--shard is of one shuffle: add --shuffle-seed N")


def _cards(args: argparse.Namespace) -> tuple[int, ...]:
    """The cards that the arguments or, where the device has several, the environment names. Raises: UsageError."""
    from ghostedge.evaluation.reference import cards_of

    return cards_of(args.devices or args.device_id, {} if args.device_target == "CPU" else os.environ)


def _check_protocol(args: argparse.Namespace, dataset: Dataset) -> None:
    """Say before the run what a protocol, or a repetition, cannot say after it. Raises: UsageError."""
    from ghostedge.data.datasets import spread
    from ghostedge.errors import UsageError
    from ghostedge.evaluation.protocols import modelzoo_protocol

    if dataset.labels.min() >= 0:
        if args.protocol == "modelzoo":
            modelzoo_protocol(len(spread(dataset.image_ids, args.limit)), 0)
    elif args.protocol or args.repeat > 1:
        name = "--protocol" if args.protocol else "--repeat"
        raise UsageError(f"{name} counts right answers, but the images have no labels")


def _tell(args: argparse.Namespace, results: list[Evaluation], dataset: Dataset, checkpoint: Model) -> None:
    """Print the ledgers, how far apart they are, and what the published evaluation would have said."""
    from ghostedge.accuracy.noise import noise_floor
    from ghostedge.evaluation.ledger import read_ledger

    floors: list[NoiseFloor] = []
    protocol: dict[str, Any] = {"protocol_modelzoo": None}
    notes: list[str] = []
    if args.protocol or len(results) > 1:
        first = read_ledger(results[0].ledger)
        floors = [noise_floor(first, read_ledger(each.ledger)) for each in results[1:]]
        if args.protocol:
            protocol, notes = _protocol(args, first, dataset, checkpoint)
    if args.json:
        from ghostedge.stored import plain

        document = {**to_json(results[0]), "repeats": [to_json(each) for each in results[1:]]}
        document |= {"noise_floors": [plain(floor) for floor in floors], **protocol}
        print(json.dumps(document, indent=2, ensure_ascii=False))
        return
    print(table(results))
    print(f"arithmetic: {results[0].metadata.arithmetic or 'not recorded'}")
    for floor, result in zip(floors, results[1:], strict=True):
        print(f"{result.ledger.name}: {_noise_text(floor)}")
    for note in notes:
        print(f"note: {note}")


def _noise_text(floor: NoiseFloor) -> str:
    from ghostedge.reports.format import drop_text, plural, snr_text

    if floor.identical:
        return "every answer is the same as in the first run, to the last bit"
    snr = f", logit SNR {snr_text(floor.logits[0].snr_db)}" if floor.logits else ""
    return (
        f"{plural(floor.flips, 'flip')} of {floor.images:,} images, drop {drop_text(floor.drop)} points{snr}; "
        f"a perfect copy would be judged {floor.verdict} (margin {floor.max_drop_points:g})"
    )


def _protocol(
    args: argparse.Namespace, ledger: Ledger, dataset: Dataset, checkpoint: Model
) -> tuple[dict[str, Any], list[str]]:
    """What the published evaluation would have said: for the JSON document, and as notes."""
    import numpy as np

    from ghostedge.data.datasets import spread
    from ghostedge.evaluation.protocols import mindcv_result, modelzoo_protocol, modelzoo_result

    if args.protocol == "mindcv":
        said = mindcv_result(ledger)
        return {"protocol_mindcv": said}, [f"MindCV's validate.py would print {said}"]
    count = modelzoo_protocol(len(ledger), int(ledger.correct().sum()))
    found: dict[str, Any] = count.to_dict()
    notes = [str(count)]
    if args.shuffle_seed is not None:
        chosen = spread(dataset.image_ids, args.limit)
        folders = dataset.labels[chosen][np.argsort(dataset.image_ids[chosen], kind="stable")]
        rank, size = args.shard or (0, 1)
        said = modelzoo_result(ledger, folders, args.shuffle_seed, shard=rank, shards=size)
        found |= {"shuffle_seed": args.shuffle_seed, "shard": rank, "shards": size, **said}
        notes.append(f"after this shuffle the model zoo's eval.py would print result: {said}")
    return {"protocol_modelzoo": found}, notes + _published(checkpoint, ledger)


def _published(checkpoint: Model, ledger: Ledger) -> list[str]:
    """Which published accuracy the checkpoint should meet: that of a network with its rule of upsampling."""
    from ghostedge.ghostnet.checkpoint import load_checkpoint
    from ghostedge.reports.published import PUBLISHED

    variant = load_checkpoint(checkpoint.path).variant
    if variant.name != "1x" or ledger.metadata.classes != 1000:
        return []
    return [
        f"published: {entry.top1_percent:.2f}% by {entry.source}, gates upsampled by {entry.gate_upsampling}"
        f"{', as in this checkpoint' if entry.gate_upsampling == variant.gate_upsampling else ''}; {entry.note}"
        for entry in PUBLISHED.values()
    ]
