"""Kernels over whole factor matrices against NumPy."""

import numpy as np
import pytest

from fastals.core.validation import read_only
from fastals.kernels.factors import extrapolate_task, stored_loss_task
from fastals.kernels.rows.row import Entries
from fastals.solver.eigenbasis import gramian
from fastals.solver.sides import even_bounds


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 3), (200, 16), (90, 33)])
@pytest.mark.parametrize("threads", [1, 2])
def test_gramian(dtype, shape, threads):
    random = np.random.default_rng(0)
    X, weights = random.normal(size=shape).astype(dtype), random.random(shape[0])

    G, squares = gramian(X, weights, threads)
    weighted, _ = gramian(X, weights, threads, read_only(weights))

    wide = X.astype(np.float64)
    np.testing.assert_allclose(G, wide.T @ wide, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(weighted, (wide.T * weights) @ wide, rtol=1e-12, atol=1e-12)
    assert squares == pytest.approx((weights[:, None] * wide**2).sum(), rel=1e-12)


@pytest.mark.parametrize(("shift", "offset"), [(0.0, 0.7), (0.7, 0.0), (0.0, 0.0)])
def test_stored_loss(shift, offset):
    random = np.random.default_rng(1)
    X, Y = random.normal(size=(3, 4)), random.normal(size=(6, 4))
    indptr, indices = np.array([0, 2, 2, 5]), np.array([1, 5, 0, 2, 3], np.int32)
    weight, phi, parts = random.uniform(1, 3, 5), random.random(5), np.empty(2)
    v, w = read_only(random.uniform(0, 3, 3)), read_only(random.uniform(0, 3, 6))
    missing = shift + offset
    entries = Entries(indptr, indices, weight, phi, np.float64(offset), shift, missing, v, w)

    for task in range(3):  # the last finds nothing left
        stored_loss_task(task, 3, np.array([0, 2, 3]), entries, X, Y, parts)

    rows = np.repeat(np.arange(3), np.diff(indptr))
    scores, target = np.einsum("tk,tk->t", X[rows], Y[indices]), (weight + offset) * phi
    extra = weight + offset - missing * v[rows] * w[indices]
    expected = target * phi - 2 * target * scores + extra * scores**2
    np.testing.assert_allclose(parts, [expected[:2].sum(), expected[2:].sum()], rtol=1e-12)


def test_roundings_of_the_stored_loss_grow_with_rows_and_their_lengths():
    """Not with all pairs: each of equal terms is rounded the same way, so one sum over all of them drifts."""
    size, weight = 400, 0.3
    indptr, indices = np.arange(0, size**2 + 1, size), np.tile(np.arange(size, dtype=np.int32), size)
    weights, ones, parts = np.full(size**2, weight), read_only(np.ones(1)), np.empty(1)
    entries = Entries(indptr, indices, weights, ones, np.float64(0), 0.0, 0.0, ones, ones)
    zeros = np.zeros((size, 1))

    stored_loss_task(0, 1, np.array([0, size]), entries, zeros, zeros, parts)

    expected = size**2 * weight
    assert abs(parts[0] - expected) <= 2 * size * np.finfo(np.float64).eps / 2 * expected


@pytest.mark.parametrize("in_place", [False, True])
def test_extrapolate(in_place):
    random = np.random.default_rng(2)
    x, a, b, c = random.normal(size=(4, 50, 8))
    expected = x + 1.2 * (x - a) - 0.6 * (a - b) + 0.3 * (b - c)
    out = b if in_place else np.empty_like(x)
    for task in range(2):
        extrapolate_task(task, 2, even_bounds(50), x, (1.2, -0.6, 0.3), (a, b, c), out)
    np.testing.assert_allclose(out, expected, rtol=1e-12)
