"""Rows solved against a fitted model: recalculated, explained, and put into it, against half-sweeps and formulas."""

import warnings

import naive
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import assume, given
from problems import problems

from fastals import ImplicitALS
from fastals.tables.interactions import Interactions

PLAIN = {"objective": "hu", "alpha": 2.0, "regularization": 0.5, "regularization_exponent": 0.0}


@pytest.fixture
def model(ratings) -> ImplicitALS:
    return ImplicitALS(5, **PLAIN, iterations=2, random_state=0).fit(ratings)


def snapshot(model: ImplicitALS) -> dict:
    return {name: value for name, value in vars(model).items() if name != "_cache"}


def assert_untouched(model: ImplicitALS, before: dict) -> None:
    after = snapshot(model)
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)


class TestRecalculation:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("solver", ["cg", "cholesky"])
    @pytest.mark.parametrize("factors", [3, 24])
    @pytest.mark.parametrize(
        "parameters",
        [
            PLAIN,
            {**PLAIN, "objective": "rendle", "regularization_exponent": 1.0, "unobserved_weight": 0.1},
            {**PLAIN, "confidence": "log", "regularization": (0.5, 3.0), "regularization_exponent": 0.5},
            {**PLAIN, "alpha": "auto"},
        ],
        ids=["hu", "rendle", "log", "auto"],
    )
    @pytest.mark.parametrize("values", ["ratings", "likes and dislikes", "ones"])
    def test_equals_a_half_sweep_bit_for_bit(self, ratings, dtype, solver, factors, parameters, values):
        data = {"ratings": ratings.data, "likes and dislikes": ratings.data - 2.5, "ones": ratings.data**0}[values]
        R = sp.csr_array((data, ratings.indices, ratings.indptr), ratings.shape)
        settings = {**parameters, "dtype": dtype, "solver": solver, "random_state": 0, "acceleration": False}
        model = ImplicitALS(factors, **settings, iterations=2).fit(R)
        next_items = ImplicitALS(factors, **settings, iterations=1).fit(R, user_factors=model.user_factors).item_factors
        users, items = np.arange(30), np.arange(22)

        for given_rows in (None, R, sp.csc_array(R)):
            np.testing.assert_array_equal(model.recalculate_user(users, given_rows), model.user_factors)
        for given_rows in (None, R.T, sp.csr_array(R.T)):
            np.testing.assert_array_equal(model.recalculate_item(items, given_rows), next_items)
        few = np.array([17, 3, 29, 0, 17])
        np.testing.assert_array_equal(model.recalculate_user(few, R[few]), model.user_factors[few])
        for user in (0, 3, 11):
            np.testing.assert_array_equal(model.recalculate_user(user, R[[user]]), model.user_factors[user])
            np.testing.assert_array_equal(model.recalculate_item(user), next_items[user])

    @given(problems())
    def test_equals_the_dense_solution(self, problem):
        assume(problem.preference is None)
        P, Q = problem.start()
        model = problem.model(iterations=0, solver="cholesky").fit(**problem.data, user_factors=P, item_factors=Q)
        users, items = problem.regularizations

        got = model.recalculate_user(np.arange(P.shape[0]), problem.matrix)
        assert naive.energy_errors(problem.terms, got, Q, users).max() < 1e-7
        got = model.recalculate_item(np.arange(Q.shape[0]), problem.matrix.T)
        assert naive.energy_errors(naive.transpose(problem.terms), got, P, items).max() < 1e-7

    def test_user_from_outside_is_that_of_the_row_alone(self, model, ratings):
        got = model.recalculate_user([500, 2_000_000_000], ratings[[7, 8]])
        np.testing.assert_array_equal(got, model.user_factors[[7, 8]])
        ids, scores = model.recommend(500, ratings[[7]], recalculate_user=True)
        np.testing.assert_array_equal(ids, model.recommend(7)[0])
        np.testing.assert_array_equal(scores, model.recommend(7)[1])

    def test_item_from_outside(self, model, ratings):
        row = sp.csr_array(ratings.T)[[5]]
        Q, anew = model.item_factors, model.recalculate_item(99, row)
        ids, scores = model.similar_items(99, N=4, recalculate_item=True, item_users=row)
        cosines = Q @ anew / np.maximum(np.linalg.norm(Q, axis=1) * np.linalg.norm(anew), 1e-30)
        np.testing.assert_array_equal(ids, np.argsort(-cosines, kind="stable")[:4])
        np.testing.assert_allclose(scores, cosines[ids], rtol=1e-5)

    def test_no_interactions_give_zero(self, model):
        np.testing.assert_array_equal(model.recalculate_user([3, 40], sp.csr_array((2, 22))), np.zeros((2, 5)))
        np.testing.assert_array_equal(model.recalculate_user(3), np.zeros(5))
        np.testing.assert_array_equal(model.recalculate_item(4), np.zeros(5))

    def test_model_is_left_alone(self, model, ratings):
        before = snapshot(model)
        model.recalculate_user([0, 1], ratings[[5, 6]])
        model.recalculate_item([0, 1])
        model.explain(0, itemid=3)
        assert_untouched(model, before)

    def test_follows_assigned_factors(self, model, ratings):
        model.recalculate_user(0)
        model.recommend(0), model.similar_items(0), model.explain(0, itemid=0)
        Q = np.random.default_rng(5).normal(size=(22, 5)).astype(np.float32)
        model.item_factors = Q
        fresh = ImplicitALS(5, **PLAIN, iterations=0).fit(ratings, user_factors=model.user_factors, item_factors=Q)
        np.testing.assert_array_equal(model.recalculate_user(0), fresh.recalculate_user(0))
        np.testing.assert_array_equal(model.recommend(0)[0], fresh.recommend(0)[0])
        np.testing.assert_array_equal(model.similar_items(0)[1], fresh.similar_items(0)[1])
        assert model.explain(0, itemid=0)[0] == fresh.explain(0, itemid=0)[0]

    def test_follows_changed_parameters(self, model, ratings):
        model.recalculate_user(0)
        model.set_params(unobserved_weight=0.3, regularization=2.0)
        fresh = ImplicitALS(5, **{**PLAIN, "regularization": 2.0}, unobserved_weight=0.3, iterations=0)
        fresh.fit(ratings, user_factors=model.user_factors, item_factors=model.item_factors)
        np.testing.assert_array_equal(model.recalculate_user(0), fresh.recalculate_user(0))


class TestExplanation:
    @given(problems())
    def test_contributions_are_those_of_the_dense_formula(self, problem):
        assume(problem.preference is None)
        P, Q = problem.start()
        model = problem.model(iterations=0).fit(**problem.data, user_factors=P, item_factors=Q)
        item = problem.seed % Q.shape[0]
        for user in range(P.shape[0]):
            A, b = naive.normal_equations(problem.terms, Q, problem.regularizations[0], user)
            if np.linalg.cond(A) > 1e6:
                continue
            solved = np.linalg.solve(A, Q[item])
            expected = {
                i: sum(W[user, i] * T[user, i] for W, T in problem.terms) * (Q[i] @ solved)
                for i in np.flatnonzero(problem.R[user])
            }

            total, contributions, _ = model.explain(user, itemid=item, N=100)

            scale = np.abs(list(expected.values())).sum() if expected else 0
            assert total == pytest.approx(Q[item] @ np.linalg.solve(A, b), abs=1e-7 * scale)
            assert total == pytest.approx(sum(part for _, part in contributions), abs=1e-12 * scale)
            assert {i for i, _ in contributions} == expected.keys()
            for i, part in contributions:
                assert part == pytest.approx(expected[i], abs=1e-7 * scale)
            parts = [part for _, part in contributions]
            assert parts == sorted(parts, reverse=True)

    def test_total_is_the_score(self, ratings):
        model = ImplicitALS(4, **PLAIN, iterations=3, dtype="float64", solver="cholesky", random_state=0).fit(ratings)
        for user in range(30):
            assert model.explain(user, itemid=7)[0] == pytest.approx(model.predict(user, 7), abs=1e-12)

    def test_the_largest_come_first_and_the_total_counts_all(self, model, ratings):
        total, all_parts, _ = model.explain(0, itemid=7, N=22)
        assert len(all_parts) == ratings[[0]].nnz > 2
        assert model.explain(0, itemid=7, N=2)[:2] == (total, all_parts[:2])

    def test_weights_serve_for_other_items_of_the_user(self, model, ratings):
        _, _, weights = model.explain(0, itemid=7)
        assert model.explain(0, ratings, 9, user_weights=weights)[:2] == model.explain(0, itemid=9)[:2]

    def test_user_without_items_and_from_outside(self, model, ratings):
        assert model.explain(3, itemid=0)[:2] == (0.0, [])
        assert model.explain(500, ratings[[7]], 2)[:2] == model.explain(7, itemid=2)[:2]

    def test_dislikes_contribute_nothing(self):
        R = sp.csr_array([[1.0, -2.0, 0.0], [0.0, 1.0, 1.0]])
        model = ImplicitALS(2, **PLAIN, random_state=0).fit(R)
        assert dict(model.explain(0, itemid=2)[1])[1] == 0

    def test_undetermined_user(self):
        model = ImplicitALS(3, **{**PLAIN, "regularization": 0.0}, unobserved_weight=0.0, iterations=0)
        model.fit(sp.csr_array([[1.0, 0]]), user_factors=[[1, 0, 0]], item_factors=[[1, 0, 0], [0, 1, 0]])
        with pytest.raises(np.linalg.LinAlgError):
            model.explain(0, itemid=1)


class TestPartialFit:
    @pytest.mark.parametrize("ids", [[4, 0], [30, 31], [33, 2, 31]], ids=["known", "next", "gaps"])
    def test_users(self, model, ratings, ids):
        rows, before, items = ratings[[7, 8, 9][: len(ids)]], model.user_factors, model.item_factors
        solved, interactions = model.recalculate_user(ids, rows), ratings.toarray()

        assert model.partial_fit_users(ids, rows) is None

        size = max(30, *(i + 1 for i in ids))
        expected = np.zeros((size, 5), np.float32)
        expected[:30], expected[ids] = before, solved
        matrix = np.zeros((size, 22))
        matrix[:30], matrix[ids] = interactions, rows.toarray()
        np.testing.assert_array_equal(model.user_factors, expected)
        np.testing.assert_array_equal(model.user_items_.toarray(), matrix)
        assert model.item_factors is items
        self.assert_like_new(model, sp.csr_array(matrix))

    @pytest.mark.parametrize("ids", [[4, 0], [22, 23], [25, 2, 23]], ids=["known", "next", "gaps"])
    def test_items(self, model, ratings, ids):
        rows, before, users = sp.csr_array(ratings.T)[[7, 8, 9][: len(ids)]], model.item_factors, model.user_factors
        solved, interactions = model.recalculate_item(ids, rows), ratings.toarray()

        assert model.partial_fit_items(ids, rows) is None

        size = max(22, *(i + 1 for i in ids))
        expected = np.zeros((size, 5), np.float32)
        expected[:22], expected[ids] = before, solved
        matrix = np.zeros((30, size))
        matrix[:, :22], matrix[:, ids] = interactions, rows.toarray().T
        np.testing.assert_array_equal(model.item_factors, expected)
        np.testing.assert_array_equal(model.user_items_.toarray(), matrix)
        assert model.user_factors is users
        self.assert_like_new(model, sp.csr_array(matrix))

    @staticmethod
    def assert_like_new(model: ImplicitALS, matrix: sp.csr_array) -> None:
        """Everything the model answers is what one answers that never knew anything else."""
        fresh = ImplicitALS(5, **PLAIN, iterations=0)
        fresh.fit(matrix, user_factors=model.user_factors, item_factors=model.item_factors)
        users, items = np.arange(matrix.shape[0]), np.arange(matrix.shape[1])
        for method, ids in (("recommend", users), ("similar_users", users), ("similar_items", items)):
            for got, expected in zip(getattr(model, method)(ids), getattr(fresh, method)(ids), strict=True):
                np.testing.assert_array_equal(got, expected, err_msg=method)
        np.testing.assert_array_equal(model.recalculate_user(users), fresh.recalculate_user(users))
        np.testing.assert_array_equal(model.recalculate_item(items), fresh.recalculate_item(items))
        assert model.explain(0, itemid=1)[:2] == fresh.explain(0, itemid=1)[:2]

    def test_norms_are_never_stale(self, model, ratings):
        """Asked before and after, so that whatever is kept has been made from the old factors."""
        for grown in (False, True):
            for ids in (np.arange(30), [4, 4]):
                model.recommend(ids), model.similar_users(ids), model.similar_items([0, 1])
            new_user, new_item = (model.user_factors.shape[0], model.item_factors.shape[0]) if grown else (4, 3)
            row = sp.csr_array(np.ones((1, model.item_factors.shape[0])) * 5)
            model.partial_fit_users([new_user], row)
            model.partial_fit_items([new_item], sp.csr_array(np.ones((1, model.user_factors.shape[0]))))
            self.assert_like_new(model, model.user_items_)

    def test_users_in_a_gap_have_nothing(self, model, ratings):
        model.partial_fit_users([32], ratings[[7]])
        assert model.user_factors.shape == (33, 5)
        np.testing.assert_array_equal(model.user_factors[30:32], np.zeros((2, 5)))
        ids, scores = model.recommend(31, N=3)
        assert (ids.tolist(), scores.tolist()) == ([0, 1, 2], [0, 0, 0])
        np.testing.assert_array_equal(model.recommend(32)[0], model.recommend(7)[0])

    def test_then_everything_else_works(self, model, ratings, tmp_path):
        model.partial_fit_users([31], ratings[[7]])
        model.partial_fit_items([23], sp.csr_array(np.ones((1, 32))))
        model.save(tmp_path / "model")
        loaded = ImplicitALS.load(tmp_path / "model")
        np.testing.assert_array_equal(loaded.recommend(np.arange(32))[1], model.recommend(np.arange(32))[1])
        assert model.loss(model.user_items_) == pytest.approx(loaded.loss(loaded.user_items_))
        model.set_params(warm_start=True).fit(model.user_items_)
        assert model.user_factors.shape == (32, 5)

    def test_factors_held_from_before_do_not_change(self, model, ratings):
        held = model.user_factors
        copy = held.copy()
        model.partial_fit_users([0], ratings[[7]])
        np.testing.assert_array_equal(held, copy)
        assert not model.user_factors.flags.writeable

    def test_nothing_to_do(self, model):
        before = snapshot(model)
        model.partial_fit_users([], sp.csr_array((0, 22)))
        assert_untouched(model, before)

    @pytest.mark.parametrize(
        ("ids", "rows", "error", "message"),
        [
            ([0, 0], sp.csr_array(np.ones((2, 22))), ValueError, "userids must be distinct"),
            ([-1], sp.csr_array(np.ones((1, 22))), ValueError, "userids must lie in 0"),
            ([2**31], sp.csr_array(np.ones((1, 22))), ValueError, "userids must lie in 0"),
            ([0.5], sp.csr_array(np.ones((1, 22))), TypeError, "userids must be an integer"),
            ([0, 1], sp.csr_array(np.ones((1, 22))), ValueError, "must have one row for each of the 2 ids"),
            ([0], sp.csr_array(np.ones((1, 30))), ValueError, r"user_items must have shape \(1, 22\); got \(1, 30\)"),
            ([0], np.ones((1, 22)), TypeError, "user_items must be a SciPy sparse"),
            ([0], sp.csr_array(np.full((1, 22), np.inf)), ValueError, "user_items must be finite"),
            ([0], sp.csr_array(np.full((1, 22), 1e25)), ValueError, "user_items"),
            ([40], None, TypeError, "user_items must be a sparse matrix, unless user_features are given; got None"),
        ],
    )
    def test_failure_leaves_the_model_as_it_was(self, model, ids, rows, error, message):
        before = snapshot(model)
        with pytest.raises(error, match=message):
            model.partial_fit_users(ids, rows)
        assert_untouched(model, before)

    def test_error_in_the_solver_leaves_the_model_as_it_was(self, model, ratings, monkeypatch):
        def fail(*arguments, **options):
            raise FloatingPointError

        monkeypatch.setattr("fastals.serving.fold_in.solve_side", fail)
        before = snapshot(model)
        with pytest.raises(FloatingPointError):
            model.partial_fit_items([40], sp.csr_array(np.ones((1, 30))))
        assert_untouched(model, before)


class TestInteractions:
    @pytest.fixture
    def with_ids(self, ratings, tmp_path) -> ImplicitALS:
        stored = ratings.tocoo()
        table = Interactions.from_arrays(stored.row, stored.col, stored.data)
        model = ImplicitALS(5, **PLAIN, iterations=1, random_state=0).fit(table.user_items)
        model.save(tmp_path / "model", interactions=table)
        return ImplicitALS.load(tmp_path / "model")

    def test_are_kept_where_no_id_is_new(self, with_ids):
        table = with_ids.interactions
        with_ids.partial_fit_users([0], sp.csr_array(np.ones((1, 21))))
        assert with_ids.interactions is table

    def test_are_dropped_with_a_warning_where_the_model_grows(self, with_ids):
        with pytest.warns(UserWarning, match="grown beyond its id maps"):
            with_ids.partial_fit_users([29], sp.csr_array(np.ones((1, 21))))
        assert not hasattr(with_ids, "interactions")

    def test_warning_as_an_error_leaves_the_model_as_it_was(self, with_ids):
        before = snapshot(with_ids)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(UserWarning):
                with_ids.partial_fit_users([29], sp.csr_array(np.ones((1, 21))))
        assert_untouched(with_ids, before)


def test_mapped_factors_serve_alike(model, ratings, tmp_path):
    model.save(tmp_path / "model")
    mapped = ImplicitALS.load(tmp_path / "model", mmap=True)
    assert isinstance(mapped.item_factors, np.memmap)
    users = np.arange(30)
    for method in ("recommend", "similar_users"):
        np.testing.assert_array_equal(getattr(mapped, method)(users)[1], getattr(model, method)(users)[1])
    np.testing.assert_array_equal(mapped.similar_items(3)[0], model.similar_items(3)[0])
    np.testing.assert_array_equal(mapped.recalculate_user(users), model.user_factors)
    np.testing.assert_array_equal(mapped.recalculate_item(5), model.recalculate_item(5))
    assert mapped.explain(0, itemid=2)[:2] == model.explain(0, itemid=2)[:2]
    mapped.partial_fit_users([31], ratings[[7]])
    np.testing.assert_array_equal(mapped.user_factors[31], model.user_factors[7])


class TestOneStateForAll:
    def test_fold_in_does_not_depend_on_the_other_rows_of_the_call(self):
        """Tiny lambda with an exponent: whether directions of rounding errors are cut is up to the model alone."""
        R = sp.random(60, 30, 0.15, "csr", random_state=1)
        R.data[:] = 1
        model = ImplicitALS(
            40, regularization=1e-9, regularization_exponent=1.0, unobserved_weight=0.01, alpha=1.0, iterations=3,
            random_state=1,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # rows that the data do not determine
            model.fit(R)

        together = model.recalculate_user(np.arange(60))

        np.testing.assert_array_equal(together, model.user_factors)
        for user in range(60):
            np.testing.assert_array_equal(model.recalculate_user(user), together[user])

    @pytest.mark.parametrize("solver", ["cg", "cholesky"])
    @pytest.mark.parametrize("light", [{"alpha": 0.01}, {"alpha": 0.01, "confidence": "raw"}, {"alpha": 1.0}])
    def test_alone_or_not_where_missing_pairs_weigh_1_by_chance(self, ratings, solver, light):
        """Alone, a row's weight of 1 stands for all rows': c - c0 v w must not lose other digits there."""
        v = np.linspace(0.5, 1.5, 30)
        v[::2] = 1
        model = ImplicitALS(8, solver=solver, dtype="float64", iterations=2, random_state=0, **light)
        model.fit(ratings * 0.123456789, unobserved_weights=(v, None))

        every = model.recalculate_user(np.arange(30))

        np.testing.assert_array_equal(every, model.user_factors)
        np.testing.assert_array_equal([model.recalculate_user(user) for user in range(30)], every)

    def test_rows_as_wide_as_the_fitted_matrix_serve_after_the_model_has_grown(self, model, ratings):
        columns = sp.csr_array(ratings.T)
        expected = model.recalculate_item(4)
        model.partial_fit_users([30, 31], ratings[[1, 2]])

        np.testing.assert_allclose(model.recalculate_item(4, columns[[4]]), expected, rtol=0.5)
        model.partial_fit_items([4, 22], columns[[4, 5]])

        assert model.item_factors.shape == (23, 5)
        assert model.user_items_.shape == (32, 23)
        np.testing.assert_array_equal(model.user_items_[:30, [4]].toarray(), ratings[:, [4]].toarray())
        with pytest.raises(ValueError, match=r"item_users must have shape \(1, 32\); got \(1, 29\)"):
            model.recalculate_item(4, columns[[4]][:, :29])

    @pytest.mark.parametrize("far", [30 + 1025, 10**6, 2**31 - 2])
    def test_ids_far_outside_are_refused(self, model, ratings, far):
        before = snapshot(model)
        with pytest.raises(ValueError, match="userids must not lie far outside of the model's 30 users"):
            model.partial_fit_users([far], ratings[[0]])
        assert_untouched(model, before)
        model.partial_fit_users([30 + 1024], ratings[[0]])
        assert model.user_factors.shape == (1055, 5)
