"""Dense building blocks of the row solvers, driven over register tiles (see ``vector``).

All matrices are C-contiguous with row lengths that are multiples of ``PAD``; what lies past the used part is zero.
``plain`` holds the same functions as plain loops; ``blocks`` picks one of the two.
"""

import numpy as np

from fastals.kernels.jit import compiled
from fastals.kernels.vector import (
    PAD,
    TILE_ROWS,
    dot_tile,
    make_product_group,
    make_sum_group,
    make_tile,
)

_product_8, _product_4, _product_2, _product_1 = (make_product_group(count) for count in (8, 4, 2, 1))
_sum_8, _sum_4, _sum_2, _sum_1 = (make_sum_group(count) for count in (8, 4, 2, 1))
_set_32, _set_16 = make_tile(32, "set", transposed=False), make_tile(16, "set", transposed=False)
_add_32, _add_16 = make_tile(32, "add"), make_tile(16, "add")
_solve_32, _solve_16 = make_tile(32, "solve"), make_tile(16, "solve")
_subtract_16 = make_tile(16, "subtract")


@compiled
def add_products(Y, indices, weights, p, q):
    """Add sum_t weights_t (y_t . p) y_t to q in place, over the rows y_t = Y[indices[t]]."""
    count = indices.shape[0]
    t = 0
    while t + 8 <= count:
        _product_8(Y, indices, t, weights, p, q)
        t += 8
    if t + 4 <= count:
        _product_4(Y, indices, t, weights, p, q)
        t += 4
    if t + 2 <= count:
        _product_2(Y, indices, t, weights, p, q)
        t += 2
    if t < count:
        _product_1(Y, indices, t, weights, p, q)


@compiled
def add_rows(Y, indices, weights, q):
    """Add sum_t weights_t y_t to q in place, over the rows y_t = Y[indices[t]]."""
    count = indices.shape[0]
    t = 0
    while t + 8 <= count:
        _sum_8(Y, indices, t, weights, q)
        t += 8
    if t + 4 <= count:
        _sum_4(Y, indices, t, weights, q)
        t += 4
    if t + 2 <= count:
        _sum_2(Y, indices, t, weights, q)
        t += 2
    if t < count:
        _sum_1(Y, indices, t, weights, q)


@compiled
def multiply_block(X, first, steps, B, out):
    """Write X[first : first + 8, :steps] B[:steps] to the eight rows of ``out`` in place."""
    length, width = X.shape[1], out.shape[1]
    j = 0
    while j + 32 <= width:
        _set_32(X, first * length, length, B, j, B.shape[1], steps, out, j, width, B, 0)
        j += 32
    if j < width:
        _set_16(X, first * length, length, B, j, B.shape[1], steps, out, j, width, B, 0)


@compiled
def add_gramian(W, Z, steps, size, A):
    """Add the upper tiles of W'Z, summed over the first ``steps`` rows, to A[:size, :size] in place.

    ``size`` is a multiple of 16. Elements below the diagonal are touched only inside the tiles that it crosses.
    """
    length, width = Z.shape[1], A.shape[1]
    for i in range(0, size, TILE_ROWS):
        j = (i // PAD) * PAD
        while j + 32 <= size:
            _add_32(W, i, length, Z, j, length, steps, A, i * width + j, width, A, 0)
            j += 32
        if j < size:
            _add_16(W, i, length, Z, j, length, steps, A, i * width + j, width, A, 0)


@compiled
def row_gramian(Z, count, length, K):
    """Write the upper 4 x 4 blocks of Z Z', over the first ``length`` columns, to K[:count, :count] in place.

    ``count`` is a multiple of 4.
    """
    for i in range(0, count, 4):
        for j in range(i, count, 4):
            dot_tile(Z, i, j, length, K)


@compiled
def _factorise_diagonal(A, first, floor, block):
    """Cholesky of one 8 x 8 diagonal block: inverse pivots on the diagonal of ``block``, multipliers above it."""
    for r in range(TILE_ROWS):
        for s in range(r, TILE_ROWS):
            block[r, s] = A[first + r, first + s]
    for r in range(TILE_ROWS):
        pivot = block[r, r]
        if not pivot > floor:
            return False
        inverse = 1 / np.sqrt(pivot)
        block[r, r] = inverse
        for s in range(r + 1, TILE_ROWS):
            block[r, s] *= inverse
        for s in range(r + 1, TILE_ROWS):
            for t in range(s, TILE_ROWS):
                block[s, t] -= block[r, s] * block[r, t]
    return True


@compiled
def factorise(A, size, width, floor, diagonal):
    """Cholesky A = U'U of the upper triangle in place, and U'^-1 applied to the columns past ``size``.

    Left-looking in blocks of 8 rows, U_b = L_bb^-1 (A_b - sum_{t<b} U_tb' U_t), with the triangular solve fused into
    the tile while it is in registers. ``size`` is a multiple of 8 and ``width`` of 16; ``diagonal`` (size / 8, 8, 8)
    receives the factors of the diagonal blocks, with inverse pivots. Returns whether every pivot exceeded ``floor``.
    """
    length = A.shape[1]
    for b in range(0, size, TILE_ROWS):
        j = (b // PAD) * PAD
        if b > 0:
            _subtract_16(A, b, length, A, j, length, b, A, b * length + j, length, A, 0)
        if not _factorise_diagonal(A, b, floor, diagonal[b // TILE_ROWS]):
            return False
        place = (b // TILE_ROWS) * TILE_ROWS * TILE_ROWS
        _solve_16(A, b, length, A, j, length, 0, A, b * length + j, length, diagonal, place)
        j += PAD
        while j + 32 <= width:
            _solve_32(A, b, length, A, j, length, b, A, b * length + j, length, diagonal, place)
            j += 32
        if j < width:
            _solve_16(A, b, length, A, j, length, b, A, b * length + j, length, diagonal, place)
    return True


@compiled
def back_substitute(A, size, column, diagonal, x):
    """Solve U x = A[:size, column] for x[:size] in place, after ``factorise``."""
    for b in range(size - TILE_ROWS, -1, -TILE_ROWS):
        block = diagonal[b // TILE_ROWS]
        for r in range(TILE_ROWS - 1, -1, -1):
            row = A[b + r]
            total = row[column]
            for s in range(b + TILE_ROWS, size):
                total -= row[s] * x[s]
            for s in range(r + 1, TILE_ROWS):
                total -= block[r, s] * x[b + s]
            x[b + r] = total * block[r, r]
