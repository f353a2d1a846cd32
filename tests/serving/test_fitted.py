"""What serving sees of a model: factors that are read-only, rows of ids or of a matrix, parameters of the moment."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from models import small

from fastals.serving.fitted import Fitted, ids_of


class TestFactorsOfTheModel:
    @pytest.mark.parametrize("name", ["user_factors", "item_factors"])
    def test_are_read_only(self, ratings, name):
        model = small().fit(ratings)
        for owner in (model, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
            with pytest.raises(ValueError, match="read-only"):
                getattr(owner, name)[0, 0] = 1

    def test_assigning_copies(self, ratings):
        model = small().fit(ratings)
        given = np.ones((22, 4))

        model.item_factors = given
        given[:] = 5

        assert (model.item_factors == 1).all()
        assert model.item_factors.dtype == np.float32


@pytest.fixture
def fitted(ratings) -> Fitted:
    model = small(alpha="auto", tol=1e-3, num_threads=1).fit(ratings)
    return Fitted(model, model._state)


def test_parameters_are_those_of_the_moment_and_alpha_that_of_the_fit(fitted):
    assert fitted.objective.alpha == fitted.state.chosen.alpha
    fitted.parameters.set_params(alpha=7.0, tol=1e-2)
    assert fitted.objective.alpha == 7.0
    assert fitted.settings.tolerance == 1e-2
    fitted.parameters.set_params(solver="qr")
    with pytest.raises(ValueError, match="solver must be"):
        _ = fitted.settings


@pytest.mark.parametrize("axis", [0, 1])
def test_rows_of_ids_are_those_of_the_training_matrix(fitted, ratings, axis):
    ids = np.array([4, 0, 3, 4])
    expected = (ratings if axis == 0 else ratings.T).toarray()[ids]

    got = fitted.rows(axis, ids, None)

    assert got.shape == expected.shape
    np.testing.assert_array_equal(got.as_csr(np.dtype(float)).toarray(), expected)


@pytest.mark.parametrize(
    ("axis", "matrix", "message"),
    [
        (0, sp.csr_array((30, 22)), r"user_items must have one row for each of the 2 ids, .*pass user_items\[ids\]"),
        (
            0,
            sp.csr_array((22, 2)),
            r"user_items must have one row .*; got \(22, 2\); it looks transposed",
        ),
        (1, sp.csr_array((5, 30)), r"item_users must have one row for each of the 2 ids, shape \(2, 30\)"),
        (0, sp.csr_array((2, 21)), r"user_items must have shape \(2, 22\)"),
    ],
)
def test_matrices_that_do_not_fit_the_ids(fitted, axis, matrix, message):
    with pytest.raises(ValueError, match=message):
        fitted.rows(axis, np.array([0, 1]), matrix)


def test_one_row_of_a_sparse_array_will_do(fitted, ratings):
    row = sp.coo_array(ratings.toarray()[7])  # of one dimension

    got = fitted.rows(0, np.array([7]), row)

    np.testing.assert_array_equal(got.as_csr(np.dtype(float)).toarray(), ratings.toarray()[[7]])


@pytest.mark.parametrize(
    ("value", "size", "expected", "scalar"),
    [
        (3, 5, [3], True),
        (np.uint8(4), 5, [4], True),
        ([4, 0], 5, [4, 0], False),
        ([], 5, [], False),
        (10, None, [10], True),
    ],
)
def test_ids(value, size, expected, scalar):
    got = ids_of("userid", value, size)

    assert got[0].dtype == np.int64
    assert (got[0].tolist(), got[1]) == (expected, scalar)


def test_one_id_is_demanded():
    with pytest.raises(ValueError, match="userid must be one integer; got"):
        ids_of("userid", [1, 2], 5, scalar=True)
