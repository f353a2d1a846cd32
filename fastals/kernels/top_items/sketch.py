"""Items in eight bits a coordinate, and what such a sketch says of a score: a bound that is never below it.

A row y of k factors is turned by R (k, width), whose columns are orthonormal, and rounded to integers:

    R'y = unit c + e,   c of -127 .. 127;    y = R R'y + y_t.

For a query x with h = R'x and x_t = x - R h, Cauchy and Schwarz give

    x.y = unit c.h + e.h + x_t.y_t <= unit c.h + |e| |h| + |y_t| |x_t|.

With 64 coordinates a sketch is one cache line, and the bound lies within a percent of the score where they hold all of
y: of 41,000 trained items of 64 factors it leaves 10 to 13 for a list of ten, of 128 factors (the 64 strongest
directions) 350 to 1,900. As many bytes of float32 coordinates leave hundreds and thousands.

h is rounded, too, to 16 bits, h = step q + d, so that c.q is a sum of integers; |d| <= step width^1/2 / 2, which is at
most 1.23e-4 |h|.

The bound is made to hold for the computed score, and as computed: each length is enlarged by a margin of the row's
norm, which covers the rounding of the score (k epsilon |x| |y|), of R, of the lengths and of the bound itself, and d.
"""

from typing import Any, NamedTuple

import numpy as np

from fastals.kernels.jit import compiled, compiled_without_refcounts

LARGEST_CODE = 127.0
LARGEST_STEP = 32767.0
ROUNDED_QUERY = 1.3e-4  # |d| / |h| at the most, for up to WIDTH coordinates; |unit c| is at most 1.04 |y|
SMALL = 1e-100  # rows below it are taken LARGER times as large: their squares would underflow
LARGER = 2.0**600
WIDTH = 64  # coordinates of a sketch: one cache line of bytes. A constant, so that its loop is unrolled


class Sketches(NamedTuple):
    """Sketches of items.

    codes : (m, WIDTH) int8 array
        c of each item, zero past the width of R.
    lengths : (m, 3) array of the type of the items
        ``unit``, |e| and |y_t| of each item, the latter two enlarged.
    rotation : (k, width) float64 array, or (0, width) for the identity
        R.
    """

    codes: Any
    lengths: Any
    rotation: Any


class Query(NamedTuple):
    """A query as the bounds take it; ``head`` and ``numbers`` are filled by ``sketch_query``.

    head : (WIDTH,) int16 array
        q.
    numbers : (3,) float64 array
        step, |h| and |x_t|, the latter two enlarged.
    """

    head: Any
    numbers: Any


@compiled
def relative_margin(factors, eps):
    """What a computed score, its bound, or a length can be off, relative to the norms; see the top of the file."""
    return 8.0 * (factors + 64) * np.float64(eps)


@compiled
def _turned(row, rotation, head):
    """Write ``scale`` R'row to ``head`` (width,) float64 in place; return its norm, that of the rest, the row's, scale.

    The norms are those of the row as it is; ``scale`` is 1, or LARGER for rows whose squares would underflow.
    """
    squared, head_squared, largest = 0.0, 0.0, 0.0
    head[:] = 0
    for t in range(row.shape[0]):
        largest = max(largest, abs(np.float64(row[t])))
    scale = LARGER if largest < SMALL else 1.0
    for t in range(row.shape[0]):
        value = scale * np.float64(row[t])
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
    back = 1 / scale
    return back * np.sqrt(head_squared), back * np.sqrt(tail_squared), back * np.sqrt(squared), scale


@compiled
def _rounded_up(length, norm, like):
    """A length enlarged by the margin of the row's norm, in the type of ``like``."""
    limits = np.finfo(like.dtype)
    margin = relative_margin(like.shape[0], limits.eps) + ROUNDED_QUERY
    enlarged = length + margin * (norm + np.float64(limits.tiny))
    return np.nextafter(like.dtype.type(enlarged), like.dtype.type(np.inf))


@compiled
def sketch_rows(items, order, rotation, codes, lengths):
    """Write c and the lengths of ``items[order]`` to ``codes`` (m, width or more) and ``lengths`` (m, 3) in place."""
    head = np.empty(rotation.shape[1])
    codes[:] = 0
    for place in range(order.shape[0]):
        row = items[order[place]]
        _, tail, norm, scale = _turned(row, rotation, head)
        largest = 0.0
        for value in head:
            largest = max(largest, abs(value))
        lengths[place, 0] = largest / LARGEST_CODE / scale
        unit = scale * np.float64(lengths[place, 0])  # as it has been rounded
        error = 0.0
        for j in range(head.shape[0]):
            code = np.rint(head[j] / unit) if unit > 0.0 else 0.0
            code = min(max(code, -LARGEST_CODE), LARGEST_CODE)
            codes[place, j] = np.int8(code)
            rest = head[j] - code * unit
            error += rest * rest
        lengths[place, 1] = _rounded_up(np.sqrt(error) / scale, norm, row)
        lengths[place, 2] = _rounded_up(tail, norm, row)


@compiled
def sketch_query(query, rotation, sketched):
    """Write what the bounds need of a query to ``sketched`` (Query) in place."""
    turned = np.empty(rotation.shape[1])
    length, tail, norm, scale = _turned(query, rotation, turned)
    largest = 0.0
    for value in turned:
        largest = max(largest, abs(value))
    sketched.numbers[0] = largest / LARGEST_STEP / scale
    step = scale * sketched.numbers[0]  # as it has been rounded
    sketched.head[:] = 0
    for j in range(turned.shape[0]):
        sketched.head[j] = np.int16(np.rint(turned[j] / step)) if step > 0.0 else np.int16(0)
    sketched.numbers[1] = _rounded_up(length, norm, query)
    sketched.numbers[2] = _rounded_up(tail, norm, query)


@compiled_without_refcounts
def upper_bound(sketches, place, query):
    """Bound on the computed score of the item at ``place`` with a query (Query)."""
    codes, lengths, head, numbers = sketches.codes, sketches.lengths, query.head, query.numbers
    product = np.int32(0)
    for j in range(WIDTH):  # 32 bits at each step: LLVM then multiplies and adds pairs of 16
        product = np.int32(product + np.int32(codes[place, j]) * np.int32(head[j]))
    bound = numbers[0] * lengths[place, 0] * product
    return bound + (numbers[1] * lengths[place, 1] + numbers[2] * lengths[place, 2])
