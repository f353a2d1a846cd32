"""Steps of conjugate gradients for many right-hand sides at a time, whose vectors are the columns of (d, k) arrays.

A step of all columns takes two passes over the vectors, each of which also sums what the next scalars are made of. With
(A + strength I) the matrix, D its diagonal and  Q = A P  given, the first pass goes down along P,

    B <- B + length P,    R <- R - length (Q + strength P),    sum of R'D^-1 R,

and the second turns to the next direction,

    P <- D^-1 R + ratio P,    sum of P'P.

NumPy's expressions for the same took twice as many passes on one thread, half of a step's time.
"""

from numba import prange

from fastals.kernels.jit import compiled, compiled_parallel


@compiled
def descend_rows(first, last, length, strength, inverse, P, Q, B, R, sums):
    """Take the step of rows first .. last in B and R in place, and write what they sum to into ``sums`` (k,).

    ``P``, ``Q``, ``B`` and ``R`` are (d, k), ``length`` is (k,), ``inverse`` is D^-1 (d, 1).
    """
    sums[:] = 0
    for i in range(first, last):
        scale = inverse[i, 0]
        for j in range(P.shape[1]):
            p = P[i, j]
            B[i, j] += length[j] * p
            left = R[i, j] - length[j] * (Q[i, j] + strength * p)
            R[i, j] = left
            sums[j] += scale * left * left


@compiled
def turn_rows(first, last, ratio, inverse, R, P, sums):
    """Write the next direction of rows first .. last to P in place, and its sum of squares to ``sums`` (k,).

    ``R`` and ``P`` are (d, k), ``ratio`` is (k,), ``inverse`` is D^-1 (d, 1).
    """
    sums[:] = 0
    for i in range(first, last):
        scale = inverse[i, 0]
        for j in range(P.shape[1]):
            p = scale * R[i, j] + ratio[j] * P[i, j]
            P[i, j] = p
            sums[j] += p * p


@compiled_parallel
def descend_ranges(bounds, length, strength, inverse, P, Q, B, R, sums):
    """Run ``descend_rows`` over ranges of rows, of range c those from bounds[c] to bounds[c + 1], in parallel.

    ``sums`` is (ranges, k).
    """
    for c in prange(bounds.shape[0] - 1):
        descend_rows(bounds[c], bounds[c + 1], length, strength, inverse, P, Q, B, R, sums[c])


@compiled_parallel
def turn_ranges(bounds, ratio, inverse, R, P, sums):
    """Run ``turn_rows`` over ranges of rows, of range c those from bounds[c] to bounds[c + 1], in parallel.

    ``sums`` is (ranges, k).
    """
    for c in prange(bounds.shape[0] - 1):
        turn_rows(bounds[c], bounds[c + 1], ratio, inverse, R, P, sums[c])
