"""Strengths that can be compared, against sums over dense matrices."""

import naive
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastals import ImplicitALS
from fastals.core.features import check_features
from fastals.core.validation import check_rows
from fastals.tuning import comparable_regularization, tune
from fastals.tuning.strength import feature_strengths, first_trial

EXPONENTS = st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5])
PATTERNS = arrays(np.float64, st.tuples(st.integers(2, 8), st.integers(2, 8)), elements=st.sampled_from([0, 0, 1, 3]))


def sum_of_lambdas(R, regularization, exponent, c0, missing):
    users, items = naive.regularizations(R, regularization=regularization, exponent=exponent, c0=c0, missing=missing)
    return users.sum() + items.sum()


def sum_of_filled(R, regularization, c0, missing):
    """Sum of lambda, with exponent 1, over the rows and columns with entries."""
    lambdas = naive.regularizations(R, regularization=regularization, exponent=1.0, c0=c0, missing=missing)
    return lambdas[0][R.any(axis=1)].sum() + lambdas[1][R.any(axis=0)].sum()


@given(PATTERNS.filter(lambda R: R.any()), EXPONENTS, EXPONENTS, st.sampled_from([(0.0, 0.0), (0.0, 0.5), (-0.3, 1)]))
def test_sum_of_lambdas_stays_whatever_the_exponents_and_weights(R, exponent, at, weights):
    missing = tuple(naive.weights_by_popularity((R != 0).sum(axis=1 - axis), weights[axis]) for axis in (0, 1))
    model = ImplicitALS(regularization_exponent=exponent, unobserved_weight=0.3, unobserved_exponent=weights)

    got = comparable_regularization(0.02, model, sp.csr_array(R), at=at)

    expected = sum_of_lambdas(R, 0.02, at, 0.3, missing)
    assert sum_of_lambdas(R, got, exponent, 0.3, missing) == pytest.approx(expected, rel=1e-12)


def test_weights_that_are_given(ratings):
    v, w = np.linspace(0, 2, 30), np.linspace(2, 0.5, 22)
    model = ImplicitALS(regularization_exponent=0.5, unobserved_weight=0.1)

    got = comparable_regularization(0.1, model, ratings, unobserved_weights=(v, w))

    expected = sum_of_lambdas(ratings.toarray(), 0.1, 1.0, 0.1, (v, w))
    assert sum_of_lambdas(ratings.toarray(), got, 0.5, 0.1, (v, w)) == pytest.approx(expected, rel=1e-12)


def test_values_do_not_matter_and_large_exponents_do_not_overflow(ratings):
    model = ImplicitALS(regularization_exponent=150.0, unobserved_weight=1.0)
    got = comparable_regularization(1.0, model, ratings, at=150.0)
    assert got == 1.0
    assert comparable_regularization(1.0, model, 7 * ratings, at=150.0) == got


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"strength": -1}, "strength"), ({"at": np.nan}, "at must be"), ({"user_items": np.eye(3)}, "user_items")],
)
def test_bad_arguments_are_named(ratings, changes, message):
    given = {"strength": 1.0, "model": ImplicitALS(), "user_items": ratings, **changes}
    with pytest.raises((TypeError, ValueError), match=message):
        comparable_regularization(given.pop("strength"), given.pop("model"), given.pop("user_items"), **given)


@pytest.mark.parametrize("known", [(True, True), (True, False), (False, True)])
def test_feature_strength_is_a_share_of_the_mean_diagonal(ratings, known):
    random = np.random.default_rng(0)
    F, G = (random.standard_normal((count, 3)) for count in ratings.shape)
    model = ImplicitALS(
        regularization=(0.1, 0.2), regularization_exponent=0.5, unobserved_weight=0.3, feature_regularization=(7.0, 8.0)
    )
    missing = np.ones(30), naive.weights_by_popularity(np.diff(ratings.tocsc().indptr), 0.5)
    lambdas = naive.regularizations(ratings.toarray(), regularization=(0.1, 0.2), exponent=0.5, c0=0.3, missing=missing)
    given = tuple(
        check_features(side, "features", side.shape) if one else None for side, one in zip((F, G), known, strict=True)
    )

    got = feature_strengths(0.25, model, ratings, given)

    for axis, (side, own) in enumerate(zip((F, G), lambdas, strict=True)):
        expected = 0.25 * np.diag(side.T @ np.diag(own) @ side).mean() if known[axis] else (7.0, 8.0)[axis]
        assert got[axis] == pytest.approx(expected, rel=1e-12)


def test_a_search_tries_the_same_problem_as_the_constructor_first(ratings):
    """In its units: all weights times density^1/2, and the penalties as large in all."""
    R = ratings.toarray()
    density = np.count_nonzero(R) / (np.count_nonzero(R.any(axis=1)) * np.count_nonzero(R.any(axis=0)))
    missing = np.ones(30), naive.weights_by_popularity(np.diff(ratings.tocsc().indptr), 0.5)
    model = ImplicitALS(4, iterations=1).fit(ratings)

    trial = first_trial(check_rows(ratings, "user_items")[0])
    found = tune(ratings, ratings, n_trials=1, factors=4, model=ImplicitALS(iterations=2)).trials[0]

    assert trial["unobserved_share"] == pytest.approx(density**0.5, rel=1e-12)
    expected = density**0.5 * sum_of_filled(R, model.regularization_, 1.0, missing)
    got = sum_of_filled(R, trial["ridge"], trial["unobserved_share"], missing)
    assert got == pytest.approx(expected, rel=1e-12)
    assert found["unobserved_weight"] == pytest.approx(min(trial["unobserved_share"], 0.5))
    assert found["regularization"] == pytest.approx(min(trial["ridge"], 0.1))
    assert found["unobserved_exponent"] == 0.5
