"""The textbook's half-sweep against dense solves, and the fast kernels against it."""

import naive
import numpy as np
import pytest

from fastals import ImplicitALS
from fastals.core.unobserved import Unobserved
from fastals.core.validation import check_rows
from fastals.kernels.rows.reference import solve_rows_by_the_book
from fastals.objective import Objective
from fastals.solver.sides import build_sides

PARAMETERS = {
    "confidence": "linear", "alpha": 3.0, "epsilon": 1.0, "unobserved_weight": 0.5, "regularization": 0.7,
    "regularization_exponent": 0.0,
}  # fmt: skip


def by_the_book(ratings, objective, Y, weights):
    """Solutions of the users against the items' factors, with weights (v, w) of missing pairs."""
    checked = Objective.checked(objective=objective, **PARAMETERS)
    missing = tuple(Unobserved.given(side, "weights", side.size) for side in weights)
    users, _ = build_sides(checked, check_rows(ratings, "user_items")[0], None, np.dtype(np.float64), missing)
    X = np.full((ratings.shape[0], Y.shape[1]), np.nan)
    solve_rows_by_the_book(users.entries, Y, 0.5 * (Y.T * weights[1]) @ Y, users.regularization, X)
    return X


def weights_of_missing(ratings, alike):
    """v and w, all 1 or not."""
    random = np.random.default_rng(5)
    return tuple(np.ones(count) if alike else random.uniform(0, 3, count) for count in ratings.shape)


@pytest.mark.parametrize("objective", ["hu", "rendle"])
@pytest.mark.parametrize("factors", [1, 7, 40])
@pytest.mark.parametrize("alike", [True, False])
def test_equals_dense_solves(ratings, objective, factors, alike):
    weights = weights_of_missing(ratings, alike)
    Y = np.random.default_rng(0).normal(size=(22, factors))
    ratings.data[::4] *= -1  # dislikes

    got = by_the_book(ratings, objective, Y, weights)

    terms = naive.terms(ratings.toarray(), objective=objective, alpha=3.0, c0=0.5, missing=weights)
    np.testing.assert_allclose(got, naive.half_sweep(terms, Y, np.full(30, 0.7)), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
@pytest.mark.parametrize("objective", ["hu", "rendle"])
@pytest.mark.parametrize("alike", [True, False])
def test_the_fast_kernels_give_the_same(ratings, objective, solver, alike):
    weights = weights_of_missing(ratings, alike)
    model = ImplicitALS(
        7, objective=objective, solver=solver, tol=1e-12, dtype="float64", iterations=2, random_state=0, **PARAMETERS
    ).fit(ratings, unobserved_weights=weights)

    expected = by_the_book(ratings, objective, model.item_factors.copy(), weights)

    np.testing.assert_allclose(model.user_factors, expected, rtol=1e-8, atol=1e-10)
