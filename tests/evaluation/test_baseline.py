"""Popularity, the baseline."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastals.core.parameters import NotFittedError
from fastals.evaluation import Popularity

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
