"""Scores of pairs and the loss of any interactions, against dense float64."""

import naive
import numpy as np
import pytest
import scipy.sparse as sp
from models import small

from fastals import ImplicitALS
from fastals.core.parameters import NotFittedError


@pytest.fixture(scope="module")
def model() -> ImplicitALS:
    R = sp.csr_array(np.random.default_rng(0).integers(0, 4, (30, 22)).astype(np.float64))
    return small(alpha=2.0, regularization=0.7, regularization_exponent=0.0).fit(R)


@pytest.mark.parametrize(
    ("user", "item"),
    [(3, 5), (np.int32(3), [5]), ([1, 2, 29], [0, 21, 4]), (7, [0, 1]), ([0, 1], 7), ([2], [3, 4]), ([], [])],
)
def test_scores_are_the_products(model, user, item):
    expected = (model.user_factors.astype(float) @ model.item_factors.T.astype(float))[
        np.asarray(user, int), np.asarray(item, int)
    ]

    got = model.predict(user, item)

    assert np.shape(got) == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("user", "item", "error", "message"),
    [
        ([0, 1], [0, 1, 2], ValueError, "user and item must have equal lengths; got 2 and 3"),
        (30, 0, ValueError, "user"),
        (0, -1, ValueError, "item"),
        (0.5, 0, TypeError, "user"),
        ("ann", 0, TypeError, "user"),
    ],
)
def test_ids_that_do_not_fit(model, user, item, error, message):
    with pytest.raises(error, match=message):
        model.predict(user, item)


@pytest.mark.parametrize("objective", ["hu", "rendle"])
def test_loss_of_other_interactions_and_preferences(model, ratings, objective):
    phi = ratings.copy()
    phi.data = np.linspace(-1, 2, phi.data.size)
    R, asked = ratings.toarray(), ImplicitALS(**{**model.get_params(), "objective": objective})
    asked._state = model._state
    terms = naive.terms(R, objective=objective, alpha=2.0, preference=phi.toarray())
    lambdas = naive.regularizations(R, regularization=0.7)

    got = asked.loss(ratings, preference=phi)

    expected = naive.loss(terms, model.user_factors, model.item_factors, *lambdas)
    assert got == pytest.approx(expected, rel=1e-12)


def test_loss_of_another_shape_is_refused(model):
    with pytest.raises(ValueError, match=r"user_items must have shape \(30, 22\)"):
        model.loss(sp.csr_array((22, 30)))


@pytest.mark.parametrize("call", [lambda model: model.predict(0, 0), lambda model: model.loss(sp.eye_array(3).tocsr())])
def test_before_fit(call):
    with pytest.raises(NotFittedError, match="call fit first"):
        call(ImplicitALS())
