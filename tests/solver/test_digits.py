"""Every digit kept: raw confidences far below c0, weights of any scale, losses that end at nothing."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastals import ImplicitALS


def dense_users(R, Q, *, c0, alpha, ridge):
    """Exact users against the items, in float64, and the largest condition number of their systems."""
    C, phi = np.where(R > 0, alpha * R, c0), (R > 0) * 1.0
    Q = Q.astype(np.float64)
    systems = [Q.T @ (c[:, None] * Q) + ridge * np.eye(Q.shape[1]) for c in C]
    users = np.stack([np.linalg.solve(A, Q.T @ (c * f)) for A, c, f in zip(systems, C, phi, strict=True)])
    return C, phi, users, np.linalg.cond(systems).max()


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
@pytest.mark.parametrize(("c0", "alpha"), [(1.0, 1e-3), (1.0, 1e-5), (1.0, 1e-7), (1e4, 0.1), (1e6, 1.0)])
def test_raw_confidences_below_c0_keep_their_digits(solver, c0, alpha):
    R = sp.random(40, 30, 0.3, "csr", random_state=0, dtype=np.float64)
    ridge = 1e-3 * c0
    model = ImplicitALS(
        8, confidence="raw", alpha=alpha, unobserved_weight=c0, regularization=ridge, regularization_exponent=0,
        random_state=0, iterations=3, solver=solver, tol=1e-6,
    ).fit(R)  # fmt: skip
    Q = model.item_factors
    C, phi, expected, condition = dense_users(R.toarray(), Q, c0=c0, alpha=alpha, ridge=ridge)

    got = model.recalculate_user(np.arange(40))

    limit = np.finfo(np.float32).eps * condition  # the items are rotated in float32
    assert np.linalg.norm(got - expected) <= limit * np.linalg.norm(expected)
    P, Q = model.user_factors.astype(np.float64), Q.astype(np.float64)
    loss = (C * (phi - P @ Q.T) ** 2).sum() + ridge * ((P**2).sum() + (Q**2).sum())
    assert model.loss_history[-1] == pytest.approx(loss, rel=1e-6)
    assert (np.diff(model.loss_history) <= 1e-6 * loss).all()


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
def test_raw_confidences_around_c0_keep_to_the_tolerance(solver):
    """Below c0 the error is held in the norm of A, which lies below that of M."""
    R = sp.random(60, 40, 0.5, "csr", random_state=1, dtype=np.float64)
    for alpha in (0.02, 0.2, 2.0):
        model = ImplicitALS(
            8, confidence="raw", alpha=alpha, regularization=0.01, regularization_exponent=0, random_state=0,
            iterations=2, solver=solver, tol=1e-3, dtype="float64",
        ).fit(R)  # fmt: skip
        Q = model.item_factors
        C, _, expected, _ = dense_users(R.toarray(), Q, c0=1.0, alpha=alpha, ridge=0.01)
        for u, x in enumerate(expected):
            A = Q.T @ (C[u][:, None] * Q) + 0.01 * np.eye(8)
            error = model.user_factors[u] - x
            assert error @ A @ error <= 1.02e-6 * (x @ A @ x) + 1e-30


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
@pytest.mark.parametrize("scale", [1e-30, 1e-24, 1e-21, 1e-10, 1e10, 1e15])
def test_the_scale_of_weights_changes_the_scale_of_the_loss_alone(solver, scale):
    R = sp.random(200, 100, 0.1, "csr", random_state=1)

    def fit(s):
        return ImplicitALS(
            8, alpha=5 * s, unobserved_weight=s, regularization=0.5 * s, regularization_exponent=0, random_state=0,
            iterations=4, solver=solver, tol=1e-5,
        ).fit(R)  # fmt: skip

    got, expected = fit(scale), fit(1.0)

    np.testing.assert_allclose(
        got.user_factors @ got.item_factors.T, expected.user_factors @ expected.item_factors.T, atol=2e-5
    )
    np.testing.assert_allclose(np.array(got.loss_history) / scale, expected.loss_history, rtol=1e-5)
    assert got.loss(R) / scale == pytest.approx(expected.loss(R), rel=1e-5)
    assert got.explain(3, itemid=5)[0] == pytest.approx(expected.explain(3, itemid=5)[0], abs=1e-4)


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
@pytest.mark.parametrize("exponent", [-60, -42, 58, 60])
def test_a_power_of_four_changes_no_bit(solver, exponent):
    R = sp.random(50, 40, 0.2, "csr", random_state=2)

    def fit(scale):
        return ImplicitALS(
            6, alpha=2 * scale, unobserved_weight=scale, regularization=scale / 2, regularization_exponent=0,
            random_state=0, iterations=3, solver=solver,
        ).fit(R)  # fmt: skip

    got, expected = fit(2.0**exponent), fit(1.0)

    np.testing.assert_array_equal(got.user_factors, expected.user_factors)
    assert got.loss_history == [loss * 2.0**exponent for loss in expected.loss_history]


@pytest.mark.filterwarnings("ignore:.* rows are underdetermined:RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_loss_is_never_negative(dtype):
    """More factors than rows and hardly any penalty: what is left of the loss is rounding errors, of either sign."""
    for seed in range(20):
        R = sp.random(6, 5, 0.6, "csr", random_state=seed)
        model = ImplicitALS(
            12, alpha=1000.0, regularization=1e-12, iterations=6, dtype=dtype, random_state=seed, solver="cholesky"
        )
        assert min(model.fit(R).loss_history) >= 0
        assert model.loss(R) >= 0
