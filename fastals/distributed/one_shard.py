"""The items' half-sweep: over all shards, or, where all pairs are one shard, by the row kernels where that is.

Each step over shards brings their answers to the client and asks anew, some ten milliseconds, and reads all pairs. The
only shard has all entries of every item, so it solves them like a local fit, with the same bits, and is asked once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from fastals.core.features import Features
from fastals.core.overlay import History
from fastals.distributed import shards as on_shard
from fastals.distributed.executor import Executor, Reference
from fastals.distributed.features import KnownEffects, ShardFeatures
from fastals.distributed.items import Items, ItemSweep, own
from fastals.objective import Objective
from fastals.solver.eigenbasis import eigenbasis
from fastals.solver.features import distances_of
from fastals.solver.half_sweep import Report, Settings, solve_side


class Asked(NamedTuple):
    """What a half-sweep of the items is asked to do; ``guess`` (n_items, factors) is where long ones start."""

    items: Items
    objective: Objective
    settings: Settings
    guess: np.ndarray | None


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
    """All items' factors (n_items, factors) against a shard's users, if it is the only one, and the report.

    ``features``, ``effects`` and ``penalty`` are those of ``KnownEffects``, if the users have features.
    """
    (items, objective, settings, guess), of_users = asked, on_shard.users_of(shard)
    settings = on_shard.with_threads(settings)
    threads, regularization = settings.num_threads, of_users.regularization
    entries = on_shard.entries_of(shard.item_entries)
    side = replace(items.side, entries=entries, regularization=own(items.side.regularization))
    shared, weights = side.shared_with(items.effects), of_users.entries.row_weights
    basis = eigenbasis(users.X, regularization, objective.c0, threads, None, weights, shared)
    if features is not None and effects is not None:
        known = Features(History(features.rows), effects)
        basis = replace(basis, penalty=distances_of(users.X, regularization, known, threads) + penalty)
    prior = None
    if items.effects is not None:
        basis = replace(basis, penalty=basis.penalty + items.effects.own_penalty())
        prior = items.effects.rotated(basis)
    X = np.empty((side.indptr.size - 1, shard.factors), users.X.dtype)
    return X, solve_side(side, basis, X, objective, settings, guess, prior)
