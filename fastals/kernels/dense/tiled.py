"""Dense building blocks of the row solvers, driven over register tiles (see ``tiles``).

All matrices are C-contiguous with row lengths that are multiples of ``PAD``; what lies past the used part is zero.
``plain`` holds the same functions as plain loops; ``blocks`` picks one of the two.
"""

from fastals.kernels.dense.tiles import (
    PAD,
    TILE_ROWS,
    dot_rows,
    dot_tile,
    factorise_block,
    make_group,
    make_tile,
    prefetch_rows,
    rank_two_rows,
)
from fastals.kernels.jit import compiled_without_refcounts

# Rows of more elements than this do not stay in a first-level cache from one step to the next: fetching the next
# group during the present one makes them 1.05 to 1.25 times faster, and shorter ones slower (measured).
FETCHED_FROM = 8192

_set_32, _set_16 = make_tile(32, "set", transposed=False), make_tile(16, "set", transposed=False)
_add_32, _add_16 = make_tile(32, "add"), make_tile(16, "add")
_solve_32, _solve_16 = make_tile(32, "solve"), make_tile(16, "solve")
_subtract_16 = make_tile(16, "subtract")


def _make_driver(dotted, plain):
    """Kernel that runs the groups of ``make_group`` over rows Y[indices[t]], a multiple of four of them."""
    eight, fetching_eight = make_group(8, dotted, plain), make_group(8, dotted, plain, fetching=True)
    four = make_group(4, dotted, plain)

    @compiled_without_refcounts
    def over_groups(Y, indices, weights, p, q, targets, b):
        count, t = indices.shape[0], 0
        curvature = q[0] * 0
        if count * Y.shape[1] > FETCHED_FROM:
            while t + 16 <= count:
                curvature += fetching_eight(Y, indices, t, t + 8, weights, p, q, targets, b)
                t += 8
        while t + 8 <= count:
            curvature += eight(Y, indices, t, 0, weights, p, q, targets, b)
            t += 8
        if t < count:
            curvature += four(Y, indices, t, 0, weights, p, q, targets, b)
        return curvature

    return over_groups


_products, _sums, _both = _make_driver(True, False), _make_driver(False, True), _make_driver(True, True)


@compiled_without_refcounts
def add_products(Y, indices, weights, p, q):
    """Add sum_t weights_t (y_t . p) y_t to q in place, over the rows y_t = Y[indices[t]], a multiple of four of them.

    Returns sum_t weights_t (y_t . p)^2.
    """
    return _products(Y, indices, weights, p, q, weights, q)


@compiled_without_refcounts
def add_rows(Y, indices, weights, q):
    """Add sum_t weights_t y_t to q in place, over the rows y_t = Y[indices[t]], a multiple of four of them."""
    _sums(Y, indices, weights, q, q, weights, q)


@compiled_without_refcounts
def add_system(Y, indices, weights, targets, x, q, b):
    """Add sum_t weights_t (y_t . x) y_t to q and sum_t targets_t y_t to b in place, reading the rows y_t once.

    They are Y[indices[t]], a multiple of four of them.
    """
    _both(Y, indices, weights, x, q, targets, b)


@compiled_without_refcounts
def prefetch(Y, indices):
    """Fetch the rows ``Y[indices]`` into the caches while something else is calculated."""
    prefetch_rows(Y, indices)


@compiled_without_refcounts
def multiply_block(X, first, begin, end, B, out, place):
    """Write X[first : first + 8, begin:end] B[begin:end] to ``out`` in place, from element ``place`` on."""
    width, steps = B.shape[1], end - begin
    start, line = first * X.shape[1] + begin, begin * width
    j = 0
    while j + 32 <= width:
        _set_32(X, start, B, line + j, steps, out, place + j, B, 0)
        j += 32
    if j < width:
        _set_16(X, start, B, line + j, steps, out, place + j, B, 0)


@compiled_without_refcounts
def add_gramian(W, Z, steps, size, A):
    """Add the upper tiles of W'Z, summed over the first ``steps`` rows, to A[:size, :size] in place.

    ``size`` is a multiple of 16. Elements below the diagonal are touched only inside the tiles that it crosses.
    """
    width = A.shape[1]
    for i in range(0, size, TILE_ROWS):
        j = (i // PAD) * PAD
        while j + 32 <= size:
            _add_32(W, i, Z, j, steps, A, i * width + j, A, 0)
            j += 32
        if j < size:
            _add_16(W, i, Z, j, steps, A, i * width + j, A, 0)


@compiled_without_refcounts
def add_product(W, Z, steps, rows, columns, A):
    """Add W'Z, summed over the first ``steps`` rows, to A[:rows, :columns] in place.

    ``rows`` is a multiple of 8 and ``columns`` of 16.
    """
    width = A.shape[1]
    for i in range(0, rows, TILE_ROWS):
        j = 0
        while j + 32 <= columns:
            _add_32(W, i, Z, j, steps, A, i * width + j, A, 0)
            j += 32
        if j < columns:
            _add_16(W, i, Z, j, steps, A, i * width + j, A, 0)


@compiled_without_refcounts
def row_gramian(Z, count, length, K):
    """Write the upper 4 x 4 blocks of Z Z', over the first ``length`` columns, to K[:count, :count] in place.

    ``count`` is a multiple of 4.
    """
    for i in range(0, count, 4):
        for j in range(i, count, 4):
            dot_tile(Z, i, j, length, K)


@compiled_without_refcounts
def factorise(A, size, width, floor, diagonal):
    """Cholesky A = U'U of the upper triangle in place, and U'^-1 applied to the columns past ``size``.

    Left-looking in blocks of 8 rows, U_b = L_bb^-1 (A_b - sum_{t<b} U_tb' U_t), with the triangular solve fused into
    the tile while it is in registers. ``size`` is a multiple of 8 and ``width`` of 16; ``diagonal`` (size / 8, 8, 8)
    receives the factors of the diagonal blocks, with inverse pivots. Returns whether every pivot exceeded ``floor``.
    """
    length = A.shape[1]
    for b in range(0, size, TILE_ROWS):
        line, place = b * length, b * TILE_ROWS
        j = (b // PAD) * PAD
        if b > 0:
            _subtract_16(A, b, A, j, b, A, line + j, A, 0)
        if not factorise_block(A, line + b, floor, diagonal, place):
            return False
        _solve_16(A, b, A, j, 0, A, line + j, diagonal, place)
        j += PAD
        while j + 32 <= width:
            _solve_32(A, b, A, j, b, A, line + j, diagonal, place)
            j += 32
        if j < width:
            _solve_16(A, b, A, j, b, A, line + j, diagonal, place)
    return True


@compiled_without_refcounts
def subtract_rank_two(A, size, v, w, x, products):
    """Subtract v w' + w v' from the lower triangle of A[:size, :size] in place; add what is left, times x, to products.

    A is symmetric; ``size`` is a multiple of 8. Blocks of 8 x 8 on the diagonal are changed whole.
    """
    for edge in range(0, size, TILE_ROWS):
        rank_two_rows(A, edge, edge, v, w, x, products)
        rank_two_rows(A, edge + TILE_ROWS // 2, edge, v, w, x, products)


@compiled_without_refcounts
def back_substitute(A, size, column, diagonal, x):
    """Solve U x = A[:size, column] for x[:size] in place, after ``factorise``.

    ``x`` has room for ``size`` rounded up to 16, and 8 more; what lies past ``size`` is overwritten.
    """
    length = A.shape[1]
    end = (size + PAD - 1) // PAD * PAD
    dots = x[end : end + TILE_ROWS]
    x[:end] = 0
    for b in range(size - TILE_ROWS, -1, -TILE_ROWS):
        block = diagonal[b // TILE_ROWS]
        start = (b + TILE_ROWS) // PAD * PAD  # x is still zero from there to b + 8
        dot_rows(A, b * length + start, x, start, end - start, dots)
        for r in range(TILE_ROWS - 1, -1, -1):
            total = A[b + r, column] - dots[r]
            for s in range(r + 1, TILE_ROWS):
                total -= block[r, s] * x[b + s]
            x[b + r] = total * block[r, r]
