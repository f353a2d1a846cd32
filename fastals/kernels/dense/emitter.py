"""Writes LLVM vector code: the types and operations that the register tiles are made of.

The vector length follows the target Numba compiles for (512, 256 or 128 bits). Arithmetic is that of the scalar type;
a multiplication and an addition are one operation where the target has it.
"""

from llvmlite import ir
from numba.core import cgutils

INT64 = ir.IntType(64)
INT32 = ir.IntType(32)


def vector_bits(features):
    """Width in bits of the widest vector registers that a feature string of the target promises."""
    if "+avx512f" in features:
        return 512
    return 256 if "+avx2" in features and "+fma" in features else 128


class Arguments:
    """The arguments of an intrinsic function under compilation, by the names of its parameters."""

    def __init__(self, emit, names, signature, values):
        self._emit, self._values = emit, dict(zip(names.split(), values, strict=True))
        self._types = dict(zip(names.split(), signature.args, strict=True))

    def value(self, name):
        """A scalar."""
        return self._values[name]

    def data(self, name):
        """Pointer to the first element of an array."""
        return self._array(name).data

    def shape(self, name):
        """Numbers of elements of an array along its axes."""
        return cgutils.unpack_tuple(self._emit.builder, self._array(name).shape)

    def row_length(self, name):
        """Number of columns of a matrix, which is the distance of its rows."""
        return self.shape(name)[1]

    def _array(self, name):
        return self._emit.context.make_array(self._types[name])(
            self._emit.context, self._emit.builder, self._values[name]
        )


class Emitter:
    """Vector types and operations for one scalar type on the target of one function under compilation."""

    def __init__(self, context, builder, scalar):
        triple, _, features = context.codegen().magic_tuple()[:3]
        bits = vector_bits(features)
        arm = triple.startswith(("aarch64", "arm64"))
        self.context, self.builder = context, builder
        self.scalar = context.get_value_type(scalar)
        self.itemsize = scalar.bitwidth // 8
        self.lanes = bits // scalar.bitwidth
        self.registers = 32 if bits == 512 or arm else 16
        self.fused = "+fma" in features or bits == 512 or arm
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)

    def prefetch(self, pointer):
        """Ask for the cache line of an address."""
        byte_pointer = ir.IntType(8).as_pointer()
        function_type = ir.FunctionType(ir.VoidType(), [byte_pointer, *[INT32] * 3])
        fetch = self.builder.module.declare_intrinsic("llvm.prefetch", [byte_pointer], function_type)
        flags = (ir.Constant(INT32, flag) for flag in (0, 3, 1))  # to read, to all levels, data
        self.builder.call(fetch, [self.builder.bitcast(pointer, byte_pointer), *flags])

    def set_lanes(self, lanes):
        """Work with vectors of another length, which LLVM divides into registers where it must."""
        self.lanes, self.vector = lanes, ir.VectorType(self.scalar, lanes)
        self.zero = ir.Constant(self.vector, [0.0] * lanes)

    def unary(self, name):
        """An LLVM intrinsic function from vector to vector."""
        function_type = ir.FunctionType(self.vector, [self.vector])
        full_name = f"{name}.v{self.lanes}f{8 * self.itemsize}"
        return cgutils.get_or_insert_function(self.builder.module, function_type, full_name)

    @staticmethod
    def integer(value):
        """Int64 constant."""
        return ir.Constant(INT64, value)

    def address(self, pointer, *offsets):
        """Pointer to the element that lies the sum of ``offsets`` elements after ``pointer``."""
        for offset in offsets:
            pointer = self.builder.gep(pointer, [offset if isinstance(offset, ir.Value) else self.integer(offset)])
        return pointer

    def load(self, pointer, lanes=None):
        """Unaligned load of a vector."""
        vector = self.vector if lanes is None else ir.VectorType(self.scalar, lanes)
        value = self.builder.load(self.builder.bitcast(pointer, vector.as_pointer()))
        value.align = self.itemsize
        return value

    def store(self, value, pointer):
        """Unaligned store of a vector."""
        done = self.builder.store(value, self.builder.bitcast(pointer, value.type.as_pointer()))
        done.align = self.itemsize

    def multiply_add(self, x, y, z, in_order=False):
        """Vector x * y + z, in one rounding where the target has the instruction.

        Where that is two operations LLVM may reorder a sum of them, unless it is to stay ``in_order``: to operations
        that carry any flag Numba adds none of its own.
        """
        if not self.fused:
            flags = ("arcp",) if in_order else ()
            return self.builder.fadd(self.builder.fmul(x, y, flags=flags), z, flags=flags)
        name = f"llvm.fma.v{self.lanes}f{8 * self.itemsize}"
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(self.vector, [self.vector] * 3), name
        )
        return self.builder.call(function, [x, y, z])

    def shuffle(self, x, y, lanes):
        """Vector whose lane l is lane ``lanes[l]`` of x followed by y."""
        return self.builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(INT32, len(lanes)), lanes))

    def lanes_of(self, vector, lanes):
        """Vector of some lanes of another, in any order, repeated or not."""
        return self.shuffle(vector, ir.Constant(vector.type, ir.Undefined), lanes)

    def broadcast(self, value):
        """Vector with a scalar in every lane."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(INT32, 0))
        return self.lanes_of(first, [0] * self.lanes)

    def broadcast_lane(self, vector, lane):
        """Vector with one lane of another in every lane."""
        return self.lanes_of(vector, [lane] * self.lanes)

    def lane_sums(self, vectors):
        """Sum over the lanes of each of up to ``lanes`` vectors (a power of two of them), all in one vector.

        Returns the vector and the list of lanes at which the sums stand. A tree: each level adds the lower halves of
        two vectors' segments to their upper halves, so n vectors cost n - 1 additions plus log2(lanes / n) folds.
        """
        labels = [[i] * self.lanes for i in range(len(vectors))]
        segment = self.lanes // 2
        while segment:
            lower = [b + i for b in range(0, self.lanes, 2 * segment) for i in range(segment)]
            upper = [i + segment for i in lower]
            half = max(len(vectors) // 2, 1)
            folded, names = [], []
            for i in range(half):
                x, y = vectors[i], vectors[(i + half) % len(vectors)]
                first = self.shuffle(x, y, lower + [self.lanes + i for i in lower])
                second = self.shuffle(x, y, upper + [self.lanes + i for i in upper])
                folded.append(self.builder.fadd(first, second))
                names.append(
                    [labels[i][lane] for lane in lower] + [labels[(i + half) % len(vectors)][lane] for lane in lower]
                )
            vectors, labels, segment = folded, names, segment // 2
        return vectors[0], [labels[0].index(i) for i in range(max(labels[0]) + 1)]

    def sum_of_lanes(self, vector, lanes):
        """Sum of some lanes of a vector, a power of two of them, as a scalar."""
        few = self.lanes_of(vector, lanes)
        while few.type.count > 1:
            half = few.type.count // 2
            lower, upper = (self.lanes_of(few, list(range(b, b + half))) for b in (0, half))
            few = self.builder.fadd(lower, upper)
        return self.builder.extract_element(few, ir.Constant(INT32, 0))

    def loop(self, stop, step, carried):
        """Open ``for j in range(0, stop, step)`` with loop-carried values; returns j, their phis and a closer.

        The closer takes the values after one iteration and returns the phis, which hold the results after the loop.
        """
        builder, before = self.builder, self.builder.block
        head, body, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(INT64)
        index.add_incoming(self.integer(0), before)
        phis = []
        for value in carried:
            phi = builder.phi(value.type)
            phi.add_incoming(value, before)
            phis.append(phi)
        builder.cbranch(builder.icmp_signed("<", index, stop), body, after)
        builder.position_at_end(body)

        def close(values):
            index.add_incoming(builder.add(index, self.integer(step)), builder.block)
            for phi, value in zip(phis, values, strict=True):
                phi.add_incoming(value, builder.block)
            builder.branch(head)
            builder.position_at_end(after)
            return phis

        return index, phis, close
