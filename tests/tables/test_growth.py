"""Ids of a new table among known ones."""

import numpy as np
import pytest

from fastals.tables.growth import grown, positions_in
from fastals.tables.interactions import Interactions


def test_unknown_ids_stand_behind_the_known_ones():
    places, ids = positions_in(np.array([5, 3, 9]), np.array([9, 4, 5, 1]), "user")
    assert places.tolist() == [2, 3, 0, 4]
    assert ids.tolist() == [5, 3, 9, 4, 1]


def test_longer_texts_are_kept_whole():
    places, ids = positions_in(np.array(["a", "b"]), np.array(["a longer one", "b"]), "item")
    assert places.tolist() == [2, 1]
    assert ids.tolist() == ["a", "b", "a longer one"]


@pytest.mark.parametrize(("known", "new"), [(["a"], [1]), ([1], ["a"])])
def test_text_and_integers_do_not_mix(known, new):
    with pytest.raises(TypeError, match="user ids"):
        positions_in(np.array(known), np.array(new), "user")


def test_rows_are_renumbered_and_canonical():
    known = Interactions.from_arrays(["c", "a"], ["y", "x"])
    table = Interactions.from_arrays(["b", "c", "c", "a"], ["x", "w", "x", "y"], [1, 2, 3, 4])
    rows, user_ids, item_ids = grown(known, table)
    expected = np.zeros((3, 3))
    for user, item, value in (("b", "x", 1), ("c", "w", 2), ("c", "x", 3), ("a", "y", 4)):
        expected[user_ids.tolist().index(user), item_ids.tolist().index(item)] = value
    np.testing.assert_array_equal(rows.as_csr(np.dtype(float)).toarray(), expected)
    assert user_ids.tolist() == ["a", "c", "b"]
    for first, last in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
        assert (np.diff(rows.indices[first:last]) > 0).all()
