"""The baselines: popularity, and chance."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastals.core.parameters import NotFittedError
from fastals.evaluation import Popularity, RandomOrder

ROWS = sp.csr_array(np.array([[9, 1, 0], [0, 1, 0], [1, 1, 1.0]]))


def test_items_are_ranked_by_number_of_users():
    ids, counts = Popularity(ROWS).recommend(np.array([0, 1]), ROWS[[0, 1]], N=2)
    assert ids.tolist() == [[2, -1], [0, 2]]
    assert counts[1].tolist() == [2, 1]
    assert np.isnan(counts[0, 1])


def test_known_items_are_kept_on_request():
    ids, counts = Popularity(ROWS).recommend([5], None, N=3, filter_already_liked_items=False)
    assert ids.tolist() == [[1, 0, 2]]
    assert counts.tolist() == [[3, 2, 1]]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((np.array([0, 1]), ROWS[[0]]), ValueError, r"user_items.*\(1, 3\)"),
        ((np.array([0.5]), ROWS[[0]]), TypeError, "userid"),
        ((np.array([0]), None), TypeError, "user_items"),
    ],
)
def test_bad_arguments_are_named(arguments, error, words):
    with pytest.raises(error, match=words):
        Popularity(ROWS).recommend(*arguments)


def test_fit_is_the_other_way_to_give_the_rows():
    model = Popularity()
    assert model.fit(ROWS) is model
    np.testing.assert_array_equal(model.item_users, Popularity(ROWS).item_users)
    model.fit(ROWS[[0]])
    assert model.item_users.tolist() == [1, 1, 0]


def test_without_rows_it_is_not_fitted():
    with pytest.raises(NotFittedError, match="Popularity is not fitted yet: call fit"):
        Popularity().recommend(np.array([0]), ROWS[[0]])


def test_both_choose_from_the_items_they_are_given():
    ids, _ = Popularity(ROWS).recommend([0, 1], ROWS[[0, 1]], N=3, items=[2, 1])
    assert ids.tolist() == [[2, -1, -1], [2, -1, -1]]
    ids, scores = RandomOrder(3).recommend([0, 1], ROWS[[0, 1]], N=3, items=[2, 1])
    assert ids.tolist() == [[2, -1, -1], [2, -1, -1]]
    assert np.isnan(scores[:, 1:]).all()
    with pytest.raises(ValueError, match="items"):
        RandomOrder(3).recommend([0], ROWS[[0]], items=[3])


def test_a_random_order_is_a_users_own_and_uniform():
    model, nobody = RandomOrder(5, random_state=1), sp.csr_array((400, 5))
    ids, scores = model.recommend(np.arange(400), nobody, N=5)
    one, _ = model.recommend([7], None, N=5, filter_already_liked_items=False)

    assert one.tolist() == [ids[7].tolist()]
    assert (np.sort(ids, axis=1) == np.arange(5)).all()
    assert (np.diff(scores, axis=1) <= 0).all()
    # Binomial(400, 1 / 5) first places of each item: 80 +- 8; five deviations either side.
    assert (abs(np.bincount(ids[:, 0], minlength=5) - 80) < 40).all()
    assert not np.array_equal(ids, RandomOrder(5, random_state=2).recommend(np.arange(400), nobody, N=5)[0])
    with pytest.raises(ValueError, match="n_items"):
        RandomOrder(0)
