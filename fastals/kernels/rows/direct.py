"""Direct solution of one row of the normal equations, (diag(M) + sum_t extra_t y_t y_t') x = p + sum_t target_t y_t.

p = lambda z is what the row's features add, mostly zero. *Primal*: form the width x width matrix and factorise it.
*Dual*, for rows with fewer entries than factors: with x0 = M^-1 p, Z = extra^1/2 Y M^-1/2 and
s = (target - extra Y x0) / extra^1/2 the push-through identity gives

    x = x0 + M^-1/2 Z' z,    (I + Z Z') z = s,

exact, and count x count instead of width x width. It needs positive weights. The arithmetic is that of the scratch
arrays: float64 scratch solves a float32 model's row in float64.
"""

from typing import Any, NamedTuple

import numpy as np

from fastals.kernels.dense.blocks import add_gramian, add_rows, back_substitute, factorise, prefetch, row_gramian
from fastals.kernels.dense.memory import aligned_empty
from fastals.kernels.dense.tiles import PAD, TILE_ROWS
from fastals.kernels.jit import compiled, compiled_without_refcounts

DUAL_FLOOR = 1e7  # times the primal form's: of pivots below 1e-7 of the diagonal float64 leaves nine digits
GATHERED_ROWS = 64  # rows packed at a time: 64 x 128 float32 are a first-level cache


class Direct(NamedTuple):
    """Scratch of a direct solution, in the type in which it is calculated.

    M : (width + 32,) diagonal of the system, c0 s + lambda
    x, b : (width + 32,) solution, right-hand side
    prior : (width + 32,) p, the features' part of the right-hand side
    z : (width + 32,) solution of the factorised system
    root, right : (width + 32,) of the dual: M^-1/2, and s
    squares : (width + 32,) column sums of squares of the row's factors, to recognise columns without any
    rows : (max(width, 128), width) gathered rows
    matrix : (width, width + 32)
    diagonal : (width / 8, 8, 8) diagonal blocks of its factor
    numbers : (width + 16,) int32, from 0; the only ones that are read as they come
    """

    M: Any
    x: Any
    z: Any
    b: Any
    prior: Any
    root: Any
    right: Any
    squares: Any
    rows: Any
    matrix: Any
    diagonal: Any
    numbers: Any


@compiled
def direct_for(width, like):
    """Scratch of a thread, of the type of ``like``."""
    lines = aligned_empty(np.int64(TILE_ROWS), width + 2 * PAD, like)
    return Direct(
        lines[0],
        lines[1],
        lines[2],
        lines[3],
        lines[4],
        lines[5],
        lines[6],
        lines[7],
        aligned_empty(max(width, 2 * GATHERED_ROWS), width, like),
        aligned_empty(width, width + 2 * PAD, like),
        np.empty((width // TILE_ROWS, TILE_ROWS, TILE_ROWS), like.dtype),
        np.arange(width + PAD, dtype=np.int32),
    )


@compiled_without_refcounts
def _weighted_rows(Y, indices, weights, targets, scratch):
    """Write x0, Z and s of the dual form to ``x``, ``rows`` and ``right`` in place.

    With x = x0 + d and b' = b - A x0,  b.x = b'.d + p.x0 + sum_t (y_t.x0) (2 target_t - extra_t y_t.x0)  at the
    solution; returns all but b'.d.
    """
    M, x, root, right, Z = scratch.M, scratch.x, scratch.root, scratch.right, scratch.rows
    width, product = Y.shape[1], 0.0
    one = M.dtype.type(1)  # a float32 product would be rounded before it reaches float64 scratch
    predicted = False
    for j in range(width):
        root[j] = 1 / np.sqrt(M[j])
        x[j] = scratch.prior[j] / M[j]
        predicted |= x[j] != 0
        product += np.float64(scratch.prior[j]) * x[j]
    for t in range(indices.shape[0]):
        y, row, weight = Y[indices[t]], Z[t], np.sqrt(one * weights[t])
        for j in range(width):
            row[j] = weight * y[j] * root[j]
        right[t] = targets[t] / weight
        if predicted:
            score = 0.0
            for j in range(width):
                score += np.float64(y[j]) * x[j]
            right[t] -= weight * score
            product += score * (2 * targets[t] - weights[t] * score)
    return product


@compiled_without_refcounts
def _solve_dual(Y, indices, weights, targets, scratch, floor):
    """Dual form; returns the trace of Z Z' (negative where it could not be solved) and b.x."""
    M, x, z, b, root, right, Z = (
        scratch.M, scratch.x, scratch.z, scratch.b, scratch.root, scratch.right, scratch.rows
    )  # fmt: skip
    count, width = indices.shape[0], Y.shape[1]
    fours, size = (count + 3) // 4 * 4, (count + 7) // 8 * 8
    padded = size // 16 * 16 + 16
    product = _weighted_rows(Y, indices, weights, targets, scratch)
    for t in range(count, fours):
        right[t] = 0
        for j in range(width):
            Z[t, j] = 0
    # Rows as short as the system allows: one run of zeros to write, and neighbours in the cache.
    flat = scratch.matrix.reshape(scratch.matrix.size)[: size * padded]
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
    if not factorise(K, size, padded, floor * largest, scratch.diagonal):
        return -1.0, 0.0
    back_substitute(K, size, size, scratch.diagonal, z)
    numbers = scratch.numbers[:fours]
    for j in range(width):
        M[j] = 0  # from here on M^1/2 d
        b[j] = 0
    add_rows(Z, numbers, z[:fours], M)
    add_rows(Z, numbers, right[:fours], b)
    for j in range(width):
        product += np.float64(b[j]) * M[j]  # (M^-1/2 b').(M^1/2 d)
        x[j] += root[j] * M[j]
    return np.float64(trace), product


@compiled_without_refcounts
def _solve_primal(Y, indices, weights, targets, scratch, floor):
    """Primal form; returns the trace of M^-1 (A - M) (negative where it could not be solved) and b.x."""
    M, x, z, b, A = scratch.M, scratch.x, scratch.z, scratch.b, scratch.matrix
    width = Y.shape[1]
    Z, W = scratch.rows[:GATHERED_ROWS], scratch.rows[GATHERED_ROWS : 2 * GATHERED_ROWS]
    one = M.dtype.type(1)  # as in the dual form
    for j in range(width):
        b[j] = scratch.prior[j]
    for i in range(width):
        line = A[i, i // 16 * 16 : width + 16]  # indices that might be negative would make the loop scatter
        for j in range(line.shape[0]):
            line[j] = 0
    for first in range(0, indices.shape[0], GATHERED_ROWS):
        count = min(GATHERED_ROWS, indices.shape[0] - first)
        negative = False
        for t in range(count):
            y, row, weight = Y[indices[first + t]], Z[t], one * weights[first + t]
            negative |= weight < 0
            root = np.sqrt(abs(weight))
            value = one * targets[first + t]
            for j in range(width):
                row[j] = root * y[j]
                b[j] += value * y[j]
        # The next rows arrive while these are multiplied.
        prefetch(Y, indices[first + count : first + count + GATHERED_ROWS])
        if negative:
            for t in range(count):
                sign = -1 if weights[first + t] < 0 else 1
                for j in range(width):
                    W[t, j] = sign * Z[t, j]
            add_gramian(W, Z, count, width, A)
        else:
            add_gramian(Z, Z, count, width, A)
    trace, largest = 0.0, 0.0
    for j in range(width):
        trace += max(A[j, j], 0) / M[j]
    for j in range(width):
        A[j, j] += M[j]
        largest = max(largest, A[j, j])
        A[j, width] = b[j]
    if not factorise(A, width, width + 16, floor * largest, scratch.diagonal):
        return -1.0, 0.0
    back_substitute(A, width, width, scratch.diagonal, z)
    product = 0.0
    for j in range(width):
        x[j] = z[j]
        product += np.float64(b[j]) * x[j]
    return trace, product


@compiled_without_refcounts
def prefers_dual(count, width, factors):
    """Whether the count x count system is the cheaper one: count^2 width + count^3 / 3 against count width^2 + ...

    And safe: of more entries than ``factors`` the y_t are dependent, and x would inherit rounding errors of all of s,
    while a part of s has no influence on it.
    """
    return 4 * count <= 3 * width and count <= factors


@compiled_without_refcounts
def solve_direct(Y, factors, indices, weights, targets, scratch, floor):
    """Solve one row, for ``scratch.x[:width]`` in place.

    Parameters
    ----------
    Y : (n, width) array
        Factors of the other side, rotated to the eigenbasis; the row's are ``Y[indices]``.
    factors : int
        Their number; columns past it are zero.
    indices : (count,) array
    weights, targets : (count,) arrays
        c - c0 and c phi of each entry.
    scratch : Direct
        M and prior (input), x (output), and scratch.
    floor : scalar of the type of the scratch
        Smallest acceptable pivot relative to the largest diagonal element.

    Returns
    -------
    trace : float
        Bound on the condition number relative to M, less one; negative where the system could not be solved.
    product : float
        b.x, which the loss needs.
    """
    width, positive = Y.shape[1], True
    for j in range(width):
        positive &= scratch.M[j] > 0
    for t in range(weights.shape[0]):
        positive &= weights[t] > 0
    if positive and prefers_dual(indices.shape[0], width, factors):
        # Rows of fewer independent y_t than entries leave of I + Z Z' rounding errors where Z Z' is large: entries may
        # then be many, but A is no worse for it.
        trace, product = _solve_dual(Y, indices, weights, targets, scratch, DUAL_FLOOR * floor)
        if trace >= 0:
            return trace, product
    return _solve_primal(Y, indices, weights, targets, scratch, floor)
