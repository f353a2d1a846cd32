"""Half-sweeps: from the fixed factors of one side to the solved factors of the other.

The Gramian's eigenbasis is built once per half-sweep (Y'Y = V diag(s) V', Y V); then every row is solved in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastals.kernels.factors import stored_loss_parts
from fastals.kernels.rows.cg_rows import half_sweep
from fastals.kernels.rows.direct_rows import direct_rows, rows_in_float64
from fastals.kernels.rows.row import DIRECT, DOUBLE, FAILED, FALLBACKS, ITERATED, LOSS, REPORTS, SINGULAR, STEPS
from fastals.objective import Objective
from fastals.solver.eigenbasis import Basis, determined, gramian, multiply
from fastals.solver.sides import Side, balanced_bounds
from fastals.solver.threads import launches, parallel

SOLVERS = ("cg", "cholesky")
RANGES = 1024  # of rows, by cost: threads take every n-th, and the more the more even are their shares
RANGES_OF_A_LAUNCH = 4  # for each thread
GRAMIANS = 2**23  # elements of the ranges' Gramians together: more, and their memory costs more than their sums
LEAST_ROWS = 32  # in a range on average: solutions are rotated in blocks of eight
ROW_COST = 16  # what a row costs besides its entries, in entries
NO_ROW = 2**62  # entries
# Rows of at least 1 / GUESSED_FROM of the factors' number start from a guess (measured: 8 is no better, 2 and 1 worse).
GUESSED_FROM = 4
LARGEST_TOLERANCE = 1e15  # its square is finite in float32; from 1 on, one step does


@dataclass(frozen=True)
class Settings:
    """How rows are solved: method, relative residual to reach, steps at the most, threads."""

    solver: str
    tolerance: float
    max_steps: int
    num_threads: int | None


@dataclass(frozen=True)
class Report:
    """What a half-sweep saw: the loss after it, CG steps and rows, rows solved in float64, rows that were singular."""

    loss: float
    steps: int
    iterated: int
    fallbacks: int
    singular: int


def solve_side(
    side: Side, basis: Basis, X: np.ndarray, objective: Objective, settings: Settings, guess: np.ndarray | None = None
) -> Report:
    """Solve all rows of one side into X (n_rows, factors) in place.

    Iterations of long rows start from ``guess`` (n_rows, factors), if there is one; it may be X itself.

    Raises
    ------
    FloatingPointError
        Where a row has no finite solution.
    MemoryError
        Where a thread found no memory for its scratch.
    """
    given, basis = basis, determined(basis, X.shape[1], side.least_regularization)
    # The solution of least norm has nothing in directions left out, where a guess may have something.
    totals = _solve_rows(side, basis, X, objective, settings, guess if basis is given else None)
    if totals[FAILED]:
        raise FloatingPointError(
            f"{int(totals[FAILED])} rows have no finite solution in {X.dtype}; "
            "scale the data down, raise regularization or use dtype='float64'"
        )
    loss = finite_loss(float(totals[LOSS]) + basis.penalty)
    if basis is not given:
        totals[SINGULAR] = np.count_nonzero(np.diff(side.indptr))
    counts = (int(totals[column]) for column in (STEPS, ITERATED, FALLBACKS, SINGULAR))
    return Report(loss, *counts)


def _solve_rows(
    side: Side, basis: Basis, X: np.ndarray, objective: Objective, settings: Settings, guess: np.ndarray | None
) -> np.ndarray:
    """Solve all rows, those left over by one way in the next: iteration, directly, directly in float64.

    Returns the sum of the reports.
    """
    offset, weight = X.dtype.type(objective.offset), X.dtype.type(objective.unobserved_weight)
    system = side.arrays, basis.rotated, basis.spectrum, side.regularization, basis.rotation, X
    left = np.full(X.shape[0], DIRECT, np.uint8)
    reports = []
    if settings.solver == "cg":
        stop = X.dtype.type(min(settings.tolerance, LARGEST_TOLERANCE)), settings.max_steps
        least = NO_ROW
        if guess is not None:
            multiply(guess, basis.into, settings.num_threads, X)
            least = -(-X.shape[1] // GUESSED_FROM)
        arguments = (*system, (offset, weight, *stop, least), left)
        reports.append(_launched(half_sweep, side.bounds, side.indptr, X, arguments, settings))
    for way, kernel, more in ((DIRECT, direct_rows, (left,)), (DOUBLE, rows_in_float64, ())):
        chosen = np.flatnonzero(left == way)
        if chosen.size:
            indptr = np.concatenate(([0], np.cumsum(np.diff(side.indptr)[chosen])))
            arguments = (chosen, *system, offset, *more)
            reports.append(_launched(kernel, balanced_bounds(indptr), indptr, X, arguments, settings))
    with np.errstate(over="ignore", invalid="ignore"):
        return np.concatenate(reports).sum(axis=0)


def _launched(
    kernel: Any, bounds: np.ndarray, indptr: np.ndarray, X: np.ndarray, arguments: tuple[Any, ...], settings: Settings
) -> np.ndarray:
    """Run a kernel over ranges of rows, in launches between which an interrupt is heard; returns its reports."""
    reports = np.full((bounds.size - 1, REPORTS), -1.0)
    work = 2.0 * X.shape[1] * (X.shape[1] + 20) * (indptr[-1] + indptr.size)  # an upper bound
    for part in launches(bounds.size - 1, work, settings.num_threads, each=RANGES_OF_A_LAUNCH):
        with parallel(settings.num_threads) as tasks:
            kernel(tasks, bounds[part.start : part.stop + 1], *arguments, reports[part])
    if (reports[:, FAILED] < 0).any():  # parallel loops lose the exceptions of other threads
        raise MemoryError(f"no memory for the scratch of the row kernels, {X.shape[1]} factors")
    return reports


def finite_loss(loss: float) -> float:
    """The loss, or FloatingPointError."""
    if not np.isfinite(loss):
        raise FloatingPointError("the loss has overflowed float64; scale user_items, alpha or preference down")
    return loss


def full_loss(
    users: Side, X: np.ndarray, Y: np.ndarray, item_regularization: np.ndarray, objective: Objective,
    num_threads: int | None,
) -> float:  # fmt: skip
    """Loss of any factors, in float64: the stored pairs' sum + c0 tr(X'X Y'Y) + regularisation."""
    parts = np.empty(users.bounds.size - 1)
    work = 20.0 * X.shape[1] * users.indptr[-1]  # 2, but ten times as slow
    for part in launches(parts.size, work, num_threads, each=RANGES_OF_A_LAUNCH):
        with parallel(num_threads):
            bounds = users.bounds[part.start : part.stop + 1]
            stored_loss_parts(bounds, users.arrays, objective.offset, X, Y, parts[part])
    GX, user_penalty = gramian(X, users.regularization, num_threads)
    GY, item_penalty = gramian(Y, item_regularization, num_threads)
    with np.errstate(over="ignore", invalid="ignore"):
        loss = parts.sum() + objective.unobserved_weight * np.vdot(GX, GY) + user_penalty + item_penalty
    return finite_loss(float(loss))
