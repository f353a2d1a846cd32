"""Items in eight bits a coordinate, and what such a sketch says of a score: a bound that is never below it.

A row y of k factors is turned by R (k, width), whose columns are orthonormal, and rounded to integers:

    R'y = unit c + e,   c of -127 .. 127;    y = R R'y + y_t.

For a query x with h = R'x and x_t = x - R h, Cauchy and Schwarz give

    x.y = unit c.h + e.h + x_t.y_t <= unit c.h + |e| |h| + |y_t| |x_t|.

With 64 coordinates a sketch is one cache line, and the bound lies within a percent of the score where they hold all of
y: of 41,000 trained items of 64 factors it leaves 10 to 13 for a list of ten, of 128 factors (the 64 strongest
directions) 350 to 1,900. As many bytes of float32 coordinates leave hundreds and thousands.

The bound is made to hold for the computed score, and as computed: each length is enlarged by ``margin`` of the row's
norm, which covers the rounding of the score (k epsilon |x| |y|), of R, of h, of the lengths and of the bound itself.
"""

from typing import Any, NamedTuple

import numpy as np

from fastals.kernels.jit import compiled, compiled_without_refcounts

LARGEST_CODE = 127.0


class Sketches(NamedTuple):
    """Sketches of items.

    codes : (m, width) int8 array
        c of each item.
    lengths : (m, 3) array of the type of the items
        ``unit``, |e| and |y_t| of each item, the latter two enlarged.
    rotation : (k, width) float64 array, or (0, width) for the identity
        R.
    """

    codes: Any
    lengths: Any
    rotation: Any


@compiled
def relative_margin(factors, eps):
    """What a computed score, its bound, or a length can be off, relative to the norms; see the top of the file."""
    return 8.0 * (factors + 64) * np.float64(eps)


@compiled
def _turned(row, rotation, head):
    """Write R'row to ``head`` (width,) float64 in place; return its norm, that of the rest, and the row's."""
    squared, head_squared = 0.0, 0.0
    head[:] = 0
    for t in range(row.shape[0]):
        value = np.float64(row[t])
        squared += value * value
        if rotation.shape[0] == 0:
            head[t] = value
        else:
            for j in range(head.shape[0]):
                head[j] += value * rotation[t, j]
    for j in range(head.shape[0]):
        head_squared += head[j] * head[j]
    # The difference may be rounding alone.
    tail_squared = max(squared - head_squared, 0.0) + relative_margin(row.shape[0], np.finfo(np.float64).eps) * squared
    return np.sqrt(head_squared), np.sqrt(tail_squared), np.sqrt(squared)


@compiled
def _rounded_up(length, norm, like):
    """A length enlarged by the margin of the row's norm, in the type of ``like``."""
    limits = np.finfo(like.dtype)
    enlarged = length + relative_margin(like.shape[0], limits.eps) * (norm + np.float64(limits.tiny))
    return np.nextafter(like.dtype.type(enlarged), like.dtype.type(np.inf))


@compiled
def sketch_rows(items, order, sketches):
    """Write the sketches of ``items[order]`` to ``sketches`` in place."""
    codes, lengths, rotation = sketches.codes, sketches.lengths, sketches.rotation
    head = np.empty(codes.shape[1])
    for place in range(order.shape[0]):
        row = items[order[place]]
        _, tail, norm = _turned(row, rotation, head)
        largest = 0.0
        for value in head:
            largest = max(largest, abs(value))
        lengths[place, 0] = largest / LARGEST_CODE
        unit = np.float64(lengths[place, 0])  # as it has been rounded
        error = 0.0
        for j in range(head.shape[0]):
            code = np.rint(head[j] / unit) if unit > 0.0 else 0.0
            code = min(max(code, -LARGEST_CODE), LARGEST_CODE)
            codes[place, j] = np.int8(code)
            rest = head[j] - code * unit
            error += rest * rest
        lengths[place, 1] = _rounded_up(np.sqrt(error), norm, row)
        lengths[place, 2] = _rounded_up(tail, norm, row)


@compiled
def sketch_query(query, rotation, head):
    """Write h to ``head`` (width,), of the type of the query, in place; return |h| and |x_t|, enlarged."""
    turned = np.empty(head.shape[0])
    length, tail, norm = _turned(query, rotation, turned)
    for j in range(head.shape[0]):
        head[j] = turned[j]
    return _rounded_up(length, norm, query), _rounded_up(tail, norm, query)


@compiled_without_refcounts
def upper_bound(sketches, place, head, length, tail):
    """Bound on the computed score of the item at ``place`` with the query that ``sketch_query`` has made this of."""
    codes, lengths = sketches.codes, sketches.lengths
    product = head[0] - head[0]
    for j in range(head.shape[0]):
        product += head.dtype.type(codes[place, j]) * head[j]
    return lengths[place, 0] * product + (lengths[place, 1] * length + lengths[place, 2] * tail)
