"""Rounding: single against double precision over many sweeps, and rows against exact rational solutions.

Nothing that overflows or has no solution is passed on as NaN or infinity.
"""

from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp

from fastals import ImplicitALS
from fastals.datasets import make_interactions

SWEEPS = 50


def exact_row(Y, weights, c0, ridge):
    """x of (c0 Y'Y + ridge I + sum_t weights_t y_t y_t') x = sum_t (c0 + weights_t) y_t in rational numbers, and A.

    Row t of Y has the weight weights_t, zero where nothing is stored. Gaussian elimination; no rounding anywhere.
    """
    k = Y.shape[1]
    Y, weights, c0 = (
        [[Fraction(value) for value in row] for row in Y.tolist()],
        [Fraction(w) for w in weights],
        Fraction(c0),
    )
    A = [[sum((c0 + w) * y[i] * y[j] for y, w in zip(Y, weights, strict=True)) for j in range(k)] for i in range(k)]
    for i in range(k):
        A[i][i] += Fraction(ridge)
    b = [sum((c0 + w) * y[i] for y, w in zip(Y, weights, strict=True) if w) for i in range(k)]
    M = [[*row, right] for row, right in zip(A, b, strict=True)]
    for i in range(k):
        pivot = next(r for r in range(i, k) if M[r][i])
        M[i], M[pivot] = M[pivot], M[i]
        for r in range(k):
            if r != i and M[r][i]:
                factor = M[r][i] / M[i][i]
                M[r] = [a - factor * c for a, c in zip(M[r], M[i], strict=True)]
    return [M[i][k] / M[i][i] for i in range(k)], A


def energy_error(x, exact, A):
    """|x - x*| / |x*| in the norm of A, whose square is the excess of the row's loss, in rational numbers."""

    def squared(v):
        return sum(a * v[i] * v[j] for i, row in enumerate(A) for j, a in enumerate(row))

    error = [Fraction(float(value)) - true for value, true in zip(x, exact, strict=True)]
    return float(squared(error) / squared(exact)) ** 0.5


# Spread of the factors' singular values, weights up to, c0, lambda: condition numbers of 1 to 1e10.
SYSTEMS = [
    (1, 1, 1.0, 1e-2),
    (1e-2, 1, 1.0, 1e-5),
    (1e-4, 1e3, 1.0, 1e-2),
    (1e-6, 1e3, 1.0, 1e-5),
    (1e-6, 1e3, 1.0, 1e-8),
    (1e-3, 1e7, 1e-3, 1e-5),
    (1e-2, 1e4, 0.01, 1e-8),
    (1e-3, 1, 0.0, 1e-8),
]


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
@pytest.mark.parametrize(("spread", "heaviest", "c0", "ridge"), SYSTEMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_equal_the_exact_rational_solution(dtype, spread, heaviest, c0, ridge, solver):
    """In the norm of the loss, up to epsilon times the root of the condition number, since the factors are rounded in
    the eigenbasis: 1e-7 to 3e-4 in float32 and 1e-16 to 1e-9 in float64 here, short rows (dual form) and long ones."""
    random = np.random.default_rng(0)
    k, n = 5, 12
    scales = np.geomspace(1, spread, k)
    left, right = np.linalg.qr(random.normal(size=(n, k)))[0], np.linalg.qr(random.normal(size=(k, k)))[0]
    Y = (left * scales @ right).astype(dtype)
    values = np.zeros((2, n), dtype)
    values[0, :3] = np.geomspace(1, heaviest, 3)
    values[1, :10] = np.geomspace(1, heaviest, 10)
    model = ImplicitALS(
        k, alpha=1.0, unobserved_weight=c0, regularization=ridge, regularization_exponent=0, dtype=dtype,
        solver=solver, tol=float(np.finfo(dtype).eps) if dtype == "float32" else 1e-13, iterations=0,
    )  # fmt: skip
    model.fit(sp.csr_array(values), item_factors=Y)

    got = model.recalculate_user([0, 1], sp.csr_array(values))

    for x, weights in zip(got, values.tolist(), strict=True):
        exact, A = exact_row(Y, weights, c0, ridge)
        condition = np.linalg.cond(np.array(A, float))
        assert energy_error(x, exact, A) <= 100 * np.finfo(dtype).eps * condition**0.5


@pytest.fixture(scope="module")
def plays():
    return make_interactions(n_users=400, n_items=250, random_state=0)[0]


# What the bounds were measured with; where lambda is larger, directions are flatter, and scores differ by more.
MEASURED = {
    "confidence": "linear", "unobserved_exponent": 0.0, "regularization": 0.5, "regularization_exponent": 0.5,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "loss_bound", "score_bound"),
    [
        ({}, 2e-6, 3e-3),
        ({"solver": "cholesky"}, 1e-6, 3e-5),
        ({"acceleration": False}, 2e-6, 3e-3),
        ({"objective": "rendle", "unobserved_weight": 0.1}, 2e-6, 3e-5),
    ],
)
def test_single_precision_follows_double_over_many_sweeps(plays, options, loss_bound, score_bound):
    """Fifty sweeps; bounds are ten times what is seen. With conjugate gradients the paths part by their tolerance."""
    start = np.random.default_rng(0).normal(size=(400, 32)).astype(np.float32) * np.float32(0.02)
    options = {"factors": 32, "iterations": SWEEPS, "acceleration": True, **MEASURED, **options}

    single, double = (
        ImplicitALS(dtype=dtype, **options).fit(plays, user_factors=start) for dtype in ("float32", "float64")
    )

    losses, expected = np.array(single.loss_history), np.array(double.loss_history)
    assert len(losses) == len(expected) == SWEEPS
    assert np.abs(losses / expected - 1).max() <= loss_bound
    assert (np.diff(losses) <= 1e-6 * losses[:-1]).all()
    assert losses[-1] == pytest.approx(single.loss(plays), rel=loss_bound)
    scores, true = (model.user_factors @ model.item_factors.T for model in (single, double))
    np.testing.assert_allclose(scores, true, atol=score_bound)


SMALL = sp.csr_array(np.array([[5.0, 0, 1, 0], [0, 2, 0, 0], [1, 1, 0, 3]]))


@pytest.mark.parametrize(
    ("parameters", "start", "phi", "message"),
    [
        ({}, 8e153, 1.0, "the factors have overflowed float64"),
        ({"regularization": 1e308}, 1e10, 1.0, "the loss has overflowed float64"),
        ({}, 1.0, 1e300, "the loss has overflowed float64|no finite solution"),
        ({"regularization": 0, "unobserved_weight": 0}, 1e-160, 1.0, "no finite solution|grown beyond"),
    ],
)
def test_what_overflows_is_refused(parameters, start, phi, message):
    preference = SMALL.copy()
    preference.data[:] = phi
    options = {"alpha": 1.0, "regularization_exponent": 0, "iterations": 1, "dtype": "float64", **parameters}

    with pytest.raises((FloatingPointError, ValueError), match=message):
        ImplicitALS(2, **options).fit(SMALL, preference=preference, user_factors=np.full((3, 2), start))


def test_losses_that_overflow_only_together_are_refused():
    """One row iterated, one so heavy that it is solved directly: either loss is finite, their sum is not."""
    values, phi = (sp.csr_array(np.diag(pair)) for pair in ((1.0, 1e4), (9e153, 1e152)))
    model = ImplicitALS(2, alpha=1.0, regularization_exponent=0, iterations=0, dtype="float64")

    with pytest.raises(FloatingPointError, match="the loss has overflowed float64"):
        model.fit(values, preference=phi, item_factors=np.zeros((2, 2)))
