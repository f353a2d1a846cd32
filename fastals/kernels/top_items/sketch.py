"""Items in eight bits a coordinate, and what such a sketch says of a score: a bound that is never below it.

A row y of k factors is turned by R (k, width) and rounded to integers:

    R'y = unit c + e,   c of -127 .. 127.

The columns of R go by falling strength of the items along them, in blocks of 32, 32, 64, 128 columns, each of which is
mixed so that a row spreads evenly over it; R R' is the identity, or for factors beyond WIDEST a projector.
For a query x with h = R'x, and z_t for what a vector z has past its first t coordinates (and outside of R),

    x.y <= unit c.h (over t coordinates) + |e| |h| + |x_t| |y_t|    (Cauchy and Schwarz).

So a score is bounded by its leading coordinates first, half of them, and more closely by all where that does not tell
an item off: of 41,000 trained items of 64 factors the first 32 coordinates leave some 150 for a list of ten and 64
leave 10 to 13. The coordinates of PANEL items lie together, so that whole vectors of items are bounded at a time, and
those of an item lie in whole cache lines once more: where a query has its length in the weak directions, the leading
coordinates leave nearly all items, for which panels are ten times as fast as rows. Of such a query panels are bounded
by all coordinates at once.

h is rounded to 16 bits, h = step q + d, so that c.q is a sum of integers; |d| <= step width^1/2 / 2, which is at most
2.5e-4 |h|. Bounds are those of the query in units of that step.

The bound is made to hold for the computed score, and as computed: each length is enlarged by a margin of the row's
norm, which covers the rounding of the score (k epsilon |x| |y|), of R, of the lengths and of the bound itself, and d.
"""

from typing import Any, NamedTuple

import numpy as np

from fastals.kernels.dense.blocks import prefetch
from fastals.kernels.jit import compiled, compiled_without_refcounts
from fastals.kernels.top_items.products import PANEL, panel_products, reaching

LARGEST_CODE = 127.0
LARGEST_STEP = 32767.0
ROUNDED_QUERY = 2.6e-4  # |d| / |h| at the most, for up to WIDEST coordinates; |unit c| is at most 1.04 |y|
SMALL = 1e-100  # rows below it are taken LARGER times as large: their squares would underflow
LARGER = 2.0**600
CHUNK = 64  # coordinates of a cache line of bytes. A constant, so that its loop is unrolled
AHEAD = 16  # places whose rows are fetched into the cache meanwhile
WIDEST = 256  # coordinates of a sketch at the most
WEAK = 0.75  # |x_t| / |h|, from where the leading coordinates leave so many items that all are taken at once
LENGTHS = 3  # of an item before those of the levels: unit, |e|, and |y_t| past the leading coordinates


class Sketches(NamedTuple):
    """Sketches of items. A bound by rows takes all coordinates, or the first 128 at level 0 and all 256 at level 1.

    codes : (m, chunks, CHUNK) int8 array
        c of each item, the width in chunks.
    lengths : (m, 3 + levels) array of the type of the items
        ``unit``, |e|, |y_t| past the leading coordinates, and past those of each level, all but the first enlarged.
    panels : (ceil(m / PANEL), pairs, PANEL, 2) int8 array
        The coordinates of level 0 once more, by panels and pairs of coordinates.
    leading : int
        How many of the pairs are bounded first.
    panel_lengths : (ceil(m / PANEL), 4, PANEL) array
        The first four lengths, by panels.
    rotation : (k, width) float64 array
        R.
    """

    codes: Any
    lengths: Any
    panels: Any
    leading: Any
    panel_lengths: Any
    rotation: Any


class Query(NamedTuple):
    """A query as the bounds take it, filled by ``sketch_query``.

    head : (chunks, CHUNK) int16 array
        q.
    numbers : (3 + levels,) float64 array
        The inverse of the step, and in units of the step |h|, |x_t| past the leading coordinates, and past those of
        each level, the lengths enlarged.
    """

    head: Any
    numbers: Any


def width_of(factors: int) -> int:
    """Coordinates of a sketch."""
    return next((width for width in (CHUNK, 2 * CHUNK) if factors <= width), WIDEST)


def leading_of(width: int) -> int:
    """Coordinates of a sketch that are bounded first."""
    return min(width // 2, CHUNK)


@compiled
def levels_of(chunks):
    """Levels of the bound by rows of 1, 2 or 4 chunks."""
    return 2 if chunks == 4 else 1


@compiled
def _chunks_until(level, chunks):
    """Chunks that a level and those before it take."""
    return min(chunks, 2 << level)


@compiled
def relative_margin(factors, eps):
    """What a computed score, its bound, or a length can be off, relative to the norms; see the top of the file."""
    return 8.0 * (factors + 64) * np.float64(eps)


@compiled
def _turned(row, rotation, head):
    """Write ``scale`` R'row to ``head`` (width,) float64 in place; return its norm, square of the rest, norm, scale.

    The rest is of ``scale`` times the row; ``scale`` is 1, or LARGER for rows whose squares would underflow.
    """
    squared, head_squared, largest = 0.0, 0.0, 0.0
    head[:] = 0
    for t in range(row.shape[0]):
        largest = max(largest, abs(np.float64(row[t])))
    scale = LARGER if largest < SMALL else 1.0
    for t in range(row.shape[0]):
        value = scale * np.float64(row[t])
        squared += value * value
        for j in range(head.shape[0]):
            head[j] += value * rotation[t, j]
    for j in range(head.shape[0]):
        head_squared += head[j] * head[j]
    # The difference may be rounding alone.
    rest = max(squared - head_squared, 0.0) + relative_margin(row.shape[0], np.finfo(np.float64).eps) * squared
    return np.sqrt(head_squared) / scale, rest, np.sqrt(squared) / scale, scale


@compiled
def _rounded_up(length, norm, like):
    """A length enlarged by the margin of the row's norm, in the type of ``like``."""
    limits = np.finfo(like.dtype)
    margin = relative_margin(like.shape[0], limits.eps) + ROUNDED_QUERY
    enlarged = length + margin * (norm + np.float64(limits.tiny))
    return np.nextafter(like.dtype.type(enlarged), like.dtype.type(np.inf))


@compiled
def _squares_past(head, rest, pairs, squares):
    """Write the squared lengths past the leading coordinates and past those of each level to ``squares`` in place."""
    chunks, last = head.shape[0] // CHUNK, head.shape[0]
    for level in range(squares.shape[0] - 1, -1, -1):
        first = 2 * pairs if level == 0 else CHUNK * _chunks_until(level - 1, chunks)
        for j in range(first, last):
            rest += head[j] * head[j]
        last = min(first, last)
        squares[level] = rest


@compiled
def sketch_rows(items, order, rotation, sketches):
    """Write c and the lengths of ``items[order]`` to ``sketches`` (Sketches) in place, by rows."""
    codes, lengths = sketches.codes, sketches.lengths
    head, squares = np.empty(rotation.shape[1]), np.empty(lengths.shape[1] - 2)
    for place in range(order.shape[0]):
        row = items[order[place]]
        _, outside, norm, scale = _turned(row, rotation, head)
        largest = 0.0
        for value in head:
            largest = max(largest, abs(value))
        lengths[place, 0] = largest / LARGEST_CODE / scale
        unit = scale * np.float64(lengths[place, 0])  # as it has been rounded
        error = 0.0
        for j in range(head.shape[0]):
            code = np.rint(head[j] / unit) if unit > 0.0 else 0.0
            code = min(max(code, -LARGEST_CODE), LARGEST_CODE)
            codes[place, j // CHUNK, j % CHUNK] = np.int8(code)
            rest = head[j] - code * unit
            error += rest * rest
        lengths[place, 1] = _rounded_up(np.sqrt(error) / scale, norm, row)
        _squares_past(head, outside, sketches.leading, squares)
        for level in range(squares.shape[0]):
            lengths[place, 2 + level] = _rounded_up(np.sqrt(squares[level]) / scale, norm, row)


@compiled
def pack_panels(sketches):
    """Write the codes and lengths of rows to the panels of ``sketches`` (Sketches), zero behind, in place."""
    panels, panel_lengths = sketches.panels, sketches.panel_lengths
    panels[:] = 0
    panel_lengths[:] = 0
    for place in range(sketches.codes.shape[0]):
        panel, lane = place // PANEL, place % PANEL
        for j in range(2 * panels.shape[1]):
            panels[panel, j // 2, lane, j % 2] = sketches.codes[place, j // CHUNK, j % CHUNK]
        for j in range(panel_lengths.shape[1]):
            panel_lengths[panel, j, lane] = sketches.lengths[place, j]


@compiled
def sketch_query(query, sketches, sketched):
    """Write what the bounds need of a query to ``sketched`` (Query) in place."""
    turned, head, numbers = np.empty(sketches.rotation.shape[1]), sketched.head, sketched.numbers
    length, rest, norm, scale = _turned(query, sketches.rotation, turned)
    margin = (relative_margin(query.shape[0], np.finfo(query.dtype).eps) + ROUNDED_QUERY) * norm * scale
    largest = 0.0
    for value in turned:
        largest = max(largest, abs(value))
    step = (largest if largest > 0.0 else norm * scale) / LARGEST_STEP
    step = step if step > 0.0 else 1.0
    for j in range(turned.shape[0]):
        head[j // CHUNK, j % CHUNK] = np.int16(np.rint(turned[j] / step))
    numbers[0] = scale / step
    numbers[1] = (length * scale + margin) / step
    _squares_past(turned, rest, sketches.leading, numbers[2:])
    for level in range(2, numbers.shape[0]):
        numbers[level] = (np.sqrt(numbers[level]) + margin) / step


@compiled
def bound_panels(panels, whole, sketches, query, estimates, upper):
    """Write unit c.q of ``panels``, (m,) int32, to ``estimates``, and bounds to ``upper``.

    Of the leading coordinates, or of all of level 0 where ``whole``. Both are (all panels, PANEL), of the type of the
    items, written in place; ``estimates`` may be (1, PANEL), of the last.
    """
    kind, products, head = upper.dtype.type, np.empty(PANEL, np.int32), query.head.reshape(-1)
    pairs, rest = (sketches.panels.shape[1], 3) if whole else (sketches.leading, 2)
    of_error, of_rest, lengths = kind(query.numbers[1]), kind(query.numbers[rest]), sketches.panel_lengths
    for panel in panels:
        panel_products(sketches.panels, panel, 0, pairs, head, products)
        row = panel if estimates.shape[0] > 1 else 0
        for i in range(PANEL):
            estimate = kind(products[i]) * lengths[panel, 0, i]
            estimates[row, i] = estimate
            upper[panel, i] = estimate + (of_error * lengths[panel, 1, i] + of_rest * lengths[panel, rest, i])


@compiled
def tighten_panels(panels, limit, sketches, query, upper):
    """Bound ``panels`` anew, by all coordinates of level 0, where ``upper`` is not below the limit, in place.

    Of a bound the part of the rest past the leading coordinates gives way to the products with these and to what is
    left; what is -inf stays. Its rounding is within the margin as well.
    """
    kind, products, head = upper.dtype.type, np.empty(PANEL, np.int32), query.head.reshape(-1)
    before, after, lengths = kind(query.numbers[2]), kind(query.numbers[3]), sketches.panel_lengths
    for panel in panels:
        if reaching(upper, panel, limit) == 0:
            continue
        panel_products(sketches.panels, panel, sketches.leading, sketches.panels.shape[1], head, products)
        for i in range(PANEL):
            less = after * lengths[panel, 3, i] - before * lengths[panel, 2, i]
            upper[panel, i] += kind(products[i]) * lengths[panel, 0, i] + less


@compiled_without_refcounts
def _chunk_product(codes, place, head, chunk):
    """c.q of the coordinates of a chunk."""
    product = np.int32(0)
    for j in range(CHUNK):  # 32 bits at each step: LLVM then multiplies and adds pairs of 16
        product = np.int32(product + np.int32(codes[place, chunk, j]) * np.int32(head[chunk, j]))
    return product


@compiled
def bound_places(level, count, places, sketches, query, products, upper):
    """Add the coordinates of a level to the ``products`` c.q of the first ``count`` places; bounds to ``upper``.

    ``products`` is (m,) int32, zero before level 0, and updated in place.
    """
    codes, lengths, head = sketches.codes, sketches.lengths, query.head
    first = 0 if level == 0 else _chunks_until(level - 1, head.shape[0])
    last = _chunks_until(level, head.shape[0])
    of_error, of_rest = query.numbers[1], query.numbers[3 + level]
    rows = codes.reshape((codes.shape[0], -1))
    for t in range(count):
        if t % AHEAD == 0:
            following = places[t + AHEAD : min(t + 2 * AHEAD, count)] if t else places[: min(2 * AHEAD, count)]
            prefetch(rows, following)
            prefetch(lengths, following)
        place, product = places[t], products[t]
        for chunk in range(first, last):
            product = np.int32(product + _chunk_product(codes, place, head, chunk))
        products[t] = product
        rest = of_error * lengths[place, 1] + of_rest * lengths[place, LENGTHS + level]
        upper[t] = np.float64(lengths[place, 0]) * product + rest
