"""The tridiagonal form and its reflections against NumPy."""

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from fastals.kernels.dense.memory import aligned
from fastals.kernels.dense.tridiagonal import REFLECTIONS, Reflections, reflect, tridiagonalise

FLOAT = np.dtype(np.float64)


def reduced(matrix):
    """T and Q of a symmetric matrix."""
    k = len(matrix)
    blocks = -(-k // REFLECTIONS)
    width = blocks * REFLECTIONS
    A, diagonal, beside = aligned(FLOAT, width, width), np.full(k, np.nan), np.full(k, np.nan)
    A[:] = 0
    A[:k, :k] = matrix
    shape = blocks, REFLECTIONS, width
    reflections = Reflections(np.zeros(shape), np.zeros((blocks, REFLECTIONS, REFLECTIONS)))

    tridiagonalise(A, diagonal, beside, reflections, *np.zeros((3, width)))

    assert beside[k - 1] == 0
    Q = np.empty((width, width))
    for first in range(0, width, REFLECTIONS):
        Z = np.eye(width)[:, first : first + REFLECTIONS].copy()
        reflect(Z, reflections, np.full((2, REFLECTIONS, REFLECTIONS), np.nan))
        Q[:, first : first + REFLECTIONS] = Z
    np.testing.assert_array_equal(Q[k:, :k], 0)
    return np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1), Q[:k, :k]


def check(matrix):
    T, Q = reduced(matrix)
    k = len(matrix)
    np.testing.assert_allclose(Q @ Q.T, np.eye(k), atol=1e-14 * np.sqrt(k))
    np.testing.assert_allclose(Q @ T @ Q.T, matrix, atol=1e-14 * np.sqrt(k) * k * np.abs(matrix).max())


@pytest.mark.parametrize("k", [1, 2, 3, 8, 15, 16, 17, 31, 33, 100, 256])
def test_gramians(k):
    Y = np.random.default_rng(k).normal(size=(2 * k, k))
    check(Y.T @ Y / (2 * k))


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((20, 20)),
        np.eye(20),
        np.diag(np.arange(20.0)),
        np.ones((20, 20)),
        np.diag(np.ones(19), 1) + np.diag(np.ones(19), -1),
        np.kron(np.eye(4), np.ones((5, 5))),
        np.fliplr(np.eye(20)),
    ],
    ids=["zero", "identity", "diagonal", "rank 1", "tridiagonal", "blocks", "backwards"],
)
def test_matrices_that_leave_nothing_to_reflect(matrix):
    check(matrix)


def test_what_is_almost_tridiagonal_loses_no_digits():
    noise = 1e-9 * np.random.default_rng(0).normal(size=(40, 40))
    check(np.diag(np.ones(39), 1) + np.diag(np.ones(39), -1) + noise + noise.T)


@settings(deadline=None, max_examples=60)
@given(arrays.arrays(np.int64, st.integers(1, 20).map(lambda k: (k, k)), elements=st.integers(-3, 3)))
def test_any_small_symmetric_matrix(matrix):
    check((matrix + matrix.T).astype(np.float64))
