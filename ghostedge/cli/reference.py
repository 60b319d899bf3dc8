"""``ghostedge reference``: the ledger that MindSpore itself makes, once, where it runs best."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from ghostedge.cli import ENGINE, IMAGES, NETWORK, Arguments, argument
from ghostedge.cli.evaluate import EvaluationProgress, table, to_json

HELP = "run a checkpoint on MindSpore over labelled images: the reference ledger"

EPILOG = """\
examples:
  ghostedge reference --checkpoint ghostnetv2_1x.ckpt --data imagenet/val --device-target Ascend --output ref.parquet
  ghostedge reference --checkpoint ghostnetv2_1x.ckpt --data val.tar --output ref.parquet --protocol modelzoo

Every image is run exactly once. The ledger is one file: make it where MindSpore has its accelerator, then compare with
it anywhere (ghostedge parity). A run that was killed goes on where it stopped.
"""


ARGUMENTS: Arguments = {
    "": [
        argument("--checkpoint C", "MindSpore checkpoint (.ckpt)", Path, required=True),
        argument("--output F", "the ledger (.parquet)", Path, required=True),
        NETWORK,
    ],
    **IMAGES,
    "how": [
        argument("--device-target T", "CPU, GPU or Ascend (default: CPU)", default="CPU"),
        argument("--batch-size N", "images of one inference (default: 32)", int, default=32),
        argument("--threads N", "threads of MindSpore and of decoding (default: all cores)", int),
        argument(
            "--protocol {modelzoo}",
            "also say what the published evaluation (batches of 128, the last partial one dropped) would count",
        ),
    ],
    **ENGINE,
}


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns: 0; failures are raised."""
    from ghostedge.data.datasets import open_dataset, spread
    from ghostedge.errors import UsageError
    from ghostedge.evaluation.api import engine_of
    from ghostedge.evaluation.reference import modelzoo_protocol, reference
    from ghostedge.evaluation.run import Options
    from ghostedge.formats import open_model

    threads = (os.cpu_count() or 1) if args.threads is None else args.threads
    if threads < 1:
        raise UsageError(f"--threads {threads}: at least 1 is needed")
    checkpoint = open_model(args.checkpoint, network=args.network)
    dataset = open_dataset(args.data, args.ground_truth)
    options = Options(
        limit=args.limit,
        decode_threads=threads,
        keep_logits=args.logits,
        on_error=args.on_error,
        engine=engine_of(args.engine, args.address, args.device_target),
    )
    if args.protocol:  # say before the run what it cannot say after it
        if dataset.labels.min() < 0:
            raise UsageError("--protocol counts right answers, but the images have no labels")
        modelzoo_protocol(len(spread(dataset.image_ids, args.limit)), 0)
    with EvaluationProgress([checkpoint.path.name], quiet=args.quiet) as progress:
        result = reference(
            checkpoint,
            dataset,
            args.output,
            options,
            device_target=args.device_target,
            batch_size=args.batch_size,
            threads=threads,
            on_progress=progress,
        )
    count = None
    if args.protocol:
        assert result.top1 is not None
        count = modelzoo_protocol(result.images, round(result.top1 * result.images))
    if args.json:
        document = {**to_json(result), "protocol_modelzoo": count and count.to_dict()}
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        print(table([result]))
        if count:
            print(f"note: {count}")
    return 0
