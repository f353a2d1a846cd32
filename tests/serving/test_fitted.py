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


class TestMatricesOfTheCaller:
    """A model shares nothing with them: it stays as it is, whatever becomes of them."""

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("ids", [[5], [5, 31]])
    @pytest.mark.parametrize("side", ["user", "item"])
    def test_rows_of_partial_fits(self, ratings, side, ids, dtype):
        rows = sp.csr_array((ratings if side == "user" else ratings.T).tocsr()[[3, 4][: len(ids)]].astype(dtype))
        model, expected = (small(alpha=1.0, dtype=dtype).fit(ratings) for _ in range(2))
        for one, given in ((model, rows), (expected, rows.copy())):
            getattr(one, f"partial_fit_{side}s")(ids, given)

        rows.data[:], rows.indices[:] = 77, 0

        recalculated = (getattr(one, f"recalculate_{side}")(5) for one in (model, expected))
        np.testing.assert_array_equal(*recalculated)
        assert (model.user_items_ != expected.user_items_).nnz == 0

    @pytest.mark.parametrize("partial", [False, True])
    def test_features(self, ratings, partial):
        known = sp.csr_array(np.random.default_rng(0).normal(size=(30, 3)))
        row, model, expected = known[[0]], small(alpha=1.0), small(alpha=1.0)
        model.fit(ratings, user_features=known.copy() if partial else known)
        expected.fit(ratings, user_features=known.copy())
        if partial:
            model.partial_fit_users([5], ratings[[5]], user_features=row)
            expected.partial_fit_users([5], ratings[[5]], user_features=row.copy())

        known.data[:], row.data[:] = 0, 0

        np.testing.assert_array_equal(model.recalculate_user(5), expected.recalculate_user(5))
        assert model.loss(ratings) == expected.loss(ratings)


class TestAssignedFactors:
    """They may have any shape; what the fit knows of others' rows or columns is not applied to them."""

    @pytest.fixture
    def weighed(self, ratings):
        return small(unobserved_exponent=(0.5, 0.5)).fit(ratings)

    @pytest.fixture
    def featured(self, ratings):
        known = {"user_features": np.ones((30, 2)), "item_features": np.ones((22, 3))}
        return small(unobserved_exponent=0, alpha=1.0).fit(ratings, **known)

    @pytest.mark.parametrize("count", [21, 23])
    def test_other_items_than_have_weights_are_refused_by_all_that_needs_these(self, weighed, count):
        row, item = sp.csr_array(np.eye(1, count)), sp.csr_array(np.eye(30, count))
        weighed.item_factors = np.ones((count, 4))

        calls = {
            "recalculated": lambda: weighed.recalculate_user(0, row),
            "recommended": lambda: weighed.recommend(0, row, recalculate_user=True),
            "explained": lambda: weighed.explain(0, row, itemid=1),
            "loss": lambda: weighed.loss(item),
            "parts": lambda: weighed.loss_parts(item),
        }
        message = rf"^item_factors must have 22 rows, .* weights; got shape \({count}, 4\)"
        for call in calls.values():
            with pytest.raises(ValueError, match=message):
                call()
        assert weighed.recommend(0, row)[0].size == 10

    @pytest.mark.parametrize("count", [29, 31])
    def test_other_users_than_have_weights(self, weighed, count):
        weighed.user_factors = np.ones((count, 4))

        column = sp.csr_array(np.eye(1, count))
        message = rf"^user_factors must have 30 rows, .* weights; got shape \({count}, 4\)"
        with pytest.raises(ValueError, match=message):
            weighed.recalculate_item(0, column)
        with pytest.raises(ValueError, match=message):
            weighed.similar_items(0, recalculate_item=True, item_users=column)
        assert weighed.recalculate_user(0, sp.csr_array(np.eye(1, 22))).shape == (4,)

    @pytest.mark.parametrize("side", ["user", "item"])
    def test_the_loss_needs_features_of_all(self, featured, side):
        count = {"user": 30, "item": 22}[side]
        for wrong in (count - 1, count + 1):
            setattr(featured, f"{side}_factors", np.ones((wrong, 4)))
            shape = len(featured.user_factors), len(featured.item_factors)

            message = rf"^{side}_factors must have {count} rows, as many as {side}_features; got shape \({wrong}, 4\)"
            with pytest.raises(ValueError, match=message):
                featured.loss(sp.csr_array(np.eye(*shape)))

    @pytest.mark.parametrize("factors", [3, 5])
    def test_effects_are_as_long_as_factors_are(self, featured, factors):
        featured.user_factors, featured.item_factors = np.ones((30, factors)), np.ones((22, factors))
        row, matrix = sp.csr_array(np.eye(1, 22)), sp.csr_array(np.eye(30, 22))

        calls = {
            "recalculated": lambda: featured.recalculate_user(0, row),
            "of features": lambda: featured.recalculate_user(0, user_features=np.ones((1, 2))),
            "explained": lambda: featured.explain(0, row, itemid=1),
            "partial fit": lambda: featured.partial_fit_users([30], row),
            "updated": lambda: featured.update(matrix),
            "swept": lambda: featured.update(sp.csr_array((30, 22)), sweeps=1),
            "loss": lambda: featured.loss(matrix),
        }
        message = rf"^item_factors must have 4 columns, like the effects of user_features; got .*, {factors}\)"
        for call in calls.values():
            with pytest.raises(ValueError, match=message):
                call()
        with pytest.raises(ValueError, match=r"^user_factors must have 4 columns, like the effects of item_features"):
            featured.recalculate_item(0)


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
