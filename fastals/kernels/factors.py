"""Whole factor matrices: Gramian, rotation, and the sums that the full form of the loss needs.

The work is divided into tasks, each a serial kernel; ``launch`` runs them in parallel.
"""

from typing import Any, NamedTuple

import numpy as np

from fastals.kernels.dense.blocks import add_gramian, add_product
from fastals.kernels.dense.rotation import CHUNK, multiply_chunk
from fastals.kernels.dense.tiles import PAD
from fastals.kernels.jit import compiled, compiled_without_refcounts
from fastals.kernels.rows.row import extra_of, target_of, value_of

BLOCK = 64  # rows converted to float64 at a time
SUMMED = 16  # rows of a tile that are summed over the ranges at a time
CHANGES = 3  # that an extrapolation may follow


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


class Tiles(NamedTuple):
    """Tiles of the Gramians of ranges of rows.

    bounds : (ranges + 1,) int64 array
        Range c is the rows from bounds[c] to bounds[c + 1].
    places : (T, 2) int64 array
        Row and column of the first element of each tile.
    blocks : (tasks, 2, BLOCK, edge or more) float64 array
        Scratch of each task.
    parts : (ranges, T, edge, edge) float64 array
        The tiles (output).
    squares : (ranges,) float64 array
        Weighted squared norms of the rows of each range (output).
    """

    bounds: Any
    places: Any
    blocks: Any
    parts: Any
    squares: Any


@compiled
def gramian_task(task, tasks, chosen, X, scales, tiles):
    """Write every ``tasks``-th of the ``chosen`` (m,) tiles, from number ``task`` on; their sum over the ranges is X'X.

    Number c T + p is the tile at places[p] of the rows of range c; with p = 0 go their weighted squares. ``scales`` are
    roots and weights, see ``gramian_tile`` and ``weighted_squares``.
    """
    bounds, places = tiles.bounds, tiles.places
    for n in range(task, chosen.shape[0], tasks):
        c, p = chosen[n] // places.shape[0], chosen[n] % places.shape[0]
        first, last = bounds[c], bounds[c + 1]
        gramian_tile(X, scales[0], first, last, places[p, 0], places[p, 1], tiles.blocks[task], tiles.parts[c, p])
        if p == 0:
            tiles.squares[c] = weighted_squares(X, first, last, scales[1])


@compiled
def sum_tile(parts, p, first, i, j, G):
    """Sum SUMMED rows, from ``first``, of the tile at (i, j) over the ranges, into both triangles of G in place.

    ``parts`` is as ``gramian_task`` has left it; ``G`` is (factors, factors).
    """
    edge, factors = parts.shape[2], G.shape[0]
    for a in range(first, min(first + SUMMED, min(edge, factors - i))):
        begin, end = a if i == j else 0, min(edge, factors - j)
        row = G[i + a, j + begin : j + end]
        for b in range(end - begin):
            row[b] = parts[0, p, a, begin + b]
        for c in range(1, parts.shape[0]):
            part = parts[c, p, a, begin:end]
            for b in range(end - begin):
                row[b] += part[b]
        for b in range(end - begin):
            G[j + begin + b, i + a] = row[b]


@compiled
def sum_task(task, tasks, places, parts, G):
    """Sum every ``tasks``-th strip of tiles, from number ``task`` on, over the ranges, into both triangles of G."""
    strips = -(-parts.shape[2] // SUMMED)
    for n in range(task, places.shape[0] * strips, tasks):
        p = n // strips
        sum_tile(parts, p, n % strips * SUMMED, places[p, 0], places[p, 1], G)


@compiled_without_refcounts
def rotate_rows(X, first, last, panels, chunk, tile, out):
    """Write X[first:last] B to out[first:last] in place; ``chunk`` and ``tile`` are scratch, see ``multiply_chunk``."""
    for start in range(first, last, CHUNK):
        count = min(CHUNK, last - start)
        for t in range(count):
            for j in range(X.shape[1]):
                chunk[t, j] = X[start + t, j]
        multiply_chunk(chunk, count, panels, tile, start, out)


@compiled
def rotate_task(task, tasks, bounds, X, panels, chunks, tiles, out):
    """Write X B to ``out`` (n, width) in place, over every ``tasks``-th range of rows, from number ``task`` on.

    ``panels`` is B, see ``multiply_chunk``; ``chunks`` (tasks, CHUNK, width), zero past the columns of X, and
    ``tiles`` (tasks, TILE_ROWS, PANEL) are scratch.
    """
    for c in range(task, bounds.shape[0] - 1, tasks):
        rotate_rows(X, bounds[c], bounds[c + 1], panels, chunks[task], tiles[task], out)


@compiled
def stored_loss_task(task, tasks, bounds, entries, X, Y, parts):
    """Write sum_t [target_t phi_t - 2 target_t s_t + extra_t s_t^2], s_t = x_u . y_t, to parts[c] in place.

    Together with c0 tr(X' diag(v) X Y' diag(w) Y) that is the loss without regularization: over the stored pairs
    c (phi - s)^2 - m s^2 = c phi^2 - 2 c phi s + (c - m) s^2, m = c0 v_u w_i. ``entries`` are as in ``rows.row``, of
    range c = task, task + tasks, ... the rows u from bounds[c] to bounds[c + 1].
    """
    for c in range(task, bounds.shape[0] - 1, tasks):
        total = 0.0
        for u in range(bounds[c], bounds[c + 1]):
            row = 0.0  # of its own, so that roundings grow with rows and their lengths, not with all stored pairs
            for t in range(entries.indptr[u], entries.indptr[u + 1]):
                score = 0.0
                for j in range(X.shape[1]):
                    score += np.float64(X[u, j]) * Y[entries.indices[t], j]
                weight = np.float64(value_of(entries.weight, t))
                phi = np.float64(value_of(entries.preference, t))
                target = target_of(weight, entries.offset, phi)
                relative = value_of(entries.row_weights, u) * value_of(entries.column_weights, entries.indices[t])
                extra = extra_of(weight, entries.shift, entries.missing, relative)
                row += target * phi - 2 * target * score + extra * score * score
            total += row
        parts[c] = total


@compiled
def extrapolate_task(task, tasks, bounds, X, strides, earlier, out):
    """Write X + s_0 (X - A) + s_1 (A - B) + s_2 (B - C) to ``out``, which may be any of them, in place.

    ``strides`` are s, three scalars of the type of X, and ``earlier`` A, B and C. Range c = task, task + tasks, ... is
    the rows from bounds[c] to bounds[c + 1].
    """
    A, B, C = earlier
    first, second, third = strides
    for c in range(task, bounds.shape[0] - 1, tasks):
        for u in range(bounds[c], bounds[c + 1]):
            for j in range(X.shape[1]):
                a, b = A[u, j], B[u, j]
                out[u, j] = X[u, j] + (first * (X[u, j] - a) + (second * (a - b) + third * (b - C[u, j])))
