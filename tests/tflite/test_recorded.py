"""The recorded .tflite files of the tests are what `TFLiteStage` makes today."""

from __future__ import annotations

import pytest

from ghostedge.model import Model


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_recording_is_what_the_stage_makes(
    converted_tiny_tflite: dict[str, bytes], tiny_tflite: dict[str, Model], precision: str
) -> None:
    """If it is meant to make another, record it: make golden."""
    assert tiny_tflite[precision].path.read_bytes() == converted_tiny_tflite[precision]
