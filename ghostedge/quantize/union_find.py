"""Put together what is tied together."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

__all__ = ["connected"]

T = TypeVar("T", bound=Hashable)


def connected(items: Iterable[T], ties: Iterable[Sequence[T]]) -> list[list[T]]:
    """The smallest groups of `items` that split no tie (union-find), ordered as `items` are.

    Args:
        items: each once.
        ties: items that belong together; one item ties nothing.
    """
    leader = {item: item for item in items}

    def find(item: T) -> T:
        while leader[item] != item:
            item = leader[item]
        return item

    for tie in ties:
        for other in tie[1:]:
            leader[find(other)] = find(tie[0])
    groups: dict[T, list[T]] = {}
    for item in leader:
        groups.setdefault(find(item), []).append(item)
    return list(groups.values())
