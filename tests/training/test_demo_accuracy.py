from __future__ import annotations

import math

import numpy as np
import pytest

from ghostedge.data.imagenet import load_labels
from ghostedge.demo import FILES, demo_file, demo_record

pytest.importorskip("timm", reason="left out: the training recipe needs timm")

import chain


@pytest.mark.skipif(not FILES.exists(), reason="left out: the demo is not published (training/README.md)")
def test_the_shipped_checkpoint_reaches_the_recorded_accuracy() -> None:
    images = chain.Images.of(demo_file("validation"), load_labels(demo_file("labels.txt")))
    some = np.arange(0, len(images.ids), 10)
    sample = chain.Images(
        tuple(images.ids[i] for i in some), images.labels[some], tuple(images.encoded[i] for i in some)
    )
    logits = chain.logits_of(
        chain.load_network(demo_file("artwork_1x.ckpt")), chain.normalise(sample.pixels(), chain.SPEC)
    )
    recorded = demo_record()["validation"]["all"]["top1_percent"] / 100
    # Four standard deviations of a sample of a tenth.
    tolerance = 4 * math.sqrt(recorded * (1 - recorded) / len(some))
    assert abs((logits.argmax(1) == sample.labels).mean() - recorded) < tolerance
