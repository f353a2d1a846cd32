"""The fixed side: Gramian, eigenbasis and rotated factors against NumPy, and which directions are left out."""

import numpy as np
import pytest

from fastals.kernels.dense.memory import CACHE_LINE
from fastals.solver.eigenbasis import aligned_factors, determined, eigenbasis, gramian, in_panels, multiply


@pytest.mark.parametrize(("n", "factors"), [(1, 1), (200, 5), (1000, 33)])
def test_eigenbasis(n, factors):
    random = np.random.default_rng(0)
    Y, weights = random.normal(size=(n, factors)), random.random(n)

    G, squares = gramian(Y, weights, 2)
    basis = eigenbasis(Y, weights, 0.5, 2)

    np.testing.assert_allclose(G, Y.T @ Y, rtol=1e-12, atol=1e-12)
    assert squares == pytest.approx(weights @ (Y**2).sum(axis=1), rel=1e-12)
    assert basis.penalty == pytest.approx(squares, rel=1e-12)
    rotated, rotation = basis.rotated[:, :factors], np.hstack(list(basis.rotation))[:factors, :factors]
    np.testing.assert_allclose(rotated @ rotation, Y, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(0.5 * rotated.T @ rotated, np.diag(basis.spectrum[:factors]), rtol=1e-10, atol=1e-10 * n)
    assert not basis.rotated[:, factors:].any()


@pytest.mark.parametrize("n", [1, 7, 500])
def test_gramian_is_the_same_for_any_number_of_threads(n):
    X, weights = np.random.default_rng(1).normal(size=(n, 21)).astype(np.float32), np.ones(n)

    (one, squares), (two, others) = (gramian(X, weights, threads) for threads in (1, 2))

    np.testing.assert_array_equal(one, two)
    assert squares == others
    np.testing.assert_allclose(one, X.astype(np.float64).T @ X.astype(np.float64), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(one, one.T)


@pytest.mark.parametrize(("dtype", "width"), [(np.float32, 16), (np.float64, 16)])
@pytest.mark.parametrize("factors", [1, 15, 16])
def test_aligned_factors(factors, dtype, width):
    got = aligned_factors(np.zeros((5, factors), dtype))

    assert got.shape == (5, width)
    assert got.dtype == dtype
    assert got.ctypes.data % CACHE_LINE == 0
    assert got.flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "factors"), [(1, 1), (9, 5), (300, 40)])
def test_multiply_is_a_product(n, factors, dtype):
    random = np.random.default_rng(2)
    Y, B = random.normal(size=(n, factors)).astype(dtype), random.normal(size=(factors, factors))
    panels = in_panels(B, aligned_factors(Y).shape[1], Y)
    expected = Y @ B.astype(dtype)
    close = {"rtol": 0, "atol": 20 * factors * np.finfo(dtype).eps}
    padded = aligned_factors(Y)

    multiply(Y, panels, 1, padded)

    np.testing.assert_allclose(padded[:, :factors], expected, **close)
    assert not padded[:, factors:].any()
    got = Y.copy()
    multiply(got, panels, 2, got)
    np.testing.assert_allclose(got, expected, **close)


def test_memory_of_an_earlier_basis_serves_again():
    Y = np.random.default_rng(3).normal(size=(20, 5)).astype(np.float32)
    memory = aligned_factors(Y)
    memory[:] = np.nan

    got = eigenbasis(Y, np.ones(20), 0.3, 1, memory)

    assert got.rotated is memory
    np.testing.assert_array_equal(got.rotated, eigenbasis(Y, np.ones(20), 0.3, 1).rotated)


@pytest.mark.parametrize("value", [1e20, np.inf, np.nan])
def test_factors_that_have_overflowed_are_refused(value):
    Y = np.ones((3, 2), np.float32)
    Y[1, 1] = value
    with pytest.raises(FloatingPointError, match="the factors have overflowed float32; scale user_items"):
        eigenbasis(Y, np.ones(3), 1.0, 1)


def test_directions_of_rounding_errors_are_left_out():
    """Of ten factors that depend on three, three directions are left, and of them nothing is changed."""
    random = np.random.default_rng(4)
    Y = random.normal(size=(50, 3)) @ random.normal(size=(3, 10))
    basis = eigenbasis(Y, np.ones(50), 1.0, 1)

    got = determined(basis, 10, 0.0)

    kept = got.rotated.any(axis=0)
    assert kept.sum() == 3
    np.testing.assert_array_equal(got.rotated[:, kept], basis.rotated[:, kept])
    np.testing.assert_array_equal(got.spectrum[kept], basis.spectrum[kept])
    assert (got.spectrum[:10][~kept[:10]] == basis.spectrum[:10].max()).all()


@pytest.mark.parametrize("rank", [3, 10])
def test_what_regularization_or_the_data_determine_stays(rank):
    random = np.random.default_rng(5)
    Y = random.normal(size=(50, rank)) @ random.normal(size=(rank, 10))
    basis = eigenbasis(Y, np.ones(50), 1.0, 1)

    assert determined(basis, 10, 0.1 if rank < 10 else 0.0) is basis
