"""The most promising items of a single query, whose inner products give a threshold that n items reach.

A value promises: a bound of an item's score, or an estimate. Nothing depends on it but how high the threshold is.

Common arguments: ``query`` (k,); ``items`` (Sketched) and ``panel`` (Panel) as in `single`, whose threshold is raised
in place; ``promising`` (Promising), ``scores`` and ``ids`` (n,) are scratch.
"""

from typing import Any, NamedTuple

import numpy as np

from fastals.kernels.jit import compiled, compiled_without_refcounts
from fastals.kernels.top_items.lists import NO_ITEM, replace_worst
from fastals.kernels.top_items.products import PANEL, reaching
from fastals.kernels.top_items.sketch import WIDEST, relative_margin
from fastals.kernels.top_items.tiles import lowest_bit
from fastals.kernels.top_items.walk import bound_factors

LEAST_STEPS = 2  # of four panels: the largest of fewer say little


class Promising(NamedTuple):
    """Scratch: the most promising items, as many as are wanted, rounded up to whole tiles.

    values : (m,) array
        What they promise, a heap.
    chosen : (m,) int32 array
        Their places.
    """

    values: Any
    chosen: Any


@compiled
def _largest_of_lanes(values, panels, largest):
    """Write the largest of each column of the rows ``panels``, a multiple of 4, to ``largest`` (PANEL,) in place."""
    largest[:] = -np.inf
    for t in range(0, panels.shape[0], 4):  # a panel at a time takes three times as long (measured)
        first, second, third, fourth = panels[t], panels[t + 1], panels[t + 2], panels[t + 3]
        for j in range(PANEL):
            a, b, c, d = values[first, j], values[second, j], values[third, j], values[fourth, j]
            a, c = a if a > b else b, c if c > d else d
            a = a if a > c else c
            largest[j] = a if a > largest[j] else largest[j]


@compiled
def reached_by(values, panels, least, best, chosen):
    """A value that as many of the ``panels`` as there are places in ``best`` reach, or ``least``.

    Each of twice as many lanes as are wanted names its largest value; the least of the best of these is such a value.
    Some 40 of 41,000 items are above it for a list of 32, through which 260 would go without it (measured). ``values``
    are (all panels, PANEL); ``best`` and ``chosen`` (m,) are scratch.
    """
    groups = -(-2 * best.shape[0] // PANEL)
    best[:] = least
    steps = panels.shape[0] // (4 * groups)
    if steps < LEAST_STEPS:
        return best[0]
    largest = np.empty(PANEL, values.dtype)
    for first in range(0, groups * 4 * steps, 4 * steps):
        _largest_of_lanes(values, panels[first : first + 4 * steps], largest)
        for value in largest:
            if value > best[0]:
                replace_worst(best, chosen, value, NO_ITEM)
    return best[0]


@compiled
def look_promising(query, values, panels, least, items, promising, panel, scores, ids):
    """Raise the threshold by those places of ``panels``, (m,) int32, rising, whose ``values`` are largest.

    Values, (all panels, PANEL), must be above ``least``.
    """
    best, chosen = promising
    n_items, whole = items.order.shape[0], panels.shape[0]
    if whole and (panels[whole - 1] + 1) * PANEL > n_items:
        whole -= 1
    chosen[:] = NO_ITEM
    best[:] = max(least, np.nextafter(reached_by(values, panels[:whole], least, best, chosen), least))
    for number in panels:
        mask = reaching(values, number, best[0])
        while mask:
            place = number * PANEL + lowest_bit(mask)
            value = values[number, place % PANEL]
            mask &= mask - 1
            if place < n_items and value > best[0]:
                replace_worst(best, chosen, value, np.int32(place))
    _raise_threshold(query, chosen, items, panel, scores, ids)


@compiled
def look_promising_of(query, values, places, items, promising, panel, scores, ids):
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
    """Raise the threshold to what n of the ``chosen`` places reach; NO_ITEM among them are none.

    Inner products tell, less their rounding: the scores themselves take three times as long (measured).
    """
    limits = np.finfo(query.dtype)
    rounding = bound_factors(query)[0] * relative_margin(query.shape[0], limits.eps)
    smallest = (query.shape[0] + WIDEST) * np.float64(limits.tiny)
    scores[:] = -np.inf
    for place in chosen:
        if place != NO_ITEM:
            product = np.float64(inner_product(query, items.rows, items.order[place]))
            least = min(query.dtype.type(product - rounding * items.norms[place] - smallest), items.ceiling)
            if np.isfinite(product) and least > scores[0]:
                replace_worst(scores, ids, least, place)
    panel.threshold[0] = max(panel.threshold[0], scores[0])


@compiled_without_refcounts
def inner_product(query, rows, item):
    """Inner product of a query and a row, in any order of its terms: the score but for rounding."""
    total = query[0] - query[0]
    for t in range(query.shape[0]):
        total += query[t] * rows[item, t]
    return total
