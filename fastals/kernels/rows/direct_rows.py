"""Chosen rows of one side solved directly, in the model's type or in float64."""

from typing import NamedTuple

import numpy as np

from fastals.kernels.dense.blocks import prefetch
from fastals.kernels.dense.rotation import CHUNK, Chunk, chunk_for, multiply_chunk
from fastals.kernels.jit import compiled, compiled_without_refcounts
from fastals.kernels.rows.direct import GATHERED_ROWS, Direct, direct_for, solve_direct
from fastals.kernels.rows.row import (
    DIRECTLY,
    DOUBLE,
    FALLBACKS,
    RIDGE,
    SINGULAR,
    SOLVED,
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

# Condition beyond which a float32 factorisation is done in float64: 1e4 x 6e-8 leaves three digits at the worst.
FLOAT32_TRACE = 1e4
FLOAT64_FLOOR = 1e-14  # share of the diagonal below which a pivot is a rounding error: 45 epsilons
LEAST_SHARE = 1e-3  # c / (c0 v_u w_i) below which A is a small difference of large numbers, and solved in float64
RIDGES = 8  # that are tried: none, and 1e-12 to 1e-6


class DirectScratch(NamedTuple):
    """Scratch of a thread: a row's entries, its system, and solutions before and after rotation."""

    row: Gathered
    direct: Direct
    chunk: Chunk


@compiled
def direct_scratch_for(ranges, entries, Y, like):
    """Scratch of a thread for ranges of rows (Ranges), their systems in the type of ``like``."""
    row, width = gathered_for(ranges.longest, entries, like), Y.shape[1]
    return DirectScratch(row, direct_for(width, like), chunk_for(ranges.bounds, width, Y))


@compiled_without_refcounts
def _solve_row(u, factors, entries, system, x, scratch, report):
    """Solve row u for x in place, in the model's type; returns SOLVED, or DOUBLE with x zero if that does not do.

    Parameters are those of ``solve_rows``, x (width,).
    """
    row, direct, count = scratch.row, scratch.direct, entries.indptr[u + 1] - entries.indptr[u]
    constant, _, least = gather_row(entries, u, row)
    row_weight = value_of(entries.row_weights, u)
    if not least_share(least, system.unobserved_weight * row_weight) >= LEAST_SHARE:
        x[:] = 0
        return DOUBLE
    diagonal(system.spectrum, row_weight, system.regularization[u], direct.M)
    constant += begin_right_hand_side(system, u, direct.prior)
    indices, weights, targets = row.indices[:count], row.weights[:count], row.targets[:count]
    trace, product = solve_direct(system.Y, factors, indices, weights, targets, direct, direct.M.dtype.type(0))
    report[DIRECTLY] += 1
    if not 0 <= trace <= FLOAT32_TRACE:
        x[:] = 0
        return DOUBLE
    for j in range(x.shape[0]):
        x[j] = direct.x[j]
    accept(x, row_loss(constant, product, 0.0), report)
    return SOLVED


@compiled_without_refcounts
def _measure(Y, indices, weights, squares):
    """Write sum_t y_tj^2 to ``squares`` in place; returns sum_t |weights_t| |y_t|^2, which bounds the largest pivot."""
    width, total = Y.shape[1], 0.0
    squares[:width] = 0
    for t in range(indices.shape[0]):
        y = Y[indices[t]]
        squared = 0.0
        for j in range(width):
            squares[j] += np.float64(y[j]) * y[j]
        for j in range(width):
            squared += np.float64(y[j]) * y[j]
        total += abs(weights[t]) * squared
    return total


@compiled_without_refcounts
def _solve_row_in_float64(u, factors, entries, system, x, scratch, report):
    """Solve row u for x in place with float64 scratch, whatever the model's type; x is NaN if that fails, too.

    A system whose pivots vanish (no regularization and fewer independent entries than factors) gets a ridge, so that
    the row is the regularised limit and not garbage: 1e-12 of the trace of sum_t |extra_t| y_t y_t' (or of the largest
    element of M, if that is larger), and ten times as much, up to 1e-6 of it, where that is not enough. The loss
    reported is that of the stated problem, without the ridge: of (A + ridge I) x = b
    there remains r = ridge x.

    Columns in which the row's y_t and z are all zero, such as those past ``factors``, get zero whatever stands on the
    diagonal, but compared with it pivots might seem to vanish: it is the trace for them.

    Parameters are those of ``solve_rows``, x (width,).
    """
    Y, row, direct, count = system.Y, scratch.row, scratch.direct, entries.indptr[u + 1] - entries.indptr[u]
    M, solution, squares, width = direct.M, direct.x, direct.squares, Y.shape[1]
    constant, _, _ = gather_row(entries, u, row)
    constant += begin_right_hand_side(system, u, direct.prior)
    row_weight = value_of(entries.row_weights, u)
    indices, weights, targets = row.indices[:count], row.weights[:count], row.targets[:count]
    largest = _measure(Y, indices, weights, squares)
    diagonal(system.spectrum, row_weight, system.regularization[u], M)
    undetermined = False
    for j in range(width):
        if squares[j] > 0 or direct.prior[j] != 0:
            largest = max(largest, M[j])
        undetermined |= squares[j] == 0 and M[j] == 0
    ridge, trace, product = 0.0, -1.0, 0.0
    for _ in range(RIDGES):
        diagonal(system.spectrum, row_weight, system.regularization[u], M)
        for j in range(width):
            M[j] = M[j] + ridge if squares[j] > 0 or direct.prior[j] != 0 else max(largest, 1e-300)
        trace, product = solve_direct(Y, factors, indices, weights, targets, direct, M.dtype.type(FLOAT64_FLOOR))
        if trace >= 0:
            break
        ridge = max(10 * ridge, 1e-12 * largest)
    squared = 0.0
    for j in range(width):
        x[j] = solution[j] if trace >= 0 else np.nan
        squared += np.float64(solution[j]) * solution[j]
    report[FALLBACKS] += 1
    report[SINGULAR] += ridge > 0 or undetermined
    if ridge > 0:
        report[RIDGE] = max(report[RIDGE], ridge / largest)
    accept(x, row_loss(constant, product, ridge * squared), report)
    return SOLVED


@compiled_without_refcounts
def solve_rows(first, last, chosen, entries, system, X, status, scratch, report):
    """Solve the rows chosen[first:last] in place.

    Parameters
    ----------
    first, last : int
    chosen : (n,) int64 array
        Numbers of rows.
    entries, system
        Entries, System; see there for their fields.
    X : (n_rows, factors) array
        Solutions, zero for rows that are not solved (output).
    status : (n_rows,) uint8 array
        DOUBLE: solve in float64, which the scratch must be for; anything else: in the type of the scratch, that of the
        model (input). SOLVED, or DOUBLE for rows too ill-conditioned for the model's type (output).
    scratch : DirectScratch
    report : (REPORTS,) float64 array
        Loss of the rows solved (regularization included), rows sent here, rows solved in float64, those of them that
        needed a ridge or are not determined, the largest such ridge relative to the trace, rows without a finite
        solution (left zero); the other columns are zero (output).
    """
    indptr, indices, Y = entries.indptr, entries.indices, system.Y
    solved, rotated, tile = scratch.chunk
    report[:] = 0
    for start in range(first, last, CHUNK):
        end = min(start + CHUNK, last)
        for n in range(start, end):
            u, x = chosen[n], solved[n - start]
            if indptr[u] == indptr[u + 1]:
                solve_empty_row(u, entries, system, scratch.direct.M, scratch.direct.b, x, report)
                status[u] = SOLVED
                continue
            if n + 1 < last:
                following = chosen[n + 1]
                begin = indptr[following]
                prefetch(Y, indices[begin : min(indptr[following + 1], begin + GATHERED_ROWS)])
            if status[u] == DOUBLE:
                status[u] = _solve_row_in_float64(u, X.shape[1], entries, system, x, scratch, report)
            else:
                status[u] = _solve_row(u, X.shape[1], entries, system, x, scratch, report)
        multiply_chunk(solved, end - start, system.rotation, tile, 0, rotated)
        for n in range(start, end):
            for j in range(X.shape[1]):
                X[chosen[n], j] = rotated[n - start, j]


@compiled
def direct_task(task, tasks, ranges, chosen, entries, system, like, X, status):
    """Run ``solve_rows`` over the ranges chosen[bounds[c] : bounds[c + 1]], c = task, task + tasks, ...; see there.

    The systems are solved in the type of the array ``like``, for which float64 means in float64, whatever the model's.
    """
    scratch = direct_scratch_for(ranges, entries, system.Y, like)
    bounds = ranges.bounds
    for c in range(task, bounds.shape[0] - 1, tasks):
        solve_rows(bounds[c], bounds[c + 1], chosen, entries, system, X, status, scratch, ranges.reports[c])
