"""A half-sweep by conjugate gradients: every row of one side solved against the fixed factors of the other.

Rows that are better solved directly are left to ``direct_rows``, whose compilation most fits never need.
"""

import numpy as np
from numba import prange

from fastals.kernels.dense.blocks import add_rows, add_system, prefetch
from fastals.kernels.dense.rotation import CHUNK, multiply_chunk
from fastals.kernels.jit import compiled_bare, compiled_parallel
from fastals.kernels.rows.conjugate_gradient import conjugate_gradient
from fastals.kernels.rows.row import DIRECT, DOUBLE, ITERATED, REPORTS, SOLVED, STEPS, accept, gather_row, scratch_for

# c_max / c0 beyond which a residual says little about the error, and conjugate gradients take too many steps.
HEAVY = 1e3
PREFETCHED_ROWS = 16  # of the next row: more compete with the present one's loads (measured)


@compiled_bare
def _start(Y, row, values, M, x, vectors, warm):
    """Right-hand side b, and the residual b - A x of where the iteration starts: x, if ``warm``, or zero.

    ``vectors`` receives the residual in row 0 and b in row 7; x becomes zero where the loss is less there. Returns
    x.(b + r), by which the loss at x is less than at zero.
    """
    width = Y.shape[1]
    r, q, b = vectors[0, :width], vectors[2, :width], vectors[7, :width]
    energy = x[0] * 0
    for j in range(width):
        b[j] = 0
    if warm:
        for j in range(width):
            q[j] = M[j] * x[j]
        add_system(Y, row, values[0, : row.shape[0]], values[1, : row.shape[0]], x, q, b)
        for j in range(width):
            r[j] = b[j] - q[j]
            energy += x[j] * (b[j] + r[j])
    else:
        add_rows(Y, row, values[1, : row.shape[0]], b)
    if energy > 0:  # nor NaN
        return energy
    for j in range(width):
        x[j] = 0
        r[j] = b[j]
    return x[0]


@compiled_bare
def _iterate(Y, row, values, M, x, vectors, tolerance, max_steps, warm):
    """Right-hand side and conjugate gradients; returns the steps (-1: not converged), b.x and x.(b - Ax)."""
    width = Y.shape[1]
    b, residual = vectors[7, :width], vectors[0]
    energy = _start(Y, row, values, M, x, vectors, warm)
    steps = conjugate_gradient(Y, row, values[0, : row.shape[0]], M, b, x, energy, vectors, tolerance, max_steps)
    product, remainder = 0.0, 0.0
    for j in range(width):
        product += np.float64(b[j]) * x[j]
        remainder += np.float64(residual[j]) * x[j]
    return steps, product, remainder


@compiled_bare
def _iterate_row(u, rows, Y, spectrum, regularization, settings, x, warm, scratch, report):
    """Solve row u for x in place and add to ``report``; returns what is to become of it, with x zero if anything."""
    offset, unobserved_weight, tolerance, max_steps, _ = settings
    vectors, padded, values, one_constant = scratch[0], scratch[1], scratch[2], scratch[3][0]
    count, width = rows[0][u + 1] - rows[0][u], Y.shape[1]
    constant, largest = gather_row(rows, u, offset, one_constant, padded, values)
    if not largest <= HEAVY * unobserved_weight:
        x[:] = 0
        return DIRECT
    M, fours = vectors[6, :width], padded[: (count + 3) // 4 * 4]
    for j in range(width):
        M[j] = spectrum[j] + regularization
    steps, product, remainder = _iterate(Y, fours, values, M, x, vectors, tolerance, max_steps, warm)
    if steps < 0:
        x[:] = 0
        return DOUBLE
    report[STEPS] += steps
    report[ITERATED] += 1
    accept(x, constant - product - remainder, report)
    return SOLVED


@compiled_bare
def iterate_rows(first, last, rows, Y, spectrum, regularization, rotation, X, settings, scratch, left, report):
    """Solve rows first .. last in place.

    Parameters
    ----------
    rows : tuple (indptr, indices, extra, preference)
        CSR structure and the values of its entries, c - c0 and phi; arrays of one element stand for equal values.
    Y : (n, width) array
        Factors of the other side in the eigenbasis of their Gramian, zeros past ``factors``.
    spectrum : (width,) float64 array
        c0 times the eigenvalues of the Gramian; ones past ``factors``.
    regularization : (n_rows,) float64 array
        lambda of each row.
    rotation : (panels, width, PANEL) array
        Transposed eigenvectors, back to the basis of ``X``, in panels of columns; see ``multiply_chunk``.
    X : (n_rows, factors) array
        Where rows of at least ``least`` entries start, in the eigenbasis; the others start from zero (input).
        Solutions (output).
    settings : tuple (offset, unobserved_weight, tolerance, max_steps, least)
        c = extra + offset in the target; c0; see ``conjugate_gradient``.
    scratch : tuple of arrays
        See ``scratch_for``.
    left : (n_rows,) uint8 array
        SOLVED, or how each row is still to be solved, its X zero until then (output).
    report : (REPORTS,) float64 array
        Loss of the rows solved (regularisation included), steps, rows iterated, two zeros, rows without a finite
        solution (left zero) (output).
    """
    indptr, indices = rows[0], rows[1]
    solved, tile, least = scratch[4], scratch[5], settings[4]
    for column in range(REPORTS):
        report[column] = 0
    for start in range(first, last, CHUNK):
        end = min(start + CHUNK, last)
        for u in range(start, end):
            x = solved[u - start]
            if indptr[u] == indptr[u + 1]:
                x[:] = 0
                left[u] = SOLVED
                continue
            if u + 1 < last:
                following = min(indptr[u + 2] - indptr[u + 1], PREFETCHED_ROWS)
                prefetch(Y, indices[indptr[u + 1] : indptr[u + 1] + following])
            warm = indptr[u + 1] - indptr[u] >= least
            if warm:
                for j in range(X.shape[1]):
                    x[j] = X[u, j]
                for j in range(X.shape[1], x.shape[0]):
                    x[j] = 0
            left[u] = _iterate_row(u, rows, Y, spectrum, regularization[u], settings, x, warm, scratch, report)
        multiply_chunk(solved, end - start, rotation, tile, start, X)


@compiled_parallel
def half_sweep(tasks, bounds, rows, Y, spectrum, regularization, rotation, X, settings, left, reports):
    """Run ``iterate_rows`` over the ranges bounds[c] .. bounds[c + 1] in parallel; see there.

    Task t takes the ranges t, t + tasks, ..., so that each has its share of long and of short rows.
    """
    indptr = rows[0]
    for task in prange(tasks):
        longest = indptr[0]
        for u in range(bounds[0], bounds[-1]):
            longest = max(longest, indptr[u + 1] - indptr[u])
        scratch = scratch_for(Y.shape[1], longest, rows, settings[0], Y)
        for c in range(task, bounds.shape[0] - 1, tasks):
            iterate_rows(
                bounds[c], bounds[c + 1], rows, Y, spectrum, regularization, rotation, X, settings, scratch, left,
                reports[c],
            )  # fmt: skip
