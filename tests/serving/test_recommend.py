"""Lists for users and items: what comes back, in which order and shape, whatever is filtered, against brute force."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from models import PLAIN, with_factors

from fastals import ImplicitALS
from fastals.core.validation import UnknownIdError


def checkerboard(size: int) -> sp.csr_array:
    """Even users have all even items and odd users all odd ones, but for the item of their own number."""
    users, items = np.indices((size, size))
    return sp.csr_array(((users - items) % 2 == 0) & (users != items), dtype=np.float64)


@pytest.fixture(scope="module")
def board() -> ImplicitALS:
    return ImplicitALS(3, **PLAIN, iterations=10, random_state=0).fit(checkerboard(30))


@pytest.fixture
def small() -> ImplicitALS:
    """Scores of user 0 are 0 .. 5, of user 1 those times 10, of user 2 all 0; user 2 has no items, user 1 has all."""
    R = [[0, 1, 0, 2, 0, 0], [1] * 6, [0] * 6]
    return with_factors(R, [[1.0, 0], [10, 0], [0, 0]], [[float(i), 1] for i in range(6)])


class TestCheckerboard:
    def test_the_item_left_out_comes_first(self, board):
        for user in range(30):
            assert board.recommend(user, N=1)[0].tolist() == [user]
        assert board.recommend(np.arange(30), N=1)[0][:, 0].tolist() == list(range(30))

    @pytest.mark.parametrize("solver", ["cg", "cholesky"])
    def test_the_same_for_users_calculated_anew(self, solver):
        rows = checkerboard(30)
        model = ImplicitALS(3, **PLAIN, iterations=10, random_state=0, solver=solver).fit(rows)

        got = model.recommend(np.arange(30), rows, N=1, recalculate_user=True)
        expected = model.recommend(np.arange(30), rows, N=1)

        np.testing.assert_array_equal(got[0], expected[0])
        np.testing.assert_array_equal(got[1], expected[1])

    def test_a_user_from_outside(self, board):
        odd = sp.csr_array(np.arange(30)[None] % 2 * (np.arange(30)[None] != 17), dtype=np.float64)

        assert board.recommend(1_000, odd, N=1, recalculate_user=True)[0].tolist() == [17]

    def test_similar_items_and_users_are_of_the_same_colour(self, board):
        for search in (board.similar_items, board.similar_users):
            for row in range(30):
                ids, scores = search(row, N=10)
                assert ids[0] == row or scores[0] == pytest.approx(scores[1], rel=1e-5)
                assert set(ids % 2) == {row % 2}

    def test_explanations_are_of_the_same_colour(self, board):
        _, contributions, _ = board.explain(4, itemid=4, N=5)
        assert {item % 2 for item, _ in contributions} == {0}
        assert all(contribution > 0 for _, contribution in contributions)


class TestFilters:
    def test_seen_items(self, small):
        ids, scores = small.recommend(0, N=3)
        assert (ids.tolist(), scores.tolist()) == ([5, 4, 2], [5, 4, 2])
        assert small.recommend(0, N=3, filter_already_liked_items=False)[0].tolist() == [5, 4, 3]

    def test_seen_items_of_given_rows(self, small):
        assert small.recommend(0, sp.csr_array([[0, 0, 0, 0, 1, 1]]), N=3)[0].tolist() == [3, 2, 1]
        assert small.recommend(0, sp.csr_array([[0, 0, 0, 0, -1, 1]]), N=1)[0].tolist() == [3], "dislikes are seen"
        assert small.recommend(0, sp.csr_array(([0.0], ([0], [5])), (1, 6)), N=1)[0].tolist() == [5], "zeros are not"

    def test_filter_items_in_any_order_and_repeated(self, small):
        for filtered in ([5, 2], [2, 5], [5, 2, 5, 2], np.array([5, 2], np.int32), np.array([5, 2, 2], np.uint8)):
            assert small.recommend(0, N=9, filter_items=filtered)[0].tolist() == [4, 0]
        assert small.recommend(0, N=9, filter_items=5)[0].tolist() == [4, 2, 0]
        assert small.recommend(0, N=9, filter_items=[])[0].tolist() == [5, 4, 2, 0]

    def test_items_to_choose_from(self, small):
        assert small.recommend(0, N=9, items=[0, 4, 3, 4])[0].tolist() == [4, 0]
        assert small.recommend(0, N=1, items=[0, 4, 3])[0].tolist() == [4]
        assert small.recommend(0, N=9, items=[0, 4], filter_items=[4])[0].tolist() == [0]
        assert small.recommend(0, N=9, items=[])[0].tolist() == []

    @pytest.mark.parametrize(
        "options", [{"filter_items": range(6)}, {"items": []}, {"items": [1, 3]}, {"items": [5], "filter_items": [5]}]
    )
    def test_everything_filtered(self, small, options):
        options = {name: list(value) for name, value in options.items()}

        ids, scores = small.recommend(0, N=4, **options)
        assert (ids.shape, scores.shape, ids.dtype, scores.dtype) == ((0,), (0,), np.int32, np.float64)

        ids, scores = small.recommend([0, 1], N=4, **options)
        assert (ids == -1).all()
        assert np.isnan(scores).all()

    def test_tails(self, small):
        ids, scores = small.recommend([0, 1, 2], N=8)
        np.testing.assert_array_equal(ids, [[5, 4, 2, 0] + [-1] * 4, [-1] * 8, [0, 1, 2, 3, 4, 5, -1, -1]])
        expected = [[5, 4, 2, 0] + [np.nan] * 4, [np.nan] * 8, [0] * 6 + [np.nan] * 2]
        np.testing.assert_array_equal(scores, expected)

    def test_user_without_items_gets_the_lowest_ids_at_score_zero(self, small):
        ids, scores = small.recommend(2, N=3)
        assert (ids.tolist(), scores.tolist()) == ([0, 1, 2], [0, 0, 0])

    def test_similar_ones(self, small):
        ids, scores = small.similar_items(5, N=3, filter_items=[5, 4, 4])
        assert ids.tolist() == [3, 2, 1]
        np.testing.assert_allclose(scores, [(5 * i + 1) / np.sqrt(26 * (i * i + 1)) for i in (3, 2, 1)])
        assert small.similar_items(5, N=9, items=[0, 5])[0].tolist() == [5, 0]
        assert small.similar_users(0, N=9, filter_users=[0])[0].tolist() == [1, 2]
        assert small.similar_users(0, N=9, users=[2, 0])[0].tolist() == [0, 2]
        assert small.similar_users([0], N=4)[0].tolist() == [[0, 1, 2, -1]]

    def test_factors_of_zero_are_similar_to_nothing(self, small):
        ids, scores = small.similar_users(2)
        assert (ids.tolist(), scores.tolist()) == ([2, 0, 1], [0, 0, 0])


class TestOrder:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_equal_scores_by_the_lower_id_in_every_batch(self, dtype):
        Q = np.tile([[2.0, 1.0], [1.0, 3.0], [1.0, 2.0], [4.0, -3.0]], (225, 1))
        P = np.repeat([[1.0, 0.5]], 70, axis=0)
        model = with_factors(sp.csr_array(([1.0], ([0], [0])), (70, 900)), P, Q, dtype=dtype)
        expected = np.flatnonzero(np.arange(900) % 4 != 2)[:50]

        ids, scores = model.recommend(np.arange(70), N=50, filter_already_liked_items=False)
        np.testing.assert_array_equal(ids, np.tile(expected, (70, 1)))
        assert (scores == 2.5).all()
        for users in (5, [5], [5, 6, 7]):
            got, _ = model.recommend(users, N=50, filter_already_liked_items=False)
            np.testing.assert_array_equal(np.atleast_2d(got)[0], expected)
        others = np.setdiff1d(np.arange(0, 200, 4), [8])
        np.testing.assert_array_equal(model.similar_items(8, N=50)[0], [8, *others])

    def test_threads_and_batches_make_no_difference(self, board):
        users = np.arange(30)
        expected = board.recommend(users, N=12)
        for num_threads in (1, 2):
            board.set_params(num_threads=num_threads)
            got = board.recommend(users, N=12)
            one_by_one = [board.recommend(user, N=12) for user in users]
            for part in (0, 1):
                np.testing.assert_array_equal(got[part], expected[part])
                np.testing.assert_array_equal(np.stack([one[part] for one in one_by_one]), expected[part])
        board.set_params(num_threads=None)


class TestUnknownIds:
    """An error that a service can tell from bad input, and that is a ValueError and a KeyError as well."""

    @pytest.mark.parametrize(
        "call",
        [
            lambda m, id: m.recommend(id),
            lambda m, id: m.recommend([0, id]),
            lambda m, id: m.recommend(id, recalculate_user=True),
            lambda m, id: m.similar_items(id),
            lambda m, id: m.similar_items(id, recalculate_item=True),
            lambda m, id: m.similar_users([id]),
            lambda m, id: m.explain(id, itemid=0),
            lambda m, id: m.explain(0, itemid=id),
            lambda m, id: m.predict(id, 0),
            lambda m, id: m.predict([0, 0], [1, id]),
            lambda m, id: m.recalculate_user(id),
            lambda m, id: m.recalculate_item([id]),
        ],
    )
    @pytest.mark.parametrize("unknown", [30, -1, 10**15])
    def test_of_users_and_items(self, board, call, unknown):
        with pytest.raises(UnknownIdError, match=rf"id|user|item.* must lie in 0 \.\. 29; got {unknown}") as caught:
            call(board, unknown)
        assert isinstance(caught.value, KeyError)
        assert isinstance(caught.value, ValueError)
        assert str(caught.value).endswith(f"got {unknown}")
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)

    def test_bad_input_is_another_thing(self, board):
        for call in (lambda: board.recommend(0, N=0), lambda: board.recommend(0, sp.csr_array((1, 4)))):
            with pytest.raises(ValueError, match="must") as caught:
                call()
            assert not isinstance(caught.value, KeyError)


class TestScalarsAndArrays:
    @pytest.mark.parametrize("number", [4, np.int32(4), np.uint8(4), np.array(4)])
    def test_scalar_equals_the_row_of_the_array(self, board, number):
        rows = checkerboard(30)
        calls = {
            "recommend": (board.recommend, {}, {}),
            "recommend given rows": (board.recommend, {"user_items": rows[[4]]}, {"user_items": rows[[7, 4]]}),
            "similar_items": (board.similar_items, {}, {}),
            "similar_items anew": (board.similar_items, *[{"recalculate_item": True}] * 2),
            "similar_users": (board.similar_users, {}, {}),
        }
        for name, (method, options, batch_options) in calls.items():
            got = method(number, N=5, **options)
            expected = method([7, 4], N=5, **batch_options)
            for one, batch in zip(got, expected, strict=True):
                assert (one.shape, batch.shape, one.dtype) == ((5,), (2, 5), batch.dtype), name
                np.testing.assert_array_equal(one, batch[1], err_msg=name)
        for method in (board.recalculate_user, board.recalculate_item):
            assert method(number).shape == (3,)
            np.testing.assert_array_equal(method(number), method([7, 4])[1])

    def test_types(self, board):
        for ids, scores in (
            board.recommend(0),
            board.recommend([0, 1]),
            board.similar_items(0),
            board.similar_users(0),
        ):
            assert (ids.dtype, scores.dtype) == (np.int32, np.float32)

    def test_no_users(self, board):
        ids, scores = board.recommend([], N=4)
        assert ids.shape == scores.shape == (0, 4)
        assert board.recalculate_user([]).shape == (0, 3)

    def test_row_of_a_sparse_array(self, board):
        """A row ``csr_array[u]`` is one-dimensional where SciPy is new, ``csr_matrix[u]`` never: implicit's call."""
        rows = checkerboard(30)
        dense = rows.toarray()[3]
        expected = board.recommend(3)[0]
        for row in (sp.csr_array(dense), rows[[3]], sp.csr_matrix(rows)[3], sp.coo_array(dense)):
            np.testing.assert_array_equal(board.recommend(3, row)[0], expected)
            np.testing.assert_array_equal(board.recommend(3, row, recalculate_user=True)[0], expected)
            assert board.explain(3, row, 3)[0] == board.explain(3, rows, 3)[0] == board.explain(3, itemid=3)[0]

    def test_repeated_users(self, board):
        ids, _ = board.recommend([2, 2, 5, 2], N=3)
        np.testing.assert_array_equal(ids[[0, 1, 3]], np.tile(board.recommend(2, N=3)[0], (3, 1)))

    def test_matrix_is_left_alone(self, board):
        row = sp.csr_array((np.array([1.0, 0.0, 1.0]), np.array([5, 3, 5]), np.array([0, 3])), shape=(1, 30))
        before = row.copy()
        board.recommend(0, row, recalculate_user=True)
        for name in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(row, name), getattr(before, name))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m, R: m.recommend([0, 1], R.T),
            r"user_items must have one row .* shape \(2, 4\); got \(4, 3\).*transp",
        ),
        (lambda m, R: m.recommend([0, 1], R[[0, 1]].T), r"must have one row .*\(2, 4\); got \(4, 2\).*transposed"),
        (lambda m, R: m.recommend([0, 1, 2, 0], R.T), r"user_items must have shape \(4, 4\); got \(4, 3\)"),
        (lambda m, R: m.recommend(0, R), r"pass user_items\[ids\] instead of the whole matrix"),
        (
            lambda m, R: m.recommend(0, R[[0]], recalculate_user=True, filter_items=[4]),
            "filter_items must lie in 0 .. 3",
        ),
        (lambda m, R: m.recommend(3, recalculate_user=True), "userid must lie in 0 .. 2; got 3"),
        (lambda m, R: m.recalculate_item([0, 1, 2], R), r"item_users must have shape \(3, 3\); got \(3, 4\)"),
        (lambda m, R: m.similar_items([0, 1], 3, True, R[:2]), r"item_users must have shape \(2, 3\); got \(2, 4\)"),
        (lambda m, R: m.similar_items(4, recalculate_item=True), "itemid must lie in 0 .. 3; got 4"),
        (lambda m, R: m.explain(3, R, 0), "userid must lie in 0 .. 2; got 3"),
        (lambda m, R: m.explain([0], R, 0), "userid must be one integer"),
        (
            lambda m, R: m.explain(0, R.T, 0),
            r"user_items must have shape \(any, 4\); got \(4, 3\); it looks transposed",
        ),
        (lambda m, R: m.recalculate_user(0, sp.csr_array([[0, np.nan, 1, 2]])), "user_items must be finite"),
    ],
)
def test_errors_say_which(call, message):
    R = sp.csr_array([[1.0, 0, 2, 0], [0, 3, 0, 1], [1, 1, 0, 0]])
    model = ImplicitALS(2, **PLAIN, iterations=1, random_state=0).fit(R)
    with pytest.raises(ValueError, match=message):
        call(model, R)


def test_item_to_explain_must_be_named(board):
    with pytest.raises(TypeError, match="itemid must be given"):
        board.explain(0)


def test_lengths_beyond_the_number_of_items(small):
    """Of one user no more than there is is made room for."""
    ids, scores = small.recommend(0, N=10**30, filter_already_liked_items=False)

    assert len(ids) == len(scores) == len(small.item_factors)
    with pytest.raises(ValueError, match="N must be <= 2147483647"):
        small.recommend([0, 1], N=10**30)


@pytest.mark.parametrize("value", [[[0], [1, 2]], np.ma.masked_array([0, 1], [0, 1]), 10**30, -(10**30)])
def test_ids_of_no_kind_are_refused(small, value):
    with pytest.raises((TypeError, ValueError), match="userid must"):
        small.recommend(value)


class TestAssignedFactorsThatDoNotFit:
    """Unchecked, compiled code would read past their ends."""

    @pytest.fixture
    def model(self, ratings):
        return ImplicitALS(4, iterations=1, random_state=0).fit(ratings)

    def test_fewer_factors(self, model, ratings):
        model.user_factors = np.ones((30, 3))
        for call in (lambda: model.loss(ratings), lambda: model.predict(0, 0), lambda: model.recommend(0)):
            with pytest.raises(ValueError, match="user_factors and item_factors must be equally long"):
                call()

    def test_fewer_items(self, model):
        model.item_factors = np.ones((5, 4))
        for call in (model.recommend, model.recalculate_user):
            with pytest.raises(ValueError, match="item_factors must have 22 rows for the training matrix"):
                call(0)

    def test_fewer_users(self, model, ratings):
        model.user_factors = np.ones((5, 4))
        with pytest.raises(ValueError, match=r"user_factors must have shape \(30, 4\); got \(5, 4\)"):
            model.partial_fit_users([0], ratings[[0]])

    @pytest.mark.parametrize("value", [1e30, 1e-60])
    def test_too_large_or_too_small(self, model, value):
        with pytest.raises(ValueError, match=r"user_factors must (stay below|not vanish)"):
            model.user_factors = np.full((30, 4), value)
