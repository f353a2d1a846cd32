"""Steps of conjugate gradients for many right-hand sides at a time, whose vectors are the columns of (d, k) arrays.

A step of all columns takes two passes over the vectors, each of which also sums what the next scalars are made of. With
(A + strength I) the matrix, D its diagonal and  Q = A P  given, the first pass goes down along P,

    B <- B + length P,    R <- R - length (Q + strength P),    sum of R'D^-1 R,

and the second turns to the next direction,

    P <- D^-1 R + ratio P,    sum of P'P.

NumPy's expressions for the same took twice as many passes on one thread, half of a step's time.
"""

from fastals.kernels.jit import compiled


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


@compiled
def descend_task(task, tasks, bounds, length, strength, inverse, vectors, sums):
    """Run ``descend_rows`` over every ``tasks``-th range of rows, from number ``task`` on; see there.

    Range c is the rows from bounds[c] to bounds[c + 1]; ``vectors`` are P, Q, B and R; ``sums`` is (ranges, k).
    """
    P, Q, B, R = vectors
    for c in range(task, bounds.shape[0] - 1, tasks):
        descend_rows(bounds[c], bounds[c + 1], length, strength, inverse, P, Q, B, R, sums[c])


@compiled
def turn_task(task, tasks, bounds, ratio, inverse, R, P, sums):
    """Run ``turn_rows`` over every ``tasks``-th range of rows, from number ``task`` on; see there.

    Range c is the rows from bounds[c] to bounds[c + 1]; ``sums`` is (ranges, k).
    """
    for c in range(task, bounds.shape[0] - 1, tasks):
        turn_rows(bounds[c], bounds[c + 1], ratio, inverse, R, P, sums[c])
