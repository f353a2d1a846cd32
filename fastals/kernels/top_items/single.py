"""Exact top-N of a single query: sketches tell nearly all items off, those that are left are scored.

1. The leading coordinates of the first items, of the largest norms, name a few promising ones; their inner products
   give a threshold that n items reach.
2. By Cauchy and Schwarz the threshold ends the walk at some norm; all items before it are bounded by their leading
   coordinates, which name better ones. Where these leave many, panels are bounded anew by the next coordinates too.
3. Of what has a bound at or above the threshold, the next coordinates give closer bounds, name better ones, and so on
   to the whole sketch.
4. Of what is left, the inner product is taken as fast as it can be; what that leaves, up to rounding, is scored in the
   tile that batches are scored in, whose digits count, and offered.

Bounds have a unit of their own (see `sketch`); thresholds are taken in it.

Common arguments: ``items`` (Sketched); ``scores`` and ``ids`` as in `lists`.
"""

from typing import Any, NamedTuple

import numpy as np

from fastals.kernels.jit import compiled, compiled_without_refcounts
from fastals.kernels.top_items.lists import NO_ITEM, fill_lowest, replace_worst, sort_heap
from fastals.kernels.top_items.products import PANEL, reaching
from fastals.kernels.top_items.sketch import (
    CHUNK,
    LENGTHS,
    WIDEST,
    Query,
    bound_panels,
    bound_places,
    levels_of,
    relative_margin,
    sketch_query,
    tighten_panels,
)
from fastals.kernels.top_items.tiles import TILE_ITEMS, lowest_bit, score_row
from fastals.kernels.top_items.walk import bound_factors, pack_panels

FIRST = 8 * PANEL  # items of the first threshold
MANY = 16  # a row takes as long to bound as so many items of panels, or longer
LEAST_STEPS = 2  # of four panels: the largest of fewer say little
FEW = 1024  # items of which it does not pay to look for the best first: a product each is cheaper
ALIKE = 0.99  # the smallest norm over the largest, of items of which bounds say more than estimates


class Sketched(NamedTuple):
    """Items for single queries. A place is a position in the order of falling norm.

    rows : (n_items, k) array
        Factors.
    order : (n_items,) int32 array
        The id at each place.
    places : (n_items,) int32 array
        The place of each id.
    norms : (n_items,) float64 array
        Norms in this order, falling.
    sketches : Sketches
        In this order.
    ceiling : float of the items' type
        No score is above it.
    """

    rows: Any
    order: Any
    places: Any
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


class Promising(NamedTuple):
    """Scratch: the most promising items, as many as are wanted, in whole panels.

    values : (m,) array
        What they promise, a heap.
    chosen : (m,) int32 array
        Their places.
    """

    values: Any
    chosen: Any


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
def _largest_of_lanes(values, first, steps, largest):
    """Write the largest of each column of 4 ``steps`` panels, from the first, to ``largest`` (PANEL,) in place."""
    largest[:] = -np.inf
    for number in range(first, first + 4 * steps, 4):  # a panel at a time takes three times as long (measured)
        for j in range(PANEL):
            a, b, c, d = values[number, j], values[number + 1, j], values[number + 2, j], values[number + 3, j]
            a, c = a if a > b else b, c if c > d else d
            a = a if a > c else c
            largest[j] = a if a > largest[j] else largest[j]


@compiled
def reached_by(values, count, least, best, chosen):
    """A value that as many of the first ``count`` as there are places in ``best`` reach, or ``least``.

    Each of twice as many lanes as are wanted names its largest value; the least of the best of these is such a value.
    Some 40 of 41,000 items are above it for a list of 32, through which 260 would go without it (measured). ``values``
    are (panels, PANEL); ``best`` and ``chosen`` (m,) are scratch.
    """
    lanes = -(-2 * best.shape[0] // PANEL) * PANEL
    best[:] = least
    steps = count // (4 * lanes)
    if steps < LEAST_STEPS:
        return best[0]
    largest = np.empty(PANEL, values.dtype)
    for first in range(0, lanes // PANEL * 4 * steps, 4 * steps):
        _largest_of_lanes(values, first, steps, largest)
        for value in largest:
            if value > best[0]:
                replace_worst(best, chosen, value, NO_ITEM)
    return best[0]


@compiled
def _look_promising(query, values, count, least, items, promising, panel, scores, ids):
    """Raise the threshold by those of the first ``count`` places whose values, (panels, PANEL), are largest.

    Values must be above ``least``; ``scores`` and ``ids`` are scratch.
    """
    best, chosen = promising
    chosen[:] = NO_ITEM
    best[:] = max(least, np.nextafter(reached_by(values, count, least, best, chosen), least))
    for number in range(-(-count // PANEL)):
        mask = reaching(values, number, best[0])
        while mask:
            place = number * PANEL + lowest_bit(mask)
            value = values[number, place % PANEL]
            mask &= mask - 1
            if place < count and value > best[0]:
                replace_worst(best, chosen, value, place)
    _raise_threshold(query, chosen, items, panel, scores, ids)


@compiled
def _look_promising_of(query, values, places, items, promising, panel, scores, ids):
    """The same of ``places`` (m,) int32, each of which has its value."""
    best, chosen = promising
    best[:] = -np.inf
    chosen[:] = NO_ITEM
    for t in range(places.shape[0]):
        if values[t] > best[0]:
            replace_worst(best, chosen, values[t], places[t])
    _raise_threshold(query, chosen, items, panel, scores, ids)


@compiled
def _raise_threshold(query, chosen, items, panel, scores, ids):
    """Raise the threshold to what n of the ``chosen`` places reach, those that are none left out.

    Inner products tell, less their rounding: the scores themselves take three times as long (measured).
    """
    limits = np.finfo(query.dtype)
    rounding = bound_factors(query)[0] * relative_margin(query.shape[0], limits.eps)
    smallest = (query.shape[0] + WIDEST) * np.float64(limits.tiny)
    scores[:] = -np.inf
    for place in chosen:
        if place != NO_ITEM:
            product = np.float64(_product(query, items.rows, items.order[place]))
            least = min(query.dtype.type(product - rounding * items.norms[place] - smallest), items.ceiling)
            if np.isfinite(product) and least > scores[0]:
                replace_worst(scores, ids, least, place)
    panel.threshold[0] = max(panel.threshold[0], scores[0])


@compiled_without_refcounts
def _product(query, rows, item):
    """Inner product of a query and a row, in any order of its terms: the score but for rounding."""
    total = query[0] - query[0]
    for t in range(query.shape[0]):
        total += query[t] * rows[item, t]
    return total


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
    chunks = sketches.codes.shape[1]
    sketched = Query(np.empty((chunks, CHUNK), np.int16), np.empty(LENGTHS + levels_of(chunks)))
    sketch_query(query, sketches, sketched)
    return sketched


@compiled
def _limit(query, sketched, panel):
    """What bounds are compared with: the threshold but for scores that underflow, in their unit; finite."""
    limits = np.finfo(query.dtype)
    # What products that underflow are off by, which a margin of norms does not cover.
    smallest = (query.shape[0] + WIDEST) * np.float64(limits.tiny)
    scaled = (np.float64(panel.threshold[0]) - smallest) * sketched.numbers[0]
    return np.nextafter(query.dtype.type(max(scaled, 0.5 * np.float64(limits.min))), query.dtype.type(-np.inf))


@compiled
def _bound_all(first, last, items, allowed, seen, sketched, estimates, upper):
    """Bound the places first .. last, whole panels, by leading coordinates; -inf for what may not be returned.

    ``estimates`` and ``upper`` as in `bound_panels`, in place.
    """
    bound_panels(first // PANEL, -(-last // PANEL), items.sketches, sketched, estimates, upper)
    for item in seen:
        place = items.places[item]
        if first <= place < last:
            estimates[place // PANEL % estimates.shape[0], place % PANEL] = -np.inf
            upper[place // PANEL, place % PANEL] = -np.inf
    if allowed.shape[0]:
        for place in range(first, last):
            if not allowed[items.order[place]]:
                estimates[place // PANEL % estimates.shape[0], place % PANEL] = -np.inf
                upper[place // PANEL, place % PANEL] = -np.inf


@compiled
def _reaching(upper, last, limit, most):
    """Places before ``last`` whose bounds, (panels, PANEL), are not below the limit, (m,) int32.

    Or the first of them, more than ``most``.
    """
    places, count = np.empty(most + PANEL, np.int32), 0
    for panel in range(-(-last // PANEL)):
        mask = reaching(upper, panel, limit)
        while mask:
            places[count] = panel * PANEL + lowest_bit(mask)
            count += places[count] < last
            mask &= mask - 1
        if count > most:
            break
    return places[:count]


@compiled
def _left_by_panels(query, items, allowed, seen, sketched, promising, panel, scores, ids):
    """Places that bounds of panels leave, (m,) int32, none of which may not be returned."""
    n_items = items.rows.shape[0]
    n_panels = -(-n_items // PANEL)
    # Bounds name the best among items of one length, estimates among others.
    alike = items.norms[n_items - 1] > ALIKE * items.norms[0]
    upper = np.empty((n_panels, PANEL), query.dtype)
    estimates = np.empty((1 if alike else n_panels, PANEL), query.dtype)
    last = n_items if alike else min(FIRST, n_items)
    _bound_all(0, last, items, allowed, seen, sketched, estimates, upper)
    none = query.dtype.type(-np.inf)
    _look_promising(query, upper if alike else estimates, last, none, items, promising, panel, scores, ids)
    slope, offset = bound_factors(query)
    reach = _places_before(items.norms, slope, offset, panel.threshold[0])
    if reach > last:
        _bound_all(last, reach, items, allowed, seen, sketched, estimates, upper)
        last = reach
        _look_promising(query, estimates, last, none, items, promising, panel, scores, ids)
    limit, few = _limit(query, sketched, panel), last // MANY
    left = _reaching(upper, last, limit, few)
    if left.shape[0] > few:
        tighten_panels(-(-last // PANEL), limit, items.sketches, sketched, upper)
        _look_promising(query, upper, last, limit, items, promising, panel, scores, ids)
        left = _reaching(upper, last, _limit(query, sketched, panel), last)
    return left


@compiled
def _left_by_levels(query, left, items, sketched, promising, panel, scores, ids):
    """Keep of the places ``left``, at its front, what the whole sketches leave; returns their number."""
    count = left.shape[0]
    products, upper = np.zeros(count, np.int32), np.empty(count, query.dtype)
    for level in range(levels_of(items.sketches.codes.shape[1])):
        bound_places(level, count, left, items.sketches, sketched, products, upper)
        if count > FEW:
            _look_promising_of(query, upper, left[:count], items, promising, panel, scores, ids)
        limit, kept = _limit(query, sketched, panel), 0
        for t in range(count):
            left[kept], products[kept] = left[t], products[t]
            kept += not upper[t] < limit
        count = kept
    return count


@compiled
def _panel_for(query):
    """An empty panel for items of as many factors as a query has."""
    kind, k = query.dtype, query.shape[0]
    rows, scores = np.empty((1, k, TILE_ITEMS), kind), np.empty((1, TILE_ITEMS), kind)
    return Panel(np.empty(TILE_ITEMS, np.int32), rows, np.full(1, -np.inf, kind), scores, np.zeros(1, np.int64))


@compiled
def _offer_left(query, norm, count, left, items, panel, scores, ids):
    """Offer of the first ``count`` places of ``left`` those whose inner products do not tell them off."""
    limits = np.finfo(query.dtype)
    rounding = norm * relative_margin(query.shape[0], limits.eps)
    smallest = query.dtype.type((query.shape[0] + WIDEST) * limits.tiny)
    scores[:] = -np.inf
    ids[:] = NO_ITEM
    waiting = 0
    for place in left[:count]:
        item = items.order[place]
        if _product(query, items.rows, item) + rounding * items.norms[place] < panel.threshold[0] - smallest:
            continue
        panel.ids[waiting] = item
        waiting += 1
        if waiting == TILE_ITEMS:
            _offer_panel(query, waiting, items, panel, scores, ids)
            waiting = 0
    _offer_panel(query, waiting, items, panel, scores, ids)


@compiled
def rank_single(query, items, places, allowed, seen, scores, ids):
    """Best items of one query, in place in ``scores`` and ``ids`` (n,).

    ``places`` are those to choose from, (m,) int32, of distinct items that may be returned; or it is (0,) for all of
    ``allowed`` (n_items,) bool, or (0,) for all, but for the ids ``seen`` int32, sorted.
    """
    norm, panel = bound_factors(query)[0], _panel_for(query)
    if norm == 0.0 and not places.shape[0]:
        fill_lowest(items.rows.shape[0], allowed, seen, scores, ids)
        return
    wanted = -(-scores.shape[0] // TILE_ITEMS) * TILE_ITEMS
    promising = Promising(np.empty(wanted, scores.dtype), np.empty(wanted, np.int32))
    sketched = _sketched(query, items.sketches)
    if places.shape[0]:
        left = places.copy()
    else:
        left = _left_by_panels(query, items, allowed, seen, sketched, promising, panel, scores, ids)
    count = _left_by_levels(query, left, items, sketched, promising, panel, scores, ids)
    _offer_left(query, norm, count, left, items, panel, scores, ids)
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
