"""What is done to a shard, some users' rows and all that follows from them: pure functions, run wherever the shard is.

A shard's users are solved like rows of a fold-in, by the kernels of a local fit, and have its factors bit for bit. Of
the items a shard knows the entries of its own users alone; what these add to the items' systems is summed over the
shards (see ``fastals.distributed.items``).

Numba compiles a variant of a kernel for arrays that may be written and for others, and what has travelled is either:
``entries_of`` and ``own`` see to it that the kernels are given what they are given in a local fit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fastals.core.rows import Rows, digest, transposed_entries
from fastals.core.unobserved import ALIKE
from fastals.core.validation import as_type, check_products, read_only
from fastals.kernels.dense.memory import CACHE_LINE
from fastals.kernels.dense.rotation import Panels
from fastals.kernels.rows.row import REPORTS, Entries
from fastals.kernels.rows.shard_rows import (
    LINES,
    WEIGHED,
    Chosen,
    product_task,
    right_task,
    system_task,
    weigh_task,
)
from fastals.objective import Objective
from fastals.solver.eigenbasis import Basis, aligned_factors, basis_of, gramian, rotate
from fastals.solver.half import draw
from fastals.solver.half_sweep import Settings, solve_rows
from fastals.solver.pilot import Sample, every
from fastals.solver.sides import Missing, Side, balanced_bounds, build_side, filled_and_whole, loss_of_zero
from fastals.solver.threads import run_tasks


class Piece(NamedTuple):
    """Rows of a shard's users, and the preferences of their entries if those are separate."""

    rows: Rows
    phi: np.ndarray | None = None


class Counts(NamedTuple):
    """What has to be known of all shards before any can be weighed, of one.

    ``powers`` is the sum of those of popularity, over rows with entries; ``smallest`` and ``largest`` are of all.
    """

    users: int
    items: int
    stored: int
    filled: int
    size: float
    pairs: str
    powers: float
    smallest: float
    largest: float


class Plan(NamedTuple):
    """What all shards are weighed by.

    objective : Objective
    dtype : str
    factors : int
    item_weights : (n_items,) array, optional
        w of missing pairs; None where all are 1.
    exponent, scale : float
        v = max(n_u, 1)^exponent / scale of users whose weights are not given; exponent 0 if all are 1.
    smallest, largest : float
        Of v, over all users.
    """

    objective: Objective
    dtype: str
    factors: int
    item_weights: np.ndarray | None
    exponent: float
    scale: float
    smallest: float
    largest: float


class Shard(NamedTuple):
    """A shard ready to be solved: its users' side, and its part of the items' entries."""

    users: Side
    item_entries: Entries
    factors: int


class Solved(NamedTuple):
    """Factors X (n, factors) of a shard's users, and what their rows have reported in all, (REPORTS,) float64."""

    X: np.ndarray
    totals: np.ndarray


class Weighed(NamedTuple):
    """What a shard says of its weights: digests, the loss where all factors are zero, sum of v."""

    weights: str
    unobserved_weights: str
    regularization: str
    loss_of_zero: float
    row_weights: float


def count(piece: Piece, objective: Objective, exponent: float) -> Counts:
    """Count a shard's entries; ``size`` is the sum of their sizes, see ``Objective.size``."""
    rows, counts = piece.rows, piece.rows.counts
    sizes = objective.size(rows.data)
    size = float(sizes[0]) * rows.indices.size if rows.data.size < rows.indices.size else float(sizes.sum())
    powers = np.maximum(counts, 1).astype(np.float64) ** exponent
    return Counts(
        *rows.shape, rows.indices.size, int(np.count_nonzero(counts)), size, digest(rows.indptr, rows.indices),
        float(powers[counts > 0].sum()), float(powers.min(initial=np.inf)), float(powers.max(initial=0.0)),
    )  # fmt: skip


def column_counts(piece: Piece) -> np.ndarray:
    """Number of a shard's users who have each item, int64."""
    return piece.rows.column_counts


def sample(piece: Piece, first: int, step: int) -> Sample:
    """A shard's users first, first + step, ..."""
    return every(piece.rows, piece.phi, first, step)


def weigh(piece: Piece, plan: Plan, given: np.ndarray | None) -> Shard:
    """Weigh a shard's entries, by users and by items; ``given`` are weights v of its users, if such were given."""
    rows, dtype = piece.rows.in_memory(), np.dtype(plan.dtype)
    missing = missing_pairs(rows, plan, given)
    side = build_side(plan.objective, rows, 0, dtype, missing)
    entries = side.entries
    if piece.phi is not None:
        entries = entries._replace(preference=read_only(as_type(piece.phi, dtype, "preference")))
    indptr, indices, weight = transposed_entries(rows, entries.weight)
    preference = entries.preference
    if preference.size > 1:
        preference = transposed_entries(rows, preference)[2]
    items = entries._replace(
        indptr=indptr, indices=indices, weight=weight, preference=preference,
        row_weights=entries.column_weights, column_weights=entries.row_weights,
    )  # fmt: skip
    return Shard(replace(side, entries=entries), entries_of(items), plan.factors)


def missing_pairs(rows: Rows, plan: Plan, given: np.ndarray | None) -> Missing:
    """Weights of the missing pairs of a shard's users."""
    v = given
    if v is None and plan.exponent:
        v = np.maximum(rows.counts, 1).astype(np.float64) ** plan.exponent / plan.scale
    of_rows, of_columns = (ALIKE if part is None else read_only(part) for part in (v, plan.item_weights))
    return Missing(of_rows, of_columns, plan.smallest, plan.largest)


def frequency_sums(
    piece: Piece, plan: Plan, items: tuple[float, float], given: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """``Objective.sums`` of a shard's users, and the sums of their weights; ``items`` are the sums of the items'."""
    counts, weights = piece.rows.counts, missing_pairs(piece.rows, plan, given).rows
    return plan.objective.sums(counts, weights, *items), np.array(filled_and_whole(counts, weights))


def describe_weights(shard: Shard, objective: Objective) -> Weighed:
    """What a shard says of its weights."""
    entries = shard.users.entries
    sum_of_weights = entries.indptr.size - 1.0 if entries.row_weights.size == 1 else float(entries.row_weights.sum())
    return Weighed(
        digest(entries.weight, entries.preference), digest(entries.row_weights), digest(shard.users.regularization),
        loss_of_zero(shard.users, objective), sum_of_weights,
    )  # fmt: skip


def entries_of(entries: Entries) -> Entries:
    """The same entries in read-only arrays."""
    return Entries(*(read_only(part) if isinstance(part, np.ndarray) and part.ndim else part for part in entries))


def users_of(shard: Shard) -> Side:
    """The users' side in read-only arrays."""
    side = shard.users
    return replace(side, entries=entries_of(side.entries), regularization=read_only(side.regularization))


def own(array: np.ndarray) -> np.ndarray:
    """The array, or a copy that may be written and starts a cache line, as rotated factors do."""
    if array.flags.writeable and array.ctypes.data % CACHE_LINE == 0:
        return array
    copied = aligned_factors(array)
    copied[:] = array
    return copied


def first_factors(shard: Shard, given: np.ndarray | np.random.Generator | None) -> Solved:
    """Factors to start from: those given, drawn where a generator's stream stands, or zero."""
    totals = np.zeros(REPORTS)
    if isinstance(given, np.ndarray):
        return Solved(given, totals)
    dtype = shard.users.entries.weight.dtype
    X = np.zeros((shard.users.indptr.size - 1, shard.factors), dtype)
    if given is not None:
        draw(copy.deepcopy(given), X)  # the task may run again
    return Solved(X, totals)


def solve_users(
    shard: Shard, basis: Basis, c0: float, settings: Settings, prior: Callable[[Basis], np.ndarray] | None = None
) -> Solved:
    """Solve a shard's users against the items in their eigenbasis, which is ``determined``.

    ``prior`` tells what the users' features predict in that basis, if they have any.
    """
    side, Y = users_of(shard), own(basis.rotated)
    basis = replace(basis, rotated=Y, into=own_panels(basis.into), back=own_panels(basis.back))
    X = np.empty((side.indptr.size - 1, shard.factors), Y.dtype)
    z = None if prior is None else prior(basis)
    return Solved(X, solve_rows(side, basis, X, c0, with_threads(settings), prior=z))


def own_panels(panels: Panels) -> Panels:
    """Panels that may be written, as the kernels know them."""
    return Panels(*(part if part.flags.writeable else part.copy() for part in panels))


def regularization_of_users(shard: Shard) -> np.ndarray:
    """lambda of a shard's users, (n,)."""
    return shard.users.regularization


def report_of_users(solved: Solved) -> np.ndarray:
    """What the rows have reported."""
    return solved.totals


def gramian_of_users(shard: Shard, solved: Solved, settings: Settings) -> tuple[np.ndarray, float]:
    """X' diag(v) X, and sum_u lambda_u |x_u|^2, of a shard's users."""
    side = users_of(shard)
    return gramian(solved.X, side.regularization, with_threads(settings).num_threads, side.entries.row_weights)


def rotated_users(solved: Solved, panels: Panels, settings: Settings) -> np.ndarray:
    """X V, (n, width), for V in panels."""
    rotated = aligned_factors(solved.X)
    rotate(solved.X, own_panels(panels), with_threads(settings).num_threads, rotated)
    return rotated


def squares_of(rotated: np.ndarray) -> np.ndarray:
    """Sums of squares of the columns of a shard's rotated factors, (width,) float64."""
    summed: np.ndarray = np.square(rotated, dtype=np.float64).sum(axis=0)
    return summed


def without(rotated: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """A shard's rotated factors with zero in some columns."""
    left = aligned_factors(rotated)
    left[:] = rotated
    left[:, columns] = 0
    return left


def check_users(solved: Solved) -> None:
    """Raise FloatingPointError where products of a shard's factors may overflow."""
    check_products(solved.X, "user_factors")


def chosen_rows(entries: Entries, mask: np.ndarray) -> Chosen:
    """Rows of the bits set in a packed ``mask``, in ranges."""
    rows = np.flatnonzero(np.unpackbits(mask, count=entries.indptr.size - 1))
    counts = np.diff(entries.indptr)[rows]
    indptr = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
    return Chosen(rows, balanced_bounds(indptr), int(counts.max(initial=0)))


def all_rows(entries: Entries) -> Chosen:
    """All rows, in ranges."""
    return chosen_rows(entries, np.packbits(np.ones(entries.indptr.size - 1, bool)))


def weigh_items(shard: Shard, settings: Settings) -> np.ndarray:
    """Constant, largest and least extra of the items' entries in a shard, (n_items, WEIGHED) float64."""
    entries = entries_of(shard.item_entries)
    chosen, out = all_rows(entries), np.empty((entries.indptr.size - 1, WEIGHED))
    like = np.empty(0, entries.weight.dtype)
    run_tasks(weigh_task, with_threads(settings).num_threads, chosen, entries, like, out)
    return out


def rights_of_items(shard: Shard, Y: np.ndarray, mask: np.ndarray, settings: Settings) -> np.ndarray:
    """A shard's sum_t target_t y_t of the items in a packed mask, (n, factors)."""
    entries, Y = entries_of(shard.item_entries), own(Y)
    chosen = chosen_rows(entries, mask)
    B = padded(np.empty((chosen.rows.size, 0), Y.dtype), Y.shape[1])
    run_tasks(right_task, with_threads(settings).num_threads, chosen, entries, Y, B)
    return trimmed(B, shard.factors)


def products_of_items(shard: Shard, Y: np.ndarray, asked: tuple[np.ndarray, np.ndarray], settings: Settings) -> Any:
    """A shard's sum_t extra_t (y_t . p) y_t of the items in a packed mask, (n, factors), for their p (n, factors)."""
    entries, Y, (mask, P) = entries_of(shard.item_entries), own(Y), asked
    chosen = chosen_rows(entries, mask)
    P = padded(P, Y.shape[1])
    Q = np.empty_like(P)
    run_tasks(product_task, with_threads(settings).num_threads, chosen, entries, Y, P, Q)
    return trimmed(Q, shard.factors)


def systems_of_items(
    shard: Shard, Y: np.ndarray, mask: np.ndarray, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """A shard's part of the systems of the items in a packed mask; see ``system_task``."""
    entries, Y = entries_of(shard.item_entries), own(Y)
    chosen = chosen_rows(entries, mask)
    A = np.empty((chosen.rows.size, Y.shape[1], Y.shape[1]))
    lines = np.empty((chosen.rows.size, LINES, Y.shape[1]))
    run_tasks(system_task, with_threads(settings).num_threads, chosen, entries, Y, A, lines)
    return A, lines


def trimmed(P: np.ndarray, factors: int) -> np.ndarray:
    """The first columns of P, without the memory of the others."""
    return P if P.shape[1] == factors else P[:, :factors].copy()


def padded(P: np.ndarray, width: int) -> np.ndarray:
    """(n, width) array that starts a cache line: P, and zeros."""
    full = aligned_factors(np.empty((P.shape[0], width), P.dtype))
    full[:, : P.shape[1]] = P
    full[:, P.shape[1] :] = 0
    return full


def with_threads(settings: Settings) -> Settings:
    """Settings for where this runs: a Dask worker's threads, if it is one, and no more than were asked for."""
    from distributed import get_worker

    try:
        threads = int(get_worker().state.nthreads)
    except (ValueError, AttributeError):
        return settings
    asked = settings.num_threads
    return Settings(settings.solver, settings.tolerance, settings.max_steps, min(threads, asked or threads))


def add(left: Any, right: Any) -> Any:
    """Sum of arrays, or of tuples of them, in this order."""
    if isinstance(left, tuple):
        return tuple(add(one, other) for one, other in zip(left, right, strict=True))
    return left + right


def add_weighed(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two shards' ``weigh_items`` in one."""
    return np.stack(
        (left[:, 0] + right[:, 0], np.maximum(left[:, 1], right[:, 1]), np.minimum(left[:, 2], right[:, 2])), axis=1
    )


def warm(objective: Objective, dtype: str, factors: int, settings: Settings) -> None:
    """Compile, or load, what a fit runs on a worker: two users with an item each, from the one end to the other."""
    rows = Rows(np.array([0, 1, 2]), np.array([0, 1], np.int32), np.array([1.0, 2.0]), (2, 2))
    piece, every = Piece(rows), np.packbits(np.ones(2, bool))
    plan = Plan(objective, dtype, factors, None, 0.0, 1.0, 1.0, 1.0)
    shard = weigh(piece, plan, None)
    weigh_items(shard, settings)
    start = first_factors(shard, np.random.default_rng(0))
    G, penalty = gramian_of_users(shard, start, settings)
    basis = basis_of(start.X, G, penalty, objective.c0, 1)
    Y = rotated_users(start, basis.into, settings)
    if settings.solver == "cg":
        rights_of_items(shard, Y, every, settings)
        products_of_items(shard, Y, (every, start.X), settings)
    else:
        systems_of_items(shard, Y, every, settings)
    solve_users(shard, basis, objective.c0, settings)
