"""Sums over shards in an order that follows from their number alone: of neighbours, of neighbours of these, and so on.

A tree is the number of a shard, or a pair of trees whose sums are added. Where a worker has all shards of a tree it
adds them up by itself, one after the other, so that no more than a few parts are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastals.distributed.transport import call

Tree = Any  # an int, or (Tree, Tree)
Add = Callable[[Any, Any], Any]


def tree_of(count: int) -> Tree:
    """The tree of shards 0 .. count - 1."""
    level: list[Tree] = list(range(count))
    while len(level) > 1:
        pairs = list(zip(level[::2], level[1::2], strict=False))
        level = [*pairs, *level[2 * len(pairs) :]]
    return level[0]


def trees_by_place(tree: Tree, places: Sequence[str]) -> dict[str, list[Tree]]:
    """The largest trees whose shards are all at one place, by places."""
    found: dict[str, list[Tree]] = {}

    def place_of(node: Tree) -> str | None:
        if isinstance(node, int):
            return places[node]
        at = [place_of(part) for part in node]
        if at[0] == at[1]:
            return at[0]
        for part, place in zip(node, at, strict=True):
            if place is not None:
                found.setdefault(place, []).append(part)
        return None

    whole = place_of(tree)
    if whole is not None:
        found[whole] = [tree]
    return found


def sum_of(tree: Tree, add: Add, part: Callable[[Tree], Any | None]) -> Any:
    """Sum over a tree; ``part`` gives that of a tree where it is known, of shards always, else None."""
    known = part(tree)
    return add(sum_of(tree[0], add, part), sum_of(tree[1], add, part)) if known is None else known


def shards_of(tree: Tree) -> list[int]:
    """The shards of a tree, in their order."""
    return [tree] if isinstance(tree, int) else [*shards_of(tree[0]), *shards_of(tree[1])]


def sums_of(add: Add, function: Callable[..., Any], trees: list[Tree], *arguments: Any) -> list[Any]:
    """Sum over each tree of what a function returns for its shards; of dicts each takes its own argument."""

    def part(node: Tree) -> Any | None:
        if isinstance(node, tuple):
            return None
        return call(function, *(value[node] if isinstance(value, dict) else value for value in arguments))

    return [sum_of(tree, add, part) for tree in trees]
