"""A half-sweep by conjugate gradients: every row of one side solved against the fixed factors of the other.

Rows that are better solved directly are left to ``direct_rows``, whose compilation most fits never need.
"""

from typing import Any, NamedTuple

import numpy as np

from fastals.kernels.dense.blocks import add_rows, add_system, prefetch
from fastals.kernels.dense.rotation import CHUNK, Chunk, chunk_for, multiply_chunk
from fastals.kernels.jit import compiled, compiled_without_refcounts
from fastals.kernels.rows.conjugate_gradient import Stop, conjugate_gradient, lines_for, vectors_of
from fastals.kernels.rows.row import (
    DIRECT,
    DOUBLE,
    ITERATED,
    SOLVED,
    STEPS,
    Gathered,
    accept,
    begin_right_hand_side,
    diagonal,
    gather_row,
    gathered_for,
    least_share,
    row_loss,
    solve_empty_row,
    value_of,
)

# max c / m, with m = c0 v_u w_i, beyond which a residual says little about the error, and conjugate gradients take too
# many steps.
HEAVY = 1e3
PREFETCHED_ROWS = 16  # of the next row: more compete with the present one's loads (measured)


class IterationScratch(NamedTuple):
    """Scratch of a thread.

    row : Gathered
        A row's entries.
    lines : (6, width + 32) array
        The vectors of its iteration, see ``vectors_of``.
    chunk : Chunk
        Solutions before and after rotation.
    """

    row: Gathered
    lines: Any
    chunk: Chunk


@compiled
def cg_scratch_for(ranges, entries, Y):
    """Scratch of a thread for ranges of rows (Ranges) against Y (n, width)."""
    row, width = gathered_for(ranges.longest, entries, Y), Y.shape[1]
    return IterationScratch(row, lines_for(width, Y), chunk_for(ranges.bounds, width, Y))


@compiled_without_refcounts
def _start(Y, indices, weights, targets, x, warm, lines):
    """Right-hand side b, and the residual b - A x of where the iteration starts: x, if ``warm``, or zero.

    Written to ``lines`` (Vectors) in place, whose b has the part of the features already; x becomes zero where the loss
    is less there. Returns x.(b + r), by which the loss at x is less than at zero.
    """
    width = Y.shape[1]
    r, _, q, _, M, b = vectors_of(lines, width)
    energy = x[0] * 0
    if warm:
        for j in range(width):
            q[j] = M[j] * x[j]
        add_system(Y, indices, weights, targets, x, q, b)
        for j in range(width):
            r[j] = b[j] - q[j]
            energy += x[j] * (b[j] + r[j])
    else:
        add_rows(Y, indices, targets, b)
    if energy > 0:  # nor NaN
        return energy
    for j in range(width):
        x[j] = 0
        r[j] = b[j]
    return x[0]


@compiled_without_refcounts
def _iterate_row(u, entries, system, stop, x, warm, alike, scratch, report):
    """Solve row u for x in place and add to ``report``.

    Parameters
    ----------
    u : int
    entries, system, stop, scratch
        Entries, System, Stop, IterationScratch.
    x : (width,) array
        Where the iteration starts, if ``warm`` (input); the solution, zero if there is none (output).
    warm, alike : bool
        Whether to start from x, and whether M is that of the row before, which stands in the scratch.
    report : (REPORTS,) float64 array

    Returns
    -------
    int
        SOLVED, or how the row is to be solved: DIRECT or DOUBLE.
    """
    Y, vectors = system.Y, vectors_of(scratch.lines, system.Y.shape[1])
    constant, largest, least = gather_row(entries, u, scratch.row)
    row_weight = value_of(entries.row_weights, u)
    missing = system.unobserved_weight * row_weight
    if not largest < HEAVY * missing:
        x[:] = 0
        return DIRECT
    if least < 0:
        # Where c < m, A is below M down to c / m M: an error in its norm needs a residual as many times smaller.
        share = least_share(least, missing)
        if not share >= 1 / HEAVY:
            x[:] = 0
            return DOUBLE
        tolerance = Y.dtype.type(stop.tolerance * np.sqrt(share))
        stop = Stop(tolerance, stop.max_steps, stop.warm_from)
    fours = (entries.indptr[u + 1] - entries.indptr[u] + 3) // 4 * 4
    indices, weights, targets = scratch.row.indices[:fours], scratch.row.weights[:fours], scratch.row.targets[:fours]
    if not alike:  # M and 1 / M take a twentieth of the time of a short row of 64 factors (measured)
        diagonal(system.spectrum, row_weight, system.regularization[u], vectors.M)
        for j in range(Y.shape[1]):
            vectors.inverse[j] = Y.dtype.type(1) / vectors.M[j]
    constant += begin_right_hand_side(system, u, vectors.b)
    energy = _start(Y, indices, weights, targets, x, warm, scratch.lines)
    steps = conjugate_gradient(Y, indices, weights, x, energy, scratch.lines, stop)
    if steps < 0:
        x[:] = 0
        return DOUBLE
    b_dot_x, x_dot_r = 0.0, 0.0
    for j in range(Y.shape[1]):
        b_dot_x += np.float64(vectors.b[j]) * x[j]
        x_dot_r += np.float64(vectors.r[j]) * x[j]
    report[STEPS] += steps
    report[ITERATED] += 1
    accept(x, row_loss(constant, b_dot_x, x_dot_r), report)
    return SOLVED


@compiled_without_refcounts
def iterate_rows(first, last, entries, system, stop, X, status, scratch, report):
    """Solve rows first .. last in place.

    Parameters
    ----------
    first, last : int
    entries, system, stop, scratch
        Entries, System, Stop, IterationScratch; see there for their fields.
    X : (n_rows, factors) array
        Where rows of at least ``stop.warm_from`` entries start, in the eigenbasis (input). Solutions; zero for rows
        that are not solved (output).
    status : (n_rows,) uint8 array
        SOLVED, or how each row is still to be solved (output).
    report : (REPORTS,) float64 array
        Loss of the rows solved (regularization included), steps, rows iterated, rows without a finite solution (left
        zero); the other columns are zero (output).
    """
    indptr, indices, Y, solved = entries.indptr, entries.indices, system.Y, scratch.chunk.solved
    ridges, weights, known = system.regularization, entries.row_weights, False
    report[:] = 0
    for start in range(first, last, CHUNK):
        end = min(start + CHUNK, last)
        for u in range(start, end):
            x = solved[u - start]
            if indptr[u] == indptr[u + 1]:
                vectors = vectors_of(scratch.lines, Y.shape[1])
                solve_empty_row(u, entries, system, vectors.M, vectors.b, x, report)
                status[u], known = SOLVED, False
                continue
            if u + 1 < last:
                following = min(indptr[u + 2] - indptr[u + 1], PREFETCHED_ROWS)
                prefetch(Y, indices[indptr[u + 1] : indptr[u + 1] + following])
            warm = indptr[u + 1] - indptr[u] >= stop.warm_from
            if warm:
                for j in range(X.shape[1]):
                    x[j] = X[u, j]
                for j in range(X.shape[1], x.shape[0]):
                    x[j] = 0
            alike = known and ridges[u] == ridges[u - 1] and value_of(weights, u) == value_of(weights, u - 1)
            status[u] = _iterate_row(u, entries, system, stop, x, warm, alike, scratch, report)
            known = status[u] == SOLVED
        multiply_chunk(solved, end - start, system.rotation, scratch.chunk.tile, start, X)


@compiled
def cg_task(task, tasks, ranges, entries, system, stop, X, status):
    """Run ``iterate_rows`` over the ranges task, task + tasks, ... in turn; see there.

    So each of ``tasks`` tasks has its share of long and of short rows. One thread runs all of them as task 0 of 1.
    """
    scratch = cg_scratch_for(ranges, entries, system.Y)
    bounds = ranges.bounds
    for c in range(task, bounds.shape[0] - 1, tasks):
        iterate_rows(bounds[c], bounds[c + 1], entries, system, stop, X, status, scratch, ranges.reports[c])
