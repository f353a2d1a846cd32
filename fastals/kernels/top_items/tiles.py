"""Register tile of the top-N walk: scores of a few queries for 32 items, compared with the queries' thresholds.

The tile holds C[m, j] = sum_t x[t, m] y[t, j] in registers, adding the terms in the order t = 0, 1, ..., k - 1, one
fused multiply-add each (a product and a sum on targets without the instruction). No term is ever reordered, so the
score of a pair has one value, whichever tile, row, batch or thread computes it. C reaches memory only where one of
its entries is not below the threshold of its row, which is rare once the thresholds have settled.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from fastals.kernels.dense.emitter import INT64, Arguments, Emitter

TILE_ITEMS = 32
TILE_QUERIES = 8


def _emit_sums(emit, x, y, steps, rows, vectors):
    """Emit C[m, v] = sum_t x[t, m] y[t, v] for ``rows`` queries and ``vectors`` vectors of items, row by row."""
    t, sums, close = emit.loop(steps, 1, [emit.zero] * (rows * vectors))
    y_t = emit.address(y, emit.builder.mul(t, emit.integer(TILE_ITEMS)))
    items = [emit.load(emit.address(y_t, v * emit.lanes)) for v in range(vectors)]
    x_t = emit.address(x, emit.builder.mul(t, emit.integer(rows)))
    after = []
    for m in range(rows):
        query = emit.broadcast(emit.builder.load(emit.address(x_t, m)))
        after += [emit.multiply_add(query, items[v], sums[m * vectors + v], in_order=True) for v in range(vectors)]
    return close(after)


def _emit_found(emit, sums, reached, rows, strip, C, masks):
    """Emit the stores of a strip of C and of the bits of the entries that reached the thresholds."""
    builder, vectors = emit.builder, len(sums) // rows
    for m in range(rows):
        place = emit.address(masks, m)
        mask = builder.load(place)
        for v in range(vectors):
            column = strip + v * emit.lanes
            bits = builder.bitcast(reached[m * vectors + v], ir.IntType(emit.lanes))
            mask = builder.or_(mask, builder.shl(builder.zext(bits, INT64), emit.integer(column)))
            emit.store(sums[m * vectors + v], emit.address(C, m * TILE_ITEMS + column))
        builder.store(mask, place)


def make_score_tile(rows):
    """Intrinsic ``tile(X, x0, Y, y0, k, thresholds, h0, C, masks)`` for ``rows`` queries and 32 items.

    X holds a panel of queries as (k, rows) from element ``x0`` on, Y a panel of items as (k, 32) from ``y0`` on, and
    ``thresholds[h0 + m]`` belongs to query m. Returns whether any score is at least its threshold; if so, bit j of
    ``masks[m]`` (int64, zero on entry) is set in place for each such score C[m, j], and those scores are written.
    """

    @intrinsic
    def score_tile(typingctx, X, x0, Y, y0, k, thresholds, h0, C, masks):
        def codegen(context, builder, signature, values):
            emit = Emitter(context, builder, Y.dtype)
            args = Arguments(emit, "X x0 Y y0 k thresholds h0 C masks", signature, values)
            x, y = emit.address(args.data("X"), args.value("x0")), emit.address(args.data("Y"), args.value("y0"))
            limits = emit.address(args.data("thresholds"), args.value("h0"))
            # Beside the sums, registers hold the vectors of items and one query's number.
            vectors = max(1, min((emit.registers - 6) // (rows + 1), TILE_ITEMS // emit.lanes, 4))
            while TILE_ITEMS % (vectors * emit.lanes):
                vectors -= 1
            found = cgutils.alloca_once_value(builder, cgutils.false_bit)
            for strip in range(0, TILE_ITEMS, vectors * emit.lanes):
                sums = _emit_sums(emit, x, emit.address(y, strip), args.value("k"), rows, vectors)
                reached = []
                for m in range(rows):
                    limit = emit.broadcast(builder.load(emit.address(limits, m)))
                    reached += [builder.fcmp_ordered(">=", sums[m * vectors + v], limit) for v in range(vectors)]
                any_lane = reached[0]
                for lanes in reached[1:]:
                    any_lane = builder.or_(any_lane, lanes)
                any_bits = builder.bitcast(any_lane, ir.IntType(emit.lanes))
                with builder.if_then(builder.icmp_unsigned("!=", any_bits, any_bits.type(0)), likely=False):
                    builder.store(cgutils.true_bit, found)
                    _emit_found(emit, sums, reached, rows, strip, args.data("C"), args.data("masks"))
            return builder.zext(builder.load(found), INT64)

        i = types.intp
        return types.int64(X, i, Y, i, i, thresholds, i, C, masks), codegen

    return score_tile


def make_plain_score_tile(rows):
    """The same as `make_score_tile` without compilation, by NumPy and in the same order of terms."""

    def score_tile(X, x0, Y, y0, k, thresholds, h0, C, masks):
        x = X.reshape(-1)[x0 : x0 + k * rows].reshape(k, rows)
        y = Y.reshape(-1)[y0 : y0 + k * TILE_ITEMS].reshape(k, TILE_ITEMS)
        C[:] = 0
        for t in range(k):
            C += x[t][:, None] * y[t]
        reached = np.greater_equal(C, thresholds[h0 : h0 + rows, None])
        for m in range(rows):
            masks[m] |= sum(1 << j for j in range(TILE_ITEMS) if reached[m, j])
        return reached.any()

    return score_tile


def plain_lowest_bit(mask):
    """Position of the lowest set bit of an integer other than 0."""
    return (int(mask) & -int(mask)).bit_length() - 1


@intrinsic
def intrinsic_lowest_bit(typingctx, mask):
    """The same as `plain_lowest_bit` for an int64."""

    def codegen(context, builder, signature, arguments):
        return builder.cttz(arguments[0], cgutils.true_bit)

    return types.int64(types.int64), codegen


make_tile: Any = make_plain_score_tile if config.DISABLE_JIT else make_score_tile
lowest_bit: Any = plain_lowest_bit if config.DISABLE_JIT else intrinsic_lowest_bit
score_tile, score_row = make_tile(TILE_QUERIES), make_tile(1)
