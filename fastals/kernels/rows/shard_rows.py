"""Rows whose entries are spread over shards: each shard's part of their systems, and the iteration on the sums.

With the entries t of a row divided among shards, all that its iteration needs of them are the sums over the shards of

    sum_t target_t y_t    (once),    sum_t extra_t (y_t . p) y_t    (each step),

and the direct solution needs  sum_t extra_t y_t y_t'.  Nothing else differs from ``conjugate_gradient`` and
``direct``: the same diagonal and preconditioner M, the same steps, the same rule to stop.
"""

from typing import Any, NamedTuple

import numpy as np

from fastals.kernels.dense.blocks import add_gramian, add_products, add_rows, back_substitute, factorise, prefetch
from fastals.kernels.dense.memory import aligned_empty
from fastals.kernels.dense.tiles import PAD, TILE_ROWS
from fastals.kernels.jit import compiled, compiled_without_refcounts
from fastals.kernels.rows.direct import GATHERED_ROWS
from fastals.kernels.rows.direct_rows import FLOAT64_FLOOR, RIDGES
from fastals.kernels.rows.row import (
    DOUBLE,
    ITERATED,
    RIDGE,
    SINGULAR,
    SOLVED,
    STEPS,
    accept,
    diagonal,
    gather_row,
    gathered_for,
    row_loss,
    value_of,
)

ACTIVE = 3  # a status besides those of ``row``: under way
RIGHT, SQUARES, BOUND, LINES = 0, 1, 2, 3  # what a shard says of a row's system besides its matrix, one line each
CONSTANT, LARGEST, LEAST, WEIGHED = 0, 1, 2, 3  # what a shard says of the weights of a row's entries, one column each
PREFETCHED_ROWS = 64  # of the next row, whose entries are read once and come from far


class Chosen(NamedTuple):
    """Rows of a shard, in ranges of about equal cost.

    rows : (n,) int64 array
        Their numbers.
    bounds : (ranges + 1,) int64 array
        Range c is rows[bounds[c] : bounds[c + 1]].
    longest : int
        Largest number of their entries.
    """

    rows: Any
    bounds: Any
    longest: Any


class Iteration(NamedTuple):
    """The iteration of all rows of one side; see ``conjugate_gradient``.

    x, r, p, b : (n_rows, width) arrays
        Solution, residual, direction, right-hand side.
    energy, squared, right : (n_rows,) float64 arrays
        x.(b + r), r.M^-1 r and b.M^-1 b.
    tolerance : (n_rows,) float64 array
    status : (n_rows,) uint8 array
        ACTIVE, or how the row stands.
    steps : (n_rows,) int64 array
    spectrum : (width,) float64 array
        c0 s.
    row_weights, regularization : (n_rows,) float64 arrays, the first perhaps (1,)
        v and lambda.
    """

    x: Any
    r: Any
    p: Any
    b: Any
    energy: Any
    squared: Any
    right: Any
    tolerance: Any
    status: Any
    steps: Any
    spectrum: Any
    row_weights: Any
    regularization: Any


@compiled_without_refcounts
def _weigh_range(first, last, chosen, entries, row, out):
    for n in range(first, last):
        out[n] = 0
        u = chosen.rows[n]
        if entries.indptr[u] < entries.indptr[u + 1]:
            out[n, CONSTANT], out[n, LARGEST], out[n, LEAST] = gather_row(entries, u, row)


@compiled
def weigh_task(task, tasks, chosen, entries, like, out):
    """Write constant, largest and least extra of each chosen row's entries to ``out`` (n, WEIGHED) float64 in place.

    See ``gather_row``; over all shards the first is summed, of the second the largest counts, of the third the least.
    """
    row = gathered_for(chosen.longest, entries, like)
    for c in range(task, chosen.bounds.shape[0] - 1, tasks):
        _weigh_range(chosen.bounds[c], chosen.bounds[c + 1], chosen, entries, row, out)


@compiled_without_refcounts
def _prefetch_next(n, last, chosen, entries, Y):
    """Fetch what row n + 1 of the chosen reads of Y, if it comes before ``last``."""
    if n + 1 < last:
        u = chosen.rows[n + 1]
        begin, end = entries.indptr[u], entries.indptr[u + 1]
        prefetch(Y, entries.indices[begin : min(end, begin + PREFETCHED_ROWS)])


@compiled_without_refcounts
def _right_range(first, last, chosen, entries, Y, row, B):
    for n in range(first, last):
        _prefetch_next(n, last, chosen, entries, Y)
        u, b = chosen.rows[n], B[n]
        b[:] = 0
        count = entries.indptr[u + 1] - entries.indptr[u]
        if count > 0:
            gather_row(entries, u, row)
            fours = (count + 3) // 4 * 4
            add_rows(Y, row.indices[:fours], row.targets[:fours], b)


@compiled
def right_task(task, tasks, chosen, entries, Y, B):
    """Write sum_t target_t y_t of each chosen row to ``B`` (n, width) in place."""
    row = gathered_for(chosen.longest, entries, Y)
    for c in range(task, chosen.bounds.shape[0] - 1, tasks):
        _right_range(chosen.bounds[c], chosen.bounds[c + 1], chosen, entries, Y, row, B)


@compiled_without_refcounts
def _product_range(first, last, chosen, entries, Y, P, row, Q):
    for n in range(first, last):
        _prefetch_next(n, last, chosen, entries, Y)
        u, q = chosen.rows[n], Q[n]
        q[:] = 0
        count = entries.indptr[u + 1] - entries.indptr[u]
        if count > 0:
            gather_row(entries, u, row)
            fours = (count + 3) // 4 * 4
            add_products(Y, row.indices[:fours], row.weights[:fours], P[n], q)


@compiled
def product_task(task, tasks, chosen, entries, Y, P, Q):
    """Write sum_t extra_t (y_t . p_n) y_t of each chosen row to ``Q`` (n, width) in place; ``P`` is (n, width)."""
    row = gathered_for(chosen.longest, entries, Y)
    for c in range(task, chosen.bounds.shape[0] - 1, tasks):
        _product_range(chosen.bounds[c], chosen.bounds[c + 1], chosen, entries, Y, P, row, Q)


@compiled_without_refcounts
def _system_range(first, last, chosen, entries, Y, row, block, A, lines):
    Z, W = block[:GATHERED_ROWS], block[GATHERED_ROWS:]
    for n in range(first, last):
        u, whole = chosen.rows[n], A[n]
        whole[:] = 0
        lines[n] = 0
        count = entries.indptr[u + 1] - entries.indptr[u]
        if count > 0:
            gather_row(entries, u, row)
        for begin in range(0, count, GATHERED_ROWS):
            some = min(GATHERED_ROWS, count - begin)
            _add_system(Y, row, begin, some, Z, W, lines[n])
            add_gramian(W, Z, some, Y.shape[1], whole)


@compiled
def system_task(task, tasks, chosen, entries, Y, A, lines):
    """Write each chosen row's part of its system to ``A`` (n, width, width) and ``lines`` (n, 3, width), float64.

    Of A the upper triangle is sum_t extra_t y_t y_t'. The lines are sum_t target_t y_t; sum_t y_tj^2 of each column;
    and, in the first place, sum_t |extra_t| |y_t|^2, which bounds the largest pivot.
    """
    row = gathered_for(chosen.longest, entries, lines)
    block = aligned_empty(2 * np.int64(GATHERED_ROWS), Y.shape[1], lines)
    for c in range(task, chosen.bounds.shape[0] - 1, tasks):
        _system_range(chosen.bounds[c], chosen.bounds[c + 1], chosen, entries, Y, row, block, A, lines)


@compiled_without_refcounts
def _add_system(Y, row, first, count, Z, W, lines):
    """Write some of a row's y_t and extra_t y_t to Z and W, and add to the lines of ``system_task``, all in place."""
    for t in range(count):
        y, weight, target = Y[row.indices[first + t]], row.weights[first + t], row.targets[first + t]
        for j in range(Y.shape[1]):
            value = np.float64(y[j])
            Z[t, j], W[t, j] = value, weight * value
            lines[RIGHT, j] += target * value
            lines[SQUARES, j] += value * value
            lines[BOUND, 0] += abs(weight) * value * value


@compiled_without_refcounts
def _begin(iteration, n, q, warm, M):
    """Begin row n: at x, if ``warm`` and the loss is less there, whose product with the entries is q, or at zero."""
    x, r, p, b = iteration.x[n], iteration.r[n], iteration.p[n], iteration.b[n]
    diagonal(iteration.spectrum, value_of(iteration.row_weights, n), iteration.regularization[n], M)
    energy = 0.0
    if warm:
        for j in range(x.shape[0]):
            r[j] = b[j] - M[j] * x[j] - q[j]
            energy += np.float64(x[j]) * (b[j] + r[j])
    if not energy > 0:
        energy = 0.0
        for j in range(x.shape[0]):
            x[j] = 0
            r[j] = b[j]
    squared, right = 0.0, 0.0
    for j in range(x.shape[0]):
        p[j] = r[j] / M[j]
        squared += np.float64(p[j]) * r[j]
        right += np.float64(b[j]) * b[j] / M[j]
    iteration.energy[n], iteration.squared[n], iteration.right[n] = energy, squared, right
    if squared == 0:
        iteration.status[n] = SOLVED


@compiled
def begin_task(task, tasks, bounds, chosen, iteration, warm, Q):
    """Begin the chosen rows (m,), of every ``tasks``-th range; ``warm`` (m,) is where each has its product, or -1."""
    M = np.empty(iteration.x.shape[1], iteration.x.dtype)
    for c in range(task, bounds.shape[0] - 1, tasks):
        for i in range(bounds[c], bounds[c + 1]):
            _begin(iteration, chosen[i], Q[max(warm[i], 0)], warm[i] >= 0, M)


@compiled_without_refcounts
def _step(iteration, n, q, max_steps, M):
    """One step of row n, whose direction's product with the entries is q; sets its status where it ends."""
    x, r, p = iteration.x[n], iteration.r[n], iteration.p[n]
    diagonal(iteration.spectrum, value_of(iteration.row_weights, n), iteration.regularization[n], M)
    curvature = 0.0
    for j in range(x.shape[0]):
        q[j] += M[j] * p[j]
        curvature += np.float64(p[j]) * q[j]
    if not curvature > 0:
        iteration.status[n] = DOUBLE
        return
    squared = iteration.squared[n]
    length = x.dtype.type(squared / curvature)
    iteration.energy[n] += np.float64(length) * squared
    iteration.steps[n] += 1
    after = 0.0
    for j in range(x.shape[0]):
        x[j] += length * p[j]
        r[j] -= length * q[j]
        after += np.float64(r[j]) * r[j] / M[j]
    if after <= iteration.tolerance[n] ** 2 * min(iteration.right[n], iteration.energy[n]):
        iteration.status[n] = SOLVED
        return
    if iteration.steps[n] >= max_steps:
        iteration.status[n] = DOUBLE
        return
    ratio = x.dtype.type(after / squared)
    iteration.squared[n] = after
    for j in range(x.shape[0]):
        p[j] = r[j] / M[j] + ratio * p[j]


@compiled
def step_task(task, tasks, bounds, chosen, iteration, Q, max_steps):
    """One step of the chosen rows (m,), of every ``tasks``-th range.

    ``Q`` (m, width), sum_t extra_t (y_t . p) y_t, is overwritten.
    """
    M = np.empty(iteration.x.shape[1], iteration.x.dtype)
    for c in range(task, bounds.shape[0] - 1, tasks):
        for i in range(bounds[c], bounds[c + 1]):
            _step(iteration, chosen[i], Q[i], max_steps, M)


@compiled
def report_iterated(chosen, iteration, constants, report):
    """Add loss and steps of the rows chosen (m,), which are solved, to ``report`` (REPORTS,) in place."""
    for i in range(chosen.shape[0]):
        n = chosen[i]
        b_dot_x, x_dot_r = 0.0, 0.0
        for j in range(iteration.x.shape[1]):
            b_dot_x += np.float64(iteration.b[n, j]) * iteration.x[n, j]
            x_dot_r += np.float64(iteration.x[n, j]) * iteration.r[n, j]
        report[STEPS] += iteration.steps[n]
        report[ITERATED] += 1
        accept(iteration.x[n], row_loss(constants[n], b_dot_x, x_dot_r), report)


@compiled_without_refcounts
def _solve_summed(A, lines, M, matrix, blocks, x):
    """Solve (A + diag(M)) x = b for x (width,) in place, as ``direct_rows`` does in float64.

    ``lines`` are those of ``system_task``; ``matrix`` (width, width + 32) and ``blocks`` are scratch. Returns b.x, the
    ridge that was added, the bound on the largest pivot, and whether the row was undetermined; x is NaN if all fails.
    """
    width, largest, undetermined = M.shape[0], lines[BOUND, 0], False
    for j in range(width):
        if lines[SQUARES, j] > 0:
            largest = max(largest, M[j])
        undetermined |= lines[SQUARES, j] == 0 and M[j] == 0
    ridge, done = 0.0, False
    for _ in range(RIDGES):
        pivot = 0.0
        for i in range(width):
            for j in range(i // 16 * 16, width + 16):
                matrix[i, j] = A[i, j] if i <= j < width else 0.0
            matrix[i, i] += M[i] + ridge if lines[1, i] > 0 else max(largest, 1e-300)
            pivot = max(pivot, matrix[i, i])
            matrix[i, width] = lines[0, i]
        done = factorise(matrix, width, width + 16, FLOAT64_FLOOR * pivot, blocks)
        if done:
            break
        ridge = max(10 * ridge, 1e-12 * largest)
    if done:
        back_substitute(matrix, width, width, blocks, x)
    product = 0.0
    for j in range(width):
        x[j] = x[j] if done else np.nan
        product += lines[RIGHT, j] * x[j]
    return product, ridge, largest, undetermined


@compiled
def solve_summed_rows(chosen, A, lines, iteration, constants, report):
    """Solve the rows chosen (m,) from their summed systems in float64, and add to ``report`` (REPORTS,), in place.

    ``A`` and ``lines`` are sums of what ``system_task`` writes; solutions go to ``iteration.x``.
    """
    width = lines.shape[2]
    matrix = aligned_empty(width, width + 2 * PAD, A)
    blocks = np.empty((width // TILE_ROWS, TILE_ROWS, TILE_ROWS))
    M, x = np.empty(width), np.empty(width + PAD)
    for i in range(chosen.shape[0]):
        n = chosen[i]
        diagonal(iteration.spectrum, value_of(iteration.row_weights, n), iteration.regularization[n], M)
        product, ridge, largest, undetermined = _solve_summed(A[i], lines[i], M, matrix, blocks, x)
        squared = 0.0
        for j in range(width):
            iteration.x[n, j] = x[j]
            squared += x[j] * x[j]
        report[SINGULAR] += ridge > 0 or undetermined
        if ridge > 0:
            report[RIDGE] = max(report[RIDGE], ridge / largest)
        accept(iteration.x[n], row_loss(constants[n], product, ridge * squared), report)
        iteration.status[n] = SOLVED
