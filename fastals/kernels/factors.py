"""Whole factor matrices: Gramian, rotation, and the sums that the full form of the loss needs."""

import numpy as np
from numba import prange

from fastals.kernels.dense.blocks import add_gramian
from fastals.kernels.dense.rotation import CHUNK, multiply_chunk
from fastals.kernels.jit import compiled, compiled_parallel
from fastals.kernels.rows.row import target_of, value_of

BLOCK = 64  # rows converted to float64 at a time: 64 x 128 of them stay in a second-level cache


@compiled
def _gramian_of_rows(X, first, last, block, G):
    """Add X[first:last]' X[first:last] to the upper tiles of G in place; ``block`` (BLOCK, width) is scratch."""
    factors = X.shape[1]
    block[:] = 0
    for start in range(first, last, BLOCK):
        count = min(BLOCK, last - start)
        for t in range(count):
            for j in range(factors):
                block[t, j] = X[start + t, j]
        add_gramian(block, block, count, G.shape[0], G)


@compiled_parallel
def gramian_parts(X, bounds, weights, blocks, parts, squares):
    """Gramians of ranges of rows, in float64, and their weighted squared norms.

    Writes X_c' X_c (upper triangle) to parts[c] and sum_u weights_u |x_u|^2 to squares[c] in place, over the rows u
    from bounds[c] to bounds[c + 1]. ``parts`` is (ranges, width, width), ``weights`` (n,) float64; ``blocks``
    (ranges, BLOCK, width) float64 is scratch.
    """
    for c in prange(bounds.shape[0] - 1):
        parts[c] = 0
        _gramian_of_rows(X, bounds[c], bounds[c + 1], blocks[c], parts[c])
        total = 0.0
        for u in range(bounds[c], bounds[c + 1]):
            squared = 0.0
            for j in range(X.shape[1]):
                squared += np.float64(X[u, j]) * X[u, j]
            total += weights[u] * squared
        squares[c] = total


@compiled
def _rotate_rows(X, first, last, panels, chunk, tile, out):
    """Write X[first:last] B to out[first:last] in place; ``chunk`` and ``tile`` are scratch, see ``multiply_chunk``."""
    for start in range(first, last, CHUNK):
        count = min(CHUNK, last - start)
        for t in range(count):
            for j in range(X.shape[1]):
                chunk[t, j] = X[start + t, j]
        multiply_chunk(chunk, count, panels, tile, start, out)


@compiled_parallel
def rotate(X, bounds, panels, chunks, tiles, out):
    """Write X B to ``out`` (n, width) in place, over ranges of rows; ``panels`` is B, see ``multiply_chunk``.

    ``chunks`` (ranges, CHUNK, width), zero past the columns of X, and ``tiles`` (ranges, TILE_ROWS, PANEL) are scratch.
    """
    for c in prange(bounds.shape[0] - 1):
        _rotate_rows(X, bounds[c], bounds[c + 1], panels, chunks[c], tiles[c], out)


@compiled_parallel
def stored_loss_parts(bounds, entries, offset, X, Y, parts):
    """Write sum_t [target_t phi_t - 2 target_t s_t + extra_t s_t^2], s_t = x_u . y_t, to parts[c] in place.

    Together with c0 tr(X'X Y'Y) that is the loss without regularisation: over the stored pairs
    c (phi - s)^2 - c0 s^2 = c phi^2 - 2 c phi s + (c - c0) s^2. ``entries`` and ``offset`` are as in ``rows.row``, of
    range c the rows u from bounds[c] to bounds[c + 1].
    """
    for c in prange(bounds.shape[0] - 1):
        total = 0.0
        for u in range(bounds[c], bounds[c + 1]):
            for t in range(entries.indptr[u], entries.indptr[u + 1]):
                score = 0.0
                for j in range(X.shape[1]):
                    score += np.float64(X[u, j]) * Y[entries.indices[t], j]
                weight = np.float64(value_of(entries.weight, t))
                phi = np.float64(value_of(entries.preference, t))
                target = target_of(weight, offset, phi)
                total += target * phi - 2 * target * score + (weight - entries.shift) * score * score
        parts[c] = total


@compiled_parallel
def extrapolate(X, bounds, momentum, previous, out):
    """Write X + momentum (X - previous) to ``out``, which may be ``previous``, in place, over ranges of rows."""
    for c in prange(bounds.shape[0] - 1):
        for u in range(bounds[c], bounds[c + 1]):
            for j in range(X.shape[1]):
                out[u, j] = X[u, j] + momentum * (X[u, j] - previous[u, j])
