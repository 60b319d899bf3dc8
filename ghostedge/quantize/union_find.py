"""Put together what is tied together."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, TypeVar

__all__ = ["UnionFind", "connected"]

T = TypeVar("T", bound=Hashable)


class UnionFind(Generic[T]):
    """Sets of items, each alone at first."""

    def __init__(self, items: Iterable[T]) -> None:
        self._leader = {item: item for item in items}

    def find(self, item: T) -> T:
        """The leader of an item's set: the same for all of a set."""
        leader = self._leader
        while leader[item] != item:
            leader[item] = item = leader[leader[item]]
        return item

    def join(self, first: T, second: T) -> None:
        """Make one set of the sets of two items; the first one's leader leads it."""
        self._leader[self.find(second)] = self.find(first)


def connected(items: Iterable[T], ties: Iterable[Sequence[T]]) -> list[list[T]]:
    """The smallest groups of `items` that split no tie, ordered as `items` are.

    Args:
        items: each once.
        ties: items that belong together; one item ties nothing.
    """
    ordered = list(items)
    sets = UnionFind(ordered)
    for tie in ties:
        for other in tie[1:]:
            sets.join(tie[0], other)
    groups: dict[T, list[T]] = {}
    for item in ordered:
        groups.setdefault(sets.find(item), []).append(item)
    return list(groups.values())
