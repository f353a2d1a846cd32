"""Half-sweeps: from the fixed factors of one side to the solved factors of the other.

The Gramian's eigenbasis is built once per half-sweep (Y'Y = V diag(s) V', Y V), or what takes its place where all rows
share lambda (see ``eigenbasis.Basis``); then every row is solved in it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastals.core.validation import read_only
from fastals.kernels.dense.memory import CACHE_LINE
from fastals.kernels.factors import stored_loss_task
from fastals.kernels.rows.cg_rows import cg_task
from fastals.kernels.rows.conjugate_gradient import Stop
from fastals.kernels.rows.direct_rows import direct_task
from fastals.kernels.rows.row import (
    DIRECT,
    DIRECTLY,
    DOUBLE,
    FAILED,
    FALLBACKS,
    ITERATED,
    LOSS,
    REPORTS,
    RIDGE,
    SINGULAR,
    STEPS,
    Entries,
    Ranges,
    System,
)
from fastals.objective import Objective
from fastals.solver.eigenbasis import Basis, determined, gramian, rotate
from fastals.solver.sides import Side, balanced_bounds
from fastals.solver.threads import launches, run_tasks

SOLVERS = ("cg", "cholesky")
RANGES_OF_A_LAUNCH = 4  # for each thread
# Entries times factors that one thread has solved before others have woken up, which on a busy machine takes
# milliseconds: fold-in of a few rows.
SERIAL_WORK = 2**17
NO_ROW = 2**62  # entries
# Rows of at least 1 / GUESSED_FROM of the factors' number start from a guess (measured: 8 is no better, 2 and 1 worse).
GUESSED_FROM = 4
LARGEST_TOLERANCE = 1e15  # its square is finite in float32; from 1 on, one step does


@dataclass(frozen=True)
class Settings:
    """How rows are solved: method, relative error to reach, largest number of steps, threads."""

    solver: str
    tolerance: float
    max_steps: int
    num_threads: int | None


@functools.lru_cache(maxsize=64)
def on_one_thread(settings: Settings) -> Settings:
    """The same settings with one thread; kept, as every fold-in of a row asks."""
    return replace(settings, num_threads=1)


@dataclass(frozen=True)
class Report:
    """What a half-sweep did and found.

    loss : float
        Value of the objective after it, regularization of both sides included, at the solutions as they are.
    steps, iterated : int
        Steps of conjugate gradients, and the rows that they have solved.
    direct : int
        Rows that were sent to the direct solution at once: those too heavy for conjugate gradients (a weight above
        1,000 c0), or all with ``solver="cholesky"``. Empty rows do not count.
    fallbacks : int
        Rows solved in float64 in the end: iterations that did not converge, and rows of ``direct`` too ill-conditioned
        for float32.
    singular : int
        Rows that the data and the regularization do not determine.
    ridge : float
        The largest ridge that was added to solve such a row, relative to the trace of its system; zero if none was.
    """

    loss: float
    steps: int
    iterated: int
    direct: int
    fallbacks: int
    singular: int
    ridge: float


def solve_side(
    side: Side,
    basis: Basis,
    X: np.ndarray,
    objective: Objective,
    settings: Settings,
    guess: np.ndarray | None = None,
    prior: np.ndarray | None = None,
) -> Report:
    """Solve all rows of one side into X (n_rows, factors) in place.

    Iterations of long rows start from ``guess`` (n_rows, factors), if there is one; it may be X itself. ``prior``
    (n_rows, width) is what the rows' features predict, in the eigenbasis.

    Raises
    ------
    FloatingPointError
        Where a row has no finite solution.
    MemoryError
        Where a thread found no memory for its scratch.
    """
    given, basis = (
        basis,
        determined(basis, X.shape[1], side.least_regularization, side.entries.column_weights.size == 1),
    )
    # The solution of least norm has nothing in directions left out, where a guess may have something.
    totals = solve_rows(side, basis, X, objective.c0, settings, guess if basis is given else None, prior)
    if basis is not given:
        totals[SINGULAR] = np.count_nonzero(np.diff(side.indptr))
    return report_of(totals, basis.penalty, objective, X.dtype)


def report_of(totals: np.ndarray, penalty: float, objective: Objective, dtype: np.dtype) -> Report:
    """Report of a half-sweep, from what its rows have reported in all and the penalty of the fixed side.

    Raises
    ------
    FloatingPointError
        Where a row has no finite solution, or the loss has overflowed.
    """
    found = totals.tolist()  # a line of NumPy's numbers takes five times as long to read
    if found[FAILED]:
        raise FloatingPointError(
            f"{int(found[FAILED])} rows have no finite solution in {dtype}; "
            "scale the data down, raise regularization or use dtype='float64'"
        )
    loss = finite_loss(objective.unit * (found[LOSS] + penalty))
    steps, iterated, directly, fallbacks, singular = (
        int(found[column]) for column in (STEPS, ITERATED, DIRECTLY, FALLBACKS, SINGULAR)
    )
    return Report(loss, steps, iterated, directly, fallbacks, singular, found[RIDGE])


def solve_rows(
    side: Side,
    basis: Basis,
    X: np.ndarray,
    c0: float,
    settings: Settings,
    guess: np.ndarray | None = None,
    prior: np.ndarray | None = None,
) -> np.ndarray:
    """Solve all rows, those left over by one way in the next: iteration, directly, directly in float64.

    Parameters are those of ``solve_side``, of a basis that is ``determined``. Returns the reports of all ranges in one:
    sums, and the largest ridge.
    """
    none = np.empty((0, basis.rotated.shape[1]), X.dtype)
    regularization = np.zeros(X.shape[0]) if basis.whitened else side.regularization
    system = System(basis.rotated, basis.spectrum, regularization, basis.back, c0, none if prior is None else prior)
    status = np.full(X.shape[0], DIRECT, np.uint8)
    reports = []
    if settings.solver == "cg":
        warm_from = NO_ROW
        if guess is not None:
            rotate(guess, basis.into, settings.num_threads, X)
            warm_from = -(-X.shape[1] // GUESSED_FROM)
        stop = Stop(X.dtype.type(min(settings.tolerance, LARGEST_TOLERANCE)), settings.max_steps, warm_from)
        reports.append(_iterate(side, system, stop, X, status, settings))
    if status[0] if status.size == 1 else status.any():
        for left, like in ((DIRECT, basis.rotated), (DOUBLE, basis.spectrum)):
            reports.append(_solve_directly(np.flatnonzero(status == left), side, system, like, X, status, settings))
    return in_all(reports[0] if len(reports) == 1 else np.concatenate(reports))


def in_all(lines: np.ndarray) -> np.ndarray:
    """Reports (ranges, REPORTS) in one: sums, and the largest ridge."""
    if len(lines) == 1:
        return lines[0]
    with np.errstate(over="ignore", invalid="ignore"):
        totals: np.ndarray = lines.sum(axis=0)
    totals[RIDGE] = lines[:, RIDGE].max()
    return totals


def _iterate(
    side: Side, system: System, stop: Stop, X: np.ndarray, status: np.ndarray, settings: Settings
) -> np.ndarray:
    """Run the row kernel of conjugate gradients over all rows; returns its reports."""
    launched = _Launches(side.bounds, side.indptr, X, settings)
    return launched.run(cg_task, side.entries, system, stop, X, status)


def _solve_directly(
    chosen: np.ndarray, side: Side, system: System, like: np.ndarray, X: np.ndarray, status: np.ndarray,
    settings: Settings,
) -> np.ndarray:  # fmt: skip
    """Run the row kernel of direct solutions over chosen rows, in the type of ``like``; returns its reports."""
    if not chosen.size:
        return np.empty((0, REPORTS))
    indptr = np.concatenate(([0], np.cumsum(np.diff(side.indptr)[chosen])))
    launched = _Launches(balanced_bounds(indptr), indptr, X, settings)
    return launched.run(direct_task, chosen, side.entries, system, like, X, status)


class _Launches:
    """Ranges of rows in launches, between which an interrupt is heard.

    A few rows, or many on one thread, are solved by the calling thread itself: it neither waits for the launches of
    others, nor are threads started.
    """

    def __init__(self, bounds: np.ndarray, indptr: np.ndarray, X: np.ndarray, settings: Settings) -> None:
        entries, factors = int(indptr[-1] - indptr[0]), X.shape[1]
        self._threads = 1 if entries * factors <= SERIAL_WORK else settings.num_threads
        self._bounds, self._factors = bounds, factors
        self._longest = entries if indptr.size == 2 else int((indptr[1:] - indptr[:-1]).max(initial=0))
        self._work = 2.0 * factors * (factors + 20) * (entries + indptr.size)  # an upper bound
        if bounds.size == 2:
            self._reports = np.empty((1, REPORTS))
            return
        # Each line is a cache line of its own, or threads would take them from one another.
        memory = np.empty((bounds.size, REPORTS))
        first = -memory.ctypes.data % CACHE_LINE // memory.itemsize
        self._reports = memory.reshape(-1)[first : first + (bounds.size - 1) * REPORTS].reshape(-1, REPORTS)

    def run(self, task: Any, *arguments: Any) -> np.ndarray:
        """Run a row kernel over all ranges; returns what they report. MemoryError where one has no scratch."""
        try:
            for part in launches(len(self._reports), self._work, self._threads, each=RANGES_OF_A_LAUNCH):
                ranges = Ranges(self._bounds[part.start : part.stop + 1], self._longest, self._reports[part])
                run_tasks(task, self._threads, ranges, *arguments)
        except MemoryError as error:
            message = f"no memory for the scratch of the row kernels, {self._factors} factors"
            raise MemoryError(message) from error
        return self._reports


def finite_loss(loss: float) -> float:
    """The loss, or FloatingPointError; 0 where rounding errors of a fit that leaves no loss make it negative."""
    if not math.isfinite(loss):
        raise FloatingPointError("the loss has overflowed float64; scale user_items, alpha or preference down")
    return max(loss, 0.0)


def full_loss(
    users: Side, items: Side, X: np.ndarray, Y: np.ndarray, objective: Objective, num_threads: int | None,
    penalty: float | None = None,
) -> float:  # fmt: skip
    """Loss of any factors, in float64: the stored pairs' sum + c0 tr(X' diag(v) X Y' diag(w) Y) + regularization.

    ``penalty`` takes the place of the regularization sum_u lambda_u |x_u|^2 + sum_i lambda_i |y_i|^2.
    """
    GX, user_penalty = gramian(X, users.regularization, num_threads, users.entries.row_weights)
    GY, item_penalty = gramian(Y, items.regularization, num_threads, items.entries.row_weights)
    with np.errstate(over="ignore", invalid="ignore"):
        regularization = user_penalty + item_penalty if penalty is None else penalty
        loss = _stored_sum(users, users.entries, X, Y, num_threads) + objective.c0 * np.vdot(GX, GY) + regularization
    return finite_loss(objective.unit * float(loss))


def pair_losses(
    users: Side, items: Side, X: np.ndarray, Y: np.ndarray, objective: Objective, num_threads: int | None
) -> tuple[float, float]:
    """What stored pairs and missing pairs add to the loss of any factors, in float64.

    With s = x_u . y_i and m = c0 v_u w_i they are

        sum over stored c (phi - s)^2    and    c0 tr(X' diag(v) X Y' diag(w) Y) - sum over stored m s^2;

    in Rendle's form a stored pair has w (phi - s)^2 + m s^2. Both sums over stored pairs are taken by the kernel of the
    loss: the one with v = 0, where extra is c (Rendle's: w), the other with no weights but m, as extra = m is what
    weight = 0 and missing = shift = -c0 give.
    """
    c0, entries = objective.c0, users.entries
    nothing = read_only(np.zeros(1))
    whole = entries._replace(row_weights=nothing)
    as_missing = entries._replace(weight=nothing, preference=nothing, offset=np.float64(0), shift=-c0, missing=-c0)
    stored = _stored_sum(users, whole, X, Y, num_threads)
    overlap = _stored_sum(users, as_missing, X, Y, num_threads)
    GX, _ = gramian(X, users.regularization, num_threads, entries.row_weights)
    GY, _ = gramian(Y, items.regularization, num_threads, items.entries.row_weights)
    with np.errstate(over="ignore", invalid="ignore"):
        missing = c0 * float(np.vdot(GX, GY)) - overlap
        if objective.name == "rendle":
            stored += overlap
    return finite_loss(objective.unit * stored), finite_loss(objective.unit * missing)


def _stored_sum(users: Side, entries: Entries, X: np.ndarray, Y: np.ndarray, num_threads: int | None) -> float:
    """Sum over the users' stored pairs, with weights of ``entries``; see ``stored_loss_task``."""
    parts = np.empty(users.bounds.size - 1)
    work = 20.0 * X.shape[1] * users.indptr[-1]  # 2, but ten times as slow
    for part in launches(parts.size, work, num_threads, each=RANGES_OF_A_LAUNCH):
        bounds = users.bounds[part.start : part.stop + 1]
        run_tasks(stored_loss_task, num_threads, bounds, entries, X, Y, parts[part])
    return float(parts.sum())
