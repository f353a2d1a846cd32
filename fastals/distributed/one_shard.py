"""The items' half-sweep: over all shards, or, where all pairs are one shard, as a single task where that is.

Each step over shards takes their answers to the client and asks anew, some ten milliseconds. Data that fit one shard
are solved in less; so it is asked once. The iteration is the same, and so are the bits.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from fastals.distributed import shards as on_shard
from fastals.distributed.executor import Executor, Reference
from fastals.distributed.features import KnownEffects, ShardFeatures
from fastals.distributed.items import Items, ItemSweep, own
from fastals.distributed.sums import Add
from fastals.objective import Objective
from fastals.solver.half_sweep import Report, Settings
from fastals.solver.sides import Side


class Asked(NamedTuple):
    """What a half-sweep of the items is asked to do; ``guess`` (n_items, factors) is where long ones start."""

    items: Items
    objective: Objective
    settings: Settings
    guess: np.ndarray | None


class Here:
    """The only shard, as ``fastals.distributed.executor.Summing``: values are their own references."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def share(self, name: str, value: Any) -> Any:
        """The value."""
        return value

    def handed(self, name: str, value: Any) -> Any:
        """The value."""
        return value

    def map(self, name: str, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Call a function for the shard."""
        return [self.total(name, on_shard.add, function, *arguments)]

    def total(self, name: str, add: Add, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function returns for the shard."""
        return function(*(argument[0] if isinstance(argument, list) else argument for argument in arguments))

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Nobody asks."""
        yield


def solve_all_shards(
    executor: Executor, shards: list[Reference], users: list[Reference], asked: Asked, known: KnownEffects | None,
    solved: np.ndarray,
) -> Report:  # fmt: skip
    """Solve all items into ``solved`` (n_items, factors) in place, against the users of all shards."""
    items, objective, settings, guess = asked
    return ItemSweep(executor, shards, users, items, objective, settings, known).solve(solved, guess)


def solve_one_shard(
    executor: Executor, shards: list[Reference], users: list[Reference], asked: Asked, known: KnownEffects | None,
    solved: np.ndarray,
) -> Report:  # fmt: skip
    """The same against the users of the only shard."""
    effects = () if known is None else (known.references, known.effects, known.penalty)
    with executor.phase("items"):
        found = executor.map("items-solve", solve_items, shards, users, asked, *effects)
        ((X, report),) = executor.gather(found)
    solved[:] = X
    return report


def solve_items(
    shard: on_shard.Shard,
    users: on_shard.Solved,
    asked: Asked,
    features: ShardFeatures | None = None,
    effects: np.ndarray | None = None,
    penalty: float = 0.0,
) -> tuple[np.ndarray, Report]:
    """All items' factors (n_items, factors) against a shard's users, if it is the only one, and the report."""
    side = asked.items.side
    # As the client has them, see ``fastals.distributed.shards``: entries read-only, regularization not.
    side = Side(on_shard.entries_of(side.entries), own(side.regularization), side.least_regularization, side.bounds)
    items, settings = asked.items._replace(side=side), on_shard.with_threads(asked.settings)
    known = None if features is None else KnownEffects([features], effects, penalty)
    sweep = ItemSweep(Here(), [shard], [users], items, asked.objective, settings, known)
    X = np.empty((side.indptr.size - 1, shard.factors), users.X.dtype)
    return X, sweep.solve(X, asked.guess)
