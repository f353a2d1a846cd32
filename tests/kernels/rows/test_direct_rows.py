"""Chosen rows solved directly against NumPy's solutions."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastals.core.validation import check_rows
from fastals.objective import Objective
from fastals.solver.eigenbasis import eigenbasis
from fastals.solver.half_sweep import Settings, solve_side
from fastals.solver.sides import build_sides


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("factors", [5, 40])
@pytest.mark.parametrize("threads", [1, 2])
def test_rows_of_every_length(dtype, factors, threads):
    random = np.random.default_rng(0)
    R = random.integers(1, 5, (30, 50)) * (random.random((30, 50)) < np.linspace(0, 1, 30)[:, None]) * 1.0
    objective = Objective.checked(
        objective="hu", confidence="linear", alpha=2.0, epsilon=1.0, unobserved_weight=0.5, regularization=3.0,
        regularization_exponent=0.0,
    )  # fmt: skip
    users, items = build_sides(objective, *check_rows(sp.csr_array(R), "user_items"), np.dtype(dtype))
    Y = random.normal(size=(50, factors)).astype(dtype)
    basis, X = eigenbasis(Y, items.regularization, 0.5, threads), np.zeros((30, factors), dtype)

    report = solve_side(users, basis, X, objective, Settings("cholesky", 1e-3, 50, threads))

    wide, C = Y.astype(np.float64), 0.5 + 2 * R
    expected = np.stack(
        [
            np.linalg.solve((wide.T * c) @ wide + 3 * np.eye(factors), wide.T @ (c * (r > 0)))
            for c, r in zip(C, R, strict=True)
        ]
    )
    np.testing.assert_allclose(X, expected, atol=1e-4 if dtype == np.float32 else 1e-11)
    loss = (C * ((R > 0) - expected @ wide.T) ** 2).sum() + 3 * (expected**2).sum() + 3 * (wide**2).sum()
    assert report.loss == pytest.approx(loss, rel=1e-5 if dtype == np.float32 else 1e-11)
    assert report.direct == np.count_nonzero(R.any(axis=1))
    assert (report.fallbacks, report.singular, report.ridge) == (0, 0, 0)
