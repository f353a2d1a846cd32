"""The intrinsics that emit register tiles, one by one, against NumPy; what is driven over them: test_tiled.py."""

import numpy as np
import pytest
from numba import config, njit

from fastals.kernels.dense.tiles import PAD, TILE_ROWS, factorise_block, make_group, make_tile

pytestmark = pytest.mark.skipif(bool(config.DISABLE_JIT), reason="there is no code to emit")
DTYPES = [np.float32, np.float64]


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=0, atol=100 * np.finfo(got.dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["set", "add", "subtract"])
def test_tile(kind, dtype):
    random, steps = np.random.default_rng(0), 5
    X, Y, C = (random.normal(size=(8, 2 * PAD)).astype(dtype) for _ in range(3))
    before, tile = C.copy(), make_tile(32, kind)

    njit(lambda X, Y, steps, C: tile(X, 3, Y, 0, steps, C, 0, C, 0))(X, Y, steps, C)

    product = X[:steps, 3 : 3 + TILE_ROWS].T @ Y[:steps]
    close(C, {"set": product, "add": before + product, "subtract": before - product}[kind])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("dotted", "plain"), [(True, False), (False, True), (True, True)])
def test_group(dotted, plain, dtype):
    random, group = np.random.default_rng(1), make_group(4, dotted, plain)
    Y, indices = random.normal(size=(9, PAD)).astype(dtype), np.array([7, 0, 2, 8], np.int32)
    weights, targets = random.normal(size=(2, 4)).astype(dtype)
    p, q, b = random.normal(size=(3, PAD)).astype(dtype)
    before, rows = (q.copy(), b.copy()), Y[indices]

    curvature = njit(lambda *arrays: group(arrays[0], arrays[1], 0, 0, *arrays[2:]))(
        Y, indices, weights, p, q, targets, b
    )

    close(q, before[0] + dotted * (rows.T @ (weights * (rows @ p))))
    close(b, before[1] + plain * (rows.T @ targets))
    close(np.asarray(curvature, dtype), dotted * (weights @ (rows @ p) ** 2))


@pytest.mark.parametrize("dtype", DTYPES)
def test_factorised_block(dtype):
    random = np.random.default_rng(2)
    X, A, D = random.normal(size=(20, TILE_ROWS)), np.zeros((TILE_ROWS, PAD), dtype), np.zeros((8, 8), dtype)
    A[:, :TILE_ROWS] = X.T @ X
    factorise = njit(lambda A, floor, D: factorise_block(A, 0, floor, D, 0))

    assert factorise(A, dtype(0), D)
    expected = np.linalg.cholesky(X.T @ X).T
    close(np.triu(D, 1), np.triu(expected, 1))
    close(np.diagonal(D), 1 / np.diagonal(expected))
    assert not factorise(A, dtype(1e9), D), "pivots below the floor"
