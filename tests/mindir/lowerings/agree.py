"""One test for many networks: each converts to ONNX that computes what MindSpore computes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest


def agree(networks: Iterable[str] | Mapping[str, str], *shape: int, **options: Any) -> Callable[..., None]:
    """A test of each of the networks on images of that shape (see the fixtures `golden`, which takes `options`, and
    `images`).

    Args:
        networks: a mapping where MindSpore has no CPU kernel for them: network -> another one that computes the same.
    """
    references = networks if isinstance(networks, Mapping) else dict.fromkeys(networks, "")

    def test(golden: Any, images: Any, code: str) -> None:
        golden(code, images(*shape), reference=references[code], **options)

    return pytest.mark.parametrize("code", references)(test)
