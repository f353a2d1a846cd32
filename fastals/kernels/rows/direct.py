"""Direct solution of one row of the normal equations, (diag(M) + sum_t extra_t y_t y_t') x = sum_t target_t y_t.

*Primal*: form the width x width matrix and factorise it. *Dual*, for rows with fewer entries than factors: with
Z = extra^1/2 Y M^-1/2 and s = target / extra^1/2 the push-through identity gives

    x = M^-1/2 Z' z,    (I + Z Z') z = s,

exact, and count x count instead of width x width. It needs positive weights. The arithmetic is that of the scratch
arrays: float64 scratch solves a float32 model's row in float64.
"""

import numpy as np

from fastals.kernels.dense.blocks import add_gramian, add_rows, back_substitute, factorise, prefetch, row_gramian
from fastals.kernels.jit import compiled_bare

DUAL_FLOOR = 1e7  # times the primal form's: of pivots below 1e-7 of the diagonal float64 leaves nine digits
GATHERED_ROWS = 64  # rows packed at a time: 64 x 128 float32 are a first-level cache


@compiled_bare
def _solve_dual(Y, indices, extra, target, M, x, scratch, floor):
    """Dual form; returns the trace of Z Z' (negative where it could not be solved) and b.x."""
    vectors, Z, matrix, diagonal, counting = scratch
    count, width = indices.shape[0], Y.shape[1]
    fours, size = (count + 3) // 4 * 4, (count + 7) // 8 * 8
    padded = size // 16 * 16 + 16
    one = M.dtype.type(1)  # a float32 product would be rounded before it reaches float64 scratch
    root, z, right, b = vectors[0], vectors[1], vectors[2], vectors[3, :width]
    for j in range(width):
        root[j] = 1 / np.sqrt(M[j])
        x[j] = 0
        b[j] = 0
    for t in range(count):
        y, row, weight = Y[indices[t]], Z[t], np.sqrt(one * extra[t])
        for j in range(width):
            row[j] = weight * y[j] * root[j]
        right[t] = target[t] / weight
    for t in range(count, fours):
        right[t] = 0
        for j in range(width):
            Z[t, j] = 0
    # Rows as short as the system allows: one run of zeros to write, and neighbours in the cache.
    flat = matrix.reshape(matrix.size)[: size * padded]
    for i in range(size * padded):
        flat[i] = 0
    K = flat.reshape(size, padded)
    row_gramian(Z, fours, width, K)
    trace, largest = M[0] * 0, M[0] * 0
    for i in range(count):
        trace += K[i, i]
        K[i, i] += 1
        largest = max(largest, K[i, i])
        K[i, size] = right[i]
    for i in range(count, size):
        K[i, i] = 1
    if not factorise(K, size, padded, floor * largest, diagonal):
        return -1.0, 0.0
    back_substitute(K, size, size, diagonal, z)
    rows = counting[:fours]
    add_rows(Z, rows, z[:fours], x)
    add_rows(Z, rows, right[:fours], b)
    product = 0.0
    for j in range(width):
        product += np.float64(b[j]) * x[j]  # (M^-1/2 b).(M^1/2 x)
        x[j] *= root[j]
    return np.float64(trace), product


@compiled_bare
def _solve_primal(Y, indices, extra, target, M, x, scratch, floor):
    """Primal form; returns the trace of M^-1 (A - M) (negative where it could not be solved) and b.x."""
    vectors, Z, A, diagonal, _ = scratch
    width = Y.shape[1]
    Z, W = Z[:GATHERED_ROWS], Z[GATHERED_ROWS : 2 * GATHERED_ROWS]
    b, solution = vectors[0], vectors[1]
    one = M.dtype.type(1)  # as in the dual form
    for j in range(width):
        b[j] = 0
    for i in range(width):
        for j in range(i // 16 * 16, width + 16):
            A[i, j] = 0
    for first in range(0, indices.shape[0], GATHERED_ROWS):
        count = min(GATHERED_ROWS, indices.shape[0] - first)
        negative = False
        for t in range(count):
            y, row, weight = Y[indices[first + t]], Z[t], one * extra[first + t]
            negative |= weight < 0
            root = np.sqrt(abs(weight))
            value = one * target[first + t]
            for j in range(width):
                row[j] = root * y[j]
                b[j] += value * y[j]
        # The next rows arrive while these are multiplied.
        prefetch(Y, indices[first + count : first + count + GATHERED_ROWS])
        if negative:
            for t in range(count):
                sign = -1 if extra[first + t] < 0 else 1
                for j in range(width):
                    W[t, j] = sign * Z[t, j]
            add_gramian(W, Z, count, width, A)
        else:
            add_gramian(Z, Z, count, width, A)
    trace, largest = 0.0, 0.0
    for j in range(width):
        trace += max(A[j, j], 0) / M[j]
        A[j, j] += M[j]
        largest = max(largest, A[j, j])
        A[j, width] = b[j]
    if not factorise(A, width, width + 16, floor * largest, diagonal):
        return -1.0, 0.0
    back_substitute(A, width, width, diagonal, solution)
    product = 0.0
    for j in range(width):
        x[j] = solution[j]
        product += np.float64(b[j]) * x[j]
    return trace, product


@compiled_bare
def prefers_dual(count, width):
    """Whether the count x count system is the cheaper one: count^2 width + count^3 / 3 against count width^2 + ..."""
    return 4 * count <= 3 * width


@compiled_bare
def solve_direct(Y, indices, extra, target, M, x, scratch, floor):
    """Solve one row for x in place.

    Parameters
    ----------
    Y : (n, width) array
        Factors of the other side, rotated to the eigenbasis; the row's are ``Y[indices]``.
    extra, target : (count,) arrays
        c - c0 and c phi of each entry.
    M : (width,) array
        Diagonal c0 s + lambda.
    x : (width,) array
        Solution (output).
    scratch : tuple of arrays
        See ``direct_rows.direct_scratch_for``; its type is that in which to calculate.
    floor : scalar
        Smallest acceptable pivot relative to the largest diagonal element.

    Returns
    -------
    trace : float
        Bound on the condition number relative to M, less one; negative where the system could not be solved.
    product : float
        b.x, which the loss needs.
    """
    positive = True
    for j in range(M.shape[0]):
        positive &= M[j] > 0
    for t in range(extra.shape[0]):
        positive &= extra[t] > 0
    if positive and prefers_dual(indices.shape[0], Y.shape[1]):
        # Rows of fewer independent y_t than entries leave of I + Z Z' rounding errors where Z Z' is large: entries may
        # then be many, but A is no worse for it.
        trace, product = _solve_dual(Y, indices, extra, target, M, x, scratch, DUAL_FLOOR * floor)
        if trace >= 0:
            return trace, product
    return _solve_primal(Y, indices, extra, target, M, x, scratch, floor)
