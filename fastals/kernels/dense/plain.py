"""The functions of ``tiled`` as plain loops: their definition, and what runs without compilation."""

import numpy as np

from fastals.kernels.dense.tiles import TILE_ROWS
from fastals.kernels.jit import compiled_without_refcounts


@compiled_without_refcounts
def add_products(Y, indices, weights, p, q):
    """Add sum_t weights_t (y_t . p) y_t to q in place, over the rows y_t = Y[indices[t]].

    Returns sum_t weights_t (y_t . p)^2.
    """
    curvature = p[0] * 0
    for t in range(indices.shape[0]):
        y = Y[indices[t]]
        dot = y[0] * p[0]
        for j in range(1, Y.shape[1]):
            dot += y[j] * p[j]
        curvature += weights[t] * dot * dot
        dot *= weights[t]
        for j in range(Y.shape[1]):
            q[j] += dot * y[j]
    return curvature


@compiled_without_refcounts
def add_rows(Y, indices, weights, q):
    """Add sum_t weights_t y_t to q in place, over the rows y_t = Y[indices[t]]."""
    for t in range(indices.shape[0]):
        y, weight = Y[indices[t]], weights[t]
        for j in range(Y.shape[1]):
            q[j] += weight * y[j]


@compiled_without_refcounts
def add_system(Y, indices, weights, targets, x, q, b):
    """Add sum_t weights_t (y_t . x) y_t to q and sum_t targets_t y_t to b in place, over y_t = Y[indices[t]]."""
    add_products(Y, indices, weights, x, q)
    add_rows(Y, indices, targets, b)


@compiled_without_refcounts
def prefetch(Y, indices):
    """Nothing to do: the compiled twin fetches the rows ``Y[indices]`` into the caches."""


@compiled_without_refcounts
def multiply_block(X, first, begin, end, B, out, place):
    """Write X[first : first + 8, begin:end] B[begin:end] to ``out`` in place, from element ``place`` on."""
    top, left = place // out.shape[1], place % out.shape[1]
    for m in range(TILE_ROWS):
        row = out[top + m, left : left + B.shape[1]]
        row[:] = 0
        for t in range(begin, end):
            value = X[first + m, t]
            for j in range(B.shape[1]):
                row[j] += value * B[t, j]


@compiled_without_refcounts
def add_gramian(W, Z, steps, size, A):
    """Add the upper triangle of W'Z, summed over the first ``steps`` rows, to A[:size, :size] in place."""
    for t in range(steps):
        for i in range(size):
            value = W[t, i]
            for j in range(i, size):
                A[i, j] += value * Z[t, j]


@compiled_without_refcounts
def add_product(W, Z, steps, rows, columns, A):
    """Add W'Z, summed over the first ``steps`` rows, to A[:rows, :columns] in place."""
    for t in range(steps):
        for i in range(rows):
            value = W[t, i]
            for j in range(columns):
                A[i, j] += value * Z[t, j]


@compiled_without_refcounts
def row_gramian(Z, count, length, K):
    """Write the upper triangle of Z Z', over the first ``length`` columns, to K[:count, :count] in place."""
    for i in range(count):
        for j in range(i, count):
            dot = Z[i, 0] * Z[j, 0]
            for t in range(1, length):
                dot += Z[i, t] * Z[j, t]
            K[i, j] = dot


@compiled_without_refcounts
def factorise(A, size, width, floor, diagonal):
    """Cholesky A = U'U of the upper triangle in place, and U'^-1 applied to the columns past ``size``.

    ``diagonal`` (size / 8, 8, 8) receives the diagonal blocks of U, with inverse pivots. Returns whether every pivot
    exceeded ``floor``.
    """
    for b in range(size):
        for j in range(b, width):
            for t in range(b):
                A[b, j] -= A[t, b] * A[t, j]
        if not A[b, b] > floor:
            return False
        inverse = 1 / np.sqrt(A[b, b])
        for j in range(b, width):
            A[b, j] *= inverse
        block = diagonal[b // 8]
        block[b % 8, b % 8] = inverse
        for j in range(b + 1, (b // 8 + 1) * 8):
            block[b % 8, j % 8] = A[b, j]
    return True


@compiled_without_refcounts
def subtract_rank_two(A, size, v, w, x, products):
    """Subtract v w' + w v' from the lower triangle of A[:size, :size] in place; add what is left, times x, to products.

    A is symmetric.
    """
    for i in range(size):
        for j in range(i + 1):
            A[i, j] -= v[i] * w[j] + w[i] * v[j]
            products[i] += A[i, j] * x[j]
            if j < i:
                products[j] += A[i, j] * x[i]


@compiled_without_refcounts
def back_substitute(A, size, column, diagonal, x):
    """Solve U x = A[:size, column] for x[:size] in place, after ``factorise``."""
    for b in range(size - 1, -1, -1):
        total = A[b, column]
        for s in range(b + 1, size):
            total -= A[b, s] * x[s]
        x[b] = total * diagonal[b // 8, b % 8, b % 8]
