"""Accelerated sweeps: the same minimum in fewer sweeps, and a loss that never rises."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastals import ImplicitALS
from fastals.core.parameters import NotFittedError
from fastals.datasets import make_interactions
from fastals.solver.sweeps import Training


@pytest.fixture(scope="module")
def plays() -> sp.csr_array:
    return make_interactions(400, 300, mean_per_user=15, random_state=3).user_items


def fitted(plays, **parameters) -> ImplicitALS:
    settings = {"factors": 16, "regularization": 2.0, "regularization_exponent": 0.0, "alpha": 5.0, "confidence": "log"}
    return ImplicitALS(**{**settings, "iterations": 15, "random_state": 0, "dtype": "float64", **parameters}).fit(plays)


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
def test_fewer_sweeps_for_the_same_loss(plays, solver):
    plain = fitted(plays, solver=solver, acceleration=False, iterations=40).loss_history
    fast = fitted(plays, solver=solver, acceleration=True, iterations=40).loss_history

    def sweeps_to(history, gap):
        return int(np.argmax(np.append(history, 0) <= min(plain[-1], fast[-1]) * (1 + gap)))

    assert fast[-1] <= plain[-1]
    assert sweeps_to(fast, 1e-3) <= 0.8 * sweeps_to(plain, 1e-3)


def test_loss_never_rises(plays):
    history = fitted(plays, solver="cholesky", iterations=80).loss_history

    assert (np.diff(history) <= 1e-12 * np.abs(history[1:])).all()


def test_an_extrapolation_that_goes_too_far_is_taken_back(plays, monkeypatch):
    plain = fitted(plays, solver="cholesky", acceleration=False, iterations=12).loss_history
    monkeypatch.setattr(Training, "_next_momentum", lambda training: 1000.0)

    history = fitted(plays, solver="cholesky", iterations=12).loss_history

    np.testing.assert_array_equal(history, plain)
    assert (np.diff(history) <= 1e-12 * np.abs(history[1:])).all()


@pytest.mark.parametrize("acceleration", [True, False])
def test_history_is_the_loss_of_the_factors(plays, acceleration):
    model = fitted(plays, solver="cholesky", acceleration=acceleration, iterations=7)

    assert model.loss_history[-1] == pytest.approx(model.loss(plays), rel=1e-12)


def test_auto_is_plain_from_given_factors_and_accelerated_from_random_ones(plays):
    start = np.random.default_rng(1).normal(size=(plays.shape[0], 16)) / 10

    def fit(acceleration, **given):
        model = ImplicitALS(16, acceleration=acceleration, iterations=6, random_state=0, dtype="float64")
        return model.fit(plays, **given).user_factors

    np.testing.assert_array_equal(fit("auto", user_factors=start), fit(False, user_factors=start))
    np.testing.assert_array_equal(fit("auto"), fit(True))
    assert not np.array_equal(fit("auto"), fit(False))


@pytest.mark.parametrize("value", ["yes", None, 1, 0.5])
def test_bad_acceleration(plays, value):
    model = ImplicitALS(acceleration=value)

    with pytest.raises(ValueError, match="acceleration must be True, False or 'auto'; got"):
        model.fit(plays)
    with pytest.raises(NotFittedError):
        _ = model.user_factors
