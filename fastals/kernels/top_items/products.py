"""Vector code of the sketches, for a whole panel of items: integer products with a query, and what reaches a limit.

Codes of 8 bits and a query of 16 are multiplied two coordinates at a time, c[2j] q[2j] + c[2j + 1] q[2j + 1], which is
one instruction on x86-64 (pmaddwd), so that a panel of 64 items takes 1.2 ns an item for 64 coordinates. LLVM finds
that instruction in sums along a row, not across rows, where plain code takes four times as long.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from fastals.kernels.dense.emitter import INT32, INT64, Arguments, Emitter

PANEL = 64  # items
BYTE, SHORT = ir.IntType(8), ir.IntType(16)
# The instruction by width of the registers, and what a target must have for it.
PAIRED = {
    512: ("llvm.x86.avx512.pmaddw.d.512", "+avx512bw"),
    256: ("llvm.x86.avx2.pmadd.wd", "+avx2"),
    128: ("llvm.x86.sse2.pmadd.wd", "+sse2"),
}


class PairEmitter:
    """Multiplies pairs of coordinates for as many items as a register holds sums."""

    def __init__(self, context, builder):
        triple, _, features = context.codegen().magic_tuple()[:3]
        self.builder, self.emit = builder, Emitter(context, builder, types.float32)
        bits = 32 * self.emit.lanes
        if bits == 512 and "+avx512bw" not in features:
            bits = 256
        self.items = bits // 32
        self.name, needed = PAIRED[bits]
        self.has_instruction = triple.startswith("x86_64") and needed in features
        self.sums = ir.VectorType(INT32, self.items)
        self.pairs = ir.VectorType(SHORT, 2 * self.items)

    def load_codes(self, pointer):
        """The pairs of codes of the items, in 16 bits."""
        kind = ir.VectorType(BYTE, 2 * self.items)
        codes = self.builder.load(self.builder.bitcast(pointer, kind.as_pointer()))
        codes.align = 1
        return self.builder.sext(codes, self.pairs)

    def load_query(self, pointer):
        """One pair of a query beside itself, once for each item."""
        kind = ir.VectorType(SHORT, 2)
        pair = self.builder.load(self.builder.bitcast(pointer, kind.as_pointer()))
        pair.align = 2
        return self.emit.lanes_of(pair, [0, 1] * self.items)

    def multiply(self, codes, query):
        """c[0] q[0] + c[1] q[1] of each item, in 32 bits."""
        if self.has_instruction:
            kind = ir.FunctionType(self.sums, [self.pairs] * 2)
            return self.builder.call(
                cgutils.get_or_insert_function(self.builder.module, kind, self.name), [codes, query]
            )
        parts = []
        for side in range(2):
            lanes = list(range(side, 2 * self.items, 2))
            factors = (self.builder.sext(self.emit.lanes_of(x, lanes), self.sums) for x in (codes, query))
            parts.append(self.builder.mul(*factors))
        return self.builder.add(*parts)


def make_panel_products():
    """Intrinsic ``panel_products(codes, panel, first, last, query, products)`` for one panel of items.

    ``codes`` is (panels, pairs, PANEL, 2) int8, ``query`` (2 pairs or more,) int16, each of them contiguous. Writes the
    sums of products over the pairs first .. last of a panel to ``products`` (PANEL,) int32 in place.
    """

    @intrinsic
    def panel_products(typingctx, codes, panel, first, last, query, products):
        def codegen(context, builder, signature, values):
            pair = PairEmitter(context, builder)
            args, emit = Arguments(pair.emit, "codes panel first last query products", signature, values), pair.emit
            stride = builder.mul(args.shape("codes")[1], emit.integer(2 * PANEL))
            before = builder.mul(args.value("first"), emit.integer(2))  # coordinates
            start = emit.address(
                args.data("codes"), builder.mul(args.value("panel"), stride), builder.mul(before, emit.integer(PANEL))
            )
            head, vectors = emit.address(args.data("query"), before), min(PANEL // pair.items, 8)
            count = builder.sub(args.value("last"), args.value("first"))
            for strip in range(0, PANEL, vectors * pair.items):
                zero = ir.Constant(pair.sums, [0] * pair.items)
                j, sums, close = emit.loop(count, 1, [zero] * vectors)
                x = pair.load_query(emit.address(head, builder.mul(j, emit.integer(2))))
                row = emit.address(start, builder.mul(j, emit.integer(2 * PANEL)), emit.integer(2 * strip))
                for line in range(0, 2 * vectors * pair.items, 64):
                    emit.prefetch(emit.address(row, emit.integer(line), builder.mul(stride, emit.integer(2))))
                after = []
                for v in range(vectors):
                    y = pair.load_codes(emit.address(row, 2 * v * pair.items))
                    after.append(builder.add(sums[v], pair.multiply(y, x)))
                for v, found in enumerate(close(after)):
                    place = emit.address(args.data("products"), strip + v * pair.items)
                    done = builder.store(found, builder.bitcast(place, pair.sums.as_pointer()))
                    done.align = 4
            return context.get_dummy_value()

        return types.void(codes, types.intp, types.intp, types.intp, query, products), codegen

    return panel_products


def plain_panel_products(codes, panel, first, last, query, products):
    """The same as `make_panel_products` without compilation, by NumPy."""
    products[:] = np.einsum(
        "jip,jp->i", codes[panel, first:last].astype(np.int32), query[2 * first : 2 * last].reshape(-1, 2)
    )


@intrinsic
def intrinsic_reaching(typingctx, values, panel, limit):
    """Int64 whose bit j says whether ``values[panel, j]``, of (panels, PANEL), is not below the limit."""

    def codegen(context, builder, signature, arguments):
        emit = Emitter(context, builder, values.dtype)
        args = Arguments(emit, "values panel limit", signature, arguments)
        start = emit.address(args.data("values"), builder.mul(args.value("panel"), emit.integer(PANEL)))
        limits, mask = emit.broadcast(args.value("limit")), emit.integer(0)
        for first in range(0, PANEL, emit.lanes):
            found = builder.fcmp_unordered(">=", emit.load(emit.address(start, first)), limits)
            bits = builder.zext(builder.bitcast(found, ir.IntType(emit.lanes)), INT64)
            mask = builder.or_(mask, builder.shl(bits, emit.integer(first)))
        return mask

    return types.int64(values, types.intp, values.dtype), codegen


def plain_reaching(values, panel, limit):
    """The same as `intrinsic_reaching` without compilation; an unsigned integer."""
    return sum(1 << j for j in range(PANEL) if not values[panel, j] < limit)


panel_products: Any = plain_panel_products if config.DISABLE_JIT else make_panel_products()
reaching: Any = plain_reaching if config.DISABLE_JIT else intrinsic_reaching
