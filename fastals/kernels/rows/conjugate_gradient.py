"""Conjugate gradients for one row of the normal equations, in the eigenbasis of the Gramian.

In that basis the system of a row is  A = diag(M) + sum_t extra_t y_t y_t',  with M = c0 s + lambda. M is also the
preconditioner: relative to it A has at most as many eigenvalues other than 1 as the row has entries, and they lie
below c_max / c0, whatever the factors. A step costs two multiply-adds per element of the row's gathered factors.
(Hestenes and Stiefel 1952; for implicit feedback Takacs, Pilaszy and Tikk 2011.)
"""

from fastals.kernels.dense.blocks import add_products
from fastals.kernels.jit import compiled_bare


@compiled_bare
def conjugate_gradient(Y, indices, extra, M, b, x, energy, scratch, tolerance, max_steps):
    """Solve A x = b for x in place, one step at least, from the x and the residual that are given.

    Parameters
    ----------
    Y : (n, width) array
        Factors of the other side, rotated; the row's are ``Y[indices]``.
    extra : (count,) array
        Weight of each of them, c - c0.
    M, b, x : (width,) arrays
        Diagonal, right-hand side, and solution (input and output).
    energy : scalar
        x.(b + r) at the start; a step adds r.M^-1 r times its length to it, and at the solution it is b.x.
    scratch : (4, width) array
        Row 0 holds the residual r = b - A x (input and output); the others are overwritten.
    tolerance : scalar
        Stop once |r| <= tolerance min(|b|, energy^1/2) in the norm of M^-1. Where no weight is negative M <= A, so the
        error is then below tolerance |x| in the norm of A, which is that of the loss.
    max_steps : int

    Returns
    -------
    int
        Number of steps, or -1 where the tolerance was not reached or a curvature was not positive.
    """
    width = b.shape[0]
    r, p, q, inverse = scratch[0, :width], scratch[1, :width], scratch[2, :width], scratch[3, :width]
    squared, right = b[0] * 0, b[0] * 0
    for j in range(width):
        inverse[j] = 1 / M[j]
        p[j] = inverse[j] * r[j]
        q[j] = r[j]  # M p
        squared += p[j] * r[j]
        right += inverse[j] * b[j] * b[j]  # |b|^2
    if squared == 0:
        return 0
    diagonal_part = squared  # p.Mp
    for step in range(1, max_steps + 1):
        curvature = diagonal_part + add_products(Y, indices, extra, p, q)
        if not curvature > 0:
            return -1
        length = squared / curvature
        energy += length * squared
        after = b[0] * 0
        for j in range(width):
            x[j] += length * p[j]
            r[j] -= length * q[j]
            after += r[j] * r[j] * inverse[j]
        if after <= tolerance * tolerance * min(right, energy):
            return step
        ratio = after / squared
        squared = after
        diagonal_part = b[0] * 0
        for j in range(width):
            p[j] = inverse[j] * r[j] + ratio * p[j]
            q[j] = M[j] * p[j]
            diagonal_part += p[j] * q[j]
    return -1
