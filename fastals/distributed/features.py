"""Features of users in shards: what a shard answers for its users' ones, and the effects that follow from all shards.

The effects need of the users' factors nothing but  F' diag(lambda) X  (d, k), a sum over the shards; so they are found
where the fit was called, which has all of F and lambda, while no factor moves. Each shard has its own rows of F and is
sent the effects.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

from fastals.core.features import Features
from fastals.core.overlay import History
from fastals.core.rows import Rows, transposed
from fastals.distributed import shards as on_shard
from fastals.distributed.executor import Executor, Reference, undisturbed
from fastals.solver.eigenbasis import Basis, basis_of
from fastals.solver.features import RESIDUAL, Effects, distances_of, predictions, product
from fastals.solver.half_sweep import Settings


class KnownEffects(NamedTuple):
    """What the items' half-sweep needs of the users' features.

    references : list of references
        To a ``ShardFeatures`` of each shard.
    effects : reference
        To A.
    penalty : float
        strength |A|^2.
    """

    references: list[Reference]
    effects: Reference
    penalty: float


class ShardFeatures(NamedTuple):
    """A shard's rows of F (n, d), and the same by columns."""

    rows: Rows
    columns: Rows


def by_both(rows: Rows) -> ShardFeatures:
    """Features of a shard's users, by rows and by columns."""
    return ShardFeatures(rows, transposed(rows))


def right_side(
    shard: on_shard.Shard, features: ShardFeatures, solved: on_shard.Solved, settings: Settings
) -> np.ndarray:
    """A shard's part of  F' diag(lambda) X, (d, k) float64."""
    side, out = on_shard.users_of(shard), np.empty((features.columns.shape[0], shard.factors))
    return product(features.columns, side.regularization, solved.X, out, on_shard.with_threads(settings).num_threads)


def solve_users(
    shard: on_shard.Shard, features: ShardFeatures, effects: np.ndarray, basis: Basis, c0: float, settings: Settings
) -> on_shard.Solved:
    """Solve a shard's users, drawn to what their features predict; see ``fastals.distributed.shards.solve_users``."""
    threads = on_shard.with_threads(settings).num_threads

    def prior(basis: Basis) -> np.ndarray:
        return predictions(features.rows, effects, basis, threads)

    return on_shard.solve_users(shard, basis, c0, settings, prior)


def gramian_of_users(
    shard: on_shard.Shard, solved: on_shard.Solved, features: ShardFeatures, effects: np.ndarray, settings: Settings
) -> tuple[np.ndarray, float]:
    """X' diag(v) X, and sum_u lambda_u |x_u - z_u|^2, of a shard's users."""
    G, _ = on_shard.gramian_of_users(shard, solved, settings)
    known, regularization = Features(History(features.rows), effects), on_shard.users_of(shard).regularization
    return G, distances_of(solved.X, regularization, known, on_shard.with_threads(settings).num_threads)


def warm(dtype: str, factors: int) -> None:
    """Compile, or load, what a worker runs for its users' features: two users with a feature each."""
    features = by_both(Rows(np.array([0, 1, 2]), np.array([0, 1], np.int32), np.ones(2), (2, 2)))
    X, effects = np.zeros((2, factors), dtype), np.zeros((2, factors))
    product(features.columns, np.ones(2), X, np.empty((2, factors)), 1)
    predictions(features.rows, effects, basis_of(X, np.eye(factors), 0.0, 1.0, 1), 1)
    distances_of(X, np.ones(2), Features(History(features.rows), effects), 1)


class ShardedEffects(Effects):
    """Effects of the users' features, whose rows and factors lie in shards; the parameters and attributes of `Effects`.

    Parameters
    ----------
    executor : Executor
    shards : UserShards
    rows, regularization, strength, factors, settings
        As for `Effects`, of all users.

    Attributes
    ----------
    references : list
        To a ``ShardFeatures`` of each shard.
    """

    def __init__(
        self,
        executor: Executor,
        shards: Any,
        rows: Rows,
        regularization: np.ndarray,
        strength: float,
        factors: int,
        settings: Settings,
    ) -> None:
        super().__init__(rows, regularization, strength, factors, settings.num_threads)
        self._executor, self._shards, self._settings = executor, shards.references, settings
        parts = [rows.taken(np.arange(first, last)) for first, last in itertools.pairwise(shards.bounds.tolist())]
        self.references = executor.map("users-features", by_both, parts)
        self._shared: tuple[Any, Reference] = (None, None)

    def fit(self, X: Any, residual: float = RESIDUAL) -> None:
        """Find the effects for the users' factors, a ``ShardedFactors``; see `Effects`."""

        def total() -> np.ndarray:
            parts = self._shards, self.references, X.references, self._settings
            summed: np.ndarray = self._executor.total("users-effects", on_shard.add, right_side, *parts)
            return summed

        with self._executor.phase("users_effects"):
            self.solve(undisturbed(self._executor, total), residual)

    def known(self) -> KnownEffects:
        """The features and the present effects, on the workers."""
        if self._shared[0] is not self.array:
            self._shared = self.array, self._executor.share("users-effects", self.array)
        return KnownEffects(self.references, self._shared[1], self.own_penalty())
