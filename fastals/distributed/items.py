"""The items' half-sweep: block conjugate gradients over shards in the eigenbasis of X'X, or summed systems.

All items iterate at once. Each step every shard returns, for the items that are still under way, its users' part of
sum_t extra_t (x_t . p_i) x_t; their sum is all that the step of an item needs (``kernels.rows.shard_rows``). No users'
factor ever moves. An item that conjugate gradients do not suit (see ``kernels.rows.cg_rows``) has its system summed
over the shards, k x k in float64, a batch of items at a time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fastals.distributed import shards as on_shard
from fastals.distributed.executor import Executor, Reference
from fastals.distributed.features import KnownEffects, gramian_of_users
from fastals.kernels.rows.cg_rows import HEAVY
from fastals.kernels.rows.row import (
    DIRECT,
    DIRECTLY,
    DOUBLE,
    FALLBACKS,
    LOSS,
    REPORTS,
    SINGULAR,
    SOLVED,
)
from fastals.kernels.rows.shard_rows import (
    ACTIVE,
    CONSTANT,
    LARGEST,
    LEAST,
    RIGHT,
    SQUARES,
    Iteration,
    begin_task,
    report_iterated,
    solve_summed_rows,
    step_task,
)
from fastals.objective import Objective
from fastals.solver.eigenbasis import Basis, basis_of, left_out, rotate
from fastals.solver.features import Effects
from fastals.solver.half_sweep import GUESSED_FROM, LARGEST_TOLERANCE, Report, Settings, report_of
from fastals.solver.sides import Side, even_bounds
from fastals.solver.threads import run_tasks

BATCH_BYTES = 2**26  # of summed systems at a time


class Items(NamedTuple):
    """The items' side of a sharded training.

    side : Side
        Of whose entries only the numbers are there.
    weighed : (n_items, WEIGHED) float64 array
        Constant, largest and least extra of each item's entries.
    alike : bool
        Whether all users' missing pairs weigh alike.
    effects : Effects, optional
        Of the items' features.
    """

    side: Side
    weighed: np.ndarray
    alike: bool
    effects: Effects | None = None


class ItemSweep:
    """One half-sweep of the items.

    Parameters
    ----------
    executor : Executor
    shards, users : list of references
        Shards, and what their users were solved to.
    items : Items
    objective : Objective
    settings : Settings
    known : KnownEffects, optional
        Of the users' features.
    """

    def __init__(
        self,
        executor: Executor,
        shards: list[Reference],
        users: list[Reference],
        items: Items,
        objective: Objective,
        settings: Settings,
        known: KnownEffects | None = None,
    ) -> None:
        self._executor, self._shards, self._users = executor, shards, users
        self._items, self._objective, self._settings, self._known = items, objective, settings, known
        self._constants = items.weighed[:, CONSTANT].copy()
        self._counts = np.diff(items.side.indptr)
        self._totals = np.zeros(REPORTS)

    def solve(self, solved: np.ndarray, guess: np.ndarray | None) -> Report:
        """Solve all items into ``solved`` (n_items, factors) in place; see ``fastals.solver.half_sweep.solve_side``."""
        with self._executor.phase("items_basis"):
            basis, determined = self._basis(solved)
        threads = self._settings.num_threads
        iteration = self._iteration(basis, solved)
        effects = self._items.effects
        self._predicted = None if effects is None else effects.rotated(basis)  # z of all items
        self._pull = self._pulled()
        with self._executor.phase("items_steps"):
            if self._settings.solver == "cg":
                self._iterate(iteration, basis, guess if determined else None)
        with self._executor.phase("items_direct"):
            self._solve_directly(iteration)
        self._solve_empty(iteration)
        rotate(iteration.x, basis.back, threads, solved)
        if not determined:
            self._totals[SINGULAR] = np.count_nonzero(self._counts)
        return report_of(self._totals, basis.penalty, self._objective, solved.dtype)

    def _basis(self, like: np.ndarray) -> tuple[Basis, bool]:
        """Eigenbasis of the users' Gramian without their factors, which the shards rotate; whether it is determined."""
        executor, settings, factors = self._executor, self._settings, like.shape[1]
        G, penalty = self._gramian()
        basis = basis_of(like[:0], G, penalty, self._objective.c0, settings.num_threads)
        panels = executor.share("items-basis", basis.into)
        self._rotated = executor.map("items-rotate", on_shard.rotated_users, self._users, panels, settings)

        def squares() -> np.ndarray:
            summed: np.ndarray = executor.total("items-squares", on_shard.add, on_shard.squares_of, self._rotated)
            return summed[:factors]

        least = self._items.side.least_regularization
        spectrum, errors = left_out(basis, factors, least, None if self._items.alike else squares)
        if errors.size:
            self._rotated = executor.map("items-rotate", on_shard.without, self._rotated, errors)
        return replace(basis, spectrum=spectrum), spectrum is basis.spectrum

    def _gramian(self) -> tuple[np.ndarray, float]:
        """Gramian of the users' factors, and the penalty of these and of all effects."""
        known, users = self._known, (self._shards, self._users)
        penalty = 0.0 if self._items.effects is None else self._items.effects.own_penalty()
        if known is None:
            parts: tuple[Any, ...] = on_shard.gramian_of_users, *users, self._settings
        else:
            penalty += known.penalty
            parts = gramian_of_users, *users, known.references, known.effects, self._settings
        G, of_users = self._executor.total("items-gramian", on_shard.add, *parts)
        return G, of_users + penalty

    def _pulled(self) -> np.ndarray | None:
        """lambda z (n_items, width) float64, z what the items' features predict; the constants take lambda |z|^2."""
        z = self._predicted
        if z is None:
            return None
        pull: np.ndarray = self._items.side.regularization[:, None] * z.astype(np.float64)
        self._constants += (pull * z).sum(axis=1)
        return pull

    def _iteration(self, basis: Basis, like: np.ndarray) -> Iteration:
        """The iteration before it begins: which way each item is solved."""
        n, width, c0 = like.shape[0], basis.spectrum.size, self._objective.c0
        entries, weighed, filled = self._items.side.entries, self._items.weighed, self._counts > 0
        missing, least = c0 * entries.row_weights, weighed[:, LEAST]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(least < 0, (missing + least) / missing, 1.0)
        status = np.full(n, SOLVED, np.uint8)
        status[filled] = ACTIVE if self._settings.solver == "cg" else DIRECT
        if self._settings.solver == "cg":
            status[filled & ~(share >= 1 / HEAVY)] = DOUBLE
            status[filled & ~(weighed[:, LARGEST] < HEAVY * missing)] = DIRECT
        tolerance = min(self._settings.tolerance, LARGEST_TOLERANCE) * np.sqrt(np.maximum(share, 0))
        x, r, p, b = (on_shard.padded(np.zeros((n, 0), like.dtype), width) for _ in range(4))
        return Iteration(
            x, r, p, b, np.zeros(n), np.zeros(n), np.zeros(n), tolerance, status, np.zeros(n, np.int64),
            basis.spectrum, entries.row_weights, self._items.side.regularization,
        )  # fmt: skip

    def _iterate(self, iteration: Iteration, basis: Basis, guess: np.ndarray | None) -> None:
        """Iterate until no item is under way, and report those that were solved so."""
        chosen = np.flatnonzero(iteration.status == ACTIVE)
        if not chosen.size:
            return
        settings, asked = self._settings, packed(chosen, iteration)
        b = self._executor.total(
            "items-right", on_shard.add, on_shard.rights_of_items, self._shards, self._rotated, asked, settings
        )
        factors = b.shape[1]
        iteration.b[chosen, :factors] = b if self._pull is None else b + self._pull[chosen, :factors]
        self._begin(iteration, basis, chosen, guess, factors)
        while (under_way := np.flatnonzero(iteration.status == ACTIVE)).size:
            Q = self._products(iteration, under_way, iteration.p, factors)
            bounds = even_bounds(under_way.size)
            run_tasks(step_task, settings.num_threads, bounds, under_way, iteration, Q, settings.max_steps)
        solved = chosen[iteration.status[chosen] == SOLVED]
        report_iterated(solved, iteration, self._constants, self._totals)

    def _begin(
        self, iteration: Iteration, basis: Basis, chosen: np.ndarray, guess: np.ndarray | None, factors: int
    ) -> None:
        """Begin the chosen items: long ones from the guess, if there is one, the others from zero."""
        warm, Q = np.full(chosen.size, -1), np.zeros((1, iteration.x.shape[1]), iteration.x.dtype)
        if guess is not None:
            long = np.flatnonzero(self._counts[chosen] >= -(-factors // GUESSED_FROM))
            if long.size:
                warm[long] = np.arange(long.size)
                rotate(guess, basis.into, self._settings.num_threads, iteration.x)
                Q = self._products(iteration, chosen[long], iteration.x, factors)
        run_tasks(begin_task, self._settings.num_threads, even_bounds(chosen.size), chosen, iteration, warm, Q)
        iteration.x[iteration.status == DIRECT] = 0

    def _products(self, iteration: Iteration, chosen: np.ndarray, P: np.ndarray, factors: int) -> np.ndarray:
        """sum_t extra_t (x_t . p_i) x_t of the chosen items, (m, width), over all shards."""
        asked = self._executor.handed("items-direction", (packed(chosen, iteration), P[chosen, :factors]))
        summed = self._executor.total(
            "items-product", on_shard.add, on_shard.products_of_items, self._shards, self._rotated, asked,
            self._settings,
        )  # fmt: skip
        return on_shard.padded(summed, P.shape[1])

    def _solve_directly(self, iteration: Iteration) -> None:
        """Solve what is left from systems summed over the shards."""
        left = np.flatnonzero((iteration.status == DIRECT) | (iteration.status == DOUBLE))
        self._totals[DIRECTLY] = np.count_nonzero(iteration.status == DIRECT)
        self._totals[FALLBACKS] = np.count_nonzero(iteration.status == DOUBLE)
        width = iteration.x.shape[1]
        batch = max(BATCH_BYTES // (8 * width * (width + 3)), 1)
        for first in range(0, left.size, batch):
            chosen = left[first : first + batch]
            A, lines = self._executor.total(
                "items-system", on_shard.add, on_shard.systems_of_items, self._shards, self._rotated,
                packed(chosen, iteration), self._settings,
            )  # fmt: skip
            iteration.x[chosen], lines = 0, own(lines)
            if self._pull is not None:
                lines[:, RIGHT] += self._pull[chosen]
                # A column in which z alone has something is one of the system's.
                lines[:, SQUARES][(lines[:, SQUARES] == 0) & (self._pull[chosen] != 0)] = np.finfo(np.float64).tiny
            solve_summed_rows(chosen, own(A), lines, iteration, self._constants, self._totals)

    def _solve_empty(self, iteration: Iteration) -> None:
        """Solve the items without entries, M x = lambda z or x = z; see ``kernels.rows.row.solve_empty_row``."""
        if self._predicted is None or self._pull is None:
            return
        empty = np.flatnonzero(self._counts == 0)
        v = iteration.row_weights if iteration.row_weights.size == 1 else iteration.row_weights[empty]
        M = iteration.spectrum * v[:, None] + iteration.regularization[empty, None]
        b = self._pull[empty]
        x = np.divide(b, M, out=np.where(M == 0, self._predicted[empty], 0.0), where=b != 0)
        iteration.x[empty] = x
        self._totals[LOSS] += float(self._constants[empty].sum() - (b * x).sum())


def packed(chosen: np.ndarray, iteration: Iteration) -> np.ndarray:
    """Bits of the chosen items, which take an eighth of a byte each."""
    mask = np.zeros(iteration.status.size, bool)
    mask[chosen] = True
    return np.packbits(mask)


def own(array: np.ndarray) -> Any:
    """The array, or a copy that may be written."""
    return array if array.flags.writeable else array.copy()
