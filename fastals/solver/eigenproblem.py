"""Eigenvalues and eigenvectors of a Gramian, by all threads where it is large.

LAPACK's take one thread, and of a sweep with 256 factors more than anything else that does. Here what is serial is the
tridiagonal form alone, a sixth of that time; eigenvectors are found by groups, each of them for itself.
"""

from __future__ import annotations

import numpy as np

from fastals.kernels.dense.eigenvectors import LANES, LEAST_BESIDE, Scratch, Tridiagonal, eigenvector_task
from fastals.kernels.dense.memory import aligned
from fastals.kernels.dense.tridiagonal import REFLECTIONS, Reflections, tridiagonalise
from fastals.solver.blas import single_threaded_blas
from fastals.solver.threads import effective_num_threads, run_tasks

LEAST_SIZE = 192  # of a matrix: below it, LAPACK's two milliseconds are not worth two to three seconds to compile, once
SMALLEST = 1e-300  # of what 1 / x is finite for
EQUAL = 1e-13  # of the largest: eigenvalues that near to zero have no vectors of their own
SKEW = 0.1  # of V'V - I at the most, from where a few steps make vectors orthogonal
STEPS = 6  # an error of .5 is below float32's rounding after five


def eigenvectors(G: np.ndarray, dtype: np.dtype, num_threads: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues s, rising, and eigenvectors V of a Gramian G = V diag(s) V' of factors of a type, in float64.

    Parameters
    ----------
    G : ndarray of shape (k, k), float64
        Symmetric and finite.
    dtype : dtype of the factors
        V'V is I up to its epsilon.
    num_threads : int or None
        The result is the same for any number.

    Returns
    -------
    values : ndarray of shape (k,)
    vectors : ndarray of shape (k, k)
    """
    if len(G) >= LEAST_SIZE:
        found = _by_groups(G, float(np.finfo(dtype).eps), num_threads)
        if found is not None:
            return found
    with single_threaded_blas():
        values, vectors = np.linalg.eigh(G)
    return values, vectors


def _by_groups(G: np.ndarray, tolerance: float, num_threads: int | None) -> tuple[np.ndarray, np.ndarray] | None:
    """The same, or None where eigenvalues are equal or almost.

    V'V is I up to the tolerance, and V'GV is diag(s) up to that share of the largest.
    """
    k, scale = len(G), float(np.abs(G.diagonal()).max())  # the largest element of all
    if scale < SMALLEST or tolerance < k * np.finfo(float).eps:
        return None
    T, reflections = _tridiagonal(G, scale)
    size = float(np.abs(T.bounds).max())
    if _number_below(T, EQUAL * size) - _number_below(T, -EQUAL * size) > 1:
        return None
    values, errors, V = np.empty(k), np.empty(k), np.empty((k, k))
    threads = min(effective_num_threads(num_threads), -(-k // LANES))
    width = reflections.rows.shape[2]
    scratch = Scratch(
        _array(threads, k, LANES), _array(threads, k, LANES), _array(threads, width, LANES),
        _array(threads, 2, REFLECTIONS, LANES), *(_array(threads, LANES) for _ in range(6)),
    )  # fmt: skip
    run_tasks(eigenvector_task, threads, T, reflections, scratch, values, errors, V)
    worst, gaps = float(errors.max()), np.diff(values)
    if not worst <= tolerance * size:  # nor NaN
        return None
    error = 2 * (worst + 2 * np.finfo(float).eps * size)  # of two T z - s z, with the rounding of these themselves
    # An eigenvalue that stands in the place of another that lies before it has been found twice.
    if gaps.min() < -error or not _orthogonalise(V, gaps < error / tolerance, tolerance):
        return None
    return values * scale, V


def _orthogonalise(V: np.ndarray, close: np.ndarray, tolerance: float) -> bool:
    """Make vectors orthogonal in place whose eigenvalues are ``close`` to the next, (k - 1,) bool; whether that went.

    Each is an eigenvector to rounding errors. With E = I - C'C of a cluster C, a step to C + C E / 2 leaves
    (3 E^2 + E^3) / 4, on the way to the nearest orthogonal matrix (Higham 1986). Vectors that span less than they
    should stay as they are, and it does not go.
    """
    if not close.any():
        return True
    edges = np.flatnonzero(np.diff(close, prepend=False, append=False))
    with single_threaded_blas():
        return all(
            _made_orthogonal(V[:, first:last], tolerance)
            for first, last in zip(edges[::2], edges[1::2] + 1, strict=True)
        )


def _made_orthogonal(cluster: np.ndarray, tolerance: float) -> bool:
    """The same for the columns of one cluster (k, m)."""
    size = cluster.shape[1]
    for _ in range(STEPS):
        E = np.eye(size) - cluster.T @ cluster
        largest = float(np.abs(E).max())
        if not largest < SKEW:
            return False
        cluster += 0.5 * (cluster @ E)
        if size * largest**2 <= tolerance:  # no element of E is larger then
            return True
    return False


def _number_below(T: Tridiagonal, shift: float) -> int:
    """How many eigenvalues of T are below a number, by Sturm's count."""
    pivot, count = 1.0, 0
    for diagonal, square in zip(T.diagonal.tolist(), [0.0, *T.squares.tolist()], strict=False):
        pivot = diagonal - shift - (square / pivot if pivot else np.inf)
        count += pivot < 0
    return count


def _tridiagonal(G: np.ndarray, scale: float) -> tuple[Tridiagonal, Reflections]:
    """T and Q with G = scale Q T Q'."""
    k = len(G)
    blocks = -(-k // REFLECTIONS)
    width = blocks * REFLECTIONS
    A, diagonal, beside = _array(width, width), np.empty(k), np.empty(k)
    A[:k, :k] = G
    A[:k, :k] *= 1 / scale
    A[k:] = 0
    A[:, k:] = 0
    rows, factors = np.zeros((blocks, REFLECTIONS, width)), np.zeros((blocks, REFLECTIONS, REFLECTIONS))
    reflections = Reflections(rows, factors)
    tridiagonalise(A, diagonal, beside, reflections, *np.zeros((3, width)))
    sides = np.abs(beside)
    sides[1:] += np.abs(beside[:-1])  # Gershgorin's circles
    bounds = np.array([(diagonal - sides).min(), (diagonal + sides).max()])
    bounds += (bounds[1] - bounds[0] + 1) * 1e-12 * np.array([-1, 1])
    beside[np.abs(beside) < LEAST_BESIDE] = LEAST_BESIDE
    return Tridiagonal(diagonal, beside, beside**2, bounds), reflections


def _array(*shape: int) -> np.ndarray:
    """Uninitialised float64 array for the kernels."""
    return aligned(np.dtype(np.float64), *shape)
