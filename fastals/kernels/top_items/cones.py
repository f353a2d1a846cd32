"""Items of one length as cones: panels of neighbours, and what the angle to their centre says of a score.

Where all norms are alike, as of cosines, their order says nothing. Items are ordered by a tree instead, whose nodes are
halved along the line between the means of two halves, so that a panel holds neighbours. A query x at an angle theta to
the centre of a panel, none of whose items is farther than alpha from it, has

    x.y <= |x| |y| cos(theta - alpha)   where theta > alpha, and else <= |x| |y|.

Of 41,000 trained items of 64 factors that leaves a third of the panels, of 128 factors two thirds (medians for lists
of ten). The nearest eight panels give a threshold that leaves hardly more than the final one.
"""

import numpy as np

from fastals.kernels.jit import compiled
from fastals.kernels.top_items.lists import replace_worst
from fastals.kernels.top_items.products import PANEL
from fastals.kernels.top_items.sketch import bound_panels, relative_margin
from fastals.kernels.top_items.walk import vector_norm

ALIKE = 0.99  # the smallest norm over the largest, of those that are not 0
ROUNDS = 3  # in which a direction settles; more leave as many panels (measured)
SAMPLE = 1024  # rows that name a direction, or up to twice as many; all rows leave as many panels
NEAREST = 8  # panels of the first threshold by angle
DEPTH = 64  # places for nodes of the tree that wait: two for each level


@compiled
def _project(rows, ids, step, direction, values):
    """Write the inner products of every ``step``-th row and a direction to ``values``, in place, in float64."""
    for place in range(0, ids.shape[0], step):
        total = 0.0
        for t in range(direction.shape[0]):
            total += np.float64(rows[ids[place], t]) * direction[t]
        values[place // step] = total


@compiled
def _mean_difference(rows, ids, step, values, cut, direction):
    """Mean of every ``step``-th row whose value is above the cut less that of the others, in place in ``direction``.

    ``values`` are by row of the sample. Says whether there are rows on both sides.
    """
    above = 0
    for t in range(-(-ids.shape[0] // step)):
        above += values[t] > cut
    below = -(-ids.shape[0] // step) - above
    if above == 0 or below == 0:
        return False
    for t in range(direction.shape[0]):
        direction[t] = 0.0
    for place in range(0, ids.shape[0], step):
        share = 1.0 / above if values[place // step] > cut else -1.0 / below
        for t in range(direction.shape[0]):
            direction[t] += share * rows[ids[place], t]
    return True


@compiled
def _find_direction(rows, ids, direction, values):
    """Write a direction along which the rows ``ids`` are spread to ``direction`` (k,), in place; ``values`` is scratch.

    It starts at the first row's farthest and goes on as the difference between the means of two halves: those of
    two clusters, if there are any.
    """
    step = max(1, ids.shape[0] // SAMPLE)
    count = -(-ids.shape[0] // step)
    for t in range(direction.shape[0]):
        direction[t] = rows[ids[0], t]
    for number in range(ROUNDS + 1):
        _project(rows, ids, step, direction, values)
        total, farthest = 0.0, 0
        for t in range(count):
            total += values[t]
            farthest = t if values[t] < values[farthest] else farthest
        if number == 0:
            for t in range(direction.shape[0]):
                direction[t] -= rows[ids[farthest * step], t]
        elif not _mean_difference(rows, ids, step, values, total / count, direction):
            return


@compiled
def _halve(values, ids, middle):
    """Reorder both, in place, so that no value before ``middle`` is below one behind it (Hoare's selection)."""
    first, last = 0, values.shape[0] - 1
    while first < last:
        pivot, i, j = values[(first + last) // 2], first, last
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                ids[i], ids[j] = ids[j], ids[i]
                i += 1
                j -= 1
        if middle <= j:
            last = j
        elif middle >= i:
            first = i
        else:
            break


@compiled
def order_by_direction(rows, ids):
    """Reorder ``ids`` (m,) int32, in place, so that each panel of them holds rows of ``rows`` that are neighbours."""
    direction, values = np.empty(rows.shape[1]), np.empty(ids.shape[0])
    waiting, count = np.empty((DEPTH, 2), np.int64), 1
    waiting[0, 0], waiting[0, 1] = 0, ids.shape[0]
    while count:
        count -= 1
        first, last = waiting[count, 0], waiting[count, 1]
        panels = -(-(last - first) // PANEL)
        if panels < 2:
            continue
        own, sums = ids[first:last], values[: last - first]
        _find_direction(rows, own, direction, sums)
        _project(rows, own, np.int64(1), direction, sums)
        middle = (panels + 1) // 2 * PANEL
        _halve(sums, own, middle)
        waiting[count, 0], waiting[count, 1] = first + middle, last
        waiting[count + 1, 0], waiting[count + 1, 1] = first, first + middle
        count += 2


@compiled
def _find_centre(rows, ids, norms, mean):
    """Write the mean of the directions of the rows ``ids``, made 1 long, to ``mean`` (k,) in place.

    The first row's direction where the mean is 0, and 0 if all rows are; ``norms`` are those of the rows ``ids``.
    """
    for t in range(mean.shape[0]):
        mean[t] = 0.0
    for i in range(ids.shape[0]):
        if norms[i] > 0.0:
            for t in range(mean.shape[0]):
                mean[t] += np.float64(rows[ids[i], t]) / norms[i]
    length = vector_norm(mean)
    if length == 0.0 and norms[0] > 0.0:
        length = norms[0]
        for t in range(mean.shape[0]):
            mean[t] = rows[ids[0], t]
    for t in range(mean.shape[0]):
        mean[t] = mean[t] / length if length > 0.0 else 0.0


@compiled
def measure_cones(rows, ids, norms, centres, cones):
    """Write the centre of each panel of ``ids`` to ``centres`` (panels, k), its cone to ``cones``, in place.

    A cone is (panels, 3) float64: cosine and sine of the largest angle between a row and the centre, and the longest
    row. ``norms`` (m,) are those of the rows ``ids``, normal numbers, for division multiplies by an inverse; rows of
    length 0 have no angle. The sine is measured, not reckoned from the cosine, which has lost half its digits where
    rows are equal.
    """
    centre = np.empty(rows.shape[1])
    for panel in range(centres.shape[0]):
        first, last = panel * PANEL, min((panel + 1) * PANEL, ids.shape[0])
        _find_centre(rows, ids[first:last], norms[first:last], centre)
        cosine, sine, longest = 1.0, 0.0, 0.0
        for place in range(first, last):
            if norms[place] == 0.0:
                continue
            along, across = 0.0, 0.0
            for t in range(centre.shape[0]):
                along += np.float64(rows[ids[place], t]) / norms[place] * centre[t]
            for t in range(centre.shape[0]):
                rest = np.float64(rows[ids[place], t]) / norms[place] - along * centre[t]
                across += rest * rest
            cosine, sine, longest = min(cosine, along), max(sine, np.sqrt(across)), max(longest, norms[place])
        if cosine < 0.0:  # of more than a right angle, beyond which sines fall
            sine = np.sqrt(max(1.0 - cosine * cosine, 0.0))
        cones[panel, 0], cones[panel, 1], cones[panel, 2] = cosine, sine, longest
        for t in range(centre.shape[0]):
            centres[panel, t] = centre[t]


@compiled
def bound_cones(length, cones, sketches, query, estimates, upper, near, bounds):
    """Bound the scores of each panel, in place in ``bounds`` (n_panels,) float64, in the unit of the query's sketch.

    ``length`` is that of the query, in that unit, not below it; ``cones`` are (n_panels, 3). ``near`` (n_panels,)
    float64 gets how near the centres are, which are behind the items in the panels of ``sketches``: the other arguments
    are those of `bound_panels`. Returns what NEAREST of the panels reach in ``near``, or -inf where there are fewer.
    """
    n_panels, kind = cones.shape[0], upper.dtype
    rows = np.empty(upper.shape[0] - n_panels, np.int32)
    for row in range(rows.shape[0]):
        rows[row] = n_panels + row
    bound_panels(rows, True, sketches, query, estimates, upper)
    # For the rounding of the cones; that of scores and of centres is within the margins of the lengths of a sketch.
    margin = relative_margin(sketches.rotation.shape[0], np.finfo(kind).eps) * length
    best, none = np.empty(NEAREST, kind), np.empty(NEAREST, np.int32)
    for t in range(NEAREST):
        best[t] = -np.inf
    for panel in range(n_panels):
        value, cosine = upper[n_panels + panel // PANEL, panel % PANEL], cones[panel, 0]
        along = np.float64(value)
        near[panel] = along
        if value > best[0]:
            replace_worst(best, none, value, np.int32(panel))
        bound = length
        # a cos alpha + (|x|^2 - a^2)^1/2 sin alpha rises in a up to |x| cos alpha: a bound of a may stand for a.
        if along < cosine * length:
            across = np.sqrt(max(length * length - along * along, 0.0))
            bound = along * cosine + across * cones[panel, 1]
        bounds[panel] = (max(bound, 0.0) + margin) * cones[panel, 2]  # rows may be shorter than the longest, or 0
    return np.float64(best[0])
