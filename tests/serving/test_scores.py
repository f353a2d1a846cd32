"""Scores of pairs and the loss of any interactions, against dense float64."""

import naive
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from models import small
from problems import problems

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


@given(problems(), st.sampled_from([(True, True), (True, False), (False, True), (False, False)]))
def test_parts_of_the_loss_are_the_dense_sums(problem, known):
    """Pairs stored, pairs missing and penalties, one pair and one row after the other."""
    random = np.random.default_rng(0)
    sides = zip(problem.R.shape, known, strict=True)
    F, G = (random.standard_normal((count, 2)) if kept else None for count, kept in sides)
    P, _ = problem.start()
    model = problem.model(feature_regularization=(0.5, 2.0))
    model.fit(**problem.data, user_factors=P, user_features=F, item_features=G)
    A, B = model.feature_effects_
    X, Y = model.user_factors, model.item_factors
    inner, stored = X @ Y.T, np.asarray(problem.R) != 0
    expected = dict.fromkeys(("stored", "missing"), 0.0)
    for W, T in problem.terms:
        sums = W * (T - inner) ** 2
        expected["stored"] += sums[stored].sum()
        expected["missing"] += sums[~stored].sum()
    for side, factors, features, effects, strengths in (
        ("user", X, F, A, problem.regularizations[0]),
        ("item", Y, G, B, problem.regularizations[1]),
    ):
        Z = 0 if features is None else features @ effects
        expected[f"{side}_penalty"] = (strengths[:, None] * (factors - Z) ** 2).sum()
    effects = ((0.5, A), (2.0, B))
    expected["feature_penalty"] = sum(strength * (one**2).sum() for strength, one in effects if one is not None)

    got = model.loss_parts(**problem.pairs)

    assert got == pytest.approx(expected, rel=1e-9, abs=1e-9 * sum(expected.values()))
    assert sum(got.values()) == pytest.approx(model.loss(**problem.pairs), rel=1e-9)


def test_loss_of_another_shape_is_refused(model):
    for asked in (model.loss, model.loss_parts):
        with pytest.raises(ValueError, match=r"user_items must have shape \(30, 22\)"):
            asked(sp.csr_array((22, 30)))


@pytest.mark.parametrize("call", [lambda model: model.predict(0, 0), lambda model: model.loss(sp.csr_array(np.eye(3)))])
def test_before_fit(call):
    with pytest.raises(NotFittedError, match="call fit first"):
        call(ImplicitALS())
