"""Half-sweeps of both solvers against dense linear algebra, row by row."""

from pathlib import Path

import naive
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from problems import Problem, problems

from fastals import ImplicitALS

LIKES = (0, 0, 0, 1, 2, 5)


def both_sides(problem: Problem, model: ImplicitALS, P: np.ndarray):
    """(solved, fixed, terms, regularization, missing) of the two half-sweeps of a model's only sweep from P."""
    users, items = problem.regularizations
    yield model.item_factors, P, naive.transpose(problem.terms), items, problem.missing.T
    yield model.user_factors, model.item_factors, problem.terms, users, problem.missing


def row_errors(got: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """|got - expected| / |expected| of each row, 0 where both are zero."""
    sizes = np.linalg.norm(expected, axis=1)
    differences = np.linalg.norm(np.asarray(got, np.float64) - expected, axis=1)
    return differences / np.where(sizes > 0, sizes, 1)


@given(problems())
def test_direct_half_sweeps_equal_dense_solves(problem):
    P, _ = problem.start()

    model = problem.model(solver="cholesky").fit(**problem.data, user_factors=P)

    for solved, fixed, terms, regularization, _ in both_sides(problem, model, P):
        expected = naive.half_sweep(terms, fixed, regularization)
        assert row_errors(solved, expected).max() < 1e-10


@given(problems())
def test_gradient_vanishes_after_a_half_sweep(problem):
    P, _ = problem.start()

    model = problem.model(solver="cholesky").fit(**problem.data, user_factors=P)

    for solved, fixed, terms, regularization, _ in both_sides(problem, model, P):
        at_zero = naive.gradient(terms, np.zeros_like(solved), fixed, regularization)
        got = naive.gradient(terms, solved, fixed, regularization)
        assert np.abs(got).max() <= 1e-10 * max(np.abs(at_zero).max(), 1)


@given(problems())
@pytest.mark.parametrize("tol", [1e-2, 1e-5, 1e-9])
def test_conjugate_gradients_reach_the_tolerance(tol, problem):
    P, _ = problem.start()

    model = problem.model(solver="cg", tol=tol, max_cg_steps=200).fit(**problem.data, user_factors=P)

    for solved, fixed, terms, regularization, missing in both_sides(problem, model, P):
        got = naive.residuals(terms, solved, fixed, regularization, missing)
        assert got.max() <= 1.01 * tol
        if problem.parameters["confidence"] != "raw":  # no negative weights
            assert naive.energy_errors(terms, solved, fixed, regularization).max() <= 1.01 * tol


@given(problems())
def test_solvers_agree(problem):
    P, _ = problem.start()

    got = problem.model(solver="cg", tol=1e-12, max_cg_steps=200, iterations=2).fit(**problem.data, user_factors=P)

    expected = problem.model(solver="cholesky", iterations=2).fit(**problem.data, user_factors=P)
    assert row_errors(got.user_factors, expected.user_factors).max() < 1e-7
    assert row_errors(got.item_factors, expected.item_factors).max() < 1e-7


@given(problems())
@pytest.mark.parametrize("solver", ["cg", "cholesky"])
def test_float32_half_sweeps(solver, problem):
    """Float32 loses what its 6e-8 times the condition number is; beyond a condition of 1e4 rows go to float64."""
    P, _ = problem.start()
    P = P.astype(np.float32)

    model = problem.model(solver=solver, tol=1e-5, dtype="float32").fit(**problem.data, user_factors=P)

    assert model.user_factors.dtype == model.item_factors.dtype == np.float32
    for solved, fixed, terms, regularization, _ in both_sides(problem, model, P):
        expected = naive.half_sweep(terms, fixed, regularization)
        assert row_errors(solved, expected).max() < 2e-3


@given(problems())
def test_loss_never_rises_over_half_sweeps(problem):
    P, Q = problem.start()
    losses = []
    for _ in range(3):
        model = problem.model(solver="cholesky").fit(**problem.data, user_factors=P)
        losses.append(naive.loss(problem.terms, P, model.item_factors, *problem.regularizations))
        P, Q = model.user_factors, model.item_factors
        losses.append(naive.loss(problem.terms, P, Q, *problem.regularizations))

    assert (np.diff(losses) <= 1e-12 * np.abs(losses[:-1])).all()


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
@pytest.mark.parametrize("objective", ["hu", "rendle"])
@pytest.mark.parametrize(
    ("shape", "factors"), [((5, 10), 20), ((1, 9), 4), ((9, 1), 4), ((1, 1), 1), ((40, 30), 16), ((60, 50), 70)]
)
def test_shapes(shape, factors, objective, solver):
    random = np.random.default_rng(3)
    R = random.integers(1, 6, shape) * (random.random(shape) < 0.4)
    R[0, 0] = 2
    if shape[0] > 2 and shape[1] > 2:
        R[1], R[:, 2] = 0, 0
    parameters = {
        "objective": objective,
        "confidence": "linear",
        "alpha": 5.0,
        "epsilon": 1.0,
        "unobserved_weight": 0.5,
        "regularization": 0.1,
        "regularization_exponent": 1.0,
    }
    problem = Problem(R, None, factors, parameters, 0)
    P, _ = problem.start()

    model = problem.model(solver=solver, tol=1e-12, max_cg_steps=500).fit(problem.matrix, user_factors=P)

    for solved, fixed, terms, regularization, _ in both_sides(problem, model, P):
        expected = naive.half_sweep(terms, fixed, regularization)
        assert row_errors(solved, expected).max() < (1e-10 if solver == "cholesky" else 1e-8)
    empty_users, empty_items = ~R.any(axis=1), ~R.any(axis=0)
    assert not model.user_factors[empty_users].any()
    assert not model.item_factors[empty_items].any()


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_confidence_below_that_of_unobserved_pairs(ratings, solver, dtype):
    """Raw confidences alpha r < c0 make negative weights, for which no push-through identity holds."""
    parameters = {
        "objective": "hu",
        "confidence": "raw",
        "alpha": 0.01,
        "epsilon": 1.0,
        "unobserved_weight": 1.0,
        "regularization": 0.1,
        "regularization_exponent": 0.0,
    }
    problem = Problem(ratings.toarray(), None, 5, parameters, 0)
    P, _ = problem.start()
    P = P.astype(dtype)

    model = problem.model(solver=solver, tol=1e-6, max_cg_steps=100, dtype=dtype).fit(ratings, user_factors=P)

    for solved, fixed, terms, regularization, _ in both_sides(problem, model, P):
        expected = naive.half_sweep(terms, fixed, regularization)
        assert row_errors(solved, expected).max() < (1e-3 if dtype == "float32" or solver == "cg" else 1e-10)


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
def test_rows_beyond_the_step_limit_are_solved_directly(ratings, solver):
    P = np.random.default_rng(0).normal(size=(30, 8))

    model = ImplicitALS(
        8,
        solver=solver,
        tol=1e-9,
        max_cg_steps=1,
        iterations=1,
        alpha=40.0,
        regularization=10.0,
        regularization_exponent=0.0,
        dtype="float64",
    )
    model.fit(ratings, user_factors=P)

    terms = naive.terms(ratings.toarray(), alpha=40.0)
    expected = naive.half_sweep(terms, model.item_factors, np.full(30, 10.0))
    assert row_errors(model.user_factors, expected).max() < 1e-8
    fallbacks = model.solver_report_["fallback_rows"]
    assert fallbacks > 30 if solver == "cg" else fallbacks == 0


def test_report_counts_steps_per_row(ratings):
    one, more = (
        ImplicitALS(8, tol=tol, iterations=1, regularization=0.01, random_state=0).fit(ratings).solver_report_
        for tol in (0.9, 1e-4)
    )

    assert 1 <= one["cg_steps"] < more["cg_steps"] < 9
    assert one["singular_rows"] == one["fallback_rows"] == 0


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
def test_raw_play_counts(solver):
    """Confidences from 41 to 1.4e7 and next to no regularisation: what float32 cannot solve is solved in float64."""
    data = Path(__file__).parents[3] / "shared" / "data" / "lastfm-2k.npz"
    if not data.exists():
        pytest.skip("the Last.fm data are not here")
    with np.load(data) as table:
        plays = sp.csr_array((table["value"].astype(np.float64), (table["user"], table["item"])))
    P = np.random.default_rng(0).normal(0, 0.1, (plays.shape[0], 64)).astype(np.float32)
    options = {"alpha": 40.0, "regularization": 0.01, "regularization_exponent": 0.0, "solver": solver, "tol": 1e-5}
    P = ImplicitALS(64, iterations=1, **options).fit(plays, user_factors=P).user_factors

    model = ImplicitALS(64, iterations=1, **options).fit(plays, user_factors=P)

    worst = 0.0
    for solved, Y, R in ((model.item_factors, P, plays.T.tocsr()), (model.user_factors, model.item_factors, plays)):
        assert np.isfinite(solved).all()
        Y = Y.astype(np.float64)
        G, expected = Y.T @ Y + 0.01 * np.eye(64), np.zeros(solved.shape)
        for u in range(R.shape[0]):
            stored, extra = Y[R.indices[R.indptr[u] : R.indptr[u + 1]]], 40 * R.data[R.indptr[u] : R.indptr[u + 1]]
            expected[u] = np.linalg.solve(G + (stored.T * extra) @ stored, stored.T @ (1 + extra))
        worst = max(worst, row_errors(solved, expected).max())
    assert worst < 1e-3
    # Most users' rows, and items' of many users, are beyond float32.
    assert 500 < model.solver_report_["fallback_rows"] < 6000
    assert model.solver_report_["singular_rows"] == 0


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("c0", [1.0, 0.0])
@pytest.mark.parametrize("factors", [5, 20, 40])
def test_undetermined_rows_are_finite_reported_and_warned_of(ratings, factors, c0, dtype, solver):
    """More factors than users and no regularisation: infinitely many solutions, all of which fit without error."""
    dense = ratings[:4].toarray()
    P = np.random.default_rng(0).normal(size=(4, factors))
    model = ImplicitALS(
        factors, regularization=0, unobserved_weight=c0, iterations=3, dtype=dtype, solver=solver,
        tol=max(1e-9, float(np.finfo(dtype).eps)),
    )  # fmt: skip

    with pytest.warns(RuntimeWarning, match=r"\d+ rows are underdetermined"):
        model.fit(ratings[:4], user_factors=P)

    assert model.solver_report_["singular_rows"] > 0
    scores = model.user_factors @ model.item_factors.T
    counted = dense > 0 if c0 == 0 else np.ones(dense.shape, bool)
    np.testing.assert_allclose(scores[counted], (dense > 0)[counted], atol=1e-4)
    # Of ordinary size: nothing has been divided by a rounding error.
    assert np.linalg.norm(model.user_factors) * np.linalg.norm(model.item_factors) < 1e3


def test_least_norm_is_taken_where_the_data_do_not_decide(ratings):
    """Against the fixed factors of four users the items' least-norm solution is that of the pseudo-inverse."""
    dense = ratings[4:8].toarray()
    P = np.random.default_rng(0).normal(size=(4, 9))
    model = ImplicitALS(9, alpha=2.0, regularization=0, iterations=1, dtype="float64", solver="cholesky")

    with pytest.warns(RuntimeWarning, match="underdetermined"):
        model.fit(ratings[4:8], user_factors=P)

    systems = [naive.normal_equations(naive.terms(dense.T, alpha=2.0), P, np.zeros(22), i) for i in range(22)]
    expected = [np.linalg.pinv(A, rcond=1e-10, hermitian=True) @ b for A, b in systems]
    np.testing.assert_allclose(model.item_factors, expected, atol=1e-8)


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
def test_rows_without_finite_solution_are_refused(ratings, solver):
    """Targets of 1e31 against factors of 1e-30 ask for more than float32 holds."""
    phi = ratings.copy()
    phi.data[:] = 1e15
    model = ImplicitALS(4, dtype="float32", solver=solver, iterations=1, regularization=0, alpha=1e15)

    with pytest.raises(FloatingPointError, match=r"\d+ rows have no finite solution in float32; scale the data down"):
        model.fit(ratings, preference=phi, user_factors=np.full((30, 4), 1e-30))


@pytest.mark.parametrize("scale", [1e-18, 1e-12, 1, 1e12, 1e18])
@pytest.mark.parametrize("solver", ["cg", "cholesky"])
def test_scale_of_the_factors_makes_no_row_singular(scale, solver):
    """Without regularisation x y = 1 has a solution however small y; the padding of y is not to be compared with it."""
    model = ImplicitALS(1, regularization=0, unobserved_weight=0, iterations=1, alpha=1.0, solver=solver)

    model.fit(sp.csr_array(np.array([[0, 0, 1.0]])), user_factors=[[scale]])

    assert model.solver_report_["singular_rows"] == 0
    assert model.predict(0, 2) == pytest.approx(1, rel=1e-6)
    assert model.loss_history[-1] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-3), ("float64", 1e-9)])
def test_rows_of_few_independent_factors_and_heavy_weights(dtype, bound):
    """One factor, two entries, weights 1e16 times c0: the dual form is left with rounding errors alone."""
    R = sp.csr_array(np.array([[0, 0, 2.6, 0.2], [0, 0, 0, 0], [0, 0, 0, 2.2]]))
    model = ImplicitALS(
        1, regularization=0, alpha=1e8, unobserved_weight=1e-8, iterations=1, dtype=dtype, random_state=0
    )

    model.fit(R)

    assert model.loss_history[-1] == pytest.approx(model.loss(R), rel=bound)
    y, weights = model.item_factors[2:, 0].astype(float), 1e8 * np.array([2.6, 0.2])
    assert model.user_factors[0, 0] == pytest.approx((weights @ y) / (weights @ y**2), rel=bound)


def test_spectrum_beyond_single_precision_is_refused(ratings):
    """In the kernel it would be infinite, and the solution zero."""
    start = np.full((30, 1), 3e18)
    with pytest.raises(FloatingPointError, match="the factors have overflowed float32"):
        ImplicitALS(1, unobserved_weight=10, alpha=1.0).fit(ratings, user_factors=start)
