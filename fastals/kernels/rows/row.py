"""One row of a half-sweep: its entries, the diagonal of its system, and what it contributes to the loss.

**The free loss.** Against the fixed factors Y of the other side, a row x contributes to the objective

    Hu:      f(x) = sum_i c_i (phi_i - x.y_i)^2 + lambda |x - z|^2        over ALL i; c_i = m_i, phi_i = 0 if not stored
    Rendle:  f(x) = sum_t w_t (phi_t - x.y_t)^2 + sum_i m_i (x.y_i)^2 + lambda |x - z|^2        t: stored pairs

where m_i = c0 v_u w_i is the weight of the row's missing pairs, and z, what its features predict, is mostly zero.
Multiplied out, both are  f(x) = constant - 2 b.x + x.A x  with

    A = Y' diag(m) Y + lambda I + sum_t extra_t y_t y_t',    b = sum_t target_t y_t + lambda z,
    constant = sum_t target_t phi_t + lambda |z|^2,

where  extra = c - m, target = c phi  for Hu and  extra = w, target = w phi  for Rendle. What is stored of a pair is a
weight, with  extra = weight - shift + missing (1 - v_u w_i), target = (weight + offset) phi:

    Hu:                          weight = c - c0, shift = 0, offset = c0, missing = c0
    Hu with raw confidences:     weight = c, shift = c0, offset = 0, missing = c0: c - c0 loses digits where c << c0
    Rendle:                      weight = w, shift = offset = missing = 0

The constant is sum c phi^2 for Hu, sum w for Rendle where phi = 1. A solver ends at some x with the residual
r = b - A x. Then A x = b - r, and

    f(x) = constant - 2 b.x + x.(b - r) = constant - b.x - x.r,

the row's own regularization included, exact whether x solves the system or not. Summed over the rows, plus the
regularization of Y, that is the loss after the half-sweep. A rotation of b, x and r leaves it as it is.
"""

from typing import Any, NamedTuple

import numpy as np

from fastals.kernels.dense.memory import aligned_empty
from fastals.kernels.jit import compiled, compiled_without_refcounts, shared

# What a range of rows reports, one column each; a range's line of the reports is a cache line, which no thread shares.
LOSS, STEPS, ITERATED, DIRECTLY, FALLBACKS, SINGULAR, RIDGE, FAILED, REPORTS = 0, 1, 2, 3, 4, 5, 6, 7, 8
# How a row stands: solved, or to be solved directly in the model's type, or directly in float64.
SOLVED, DIRECT, DOUBLE = 0, 1, 2
LEAST_WEIGHT = 1e-300  # for a w_i of zero, which divides


class Entries(NamedTuple):
    """The stored pairs of one side, CSR rows.

    indptr : (n_rows + 1,) int64 array
    indices : (nnz,) int32 or int64 array
    weight : (nnz,) array, or (1,) where all are equal
        w, as above.
    preference : (nnz,) array, or (1,) where all are equal
        phi.
    offset : scalar of the type of the weights
        target = (weight + offset) phi.
    shift, missing : float
        extra = weight - shift + missing (1 - v_u w_i).
    row_weights : (n_rows,) float64 array, or (1,) where all are 1
        v, of the rows' missing pairs.
    column_weights : (n,) float64 array, or (1,) where all are 1
        w, of the columns' missing pairs.
    """

    indptr: Any
    indices: Any
    weight: Any
    preference: Any
    offset: Any
    shift: Any
    missing: Any
    row_weights: Any
    column_weights: Any


class System(NamedTuple):
    """What the systems of all rows of one side share.

    Y : (n, width) array
        Factors of the other side in the eigenbasis of their Gramian, zeros past ``factors``. Or whitened: in a basis in
        which c0 Y' diag(w) Y + lambda I, the same for all rows, is I.
    spectrum : (width,) float64 array
        c0 times the eigenvalues of the Gramian Y' diag(w) Y; ones past ``factors``. Whitened: ones.
    regularization : (n_rows,) float64 array
        lambda of each row. Whitened: zeros, as it is in the spectrum.
    rotation : Panels
        Back to the basis of the solutions; see ``multiply_chunk``.
    unobserved_weight : float
        c0.
    prior : (n_rows, width) array of the type of Y, or (0, width)
        z, what the rows' features predict, in the eigenbasis; without rows where there are no features.
    """

    Y: Any
    spectrum: Any
    regularization: Any
    rotation: Any
    unobserved_weight: Any
    prior: Any


class Ranges(NamedTuple):
    """Ranges of rows, each of which one thread solves.

    bounds : (ranges + 1,) int64 array
        Range c is bounds[c] .. bounds[c + 1].
    longest : int
        Largest number of entries of their rows.
    reports : (ranges, REPORTS) float64 array
        What each range reports (output); see the columns above.
    """

    bounds: Any
    longest: Any
    reports: Any


class Gathered(NamedTuple):
    """Scratch: the entries of a row, up to a multiple of four, the last ones weighing nothing.

    indices : (longest + 4,) array of the type of the indices
    weights, targets : (longest + 4,) arrays
        extra and target.
    """

    indices: Any
    weights: Any
    targets: Any


@compiled
def gathered_for(longest, entries, like):
    """Scratch for rows of up to ``longest`` entries, with weights and targets of the type of ``like``."""
    two = np.int64(2)  # a constant is a type of its own to Numba, and so would be the compilations of what it goes to
    values = aligned_empty(two, longest + 4, like)
    return Gathered(np.empty(longest + 4, entries.indices.dtype), values[0], values[1])


@compiled_without_refcounts
def value_of(array, t):
    """Element t of an array; an array of one element stands for equal values."""
    return array[0 if array.shape[0] == 1 else t]


@shared
def extra_of(weight, shift, missing, relative):
    """extra of a pair, or of many; ``relative`` is v_u w_i; at 1 it is ``weight - shift`` but for rounding."""
    return weight + ((missing - shift) - missing * relative)


@shared
def target_of(weight, offset, phi):
    """Target c phi of a pair, or of many."""
    return (weight + offset) * phi


@compiled_without_refcounts
def diagonal(spectrum, row_weight, ridge, M):
    """Write M = c0 v s + lambda to M (width,) in place.

    ``spectrum`` is c0 s, ``row_weight`` v and ``ridge`` lambda, all float64.
    """
    for j in range(spectrum.shape[0]):
        M[j] = spectrum[j] * row_weight + ridge


@compiled_without_refcounts
def begin_right_hand_side(system, u, b):
    """Write lambda z, what row u's features predict of its right-hand side, to b (width,) in place; zero without any.

    Returns lambda |z|^2, its part of the constant in the loss.
    """
    for j in range(b.shape[0]):
        b[j] = 0
    if system.prior.shape[0] == 0:
        return 0.0
    ridge, squared = system.regularization[u], 0.0
    for j in range(system.prior.shape[1]):
        b[j] = ridge * np.float64(system.prior[u, j])
    # Sums have loops of their own: where one stood in the loop that writes b, 8 of 9,000 equal fits of a process had
    # another last digit of the loss, which memory around them decided; of 9,000 with two loops none had.
    for j in range(system.prior.shape[1]):
        z = np.float64(system.prior[u, j])
        squared += z * z
    return ridge * squared


@compiled_without_refcounts
def solve_empty_row(u, entries, system, M, b, x, report):
    """Solve a row without entries for x in place: M x = lambda z; M and b (width,) are scratch.

    Where M is zero, as of rows whose missing pairs weigh nothing and whose lambda is a power of that, x is z.
    """
    diagonal(system.spectrum, value_of(entries.row_weights, u), system.regularization[u], M)
    constant, b_dot_x = begin_right_hand_side(system, u, b), 0.0
    for j in range(x.shape[0]):
        x[j] = b[j] / M[j] if b[j] != 0 else 0
    for j in range(x.shape[0]):
        b_dot_x += np.float64(b[j]) * x[j]
    if system.regularization[u] == 0 and system.prior.shape[0]:
        for j in range(x.shape[0]):
            x[j] = system.prior[u, j] if M[j] == 0 else 0
    accept(x, row_loss(constant, b_dot_x, 0.0), report)


@compiled_without_refcounts
def row_loss(constant, b_dot_x, x_dot_r):
    """What a row contributes to the loss; derived above."""
    return constant - b_dot_x - x_dot_r


@compiled_without_refcounts
def _weigh_entries(first, last, entries, row):
    """Write weights and targets of the entries first .. last to ``row`` in place; returns the constant in the loss."""
    constant = 0.0
    for t in range(first, last):
        weight = value_of(entries.weight, t)
        phi = value_of(entries.preference, t)
        target = target_of(weight, entries.offset, phi)
        row.weights[t - first] = weight - entries.shift
        row.targets[t - first] = target
    for t in range(first, last):
        constant += np.float64(row.targets[t - first]) * value_of(entries.preference, t)
    return constant


@compiled_without_refcounts
def _missing_alike(u, entries):
    """Whether all missing pairs of row u weigh 1, as the row and the columns alone tell."""
    columns = entries.column_weights
    return columns.shape[0] == 1 and columns[0] == 1 and value_of(entries.row_weights, u) == 1


@compiled_without_refcounts
def _shift_weights(u, count, entries, row):
    """Turn the gathered weights of row u into extra in place, where v_u w_i is not 1; returns their largest and least.

    Both are in units of w_i; the largest is not below zero, the least not above.
    """
    row_weight, start = value_of(entries.row_weights, u), entries.indptr[u]
    largest, least = 0.0, 0.0
    for t in range(count):
        column_weight = value_of(entries.column_weights, np.int64(row.indices[t]))
        weight = np.float64(value_of(entries.weight, start + t))
        extra = extra_of(weight, entries.shift, entries.missing, row_weight * column_weight)
        row.weights[t] = extra
        relative = extra / max(column_weight, LEAST_WEIGHT)
        largest, least = max(largest, relative), min(least, relative)
    return largest, least


@compiled_without_refcounts
def gather_row(entries, u, row):
    """Write row u's indices, weights and targets to ``row`` (Gathered) in place.

    Returns the row's constant in the loss (without that of its features), and the largest and the least extra of its
    entries in units of w_i: at least zero, and at most zero.
    """
    start, count = entries.indptr[u], entries.indptr[u + 1] - entries.indptr[u]
    for t in range(count):
        row.indices[t] = entries.indices[start + t]
    largest, least = 0.0, 0.0
    if entries.weight.shape[0] == 1 and entries.preference.shape[0] == 1:
        extra = entries.weight[0] - entries.shift
        target = target_of(entries.weight[0], entries.offset, entries.preference[0])
        constant = count * (np.float64(target) * entries.preference[0])
        for t in range(count):
            row.weights[t] = extra
            row.targets[t] = target
        if count:  # as they are kept: what they are compared by must not have more digits here than below
            kept = np.float64(row.weights[0])
            largest, least = max(kept, 0.0), min(kept, 0.0)
    else:
        constant = _weigh_entries(start, start + count, entries, row)
        for t in range(count):
            kept = np.float64(row.weights[t])  # max of two types is another function to compile
            largest, least = max(largest, kept), min(least, kept)
    if not _missing_alike(u, entries):
        largest, least = _shift_weights(u, count, entries, row)
    for t in range(count, (count + 3) // 4 * 4):
        row.indices[t] = row.indices[0]
        row.weights[t] = 0
        row.targets[t] = 0
    return constant, largest, least


@compiled_without_refcounts
def least_share(least, missing_weight):
    """Smallest c / m of a row's entries, or 1 if none is below: where it is small, A is far below M.

    ``least`` is as ``gather_row`` returns it, ``missing_weight`` c0 v_u.
    """
    return (missing_weight + least) / missing_weight if least < 0 else 1.0


@compiled_without_refcounts
def accept(x, loss, report):
    """Add a solved row's loss to ``report``; a solution that is not finite is counted there and set to zero."""
    finite = True
    for j in range(x.shape[0]):
        finite &= np.isfinite(x[j])
    if not finite:
        report[FAILED] += 1
        x[:] = 0
    report[LOSS] += loss
