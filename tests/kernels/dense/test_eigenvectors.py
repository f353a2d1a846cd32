"""Eigenvectors of tridiagonal matrices against SciPy."""

import numpy as np
import pytest
import scipy.linalg

from fastals.kernels.dense.eigenvectors import LANES, LEAST_BESIDE, Scratch, Tridiagonal, eigenvector_task
from fastals.kernels.dense.tridiagonal import REFLECTIONS, Reflections

EPS = np.finfo(np.float64).eps


def found(diagonal, beside, tasks=1):
    """Eigenvalues, errors and eigenvectors of a tridiagonal matrix, by tasks."""
    k = diagonal.size
    width = -(-k // REFLECTIONS) * REFLECTIONS
    blocks = width // REFLECTIONS
    none = Reflections(np.zeros((blocks, REFLECTIONS, width)), np.zeros((blocks, REFLECTIONS, REFLECTIONS)))
    beside = np.append(beside, 0.0)
    reach = np.abs(diagonal).max() + 2 * np.abs(beside).max() + 1e-9
    beside[np.abs(beside) < LEAST_BESIDE] = LEAST_BESIDE
    T = Tridiagonal(diagonal, beside, beside**2, np.array([-reach, reach]))
    shapes = (k, LANES), (k, LANES), (width, LANES), (2, REFLECTIONS, LANES), *[(LANES,)] * 6
    scratch = Scratch(*(np.full((tasks, *shape), np.nan) for shape in shapes))
    values, errors, V = np.full(k, np.nan), np.full(k, np.nan), np.full((k, k), np.nan)
    for task in range(tasks):
        eigenvector_task(task, tasks, T, none, scratch, values, errors, V)
    return values, errors, V


def dense(diagonal, beside):
    return np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)


@pytest.mark.parametrize("k", [1, 2, 3, 31, 32, 33, 64, 100, 200])
def test_random_matrices(k):
    random = np.random.default_rng(k)
    diagonal, beside = random.normal(size=k), random.normal(size=k - 1)
    T = dense(diagonal, beside)
    expected = scipy.linalg.eigvalsh_tridiagonal(diagonal, beside) if k > 1 else diagonal

    values, errors, V = found(diagonal, beside)

    size = np.abs(expected).max()
    np.testing.assert_allclose(values, expected, rtol=0, atol=k * EPS * size)
    rests = np.linalg.norm(T @ V - V * values, axis=0)
    np.testing.assert_allclose(errors, rests, rtol=0, atol=4 * EPS * size)
    np.testing.assert_allclose(np.linalg.norm(V, axis=0), 1, rtol=1e-14)
    np.testing.assert_array_less(errors, 20 * EPS * size)
    nearest = np.diff(values).min() if k > 1 else 1.0
    np.testing.assert_allclose(V.T @ V, np.eye(k), atol=10 * EPS * size / nearest)


def test_a_matrix_whose_vectors_are_known():
    """The second difference: eigenvalues 2 - 2 cos(pi m / (k + 1)), vectors sines."""
    k = 50
    angles = np.pi * np.arange(1, k + 1) / (k + 1)
    expected = np.sin(np.outer(np.arange(1, k + 1), angles)) * np.sqrt(2 / (k + 1))

    values, _, V = found(np.full(k, 2.0), np.full(k - 1, -1.0))

    np.testing.assert_allclose(values, 2 - 2 * np.cos(angles), rtol=0, atol=1e-14)
    np.testing.assert_allclose(np.abs(V), np.abs(expected), rtol=0, atol=1e-11)


def test_errors_tell_of_vectors_that_are_not_orthogonal():
    """Wilkinson's matrix: its largest eigenvalues, in pairs, are nearer than float64 tells apart."""
    diagonal, beside = np.abs(np.arange(-20.0, 21)), np.ones(40)

    values, errors, V = found(diagonal, beside)

    expected = scipy.linalg.eigvalsh_tridiagonal(diagonal, beside)
    nearest = np.abs(values[:, None] - expected).min(axis=1)
    np.testing.assert_array_less(nearest, errors + 1e-13)
    rests = np.linalg.norm(dense(diagonal, beside) @ V - V * values, axis=0)
    np.testing.assert_allclose(errors, rests, rtol=0, atol=1e-13)
    close = V.T @ V - np.eye(41)
    apart = np.abs(values[:, None] - values) + np.eye(41)
    assert np.abs(close).max() > 0.5  # the pairs
    bound = (errors[:, None] + errors + 8 * EPS * 21) / np.maximum(apart, 1e-300)
    np.testing.assert_array_less(np.abs(close), bound + 1e-14)


@pytest.mark.parametrize("beside", [np.zeros(39), np.r_[np.ones(20), 0.0, np.ones(18)], np.tile([1.0, 0, 0], 13)])
@pytest.mark.parametrize("diagonal", [np.linspace(0, 3, 40), np.linspace(-1, 3, 40), np.linspace(3, 0, 40) ** 2])
def test_matrices_that_fall_apart(diagonal, beside):
    T = dense(diagonal, beside)

    values, errors, V = found(diagonal, beside)

    np.testing.assert_allclose(values, np.linalg.eigvalsh(T), rtol=0, atol=1e-13)
    np.testing.assert_array_less(errors, 1e-13)
    np.testing.assert_allclose(T @ V, V * values, rtol=0, atol=1e-13)
    np.testing.assert_allclose(V.T @ V, np.eye(40), atol=1e-10)


@pytest.mark.parametrize("tasks", [2, 3, 9])
def test_any_number_of_tasks_gives_the_same_bits(tasks):
    random = np.random.default_rng(1)
    diagonal, beside = random.normal(size=130), random.normal(size=129)
    for got, expected in zip(found(diagonal, beside, tasks), found(diagonal, beside), strict=True):
        np.testing.assert_array_equal(got, expected)
