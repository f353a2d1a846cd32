"""Exact top-N by inner product: a blocked walk over items in the order of falling norm.

By Cauchy and Schwarz x.y <= |x| |y|, so a query is done as soon as its norm times the norm of the next item is below
its n-th best score: no later item can enter its list. Items lie in panels of 32 by falling norm; a block of queries
lies in panels of 8, and each item panel meets all queries that are not done in register tiles (`tiles`).
Finished queries leave the block, the last one takes their place, so the walk stays a dense product to its end.

The best n of each query are a binary heap in its output row with the worst at the root; (score, id) precedes
(score', id') if score > score', or if they are equal and id < id'.

Common arguments: ``items`` (Items); ``seen`` int32, the sorted ids that may not be returned, of the query, or of all
queries, concatenated; ``scores`` and ``ids`` (n,) or (n_queries, n), the outputs, best first.
"""

from typing import Any, NamedTuple

import numba
import numpy as np

from fastals.kernels.jit import compiled, compiled_parallel
from fastals.kernels.top_items.tiles import TILE_ITEMS, TILE_QUERIES, lowest_bit, score_row, score_tile

NO_ITEM = np.int32(2**31 - 1)  # id of an empty place in a heap: behind every item
SORTED_SIZE = 64  # up to here a sorted list takes an item faster than a heap: 11 against 22 ns at 10, 32 both at 100
MARK_WORDS = 4  # 256 bits: with 27 seen items a query, one search in ten for an item that is not among them remains
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
    """

    panels: Any
    order: Any
    norms: Any
    allowed: Any


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
def _mark(item):
    """Word and bit of an item in a set of marks: one byte of a multiplicative hash."""
    place = ((np.int64(item) * 2654435761) >> 24) & 255
    return place >> 6, np.int64(1) << (place & 63)


@compiled
def _set_marks(indices, marks):
    """Set in ``marks`` (MARK_WORDS int64, in place) the mark of each of ``indices``."""
    marks[:] = 0
    for item in indices:
        word, bit = _mark(item)
        marks[word] |= bit


@compiled
def _contains(indices, marks, item):
    """Whether ``item`` is among the sorted ``indices``; most others are told by their mark alone."""
    word, bit = _mark(item)
    if not marks[word] & bit:
        return False
    start, length = 0, indices.shape[0]
    while length > 1:
        half = length // 2
        start += half if indices[start + half] <= item else 0
        length -= half
    return indices[start] == item


@compiled
def _replace_worst(scores, ids, score, item):
    """Replace the root of a heap; short ones are kept sorted (a rising array is a heap), the faster way there."""
    size = scores.shape[0]
    if size > SORTED_SIZE:
        _sift_down(scores, ids, size, score, item)
        return
    place = 0
    while place + 1 < size and (scores[place + 1] < score or (scores[place + 1] == score and ids[place + 1] > item)):
        scores[place] = scores[place + 1]
        ids[place] = ids[place + 1]
        place += 1
    scores[place] = score
    ids[place] = item


@compiled
def _sift_down(scores, ids, size, score, item):
    """Put (score, item) at the root of the heap of the first ``size`` entries and let it sink."""
    place, child = 0, 1
    while child < size:
        # Which of two children is the worse one is a coin toss: taken by arithmetic, except among equals.
        right = min(child + 1, size - 1)
        if scores[right] == scores[child]:
            worse = ids[right] > ids[child]
        else:
            worse = scores[right] < scores[child]
        child += int(worse)
        if scores[child] > score or (scores[child] == score and ids[child] < item):
            break
        scores[place] = scores[child]
        ids[place] = ids[child]
        place = child
        child = 2 * place + 1
    scores[place] = score
    ids[place] = item


@compiled
def _sort_heap(scores, ids):
    """Heap to best first; empty places go to the tail as id -1 and score NaN. In place."""
    for last in range(scores.shape[0] - 1, 0, -1):
        score, item = scores[last], ids[last]
        scores[last] = scores[0]
        ids[last] = ids[0]
        _sift_down(scores, ids, last, score, item)
    for j in range(scores.shape[0] - 1, -1, -1):
        if ids[j] != NO_ITEM:
            break
        ids[j] = -1
        scores[j] = np.nan


@compiled
def _offer(mask, tile_scores, first, items, seen, marks, scores, ids):
    """Offer the tile's entries named by the bits of ``mask`` to one query's heap, unless filtered; returns the root."""
    order, allowed = items.order, items.allowed
    while mask:
        j = lowest_bit(mask)
        mask &= mask - 1
        if first + j >= order.shape[0]:
            break
        score, item = tile_scores[j], order[first + j]
        if score < scores[0] or (score == scores[0] and item > ids[0]):
            continue
        if (allowed.shape[0] == 0 or allowed[item]) and not _contains(seen, marks, item):
            _replace_worst(scores, ids, score, item)
    return scores[0]


@compiled
def _fill_lowest(items, seen, scores, ids):
    """The list of a zero query: every score is zero, so the lowest ids that are not filtered."""
    order, allowed, size, t = items.order, items.allowed, 0, 0
    for item in range(max(order.shape[0], allowed.shape[0])):
        if size == scores.shape[0]:
            break
        while t < seen.shape[0] and seen[t] < item:
            t += 1
        if (allowed.shape[0] == 0 or allowed[item]) and not (t < seen.shape[0] and seen[t] == item):
            scores[size] = 0
            ids[size] = item
            size += 1
    scores[size:] = np.nan
    ids[size:] = -1


@compiled
def _bound_factors(query):
    """Numbers a, b such that the computed score with an item of norm m is at most a m + b.

    The computed sum of k products differs from x.y by at most k epsilon |x| |y|, plus half the smallest number for
    each operation that underflows; doubled, which covers the rounding of the norms and of this bound too.
    """
    limits = np.finfo(query.dtype)
    margin = 2.0 * (query.shape[0] + 8) * np.float64(limits.eps)
    return vector_norm(query) * (1.0 + margin), margin * np.float64(limits.tiny)


@compiled
def rank_one(query, items, seen, scores, ids):
    """Best items of one query, in place in ``scores`` and ``ids`` (n,): `rank_block` without a block."""
    k, panels = query.shape[0], items.panels
    slope, offset = _bound_factors(query)
    if slope == 0.0:
        _fill_lowest(items, seen, scores, ids)
        return
    scores[:] = -np.inf
    ids[:] = NO_ITEM
    threshold = np.full(1, -np.inf, query.dtype)
    tile_scores = np.empty((1, TILE_ITEMS), query.dtype)
    masks = np.zeros(1, np.int64)
    marks = np.empty(MARK_WORDS, np.int64)
    _set_marks(seen, marks)
    for p in range(panels.shape[0]):
        if slope * items.norms[p * TILE_ITEMS] + offset < threshold[0]:
            break
        if score_row(query, 0, panels, p * k * TILE_ITEMS, k, threshold, 0, tile_scores, masks):
            threshold[0] = _offer(masks[0], tile_scores[0], p * TILE_ITEMS, items, seen, marks, scores, ids)
            masks[0] = 0
    _sort_heap(scores, ids)


@compiled
def rank_few(query, items, candidates, seen, scores, ids):
    """Best of the ``candidates`` (m,) int32, rising, for one query, in place in ``scores`` and ``ids`` (n,).

    32 at a time are packed, scored and offered: one panel stays in the cache, and no norms are needed.
    """
    k = query.shape[0]
    scores[:] = -np.inf
    ids[:] = NO_ITEM
    threshold = np.full(1, -np.inf, query.dtype)
    tile_scores = np.empty((1, TILE_ITEMS), query.dtype)
    masks = np.zeros(1, np.int64)
    marks = np.empty(MARK_WORDS, np.int64)
    _set_marks(seen, marks)
    panel = np.empty((1, k, TILE_ITEMS), query.dtype)
    offered = Items(panel, candidates, np.empty(0), np.empty(0, np.bool_))
    for first in range(0, candidates.shape[0], TILE_ITEMS):
        pack_panels(items, candidates[first : first + TILE_ITEMS], panel)
        if score_row(query, 0, panel, 0, k, threshold, 0, tile_scores, masks):
            threshold[0] = _offer(masks[0], tile_scores[0], first, offered, seen, marks, scores, ids)
            masks[0] = 0
    _sort_heap(scores, ids)


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
        slopes[alive], offset = _bound_factors(queries[row])
        if slopes[alive] == 0.0:
            _fill_lowest(items, row_seen, scores[row], ids[row])
            continue
        scores[row, :] = -np.inf
        ids[row, :] = NO_ITEM
        _set_marks(row_seen, marks[row // n_blocks])
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
        _sort_heap(scores[row], ids[row])


@compiled_parallel
def rank_blocks(n_blocks, queries, items, seen_indptr, seen, scores, ids):
    """`rank_block` for every block, in parallel."""
    for block in numba.prange(n_blocks):
        rank_block(block, n_blocks, queries, items, seen_indptr, seen, scores, ids)
