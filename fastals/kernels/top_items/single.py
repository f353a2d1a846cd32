"""Exact top-N of a single query: sketches tell nearly all items off, those that are left are scored.

1. The bounds of the first items, of the largest norms, name a few promising ones; their scores give a threshold that n
   items reach.
2. By Cauchy and Schwarz the threshold ends the walk at some norm; the bounds of all items before it are computed, and
   name better ones.
3. Of what has a bound at or above the threshold, the inner product is taken as fast as it can be; what that leaves, up
   to rounding, is scored in the tile that batches are scored in, whose digits count, and offered.

Common arguments: ``items`` (Sketched); ``places`` (m,) int32, the places to choose from, of distinct items that may be
returned, or (0,) for all places; ``allowed`` (n_items,) bool, or (0,) for all; ``seen``, ``marks``, ``scores`` and
``ids`` as in `lists`.
"""

from typing import Any, NamedTuple

import numpy as np

from fastals.kernels.jit import compiled, compiled_without_refcounts
from fastals.kernels.top_items.lists import (
    MARK_WORDS,
    NO_ITEM,
    contains,
    fill_lowest,
    replace_worst,
    set_marks,
    sort_heap,
)
from fastals.kernels.top_items.sketch import WIDTH, Query, relative_margin, sketch_query, upper_bound
from fastals.kernels.top_items.tiles import TILE_ITEMS, lowest_bit, score_row
from fastals.kernels.top_items.walk import bound_factors, pack_panels

FIRST = 512  # items of the first threshold


class Sketched(NamedTuple):
    """Items for single queries. A place is a position in the order of falling norm.

    rows : (n_items, k) array
        Factors.
    order : (n_items,) int32 array
        The id at each place.
    norms : (n_items,) float64 array
        Their norms, falling.
    sketches : Sketches
        In this order.
    ceiling : float of the items' type
        No score is above it.
    """

    rows: Any
    order: Any
    norms: Any
    sketches: Any
    ceiling: Any


class Panel(NamedTuple):
    """Scratch: up to 32 items at a time to be scored.

    ids : (32,) int32 array
        Their ids.
    rows : (1, k, 32) array
        Their factors, packed.
    threshold : (1,) array
        Scores below it are not offered.
    scores : (1, 32) array
    masks : (1,) int64 array, zero
    """

    ids: Any
    rows: Any
    threshold: Any
    scores: Any
    masks: Any


@compiled_without_refcounts
def _place_at(places, t):
    """Place number t; no places stand for all."""
    return places[t] if places.shape[0] else t


@compiled
def _offer_panel(query, count, items, panel, scores, ids):
    """Score the first ``count`` items of the panel's ids and offer them; raises the threshold to the n-th best."""
    pack_panels(items.rows, panel.ids[:count], panel.rows)
    if not score_row(query, 0, panel.rows, 0, query.shape[0], panel.threshold, 0, panel.scores, panel.masks):
        return
    mask, panel.masks[0] = panel.masks[0], 0
    while mask:
        j = lowest_bit(mask)
        mask &= mask - 1
        if j >= count:
            break
        score, item = min(panel.scores[0, j], items.ceiling), panel.ids[j]
        if score > scores[0] or (score == scores[0] and item < ids[0]):
            replace_worst(scores, ids, score, item)
    panel.threshold[0] = max(panel.threshold[0], scores[0])


@compiled
def _bounds(first, last, places, sketches, sketched, upper):
    """Write the bounds of the places number first .. last to ``upper`` in place."""
    for t in range(first, last):
        upper[t] = upper_bound(sketches, _place_at(places, t), sketched)


@compiled
def _any_reaches(upper, first, last, limit):
    """Whether a bound of first .. last is not below the limit."""
    found = False
    for t in range(first, last):
        found |= not upper[t] < limit
    return found


@compiled
def _promising(upper, order, places, allowed, seen, marks, bounds, chosen):
    """Put those of the largest bounds that may be returned into the heap ``bounds``, ``chosen`` (ids), in place."""
    bounds[:] = -np.inf
    chosen[:] = NO_ITEM
    for start in range(0, upper.shape[0], TILE_ITEMS):
        stop = min(start + TILE_ITEMS, upper.shape[0])
        if not _any_reaches(upper, start, stop, bounds[0]):
            continue
        for t in range(start, stop):
            if upper[t] > bounds[0]:
                item = order[_place_at(places, t)]
                if (allowed.shape[0] == 0 or allowed[item]) and not contains(seen, marks, item):
                    replace_worst(bounds, chosen, upper[t], item)


@compiled
def _offer_chosen(query, chosen, items, panel, scores, ids):
    """Offer the items ``chosen``, those that are none left out."""
    scores[:] = -np.inf
    ids[:] = NO_ITEM
    count = 0
    for item in chosen:
        if item != NO_ITEM:
            panel.ids[count] = item
            count += 1
        if count == TILE_ITEMS:
            _offer_panel(query, count, items, panel, scores, ids)
            count = 0
    _offer_panel(query, count, items, panel, scores, ids)


@compiled
def _places_before(norms, slope, offset, threshold):
    """Number of leading items whose norms do not keep them below a threshold."""
    first, last = 0, norms.shape[0]
    while first < last:
        middle = (first + last) // 2
        if slope * norms[middle] + offset < threshold:
            last = middle
        else:
            first = middle + 1
    return first


@compiled
def _sketched(query, sketches):
    """A query as the bounds take it."""
    sketched = Query(np.empty(WIDTH, np.int16), np.empty(3))
    sketch_query(query, sketches.rotation, sketched)
    return sketched


@compiled
def _bound_all(query, items, allowed, seen, marks, upper, panel, scores, ids):
    """Write bounds of all places to ``upper`` in place, up to the norm that ends the walk; returns their number.

    Scores promising items on the way; the panel's threshold is then one that n items reach.
    """
    n_items, order, none = items.rows.shape[0], items.order, np.empty(0, np.int32)
    sketched = _sketched(query, items.sketches)
    slope, offset = bound_factors(query)
    bounds, chosen = _room_for_promising(scores)
    first = min(FIRST, n_items)
    _bounds(0, first, none, items.sketches, sketched, upper)
    _promising(upper[:first], order, none, allowed, seen, marks, bounds, chosen)
    _offer_chosen(query, chosen, items, panel, scores, ids)
    last = max(_places_before(items.norms, slope, offset, panel.threshold[0]), first)
    if last > first:
        _bounds(first, last, none, items.sketches, sketched, upper)
        _promising(upper[:last], order, none, allowed, seen, marks, bounds, chosen)
        _offer_chosen(query, chosen, items, panel, scores, ids)
    return last


@compiled_without_refcounts
def _product(query, rows, item):
    """Inner product of a query and a row, in any order of its terms: the score but for rounding."""
    total = query[0] - query[0]
    for t in range(query.shape[0]):
        total += query[t] * rows[item, t]
    return total


@compiled
def _smallest(query):
    """What products that underflow are off by, which a margin of norms does not cover."""
    return query.dtype.type((query.shape[0] + WIDTH) * np.finfo(query.dtype).tiny)


@compiled
def _room_for_promising(scores):
    """Room for the bounds and ids of promising items, as many as are wanted, in whole panels."""
    wanted = -(-scores.shape[0] // TILE_ITEMS) * TILE_ITEMS
    return np.empty(wanted, scores.dtype), np.empty(wanted, np.int32)


@compiled
def _panel_for(query):
    """An empty panel for items of as many factors as a query has."""
    kind, k = query.dtype, query.shape[0]
    rows, scores = np.empty((1, k, TILE_ITEMS), kind), np.empty((1, TILE_ITEMS), kind)
    return Panel(np.empty(TILE_ITEMS, np.int32), rows, np.full(1, -np.inf, kind), scores, np.zeros(1, np.int64))


@compiled
def rank_single(query, items, places, allowed, seen, scores, ids):
    """Best items of one query, in place in ``scores`` and ``ids`` (n,)."""
    order, n_items, small = items.order, items.rows.shape[0], _smallest(query)
    norm = bound_factors(query)[0]
    if norm == 0.0 and not places.shape[0]:
        fill_lowest(n_items, allowed, seen, scores, ids)
        return
    marks, panel = np.empty(MARK_WORDS, np.int64), _panel_for(query)
    set_marks(seen, marks)
    if places.shape[0]:
        last, upper = places.shape[0], np.empty(places.shape[0], query.dtype)
        bounds, chosen = _room_for_promising(scores)
        _bounds(0, last, places, items.sketches, _sketched(query, items.sketches), upper)
        _promising(upper, order, places, allowed, seen, marks, bounds, chosen)
        _offer_chosen(query, chosen, items, panel, scores, ids)
    else:
        upper = np.empty(n_items, query.dtype)
        last = _bound_all(query, items, allowed, seen, marks, upper, panel, scores, ids)
    rounding = norm * relative_margin(query.shape[0], np.finfo(query.dtype).eps)
    scores[:] = -np.inf
    ids[:] = NO_ITEM
    count = 0
    for start in range(0, last, TILE_ITEMS):
        stop = min(start + TILE_ITEMS, last)
        if not _any_reaches(upper, start, stop, panel.threshold[0] - small):
            continue
        for t in range(start, stop):
            if upper[t] < panel.threshold[0] - small:
                continue
            place = _place_at(places, t)
            item = order[place]
            if _product(query, items.rows, item) + rounding * items.norms[place] < panel.threshold[0] - small:
                continue
            if (allowed.shape[0] == 0 or allowed[item]) and not contains(seen, marks, item):
                panel.ids[count] = item
                count += 1
                if count == TILE_ITEMS:
                    _offer_panel(query, count, items, panel, scores, ids)
                    count = 0
    _offer_panel(query, count, items, panel, scores, ids)
    sort_heap(scores, ids)


@compiled
def chosen_places(candidates, excluded, seen, places_of, places):
    """Write the places of the candidates that may be returned, each once, to ``places`` in place; returns how many.

    ``candidates``, ``excluded`` and ``seen`` are int32 ids, in any order; ``places_of`` (n_items,) has their places.
    """
    taken = np.zeros((places_of.shape[0] + 63) // 64, np.int64)
    for item in excluded:
        taken[item >> 6] |= np.int64(1) << (item & 63)
    for item in seen:
        taken[item >> 6] |= np.int64(1) << (item & 63)
    count = 0
    for item in candidates:
        bit = np.int64(1) << (item & 63)
        if not taken[item >> 6] & bit:
            taken[item >> 6] |= bit
            places[count] = places_of[item]
            count += 1
    return count
