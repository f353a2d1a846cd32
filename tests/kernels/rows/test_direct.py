"""The direct solution of one row, primal and dual, against NumPy's."""

import numpy as np
import pytest

from fastals.kernels.rows.direct import direct_for, prefers_dual, solve_direct

WIDTH = 32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 7, 24, 25, 90])
@pytest.mark.parametrize("sign", [1, -1], ids=["positive", "one negative"])
@pytest.mark.parametrize("prior", [0, 50], ids=["", "with features"])
def test_solution(dtype, count, sign, prior):
    random = np.random.default_rng(count)
    Y, weights = random.normal(size=(count, WIDTH)).astype(dtype), random.uniform(1, 9, count).astype(dtype)
    targets, scratch = random.normal(size=count).astype(dtype), direct_for(WIDTH, Y)
    weights[0] *= sign
    scratch.M[:WIDTH] = random.uniform(500, 900, WIDTH)
    A = np.diag(scratch.M[:WIDTH].astype(np.float64)) + (Y.T * weights).astype(np.float64) @ Y
    scratch.prior[:WIDTH] = prior * random.normal(size=WIDTH)
    b = scratch.prior[:WIDTH] + Y.T.astype(np.float64) @ targets

    trace, product = solve_direct(Y, WIDTH, np.arange(count, dtype=np.int32), weights, targets, scratch, dtype(0))

    expected = np.linalg.solve(A, b)
    close = 1e-4 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(scratch.x[:WIDTH], expected, atol=close * np.abs(expected).max())
    assert product == pytest.approx(b @ expected, rel=close, abs=close * np.abs(b).max() * np.abs(expected).max())
    assert trace >= 0


def test_the_cheaper_form_is_the_dual_one_of_short_rows():
    assert [prefers_dual(count, 64, 64) for count in (1, 48, 49, 500)] == [True, True, False, False]
    assert [prefers_dual(count, 16, 3) for count in (1, 3, 4, 12)] == [True, True, False, False]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("factors", [1, 2])
def test_rows_of_more_entries_than_factors_keep_their_digits(dtype, factors):
    """Their y_t are dependent, and most of the targets without influence."""
    random, count, width = np.random.default_rng(0), 10, 16
    Y = np.zeros((count, width), dtype)
    Y[:, :factors] = random.normal(size=(count, factors))
    weights, targets = np.full(count, 1e3, dtype), (1e3 * random.normal(size=count)).astype(dtype)
    scratch = direct_for(width, Y)
    scratch.M[:width], scratch.prior[:] = 1, 0
    wide = Y[:, :factors].astype(np.float64)

    solve_direct(Y, factors, np.arange(count, dtype=np.int32), weights, targets, scratch, dtype(0))

    A, b = np.eye(factors) + 1e3 * wide.T @ wide, wide.T @ targets
    residual = b - A @ scratch.x[:factors]
    assert (np.abs(residual) < 4 * np.finfo(dtype).eps * np.abs(wide.T) @ np.abs(targets)).all()
