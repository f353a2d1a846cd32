"""Updates: the history against dense sums, the rows against normal equations, whole refreshes against fits."""

import copy

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from models import small

from fastals import ImplicitALS
from fastals.core.rows import Rows
from fastals.core.validation import check_rows
from fastals.datasets import make_interactions
from fastals.kernels.rows.cg_rows import cg_task
from fastals.kernels.rows.direct_rows import direct_task
from fastals.serving.update import merged_rows
from fastals.tables.interactions import Interactions

EXACT = {"solver": "cholesky", "dtype": "float64", "alpha": 3.0, "regularization": 0.1}


def rows_of(dense) -> Rows:
    return check_rows(sp.csr_array(dense), "user_items")[0]


def dense(model) -> np.ndarray:
    return model.user_items_.toarray()


@pytest.fixture
def new(ratings) -> sp.csr_array:
    """Values for known and unknown pairs of known rows, and three users and two items more."""
    grown = np.zeros((ratings.shape[0] + 3, ratings.shape[1] + 2))
    random = np.random.default_rng(5)
    for user, item in ((0, 0), (0, 5), (7, 2), (len(grown) - 1, 3), (len(grown) - 3, ratings.shape[1]), (2, 1)):
        grown[user, item] = random.integers(1, 5)
    stored = np.argwhere(ratings.toarray())[::40]
    grown[tuple(stored.T)] = 2.0
    return sp.csr_array(grown)


def grown_to(shape, matrix) -> np.ndarray:
    expected = np.zeros(shape)
    expected[: matrix.shape[0], : matrix.shape[1]] = matrix.toarray()
    return expected


@given(st.integers(0, 999), st.booleans())
def test_merging_rows(seed, replace_old):
    random = np.random.default_rng(seed)
    old, new = (random.integers(-2, 3, (4, 5)) * (random.random((4, 5)) < 0.5) * 1.0 for _ in range(2))
    expected = np.where(new != 0, new, old) if replace_old else old + new

    got = merged_rows(rows_of(old), rows_of(new), replace_old)

    np.testing.assert_array_equal(got.as_csr(np.dtype(float)).toarray(), expected)
    assert (np.broadcast_to(got.data, got.indices.shape) != 0).all()


class TestHistory:
    def test_sums(self, ratings, new):
        model = small(**EXACT).fit(ratings)
        assert model.update(new) is model
        np.testing.assert_array_equal(dense(model), grown_to(new.shape, ratings) + new.toarray())
        assert model.user_factors.shape == (new.shape[0], 4)
        assert model.item_factors.shape == (new.shape[1], 4)

    def test_replaces(self, ratings, new):
        model = small(**EXACT).fit(ratings).update(new, rule="replace")
        expected = np.where(new.toarray() != 0, new.toarray(), grown_to(new.shape, ratings))
        np.testing.assert_array_equal(dense(model), expected)

    def test_decays(self, ratings, new):
        model = small(**EXACT).fit(ratings).update(new, rule="decay", half_life=7, elapsed=14)
        np.testing.assert_allclose(dense(model), grown_to(new.shape, ratings) / 4 + new.toarray())

    def test_what_has_faded_away_is_no_observation(self, ratings):
        model = small(**EXACT).fit(ratings)
        model.update(sp.csr_array(([3.0], ([1], [2])), shape=(2, 3)), rule="decay", half_life=1, elapsed=5000)
        assert model.user_items_.nnz == 1
        assert dense(model)[1, 2] == 3

    def test_smaller_matrices_are_of_the_first_users_and_items(self, ratings):
        model = small(**EXACT).fit(ratings).update(sp.csr_array([[0, 3.0]]))
        expected = ratings.toarray()
        expected[0, 1] += 3
        np.testing.assert_array_equal(dense(model), expected)

    def test_many_updates_are_one(self, ratings):
        model, random = small(**EXACT).fit(ratings), np.random.default_rng(0)
        expected = ratings.toarray()
        for _ in range(6):
            part = sp.random(*ratings.shape, 0.01, "csr", random_state=random)
            model.update(part)
            expected = expected + part.toarray()
        np.testing.assert_allclose(dense(model), expected)
        np.testing.assert_allclose(model._state.history.oriented(1).as_csr(np.dtype(float)).toarray(), expected.T)


@pytest.mark.parametrize(("solver", "task"), [("cg", cg_task), ("cholesky", direct_task)])
def test_rows_are_solved_by_the_code_that_the_fit_has_compiled(ratings, new, solver, task):
    """To compiled code a read-only array is of another type: a first update took ten seconds more for one."""
    model = small(solver=solver).fit(ratings)
    compiled = len(task.signatures)

    model.update(new)

    assert len(task.signatures) == compiled


def solved(model, rows, fixed) -> np.ndarray:
    """Rows by dense normal equations of c = 1 + alpha |r|, in float64."""
    weights = 1 + model.alpha_ * np.abs(rows)
    frequency = np.count_nonzero(rows, axis=1) + len(fixed)
    ridge = model.regularization * frequency**model.regularization_exponent
    return np.array(
        [
            np.linalg.solve(fixed.T @ (c[:, None] * fixed) + ridge[row] * np.eye(4), fixed.T @ (c * (rows[row] > 0)))
            for row, c in enumerate(weights)
        ]
    )


def test_rows_touched_solve_their_normal_equations_and_no_other_row_changes(ratings, new):
    model = small(**EXACT).fit(ratings)
    before = copy.copy(model)
    model.update(new)
    rows, P, Q = dense(model), model.user_factors, model.item_factors
    users = np.flatnonzero(new.toarray().any(axis=1))
    items = np.flatnonzero(new.toarray().any(axis=0))
    kept = np.setdiff1d(np.arange(ratings.shape[0]), users), np.setdiff1d(np.arange(ratings.shape[1]), items)

    np.testing.assert_allclose(P[users], solved(model, rows[users], Q), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(P[kept[0]], before.user_factors[kept[0]])
    np.testing.assert_array_equal(Q[kept[1]], before.item_factors[kept[1]])
    # The items were solved against the users' factors of before, but for new users, who had none.
    unknown = users[users >= ratings.shape[0]]
    earlier = np.zeros_like(P)
    earlier[: ratings.shape[0]] = before.user_factors
    old_items = np.zeros_like(Q)
    old_items[: ratings.shape[1]] = before.item_factors
    earlier[unknown] = solved(model, rows[unknown], old_items)
    np.testing.assert_allclose(Q[items], solved(model, rows.T[items], earlier), rtol=1e-9, atol=1e-12)


def test_the_running_gramian_stays_that_of_the_factors(ratings):
    model, random = small(**EXACT).fit(ratings), np.random.default_rng(1)
    for _ in range(5):
        model.update(sp.random(ratings.shape[0] + 1, ratings.shape[1], 0.02, "csr", random_state=random))
    for factors in (model._state.user_factors, model._state.item_factors):
        got = factors.derived.get("running gramian", lambda: None)
        np.testing.assert_allclose(got, factors.array.T @ factors.array, rtol=1e-10, atol=1e-12)


def test_sweeps_are_those_of_a_fit_that_starts_there(ratings, new):
    model, alone = small(**EXACT).fit(ratings).update(new), ratings.shape[0]  # a new user of a new item alone
    start = model.user_factors.copy()
    assert not start[alone].any()
    start[alone] = np.random.default_rng(0).standard_normal(4) * 0.1 / np.sqrt(4)  # as a fit begins
    expected = small(**EXACT).fit(model.user_items_, user_factors=start, item_factors=model.item_factors)
    refreshed = small(**EXACT).fit(ratings).update(new, sweeps=3)
    np.testing.assert_allclose(refreshed.user_factors, expected.user_factors, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(refreshed.loss_history[-3:], expected.loss_history, rtol=1e-12)
    assert len(refreshed.loss_history) == 6


@pytest.mark.parametrize("known_item", [0.0, -1.0])
@pytest.mark.parametrize("afterwards", [False, True])
def test_new_users_who_like_new_items_alone_are_learned_by_sweeps(ratings, afterwards, known_item):
    """Against zeros they would stay zeros, in an update, in a later one and in a warm start."""
    random, (n, m) = np.random.default_rng(3), ratings.shape
    block = np.zeros((n + 9, m + 5))
    block[n:, m:] = random.random((9, 5)) < 0.7
    block[n:, 0] = known_item
    parameters = {**EXACT, "confidence": "linear", "unobserved_exponent": 0, "factors": 6}
    model = small(**parameters, warm_start=True, iterations=20).fit(ratings)

    if afterwards:
        model.update(sp.csr_array(block))
        assert not model.user_factors[n:].any()
        model.fit(model.user_items_)
    else:
        model.update(sp.csr_array(block), sweeps=20)

    refit = small(**parameters, iterations=40).fit(model.user_items_)
    got, expected = (one.user_factors @ one.item_factors.T for one in (model, refit))
    assert model.loss_history[-1] <= 1.02 * refit.loss_history[-1]
    assert np.abs(got - expected)[n:, m:].max() < 0.2 < expected[n:, m:].max()


def test_the_loss_falls_towards_that_of_a_refit():
    plays = make_interactions(n_users=500, n_items=200, random_state=0)[0]
    parameters = {"factors": 16, "alpha": 5.0, "iterations": 12, "random_state": 0}
    random = np.random.default_rng(0)
    matrix = plays.tocoo()
    held = random.random(matrix.nnz) < 0.05
    old, new = (
        sp.csr_array((matrix.data[part], (matrix.row[part], matrix.col[part])), shape=plays.shape)
        for part in (~held, held)
    )
    refit = ImplicitALS(**parameters).fit(plays).loss(plays)
    losses = [ImplicitALS(**parameters).fit(old).loss(plays)]
    losses += [ImplicitALS(**parameters).fit(old).update(new, sweeps=sweeps).loss(plays) for sweeps in (0, 1, 4)]
    excess = np.array(losses) / refit - 1
    assert (np.diff(excess) < 0).all()
    assert excess[-1] < 0.01


class TestTables:
    @pytest.fixture
    def table(self):
        return Interactions.from_arrays(list("aabbcd"), list("xyyzzx"), [1, 2, 3, 4, 5, 6])

    @pytest.fixture
    def model(self, table, tmp_path):
        model = small(factors=2).fit(table.user_items)
        model.save(tmp_path / "model", interactions=table)
        return ImplicitALS.load(tmp_path / "model")

    def test_unknown_ids_are_appended_and_kept(self, model, tmp_path):
        model.update(Interactions.from_arrays(["e", "a", "b"], ["x", "w", "x"], [7, 8, 9]))
        known = model.interactions
        assert known.user_ids.tolist() == list("abcde")
        assert known.item_ids.tolist() == list("xyzw")
        rows = dense(model)
        assert (rows[4, 0], rows[0, 3], rows[1, 0], rows[0, 0]) == (7, 8, 9, 1)
        np.testing.assert_array_equal(known.user_items.toarray(), rows)
        model.save(tmp_path / "again")
        assert ImplicitALS.load(tmp_path / "again").interactions.item_ids.tolist() == list("xyzw")
        model.recommend(known.user_index("e"))

    def test_ids_may_be_given(self, table):
        model = small(factors=2).fit(table.user_items)
        new = Interactions.from_arrays(["a"], ["z"], [4])
        with pytest.raises(ValueError, match="user_items must be a matrix for a model that has no ids"):
            model.update(new)
        assert model.update(new, interactions=table).interactions.user_ids.tolist() == list("abcd")
        assert dense(model)[0, 2] == 4

    def test_a_matrix_keeps_the_ids_it_does_not_outgrow(self, model):
        model.update(sp.csr_array([[0, 3.0]]))
        assert model.interactions.user_items[0, 1] == 5
        model.update(sp.csr_array((5, 3)))
        with pytest.raises(AttributeError):
            _ = model.interactions

    def test_integers_for_text_are_refused(self, model):
        with pytest.raises(TypeError, match="user_items must have user ids that are text"):
            model.update(Interactions.from_arrays([1], ["x"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "mean"}, "rule must be one of"),
        ({"sweeps": -1}, "sweeps must be >= 0"),
        ({"rule": "decay"}, "half_life must be"),
        ({"rule": "decay", "half_life": 0, "elapsed": 1}, "half_life must be"),
        ({"half_life": 1.0}, "half_life goes with rule='decay'"),
        ({"interactions": 3}, "interactions goes with a table"),
    ],
)
def test_refused(ratings, arguments, message):
    model = small(**EXACT).fit(ratings)
    state = model._state
    with pytest.raises((ValueError, TypeError), match=message):
        model.update(ratings, **arguments)
    assert model._state is state


def test_a_transposed_matrix_is_refused(ratings):
    """It would make the model grow on both sides; a square one cannot be told."""
    model = small(**EXACT).fit(ratings)
    state = model._state
    with pytest.raises(ValueError, match=r"user_items must have users in rows; got shape \(.*it looks transposed"):
        model.update(sp.csr_array(ratings.T))
    assert model._state is state
    square = ratings[:20, :20]
    assert small(**EXACT).fit(square).update(sp.csr_array(square.T)).user_factors.shape[0] == 20


@pytest.mark.parametrize("acceleration", ["auto", False])
@pytest.mark.parametrize("solver", ["cg", "cholesky"])
def test_sweeps_over_no_pairs_at_all(ratings, solver, acceleration):
    """Everything is zero then, and so is the loss; later updates find it as they find any other model."""
    model = small(alpha=1.0, solver=solver, acceleration=acceleration).fit(ratings)

    model.update(-ratings, sweeps=2)

    assert model.loss_history[-1] == model.loss(sp.csr_array(ratings.shape)) == 0
    assert not model.user_factors.any()
    assert not model.item_factors.any()
    assert model.update(ratings, sweeps=10).loss_history[-1] == pytest.approx(
        small(alpha=1.0, iterations=40).fit(ratings).loss_history[-1], rel=0.05
    )


def test_nothing_new_changes_nothing(ratings):
    model = small(**EXACT).fit(ratings)
    before = copy.copy(model)
    model.update(sp.csr_array(ratings.shape))
    np.testing.assert_array_equal(model.user_factors, before.user_factors)
    np.testing.assert_array_equal(dense(model), ratings.toarray())
