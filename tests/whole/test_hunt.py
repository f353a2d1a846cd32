"""Fault hunt over ``fit``: any matrix, any parameters; the property stands in ``hunting``. FASTALS_HUNT=1 runs long."""

from typing import Any

import hunting
import naive
import numpy as np
import pytest
import scipy.sparse as sp
from hunting import attempt, check_finite, check_lists, matrices, more, parameters, state
from hypothesis import given
from hypothesis import strategies as st
from models import confidence_of
from scipy import linalg

from fastals import ImplicitALS


def dense_loss(terms, P, Q, user_regularization, item_regularization):
    """The loss in extended precision, and the sum of the sizes of its terms, to which rounding errors are relative."""
    P, Q = P.astype(np.longdouble), Q.astype(np.longdouble)
    total = size = np.sum(user_regularization @ P**2) + np.sum(item_regularization @ Q**2)
    for W, T in terms:
        total += np.sum(W * (T - P @ Q.T) ** 2)
        size += np.sum(W * (np.abs(T) + np.abs(P) @ np.abs(Q).T) ** 2)
    return float(total), float(size)


def best_rows(terms, Y, regularization):
    """Every row's minimiser by orthogonal factorisation of its least squares problem, once for rows that are alike."""
    X = np.zeros((len(regularization), Y.shape[1]))
    problems = np.column_stack([*(part for term in terms for part in term), regularization])
    _, first, like = np.unique(problems, axis=0, return_index=True, return_inverse=True)
    for number, u in enumerate(first):
        A = np.concatenate([np.sqrt(W[u])[:, None] * Y for W, _ in terms])
        b = np.concatenate([np.sqrt(W[u]) * T[u] for W, T in terms])
        ridge = np.sqrt(regularization[u]) * np.eye(Y.shape[1])
        A, b = np.concatenate((A, ridge)), np.concatenate((b, np.zeros(Y.shape[1])))
        X[like.reshape(-1) == number] = linalg.lstsq(A, b, lapack_driver="gelsy", check_finite=False)[0]
    return X


def check_fit(model: ImplicitALS, matrix: Any, dense: np.ndarray) -> None:
    """Loss and solution against the dense formulas in float64."""
    check_finite(model)
    P, Q = model.user_factors.astype(float), model.item_factors.astype(float)
    c0, exponent = float(model.unobserved_weight), float(model.regularization_exponent)
    form = {"objective": model.objective, "confidence": confidence_of(model), "epsilon": float(model.epsilon)}
    pairs = zip(model.unobserved_weights_, dense.shape, strict=True)
    missing = tuple(np.ones(count) if weights is None else weights for weights, count in pairs)
    terms = naive.terms(dense, c0=c0, alpha=model.alpha_, missing=missing, **form)
    penalties = naive.regularizations(
        dense, regularization=model.regularization_, exponent=exponent, c0=c0, missing=missing
    )
    expected, size = dense_loss(terms, P, Q, *penalties)
    if not np.isfinite(size):
        return
    # Confidences are c0 and what is added to it, so rounding errors are relative to c0 even where c is smaller.
    size += float(c0 * np.sum((np.abs(terms[0][1]) + np.abs(P) @ np.abs(Q).T) ** 2)) + 1e-290
    got, error = attempt("loss", model.loss, matrix)
    assert error is None
    assert got == pytest.approx(expected, rel=1e-10, abs=1e-10 * size)
    if not model.loss_history:
        return
    rounding = 1e-9 if np.dtype(model.dtype) == np.float64 else 1e-4
    constant = float(sum(np.sum((W + c0) * T**2) for W, T in terms))
    # The factors in the eigenbasis are rounded, by which directions of no meaning seem to be worth
    # (c eps |q|)^2 / (lambda + c0 s) each; and weights may vanish in the type of the factors.
    least = penalties[0].min() + c0 * np.linalg.eigvalsh(Q.T @ Q)[0]
    noise = np.finfo(model.dtype).eps ** 2 * max(W.max() for W, _ in terms) * np.sum(Q**2)
    rounding += min(4 * Q.shape[1] * noise / max(least, 4 * Q.shape[1] * noise, 1e-300), 1)
    lost = float(np.finfo(model.dtype).tiny * np.sum((1 + np.abs(P) @ np.abs(Q).T) ** 2))
    assert model.loss_history[-1] == pytest.approx(expected, abs=rounding * size + lost)
    best, _ = dense_loss(terms, best_rows(terms, Q, penalties[0]), Q, *penalties)
    if model.solver_report_["singular_rows"]:
        return
    inexact = min(float(model.tol), 1.0) ** 2 if model.solver == "cg" else 0
    assert expected - best <= (rounding + inexact) * constant + lost


@pytest.mark.slow
@more
@given(matrices(), parameters(), st.sampled_from([None, "user_factors", "item_factors"]), st.booleans())
def test_fit(matrices_, parameters_, given_factors, again):
    (matrix, dense, good_data), (chosen, good_parameters) = matrices_, parameters_
    model, earlier = ImplicitALS(**hunting.keep_short(chosen)), None
    if again:
        ImplicitALS.fit(model.set_params(**{**chosen, **PLAIN}), sp.csr_array(np.eye(3)))
        model.set_params(**chosen)
    earlier = state(model)
    start: dict[str, Any] = {}
    if given_factors is not None and type(chosen["factors"]) is int:
        random = np.random.default_rng(len(dense))
        rows = dense.shape[given_factors == "item_factors"]
        scale = random.choice([1, 1, 1e-12, 1e12, 1e-25, 1e25, 1e-200])
        if 0 <= chosen["factors"] <= 600:
            start[given_factors] = random.normal(size=(rows, chosen["factors"])) * scale
            good_parameters = good_parameters and scale == 1

    got, error = attempt("fit", model.fit, matrix, **start)

    if error is not None:
        assert state(model) == earlier
        limits = isinstance(error, FloatingPointError) or "stay below" in str(error)
        assert limits or not (good_data and good_parameters), error
        return
    assert got is model
    check_fit(model, matrix, dense)
    scores = model.user_factors.astype(float) @ model.item_factors.astype(float).T
    lists, error = attempt("recommend", model.recommend, np.arange(len(dense)), N=3)
    assert error is None
    check_lists(lists, scores, dense == 0, 3, scalar=False)


PLAIN = {
    "factors": 2, "regularization": 1, "alpha": 1, "iterations": 1, "unobserved_weight": 1, "unobserved_exponent": 0,
    "regularization_exponent": 0, "confidence": "linear", "epsilon": 1, "objective": "hu", "solver": "cg", "tol": 0.1,
    "max_cg_steps": 5, "dtype": "float32", "num_threads": 1, "random_state": 0, "acceleration": "auto",
}  # fmt: skip


GOOD = sp.csr_array(np.array([[5.0, 0, 1, 0], [0, 2, 0, 0], [1, 1, 0, 3]]))


def damaged(form: str, part: str, place: int, value: int) -> Any:
    """A matrix whose arrays were changed after SciPy had checked them."""
    matrix = GOOD.asformat(form).copy()
    array = getattr(matrix, part)
    array[place] = value
    if part in ("row", "col"):  # where SciPy's are copies
        setattr(matrix, part, array)
    return matrix


@pytest.mark.parametrize("form", ["csr", "csc", "bsr"])
@pytest.mark.parametrize(("part", "value"), [("indptr", 10**6), ("indptr", -1), ("indices", 10**6), ("indices", -1)])
def test_damaged_pointers_and_indices_are_refused(form, part, value):
    """Unchecked, SciPy's conversions and compiled code read or write where they point: the process ended."""
    with pytest.raises(ValueError, match=r"user_items (must have . pointers|has indices outside of)"):
        ImplicitALS(2).fit(damaged(form, part, 1, value))


@pytest.mark.parametrize("part", ["row", "col"])
@pytest.mark.parametrize("value", [10**6, -1])
def test_damaged_coordinates_are_refused(part, value):
    with pytest.raises(ValueError, match=r"user_items has indices outside of 0 .."):
        ImplicitALS(2).fit(damaged("coo", part, 1, value))


@pytest.mark.parametrize("form", ["csr", "csc"])
def test_strided_and_unaligned_arrays_give_the_same_model(form):
    expected = ImplicitALS(2, random_state=0).fit(GOOD)
    for change in hunting.LAYOUTS.values():
        matrix = GOOD.asformat(form)
        matrix.data, matrix.indices = change(matrix.data), change(matrix.indices)
        got = ImplicitALS(2, random_state=0).fit(matrix)
        np.testing.assert_array_equal(got.user_factors, expected.user_factors)


def test_duplicates_in_blocks_are_summed_without_overflow():
    blocks = sp.bsr_array((np.full((2, 1, 1), 100, np.int8), [0, 0], [0, 2]), shape=(1, 2))

    assert ImplicitALS(2, dtype="float64").fit(blocks).user_items_.toarray().tolist() == [[200, 0]]


def test_what_is_done_to_the_training_matrix_does_not_reach_the_model():
    model = ImplicitALS(2, random_state=0).fit(GOOD)

    model.user_items_.indices[:] = 10**6

    np.testing.assert_array_equal(model.user_items_.toarray(), GOOD.toarray())


def test_values_beyond_the_type_of_the_factors_keep_their_own():
    """Their products with alpha are what the factors' type has to hold."""
    for scale in (1e60, 1e-60):
        model = ImplicitALS(2, alpha=1 / scale).fit(GOOD * scale)
        np.testing.assert_allclose(model.user_items_.toarray(), GOOD.toarray() * scale)


def test_counts_that_no_machine_integer_holds():
    ImplicitALS(2, max_cg_steps=10**30, tol=1e300, num_threads=10**30).fit(GOOD)
    with pytest.raises(ValueError, match="factors must be <= 2147483647; got 1000000000000"):
        ImplicitALS(10**12).fit(GOOD)


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
@pytest.mark.slow
def test_a_million_empty_rows(solver):
    """The first, the last and a few users between them have items; all others get zeros, and so do their scores."""
    users = np.array([0, 5, 500_000, 999_999])
    matrix = sp.coo_array((np.ones(8), (np.repeat(users, 2), [0, 1, 0, 2, 1, 2, 0, 1])), (10**6, 3))

    model = ImplicitALS(4, solver=solver, random_state=0, iterations=2, dtype="float64").fit(matrix)

    got = np.flatnonzero(model.user_factors.any(axis=1))
    assert got.tolist() == users.tolist()
    check_finite(model)
    again = model.recalculate_user(users)
    np.testing.assert_array_equal(again, model.user_factors[users])
    assert model.loss(matrix) == pytest.approx(model.loss_history[-1], rel=1e-9)


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("factors", [1, 16, pytest.param(512, marks=pytest.mark.slow)])
def test_one_row_with_nine_tenths_of_all_pairs(solver, axis, factors):
    """Its own solution, and the shares of the others, whatever the number of factors."""
    random = np.random.default_rng(0)
    dense = np.zeros((40, 900))
    dense[7] = random.integers(5, 20, 900) / 10
    dense[np.arange(100) % 40, random.integers(900, size=100)] = 1
    matrix = sp.csr_array(dense if axis == 0 else dense.T)

    model = ImplicitALS(factors, solver=solver, iterations=2, random_state=0, tol=1e-5, num_threads=2).fit(matrix)

    check_fit(model, matrix, matrix.toarray())
