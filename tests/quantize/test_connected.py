"""What is tied is together, what is not stays apart."""

from __future__ import annotations

from ghostedge.quantize.union_find import connected


def test_ties_that_share_an_item_make_one_group() -> None:
    assert connected("abcdef", ["ab", "ce", "eb"]) == [["a", "b", "c", "e"], ["d"], ["f"]]


def test_nothing_is_tied_by_one_item_or_none() -> None:
    assert connected([3, 1, 2], [[], [1], [2, 2]]) == [[3], [1], [2]]
