"""Chosen rows of one side solved directly, in the model's type or in float64."""

import numpy as np
from numba import prange

from fastals.kernels.dense.blocks import prefetch
from fastals.kernels.dense.memory import aligned_empty
from fastals.kernels.dense.rotation import CHUNK, multiply_chunk
from fastals.kernels.dense.tiles import PAD, TILE_ROWS
from fastals.kernels.jit import compiled, compiled_bare, compiled_parallel
from fastals.kernels.rows.direct import GATHERED_ROWS, solve_direct
from fastals.kernels.rows.row import DOUBLE, FALLBACKS, REPORTS, SINGULAR, SOLVED, accept, gather_row, scratch_for

# Condition beyond which a float32 factorisation is done in float64: 1e4 x 6e-8 leaves three digits at the worst.
FLOAT32_TRACE = 1e4
FLOAT64_FLOOR = 1e-14


@compiled_bare
def _solve_in_float64(Y, indices, extra, target, spectrum, ridge, x, scratch):
    """Solve a row in float64 for x in place, whatever the model's type; returns b.x and whether a ridge was added.

    A system whose pivots vanish (no regularisation and fewer independent rows than factors) gets a ridge of 1e-12 of
    the trace, more where that is not enough, so that the row is the regularised limit and not garbage. Columns in which
    the row's y_t are all zero, such as those past ``factors``, get zero whatever stands on the diagonal, but compared
    with it pivots might seem to vanish: it is the trace for them.
    """
    width = Y.shape[1]
    solution, M, squares = scratch[0][4, :width], scratch[0][5, :width], scratch[0][6, :width]
    squares[:] = 0
    largest = 0.0
    for t in range(indices.shape[0]):
        y = Y[indices[t]]
        squared = 0.0
        for j in range(width):
            square = np.float64(y[j]) * y[j]
            squares[j] += square
            squared += square
        largest += abs(extra[t]) * squared
    undetermined = False
    for j in range(width):
        if squares[j] > 0:
            largest = max(largest, spectrum[j] + ridge)
        undetermined |= squares[j] == 0 and spectrum[j] + ridge == 0
    added, trace, product = 0.0, -1.0, 0.0
    for _ in range(8):
        for j in range(width):
            M[j] = spectrum[j] + ridge + added if squares[j] > 0 else max(largest, 1e-300)
        trace, product = solve_direct(Y, indices, extra, target, M, solution, scratch, FLOAT64_FLOOR)
        if trace >= 0:
            break
        added = max(10 * added, 1e-12 * largest)
    for j in range(width):
        x[j] = solution[j] if trace >= 0 else np.nan
    return product, added > 0 or undetermined


@compiled
def direct_scratch_for(width, like):
    """Scratch of a thread for ``solve_direct``, in the type in which it is to calculate.

    Returns
    -------
    tuple
        (8, width + 32) vectors, (max(width, 128), width) gathered rows, (width, width + 32) matrix, (width / 8, 8, 8)
        diagonal blocks, int32 numbers from 0.
    """
    blocks = width // TILE_ROWS
    return (
        aligned_empty(8, width + 2 * PAD, like),
        aligned_empty(max(width, 2 * GATHERED_ROWS), width, like),
        aligned_empty(width, width + 2 * PAD, like),
        np.empty((blocks, TILE_ROWS, TILE_ROWS), like.dtype),
        np.arange(width + PAD, dtype=np.int32),
    )


@compiled_bare
def _fetch_next(n, last, chosen, rows, Y):
    """Fetch what the row after ``chosen[n]`` reads first."""
    if n + 1 < last:
        start, end = rows[0][chosen[n + 1]], rows[0][chosen[n + 1] + 1]
        prefetch(Y, rows[1][start : min(end, start + GATHERED_ROWS)])


@compiled_bare
def _return_chunk(chosen, start, end, solved, rotation, tile, rotated, X):
    """Rotate the solutions of the rows chosen[start:end] back, and write them to X in place."""
    multiply_chunk(solved, end - start, rotation, tile, 0, rotated)
    for n in range(start, end):
        for j in range(X.shape[1]):
            X[chosen[n], j] = rotated[n - start, j]


@compiled_bare
def solve_rows(
    first, last, chosen, rows, Y, spectrum, regularization, rotation, X, offset, scratch, direct_scratch, rotated, left,
    report,
):  # fmt: skip
    """Solve the rows chosen[first:last] in the model's type, in place; of ``left``, rows ill-conditioned get DOUBLE.

    Parameters are those of ``iterate_rows``; ``direct_scratch`` is that of ``direct_scratch_for``, and ``rotated``
    (CHUNK, width) is scratch.
    """
    indptr = rows[0]
    vectors, padded, values, one_constant, solved, tile = scratch
    width = Y.shape[1]
    for column in range(REPORTS):
        report[column] = 0
    for start in range(first, last, CHUNK):
        end = min(start + CHUNK, last)
        for n in range(start, end):
            u, x = chosen[n], solved[n - start]
            count = indptr[u + 1] - indptr[u]
            x[:] = 0
            left[u] = SOLVED
            if count == 0:
                continue
            _fetch_next(n, last, chosen, rows, Y)
            constant, _ = gather_row(rows, u, offset, one_constant[0], padded, values)
            M = vectors[6, :width]
            for j in range(width):
                M[j] = spectrum[j] + regularization[u]
            row, extra, target = padded[:count], values[0, :count], values[1, :count]
            trace, product = solve_direct(Y, row, extra, target, M, x, direct_scratch, offset * 0)
            if 0 <= trace <= FLOAT32_TRACE:
                accept(x, constant - product, report)
            else:
                left[u] = DOUBLE
                x[:] = 0
        _return_chunk(chosen, start, end, solved, rotation, tile, rotated, X)


@compiled_bare
def solve_rows_in_float64(
    first, last, chosen, rows, Y, spectrum, regularization, rotation, X, offset, scratch, direct_scratch, rotated,
    report,
):  # fmt: skip
    """Solve the rows chosen[first:last] in float64, in place; none of them is empty.

    Parameters are those of ``solve_rows``, with ``direct_scratch`` in float64. ``report`` has the rows solved, and how
    many of them needed a ridge or are not determined, besides their loss and those without a finite solution.
    """
    indptr = rows[0]
    _, padded, values, one_constant, solved, tile = scratch
    for column in range(REPORTS):
        report[column] = 0
    for start in range(first, last, CHUNK):
        end = min(start + CHUNK, last)
        for n in range(start, end):
            u, x = chosen[n], solved[n - start]
            count = indptr[u + 1] - indptr[u]
            constant, _ = gather_row(rows, u, offset, one_constant[0], padded, values)
            row, extra, target = padded[:count], values[0, :count], values[1, :count]
            product, ridged = _solve_in_float64(Y, row, extra, target, spectrum, regularization[u], x, direct_scratch)
            report[FALLBACKS] += 1
            report[SINGULAR] += ridged
            accept(x, constant - product, report)
        _return_chunk(chosen, start, end, solved, rotation, tile, rotated, X)


@compiled
def _longest(chosen, first, last, indptr):
    """Number of entries of the longest of the rows chosen[first:last]."""
    longest = 0
    for n in range(first, last):
        longest = max(longest, indptr[chosen[n] + 1] - indptr[chosen[n]])
    return longest


@compiled_parallel
def direct_rows(tasks, bounds, chosen, rows, Y, spectrum, regularization, rotation, X, offset, left, reports):
    """Run ``solve_rows`` over the ranges chosen[bounds[c] : bounds[c + 1]] in parallel; see there.

    Task t takes the ranges t, t + tasks, ..., so that each has its share of long and of short rows.
    """
    for task in prange(tasks):
        longest = _longest(chosen, bounds[0], bounds[-1], rows[0])
        scratch, direct_scratch = scratch_for(Y.shape[1], longest, rows, offset, Y), direct_scratch_for(Y.shape[1], Y)
        rotated = np.empty((CHUNK, Y.shape[1]), Y.dtype)
        for c in range(task, bounds.shape[0] - 1, tasks):
            solve_rows(
                bounds[c], bounds[c + 1], chosen, rows, Y, spectrum, regularization, rotation, X, offset, scratch,
                direct_scratch, rotated, left, reports[c],
            )  # fmt: skip


@compiled_parallel
def rows_in_float64(tasks, bounds, chosen, rows, Y, spectrum, regularization, rotation, X, offset, reports):
    """Run ``solve_rows_in_float64`` over the ranges chosen[bounds[c] : bounds[c + 1]] in parallel, as `direct_rows`."""
    for task in prange(tasks):
        longest = _longest(chosen, bounds[0], bounds[-1], rows[0])
        scratch = scratch_for(Y.shape[1], longest, rows, offset, Y)
        direct_scratch = direct_scratch_for(Y.shape[1], spectrum)
        rotated = np.empty((CHUNK, Y.shape[1]), Y.dtype)
        for c in range(task, bounds.shape[0] - 1, tasks):
            solve_rows_in_float64(
                bounds[c], bounds[c + 1], chosen, rows, Y, spectrum, regularization, rotation, X, offset, scratch,
                direct_scratch, rotated, reports[c],
            )  # fmt: skip
