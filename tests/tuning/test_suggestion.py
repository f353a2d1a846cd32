"""Suggested parameters, against sums over dense matrices and on real data."""

from pathlib import Path

import naive
import numpy as np
import pytest
import scipy.sparse as sp

from fastals import ImplicitALS
from fastals.core.validation import check_rows
from fastals.evaluation import ranking_metrics_at_k, train_test_split
from fastals.tuning import suggested_parameters, tune
from fastals.tuning.suggestion import suggested_trial

DATA = Path(__file__).parents[3] / "shared" / "data"


def by_popularity(R, exponent):
    powers = np.maximum((R != 0).sum(axis=0), 1.0) ** exponent
    return powers / powers.mean()


def sums_of_lambdas(R, parameters, c0=1.0):
    missing = np.ones(R.shape[0]), by_popularity(R, parameters["unobserved_exponent"])
    strength, exponent = parameters["regularization"], parameters["regularization_exponent"]
    return naive.regularizations(R, regularization=strength, exponent=exponent, c0=c0, missing=missing)


def test_the_lambda_of_the_mean_row_is_the_root_of_its_frequency(ratings):
    R = ratings.toarray()

    users, items = sums_of_lambdas(R, suggested_parameters(ratings))

    stored = np.count_nonzero(R)
    assert users.mean() == pytest.approx((stored / 30 + 22) ** 0.5, rel=1e-12)
    assert items.mean() == pytest.approx((stored / 22 + 30) ** 0.5, rel=1e-12)


def test_values_make_no_difference(ratings):
    assert suggested_parameters(ratings * 1000) == suggested_parameters(ratings)


def test_empty_data_have_no_suggestion():
    with pytest.raises(ValueError, match="user_items"):
        suggested_parameters(sp.csr_array((3, 4)))


def test_a_search_tries_the_same_problem_first(ratings):
    """In its units: all weights times density^1/2, and the penalties as large in all."""
    R = ratings.toarray()
    density = np.count_nonzero(R) / (np.count_nonzero(R.any(axis=1)) * np.count_nonzero(R.any(axis=0)))
    own = suggested_parameters(ratings)

    trial = suggested_trial(check_rows(ratings, "user_items")[0])
    found = tune(ratings, ratings, n_trials=1, factors=4, model=ImplicitALS(iterations=2)).trials[0]

    assert trial["unobserved_share"] == pytest.approx(density**0.5, rel=1e-12)
    as_searched = {**own, "regularization": trial["ridge"]}
    expected = density**0.5 * sum(side.sum() for side in sums_of_lambdas(R, own))
    got = sum(side.sum() for side in sums_of_lambdas(R, as_searched, trial["unobserved_share"]))
    assert got == pytest.approx(expected, rel=1e-12)
    assert found["unobserved_weight"] == pytest.approx(min(trial["unobserved_share"], 0.5))
    assert found["regularization"] == pytest.approx(min(trial["ridge"], 0.1))
    assert found["unobserved_exponent"] == own["unobserved_exponent"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ml-100k", "lastfm-2k", "online-retail"])
def test_better_than_the_constructor_on_real_data(name):
    path = DATA / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{name} is not at hand")
    with np.load(path, allow_pickle=False) as file:
        kept = file["value"] > 0
        matrix = sp.coo_array((file["value"][kept].astype(float), (file["user"][kept], file["item"][kept]))).tocsr()
    train, test = train_test_split(matrix, test_size=0.2, random_state=0)

    plain, suggested = (
        ranking_metrics_at_k(ImplicitALS(random_state=0, **parameters).fit(train), train, test, K=20)["ndcg"]
        for parameters in ({}, suggested_parameters(train))
    )

    assert suggested > 1.03 * plain
