"""A symmetric matrix as Q T Q' with a tridiagonal T and an orthogonal Q, which is kept as reflections.

A is reduced from its last row on. With the reflection H = I - tau x x' that takes the row's elements left of the
diagonal to the last of them, (0, ..., 0, alpha),

    A <- H A H = A - x w' - w x',    w = tau A x - (tau^2 / 2) (x'A x) x,

so that each reflection costs one product with what is left of A. That is bound by reading and writing it: so the
update waits for the next product, and one pass over the lower triangle serves both. LAPACK's dsytrd takes 1.7 times as
long for 256 rows, 2.5 times for 128 (measured).

T's eigenvectors Z become those of A as Q Z = H_0 H_1 ... Z. For that the reflections are gathered in blocks (Schreiber
and Van Loan 1989), whose products with Z are products of matrices:

    H_n ... H_{n + b - 1} = I - X'S X,  X the rows x_n ...,  S upper triangular,
    column m of S: tau_m, above it -tau_m S_m X_m x_m, with S_m and X_m of those before.
"""

from typing import Any, NamedTuple

import numpy as np

from fastals.kernels.dense.blocks import add_product, multiply_block, subtract_rank_two
from fastals.kernels.dense.tiles import TILE_ROWS
from fastals.kernels.jit import compiled, compiled_without_refcounts

REFLECTIONS = 16  # in a block


class Reflections(NamedTuple):
    """The reflections of a matrix in the order of their making, by blocks; zeros past the last one.

    rows : (blocks, REFLECTIONS, width) array
        X.
    factors : (blocks, REFLECTIONS, REFLECTIONS) array
        -S.
    """

    rows: Any
    factors: Any


@compiled_without_refcounts
def _reflection(row, last, x):
    """Write the x that takes row[:last + 1] to its last place to ``x``, zero past it, in place; return tau, alpha."""
    before = 0.0
    for c in range(last):
        x[c] = row[c]
        before += row[c] * row[c]
    norm = np.sqrt(before + row[last] * row[last])
    alpha = -norm if row[last] > 0 else norm  # no cancellation below
    x[last] = row[last] - alpha
    squared = before + x[last] * x[last]
    return (2 / squared if squared > 0 else 0.0), alpha


@compiled_without_refcounts
def _gather(m, tau, reach, X, factors):
    """Write column ``m`` of the factors to ``factors`` in place, of reflection X[m], zero from ``reach`` on."""
    factors[m, m] = -tau
    for s in range(m):
        dot = 0.0
        for c in range(reach):
            dot += X[s, c] * X[m, c]
        for r in range(s + 1):  # S_m of those before is upper triangular
            factors[r, m] -= tau * dot * factors[r, s]


@compiled
def tridiagonalise(A, diagonal, beside, reflections, v, w, products):
    """Write T of a symmetric matrix to ``diagonal`` (k,) and ``beside`` (k,), which ends with 0, in place.

    Parameters
    ----------
    A : (width, width) array
        The matrix, of elements up to 1 or so, zeros past k; overwritten. ``width`` is k rounded up to a multiple of
        REFLECTIONS.
    reflections : Reflections
        Q (output), of as many as there are rows; zeros before.
    v, w, products : (width,) arrays
        Scratch, zeros.
    """
    k = diagonal.shape[0]
    for j in range(k - 1, 0, -1):
        row = A[j]
        for c in range(j + 1):
            row[c] -= v[j] * w[c] + w[j] * v[c]
        block, m = (k - 1 - j) // REFLECTIONS, (k - 1 - j) % REFLECTIONS
        X = reflections.rows[block]
        x = X[m]
        diagonal[j] = row[j]
        tau, beside[j - 1] = _reflection(row, j - 1, x)
        _gather(m, tau, j, X, reflections.factors[block])
        for c in range(j):
            products[c] = 0
        subtract_rank_two(A, -(-j // TILE_ROWS) * TILE_ROWS, v, w, x, products)
        dot = 0.0
        for c in range(j):
            dot += products[c] * x[c]
        for c in range(j):
            v[c], w[c] = x[c], tau * (products[c] - 0.5 * tau * dot * x[c])
        v[j], w[j] = 0, 0
    diagonal[0] = A[0, 0] - 2 * v[0] * w[0]
    beside[k - 1] = 0


@compiled
def reflect(Z, reflections, products):
    """Write Q Z to ``Z`` (width, columns) in place; ``products`` (2, REFLECTIONS, columns) is scratch."""
    width, columns = Z.shape
    for block in range(reflections.rows.shape[0] - 1, -1, -1):
        X, size = reflections.rows[block], np.int64(REFLECTIONS)
        reach = width - block * size  # what X has past it is zero
        for first in range(0, size, TILE_ROWS):
            multiply_block(X, first, 0, reach, Z, products[0], first * columns)
        for first in range(0, size, TILE_ROWS):
            multiply_block(reflections.factors[block], first, 0, size, products[0], products[1], first * columns)
        add_product(X, products[1], size, reach, columns, Z)
