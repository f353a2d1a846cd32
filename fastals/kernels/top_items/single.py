"""Exact top-N of a single query: sketches tell nearly all items off, those that are left are scored.

1. The leading coordinates of the first items, of the largest norms, name a few promising ones; their inner products
   give a threshold that n items reach. Of items of one length (see `cones`), the nearest panels do.
2. By Cauchy and Schwarz the threshold ends the walk at some norm, or leaves out panels by their angle; all items of the
   others are bounded by their leading coordinates, which name better ones. Where these leave many, panels are bounded
   anew by the next coordinates too.
3. Of what has a bound at or above the threshold, the next coordinates give closer bounds, name better ones, and so on
   to the whole sketch.
4. Of what is left, the inner product is taken as fast as it can be; what that leaves, up to rounding, is scored in the
   tile that batches are scored in, whose digits count, and offered.

Bounds have a unit of their own (see `sketch`); thresholds are taken in it.

Common arguments: ``items`` (Sketched); ``scores`` and ``ids`` as in `lists`.
"""

from typing import Any, NamedTuple

import numpy as np

from fastals.kernels.jit import compiled
from fastals.kernels.top_items.cones import bound_cones
from fastals.kernels.top_items.lists import NO_ITEM, fill_lowest, replace_worst, sort_heap
from fastals.kernels.top_items.products import PANEL, reaching
from fastals.kernels.top_items.promising import Promising, inner_product, look_promising, look_promising_of
from fastals.kernels.top_items.sketch import (
    CHUNK,
    LENGTHS,
    WEAK,
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

FIRST = 8  # panels of the first threshold by norm
MANY = 16  # a row takes as long to bound as so many items of panels, or longer
FEW = 1024  # items of which it does not pay to look for the best first: a product each is cheaper


class Sketched(NamedTuple):
    """Items for single queries. A place is a position in an order: of falling norm, or of items of one length a tree's.

    rows : (n_items, k) array
        Factors.
    order : (n_items,) int32 array
        The id at each place.
    places : (n_items,) int32 array
        The place of each id.
    norms : (n_items,) float64 array
        Norms in this order.
    sketches : Sketches
        In this order. Behind the panels of the items are those of the centres of cones, if there are any.
    cones : (n_panels, 3) float64 array, or (0, 3)
        Of items of one length, see `cones`; else none.
    ceiling : float of the items' type
        No score is above it.
    """

    rows: Any
    order: Any
    places: Any
    norms: Any
    sketches: Any
    cones: Any
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
def _places_before(norms, query, threshold):
    """Number of leading items whose norms do not keep them below a threshold."""
    slope, offset = bound_factors(query)
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
    if not np.isfinite(sketched.numbers[0]):  # of a query whose inverse overflows: nothing can be told off
        return query.dtype.type(limits.min)
    # What products that underflow are off by, which a margin of norms does not cover.
    smallest = (query.shape[0] + WIDEST) * np.float64(limits.tiny)
    scaled = (np.float64(panel.threshold[0]) - smallest) * sketched.numbers[0]
    return np.nextafter(query.dtype.type(max(scaled, 0.5 * np.float64(limits.min))), query.dtype.type(-np.inf))


@compiled
def _is_weak(sketched):
    """Whether a query is so weak in the leading coordinates that its bounds take all of level 0 at once."""
    return sketched.numbers[2] > WEAK * sketched.numbers[1]


@compiled
def _bound_all(panels, items, allowed, seen, sketched, estimates, upper):
    """Bound ``panels`` (m,) int32; -inf for what may not be returned.

    ``estimates`` and ``upper`` as in `bound_panels`, in place.
    """
    bound_panels(panels, _is_weak(sketched), items.sketches, sketched, estimates, upper)
    for item in seen:
        panel, lane = divmod(items.places[item], PANEL)
        estimates[panel % estimates.shape[0], lane] = -np.inf
        upper[panel, lane] = -np.inf
    if allowed.shape[0]:
        for panel in panels:
            for place in range(panel * PANEL, min((panel + 1) * PANEL, items.order.shape[0])):
                if not allowed[items.order[place]]:
                    estimates[panel % estimates.shape[0], place % PANEL] = -np.inf
                    upper[panel, place % PANEL] = -np.inf


@compiled
def _reaching(upper, panels, n_items, limit, most):
    """Places of ``panels`` (m,) int32 whose bounds, (all panels, PANEL), are not below the limit, (m,) int32.

    Or the first of them, more than ``most``.
    """
    places, count = np.empty(most + PANEL, np.int32), 0
    for panel in panels:
        mask = reaching(upper, panel, limit)
        while mask:
            places[count] = panel * PANEL + lowest_bit(mask)
            count += places[count] < n_items
            mask &= mask - 1
        if count > most:
            break
    return places[:count]


@compiled
def _listed(bounds, limit):
    """Numbers of the panels whose bounds, (n_panels,), are not below a limit, (m,) int32, rising."""
    panels, count = np.empty(bounds.shape[0], np.int32), 0
    for number in range(bounds.shape[0]):
        panels[count] = number
        count += not bounds[number] < limit
    return panels[:count]


@compiled
def _first_panels(count):
    """Numbers of so many panels, (count,) int32."""
    panels = np.empty(count, np.int32)
    for number in range(count):
        panels[number] = number
    return panels


@compiled
def _bounded_panels(query, items, allowed, seen, sketched, promising, panel, scores, ids):
    """Panels that norms or angles leave, (m,) int32, and their bounds, (all panels, PANEL), of others without meaning.

    A first few of them give the threshold. Among items of differing length estimates name the best, and better ones
    when all have theirs; among items of one length bounds do, and the nearest panels' threshold is nearly that of all.
    One kernel for both: two hold more copies of what they share, and a first request waits .9 s longer (measured).
    """
    n_panels, alike = -(-items.order.shape[0] // PANEL), items.cones.shape[0] > 0
    upper = np.empty((items.sketches.panels.shape[0], PANEL), query.dtype)
    estimates = np.empty((1 if alike else n_panels, PANEL), query.dtype)
    values, none = upper if alike else estimates, query.dtype.type(-np.inf)
    near, angles = np.empty(items.cones.shape[0]), np.empty(items.cones.shape[0])
    if alike:
        length = bound_factors(query)[0] * sketched.numbers[0]
        least = bound_cones(length, items.cones, items.sketches, sketched, estimates, upper, near, angles)
        panels = _listed(near, least)
    else:
        panels = _first_panels(min(FIRST, n_panels))
    _bound_all(panels, items, allowed, seen, sketched, estimates, upper)
    look_promising(query, values, panels, none, items, promising, panel, scores, ids)
    if alike:
        bounded, panels = 0, _listed(angles, np.float64(_limit(query, sketched, panel)))
    else:
        bounded, panels = FIRST, _first_panels(-(-_places_before(items.norms, query, panel.threshold[0]) // PANEL))
    _bound_all(panels[bounded:], items, allowed, seen, sketched, estimates, upper)
    if not alike and panels.shape[0] > FIRST:
        look_promising(query, values, panels, none, items, promising, panel, scores, ids)
    return panels, upper


@compiled
def _left_by_panels(query, items, allowed, seen, sketched, promising, panel, scores, ids):
    """Places that bounds of panels leave, (m,) int32, none of which may not be returned."""
    n_items = items.order.shape[0]
    panels, upper = _bounded_panels(query, items, allowed, seen, sketched, promising, panel, scores, ids)
    limit, few = _limit(query, sketched, panel), panels.shape[0] * PANEL // MANY
    left = _reaching(upper, panels, n_items, limit, few)
    if left.shape[0] > few and not _is_weak(sketched):
        tighten_panels(panels, limit, items.sketches, sketched, upper)
        look_promising(query, upper, panels, limit, items, promising, panel, scores, ids)
    if left.shape[0] > few:
        left = _reaching(upper, panels, n_items, _limit(query, sketched, panel), panels.shape[0] * PANEL)
    return left


@compiled
def _left_by_levels(query, left, items, sketched, promising, panel, scores, ids):
    """Keep of the places ``left``, at its front, what the whole sketches leave; returns their number."""
    count = left.shape[0]
    products, upper = np.zeros(count, np.int32), np.empty(count, query.dtype)
    for level in range(levels_of(items.sketches.codes.shape[1])):
        bound_places(level, count, left, items.sketches, sketched, products, upper)
        if count > FEW:
            look_promising_of(query, upper, left[:count], items, promising, panel, scores, ids)
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
    none = waiting = np.int64(0)  # for a literal a panel's kernel would be compiled anew
    for place in left[:count]:
        item = items.order[place]
        if inner_product(query, items.rows, item) + rounding * items.norms[place] < panel.threshold[0] - smallest:
            continue
        panel.ids[waiting] = item
        waiting += 1
        if waiting == TILE_ITEMS:
            _offer_panel(query, waiting, items, panel, scores, ids)
            waiting = none
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
