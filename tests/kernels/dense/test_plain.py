"""The plain loops, which define what the register tiles do, against NumPy."""

import numpy as np
import pytest

from fastals.kernels.dense import plain

WIDTH, COUNT = 16, 11


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request):
    return request.param


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=0, atol=200 * np.finfo(got.dtype).eps)


def test_groups_of_rows(dtype):
    random, indices = np.random.default_rng(0), np.arange(COUNT, dtype=np.int32)[::-1].copy()
    Y, weights, targets = (random.normal(size=shape).astype(dtype) for shape in ((COUNT, WIDTH), COUNT, COUNT))
    p, q, b = random.normal(size=(3, WIDTH)).astype(dtype)
    rows, before, right = Y[indices], q.copy(), b.copy()

    curvature = plain.add_products(Y, indices, weights, p, q)
    close(q, before + rows.T @ (weights * (rows @ p)))
    close(np.asarray(curvature, dtype), weights @ (rows @ p) ** 2)
    plain.add_rows(Y, indices, targets, b)
    close(b, right + rows.T @ targets)
    both, rest = before.copy(), right.copy()
    plain.add_system(Y, indices, weights, targets, p, both, rest)
    close(both, q)
    close(rest, b)


def test_products(dtype):
    random = np.random.default_rng(1)
    X, Z, B = random.normal(size=(3, WIDTH, WIDTH)).astype(dtype)
    out, A, C, K = (
        np.ones((8, WIDTH), dtype),
        np.zeros((WIDTH, WIDTH), dtype),
        np.zeros((WIDTH, WIDTH), dtype),
        B.copy(),
    )

    plain.multiply_block(X, 4, 0, WIDTH, B, out, 0)
    close(out, X[4:12] @ B)
    plain.add_gramian(X, X, COUNT, WIDTH, A)
    close(A, np.triu(X[:COUNT].T @ X[:COUNT]))
    plain.add_product(X, Z, COUNT, 8, WIDTH, C)
    close(C[:8], X[:COUNT, :8].T @ Z[:COUNT])
    plain.row_gramian(Z, 4, COUNT, K)
    close(np.triu(K[:4, :4]), np.triu(Z[:4, :COUNT] @ Z[:4, :COUNT].T))


def test_cholesky(dtype):
    random = np.random.default_rng(2)
    X, b, x = random.normal(size=(3 * WIDTH, WIDTH)), random.normal(size=WIDTH), np.empty(WIDTH, dtype)
    G = np.eye(WIDTH) + X.T @ X
    A, diagonal = np.zeros((WIDTH, 2 * WIDTH), dtype), np.empty((WIDTH // 8, 8, 8), dtype)
    A[:, :WIDTH], A[:, WIDTH] = G, b

    assert plain.factorise(A, WIDTH, 2 * WIDTH, dtype(0), diagonal)
    close(np.triu(A[:, :WIDTH]), np.linalg.cholesky(G).T)
    plain.back_substitute(A, WIDTH, WIDTH, diagonal, x)
    close(x, np.linalg.solve(G, b))

    A[:, :WIDTH] = np.eye(WIDTH) - 2
    assert not plain.factorise(A, WIDTH, 2 * WIDTH, dtype(0), diagonal), "not positive definite"
