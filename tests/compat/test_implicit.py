"""implicit's face: what its documentation says of its recommenders, and what they minimise, by dense equations."""

import io
import pickle

import numpy as np
import pytest
import scipy.sparse as sp

from fastals.compat.implicit import AlternatingLeastSquares, ParameterWarning

PARAMETERS = {"factors": 6, "regularization": 0.5, "alpha": 2.0, "iterations": 4, "random_state": 1, "num_threads": 1}


def fitted(matrix, **changes) -> AlternatingLeastSquares:
    model = AlternatingLeastSquares(**{**PARAMETERS, **changes})
    assert model.fit(matrix, show_progress=False) is None
    return model


@pytest.fixture
def plays(ratings) -> sp.csr_matrix:
    return sp.csr_matrix(ratings)


@pytest.fixture
def model(plays):
    return fitted(plays)


@pytest.fixture
def blocks() -> sp.csr_matrix:
    """Users and items of odd and even numbers: nobody likes anything of the other kind, nor the item of its number."""
    users, items = np.divmod(np.arange(20 * 20), 20)
    liked = (users % 2 == items % 2) & (users != items)
    return sp.csr_matrix((np.ones(liked.sum()), (users[liked], items[liked])))


def dense_rows(rows, fixed, alpha, ridge):
    """p of each row: (sum_i c y y' + ridge I) p = sum_i c phi y, c = alpha |r| where stored, 1 elsewhere."""
    solved = []
    for r in rows:
        c, phi = np.where(r != 0, alpha * np.abs(r), 1.0), (r > 0) * 1.0
        A = fixed.T @ (c[:, None] * fixed) + ridge * np.eye(fixed.shape[1])
        solved.append(np.linalg.solve(A, fixed.T @ (c * phi)))
    return np.array(solved)


class TestFit:
    @pytest.mark.parametrize("use_cg", [True, False])
    def test_alternates_from_its_start_users_first(self, plays, use_cg):
        start = fitted(plays, iterations=0, dtype=np.float64)
        got = fitted(plays, iterations=2, dtype=np.float64, use_cg=use_cg)
        P, Q = start.user_factors, start.item_factors
        assert 0 <= min(P.min(), Q.min()) < max(P.max(), Q.max()) < 0.01
        rows = plays.toarray()
        for _ in range(2):
            P = dense_rows(rows, Q, 2.0, 0.5)
            Q = dense_rows(rows.T, P, 2.0, 0.5)
        np.testing.assert_allclose(got.item_factors, Q, atol=1e-2 * np.abs(Q).max() if use_cg else 1e-10)
        expected = dense_rows(rows, got.item_factors, 2.0, 0.5)
        np.testing.assert_allclose(got.user_factors, expected, atol=1e-2 if use_cg else 1e-10)

    def test_dislikes_and_small_confidences(self, plays):
        rows = plays.toarray()
        rows[rows == 2] *= -1
        rows[rows == 3] = 0.1
        got = fitted(sp.csr_matrix(rows), use_cg=False, dtype=np.float64)
        np.testing.assert_allclose(got.user_factors, dense_rows(rows, got.item_factors, 2.0, 0.5), atol=1e-9)

    def test_any_sparse_matrix_is_converted_with_a_warning(self, plays, model):
        for other in (plays.tocoo(), plays.tocsc()):
            with pytest.warns(ParameterWarning, match="CSR"):
                got = fitted(other)
            np.testing.assert_array_equal(got.user_factors, model.user_factors)
        np.testing.assert_array_equal(fitted(sp.csr_array(plays)).user_factors, model.user_factors)

    def test_types_and_forms_of_indices_make_no_difference(self, plays, model):
        wide, backwards = plays.copy(), plays.copy()
        wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
        for first, last in zip(plays.indptr[:-1], plays.indptr[1:], strict=True):
            backwards.indices[first:last] = backwards.indices[first:last][::-1]
            backwards.data[first:last] = backwards.data[first:last][::-1]
        backwards.has_sorted_indices = backwards.has_canonical_format = False
        for other in (wide, backwards, plays.astype(np.int32), plays.astype(np.float32)):
            np.testing.assert_array_equal(fitted(other).item_factors, model.item_factors)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64, "float32"])
    def test_factors_have_the_type(self, plays, dtype):
        got = fitted(plays, dtype=dtype)
        assert got.user_factors.dtype == got.item_factors.dtype == np.dtype(dtype)

    def test_callbacks_and_training_loss(self, plays):
        calls = []
        model = AlternatingLeastSquares(**PARAMETERS, calculate_training_loss=True, dtype=np.float64)
        model.fit(plays, show_progress=False, callback=lambda *arguments: calls.append(arguments))
        rows = plays.toarray()
        c = np.where(rows != 0, 2.0 * rows, 1.0)
        P, Q = model.user_factors, model.item_factors
        total = (c * ((rows > 0) - P @ Q.T) ** 2).sum() + 0.5 * ((P**2).sum() + (Q**2).sum())
        assert [call[0] for call in calls] == [0, 1, 2, 3]
        assert calls[-1][2] == pytest.approx(total / c.sum())
        assert all(call[1] >= 0 for call in calls)
        losses = []
        AlternatingLeastSquares(**PARAMETERS).fit(plays, show_progress=False, callback=lambda *a: losses.append(a[2]))
        assert losses == [None] * 4

    def test_goes_on_from_factors_at_hand(self, plays, model):
        before = model.item_factors.copy()
        model.fit(plays, show_progress=False)
        np.testing.assert_allclose(model.item_factors, fitted(plays, iterations=8).item_factors, atol=5e-3)
        assert (model.item_factors != before).any()

    def test_unknown_machines_are_refused(self, model):
        with pytest.raises(ValueError, match="CPU"):
            AlternatingLeastSquares(use_gpu=True)
        with pytest.raises(ValueError, match="CPU"):
            model.to_gpu()


class TestRecommend:
    def test_finds_what_was_left_out(self, blocks):
        model = fitted(blocks, factors=2, alpha=10.0)
        for user in range(20):
            assert model.recommend(user, blocks[user], N=1)[0].tolist() == [user]
        ids, _ = model.recommend(np.arange(20), blocks, N=1)
        assert ids[:, 0].tolist() == list(range(20))

    def test_one_user_and_several(self, plays, model):
        ids, scores = model.recommend([4, 0], plays[[4, 0]], N=3)
        assert ids.shape == scores.shape == (2, 3)
        assert (ids.dtype, scores.dtype) == (np.int32, np.float32)
        for row, user in enumerate([4, 0]):
            one = model.recommend(user, plays[user], N=3)
            np.testing.assert_array_equal(one[0], ids[row])
            np.testing.assert_array_equal(one[1], scores[row])

    def test_liked_and_filtered_items_come_last(self, plays, model):
        liked = set(plays[0].indices)
        ids, scores = model.recommend(0, plays[0], N=30, filter_items=[1, 2])
        gone = liked | {1, 2}
        lowest = np.finfo(np.float32).min
        assert len(ids) == 30
        assert set(ids[: 22 - len(gone)]) == set(range(22)) - gone
        assert set(ids[22 - len(gone) : 22]) == gone
        assert (scores[22 - len(gone) : 22] == lowest).all()
        assert (ids[22:] == 0).all()
        assert (scores[22:] == 0).all()

    def test_liked_items_may_stay(self, plays, model):
        ids, scores = model.recommend(0, None, N=22, filter_already_liked_items=False)
        expected = model.item_factors @ model.user_factors[0]
        assert sorted(ids) == list(range(22))
        np.testing.assert_allclose(scores, expected[ids], rtol=1e-4, atol=1e-6)

    def test_chosen_items(self, plays, model):
        liked = int(plays[0].indices[0])
        ids, scores = model.recommend(0, plays[0], N=10, items=[9, liked, 5, 9])
        assert ids.dtype == np.int64
        assert set(ids) == {9, liked, 5} if liked not in (5, 9) else {9, 5}
        assert ids[-1] == liked
        assert scores[-1] == np.finfo(np.float32).min
        with pytest.raises(ValueError, match="cannot both"):
            model.recommend(0, plays[0], items=[1], filter_items=[2])

    def test_recalculated_users(self, plays, model):
        got = model.recommend(0, plays[0], N=5, recalculate_user=True)
        np.testing.assert_array_equal(got[0], model.recommend(0, plays[0], N=5)[0])
        beyond = model.recommend(10**6, plays[0], N=5, recalculate_user=True)
        np.testing.assert_array_equal(beyond[0], got[0])
        nothing = model.recommend(3, plays[3], N=4, recalculate_user=True)
        assert (nothing[1] == 0).all()

    def test_rows_must_fit(self, plays, model):
        for wrong in (plays, plays[0].tocoo(), plays[0].toarray(), None):
            with pytest.raises(ValueError, match="user_items must"):
                model.recommend(0, wrong)

    def test_unknown_ids(self, plays, model):
        for wrong in ({"userid": 99}, {"items": [99]}, {"items": [-1]}):
            with pytest.raises(IndexError):
                model.recommend(**{"userid": 0, "user_items": plays[0], **wrong})

    def test_old_names(self, plays, model):
        with pytest.warns(DeprecationWarning, match="recommend with items"):
            ids, _ = model.rank_items(0, plays[0], [3, 5, 7])
        assert sorted(ids) == [3, 5, 7]
        with pytest.warns(DeprecationWarning, match="array of ids"):
            got = model.recommend_all(plays, N=4)
        np.testing.assert_array_equal(got, model.recommend(np.arange(30), plays, N=4)[0])


class TestSimilar:
    def test_of_one_kind(self, blocks):
        model = fitted(blocks, factors=2, alpha=10.0)
        for found in (model.similar_items, model.similar_users):
            ids, scores = found(4, N=10)
            assert ids[0] == 4
            assert scores[0] == pytest.approx(1, abs=1e-5)
            assert (ids % 2 == 0).all()
            assert found([4, 5], N=3)[0].shape == (2, 3)

    def test_filtered_and_chosen(self, model):
        ids, scores = model.similar_items(0, N=22, filter_items=[1, 2])
        assert ids[-2:].tolist() == [2, 1]
        assert (scores[-2:] == -np.inf).all()
        assert set(model.similar_items(0, N=9, items=[1, 2])[0]) == {1, 2}
        assert set(model.similar_users(0, N=9, users=[1, 2])[0]) == {1, 2}
        with pytest.raises(ValueError, match="cannot both"):
            model.similar_items(0, items=[1], filter_items=[1])
        with pytest.raises(ValueError, match="cannot both"):
            model.similar_users(0, users=[1], filter_users=[1])

    def test_recalculated(self, plays, model):
        row = plays.T.tocsr()[2]
        got = model.similar_items(2, N=5, recalculate_item=True, item_users=row)
        assert got[0][0] == 2


def test_explanations_sum_to_the_score(plays, model):
    total, top, weights = model.explain(0, plays, 5, N=100)
    factors = model.recalculate_user(0, plays[0])
    assert total == pytest.approx(factors @ model.item_factors[5], rel=1e-2, abs=1e-4)
    assert sum(part for _, part in top) == pytest.approx(total)
    assert {item for item, _ in top} == set(plays[0].indices)
    assert model.explain(0, plays, 5, user_weights=weights)[0] == total


class TestChanges:
    def test_rows_solved_anew(self, plays, model):
        expected = dense_rows(plays.toarray(), model.item_factors.astype(float), 2.0, 0.5)
        np.testing.assert_allclose(model.recalculate_user(7, plays[7]), expected[7], atol=3e-3)
        np.testing.assert_allclose(model.recalculate_user([7, 1], plays[[7, 1]]), expected[[7, 1]], atol=3e-3)

    def test_partial_fits_grow_the_model(self, plays, model):
        model.partial_fit_users([33, 2], plays[[1, 1]])
        assert model.user_factors.shape == (34, 6)
        np.testing.assert_array_equal(model.user_factors[33], model.user_factors[2])
        assert (model.user_factors[30:33] == 0).all()
        model.partial_fit_items([25], sp.csr_matrix((1, 34)))
        assert model.item_factors.shape == (26, 6)
        wider = sp.csr_matrix((plays.data, plays.indices, plays.indptr), shape=(30, 26))
        assert len(model.recommend(33, wider[1])[0]) == 10

    def test_factors_may_be_assigned(self, plays, model):
        other = AlternatingLeastSquares(6, random_state=0)
        other.user_factors, other.item_factors = model.user_factors, model.item_factors
        np.testing.assert_array_equal(other.recommend(1, plays[1])[0], model.recommend(1, plays[1])[0])
        other.user_factors = None
        assert other.user_factors is None
        np.testing.assert_array_equal(other.item_factors, model.item_factors)


class TestFiles:
    def test_paths_and_file_objects(self, model, plays, tmp_path):
        model.save(str(tmp_path / "model"))
        assert [path.name for path in tmp_path.iterdir()] == ["model.npz"]
        stream = io.BytesIO()
        model.save(stream)
        stream.seek(0)
        for source in (str(tmp_path / "model"), tmp_path / "model.npz", stream):
            got = AlternatingLeastSquares.load(source)
            assert got.alpha == 2.0
            assert got.random_state == 1
            np.testing.assert_array_equal(got.recommend(0, plays[0])[0], model.recommend(0, plays[0])[0])

    def test_what_pickle_alone_could_restore_is_left_out(self, model, tmp_path):
        path = tmp_path / "model.npz"
        np.savez(path, user_factors=model.user_factors, item_factors=model.item_factors, factors=6, random_state=None)
        assert AlternatingLeastSquares.load(path).random_state is None

    def test_pickles(self, model):
        got = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(got.user_factors, model.user_factors)


def test_attributes(model):
    np.testing.assert_allclose(model.YtY, model.item_factors.T @ model.item_factors)
    np.testing.assert_allclose(model.XtX, model.user_factors.T @ model.user_factors)
    np.testing.assert_allclose(model.user_norms[0], np.linalg.norm(model.user_factors[0]), rtol=1e-6)
    assert model.item_norms[4] == np.float32(1e-10)
    assert AlternatingLeastSquares().user_factors is None
