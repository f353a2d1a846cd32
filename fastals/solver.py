"""Half-sweeps: from the fixed factors of one side to the solved factors of the other.

The Gramian's eigenbasis is built once per half-sweep (Y'Y = V diag(s) V', Y V); then every row is solved in it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastals.blas import single_threaded_blas
from fastals.kernels.direct_rows import direct_rows, rows_in_float64
from fastals.kernels.factors import BLOCK, gramian_parts, rotate, stored_loss_parts
from fastals.kernels.half_sweep import half_sweep
from fastals.kernels.memory import CACHE_LINE, aligned_empty
from fastals.kernels.rotation import CHUNK, PANEL
from fastals.kernels.rows import DIRECT, DOUBLE, FAILED, FALLBACKS, ITERATED, LOSS, REPORTS, SINGULAR, STEPS
from fastals.kernels.sparse import transpose
from fastals.kernels.vector import PAD, TILE_ROWS
from fastals.objective import Objective
from fastals.threads import launches, parallel
from fastals.validation import Rows, as_type

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
class Side:
    """One side's rows, ready to be solved: structure, weights c - c0, preferences, regularisation, work ranges."""

    indptr: np.ndarray
    indices: np.ndarray
    extra: np.ndarray
    preference: np.ndarray
    regularization: np.ndarray
    bounds: np.ndarray

    @classmethod
    def of(cls, rows: Rows, extra: np.ndarray, preference: np.ndarray, regularization: np.ndarray) -> Side:
        """Side with its rows divided into ranges of about equal cost."""
        return cls(rows.indptr, rows.indices, extra, preference, regularization, balanced_bounds(rows.indptr))

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """What the kernels take as ``rows``."""
        return self.indptr, self.indices, self.extra, self.preference


@dataclass(frozen=True)
class Basis:
    """Fixed factors in the eigenbasis of their Gramian.

    ``rotated`` (n, width) is Y V, zeros past ``factors``; ``spectrum`` (width,) float64 is c0 s, ones past
    ``factors``; ``into`` and ``rotation`` (panels, width, PANEL) are V and V', see ``in_panels``; ``penalty`` is
    sum_i lambda_i |y_i|^2.
    """

    rotated: np.ndarray
    spectrum: np.ndarray
    into: np.ndarray
    rotation: np.ndarray
    penalty: float


@dataclass(frozen=True)
class Report:
    """What a half-sweep saw: the loss after it, CG steps and rows, rows solved in float64, rows that were singular."""

    loss: float
    steps: int
    iterated: int
    fallbacks: int
    singular: int


def balanced_bounds(indptr: np.ndarray) -> np.ndarray:
    """Row numbers that divide CSR rows into at most RANGES ranges of about equal cost, int64."""
    cost = indptr + ROW_COST * np.arange(indptr.size, dtype=np.int64)
    ranges = min(RANGES, max((indptr.size - 1) // LEAST_ROWS, 1))
    goals = np.linspace(0, cost[-1], ranges + 1)
    bounds = np.searchsorted(cost, goals).astype(np.int64)
    bounds[0], bounds[-1] = 0, indptr.size - 1
    return np.unique(bounds)


def even_bounds(count: int, ranges: int = 64) -> np.ndarray:
    """Row numbers that divide ``count`` rows into at most ``ranges`` equal ranges, int64."""
    return np.unique(np.linspace(0, count, min(ranges, max(count, 1)) + 1).astype(np.int64))


def _transposed(rows: Rows, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indptr and indices of the transpose and, moved along, values of the entries (of one element: unchanged)."""
    full = values.size == rows.indices.size > 1
    moved = np.empty(values.size if full else 0, values.dtype)
    indptr, indices = np.empty(rows.shape[1] + 1, np.int64), np.empty(rows.indices.size, np.int32)
    transpose(rows.indptr, rows.indices, values, indptr, indices, moved)
    return indptr, indices, moved if full else values


def transposed(rows: Rows) -> Rows:
    """Canonical rows of the transposed matrix."""
    return Rows(*_transposed(rows, rows.data), rows.shape[::-1])


def build_sides(objective: Objective, rows: Rows, phi: np.ndarray | None, dtype: np.dtype) -> tuple[Side, Side]:
    """Users' and items' sides of canonical rows (and of separate preferences, if there are any)."""
    extra = objective.extra(rows.data, dtype)
    preference = objective.preference(rows.data, dtype) if phi is None else as_type(phi, dtype, "preference")
    indptr, indices, column_extra = _transposed(rows, extra)
    columns = Rows(indptr, indices, rows.data[:1], rows.shape[::-1])
    column_preference = preference if preference.size == 1 else _transposed(rows, preference)[2]
    users = Side.of(rows, extra, preference, objective.row_regularization(rows, objective.user_regularization))
    items = Side.of(
        columns, column_extra, column_preference,
        objective.row_regularization(columns, objective.item_regularization),
    )  # fmt: skip
    return users, items


def gramian(X: np.ndarray, weights: np.ndarray, num_threads: int | None) -> tuple[np.ndarray, float]:
    """X'X as (factors, factors) float64, and sum_u weights_u |x_u|^2; the same for any number of threads."""
    factors = X.shape[1]
    width = -(-factors // PAD) * PAD
    bounds = even_bounds(X.shape[0], min(16, max(4, GRAMIANS // width**2)))
    ranges = bounds.size - 1
    parts, squares, blocks = np.empty((ranges, width, width)), np.empty(ranges), np.empty((ranges, BLOCK, width))
    for part in launches(ranges, float(X.shape[0]) * width * width, num_threads):
        with parallel(num_threads):
            gramian_parts(X, bounds[part.start : part.stop + 1], weights, blocks[part], parts[part], squares[part])
    with np.errstate(over="ignore", invalid="ignore"):  # callers look for what has overflowed
        upper = np.triu(parts.sum(axis=0)[:factors, :factors])
        return upper + np.triu(upper, 1).T, float(squares.sum())


def aligned_factors(Y: np.ndarray) -> np.ndarray:
    """Uninitialised array for factors as the row kernels read them: (n, factors rounded up to PAD), aligned.

    From NumPy, which asks for huge pages where Numba does not: rows of large factors are read in no order, and a page
    walk for each would cost more than the row.
    """
    width = -(-Y.shape[1] // PAD) * PAD
    spare = CACHE_LINE // Y.itemsize
    memory = np.empty(Y.shape[0] * width + spare, Y.dtype)
    first = -memory.ctypes.data % CACHE_LINE // Y.itemsize
    return memory[first : first + Y.shape[0] * width].reshape(Y.shape[0], width)


def in_panels(B: np.ndarray, width: int, like: np.ndarray) -> np.ndarray:
    """Square matrix in panels of columns, (panels, width, PANEL), zero past its own; see ``kernels.rotation``."""
    count = -(-width // PANEL)
    padded = np.zeros((width, count * PANEL), like.dtype)
    padded[: len(B), : len(B)] = B
    panels = aligned_empty(count * width, PANEL, like).reshape(count, width, PANEL)
    panels[:] = padded.reshape(width, count, PANEL).transpose(1, 0, 2)
    return panels


def multiply(Y: np.ndarray, panels: np.ndarray, num_threads: int | None, out: np.ndarray) -> None:
    """Write Y B to ``out``, which may be Y, in place, but for columns it lacks; ``panels`` is B, see ``in_panels``."""
    bounds, width = even_bounds(Y.shape[0]), panels.shape[1]
    ranges = bounds.size - 1
    chunks = np.zeros((ranges, CHUNK, width), Y.dtype)
    tiles = aligned_empty(ranges * TILE_ROWS, PANEL, Y).reshape(ranges, TILE_ROWS, PANEL)
    for part in launches(ranges, 2.0 * Y.shape[0] * width * width, num_threads):
        with parallel(num_threads):
            rotate(Y, bounds[part.start : part.stop + 1], panels, chunks[part], tiles[part], out)


def eigenbasis(
    Y: np.ndarray,
    regularization: np.ndarray,
    unobserved_weight: float,
    num_threads: int | None,
    rotated: np.ndarray | None = None,
) -> Basis:
    """Rotate the fixed side's factors Y (n, factors) into the eigenbasis of their Gramian.

    ``rotated`` is written in place if it is given: fresh memory costs a page fault every 4 KiB.
    """
    factors = Y.shape[1]
    rotated = aligned_factors(Y) if rotated is None else rotated
    width = rotated.shape[1]
    G, penalty = gramian(Y, regularization, num_threads)
    spectrum = np.ones(width)
    if np.isfinite(G).all():
        with single_threaded_blas():
            eigenvalues, V = np.linalg.eigh(G)
        spectrum[:factors] = unobserved_weight * np.maximum(eigenvalues, 0)
    # The row kernels hold the spectrum in the type of the factors.
    if not np.isfinite(G).all() or not spectrum.max() < np.finfo(Y.dtype).max:
        raise FloatingPointError(
            f"the factors have overflowed {Y.dtype}; scale user_items or given factors down, or raise regularization"
        )
    into = in_panels(V, width, Y)
    multiply(Y, into, num_threads, rotated)
    return Basis(rotated, spectrum, into, in_panels(V.T, width, Y), penalty)


def _determined(basis: Basis, factors: int, least: float) -> Basis:
    """Basis without the directions that are rounding errors, where ``least`` regularization does not outweigh them.

    Factors of a lower rank than their number have directions of which only errors are left, of the size of the type's
    epsilon relative to the largest: solved for, these would be blown up. Without them the solution is the one of least
    norm. Returns the basis itself where there are none.
    """
    spectrum, eps = basis.spectrum[:factors], np.finfo(basis.rotated.dtype).eps
    relative = factors * max(factors * float(eps) ** 2, np.finfo(np.float64).eps)
    errors = np.flatnonzero(spectrum + least < relative * spectrum.max())
    if not errors.size:
        return basis
    basis = replace(basis, rotated=basis.rotated.copy(), spectrum=basis.spectrum.copy())
    basis.rotated[:, errors] = 0
    basis.spectrum[errors] = spectrum.max()
    return basis


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
    given, basis = basis, _determined(basis, X.shape[1], side.regularization.min())
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
