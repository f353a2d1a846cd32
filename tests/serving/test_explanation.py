"""What ``explain`` refuses; that contributions are those of the dense formula is in test_fold_in.py."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp

from fastals import ImplicitALS


@pytest.fixture
def model(ratings):
    return ImplicitALS(4, iterations=2, random_state=0, alpha=1.0).fit(ratings)


@pytest.mark.parametrize(
    ("weights", "error"),
    [
        ("x", TypeError),
        ([], TypeError),
        ((1, 2), TypeError),
        ((np.eye(3), True), ValueError),
        ((np.eye(4, dtype=np.float32), True), ValueError),
        ((np.full((4, 4), np.nan), True), ValueError),
        ((np.zeros((4, 4)), True), ValueError),
    ],
)
def test_other_weights_are_refused(model, weights, error):
    with pytest.raises(error, match="user_weights must"):
        model.explain(0, itemid=1, user_weights=weights)


@pytest.mark.slow
def test_undetermined_users_are_named(ratings):
    model = ImplicitALS(4, iterations=0, regularization=0, unobserved_weight=0, alpha=1.0)
    model.fit(ratings, item_factors=np.eye(22, 4))
    with pytest.raises(np.linalg.LinAlgError, match="not determined by user_items; raise regularization"):
        model.explain(3, itemid=1)


def test_a_system_that_only_rounding_makes_regular_is_refused():
    """One item speaks for three factors: the other pivots are what rounding leaves, of either sign."""
    for seed in range(40):
        random = np.random.default_rng(seed)
        plays = np.where(random.random((20, 12)) < 0.25, random.integers(1, 6, (20, 12)), 0).astype(float)
        plays[0] = np.arange(12) == random.integers(12)
        model = ImplicitALS(3, alpha=1.0, regularization=(0.0, 0.01), unobserved_weight=0.0, dtype="float64")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* rows are underdetermined", RuntimeWarning)
            model.set_params(random_state=seed).fit(sp.csr_array(plays))
        with pytest.raises(np.linalg.LinAlgError, match="not determined by user_items; raise regularization"):
            model.explain(0, itemid=5)


@pytest.mark.parametrize("features", [None, np.ones((1, 2))], ids=["known", "given"])
@pytest.mark.parametrize("unobserved_weight", [0.0, 1.0])
def test_a_user_who_weighs_nothing_is_explained_by_the_features(ratings, features, unobserved_weight):
    """Row 3 is empty; with v = 0, or c0 = 0, its system is 0 = 0, and its factors are what its features predict."""
    people = np.random.default_rng(1).random((ratings.shape[0], 2))
    weights = (np.arange(ratings.shape[0]) != 3) * 1.0
    model = ImplicitALS(4, random_state=0, alpha=1.0, unobserved_weight=unobserved_weight, regularization_exponent=1.0)
    model.fit(ratings, user_features=people, unobserved_weights=(weights, None) if unobserved_weight else None)
    row = ratings[[3]]

    total, parts, _ = model.explain(3, row, 5, user_features=features)

    known = people[3] if features is None else features[0]
    expected = known @ model.feature_effects_[0] @ model.item_factors[5]
    assert total == pytest.approx(expected, rel=1e-5)
    assert parts == []


def test_overflow_is_refused(ratings):
    model = ImplicitALS(2, iterations=0, dtype="float64").fit(ratings)
    model.item_factors = np.full((22, 2), 9e153)
    with pytest.raises(FloatingPointError, match="item_factors and the weights of user_items are too large"):
        model.explain(0, itemid=1)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil"])
def test_the_whole_matrix_in_any_form_gives_what_the_row_gives(model, ratings, form):
    expected = model.explain(2, ratings[[2]], itemid=1)

    got = model.explain(2, ratings.asformat(form), itemid=1)

    assert got[:2] == expected[:2]


@pytest.mark.parametrize("pointer", [10**6, -1])
def test_damaged_pointers_are_refused(model, ratings, pointer):
    damaged = sp.csr_array(ratings.copy())
    damaged.indptr[3] = pointer
    with pytest.raises(ValueError, match="user_items has pointers"):
        model.explain(2, damaged, itemid=1)
