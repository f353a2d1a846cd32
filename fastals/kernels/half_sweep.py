"""One half-sweep: every row of one side solved against the fixed factors of the other."""

import numpy as np
from numba import prange

from fastals.kernels.blocks import add_rows, multiply_block
from fastals.kernels.conjugate_gradient import conjugate_gradient
from fastals.kernels.direct import GATHERED_ROWS, solve_direct
from fastals.kernels.jit import compiled, compiled_parallel
from fastals.kernels.vector import TILE_ROWS

# What a range of rows reports, one column each.
LOSS, STEPS, ITERATED, FALLBACKS, SINGULAR, FAILED, REPORTS = 0, 1, 2, 3, 4, 5, 6
# Condition beyond which a float32 factorisation is done in float64: 1e4 x 6e-8 leaves three digits at the worst.
FLOAT32_TRACE = 1e4
FLOAT64_FLOOR = 1e-14


@compiled
def _solve_in_float64(Y, indices, extra, target, spectrum, ridge, x, vectors, Z, A, diagonal):
    """Solve a row in float64 for x in place, whatever the model's type; returns b.x and whether a ridge was added.

    A system whose pivots vanish (no regularisation and fewer independent rows than factors) gets a ridge of 1e-12 of
    the trace, more where that is not enough, so that the row is the regularised limit and not garbage.
    """
    width = Y.shape[1]
    solution, M = vectors[4, :width], vectors[5, :width]
    largest = 0.0
    for t in range(indices.shape[0]):
        y = Y[indices[t]]
        squared = 0.0
        for j in range(width):
            squared += np.float64(y[j]) * y[j]
        largest += abs(extra[t]) * squared
    largest = max(largest, spectrum[:width].max() + ridge)
    added, product = 0.0, 0.0
    for _ in range(8):
        for j in range(width):
            M[j] = spectrum[j] + ridge + added
        trace, product = solve_direct(Y, indices, extra, target, M, solution, vectors, Z, A, diagonal, FLOAT64_FLOOR)
        if trace >= 0 or largest == 0:
            break
        added = max(10 * added, 1e-12 * largest)
    for j in range(width):
        x[j] = solution[j]
    return product, added > 0 or largest == 0


@compiled
def _weigh_entries(first, last, extra, preference, offset, weights, targets):
    """Write c - c0 and c phi of the entries first .. last to ``weights`` and ``targets`` in place.

    Arrays of one element stand for equal values throughout. Returns sum_t target_t phi_t, the row's constant in the
    loss.
    """
    one_extra, one_preference = extra.shape[0] == 1, preference.shape[0] == 1
    constant = 0.0
    for t in range(first, last):
        weight = extra[0 if one_extra else t]
        phi = preference[0 if one_preference else t]
        weights[t - first] = weight
        targets[t - first] = (weight + offset) * phi
        constant += np.float64((weight + offset) * phi) * phi
    return constant


@compiled
def solve_rows(first, last, rows, Y, spectrum, regularization, rotation, X, settings, report):
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
    rotation : (width, width) array
        Transposed eigenvectors, back to the basis of ``X``.
    X : (n_rows, factors) array
        Solutions (output).
    settings : tuple (offset, iterate, tolerance, max_steps)
        c = extra + offset in the target; whether to iterate; see ``conjugate_gradient``.
    report : (REPORTS,) float64 array
        Loss of the rows (regularisation included), steps, rows iterated, rows that fell back to float64, rows that
        needed a ridge, rows without a finite solution (left zero) (output).
    """
    indptr, indices, extra, preference = rows
    offset, iterate, tolerance, max_steps = settings
    width, factors = Y.shape[1], X.shape[1]
    longest = 0
    for u in range(first, last):
        longest = max(longest, indptr[u + 1] - indptr[u])
    values = np.empty((2, longest), Y.dtype)
    vectors = np.empty((8, width + 16), Y.dtype)
    M, b = vectors[6, :width], vectors[7, :width]
    solved, rotated = np.empty((TILE_ROWS, width), Y.dtype), np.empty((TILE_ROWS, width), Y.dtype)
    Z = np.empty((max(width, 2 * GATHERED_ROWS), width), Y.dtype)
    A = np.empty((width, width + 32), Y.dtype)
    diagonal = np.empty((width // TILE_ROWS, TILE_ROWS, TILE_ROWS), Y.dtype)
    vectors64, Z64 = np.empty((6, width + 16)), np.empty(Z.shape)
    A64, diagonal64 = np.empty(A.shape), np.empty(diagonal.shape)
    report[:] = 0
    for block in range(first, last, TILE_ROWS):
        end = min(block + TILE_ROWS, last)
        for u in range(block, end):
            x = solved[u - block]
            start, stop = indptr[u], indptr[u + 1]
            if start == stop:
                x[:] = 0
                continue
            weights, targets = values[0, : stop - start], values[1, : stop - start]
            constant = _weigh_entries(start, stop, extra, preference, offset, weights, targets)
            row = indices[start:stop]
            for j in range(width):
                M[j] = spectrum[j] + regularization[u]
            solved_by, product, remainder = -1, 0.0, 0.0
            if iterate:
                b[:] = 0
                add_rows(Y, row, targets, b)
                solved_by = conjugate_gradient(Y, row, weights, M, b, x, vectors, tolerance, max_steps)
                if solved_by >= 0:
                    report[STEPS] += solved_by
                    report[ITERATED] += 1
                    residual = vectors[0]
                    for j in range(width):
                        product += np.float64(b[j]) * x[j]
                        remainder += np.float64(residual[j]) * x[j]
            else:
                trace, product = solve_direct(Y, row, weights, targets, M, x, vectors, Z, A, diagonal, 0.0)
                if 0 <= trace <= FLOAT32_TRACE:
                    solved_by = 0
            if solved_by < 0:
                product, ridged = _solve_in_float64(
                    Y, row, weights, targets, spectrum, regularization[u], x, vectors64, Z64, A64, diagonal64
                )
                report[FALLBACKS] += 1
                report[SINGULAR] += ridged
            finite = np.float64(0)
            for j in range(width):
                finite += x[j] * 0
            if finite != 0:
                x[:] = 0
                report[FAILED] += 1
            report[LOSS] += constant - product - remainder
        multiply_block(solved, 0, width, rotation, rotated)
        for u in range(block, end):
            for j in range(factors):
                X[u, j] = rotated[u - block, j]


@compiled_parallel
def half_sweep(bounds, rows, Y, spectrum, regularization, rotation, X, settings, reports):
    """Run ``solve_rows`` over the ranges bounds[c] .. bounds[c + 1] in parallel; see there."""
    for c in prange(bounds.shape[0] - 1):
        solve_rows(bounds[c], bounds[c + 1], rows, Y, spectrum, regularization, rotation, X, settings, reports[c])
