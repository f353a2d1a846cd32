"""Register tiles emitted as LLVM vector code: the inner loops that plain loops do not bring to the machine's peak.

Everything here is one of two shapes over C-contiguous arrays whose row length is a multiple of ``PAD`` elements:

* *groups of gathered rows* (conjugate gradients): eight rows y_r are read side by side, so that p and q are loaded
  once for all of them:  q += sum_r w_r (y_r . p) y_r  and  q += sum_r w_r y_r;
* *tiles* (products, Cholesky): an 8 x 32 or 8 x 16 block C stays in registers while t runs,
  C[m, :] (+|-)= sum_t x[t, m] y[t, :], which is two vector loads and eight broadcasts for sixteen fused
  multiply-adds with 512-bit registers.

The vector length follows the target Numba compiles for (512, 256 or 128 bits), and a tile is emitted in as many
strips as its registers allow. Offsets and leading dimensions are in elements. Outputs are written in place.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastals.kernels.dense.emitter import INT32, INT64, Emitter

PAD = 16  # row lengths are multiples of this: one AVX-512 vector of float32, two of float64
TILE_ROWS = 8


def _data(context, builder, array_type, value):
    """Data pointer of an array argument."""
    return context.make_array(array_type)(context, builder, value).data


def _row_length(context, builder, array_type, value):
    """Number of columns of a two-dimensional array argument."""
    return cgutils.unpack_tuple(builder, context.make_array(array_type)(context, builder, value).shape)[1]


def _gathered_rows(emit, base, length, indices, first, count):
    """Pointers to the rows ``indices[first : first + count]`` of a matrix with rows of ``length`` elements."""
    builder, rows = emit.builder, []
    for r in range(count):
        index = builder.load(emit.address(indices, first, r))
        wide = builder.sext(index, INT64) if index.type.width < 64 else index
        rows.append(emit.address(base, builder.mul(wide, length)))
    return rows


def _dots(emit, rows, p, length):
    """Emit the dots of rows with p; returns one vector a row, to be summed over its lanes."""
    j, sums, close = emit.loop(length, emit.lanes, [emit.zero] * len(rows))
    p_j = emit.load(emit.address(p, j))
    return close(
        [emit.multiply_add(emit.load(emit.address(row, j)), p_j, s) for row, s in zip(rows, sums, strict=True)]
    )


def _scaled_dots(emit, sums, weight, start):
    """Emit the lane sums of ``_dots`` times their weights; returns them in every lane, and sum_r w_r dot_r^2."""
    coefficients, curvature = [], ir.Constant(emit.scalar, 0.0)
    step = min(len(sums), emit.lanes)
    for r in range(0, len(sums), step):
        dots, lanes = emit.lane_sums(list(sums[r : r + step]))
        scaled = emit.builder.fmul(dots, _spread(emit, emit.address(weight, start, r), step, lanes))
        coefficients += [emit.broadcast_lane(scaled, lane) for lane in lanes]
        curvature = emit.builder.fadd(curvature, emit.sum_of_lanes(emit.builder.fmul(scaled, dots), lanes))
    return coefficients, curvature


def _add_multiples(emit, rows, sums, length, following):
    """Emit q += sum_r coefficient_r row_r for each (coefficients, q) of ``sums``, the rows being read once for all.

    Each sum has two chains, with q added last: the next group waits for that alone. The rows ``following`` are fetched
    into the cache line by line.
    """
    builder = emit.builder
    j, _, close = emit.loop(length, emit.lanes, [])
    for row in following:
        emit.prefetch(emit.address(row, j))
    rows_j = [emit.load(emit.address(row, j)) for row in rows]
    for coefficients, q in sums:
        chains = [builder.fmul(y, c) for y, c in zip(rows_j[:2], coefficients[:2], strict=True)]
        for r, (y, c) in enumerate(zip(rows_j[2:], coefficients[2:], strict=True)):
            chains[r % 2] = emit.multiply_add(y, c, chains[r % 2])
        place = emit.address(q, j)
        emit.store(builder.fadd(builder.fadd(*chains), emit.load(place)), place)
    close([])


def _weights(emit, weight, start, count):
    """Emit scalars of an array, each in every lane."""
    return [emit.broadcast(emit.builder.load(emit.address(weight, start, r))) for r in range(count)]


def _spread(emit, pointer, count, lanes):
    """Load ``count`` scalars and place scalar r at lane ``lanes[r]`` of a vector."""
    few = emit.load(pointer, count)
    places = [lanes.index(lane) if lane in lanes else 0 for lane in range(emit.lanes)]
    return emit.shuffle(few, ir.Constant(few.type, ir.Undefined), places)


def make_product_group(count, fetching=False):
    """Intrinsic ``group(Y, indices, first, weights, p, q, ahead)``: q += sum_r w_r (y_r . p) y_r over ``count`` rows.

    The rows are ``Y[indices[first + r]]`` and their weights ``weights[first + r]``, r < count (a power of two).
    Returns sum_r w_r (y_r . p)^2, their part of p.Ap. With ``fetching`` the rows ``Y[indices[ahead + r]]`` are brought
    into the first-level cache meanwhile.
    """

    @intrinsic
    def product_group(typingctx, Y, indices, first, weights, p, q, ahead):
        def codegen(context, builder, signature, arguments):
            emit = Emitter(context, builder, Y.dtype)
            arrays = [
                _data(context, builder, t, v) for t, v in zip(signature.args, arguments, strict=True) if t != types.intp
            ]
            y, index, weight, p_data, q_data = arrays
            length, start = _row_length(context, builder, Y, arguments[0]), arguments[2]
            rows = _gathered_rows(emit, y, length, index, start, count)
            coefficients, curvature = _scaled_dots(emit, _dots(emit, rows, p_data, length), weight, start)
            following = _gathered_rows(emit, y, length, index, arguments[6], count) if fetching else ()
            _add_multiples(emit, rows, [(coefficients, q_data)], length, following)
            return curvature

        return Y.dtype(Y, indices, types.intp, weights, p, q, types.intp), codegen

    return product_group


@intrinsic
def prefetch_rows(typingctx, Y, indices, first, count):
    """Ask for the cache lines of the rows ``Y[indices[first : first + count]]``, which will be read soon."""

    def codegen(context, builder, signature, arguments):
        emit = Emitter(context, builder, Y.dtype)
        y, index = (_data(context, builder, signature.args[i], arguments[i]) for i in (0, 1))
        length = _row_length(context, builder, Y, arguments[0])
        r, _, close_rows = emit.loop(arguments[3], 1, [])
        (row,) = _gathered_rows(emit, y, length, emit.address(index, r), arguments[2], 1)
        j, _, close_lines = emit.loop(length, 64 // emit.itemsize, [])
        emit.prefetch(emit.address(row, j))
        close_lines([])
        close_rows([])
        return context.get_dummy_value()

    return types.void(Y, indices, types.intp, types.intp), codegen


def make_sum_group(count, fetching=False):
    """Intrinsic ``group(Y, indices, first, weights, q, ahead)``: q += sum_r w_r y_r over ``count`` gathered rows.

    ``ahead`` and ``fetching`` are as for ``make_product_group``.
    """

    @intrinsic
    def sum_group(typingctx, Y, indices, first, weights, q, ahead):
        def codegen(context, builder, signature, arguments):
            emit = Emitter(context, builder, Y.dtype)
            y, index, weight, q_data = (_data(context, builder, signature.args[i], arguments[i]) for i in (0, 1, 3, 4))
            length, start = _row_length(context, builder, Y, arguments[0]), arguments[2]
            rows = _gathered_rows(emit, y, length, index, start, count)
            following = _gathered_rows(emit, y, length, index, arguments[5], count) if fetching else ()
            _add_multiples(emit, rows, [(_weights(emit, weight, start, count), q_data)], length, following)
            return context.get_dummy_value()

        return types.void(Y, indices, types.intp, weights, q, types.intp), codegen

    return sum_group


def make_system_group(count, fetching=False):
    """Intrinsic ``group(Y, indices, first, weights, targets, x, q, b, ahead)`` over ``count`` gathered rows.

    q += sum_r w_r (y_r . x) y_r  and  b += sum_r t_r y_r, for one reading of the rows; ``ahead`` and ``fetching`` are
    as for ``make_product_group``.
    """

    @intrinsic
    def system_group(typingctx, Y, indices, first, weights, targets, x, q, b, ahead):
        def codegen(context, builder, signature, arguments):
            emit = Emitter(context, builder, Y.dtype)
            y, index, weight, target, x_data, q_data, b_data = (
                _data(context, builder, signature.args[i], arguments[i]) for i in (0, 1, 3, 4, 5, 6, 7)
            )
            length, start = _row_length(context, builder, Y, arguments[0]), arguments[2]
            rows = _gathered_rows(emit, y, length, index, start, count)
            coefficients, _ = _scaled_dots(emit, _dots(emit, rows, x_data, length), weight, start)
            following = _gathered_rows(emit, y, length, index, arguments[8], count) if fetching else ()
            sums = [(coefficients, q_data), (_weights(emit, target, start, count), b_data)]
            _add_multiples(emit, rows, sums, length, following)
            return context.get_dummy_value()

        return types.void(Y, indices, types.intp, weights, targets, x, q, b, types.intp), codegen

    return system_group


def _solve_triangle(emit, tile, diagonal, columns):
    """Emit the forward substitution of a finished 8 x 8 diagonal block on a tile (see ``cholesky_factorise``)."""
    builder = emit.builder
    for r in range(TILE_ROWS):
        inverse = emit.broadcast(builder.load(emit.address(diagonal, r * TILE_ROWS + r)))
        for v in range(columns):
            tile[r][v] = builder.fmul(tile[r][v], inverse)
        for s in range(r + 1, TILE_ROWS):
            below = emit.broadcast(builder.fneg(builder.load(emit.address(diagonal, r * TILE_ROWS + s))))
            for v in range(columns):
                tile[s][v] = emit.multiply_add(below, tile[r][v], tile[s][v])


def make_tile(width, kind, transposed=True):
    """Intrinsic for an 8 x ``width`` tile, by ``kind``.

    ``set``: C = X'Y;  ``add``: C += X'Y;  ``subtract``: C -= X'Y;  ``solve``: C = L^-1 (C - X'Y).

    Call as ``tile(X, x0, ldx, Y, y0, ldy, T, C, c0, ldc, D, d0)``; the operands start ``x0``, ``y0``, ``c0`` elements
    into their arrays. With ``transposed`` the sum is over rows, sum_t X[t, m] Y[t, :]; without it X is read along
    its rows, sum_t X[m, t] Y[t, :]. D holds the 8 x 8 diagonal block that ``solve`` needs (else it is not read).
    """
    negative = kind in ("subtract", "solve")

    @intrinsic
    def tile_kernel(typingctx, X, x0, ldx, Y, y0, ldy, T, C, c0, ldc, D, d0):
        def codegen(context, builder, signature, arguments):
            emit = Emitter(context, builder, C.dtype)
            x, y, c, d = (_data(context, builder, signature.args[i], arguments[i]) for i in (0, 3, 7, 10))
            x_start, x_step, y_start, y_step, steps, c_start, c_step, d_start = (
                arguments[i] for i in (1, 2, 4, 5, 6, 8, 9, 11)
            )
            vectors = max(1, min(width // emit.lanes, (emit.registers - 8) // TILE_ROWS - (emit.registers == 32)))
            for strip in range(0, width, vectors * emit.lanes):
                places = [
                    [
                        emit.address(c, c_start, builder.mul(c_step, emit.integer(m)), strip + v * emit.lanes)
                        for v in range(vectors)
                    ]
                    for m in range(TILE_ROWS)
                ]
                start = [[emit.zero if kind == "set" else emit.load(p) for p in row] for row in places]
                t, sums, close = emit.loop(steps, 1, [s for row in start for s in row])
                y_row = emit.address(y, y_start, builder.mul(t, y_step), strip)
                y_t = [emit.load(emit.address(y_row, v * emit.lanes)) for v in range(vectors)]
                after = []
                for m in range(TILE_ROWS):
                    if transposed:
                        place = emit.address(x, x_start, builder.mul(t, x_step), m)
                    else:
                        place = emit.address(x, x_start, builder.mul(x_step, emit.integer(m)), t)
                    value = builder.load(place)
                    factor = emit.broadcast(builder.fneg(value) if negative else value)
                    after += [emit.multiply_add(factor, y_t[v], sums[m * vectors + v]) for v in range(vectors)]
                sums = close(after)
                tile = [list(sums[m * vectors : (m + 1) * vectors]) for m in range(TILE_ROWS)]
                if kind == "solve":
                    _solve_triangle(emit, tile, emit.address(d, d_start), vectors)
                for m in range(TILE_ROWS):
                    for v in range(vectors):
                        emit.store(tile[m][v], places[m][v])
            return context.get_dummy_value()

        i = types.intp
        return types.void(X, i, i, Y, i, i, i, C, i, i, D, i), codegen

    return tile_kernel


@intrinsic
def factorise_block(typingctx, A, first, lda, floor, D, d0):
    """Cholesky of the 8 x 8 diagonal block that starts ``first`` elements into A; whether all pivots exceed ``floor``.

    Writes, eight to a row from ``D[d0]``, the inverse pivots to the diagonal and the multipliers above it. The rows
    stay in registers. Elimination uses u_rs / u_rr (one division), so that the square roots, which only scale the
    finished rows, do not stand in the chain of dependences.
    """

    def codegen(context, builder, signature, arguments):
        emit = Emitter(context, builder, A.dtype)
        emit.set_lanes(TILE_ROWS)
        a, d = (_data(context, builder, signature.args[n], arguments[n]) for n in (0, 4))
        rows = [
            emit.load(emit.address(a, arguments[1], builder.mul(arguments[2], emit.integer(r))))
            for r in range(TILE_ROWS)
        ]
        one = ir.Constant(emit.vector, [1.0] * TILE_ROWS)
        positive = ir.Constant(ir.IntType(1), 1)
        inverses, pivots = [], []
        for r in range(TILE_ROWS):
            pivot = builder.extract_element(rows[r], ir.Constant(INT32, r))
            positive = builder.and_(positive, builder.fcmp_ordered(">", pivot, arguments[3]))
            pivots.append(emit.broadcast_lane(rows[r], r))
            inverses.append(builder.fdiv(one, pivots[r]))
            scaled = builder.fneg(builder.fmul(rows[r], inverses[r]))
            for s in range(r + 1, TILE_ROWS):
                rows[s] = emit.multiply_add(emit.broadcast_lane(scaled, s), rows[r], rows[s])
        root = emit.unary("llvm.sqrt")
        for r in range(TILE_ROWS):
            inverse_root = builder.fdiv(one, builder.call(root, [pivots[r]]))
            row = builder.fmul(rows[r], inverse_root)
            places = [TILE_ROWS + lane if lane == r else lane for lane in range(TILE_ROWS)]
            emit.store(emit.shuffle(row, inverse_root, places), emit.address(d, arguments[5], r * TILE_ROWS))
        return positive

    i = types.intp
    return types.boolean(A, i, i, A.dtype, D, i), codegen


@intrinsic
def dot_rows(typingctx, A, first, lda, x, x0, length, out):
    """out[r] = sum_j A[first + r lda + j] x[x0 + j] for eight rows r, j < length (a multiple of the lanes)."""

    def codegen(context, builder, signature, arguments):
        emit = Emitter(context, builder, A.dtype)
        a, x_data, out_data = (_data(context, builder, signature.args[n], arguments[n]) for n in (0, 3, 6))
        rows = [emit.address(a, arguments[1], builder.mul(arguments[2], emit.integer(r))) for r in range(TILE_ROWS)]
        j, sums, close = emit.loop(arguments[5], emit.lanes, [emit.zero] * TILE_ROWS)
        x_j = emit.load(emit.address(x_data, arguments[4], j))
        sums = close(
            [emit.multiply_add(emit.load(emit.address(row, j)), x_j, s) for row, s in zip(rows, sums, strict=True)]
        )
        step = min(TILE_ROWS, emit.lanes)
        for r in range(0, TILE_ROWS, step):
            total, lanes = emit.lane_sums(list(sums[r : r + step]))
            values = emit.shuffle(total, ir.Constant(total.type, ir.Undefined), lanes)
            emit.store(values, emit.address(out_data, r))
        return context.get_dummy_value()

    i = types.intp
    return types.void(A, i, i, x, i, i, out), codegen


@intrinsic
def dot_tile(typingctx, Z, i, j, length, K):
    """K[i + a, j + b] = z_{i+a} . z_{j+b} for a, b < 4, over the first ``length`` elements of the rows of Z."""

    def codegen(context, builder, signature, arguments):
        emit = Emitter(context, builder, Z.dtype)
        z, k = (_data(context, builder, signature.args[n], arguments[n]) for n in (0, 4))
        z_step = _row_length(context, builder, Z, arguments[0])
        k_step = _row_length(context, builder, K, arguments[4])
        first, second, stop = arguments[1], arguments[2], arguments[3]

        def row(start, r):
            return emit.address(z, builder.mul(builder.add(start, emit.integer(r)), z_step))

        height = 4 if emit.registers == 32 else 2
        right = [row(second, b) for b in range(4)]
        for top in range(0, 4, height):
            left = [row(first, top + a) for a in range(height)]
            t, sums, close = emit.loop(stop, emit.lanes, [emit.zero] * (4 * height))
            right_t = [emit.load(emit.address(pointer, t)) for pointer in right]
            left_t = [emit.load(emit.address(pointer, t)) for pointer in left]
            sums = close(
                [emit.multiply_add(left_t[a], right_t[b], sums[4 * a + b]) for a in range(height) for b in range(4)]
            )
            step = min(emit.lanes, 4 * height)
            for n in range(0, 4 * height, step):
                total, lanes = emit.lane_sums(list(sums[n : n + step]))
                for m in range(n, n + step, 4):
                    few = lanes[m - n : m - n + 4]  # a line of the block, or half of one where vectors have two lanes
                    values = emit.shuffle(total, ir.Constant(total.type, ir.Undefined), few)
                    line = builder.add(first, emit.integer(top + m // 4))
                    emit.store(values, emit.address(k, builder.mul(line, k_step), second, m % 4))
        return context.get_dummy_value()

    i64 = types.intp
    return types.void(Z, i64, i64, i64, K), codegen
