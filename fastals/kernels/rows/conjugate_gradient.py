"""Conjugate gradients for one row of the normal equations, in the eigenbasis of the Gramian.

In that basis the system of a row is  A = diag(M) + sum_t extra_t y_t y_t',  with M = c0 s + lambda (1 for whitened
factors, see ``solver.eigenbasis``). M is also the preconditioner: relative to it A has at most as many eigenvalues
other than 1 as the row has entries, and they lie below c_max / c0, whatever the factors. A step costs two multiply-adds
per element of the row's gathered factors.
(Hestenes and Stiefel 1952; for implicit feedback Takacs, Pilaszy and Tikk 2011.)
"""

from typing import Any, NamedTuple

import numpy as np

from fastals.kernels.dense.blocks import add_products
from fastals.kernels.dense.memory import aligned_empty
from fastals.kernels.dense.tiles import PAD
from fastals.kernels.jit import compiled, compiled_without_refcounts


class Stop(NamedTuple):
    """When the iteration of a row ends, and where it starts.

    tolerance : scalar of the type of the factors
        Stop once |r| <= tolerance min(|b|, energy^1/2) in the norm of M^-1. Where no weight is negative M <= A, so the
        error is then below tolerance |x| in the norm of A, which is that of the loss.
    max_steps : int
        Give up after so many steps.
    warm_from : int
        Rows of at least so many entries start from a guess, the others from zero.
    """

    tolerance: Any
    max_steps: Any
    warm_from: Any


class Vectors(NamedTuple):
    """Scratch of an iteration, (width,) arrays.

    r : residual b - A x
    p : direction of the step
    q : M p, to which a step adds sum_t extra_t (y_t . p) y_t
    inverse : 1 / M
    M : diagonal of the system and preconditioner, c0 s + lambda
    b : right-hand side
    """

    r: Any
    p: Any
    q: Any
    inverse: Any
    M: Any
    b: Any


@compiled
def lines_for(width, like):
    """Scratch of a thread for ``vectors_of``: (6, width + 32), of the type of ``like``."""
    return aligned_empty(np.int64(6), width + 2 * PAD, like)


@compiled_without_refcounts
def vectors_of(lines, width):
    """The vectors that lie in the lines of a block of scratch.

    Kernels pass the block on and name its lines themselves: LLVM then unrolls their loops half as far, which suits
    short vectors, than where each vector is an argument.
    """
    r, p, q, inverse = lines[0, :width], lines[1, :width], lines[2, :width], lines[3, :width]
    return Vectors(r, p, q, inverse, lines[4, :width], lines[5, :width])


@compiled_without_refcounts
def conjugate_gradient(Y, indices, weights, x, energy, lines, stop):
    """Solve A x = b for x in place, from the x and the residual that are given; one step at least, unless r is zero.

    Parameters
    ----------
    Y : (n, width) array
        Factors of the other side, rotated; the row's are ``Y[indices]``.
    indices, weights : (count,) arrays, count a multiple of four
        The row's entries and their weights, c - c0.
    x : (width,) array
        Solution (input and output).
    energy : scalar
        x.(b + r) at the start; a step adds r.M^-1 r times its length to it, and at the solution it is b.x.
    lines : (6, width + 32) array
        The Vectors, see ``vectors_of``: M, its inverse, b (input), r (input and output) and scratch.
    stop : Stop

    Returns
    -------
    int
        Number of steps, or -1 where the tolerance was not reached or a curvature was not positive.
    """
    r, p, q, inverse, M, b = vectors_of(lines, Y.shape[1])
    width, zero = b.shape[0], b.dtype.type(0)  # sums in float64 would halve the lanes of loops
    squared, right = zero, zero
    for j in range(width):
        p[j] = inverse[j] * r[j]
        q[j] = r[j]  # M p
        squared += p[j] * r[j]
        right += inverse[j] * b[j] * b[j]  # |b|^2
    if squared == 0:
        return 0
    diagonal_part = squared  # p.Mp
    for step in range(1, stop.max_steps + 1):
        curvature = np.float64(diagonal_part) + add_products(Y, indices, weights, p, q)
        if not curvature > 0:
            return -1
        length = squared / curvature
        energy += length * squared
        after, stride = zero, b.dtype.type(length)
        for j in range(width):
            x[j] += stride * p[j]
            r[j] -= stride * q[j]
            after += r[j] * r[j] * inverse[j]
        if after <= stop.tolerance * stop.tolerance * min(np.float64(right), energy):
            return step
        ratio = b.dtype.type(np.float64(after) / squared)
        squared = after
        diagonal_part = zero
        for j in range(width):
            p[j] = inverse[j] * r[j] + ratio * p[j]
            q[j] = M[j] * p[j]
            diagonal_part += p[j] * q[j]
    return -1
