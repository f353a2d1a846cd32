"""One row of a half-sweep: its entries, the diagonal of its system, and what it contributes to the loss.

**The free loss.** Against the fixed factors Y of the other side, a row x contributes to the objective

    Hu:      f(x) = sum_i c_i (phi_i - x.y_i)^2 + lambda |x|^2        over ALL i; c_i = c0, phi_i = 0 if not stored
    Rendle:  f(x) = sum_t w_t (phi_t - x.y_t)^2 + c0 sum_i (x.y_i)^2 + lambda |x|^2        t: stored pairs

Multiplied out, both are  f(x) = constant - 2 b.x + x.A x  with

    A = c0 Y'Y + lambda I + sum_t extra_t y_t y_t',    b = sum_t target_t y_t,    constant = sum_t target_t phi_t,

where  extra = c - c0, target = c phi  for Hu and  extra = w, target = w phi  for Rendle. What is stored of a pair is a
weight w, with  extra = w - shift, target = (w + offset) phi:

    Hu:                          w = c - c0, shift = 0, offset = c0
    Hu with raw confidences:     w = c, shift = c0, offset = 0, since c - c0 loses the digits of a c far below c0
    Rendle:                      shift = offset = 0

The constant is sum c phi^2 for Hu, sum w for Rendle where phi = 1. A solver ends at some x with the residual
r = b - A x. Then A x = b - r, and

    f(x) = constant - 2 b.x + x.(b - r) = constant - b.x - x.r,

the row's own regularisation included, exact whether x solves the system or not. Summed over the rows, plus the
regularisation of Y, that is the loss after the half-sweep. A rotation of b, x and r leaves it as it is.
"""

from typing import Any, NamedTuple

import numpy as np

from fastals.kernels.dense.memory import aligned_empty
from fastals.kernels.jit import compiled, compiled_without_refcounts, shared

# What a range of rows reports, one column each; a range's line of the reports is a cache line, which no thread shares.
LOSS, STEPS, ITERATED, DIRECTLY, FALLBACKS, SINGULAR, RIDGE, FAILED, REPORTS = 0, 1, 2, 3, 4, 5, 6, 7, 8
# How a row stands: solved, or to be solved directly in the model's type, or directly in float64.
SOLVED, DIRECT, DOUBLE = 0, 1, 2


class Entries(NamedTuple):
    """The stored pairs of one side, CSR rows.

    indptr : (n_rows + 1,) int64 array
    indices : (nnz,) int32 or int64 array
    weight : (nnz,) array, or (1,) where all are equal
        w, as above.
    preference : (nnz,) array, or (1,) where all are equal
        phi.
    shift : scalar of the type of the weights
        extra = w - shift.
    """

    indptr: Any
    indices: Any
    weight: Any
    preference: Any
    shift: Any


class System(NamedTuple):
    """What the systems of all rows of one side share.

    Y : (n, width) array
        Factors of the other side in the eigenbasis of their Gramian, zeros past ``factors``.
    spectrum : (width,) float64 array
        c0 times the eigenvalues of the Gramian; ones past ``factors``.
    regularization : (n_rows,) float64 array
        lambda of each row.
    rotation : (panels, width, PANEL) array
        Transposed eigenvectors, back to the basis of the solutions, in panels of columns; see ``multiply_chunk``.
    offset : scalar of the type of Y
        target = (w + offset) phi.
    unobserved_weight : scalar of the type of Y
        c0.
    """

    Y: Any
    spectrum: Any
    regularization: Any
    rotation: Any
    offset: Any
    unobserved_weight: Any


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
        c - c0 and c phi.
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
def extra_of(weight, shift):
    """c - c0 of a pair of weight w, or of many."""
    return weight - shift


@shared
def target_of(weight, offset, phi):
    """Target c phi of a pair of weight w, or of many."""
    return (weight + offset) * phi


@compiled_without_refcounts
def diagonal(spectrum, ridge, M):
    """Write M = c0 s + lambda to M (width,) in place; ``spectrum`` is c0 s and ``ridge`` lambda, both float64."""
    for j in range(spectrum.shape[0]):
        M[j] = spectrum[j] + ridge


@compiled_without_refcounts
def row_loss(constant, b_dot_x, x_dot_r):
    """What a row contributes to the loss; derived above."""
    return constant - b_dot_x - x_dot_r


@compiled_without_refcounts
def _weigh_entries(first, last, entries, offset, row):
    """Write weights and targets of the entries first .. last to ``row`` in place; returns the constant in the loss."""
    constant = 0.0
    for t in range(first, last):
        weight = value_of(entries.weight, t)
        phi = value_of(entries.preference, t)
        target = target_of(weight, offset, phi)
        row.weights[t - first] = extra_of(weight, entries.shift)
        row.targets[t - first] = target
        constant += np.float64(target) * phi
    return constant


@compiled_without_refcounts
def gather_row(entries, u, offset, row):
    """Write row u's indices, weights and targets to ``row`` (Gathered) in place.

    Returns the row's constant in the loss and its largest weight.
    """
    start, count = entries.indptr[u], entries.indptr[u + 1] - entries.indptr[u]
    for t in range(count):
        row.indices[t] = entries.indices[start + t]
    largest = offset * 0
    if entries.weight.shape[0] == 1 and entries.preference.shape[0] == 1:
        largest = extra_of(entries.weight[0], entries.shift)
        target = target_of(entries.weight[0], offset, entries.preference[0])
        constant = count * (np.float64(target) * entries.preference[0])
        for t in range(count):
            row.weights[t] = largest
            row.targets[t] = target
    else:
        constant = _weigh_entries(start, start + count, entries, offset, row)
        for t in range(count):
            largest = max(largest, row.weights[t])
    for t in range(count, (count + 3) // 4 * 4):
        row.indices[t] = row.indices[0]
        row.weights[t] = 0
        row.targets[t] = 0
    return constant, largest


@compiled_without_refcounts
def least_share(row, count, unobserved_weight):
    """Smallest c / c0 of a row's entries where one is below 1, else 1: where it is small, A is far below M."""
    least = unobserved_weight - unobserved_weight  # whose type a constant would not have
    for t in range(count):
        least = min(least, row.weights[t])
    return (unobserved_weight + least) / unobserved_weight


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
