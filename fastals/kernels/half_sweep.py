"""One half-sweep: every row of one side solved against the fixed factors of the other."""

import numpy as np
from numba import prange

from fastals.kernels.blocks import add_rows, prefetch
from fastals.kernels.conjugate_gradient import conjugate_gradient
from fastals.kernels.direct import GATHERED_ROWS, solve_direct
from fastals.kernels.jit import compiled, compiled_bare, compiled_parallel
from fastals.kernels.memory import aligned_empty
from fastals.kernels.rotation import CHUNK, PANEL, multiply_chunk
from fastals.kernels.vector import PAD, TILE_ROWS

# What a range of rows reports, one column each.
LOSS, STEPS, ITERATED, FALLBACKS, SINGULAR, FAILED, REPORTS = 0, 1, 2, 3, 4, 5, 6
# Condition beyond which a float32 factorisation is done in float64: 1e4 x 6e-8 leaves three digits at the worst.
FLOAT32_TRACE = 1e4
FLOAT64_FLOOR = 1e-14
# c_max / c0 beyond which a residual says little about the error, and conjugate gradients take too many steps.
HEAVY = 1e3
PREFETCHED_ROWS = 16  # of the next row: more compete with the present one's loads (measured)


@compiled_bare
def _solve_in_float64(Y, indices, extra, target, spectrum, ridge, x, scratch):
    """Solve a row in float64 for x in place, whatever the model's type; returns b.x and whether a ridge was added.

    A system whose pivots vanish (no regularisation and fewer independent rows than factors) gets a ridge of 1e-12 of
    the trace, more where that is not enough, so that the row is the regularised limit and not garbage. Columns in which
    the row's y_t are all zero, such as those past ``factors``, get zero whatever stands on the diagonal, but compared
    with it pivots might seem to vanish: it is the trace for them.
    """
    width = Y.shape[1]
    solution, M, squares = scratch[0][4, :width], scratch[0][5, :width], scratch[0][6, :width]
    squares[:] = 0
    largest = 0.0
    for t in range(indices.shape[0]):
        y = Y[indices[t]]
        squared = 0.0
        for j in range(width):
            square = np.float64(y[j]) * y[j]
            squares[j] += square
            squared += square
        largest += abs(extra[t]) * squared
    undetermined = False
    for j in range(width):
        if squares[j] > 0:
            largest = max(largest, spectrum[j] + ridge)
        undetermined |= squares[j] == 0 and spectrum[j] + ridge == 0
    added, trace, product = 0.0, -1.0, 0.0
    for _ in range(8):
        for j in range(width):
            M[j] = spectrum[j] + ridge + added if squares[j] > 0 else max(largest, 1e-300)
        trace, product = solve_direct(Y, indices, extra, target, M, solution, scratch, FLOAT64_FLOOR)
        if trace >= 0:
            break
        added = max(10 * added, 1e-12 * largest)
    for j in range(width):
        x[j] = solution[j] if trace >= 0 else np.nan
    return product, added > 0 or undetermined


@compiled_bare
def _weigh_entries(first, last, extra, preference, offset, weights, targets):
    """Write c - c0 and c phi of the entries first .. last to ``weights`` and ``targets`` in place.

    Arrays of one element stand for equal values throughout. Returns sum_t target_t phi_t, the row's constant in the
    loss.
    """
    one_extra, one_preference = extra.shape[0] == 1, preference.shape[0] == 1
    constant = 0.0
    for t in range(first, last):
        weight = extra[0 if one_extra else t]
        phi = preference[0 if one_preference else t]
        weights[t - first] = weight
        targets[t - first] = (weight + offset) * phi
        constant += np.float64((weight + offset) * phi) * phi
    return constant


@compiled_bare
def _gather(rows, u, offset, uniform, one_constant, padded, values):
    """Copy row u's indices, weights and targets to scratch, up to a multiple of four, the last ones weighing nothing.

    Returns the row's constant in the loss and its largest weight.
    """
    indptr, indices, extra, preference = rows
    start, count = indptr[u], indptr[u + 1] - indptr[u]
    for t in range(count):
        padded[t] = indices[start + t]
    largest = offset * 0
    if uniform:
        constant, largest = count * one_constant, extra[0]
        target = (extra[0] + offset) * preference[0]
        for t in range(count):
            values[0, t] = largest
            values[1, t] = target
    else:
        constant = _weigh_entries(start, start + count, extra, preference, offset, values[0], values[1])
        for t in range(count):
            largest = max(largest, values[0, t])
    for t in range(count, (count + 3) // 4 * 4):
        padded[t] = padded[0]
        values[0, t] = 0
        values[1, t] = 0
    return constant, largest


@compiled_bare
def _iterate(Y, row, values, M, x, vectors, tolerance, max_steps):
    """Right-hand side and conjugate gradients; returns the steps (-1: not converged), b.x and x.(b - Ax)."""
    width = Y.shape[1]
    b, residual = vectors[7, :width], vectors[0]
    for j in range(width):
        b[j] = 0
    add_rows(Y, row, values[1, : row.shape[0]], b)
    steps = conjugate_gradient(Y, row, values[0, : row.shape[0]], M, b, x, vectors, tolerance, max_steps)
    product, remainder = 0.0, 0.0
    for j in range(width):
        product += np.float64(b[j]) * x[j]
        remainder += np.float64(residual[j]) * x[j]
    return steps, product, remainder


@compiled_bare
def _solve_row(u, rows, Y, spectrum, regularization, settings, x, scratch, scratch64, report):
    """Solve row u for x in place and add to ``report``; see ``solve_rows``."""
    indptr, _indices, extra, preference = rows
    offset, unobserved_weight, iterate, tolerance, max_steps = settings
    vectors, padded, values, one_constant = scratch[0], scratch[5], scratch[6], scratch[7][0]
    count, width = indptr[u + 1] - indptr[u], Y.shape[1]
    uniform = extra.shape[0] == 1 and preference.shape[0] == 1
    constant, largest = _gather(rows, u, offset, uniform, one_constant, padded, values)
    M, row = vectors[6, :width], padded[:count]
    for j in range(width):
        M[j] = spectrum[j] + regularization
    steps, product, remainder, direct = -1, 0.0, 0.0, True
    if iterate and largest <= HEAVY * unobserved_weight:
        direct = False
        fours = padded[: (count + 3) // 4 * 4]
        steps, product, remainder = _iterate(Y, fours, values, M, x, vectors, tolerance, max_steps)
        if steps >= 0:
            report[STEPS] += steps
            report[ITERATED] += 1
    if direct:
        trace, product = solve_direct(Y, row, values[0, :count], values[1, :count], M, x, scratch[:5], offset * 0)
        if 0 <= trace <= FLOAT32_TRACE:
            steps = 0
    if steps < 0:
        remainder = 0.0
        product, ridged = _solve_in_float64(
            Y, row, values[0, :count], values[1, :count], spectrum, regularization, x, scratch64
        )
        report[FALLBACKS] += 1
        report[SINGULAR] += ridged
    finite = True
    for j in range(width):
        finite &= np.isfinite(x[j])
    if not finite:
        report[FAILED] += 1
        for j in range(width):
            x[j] = 0
    report[LOSS] += constant - product - remainder


@compiled_bare
def solve_rows(first, last, rows, Y, spectrum, regularization, rotation, X, settings, scratch, scratch64, report):
    """Solve rows first .. last in place.

    Parameters
    ----------
    rows : tuple (indptr, indices, extra, preference)
        CSR structure and the values of its entries, c - c0 and phi; arrays of one element stand for equal values.
    Y : (n, width) array
        Factors of the other side in the eigenbasis of their Gramian, zeros past ``factors``.
    spectrum : (width,) float64 array
        c0 times the eigenvalues of the Gramian; ones past ``factors``.
    regularization : (n_rows,) float64 array
        lambda of each row.
    rotation : (panels, width, PANEL) array
        Transposed eigenvectors, back to the basis of ``X``, in panels of columns; see ``multiply_chunk``.
    X : (n_rows, factors) array
        Solutions (output).
    settings : tuple (offset, unobserved_weight, iterate, tolerance, max_steps)
        c = extra + offset in the target; c0; whether to iterate; see ``conjugate_gradient``.
    scratch, scratch64 : tuples of arrays
        See ``scratch_for``.
    report : (REPORTS,) float64 array
        Loss of the rows (regularisation included), steps, rows iterated, rows that fell back to float64, rows that
        needed a ridge, rows without a finite solution (left zero) (output).
    """
    indptr, indices = rows[0], rows[1]
    solved, tile = scratch[8], scratch[9]
    width = Y.shape[1]
    for column in range(REPORTS):
        report[column] = 0
    for start in range(first, last, CHUNK):
        end = min(start + CHUNK, last)
        for u in range(start, end):
            x = solved[u - start]
            if indptr[u] == indptr[u + 1]:
                for j in range(width):
                    x[j] = 0
                continue
            if u + 1 < last:
                following = min(indptr[u + 2] - indptr[u + 1], PREFETCHED_ROWS if settings[2] else GATHERED_ROWS)
                prefetch(Y, indices[indptr[u + 1] : indptr[u + 1] + following])
            _solve_row(u, rows, Y, spectrum, regularization[u], settings, x, scratch, scratch64, report)
        multiply_chunk(solved, end - start, rotation, tile, start, X)


@compiled
def scratch_for(width, longest, rows, offset, like, like64):
    """Scratch of a thread for rows of up to ``longest`` entries, in the model's type and in float64.

    Returns
    -------
    scratch : tuple
        (8, width + 32) vectors, (max(width, 128), width) gathered rows, (width, width + 32) matrix, (width / 8, 8, 8)
        diagonal blocks, int32 numbers from 0; then indices and values of a row, the constant of an entry in the loss
        where all are equal, (CHUNK, width) solutions before and (8, PANEL) after rotation.
    scratch64 : tuple
        The first five in float64.
    """
    indices, extra, preference = rows[1], rows[2], rows[3]
    gathered, counting = max(width, 2 * GATHERED_ROWS), np.arange(width + PAD, dtype=np.int32)
    blocks = width // TILE_ROWS
    padded = np.zeros(longest + 4, indices.dtype)
    values, one_constant = aligned_empty(2, longest + 4, like), np.zeros(1)
    if extra.shape[0] == 1 and preference.shape[0] == 1:
        one_constant[0] = np.float64((extra[0] + offset) * preference[0]) * preference[0]
    scratch = (
        aligned_empty(8, width + 2 * PAD, like),
        aligned_empty(gathered, width, like),
        aligned_empty(width, width + 2 * PAD, like),
        np.empty((blocks, TILE_ROWS, TILE_ROWS), like.dtype),
        counting,
        padded,
        values,
        one_constant,
        aligned_empty(CHUNK, width, like),
        aligned_empty(TILE_ROWS, PANEL, like),
    )
    scratch64 = (
        aligned_empty(8, width + 2 * PAD, like64),
        aligned_empty(gathered, width, like64),
        aligned_empty(width, width + 2 * PAD, like64),
        np.empty((blocks, TILE_ROWS, TILE_ROWS), like64.dtype),
        counting,
    )
    return scratch, scratch64


@compiled_parallel
def half_sweep(tasks, bounds, rows, Y, spectrum, regularization, rotation, X, settings, reports):
    """Run ``solve_rows`` over the ranges bounds[c] .. bounds[c + 1] in parallel; see there.

    Task t takes the ranges t, t + tasks, ..., so that each has its share of long and of short rows.
    """
    indptr = rows[0]
    for task in prange(tasks):
        longest = 0
        for u in range(bounds[0], bounds[-1]):
            longest = max(longest, indptr[u + 1] - indptr[u])
        scratch, scratch64 = scratch_for(Y.shape[1], longest, rows, settings[0], Y, spectrum)
        for c in range(task, bounds.shape[0] - 1, tasks):
            solve_rows(
                bounds[c], bounds[c + 1], rows, Y, spectrum, regularization, rotation, X, settings, scratch, scratch64,
                reports[c],
            )  # fmt: skip
