"""Whole factor matrices: Gramian, rotation, and the sums that the full form of the loss needs."""

import numpy as np
from numba import prange

from fastals.kernels.dense.blocks import add_gramian, add_product
from fastals.kernels.dense.rotation import CHUNK, multiply_chunk
from fastals.kernels.dense.tiles import PAD
from fastals.kernels.jit import compiled, compiled_parallel, compiled_without_refcounts
from fastals.kernels.rows.row import extra_of, target_of, value_of

BLOCK = 64  # rows converted to float64 at a time
SUMMED = 16  # rows of a tile that are summed over the ranges at a time


@compiled_without_refcounts
def _load(X, roots, start, count, first, columns, block):
    """Write rows of X to ``block`` in place, up to PAD columns with zeros: X[start : start + count, first : ...].

    ``roots`` (n,), or (1,) where all are 1, are their scales.
    """
    for t in range(count):
        row = X[start + t, first : first + columns]
        for j in range(columns):
            block[t, j] = row[j]
        root = value_of(roots, start + t)
        if root != 1:
            for j in range(columns):
                block[t, j] *= root
        for j in range(columns, -(-columns // PAD) * PAD):
            block[t, j] = 0


@compiled
def gramian_tile(X, roots, first, last, i, j, blocks, tile):
    """Write a square tile of X_c'X_c to ``tile`` (edge, edge) in place, X_c = diag(roots) X[first:last], in float64.

    Its first element is row i and column j >= i of the whole; on the diagonal its upper triangle is what counts.
    ``blocks`` (2, BLOCK, edge or more) float64 is scratch. A tile that stays in a second-level cache while all rows go
    by is 1.6 times as fast as a whole Gramian of 2,048 factors (measured).
    """
    rows, columns = min(tile.shape[0], X.shape[1] - i), min(tile.shape[0], X.shape[1] - j)
    left, right = blocks[0], blocks[1]
    tile[:] = 0
    for start in range(first, last, BLOCK):
        count = min(BLOCK, last - start)
        _load(X, roots, start, count, i, rows, left)
        if i == j:
            add_gramian(left, left, count, -(-rows // PAD) * PAD, tile)
        else:
            _load(X, roots, start, count, j, columns, right)
            add_product(left, right, count, -(-rows // PAD) * PAD, -(-columns // PAD) * PAD, tile)


@compiled
def weighted_squares(X, first, last, weights):
    """Return sum_u weights_u |x_u|^2 over the rows from ``first`` to ``last``, in float64; ``weights`` is (n,)."""
    total = 0.0
    for u in range(first, last):
        squared = 0.0
        for j in range(X.shape[1]):
            squared += np.float64(X[u, j]) * X[u, j]
        total += weights[u] * squared
    return total


@compiled_parallel
def gramian_tiles(threads, tasks, X, bounds, places, scales, blocks, parts, squares):
    """Tiles of the Gramians of ranges of rows, and the ranges' weighted squared norms.

    Task c T + p, of the chosen ``tasks`` (m,), writes the tile at places[p] (T, 2) of the rows from bounds[c] to
    bounds[c + 1] to parts[c, p] (ranges, T, edge, edge) in place; the one with p = 0 also writes their weighted
    squares to squares[c]. ``scales`` are roots and weights, see ``gramian_tile`` and ``weighted_squares``. Thread by
    thread takes every ``threads``-th task; ``blocks`` (threads, 2, BLOCK, edge or more) float64 is scratch.
    """
    for thread in prange(threads):
        for task in range(thread, tasks.shape[0], threads):
            c, p = tasks[task] // places.shape[0], tasks[task] % places.shape[0]
            first, last = bounds[c], bounds[c + 1]
            gramian_tile(X, scales[0], first, last, places[p, 0], places[p, 1], blocks[thread], parts[c, p])
            if p == 0:
                squares[c] = weighted_squares(X, first, last, scales[1])


@compiled
def sum_tile(parts, p, first, i, j, G):
    """Sum SUMMED rows, from ``first``, of the tile at (i, j) over the ranges, into both triangles of G in place.

    ``parts`` is as ``gramian_tiles`` has left it; ``G`` is (factors, factors).
    """
    edge, factors = parts.shape[2], G.shape[0]
    for a in range(first, min(first + SUMMED, edge, factors - i)):
        begin, end = a if i == j else 0, min(edge, factors - j)
        row = G[i + a, j + begin : j + end]
        row[:] = parts[0, p, a, begin:end]
        for c in range(1, parts.shape[0]):
            part = parts[c, p, a, begin:end]
            for b in range(end - begin):
                row[b] += part[b]
        for b in range(end - begin):
            G[j + begin + b, i + a] = row[b]


@compiled_parallel
def sum_tiles(places, parts, G):
    """Sum all tiles over the ranges, into both triangles of G (factors, factors) in place."""
    strips = -(-parts.shape[2] // SUMMED)
    for task in prange(places.shape[0] * strips):
        p = task // strips
        sum_tile(parts, p, task % strips * SUMMED, places[p, 0], places[p, 1], G)


@compiled
def rotate_rows(X, first, last, panels, chunk, tile, out):
    """Write X[first:last] B to out[first:last] in place; ``chunk`` and ``tile`` are scratch, see ``multiply_chunk``."""
    for start in range(first, last, CHUNK):
        count = min(CHUNK, last - start)
        for t in range(count):
            for j in range(X.shape[1]):
                chunk[t, j] = X[start + t, j]
        multiply_chunk(chunk, count, panels, tile, start, out)


@compiled_parallel
def rotate_ranges(threads, bounds, X, panels, chunks, tiles, out):
    """Write X B to ``out`` (n, width) in place, over ranges of rows; ``panels`` is B, see ``multiply_chunk``.

    Thread by thread takes every ``threads``-th range; ``chunks`` (threads, CHUNK, width), zero past the columns of X,
    and ``tiles`` (threads, TILE_ROWS, PANEL) are scratch.
    """
    for thread in prange(threads):
        for c in range(thread, bounds.shape[0] - 1, threads):
            rotate_rows(X, bounds[c], bounds[c + 1], panels, chunks[thread], tiles[thread], out)


@compiled_parallel
def stored_loss_parts(bounds, entries, X, Y, parts):
    """Write sum_t [target_t phi_t - 2 target_t s_t + extra_t s_t^2], s_t = x_u . y_t, to parts[c] in place.

    Together with c0 tr(X' diag(v) X Y' diag(w) Y) that is the loss without regularisation: over the stored pairs
    c (phi - s)^2 - m s^2 = c phi^2 - 2 c phi s + (c - m) s^2, m = c0 v_u w_i. ``entries`` are as in ``rows.row``, of
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
                target = target_of(weight, entries.offset, phi)
                relative = value_of(entries.row_weights, u) * value_of(entries.column_weights, entries.indices[t])
                extra = extra_of(weight, entries.shift, entries.missing, relative)
                total += target * phi - 2 * target * score + extra * score * score
        parts[c] = total


@compiled_parallel
def extrapolate(X, bounds, momentum, previous, out):
    """Write X + momentum (X - previous) to ``out``, which may be ``previous``, in place, over ranges of rows."""
    for c in prange(bounds.shape[0] - 1):
        for u in range(bounds[c], bounds[c + 1]):
            for j in range(X.shape[1]):
                out[u, j] = X[u, j] + momentum * (X[u, j] - previous[u, j])
