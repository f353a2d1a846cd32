"""Register tiles emitted as LLVM vector code: the inner loops that plain loops do not bring to the machine's peak.

Everything here is one of three shapes over C-contiguous arrays whose row length is a multiple of ``PAD`` elements:

* *groups of gathered rows* (conjugate gradients): eight rows y_r are read side by side, so that p and q are loaded
  once for all of them:  q += sum_r w_r (y_r . p) y_r  and  q += sum_r w_r y_r;
* *tiles* (products, Cholesky): an 8 x 32 or 8 x 16 block C stays in registers while t runs,
  C[m, :] (+|-)= sum_t x[t, m] y[t, :], which is two vector loads and eight broadcasts for sixteen fused
  multiply-adds with 512-bit registers;
* *passes over a symmetric matrix* (tridiagonal form), four rows at a time: a rank-two update, and the product with what
  it leaves.

The vector length follows the target Numba compiles for (512, 256 or 128 bits), and a tile is emitted in as many
strips as its registers allow. Offsets and leading dimensions are in elements. Outputs are written in place.

How to read and change a tile
-----------------------------
`make_group` and `make_tile` return intrinsics. Their ``codegen`` runs when a kernel is compiled, once for each
signature, and emits the code: a loop of Python is unrolled in it, ``emit.loop`` is a loop at run time. `Arguments` has
the operands by name, `Emitter` the vector operations. The functions of ``plain`` define what those of ``tiled`` do, so
change them first; ``tests/kernels/dense/test_tiled.py`` compares both, on targets emulated too.

What has been emitted shows in a process that has compiled it, not in one that has loaded it from the cache:

    NUMBA_CACHE_DIR=$(mktemp -d) python
    >>> from fastals.kernels.dense.tiled import add_products
    >>> add_products(Y, indices, weights, p, q)
    >>> (signature,) = add_products.signatures
    >>> print(add_products.inspect_llvm(signature))    # the IR; inspect_asm(signature): the assembly

``NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=+avx2,+fma`` and the like compile for another target. They differ:

    AVX-512         512 bits, 32 registers: an 8 x 32 tile of float32 is one strip of 16 sums
    AVX2 and FMA    256 bits, 16 registers: four strips of 8 sums
    other x86-64    128 bits, 16 registers: eight strips of 8 sums, a product and a sum instead of one operation
    AArch64         128 bits, 32 registers: four strips of 16 sums; longer vectors (SVE) are not used
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastals.kernels.dense.emitter import INT32, INT64, Arguments, Emitter

PAD = 16  # row lengths are multiples of this: one AVX-512 vector of float32, two of float64
TILE_ROWS = 8


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
    places = [lanes.index(lane) if lane in lanes else 0 for lane in range(emit.lanes)]
    return emit.lanes_of(emit.load(pointer, count), places)


def make_group(count, dotted, plain, fetching=False):
    """Intrinsic ``group(Y, indices, first, ahead, weights, p, q, targets, b)`` over ``count`` gathered rows.

    The rows y_r are ``Y[indices[first + r]]``, r < count (a power of two); w_r and t_r are ``weights[first + r]`` and
    ``targets[first + r]``. For one reading of the rows

    - ``dotted``: q += sum_r w_r (y_r . p) y_r; returns sum_r w_r (y_r . p)^2, their part of p.Ap (else 0);
    - ``plain``: b += sum_r t_r y_r.

    With ``fetching`` the rows ``Y[indices[ahead + r]]`` are brought into the first-level cache meanwhile.
    """

    @intrinsic
    def group(typingctx, Y, indices, first, ahead, weights, p, q, targets, b):
        def codegen(context, builder, signature, values):
            emit = Emitter(context, builder, Y.dtype)
            args = Arguments(emit, "Y indices first ahead weights p q targets b", signature, values)
            y, length, index, start = args.data("Y"), args.row_length("Y"), args.data("indices"), args.value("first")
            rows = _gathered_rows(emit, y, length, index, start, count)
            sums, curvature = [], ir.Constant(emit.scalar, 0.0)
            if dotted:
                dots = _dots(emit, rows, args.data("p"), length)
                coefficients, curvature = _scaled_dots(emit, dots, args.data("weights"), start)
                sums.append((coefficients, args.data("q")))
            if plain:
                sums.append((_weights(emit, args.data("targets"), start, count), args.data("b")))
            following = _gathered_rows(emit, y, length, index, args.value("ahead"), count) if fetching else ()
            _add_multiples(emit, rows, sums, length, following)
            return curvature

        i = types.intp
        return Y.dtype(Y, indices, i, i, weights, p, q, targets, b), codegen

    return group


@intrinsic
def prefetch_rows(typingctx, Y, indices):
    """Ask for the cache lines of the rows ``Y[indices]``, which will be read soon."""

    def codegen(context, builder, signature, values):
        emit = Emitter(context, builder, Y.dtype)
        args = Arguments(emit, "Y indices", signature, values)
        length = args.row_length("Y")
        r, _, close_rows = emit.loop(args.shape("indices")[0], 1, [])
        (row,) = _gathered_rows(emit, args.data("Y"), length, args.data("indices"), r, 1)
        j, _, close_lines = emit.loop(length, 64 // emit.itemsize, [])
        emit.prefetch(emit.address(row, j))
        close_lines([])
        close_rows([])
        return context.get_dummy_value()

    return types.void(Y, indices), codegen


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

    Call as ``tile(X, x0, Y, y0, T, C, c0, D, d0)``; the operands start ``x0``, ``y0``, ``c0`` elements into their
    matrices. With ``transposed`` the sum is over rows, sum_t X[t, m] Y[t, :], t < T; without it X is read along its
    rows, sum_t X[m, t] Y[t, :]. D holds, from ``d0`` on, the 8 x 8 diagonal block that ``solve`` needs (else it is not
    read).
    """
    negative = kind in ("subtract", "solve")

    @intrinsic
    def tile_kernel(typingctx, X, x0, Y, y0, T, C, c0, D, d0):
        def codegen(context, builder, signature, values):
            emit = Emitter(context, builder, C.dtype)
            args = Arguments(emit, "X x0 Y y0 T C c0 D d0", signature, values)
            x, x_step = emit.address(args.data("X"), args.value("x0")), args.row_length("X")
            y, y_step = emit.address(args.data("Y"), args.value("y0")), args.row_length("Y")
            c, c_step = emit.address(args.data("C"), args.value("c0")), args.row_length("C")
            vectors = max(1, min(width // emit.lanes, (emit.registers - 8) // TILE_ROWS - (emit.registers == 32)))
            for strip in range(0, width, vectors * emit.lanes):
                places = [
                    [
                        emit.address(c, builder.mul(c_step, emit.integer(m)), strip + v * emit.lanes)
                        for v in range(vectors)
                    ]
                    for m in range(TILE_ROWS)
                ]
                start = [[emit.zero if kind == "set" else emit.load(p) for p in row] for row in places]
                t, sums, close = emit.loop(args.value("T"), 1, [s for row in start for s in row])
                y_row = emit.address(y, builder.mul(t, y_step), strip)
                y_t = [emit.load(emit.address(y_row, v * emit.lanes)) for v in range(vectors)]
                after = []
                for m in range(TILE_ROWS):
                    if transposed:
                        place = emit.address(x, builder.mul(t, x_step), m)
                    else:
                        place = emit.address(x, builder.mul(x_step, emit.integer(m)), t)
                    value = builder.load(place)
                    factor = emit.broadcast(builder.fneg(value) if negative else value)
                    after += [emit.multiply_add(factor, y_t[v], sums[m * vectors + v]) for v in range(vectors)]
                sums = close(after)
                tile = [list(sums[m * vectors : (m + 1) * vectors]) for m in range(TILE_ROWS)]
                if kind == "solve":
                    _solve_triangle(emit, tile, emit.address(args.data("D"), args.value("d0")), vectors)
                for m in range(TILE_ROWS):
                    for v in range(vectors):
                        emit.store(tile[m][v], places[m][v])
            return context.get_dummy_value()

        i = types.intp
        return types.void(X, i, Y, i, i, C, i, D, i), codegen

    return tile_kernel


@intrinsic
def factorise_block(typingctx, A, first, floor, D, d0):
    """Cholesky of the 8 x 8 diagonal block that starts ``first`` elements into A; whether all pivots exceed ``floor``.

    Writes, eight to a row from ``D[d0]``, the inverse pivots to the diagonal and the multipliers above it. The rows
    stay in registers. Elimination uses u_rs / u_rr (one division), so that the square roots, which only scale the
    finished rows, do not stand in the chain of dependences.
    """

    def codegen(context, builder, signature, values):
        emit = Emitter(context, builder, A.dtype)
        args = Arguments(emit, "A first floor D d0", signature, values)
        emit.set_lanes(TILE_ROWS)
        a, step = emit.address(args.data("A"), args.value("first")), args.row_length("A")
        rows = [emit.load(emit.address(a, builder.mul(step, emit.integer(r)))) for r in range(TILE_ROWS)]
        one = ir.Constant(emit.vector, [1.0] * TILE_ROWS)
        positive = ir.Constant(ir.IntType(1), 1)
        inverses, pivots = [], []
        for r in range(TILE_ROWS):
            pivot = builder.extract_element(rows[r], ir.Constant(INT32, r))
            positive = builder.and_(positive, builder.fcmp_ordered(">", pivot, args.value("floor")))
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
            place = emit.address(args.data("D"), args.value("d0"), r * TILE_ROWS)
            emit.store(emit.shuffle(row, inverse_root, places), place)
        return positive

    i = types.intp
    return types.boolean(A, i, A.dtype, D, i), codegen


@intrinsic
def rank_two_rows(typingctx, A, first, edge, v, w, x, products):
    """Four rows of ``subtract_rank_two``: the block on the diagonal starts at row and column ``edge``, <= ``first``."""

    def codegen(context, builder, signature, values):
        emit = Emitter(context, builder, A.dtype)
        emit.set_lanes(min(emit.lanes, TILE_ROWS))
        args = Arguments(emit, "A first edge v w x products", signature, values)
        first, edge, step = args.value("first"), args.value("edge"), args.row_length("A")
        start = emit.address(args.data("A"), builder.mul(first, step))
        rows = [emit.address(start, builder.mul(step, emit.integer(r))) for r in range(4)]
        v_r, w_r, x_r = (_weights(emit, args.data(name), first, 4) for name in ("v", "w", "x"))
        v_r, w_r = ([builder.fneg(value) for value in values] for values in (v_r, w_r))

        def columns(c, sums, below):
            v_c, w_c, x_c = (emit.load(emit.address(args.data(name), c)) for name in ("v", "w", "x"))
            place, after = emit.address(args.data("products"), c), []
            across = emit.load(place) if below else None
            for r in range(4):
                element = emit.address(rows[r], c)
                value = emit.multiply_add(v_r[r], w_c, emit.load(element))
                value = emit.multiply_add(w_r[r], v_c, value)
                emit.store(value, element)
                after.append(emit.multiply_add(value, x_c, sums[r]))
                across = emit.multiply_add(value, x_r[r], across) if below else None
            if below:
                emit.store(across, place)
            return after

        c, sums, close = emit.loop(edge, emit.lanes, [emit.zero] * 4)
        sums = close(columns(c, sums, True))
        for c in range(0, TILE_ROWS, emit.lanes):
            sums = columns(builder.add(edge, emit.integer(c)), sums, False)
        few = min(4, emit.lanes)
        for r in range(0, 4, few):
            total, lanes = emit.lane_sums(list(sums[r : r + few]))
            place = emit.address(args.data("products"), first, r)
            emit.store(builder.fadd(emit.lanes_of(total, lanes), emit.load(place, few)), place)
        return context.get_dummy_value()

    i = types.intp
    return types.void(A, i, i, v, w, x, products), codegen


@intrinsic
def dot_rows(typingctx, A, first, x, x0, length, out):
    """out[r] = a_r . x[x0 : x0 + length] for eight rows, a_r from ``first`` elements into A on, one row further each.

    ``length`` is a multiple of the lanes.
    """

    def codegen(context, builder, signature, values):
        emit = Emitter(context, builder, A.dtype)
        args = Arguments(emit, "A first x x0 length out", signature, values)
        a, step = emit.address(args.data("A"), args.value("first")), args.row_length("A")
        rows = [emit.address(a, builder.mul(step, emit.integer(r))) for r in range(TILE_ROWS)]
        sums = _dots(emit, rows, emit.address(args.data("x"), args.value("x0")), args.value("length"))
        step = min(TILE_ROWS, emit.lanes)
        for r in range(0, TILE_ROWS, step):
            total, lanes = emit.lane_sums(list(sums[r : r + step]))
            emit.store(emit.lanes_of(total, lanes), emit.address(args.data("out"), r))
        return context.get_dummy_value()

    i = types.intp
    return types.void(A, i, x, i, i, out), codegen


@intrinsic
def dot_tile(typingctx, Z, i, j, length, K):
    """K[i + a, j + b] = z_{i+a} . z_{j+b} for a, b < 4, over the first ``length`` elements of the rows of Z."""

    def codegen(context, builder, signature, values):
        emit = Emitter(context, builder, Z.dtype)
        args = Arguments(emit, "Z i j length K", signature, values)
        z, z_step, k, k_step = args.data("Z"), args.row_length("Z"), args.data("K"), args.row_length("K")

        def row(start, r):
            return emit.address(z, builder.mul(builder.add(start, emit.integer(r)), z_step))

        height = 4 if emit.registers == 32 else 2
        right = [row(args.value("j"), b) for b in range(4)]
        for top in range(0, 4, height):
            left = [row(args.value("i"), top + a) for a in range(height)]
            t, sums, close = emit.loop(args.value("length"), emit.lanes, [emit.zero] * (4 * height))
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
                    line = builder.add(args.value("i"), emit.integer(top + m // 4))
                    place = emit.address(k, builder.mul(line, k_step), args.value("j"), m % 4)
                    emit.store(emit.lanes_of(total, few), place)
        return context.get_dummy_value()

    integer = types.intp
    return types.void(Z, integer, integer, integer, K), codegen
