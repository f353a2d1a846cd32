"""Eigenvalues and eigenvectors of a symmetric matrix from its tridiagonal form, LANES of them at a time.

Eigenvalue number m, from the least on, is where Sturm's count passes m: of the pivots of T - s I = L D L',

    d_0 = t_00 - s,    d_i = t_ii - s - t_{i,i-1}^2 / d_{i-1},

as many are negative as there are eigenvalues below s (Barlow and others in *Templates for the Solution of Algebraic
Eigenvalue Problems*, 2000, section 4.5.2). Halving its interval finds it to nine digits, to all where it has close
neighbours. For the eigenvector the pivots are taken from both ends, d from the first row on and u from the last: at the
row r where the twisted pivot

    gamma_r = d_r + u_r - (t_rr - s)

is least, the vector z with z_r = 1 that meets all equations but that one has T z - s z = gamma_r e_r, and s moves to
z's Rayleigh quotient, s + gamma_r / |z|^2 (Dhillon 1997; LAPACK's dlar1v). Errors fall to their third power: three
rounds leave what rounding does.

Vectors of eigenvalues that lie close together would not be orthogonal. By how much at the most the caller knows from
``errors`` and the gaps: (s_i - s_j) z_i.z_j = z_j.(T z_i - s_i z_i) negated, and the other way round, so
|z_i.z_j| <= (error_i + error_j) / |s_i - s_j|.

No group of LANES knows of the others, nor do results depend on the number of tasks.
"""

from typing import Any, NamedTuple

import numpy as np

from fastals.kernels.dense.tridiagonal import reflect
from fastals.kernels.jit import compiled, compiled_without_refcounts

LANES = 32  # fewer, and LLVM unrolls their loops instead of using vectors
HALVINGS = 30
MOST_HALVINGS = 52  # where eigenvalues lie close together
NEAR = 1000  # widths of their intervals between neighbours that are close
ROUNDS = 3
LEAST_PIVOT = 1e-20  # in the place of 0: far below the rounding of T, and its reciprocal times others is finite
LEAST_BESIDE = 1e-40  # in the place of 0, too: where T falls apart, the same formulas find which part a vector is of


class Tridiagonal(NamedTuple):
    """The matrix T, of a size of about 1.

    diagonal, beside : (k,) arrays
        ``beside[i]`` is element (i + 1, i), LEAST_BESIDE or more in absolute value; the last one is not used.
    squares : (k,) array
        Of ``beside``.
    bounds : (2,) array
        Below and above all eigenvalues.
    """

    diagonal: Any
    beside: Any
    squares: Any
    bounds: Any


class Scratch(NamedTuple):
    """Scratch of the tasks.

    down, up : (tasks, k, LANES) arrays
        1 / d and 1 / u.
    vectors : (tasks, width, LANES) array
        z, zero past k; ``width`` is that of the reflections.
    products : (tasks, 2, REFLECTIONS, LANES) array
        See `reflect`.
    shifts, gamma, twist, squared, pivots, below : (tasks, LANES) arrays
        Arrays of their own: of lines of one array LLVM would not know that they do not overlap, and use no vectors.
    """

    down: Any
    up: Any
    vectors: Any
    products: Any
    shifts: Any
    gamma: Any
    twist: Any
    squared: Any
    pivots: Any
    below: Any


@compiled_without_refcounts
def _least_gap(values, count):
    """The least that one of the first ``count`` values, which rise, lies above the one before it."""
    least = np.inf
    for lane in range(1, count):
        least = min(least, values[lane] - values[lane - 1])
    return least


@compiled_without_refcounts
def _bisect(T, first, shifts, low, high, pivots, below):
    """Write eigenvalues first, first + 1, ... to ``shifts`` in place; the rest is scratch, (LANES,)."""
    count, width = min(LANES, T.diagonal.shape[0] - first), T.bounds[1] - T.bounds[0]
    for lane in range(LANES):
        low[lane], high[lane] = T.bounds[0], T.bounds[1]
    for step in range(MOST_HALVINGS):
        for lane in range(LANES):
            shifts[lane] = 0.5 * (low[lane] + high[lane])
            pivots[lane] = T.diagonal[0] - shifts[lane]
            below[lane] = 1.0 if pivots[lane] < 0 else 0.0
        for i in range(1, T.diagonal.shape[0]):
            diagonal, square = T.diagonal[i], T.squares[i - 1]
            for lane in range(LANES):
                pivot = diagonal - shifts[lane] - square / pivots[lane]
                pivots[lane] = pivot
                below[lane] += 1.0 if pivot < 0 else 0.0
        for lane in range(LANES):
            if below[lane] > first + lane:
                high[lane] = shifts[lane]
            else:
                low[lane] = shifts[lane]
        width *= 0.5
        if step >= HALVINGS - 1 and _least_gap(low, count) > NEAR * width:
            break
    for lane in range(LANES):
        shifts[lane] = 0.5 * (low[lane] + high[lane])


@compiled_without_refcounts
def _reciprocal(pivot):
    """1 / pivot, finite."""
    return 1 / (pivot if pivot != 0 else LEAST_PIVOT)


@compiled_without_refcounts
def _factorise(T, shifts, down, up, gamma, twist):
    """Write 1 / d, 1 / u, the least twisted pivots and their rows, as numbers, in place."""
    last = T.diagonal.shape[0] - 1
    for lane in range(LANES):
        down[0, lane] = _reciprocal(T.diagonal[0] - shifts[lane])
    for i in range(1, last + 1):
        diagonal, square, before, own = T.diagonal[i], T.squares[i - 1], down[i - 1], down[i]
        for lane in range(LANES):
            own[lane] = _reciprocal(diagonal - shifts[lane] - square * before[lane])
    for lane in range(LANES):
        up[last, lane] = _reciprocal(T.diagonal[last] - shifts[lane])
        gamma[lane], twist[lane] = 1 / down[last, lane], last
    for i in range(last - 1, -1, -1):
        diagonal, square, after, own = T.diagonal[i], T.squares[i], up[i + 1], up[i]
        above, before = (T.squares[i - 1], down[i - 1]) if i > 0 else (0.0, down[0])
        for lane in range(LANES):
            pivot = diagonal - shifts[lane] - square * after[lane]
            own[lane] = _reciprocal(pivot)
            twisted = pivot - above * before[lane]  # = u_i + d_i - (t_ii - s)
            less = abs(twisted) < abs(gamma[lane])
            gamma[lane] = twisted if less else gamma[lane]
            twist[lane] = i if less else twist[lane]


@compiled_without_refcounts
def _vectors(T, down, up, twist, z, squared):
    """Write the vectors of the twisted factorisations and the squares of their lengths in place."""
    last = T.diagonal.shape[0] - 1
    for lane in range(LANES):
        z[last, lane] = 1.0 if twist[lane] == last else 0.0
    for i in range(last - 1, -1, -1):
        beside, after, own, inverse = T.beside[i], z[i + 1], z[i], down[i]
        for lane in range(LANES):
            own[lane] = 1.0 if twist[lane] == i else -beside * inverse[lane] * after[lane]
    for lane in range(LANES):
        squared[lane] = z[0, lane] * z[0, lane]
    for i in range(1, last + 1):
        beside, before, own, inverse = T.beside[i - 1], z[i - 1], z[i], up[i]
        for lane in range(LANES):
            value = -beside * inverse[lane] * before[lane] if twist[lane] < i else own[lane]
            own[lane] = value
            squared[lane] += value * value


@compiled_without_refcounts
def _square_rests(T, shifts, z, rests):
    """Write the squares of the lengths of T z - s z to ``rests`` (LANES,) in place."""
    last = T.diagonal.shape[0] - 1
    for lane in range(LANES):
        rests[lane] = 0
    for i in range(last + 1):
        diagonal, left, right = T.diagonal[i], T.beside[max(i - 1, 0)], T.beside[i]
        before, own, after = z[max(i - 1, 0)], z[i], z[min(i + 1, last)]
        if i == 0:
            left = 0.0
        if i == last:
            right = 0.0
        for lane in range(LANES):
            rest = (diagonal - shifts[lane]) * own[lane] + (left * before[lane] + right * after[lane])
            rests[lane] += rest * rest


@compiled
def eigenvector_task(task, tasks, T, reflections, scratch, values, errors, V):
    """Write every ``tasks``-th group of eigenvectors of Q T Q', from number ``task`` on, to ``V`` in place.

    Parameters
    ----------
    T : Tridiagonal
    reflections : Reflections
        Q, see `tridiagonal`.
    scratch : Scratch
    values, errors : (k,) float64 arrays
        Eigenvalues, rising, and the lengths of T z - s z (outputs).
    V : (k, k) float64 array
        The vectors as columns, of length 1 (output).
    """
    k = values.shape[0]
    down, up, z, products = scratch.down[task], scratch.up[task], scratch.vectors[task], scratch.products[task]
    shifts, gamma, twist = scratch.shifts[task], scratch.gamma[task], scratch.twist[task]
    squared, pivots, below = scratch.squared[task], scratch.pivots[task], scratch.below[task]
    for first in range(task * LANES, k, tasks * LANES):
        _bisect(T, first, shifts, gamma, twist, pivots, below)
        for _ in range(ROUNDS):
            _factorise(T, shifts, down, up, gamma, twist)
            _vectors(T, down, up, twist, z, squared)
            for lane in range(LANES):
                shifts[lane] += gamma[lane] / squared[lane]
        _square_rests(T, shifts, z, gamma)
        for i in range(k, z.shape[0]):
            for lane in range(LANES):
                z[i, lane] = 0
        reflect(z, reflections, products)
        count = min(LANES, k - first)
        for lane in range(LANES):
            squared[lane] = 1 / np.sqrt(squared[lane])
        for lane in range(count):
            values[first + lane] = shifts[lane]
            errors[first + lane] = np.sqrt(gamma[lane]) * squared[lane]
        for i in range(k):
            row = V[i, first : first + count]
            for lane in range(count):
                row[lane] = z[i, lane] * squared[lane]
