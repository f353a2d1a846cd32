"""Direct solution of one row of the normal equations, (diag(M) + sum_t extra_t y_t y_t') x = sum_t target_t y_t.

*Primal*: form the width x width matrix and factorise it. *Dual*, for rows with fewer entries than factors: with
Z = extra^1/2 Y M^-1/2 and s = target / extra^1/2 the push-through identity gives

    x = M^-1/2 Z' z,    (I + Z Z') z = s,

exact, and count x count instead of width x width. It needs positive weights. The arithmetic is that of the scratch
arrays: float64 scratch solves a float32 model's row in float64.
"""

import numpy as np

from fastals.kernels.blocks import add_gramian, back_substitute, factorise, row_gramian
from fastals.kernels.jit import compiled

GATHERED_ROWS = 32  # rows packed at a time: twice 32 x 128 float32 are two thirds of a first-level cache


@compiled
def _solve_dual(Y, indices, extra, target, M, x, vectors, Z, K, diagonal):
    """Dual form; returns the trace of Z Z' (negative where it could not be solved) and b.x."""
    count, width = indices.shape[0], Y.shape[1]
    size = (count + 7) // 8 * 8
    padded = size // 16 * 16 + 16
    root, z, right, b = vectors[0], vectors[1], vectors[2], vectors[3]
    for j in range(width):
        root[j] = 1 / np.sqrt(M[j])
        x[j] = 0
        b[j] = 0
    for t in range(count):
        y, row, weight = Y[indices[t]], Z[t], np.sqrt(extra[t])
        for j in range(width):
            row[j] = weight * y[j] * root[j]
        right[t] = target[t] / weight
    even = (count + 3) // 4 * 4
    Z[count:even, :width] = 0
    row_gramian(Z, even, width, K)
    trace = M[0] * 0
    for i in range(count):
        trace += K[i, i]
        K[i, i] += 1
        K[i, count:padded] = 0
        K[i, size] = right[i]
    for i in range(count, size):
        K[i, i:padded] = 0
        K[i, i] = 1
    if not factorise(K, size, padded, trace * 0, diagonal):
        return -1.0, 0.0
    back_substitute(K, size, size, diagonal, z)
    for t in range(count):
        row = Z[t]
        for j in range(width):
            x[j] += z[t] * row[j]
            b[j] += right[t] * row[j]
    product = 0.0
    for j in range(width):
        product += np.float64(b[j]) * x[j]  # (M^-1/2 b).(M^1/2 x)
        x[j] *= root[j]
    return np.float64(trace), product


@compiled
def _solve_primal(Y, indices, extra, target, M, x, vectors, Z, A, diagonal, floor):
    """Primal form; returns the trace of M^-1 (A - M) (negative where it could not be solved) and b.x."""
    width = Y.shape[1]
    W, Z = Z[:GATHERED_ROWS], Z[GATHERED_ROWS:]
    b = vectors[0]
    b[:width] = 0
    for i in range(width):
        A[i, i // 16 * 16 :] = 0
    for first in range(0, indices.shape[0], GATHERED_ROWS):
        count = min(GATHERED_ROWS, indices.shape[0] - first)
        for t in range(count):
            y, plain, weighted = Y[indices[first + t]], Z[t], W[t]
            weight, value = extra[first + t], target[first + t]
            for j in range(width):
                plain[j] = y[j]
                weighted[j] = weight * plain[j]
                b[j] += value * plain[j]
        add_gramian(W, Z, count, width, A)
    trace, largest = 0.0, 0.0
    for j in range(width):
        trace += max(A[j, j], 0) / M[j]
        A[j, j] += M[j]
        largest = max(largest, A[j, j])
        A[j, width] = b[j]
    if not factorise(A, width, width + 16, floor * largest, diagonal):
        return -1.0, 0.0
    back_substitute(A, width, width, diagonal, x)
    product = 0.0
    for j in range(width):
        product += np.float64(b[j]) * x[j]
    return trace, product


@compiled
def prefers_dual(count, width):
    """Whether the count x count system is the cheaper one: count^2 width + count^3 / 3 against count width^2 + ..."""
    return 4 * count <= 3 * width


@compiled
def solve_direct(Y, indices, extra, target, M, x, vectors, Z, A, diagonal, floor):
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
    vectors, Z, A, diagonal : arrays
        Scratch of the type in which to calculate: (4 or more, width + 16), (max(width, 64), width),
        (width, width + 32) and (width / 8, 8, 8).
    floor : scalar
        Smallest acceptable pivot relative to the largest diagonal element.

    Returns
    -------
    trace : float
        Bound on the condition number relative to M, less one; negative where the system could not be solved.
    product : float
        b.x, which the loss needs.
    """
    positive = M.min() > 0
    for t in range(extra.shape[0]):
        positive &= extra[t] > 0
    if positive and prefers_dual(indices.shape[0], Y.shape[1]):
        return _solve_dual(Y, indices, extra, target, M, x, vectors, Z, A, diagonal)
    return _solve_primal(Y, indices, extra, target, M, x, vectors, Z, A, diagonal, floor)
