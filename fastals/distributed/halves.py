"""Both halves of a sharded training, and how they are solved: the users on their shards, the items over all of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastals.core.rows import digest
from fastals.core.validation import check_factors
from fastals.distributed import shards as on_shard
from fastals.distributed.executor import Executor, Reference, undisturbed
from fastals.distributed.features import ShardedEffects, solve_users
from fastals.distributed.items import Items
from fastals.distributed.one_shard import Asked, solve_all_shards, solve_one_shard
from fastals.kernels.rows.row import SINGULAR
from fastals.objective import Objective
from fastals.solver.eigenbasis import determined, eigenbasis
from fastals.solver.half import Half
from fastals.solver.half_sweep import Report, Settings, in_all, report_of


class ShardedFactors:
    """Users' factors that lie where their shards are.

    Attributes
    ----------
    references : list
        To a ``Solved`` of each shard.
    shape : (int, int)
    dtype : numpy.dtype
    """

    def __init__(self, references: list[Reference], shape: tuple[int, int], dtype: np.dtype) -> None:
        self.references, self.shape, self.dtype = references, shape, dtype


class UserShards(NamedTuple):
    """All shards, and what is known of their users.

    references : list
        To a ``Shard`` each.
    bounds : (shards + 1,) int64 array
        Shard s has the users bounds[s] .. bounds[s + 1].
    stored, filled : int
        Entries, and users with entries.
    pairs : list of str
        Digest of each shard's entries.
    weighed : list of Weighed
        Of each shard.
    least_regularization, shared_regularization : float
        See ``Side``.
    """

    references: list[Reference]
    bounds: np.ndarray
    stored: int
    filled: int
    pairs: list[str]
    weighed: Sequence[on_shard.Weighed]
    least_regularization: float
    shared_regularization: float


class ShardedUsers(Half):
    """The users of a training, whose rows and factors lie in shards.

    ``effects`` are a ``ShardedEffects``, if the users have features.

    They never start from a guess: so their factors follow from the items' alone, and a lost shard's are solved again.
    """

    guessable = False
    effects: ShardedEffects | None

    def __init__(
        self, executor: Executor, shards: UserShards, factors: ShardedFactors, effects: ShardedEffects | None = None
    ) -> None:
        nothing: Any = None
        super().__init__(nothing, nothing, effects)
        self.factors: Any = factors
        self.shards, self._executor = shards, executor

    @property
    def filled(self) -> int:
        """Number of users with entries."""
        return self.shards.filled

    @property
    def stored(self) -> int:
        """Number of entries."""
        return self.shards.stored

    def buffer(self) -> Any:
        """Factors to be solved."""
        return ShardedFactors([], self.factors.shape, self.factors.dtype)

    def release(self, array: Any) -> None:
        """Nothing is written twice."""

    def kept(self) -> None:
        """A training state does without the users' factors."""
        return None

    def loss_of_zero(self, objective: Objective) -> float:
        """The loss where all factors are zero."""
        return float(sum(weighed.loss_of_zero for weighed in self.shards.weighed))

    def digests(self, other: Half) -> dict[str, str]:
        """Of all that a training depends on in the entries, whose shards are part of it."""
        weighed = self.shards.weighed
        items = other.side
        return {
            "user_items": _joined("shards", *self.shards.pairs),
            "weights": _joined(*(shard.weights for shard in weighed)),
            "unobserved_weights": _joined(
                digest(items.entries.row_weights), *(shard.unobserved_weights for shard in weighed)
            ),
            "regularization": _joined(digest(items.regularization), *(shard.regularization for shard in weighed)),
        }

    def taken(self, given: np.ndarray, name: str) -> Any:
        """Factors in shards of an array."""
        array, bounds = check_factors(given, name, self.factors.shape, self.factors.dtype), self.shards.bounds
        parts = [array[first:last] for first, last in itertools.pairwise(bounds)]
        references = self._executor.map("users-given", on_shard.first_factors, self.shards.references, parts)
        return ShardedFactors(references, self.factors.shape, self.factors.dtype)

    def check_products(self, name: str) -> None:
        """Raise FloatingPointError where products of the factors may overflow."""
        self._executor.gather(self._executor.map("users-check", on_shard.check_users, self.factors.references))


def _joined(*digests: str) -> str:
    return digest(np.frombuffer(" ".join(digests).encode(), np.uint8))


class HalfSweeps:
    """How the halves of a sharded training are solved: a ``fastals.solver.sweeps.Way``."""

    def __init__(
        self, executor: Executor, objective: Objective, users: ShardedUsers, items: Half, known: Items
    ) -> None:
        self._executor, self._objective = executor, objective
        self._users, self._items, self._known = users, items, known

    def __call__(
        self, half: Half, other: Half, fixed: Any, solved: Any, guess: np.ndarray | None, settings: Settings
    ) -> Report:
        """Solve one half against fixed factors of the other, into ``solved`` in place; anew where a worker is lost."""

        def solve() -> Report:
            if half is self._users:
                return self._solve_users(fixed, solved, settings)
            solve_items = solve_one_shard if len(fixed.references) == 1 else solve_all_shards
            known = None if self._users.effects is None else self._users.effects.known()
            asked = Asked(self._known, self._objective, settings, guess)
            return solve_items(self._executor, self._users.shards.references, fixed.references, asked, known, solved)

        return undisturbed(self._executor, solve)

    def _solve_users(self, fixed: np.ndarray, solved: ShardedFactors, settings: Settings) -> Report:
        """Solve all shards' users against the items' factors, which go to each worker once, in their eigenbasis."""
        executor, side, shards = self._executor, self._items.side, self._users.shards
        c0, weights = self._objective.c0, side.entries.row_weights
        known = None if self._users.effects is None else self._users.effects.known()
        with executor.phase("users"):
            # In fresh memory: what has been shared may be sent again.
            shared = shards.shared_regularization if known is None else 0.0
            given = eigenbasis(fixed, side.regularization, c0, settings.num_threads, None, weights, shared)
            basis = determined(given, fixed.shape[1], shards.least_regularization, weights.size == 1)
            # What a single task is to get comes with it.
            share = executor.share if len(shards.references) > 1 else executor.handed
            system = share("users-basis", basis), c0, settings
            if known is None:
                solved.references = executor.map("users-solve", on_shard.solve_users, shards.references, *system)
            else:
                parts = shards.references, known.references, known.effects
                solved.references = executor.map("users-solve", solve_users, *parts, *system)
            reports = executor.map("users-report", on_shard.report_of_users, solved.references)
            totals = in_all(np.stack(executor.gather(reports)))
            executor.settle(solved.references)
        if basis is not given:
            totals[SINGULAR] = shards.filled
        penalty = basis.penalty if self._items.effects is None else self._items.effects.penalty(fixed)
        if known is not None:
            penalty += known.penalty
        return report_of(totals, penalty, self._objective, fixed.dtype)
