"""Features at the door: dense and sparse, one canonical form."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastals.core.features import NamedFeatures, check_features, feature_names

F = np.array([[0, 1.5, 0], [2, 0, -1], [0, 0, 0], [0, 4, 0]])


@pytest.mark.parametrize(
    "value",
    [F, F.tolist(), F.astype(np.float32), sp.csc_array(F), sp.coo_matrix(F), sp.lil_array(F), np.asfortranarray(F)],
)
def test_every_form_is_the_same(value):
    rows = check_features(value, "user_features", (4, None))

    got = sp.csr_array((rows.data, rows.indices, rows.indptr), rows.shape).toarray()
    np.testing.assert_array_equal(got, F)


def test_named_features_stand_for_their_matrix():
    named = NamedFeatures(sp.csr_array(F), ["a", "b", "c"])

    got, expected = check_features(named, "user_features", (4, 3)), check_features(F, "user_features", (4, 3))

    for one, other in zip(got[:3], expected[:3], strict=True):
        np.testing.assert_array_equal(one, other)
    assert feature_names(named) == ("a", "b", "c")
    assert feature_names(F) is None
    with pytest.raises(ValueError, match="names must be one for each of 3 columns; got 2"):
        NamedFeatures(sp.csr_array(F), ["a", "b"])


def test_nothing_is_shared_with_the_caller():
    matrix = sp.csr_array(F)
    for given in (matrix, NamedFeatures(matrix, ["a", "b", "c"])):
        rows = check_features(given, "user_features", (4, 3))
        for own, theirs in zip(rows[:3], (matrix.indptr, matrix.indices, matrix.data), strict=True):
            assert not np.may_share_memory(own, theirs)


def test_one_row_may_have_one_dimension():
    assert check_features(F[1], "user_features", (1, 3)).indices.tolist() == [0, 2]
    # SciPy before 1.13 makes a matrix of one row of it.
    assert check_features(sp.coo_array(F[1]), "user_features", (1, 3)).indices.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (F, ValueError, r"item_features must have shape \(3, 'any'\); got \(4, 3\)".replace("'", "")),
        (np.zeros((3, 0)), ValueError, "at least one column"),
        (np.zeros((3, 2, 2)), ValueError, r"must have shape \(rows, features\)"),
        (np.array([["a"], ["b"], ["c"]]), TypeError, "item_features must hold real numbers"),
        (np.array([[1.0], [np.nan], [2]]), ValueError, "item_features must be finite"),
    ],
)
def test_what_is_not_features_is_refused(value, error, message):
    with pytest.raises(error, match=message):
        check_features(value, "item_features", (3, None))
