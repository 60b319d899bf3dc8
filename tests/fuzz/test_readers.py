"""Every reader of foreign bytes gives an answer or one line, whatever the bytes are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fuzz.targets import DATA, TARGETS, Target, attempt, available, damaged

ATTACKS = DATA / "attacks"


def target(name: str) -> Target:
    """The target, or the test is left out."""
    for package in available(TARGETS[name]):
        pytest.skip(f"left out: {package} is not installed")
    return TARGETS[name]


@pytest.mark.parametrize("name", TARGETS)
def test_a_whole_file_is_read(name: str) -> None:
    """Otherwise the tests below would see the first check of a reader alone."""
    assert attempt(target(name), target(name).whole()) is None


@pytest.mark.parametrize("name", TARGETS)
def test_damage_is_one_line(name: str) -> None:
    hypothesis: Any = pytest.importorskip("hypothesis")
    strategies = hypothesis.strategies
    whole = target(name).whole()

    # Half of the examples are damage of one kind or another, half is Hypothesis's own idea of a file.
    files = strategies.one_of(
        strategies.integers(0, 2**32).map(lambda seed: damaged(whole, np.random.default_rng(seed))),
        strategies.tuples(strategies.integers(0, len(whole)), strategies.binary(max_size=64)).map(
            lambda cut: whole[: cut[0]] + cut[1] + whole[cut[0] + len(cut[1]) :]
        ),
        strategies.binary(max_size=200),
    )

    settings = hypothesis.settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )

    def read(data: bytes) -> None:
        attempt(target(name), data)

    settings(hypothesis.given(files)(read))()


@pytest.mark.parametrize("path", sorted(ATTACKS.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_an_attack_is_refused(path: Path) -> None:
    refused = attempt(target(path.parent.name), path.read_bytes())
    assert refused is not None
    assert len(refused) < 1000


def test_every_attack_is_explained() -> None:
    explained = re.findall(r"^- `([^`]+)`: \S", (ATTACKS / "README.md").read_text(), re.MULTILINE)
    assert sorted(explained) == sorted(str(path.relative_to(ATTACKS)) for path in ATTACKS.glob("*/*"))
