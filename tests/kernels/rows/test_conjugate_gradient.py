"""Conjugate gradients of one row against a dense solution."""

import numpy as np
import pytest

from fastals.kernels.rows.conjugate_gradient import Stop, conjugate_gradient, lines_for, vectors_of

WIDTH = 32


def system(dtype, count, seed=0):
    """Y, weights, b and the dense A of a row; scratch that holds M, its inverse, b and the first residual."""
    random = np.random.default_rng(seed)
    Y, weights = random.normal(size=(count, WIDTH)).astype(dtype), random.uniform(1, 9, count).astype(dtype)
    lines = lines_for(WIDTH, Y)
    vectors = vectors_of.py_func(lines, WIDTH)
    vectors.M[:], vectors.b[:] = random.uniform(5, 50, WIDTH), random.normal(size=WIDTH)
    vectors.r[:], vectors.inverse[:] = vectors.b, 1 / vectors.M
    A = np.diag(vectors.M.astype(np.float64)) + (Y.T * weights).astype(np.float64) @ Y
    return Y, weights, lines, A


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("count", [4, 12, 64])
def test_solution(dtype, tolerance, count):
    Y, weights, lines, A = system(dtype, count)
    x, b = np.zeros(WIDTH, dtype), vectors_of.py_func(lines, WIDTH).b.astype(np.float64)
    stop = Stop(dtype(tolerance), 200, 10**9)

    steps = conjugate_gradient(Y, np.arange(count, dtype=np.int32), weights, x, dtype(0), lines, stop)

    expected = np.linalg.solve(A, b)
    assert 0 < steps <= count + 10
    np.testing.assert_allclose(x, expected, atol=20 * tolerance * np.abs(expected).max())


def test_no_more_steps_than_entries_and_one():
    """Relative to M, A has as many eigenvalues other than 1 as the row has entries."""
    Y, weights, lines, _ = system(np.float64, 4)
    x = np.zeros(WIDTH)
    assert conjugate_gradient(Y, np.arange(4, dtype=np.int32), weights, x, 0.0, lines, Stop(1e-10, 200, 10**9)) <= 5


def test_what_is_solved_takes_no_step_and_what_does_not_converge_says_so():
    Y, weights, lines, _ = system(np.float64, 12)
    indices, x = np.arange(12, dtype=np.int32), np.zeros(WIDTH)
    assert conjugate_gradient(Y, indices, weights, x, 0.0, lines, Stop(1e-12, 2, 10**9)) == -1
    Y, weights, lines, _ = system(np.float64, 12)
    assert conjugate_gradient(Y, indices, -1e6 * weights, x, 0.0, lines, Stop(1e-3, 50, 10**9)) == -1, "no curvature"
    vectors_of.py_func(lines, WIDTH).r[:] = 0
    assert conjugate_gradient(Y, indices, weights, x, 0.0, lines, Stop(1e-3, 50, 10**9)) == 0
