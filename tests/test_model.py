"""The model's manners: the seed's results, parameters, starts, callbacks, and failures."""

import numpy as np
import pytest
import scipy.sparse as sp
from models import assert_same, small

from fastals import ImplicitALS
from fastals.core.parameters import NotFittedError

SEED_USERS = [
    [-0.02045395, 0.54534051, 0.9803006],
    [0.14683239, 0.79106706, 0.58534218],
    [0.39765444, -0.58765716, 0.53592615],
    [1.01651946, -0.46383274, 0.32479014],
    [0.89263978, 0.05379664, -0.17020861],
]
SEED_LAST_SCORES = [
    *(0.0, 0.05509913, 0.05033573, 0.94034237, 0.5895627),
    *(0.32389258, 0.0, -0.1207522, 0.51100916, -0.1067449),
]
SEED_LOSSES = [
    *(211.94569147839772, 169.06820382523924, 152.8085030072954, 143.32343774545967, 137.29155772090473),
    *(133.25237275557507, 130.44741071099253, 128.44872519455436, 126.99819381403191, 125.93138903469803),
]


def seed_fit(discarded: int, factors: int, solver: str) -> ImplicitALS:
    """The seed notebook's run: ratings, then P and Q from the same stream after some discarded draws."""
    random = np.random.RandomState(42)
    odds = np.array([10, 1, 1, 1, 1, 1])
    ratings = random.choice(np.arange(6), size=50, p=odds / odds.sum()).reshape(5, 10)
    random.rand(discarded)
    P, Q = random.rand(5, factors), random.rand(10, factors)
    model = ImplicitALS(
        factors,
        alpha=40,
        regularization=10,
        regularization_exponent=0.0,
        iterations=10,
        dtype="float64",
        solver=solver,
        tol=1e-13,
        max_cg_steps=200,
    )
    return model.fit(sp.csr_array(ratings), user_factors=P, item_factors=Q)


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
class TestSeed:
    def test_factors_and_predictions(self, solver):
        model = seed_fit(45, 3, solver)

        # The notebook prints eight decimals.
        np.testing.assert_allclose(model.user_factors, SEED_USERS, atol=6e-9)
        np.testing.assert_allclose(model.predict(4, np.arange(10)), SEED_LAST_SCORES, atol=6e-9)

    def test_loss_history(self, solver):
        np.testing.assert_allclose(seed_fit(90, 20, solver).loss_history, SEED_LOSSES, rtol=1e-12)


class TestParameters:
    def test_get_and_set(self):
        model = ImplicitALS(8, alpha=3.0)

        assert model.get_params()["factors"] == 8
        assert model.get_params()["alpha"] == 3.0
        assert model.set_params(alpha=5.0, solver="cholesky") is model
        assert (model.alpha, model.solver) == (5.0, "cholesky")
        assert ImplicitALS(**model.get_params()).get_params() == model.get_params()

    def test_unknown_name_sets_nothing(self):
        model = ImplicitALS()

        with pytest.raises(ValueError, match="'lambd' is not a parameter of ImplicitALS; valid parameters are factors"):
            model.set_params(alpha=5.0, lambd=3)

        assert model.alpha == ImplicitALS().alpha

    def test_init_stores_what_it_is_given(self):
        """Nothing is checked or converted before fit, as scikit-learn's clone demands."""
        seed, pair = np.random.default_rng(0), (1, 2)

        model = ImplicitALS("many", regularization=pair, random_state=seed)

        assert model.factors == "many"
        assert model.regularization is pair
        assert model.random_state is seed

    def test_repr_shows_what_differs_from_the_defaults(self):
        assert repr(ImplicitALS()) == "ImplicitALS()"
        assert repr(ImplicitALS(8, solver="cholesky")) == "ImplicitALS(factors=8, solver='cholesky')"
        model = ImplicitALS(8, regularization=(0.1, 0.2), dtype="float64")
        assert eval(repr(model)).get_params() == model.get_params()

    def test_copy_has_the_parameters_and_no_fit(self, ratings):
        fitted = small().fit(ratings)

        got = type(fitted)(**fitted.get_params(deep=False))

        assert got.get_params() == fitted.get_params()
        with pytest.raises(NotFittedError, match="this ImplicitALS is not fitted yet: call fit first"):
            got.user_factors  # noqa: B018

    def test_scikit_learn_clones_it(self, ratings):
        clone = pytest.importorskip("sklearn.base").clone
        model = small(regularization=(0.1, 0.2)).fit(ratings)

        got = clone(model)

        assert got.get_params() == model.get_params()
        assert not hasattr(got, "user_factors")


class TestFit:
    @pytest.mark.parametrize("value", [1.0, None])
    def test_changes_to_the_matrix_after_fit_do_not_reach_the_model(self, ratings, value):
        matrix = sp.csr_array(ratings, copy=True)
        if value is not None:
            matrix.data[:] = value
        model = small().fit(matrix)
        expected = model.user_items_.toarray()

        matrix.data[:] = 7
        matrix.indices[:] = 0

        np.testing.assert_array_equal(model.user_items_.toarray(), expected)

    def test_returns_self_and_shapes(self, ratings):
        model = small()

        assert model.fit(ratings) is model
        assert model.user_factors.shape == (30, 4)
        assert model.item_factors.shape == (22, 4)
        assert model.user_factors.dtype == model.item_factors.dtype == np.float32
        assert model.user_factors.flags.c_contiguous
        assert len(model.loss_history) == 3
        assert all(type(loss) is float for loss in model.loss_history)

    def test_training_matrix_is_kept_in_canonical_form(self, ratings):
        model = small().fit(ratings.tocoo())

        np.testing.assert_array_equal(model.user_items_.toarray(), ratings.toarray())

    @pytest.mark.parametrize("make", [lambda: 7, lambda: np.int64(7), lambda: np.random.default_rng(7)])
    def test_random_state_repeats(self, ratings, make):
        assert_same(small(random_state=make()).fit(ratings), small(random_state=7).fit(ratings))

    def test_random_state_of_the_legacy_kind(self, ratings):
        first, second = (small(random_state=np.random.RandomState(7)).fit(ratings) for _ in range(2))
        assert_same(first, second)

    def test_different_seeds_give_different_factors(self, ratings):
        first = small(random_state=1).fit(ratings)
        for other in (2, None):
            assert not np.array_equal(small(random_state=other).fit(ratings).user_factors, first.user_factors)

    def test_global_random_state_is_left_alone(self, ratings):
        np.random.seed(0)  # noqa: NPY002
        small(random_state=None).fit(ratings)
        got = np.random.rand()  # noqa: NPY002

        np.random.seed(0)  # noqa: NPY002
        assert got == np.random.rand()  # noqa: NPY002

    def test_again_starts_afresh(self, ratings):
        model = small()

        assert_same(model.fit(ratings).fit(ratings), small().fit(ratings))

    def test_warm_start_goes_on(self, ratings):
        model = small(warm_start=True, dtype="float64").fit(ratings)
        first = model.loss_history[-1]

        model.fit(ratings)

        expected = small(iterations=6, dtype="float64").fit(ratings)
        np.testing.assert_array_equal(model.user_factors, expected.user_factors)
        assert model.loss_history == expected.loss_history[3:]
        assert model.loss_history[0] < first

    @pytest.mark.parametrize("own_preference", [False, True])
    def test_warm_start_leaves_those_at_zero_who_like_nothing(self, ratings, own_preference):
        """Zero is their solution, not the lack of one: drawn anew, they would change the Gramian of all."""
        plays = sp.block_diag([ratings, [[2.0, 1.0]]], format="csr")
        arguments = {}
        if own_preference:
            arguments["preference"] = plays.sign()
            arguments["preference"].data[-2:] = 0
        else:
            plays.data[-2:] *= -1
        model = small(warm_start=True, dtype="float64").fit(plays, **arguments)
        assert not model.user_factors[-1].any()

        model.fit(plays, **arguments)

        expected = small(iterations=6, dtype="float64").fit(plays, **arguments)
        np.testing.assert_array_equal(model.user_factors, expected.user_factors)
        assert model.loss_history == expected.loss_history[3:]

    def test_warm_start_from_assigned_users_alone(self, ratings):
        """Factors may be assigned before any fit, one side of them at first."""
        P = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
        model = small(warm_start=True)
        model.user_factors = P

        model.fit(ratings)

        assert_same(model, small().fit(ratings, user_factors=P))

    def test_given_factors_are_the_start(self, ratings):
        whole = small(iterations=5, dtype="float64").fit(ratings)
        head = small(iterations=2, dtype="float64").fit(ratings)

        tail = small(iterations=3, dtype="float64", random_state=99).fit(ratings, user_factors=head.user_factors)

        np.testing.assert_array_equal(tail.user_factors, whole.user_factors)
        assert tail.loss_history == whole.loss_history[2:]

    def test_users_are_solved_from_given_item_factors(self, ratings):
        whole = small(iterations=5, dtype="float64").fit(ratings)
        head = small(iterations=2, dtype="float64").fit(ratings)

        tail = small(iterations=3, dtype="float64", random_state=99).fit(ratings, item_factors=head.item_factors)

        np.testing.assert_array_equal(tail.user_factors, whole.user_factors)

    def test_given_factors_are_left_alone(self, ratings):
        P, Q = np.ones((30, 4), np.float32), np.ones((22, 4), np.float32)

        model = small(iterations=1).fit(ratings, user_factors=P, item_factors=Q)
        assert (P == 1).all()
        assert (Q == 1).all()
        P[:] = 2
        assert not (model.user_factors == 2).any()

    def test_no_iterations_keep_the_start(self, ratings):
        P, Q = np.full((30, 4), 2.0), np.full((22, 4), 3.0)

        model = small(iterations=0).fit(ratings, user_factors=P, item_factors=Q)

        np.testing.assert_array_equal(model.user_factors, P)
        np.testing.assert_array_equal(model.item_factors, Q)
        assert model.loss_history == []

    @pytest.mark.parametrize("solver", ["cg", "cholesky"])
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_threads_make_no_difference(self, solver, dtype):
        """Bit for bit; enough rows that both threads have some."""
        R = sp.random(400, 300, 0.05, "csr", random_state=1)
        options = {"factors": 20, "iterations": 2, "solver": solver, "dtype": dtype, "random_state": 0}

        one, two, four = (ImplicitALS(num_threads=threads, **options).fit(R) for threads in (1, 2, 4))

        assert_same(two, one)
        assert_same(four, one)
        assert two.loss(R) == one.loss(R)

    @pytest.mark.parametrize("solver", ["cg", "cholesky"])
    def test_float32_follows_float64(self, ratings, solver):
        got = small(iterations=1, solver=solver, tol=1e-5).fit(ratings)

        start = np.random.default_rng(0).standard_normal((30, 4), np.float32) * np.float32(0.1 / 2)
        expected = small(iterations=1, solver=solver, tol=1e-9, dtype="float64").fit(ratings, user_factors=start)
        np.testing.assert_allclose(got.user_factors, expected.user_factors, atol=2e-4)


def test_predict(ratings):
    model = small(dtype="float64").fit(ratings)
    expected = model.user_factors @ model.item_factors.T

    assert model.predict(2, 7) == pytest.approx(expected[2, 7])
    assert np.ndim(model.predict(2, 7)) == 0
    np.testing.assert_allclose(model.predict(2, np.arange(22)), expected[2])
    np.testing.assert_allclose(model.predict([1, 2, 5], [0, 0, 9]), expected[[1, 2, 5], [0, 0, 9]])
    assert model.predict([], []).shape == (0,)


@pytest.mark.parametrize(("dtype", "tol"), [("float32", 1e-8), ("float64", 1e-17), ("float32", 0)])
def test_a_tolerance_that_the_type_cannot_reach_is_told(ratings, dtype, tol):
    with pytest.warns(RuntimeWarning, match=r"tol=(1e-\d+|0) is below .*, what conjugate gradients reach in float"):
        small(dtype=dtype, tol=tol).fit(ratings)
    small(dtype=dtype, tol=tol, solver="cholesky").fit(ratings)  # warns of nothing
    small(dtype=dtype, tol=1e-6).fit(ratings)
