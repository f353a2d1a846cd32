"""Exact top-N by inner product: a blocked walk over items in the order of falling norm.

By Cauchy and Schwarz x.y <= |x| |y|, so a query is done as soon as its norm times the norm of the next item is below
its n-th best score: no later item can enter its list. Items lie in panels of 32 by falling norm; a block of queries
lies in panels of 8, and each item panel meets all queries that are not done in register tiles (`tiles`).
Finished queries leave the block, the last one takes their place, so the walk stays a dense product to its end. The
best n of each query are a heap in its output row (`lists`). A single query goes another way (`single`).

Common arguments: ``items`` (Items); ``seen`` int32, the sorted ids that may not be returned, of the query, or of all
queries, concatenated; ``scores`` and ``ids`` (n,) or (n_queries, n), the outputs, best first.
"""

from typing import Any, NamedTuple

import numpy as np

from fastals.kernels.jit import compiled
from fastals.kernels.top_items.lists import (
    MARK_WORDS,
    NO_ITEM,
    contains,
    fill_lowest,
    replace_worst,
    set_marks,
    sort_heap,
)
from fastals.kernels.top_items.tiles import TILE_ITEMS, TILE_QUERIES, lowest_bit, score_tile

BOUND_INTERVAL = 4  # panels between two looks for finished queries: 1 % of the time, at most 3 tiles too many each


class Items(NamedTuple):
    """The items to rank, by falling norm.

    panels : (ceil(m / 32), k, 32) array
        Packed, see ``pack_panels``.
    order : (m,) int32 array
        Their ids.
    norms : (m,) float64 array
        Their norms, falling.
    allowed : (n_items,) bool array, or (0,) for all
        The items that may be returned.
    ceiling : float of the items' type
        No score is above it, see ``fastals.serving.top_items.ItemIndex``.
    """

    panels: Any
    order: Any
    norms: Any
    allowed: Any
    ceiling: Any


@compiled
def vector_norm(vector):
    """Euclidean norm in float64; scaled by a power of two, so that squares neither overflow nor underflow."""
    largest = 0.0
    for value in vector:
        largest = max(largest, abs(np.float64(value)))
    # Not by ``largest``: fast division multiplies by the inverse, which overflows where that is subnormal.
    scale, inverse = 1.0, 1.0
    if largest < 2.0**-400:
        scale, inverse = 2.0**600, 2.0**-600
    elif largest > 2.0**400:
        scale, inverse = 2.0**-700, 2.0**700
    total = 0.0
    for value in vector:
        part = np.float64(value) * scale
        total += part * part
    return np.sqrt(total) * inverse


@compiled
def row_norms(matrix, norms):
    """norms[i] = |matrix[i]| (float64), in place."""
    for i in range(matrix.shape[0]):
        norms[i] = vector_norm(matrix[i])


@compiled
def pack_panels(items, order, panels):
    """panels[p, t, j] = items[order[32 p + j], t], zero behind the last item, in place."""
    for p in range(panels.shape[0]):
        first = p * TILE_ITEMS
        size = min(TILE_ITEMS, order.shape[0] - first)
        if size < TILE_ITEMS:
            panels[p] = 0
        for t in range(items.shape[1]):
            for j in range(size):  # the loads of all rows are under way at once: .6 of the time of row after row
                panels[p, t, j] = items[order[first + j], t]


@compiled
def select_panels(panels, positions, selected):
    """selected[p, t, j] = the item at position ``positions[32 p + j]`` of ``panels``, zero after the last, in place."""
    for p in range(selected.shape[0]):
        for j in range(TILE_ITEMS):
            place = p * TILE_ITEMS + j
            if place < positions.shape[0]:
                source, lane = divmod(positions[place], TILE_ITEMS)
                for t in range(panels.shape[1]):
                    selected[p, t, j] = panels[source, t, lane]
            else:
                selected[p, :, j] = 0


@compiled
def rows_sorted(indptr, indices):
    """Whether every row ``indices[indptr[r]:indptr[r + 1]]`` is sorted."""
    for r in range(indptr.shape[0] - 1):
        for t in range(indptr[r] + 1, indptr[r + 1]):
            if indices[t] < indices[t - 1]:
                return False
    return True


@compiled
def bound_factors(query):
    """Numbers a, b such that the computed score with an item of norm m is at most a m + b.

    The computed sum of k products differs from x.y by at most k epsilon |x| |y|, plus half the smallest number for
    each operation that underflows; doubled, which covers the rounding of the norms and of this bound too.
    """
    limits = np.finfo(query.dtype)
    margin = 2.0 * (query.shape[0] + 8) * np.float64(limits.eps)
    return vector_norm(query) * (1.0 + margin), margin * np.float64(limits.tiny)


@compiled
def _offer(mask, tile_scores, first, items, seen, marks, scores, ids):
    """Offer the tile's entries named by the bits of ``mask`` to one query's heap, unless filtered; returns the root."""
    order, allowed = items.order, items.allowed
    while mask:
        j = lowest_bit(mask)
        mask &= mask - 1
        if first + j >= order.shape[0]:
            break
        score, item = min(tile_scores[j], items.ceiling), order[first + j]
        if score < scores[0] or (score == scores[0] and item > ids[0]):
            continue
        if (allowed.shape[0] == 0 or allowed[item]) and not contains(seen, marks, item):
            replace_worst(scores, ids, score, item)
    return scores[0]


@compiled
def _drop_finished(alive, bound, offset, slopes, thresholds, rows, packed):
    """Close the gaps that queries leave for which no item of norm ``bound`` matters; returns how many go on."""
    slot = 0
    while slot < alive:
        if not slopes[slot] * bound + offset < thresholds[slot]:  # an infinite slope times zero is NaN
            slot += 1
            continue
        alive -= 1
        slopes[slot] = slopes[alive]
        thresholds[slot] = thresholds[alive]
        thresholds[alive] = np.inf
        rows[slot], rows[alive] = rows[alive], rows[slot]
        for t in range(packed.shape[1]):
            packed[slot // TILE_QUERIES, t, slot % TILE_QUERIES] = packed[
                alive // TILE_QUERIES, t, alive % TILE_QUERIES
            ]
    return alive


@compiled
def rank_block(block, n_blocks, queries, items, seen_indptr, seen, scores, ids):
    """Best items of the queries block, block + n_blocks, block + 2 n_blocks, ..., in place in ``scores`` and ``ids``.

    Queries are taken in strides, so that blocks are alike and threads finish together. The seen ids of query q are
    ``seen[seen_indptr[q]:seen_indptr[q + 1]]``.
    """
    (n_queries, k), panels = queries.shape, items.panels
    size = (n_queries - block + n_blocks - 1) // n_blocks
    n_panels = (size + TILE_QUERIES - 1) // TILE_QUERIES
    packed = np.zeros((n_panels, k, TILE_QUERIES), queries.dtype)
    thresholds = np.full(n_panels * TILE_QUERIES, np.inf, queries.dtype)
    slopes = np.empty(size)
    rows = np.empty(size, np.int64)
    tile_scores = np.empty((TILE_QUERIES, TILE_ITEMS), queries.dtype)
    masks = np.zeros(TILE_QUERIES, np.int64)
    marks = np.empty((size, MARK_WORDS), np.int64)
    offset = 0.0
    alive = 0
    for row in range(block, n_queries, n_blocks):
        row_seen = seen[seen_indptr[row] : seen_indptr[row + 1]]
        slopes[alive], offset = bound_factors(queries[row])
        if slopes[alive] == 0.0:
            fill_lowest(
                max(items.order.shape[0], items.allowed.shape[0]), items.allowed, row_seen, scores[row], ids[row]
            )
            continue
        scores[row, :] = -np.inf
        ids[row, :] = NO_ITEM
        set_marks(row_seen, marks[row // n_blocks])
        thresholds[alive] = -np.inf
        rows[alive] = row
        for t in range(k):
            packed[alive // TILE_QUERIES, t, alive % TILE_QUERIES] = queries[row, t]
        alive += 1
    n_ranked = alive
    for p in range(panels.shape[0]):
        first = p * TILE_ITEMS
        if p % BOUND_INTERVAL == 0:
            alive = _drop_finished(alive, items.norms[first], offset, slopes, thresholds, rows, packed)
        for slot in range(0, alive, TILE_QUERIES):
            if score_tile(packed, slot * k, panels, first * k, k, thresholds, slot, tile_scores, masks):
                for m in range(TILE_QUERIES):
                    mask = masks[m]
                    masks[m] = 0
                    if mask and slot + m < alive:
                        row = rows[slot + m]
                        row_seen, row_marks = seen[seen_indptr[row] : seen_indptr[row + 1]], marks[row // n_blocks]
                        thresholds[slot + m] = _offer(
                            mask, tile_scores[m], first, items, row_seen, row_marks, scores[row], ids[row]
                        )
    for row in rows[:n_ranked]:
        sort_heap(scores[row], ids[row])
