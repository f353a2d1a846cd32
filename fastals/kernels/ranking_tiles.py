"""Register tile of the top-N walk: scores of a few queries for 32 items, compared with the queries' thresholds.

The tile holds C[m, j] = sum_t x[t, m] y[t, j] in registers, adding the terms in the order t = 0, 1, ..., k - 1, one
fused multiply-add each (a product and a sum on targets without the instruction). No term is ever reordered, so the
score of a pair has one value, whichever tile, row, batch or thread computes it. C reaches memory only where one of
its entries is not below the threshold of its row, which is rare once the thresholds have settled.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastals.kernels.vector import Emitter

TILE_ITEMS = 32
TILE_QUERIES = 8


def _data(context, builder, array_type, value):
    """Data pointer of an array argument."""
    return context.make_array(array_type)(context, builder, value).data


def _ordered_multiply_add(emit, x, y, z):
    """X * y + z; where that is two operations, any flag keeps Numba from adding those that allow reordering."""
    if emit.fused:
        return emit.multiply_add(x, y, z)
    return emit.builder.fadd(emit.builder.fmul(x, y, flags=("arcp",)), z, flags=("arcp",))


def make_score_tile(rows):
    """Intrinsic ``tile(X, x0, Y, y0, k, thresholds, h0, C, masks)`` for ``rows`` queries and 32 items.

    X holds a panel of queries as (k, rows) from element ``x0`` on, Y a panel of items as (k, 32) from ``y0`` on, and
    ``thresholds[h0 + m]`` belongs to query m. Returns a number other than 0 if any score is at least its threshold;
    then bit j of ``masks[m]`` (int64, zero on entry) is set for each such score C[m, j], and row m of C is written
    wherever it has one.
    """

    @intrinsic
    def score_tile(typingctx, X, x0, Y, y0, k, thresholds, h0, C, masks):
        def codegen(context, builder, signature, arguments):
            emit = Emitter(context, builder, Y.dtype)
            x, y, h, c, m = (_data(context, builder, signature.args[i], arguments[i]) for i in (0, 2, 5, 7, 8))
            x_start, y_start, steps, h_start = (arguments[i] for i in (1, 3, 4, 6))
            free = emit.registers - 8
            vectors = max(1, min(TILE_ITEMS // emit.lanes, 8, free // rows - (emit.registers == 32 and rows > 4)))
            bits = ir.IntType(emit.lanes)
            wide = ir.IntType(64)
            found = cgutils.alloca_once_value(builder, ir.Constant(wide, 0))
            for strip in range(0, TILE_ITEMS, vectors * emit.lanes):
                t, sums, close = emit.loop(steps, 1, [emit.zero] * (rows * vectors))
                y_row = emit.address(y, y_start, builder.mul(t, emit.integer(TILE_ITEMS)), strip)
                y_t = [emit.load(emit.address(y_row, v * emit.lanes)) for v in range(vectors)]
                x_row = emit.address(x, x_start, builder.mul(t, emit.integer(rows)))
                after = []
                for r in range(rows):
                    factor = emit.broadcast(builder.load(emit.address(x_row, r)))
                    after += [
                        _ordered_multiply_add(emit, factor, y_t[v], sums[r * vectors + v]) for v in range(vectors)
                    ]
                sums = close(after)
                reached = []
                for r in range(rows):
                    limit = emit.broadcast(builder.load(emit.address(h, h_start, r)))
                    reached += [builder.fcmp_ordered(">=", sums[r * vectors + v], limit) for v in range(vectors)]
                anything = reached[0]
                for one in reached[1:]:
                    anything = builder.or_(anything, one)
                anything = builder.bitcast(anything, bits)
                with builder.if_then(builder.icmp_unsigned("!=", anything, ir.Constant(bits, 0)), likely=False):
                    builder.store(ir.Constant(wide, 1), found)
                    for r in range(rows):
                        place = emit.address(m, r)
                        mask = builder.load(place)
                        for v in range(vectors):
                            one = builder.zext(builder.bitcast(reached[r * vectors + v], bits), wide)
                            mask = builder.or_(mask, builder.shl(one, emit.integer(strip + v * emit.lanes)))
                            emit.store(
                                sums[r * vectors + v], emit.address(c, r * TILE_ITEMS + strip + v * emit.lanes)
                            )
                        builder.store(mask, place)
            return builder.load(found)

        i = types.intp
        return types.int64(X, i, Y, i, i, thresholds, i, C, masks), codegen

    return score_tile


@intrinsic
def lowest_bit(typingctx, mask):
    """Position of the lowest set bit of an int64 other than 0."""

    def codegen(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), codegen


score_tile = make_score_tile(TILE_QUERIES)
score_row = make_score_tile(1)
