"""The eigenproblem of a Gramian against LAPACK's solution."""

import numpy as np
import pytest

from fastals.solver import eigenproblem
from fastals.solver.eigenproblem import LEAST_SIZE, eigenvectors

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
SIZE, EPSILON = LEAST_SIZE + 9, float(np.finfo(np.float32).eps)


def turned(spectrum, seed=0):
    """Symmetric matrix of a spectrum."""
    Q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(spectrum), len(spectrum))))
    matrix = (Q * spectrum) @ Q.T
    return (matrix + matrix.T) / 2


def crowded(gap):
    """A spectrum from 1 to 2 with a pair, three and twelve at a distance."""
    spectrum = np.linspace(1, 2, SIZE)
    for first, last in ((3, 5), (30, 33), (100, 112)):
        spectrum[first:last] = spectrum[first] + gap * np.arange(last - first)
    return spectrum


def check(G, values, V, orthogonal=EPSILON):
    k, expected = len(G), np.linalg.eigvalsh(G)
    size = np.abs(expected).max()
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-14 * k * size)
    np.testing.assert_allclose(V.T @ V, np.eye(k), atol=orthogonal)
    np.testing.assert_allclose(G @ V, V * values, rtol=0, atol=1e-14 * k * size)


@pytest.fixture
def without_lapack(monkeypatch):
    """LAPACK's eigenvectors, which large float32 Gramians do without, fail."""

    def refuse(*_):
        raise AssertionError("LAPACK's eigenvectors were asked for")

    monkeypatch.setattr(eigenproblem.np.linalg, "eigh", refuse)


@pytest.mark.parametrize("threads", [1, 2, None])
@pytest.mark.parametrize("size", [LEAST_SIZE, SIZE, 256])
def test_gramians(size, threads, without_lapack):
    Y = np.random.default_rng(size).normal(size=(600, size)).astype(np.float32).astype(np.float64)
    G = Y.T @ Y
    before = G.copy()

    values, V = eigenvectors(G, FLOAT32, threads)

    check(G, values, V, 1e-10)
    np.testing.assert_array_equal(G, before)
    for got, expected in zip(eigenvectors(G, FLOAT32, 1), (values, V), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("scale", [1e-280, 1e-20, 1e20, 1e280])
def test_of_any_scale(scale, without_lapack):
    G = turned(np.linspace(1, 2, SIZE))
    values, V = eigenvectors(scale * G, FLOAT32, 2)
    check(G, values / scale, V)


@pytest.mark.parametrize("least", [1e-5, 1e-9, 1e-11])
def test_a_spectrum_that_falls(least, without_lapack):
    G = turned(np.geomspace(least, 1, SIZE))
    check(G, *eigenvectors(G, FLOAT32, 2))


@pytest.mark.parametrize("parts", [1, 3, SIZE])
@pytest.mark.parametrize("least", [0.0, 1.0])
def test_matrices_that_fall_apart(parts, least, without_lapack):
    """Such as those of factors with a column of zeros, or with columns that have no row in common."""
    spectrum, G = np.linspace(least, 2, SIZE), np.zeros((SIZE, SIZE))
    for part in np.array_split(np.arange(SIZE), parts):
        G[np.ix_(part, part)] = turned(spectrum[part], part[0])
    check(G, *eigenvectors(G, FLOAT32, 2))
    shuffled = np.random.default_rng(0).permutation(SIZE)
    G = G[np.ix_(shuffled, shuffled)]
    check(G, *eigenvectors(G, FLOAT32, 2))


@pytest.mark.parametrize("gap", [1e-6, 1e-8, 1e-10])
def test_close_eigenvalues(gap, without_lapack):
    """Pairs, threes and a crowd whose vectors would not be orthogonal are made so."""
    G = turned(crowded(gap))
    check(G, *eigenvectors(G, FLOAT32, 2))


@pytest.mark.parametrize("spectrum", [crowded(1e-12), crowded(1e-14), np.geomspace(1e-18, 1, SIZE)])
def test_closer_ones_are_not_taken_for_what_they_are_not(spectrum):
    G = turned(spectrum)
    check(G, *eigenvectors(G, FLOAT32, 2))


@pytest.mark.parametrize(
    "spectrum", [np.zeros(SIZE), np.ones(SIZE), np.eye(SIZE)[0], np.arange(-SIZE + 40.0, 40).clip(0)]
)
def test_equal_eigenvalues_are_left_to_lapack(spectrum):
    G = turned(spectrum)

    values, V = eigenvectors(G, FLOAT32, 2)

    check(G, values, V, 1e-12)
    for got, expected in zip((values, V), np.linalg.eigh(G), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("size", "dtype"), [(LEAST_SIZE - 1, FLOAT32), (SIZE, FLOAT64), (1, FLOAT32)])
def test_small_ones_and_those_of_float64_are_left_to_lapack(size, dtype):
    G = turned(np.linspace(1, 2, size))
    for got, expected in zip(eigenvectors(G, dtype, 2), np.linalg.eigh(G), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("place", "other"), [(3, 4), (3, 9), (200, 40)])
def test_a_vector_that_is_found_twice_is_told(place, other, monkeypatch):
    run, G = eigenproblem.run_tasks, turned(np.linspace(1, 2, SIZE))

    def run_with_a_mistake(*arguments):
        run(*arguments)
        values, _, V = arguments[-3:]
        values[place], V[:, place] = values[other], V[:, other]

    monkeypatch.setattr(eigenproblem, "run_tasks", run_with_a_mistake)
    for got, expected in zip(eigenvectors(G, FLOAT32, 2), np.linalg.eigh(G), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_vectors_that_span_less_than_they_should_are_told(monkeypatch):
    """A crowd of twelve in eleven dimensions, no two of which are far from orthogonal: 1 / 11."""
    run, G = eigenproblem.run_tasks, turned(crowded(1e-9))

    def run_with_a_mistake(*arguments):
        run(*arguments)
        crowd = arguments[-1][:, 100:112]
        crowd -= crowd.mean(axis=1)[:, None]
        crowd /= np.linalg.norm(crowd, axis=0)

    monkeypatch.setattr(eigenproblem, "run_tasks", run_with_a_mistake)
    for got, expected in zip(eigenvectors(G, FLOAT32, 2), np.linalg.eigh(G), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("error", [1e-6, np.nan])
def test_vectors_that_have_not_been_found_are_told(error, monkeypatch):
    run, G = eigenproblem.run_tasks, turned(np.linspace(1, 2, SIZE))

    def run_with_errors(*arguments):
        run(*arguments)
        arguments[-2][7] = error

    monkeypatch.setattr(eigenproblem, "run_tasks", run_with_errors)
    for got, expected in zip(eigenvectors(G, FLOAT32, 2), np.linalg.eigh(G), strict=True):
        np.testing.assert_array_equal(got, expected)
