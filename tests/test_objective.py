"""The objective against its dense definition: weights, preferences, regularisation, and the loss of any factors."""

import naive
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from problems import Problem, problems

from fastals import ImplicitALS
from fastals.core.validation import check_rows
from fastals.objective import Objective

VALUES = np.array([0.5, 1.0, 2.0, 7.0, -1.0, -4.0])
PARAMETERS = {
    "objective": "hu",
    "confidence": "linear",
    "alpha": 3.0,
    "epsilon": 0.5,
    "unobserved_weight": 0.7,
    "regularization": 2.0,
    "regularization_exponent": 0.0,
}


@pytest.mark.parametrize(
    ("objective", "confidence", "expected"),
    [
        ("hu", "linear", 3 * np.abs(VALUES)),
        ("hu", "log", 3 * np.log(1 + np.abs(VALUES) / 0.5)),
        ("hu", "raw", 3 * np.abs(VALUES) - 0.7),
        ("rendle", "linear", 3 * np.abs(VALUES)),
        ("rendle", "log", 3 * np.log(1 + np.abs(VALUES) / 0.5)),
        ("rendle", "raw", 3 * np.abs(VALUES)),
    ],
)
def test_extra_is_confidence_less_that_of_unobserved_pairs(objective, confidence, expected):
    checked = Objective.checked(**{**PARAMETERS, "objective": objective, "confidence": confidence})

    weight, phi = checked.weight(VALUES, np.dtype(np.float64)), checked.preference(VALUES, np.dtype(np.float64))
    got, target = checked.extra_and_target(weight, phi)

    c0 = 0.7 if objective == "hu" else 0.0
    np.testing.assert_allclose(got, expected, rtol=1e-14)
    np.testing.assert_allclose(target, (expected + c0) * (VALUES > 0), rtol=1e-14)


def test_preference_is_one_where_positive():
    checked = Objective.checked(**PARAMETERS)

    got = checked.preference(VALUES, np.dtype(np.float32))

    assert got.dtype == np.float32
    assert got.tolist() == [1, 1, 1, 1, 0, 0]
    assert checked.preference(np.abs(VALUES), np.dtype(np.float32)).tolist() == [1]  # equal throughout


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("confidence", ["linear", "log", "raw"])
def test_one_value_weighs_what_it_weighs_among_others(dtype, confidence):
    checked = Objective.checked(**{**PARAMETERS, "confidence": confidence})

    for value in VALUES:
        alone = checked.weight(np.array([value]), np.dtype(dtype))

        assert alone.tolist() == [checked.weight(np.array([value, 1.0]), np.dtype(dtype))[0]]
        assert alone.dtype == dtype
        assert not alone.flags.writeable, "it is kept for the next request"


@pytest.mark.parametrize(("exponent", "c0"), [(0.0, 1.0), (1.0, 1.0), (0.5, 0.1), (1.0, 0.0)])
def test_regularization_scales_with_frequency(ratings, exponent, c0):
    checked = Objective.checked(**{**PARAMETERS, "regularization_exponent": exponent, "unobserved_weight": c0})
    rows, _ = check_rows(ratings, "user_items")

    got = checked.regularization_of(2.0, rows.counts, rows.shape[1])

    expected, _ = naive.regularizations(ratings.toarray(), regularization=2.0, exponent=exponent, c0=c0)
    np.testing.assert_allclose(got, expected, rtol=1e-14)


def scale(problem: Problem, P: np.ndarray, Q: np.ndarray) -> float:
    """The loss with every term of its expanded square taken positive: what rounding errors are relative to."""
    absolute = [(np.abs(W), -np.abs(T)) for W, T in problem.terms]
    return naive.loss(absolute, np.abs(P), np.abs(Q), *problem.regularizations)


@given(problems())
def test_loss_is_the_brute_force_sum(problem):
    P, Q = problem.start()
    model = problem.model(iterations=0).fit(**problem.data, user_factors=P, item_factors=Q)

    got = model.loss(**problem.pairs)

    expected = naive.loss(problem.terms, P, Q, *problem.regularizations)
    assert got == pytest.approx(expected, rel=0, abs=1e-12 * scale(problem, P, Q))


@given(problems())
def test_loss_of_a_sweep_needs_no_extra_pass(problem):
    """Free form of the last half-sweep, full form, and dense sum agree."""
    P, Q = problem.start()
    for solver in ("cg", "cholesky"):
        model = problem.model(solver=solver).fit(**problem.data, user_factors=P, item_factors=Q)

        free, full = model.loss_history[-1], model.loss(**problem.pairs)

        factors = model.user_factors, model.item_factors
        expected = naive.loss(problem.terms, *factors, *problem.regularizations)
        tolerance = 1e-12 * scale(problem, *factors)
        assert full == pytest.approx(expected, rel=0, abs=tolerance)
        assert free == pytest.approx(expected, rel=0, abs=tolerance)


def test_loss_is_relative_to_1e_12_on_plain_data(ratings):
    for objective in ("hu", "rendle"):
        model = ImplicitALS(
            6,
            objective=objective,
            alpha=10.0,
            regularization=10.0,
            regularization_exponent=0.0,
            dtype="float64",
            iterations=2,
            random_state=0,
        ).fit(ratings)
        dense = ratings.toarray()
        terms = naive.terms(dense, objective=objective, alpha=10.0)
        lambdas = naive.regularizations(dense, regularization=10.0)

        expected = naive.loss(terms, model.user_factors, model.item_factors, *lambdas)

        assert model.loss_history[-1] == pytest.approx(expected, rel=1e-12)
        assert model.loss(ratings) == pytest.approx(expected, rel=1e-12)


def test_loss_in_float32_is_taken_in_float64(ratings):
    model = ImplicitALS(
        6, alpha=10.0, regularization=1.0, regularization_exponent=0.0, iterations=2, random_state=0
    ).fit(ratings)
    dense = ratings.toarray()
    lambdas = naive.regularizations(dense, regularization=1.0)

    expected = naive.loss(naive.terms(dense, alpha=10.0), model.user_factors, model.item_factors, *lambdas)

    assert model.loss(ratings) == pytest.approx(expected, rel=1e-12)
    # The free form sees the solution before it is rotated back, in float32.
    assert model.loss_history[-1] == pytest.approx(expected, rel=1e-5)


def test_loss_on_other_interactions_of_the_shape(ratings):
    other = sp.csr_array(([2.0, -3.0], ([0, 5], [0, 7])), ratings.shape)
    model = ImplicitALS(
        4, alpha=2.0, regularization=1.0, regularization_exponent=0.0, dtype="float64", random_state=0
    ).fit(ratings)

    got = [model.loss(other), model.loss(sp.csr_array(ratings.shape))]

    for value, matrix in zip(got, (other.toarray(), np.zeros(ratings.shape)), strict=True):
        lambdas = naive.regularizations(matrix, regularization=1.0)
        expected = naive.loss(naive.terms(matrix, alpha=2.0), model.user_factors, model.item_factors, *lambdas)
        assert value == pytest.approx(expected, rel=1e-12)


def test_stored_zeros_are_no_observations(ratings):
    with_zeros = ratings.copy()
    with_zeros.data[::3] = 0
    without = with_zeros.copy()
    without.eliminate_zeros()
    options = {"regularization_exponent": 1.0, "regularization": 0.1, "iterations": 2, "random_state": 0}

    got = ImplicitALS(4, **options).fit(with_zeros)

    expected = ImplicitALS(4, **options).fit(without)
    np.testing.assert_array_equal(got.user_factors, expected.user_factors)
    assert got.loss(with_zeros) == expected.loss(without)
    assert with_zeros.nnz > without.nnz  # and the caller's zeros are still there


def test_equal_weights_give_one_objective_for_equal_parameters(ratings):
    """Rendle's form with preference 1 and weight w is Hu's with confidence c0 + w and preference w / (c0 + w)."""
    c0, alpha = 0.3, 2.0
    phi = ratings.copy()
    phi.data = alpha * ratings.data / (c0 + alpha * ratings.data)
    options = {"alpha": alpha, "unobserved_weight": c0, "regularization": 0.5, "dtype": "float64", "random_state": 1}

    got = ImplicitALS(5, objective="rendle", solver="cholesky", **options).fit(ratings)

    expected = ImplicitALS(5, objective="hu", solver="cholesky", **options).fit(ratings, preference=phi)
    np.testing.assert_allclose(got.user_factors, expected.user_factors, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("confidence", "c0"), [("linear", 1.0), ("log", 0.3), ("raw", 1.0), ("linear", 0.0)])
def test_automatic_alpha_gives_the_mean_pair_its_weight(ratings, confidence, c0):
    options = {"confidence": confidence, "unobserved_weight": c0, "epsilon": 2.0, "iterations": 1, "random_state": 0}

    model = ImplicitALS(4, **options).fit(ratings)

    values = np.abs(ratings.data)
    weights = model.alpha_ * (np.log1p(values / 2) if confidence == "log" else values)
    rows, columns = (np.count_nonzero(np.asarray(abs(ratings).sum(axis=axis))) for axis in (1, 0))
    density = values.size / (rows * columns)
    assert weights.mean() == pytest.approx(c0 / density**0.5 if c0 else 1.0)
    assert model.get_params()["alpha"] == "auto"


def test_automatic_alpha_does_not_depend_on_the_scale_of_the_values(ratings):
    options = {"confidence": "linear", "dtype": "float64", "iterations": 3, "random_state": 0}

    got = ImplicitALS(4, **options).fit(1000 * ratings)

    expected = ImplicitALS(4, **options).fit(ratings)
    np.testing.assert_allclose(got.user_factors, expected.user_factors, rtol=1e-6, atol=1e-8)
    assert got.alpha_ == pytest.approx(expected.alpha_ / 1000)


def test_automatic_alpha_is_kept_with_the_model(ratings, tmp_path):
    model = ImplicitALS(4, iterations=2, random_state=0).fit(ratings)
    model.save(tmp_path / "model.fastals")

    got = ImplicitALS.load(tmp_path / "model.fastals")

    assert (got.alpha, got.alpha_) == ("auto", model.alpha_)
    np.testing.assert_array_equal(got.recalculate_user(3), model.recalculate_user(3))


@pytest.mark.parametrize("scale", [1e-310, 3e307])
def test_automatic_alpha_that_overflows_is_refused(ratings, scale):
    with pytest.raises(ValueError, match="alpha must be given, for 'auto' finds none"):
        ImplicitALS(2, confidence="linear").fit(ratings * scale)


def test_automatic_alpha_with_a_scale_of_the_logarithm_that_overflows(ratings):
    with pytest.raises(ValueError, match=r"alpha must be given, for 'auto' finds none: .* in the logarithm"):
        ImplicitALS(2, confidence="log", epsilon=1e-320).fit(ratings)


def mean_lambdas(model, R):
    """Of rows with entries: mean lambda, and mean frequency without columns that have none."""
    pairs = zip(model.unobserved_weights_, R.shape, strict=True)
    missing = tuple(np.ones(count) if weights is None else weights for weights, count in pairs)
    c0, exponent = model.unobserved_weight, model.regularization_exponent
    lambdas = naive.regularizations(R, regularization=model.regularization_, exponent=exponent, c0=c0, missing=missing)
    kept = R.any(axis=1), R.any(axis=0)
    missing = tuple(weights[some] for weights, some in zip(missing, kept, strict=True))
    frequencies = naive.regularizations(R[np.ix_(*kept)], regularization=1.0, exponent=1.0, c0=c0, missing=missing)
    return [side[some].mean() for side, some in zip(lambdas, kept, strict=True)], [side.mean() for side in frequencies]


@pytest.mark.parametrize(
    "choice",
    [
        {}, {"regularization_exponent": 0.5, "unobserved_exponent": (0.3, 0.5)}, {"regularization_exponent": 0.0},
        {"unobserved_weight": 0.03, "objective": "rendle", "alpha": 1.0}, {"unobserved_weight": 50.0},
    ],
)  # fmt: skip
def test_automatic_lambda_of_the_mean_row_is_a_root(ratings, choice):
    """(c0 m)^1/2 with the mean frequency m of the side, whatever the exponents."""
    model = ImplicitALS(4, iterations=1, random_state=0, **choice).fit(ratings)

    lambdas, frequencies = mean_lambdas(model, ratings.toarray())

    for got, frequency in zip(lambdas, frequencies, strict=True):
        assert got == pytest.approx((model.unobserved_weight * frequency) ** 0.5, rel=1e-12)
    assert model.get_params()["regularization"] == "auto"


def test_automatic_lambda_where_missing_pairs_weigh_nothing(ratings):
    model = ImplicitALS(4, iterations=1, unobserved_weight=0, random_state=0).fit(ratings)
    R = ratings.toarray()
    density = np.count_nonzero(R) / (np.count_nonzero(R.any(axis=1)) * np.count_nonzero(R.any(axis=0)))

    lambdas, _ = mean_lambdas(model, R)

    for got, axis in zip(lambdas, (1, 0), strict=True):
        assert got == pytest.approx((density**0.5 * np.count_nonzero(R) / R.any(axis=axis).sum()) ** 0.5, rel=1e-12)


@pytest.mark.parametrize("choice", [{}, {"unobserved_exponent": (0.3, 0.5)}, {"unobserved_weight": 0}], ids=str)
def test_rows_and_columns_without_entries_change_nothing(ratings, choice):
    """Where lambda does not hang on the number of columns, a fit is the same with a hundred empty ones."""
    start = np.random.default_rng(0).standard_normal((22, 4)) / 4
    padded = ratings.copy()
    padded.resize((130, 122))

    def fit(matrix, Q):
        model = ImplicitALS(4, regularization_exponent=0, iterations=3, solver="cholesky", dtype=np.float64, **choice)
        return model.fit(matrix, item_factors=Q)

    expected, got = fit(ratings, start), fit(padded, np.vstack((start, np.zeros((100, 4)))))

    assert got.regularization_ == pytest.approx(expected.regularization_, rel=1e-14)
    np.testing.assert_allclose(got.user_factors[:30], expected.user_factors, atol=1e-12)
    np.testing.assert_allclose(got.item_factors[:22], expected.item_factors, atol=1e-12)


def test_a_given_lambda_is_the_automatic_one(ratings):
    """A fit with what was chosen is the same fit: nothing else hangs on regularization="auto"."""
    model = ImplicitALS(4, random_state=0).fit(ratings)

    got = ImplicitALS(4, regularization=model.regularization_, random_state=0).fit(ratings)

    np.testing.assert_array_equal(got.item_factors, model.item_factors)


def test_automatic_lambda_is_kept_with_the_model(ratings, tmp_path):
    model = ImplicitALS(4, random_state=0).fit(ratings)
    model.save(tmp_path / "model.fastals")

    got = ImplicitALS.load(tmp_path / "model.fastals")
    got.update(sp.csr_array(([1.0], ([3], [5])), shape=(4, 6)))
    model.update(sp.csr_array(([1.0], ([3], [5])), shape=(4, 6)))

    assert (got.regularization, got.regularization_) == ("auto", model.regularization_)
    np.testing.assert_array_equal(got.user_factors, model.user_factors)


def test_what_is_given_is_taken_literally(ratings):
    """With alpha, values count as they are and missing pairs all alike, unless they are told otherwise."""
    plain = {"confidence": "linear", "unobserved_exponent": 0.0}
    got, expected = (ImplicitALS(4, alpha=2.0, random_state=0, **more).fit(ratings) for more in ({}, plain))
    np.testing.assert_array_equal(got.user_factors, expected.user_factors)
    assert got.unobserved_weights_ == (None, None)

    chosen = {"confidence": "log", "unobserved_exponent": 0.5}
    got, expected = (ImplicitALS(4, random_state=0, **more).fit(ratings) for more in ({}, chosen))
    np.testing.assert_array_equal(got.user_factors, expected.user_factors)


def test_automatic_lambda_of_an_exponent_that_overflows_is_refused(ratings):
    with pytest.raises(ValueError, match="regularization_exponent must leave"):
        ImplicitALS(4, regularization_exponent=400).fit(ratings)


@pytest.mark.parametrize("alpha", ["auto", 1.0])
@pytest.mark.parametrize("weight", [4.0**33, 4.0**498])
def test_unobserved_weight_beyond_the_type_of_the_factors(ratings, alpha, weight):
    """Only ratios of weights count."""

    def fit(c0, alpha, strength):
        return ImplicitALS(
            2, unobserved_weight=c0, alpha=alpha, regularization=strength, regularization_exponent=0, random_state=0
        ).fit(ratings)

    got, expected = fit(weight, alpha, 0.5), fit(1.0, alpha if alpha == "auto" else alpha / weight, 0.5 / weight)

    np.testing.assert_allclose(got.user_factors, expected.user_factors, rtol=1e-5)
    np.testing.assert_allclose(np.array(got.loss_history) / weight, expected.loss_history, rtol=1e-5)


@pytest.mark.parametrize("value", [[[0], [1, 2]], np.zeros((2, 2)), [1, None]])
def test_regularization_of_no_shape_is_refused(ratings, value):
    with pytest.raises((TypeError, ValueError), match="regularization must be"):
        ImplicitALS(2, regularization=value).fit(ratings)


def test_no_regularization_with_an_exponent_that_overflows(ratings):
    with pytest.raises(ValueError, match="regularization_exponent must leave"):
        ImplicitALS(2, regularization=0, regularization_exponent=1e5).fit(ratings)
