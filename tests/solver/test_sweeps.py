"""Accelerated sweeps: the same minimum in fewer sweeps, and a loss that never rises."""

import gc
import threading
import weakref

import numpy as np
import pytest
import scipy.sparse as sp

from fastals import ImplicitALS
from fastals.core.parameters import NotFittedError
from fastals.core.state import State
from fastals.datasets import make_interactions
from fastals.solver import half, sweeps
from fastals.solver.fitting import Given, final_state, prepare, run
from fastals.solver.half_sweep import solve_side
from fastals.solver.sweeps import FIRST, LOOSEST, SHARE, Training


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


def test_items_are_extrapolated_by_both_differences(plays):
    few, alpha, ridge = plays[:60, :40], 5.0, 2.0
    options = {
        "factors": 6, "alpha": alpha, "regularization": ridge, "regularization_exponent": 0.0, "dtype": "float64",
        "random_state": 0, "solver": "cholesky",
    }  # fmt: skip
    R, P = few.toarray(), ImplicitALS(**options, iterations=0).fit(few).user_factors
    X_before = Q_before = None
    expected, t, m = [], 1.0, 0.0

    for _ in range(7):
        X = dense_half_sweep(R.T, P, alpha, ridge)
        if X_before is None:
            X_before = Q = X
        else:
            following = (1 + np.sqrt(1 + 4 * t**2)) / 2
            before, m, t = m, (t - 1) / following, following
            Q = X + (m + before) * ((X - X_before) + (X - Q_before)) / 2
        P = dense_half_sweep(R, Q, alpha, ridge)
        X_before, Q_before = X, Q
        expected.append(Q)

    got = []
    model = ImplicitALS(**options, iterations=7, acceleration=True)
    model.fit(few, callback=lambda model, *_: got.append(np.array(model.item_factors)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_a_state_with_a_sequence_that_no_fit_has_goes_on(plays):
    """A checkpoint's number may be anything above 0; of t below 1, t^2 - t has no root."""
    training, rows = prepare(ImplicitALS(6, random_state=0), State(), Given(plays))
    run(training, rows, 2, None, False)
    training.restore(training.state()._replace(sequence=0.5))

    run(training, rows, 6, None, False)

    assert (np.diff(training.loss_history) <= 0).all()


@pytest.fixture
def likes():
    """Long rows."""
    return sp.csr_array((np.random.default_rng(0).random((130, 75)) < 0.6).astype(np.float32))


PLAIN = {"alpha": 10.0, "acceleration": False, "tol": 1e-5, "iterations": 9, "random_state": 0}


@pytest.mark.parametrize("previous", [None, np.zeros((130, 12), np.float32)], ids=["none", "an array"])
@pytest.mark.parametrize("name", ["previous_users", "previous_items"])
def test_earlier_solutions_are_a_tuple(likes, name, previous):
    """In states of earlier versions they are not."""
    states = []
    ImplicitALS(12, **PLAIN).fit(likes, callback=lambda model, *_: states.append(model.training_state()))

    with pytest.raises(TypeError, match=f"{name} must be a tuple of arrays; got "):
        ImplicitALS(12, **PLAIN).fit(likes, resume_from=states[5]._replace(**{name: previous}))


@pytest.mark.parametrize("freeze", [0, 1])
def test_earlier_solutions_may_be_read_only(likes, freeze):
    """Some of them, in any order of memory."""
    states = []
    whole = ImplicitALS(12, **PLAIN).fit(likes, callback=lambda model, *_: states.append(model.training_state()))

    def frozen(arrays):
        copies = [np.array(array, order="FC"[number % 2]) for number, array in enumerate(arrays)]
        for number, array in enumerate(copies):
            array.flags.writeable = number % 2 == freeze
        return tuple(copies)

    state = states[5]
    assert len(state.previous_users) == 3
    state = state._replace(previous_users=frozen(state.previous_users), previous_items=frozen(state.previous_items))
    got = ImplicitALS(12, **PLAIN).fit(likes, resume_from=state)

    np.testing.assert_array_equal(got.user_factors, whole.user_factors)
    np.testing.assert_array_equal(got.item_factors, whole.item_factors)


def dense_half_sweep(R, Y, alpha, ridge):
    """Rows against the factors Y, each from its dense normal equations."""
    C = 1 + alpha * R
    return np.stack([np.linalg.solve(Y.T @ (c[:, None] * Y) + ridge * np.eye(Y.shape[1]), Y.T @ (c * (r > 0)))
                     for c, r in zip(C, R, strict=True)])  # fmt: skip


def test_an_extrapolation_that_goes_too_far_is_taken_back(plays, monkeypatch):
    plain = fitted(plays, solver="cholesky", acceleration=False, iterations=12).loss_history
    monkeypatch.setattr(Training, "_next_momentum", lambda training: 1000.0)

    history = fitted(plays, solver="cholesky", iterations=12).loss_history

    np.testing.assert_array_equal(history, plain)
    assert (np.diff(history) <= 1e-12 * np.abs(history[1:])).all()


@pytest.mark.parametrize("momentum", [None, 1000.0], ids=["taken", "taken back"])
def test_states_of_all_sweeps_stay_as_they_were(plays, monkeypatch, momentum):
    """Whatever later sweeps write, and where."""
    if momentum is not None:
        monkeypatch.setattr(Training, "_next_momentum", lambda training: momentum)
    training, _ = prepare(ImplicitALS(16, alpha=5.0, acceleration=True, random_state=0), State(), Given(plays))
    kept, copies = [], []

    for _ in range(8):
        training.sweep()
        state = training.state()
        kept += [state.user_factors, state.item_factors, *state.previous_items]
        copies += [np.array(array) for array in kept[len(copies) :]]

    for got, expected in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(got, expected)


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


@pytest.fixture
def tolerances(monkeypatch) -> list[float]:
    """Of every half-sweep, in order."""
    seen: list[float] = []

    def solve_and_note(side, basis, X, objective, settings, *more):
        seen.append(settings.tolerance)
        return solve_side(side, basis, X, objective, settings, *more)

    monkeypatch.setattr(sweeps, "solve_side", solve_and_note)
    return seen


@pytest.mark.parametrize("alpha", [5.0, 500.0])
def test_accuracy_follows_the_fall_of_the_loss(plays, tolerances, alpha):
    first_items = []
    model = ImplicitALS(16, alpha=alpha, regularization=2.0, regularization_exponent=0.0, tol=1e-6, random_state=0)
    stop = model.set_params(iterations=1).fit(plays)
    Q = np.array(stop.item_factors)
    P = ImplicitALS(16, iterations=0, random_state=0).fit(plays).user_factors
    first_items.append(loss_of(plays, P, Q, alpha))
    tolerances.clear()

    history = model.set_params(iterations=12).fit(plays).loss_history

    expected, zero = [FIRST], (1 + alpha * plays.data.astype(float)).sum()
    for before, loss in zip(first_items + history[:-2], history[:-1], strict=True):
        share = min(1, loss / (zero - loss))
        expected.append(max(min(SHARE * np.sqrt((before - loss) / loss), LOOSEST) * share, 1e-6))
    np.testing.assert_allclose(tolerances, [*np.repeat(expected, 2), 1e-6], rtol=1e-3)
    assert expected[-1] < expected[2]


def loss_of(plays, P, Q, alpha) -> float:
    """In full, over all pairs: c = 1 + alpha r, lambda 2."""
    r, scores = plays.toarray().astype(float), P.astype(float) @ Q.T.astype(float)
    return ((1 + alpha * r) * ((r > 0) - scores) ** 2).sum() + 2.0 * ((P**2).sum() + (Q.astype(float) ** 2).sum())


def test_plain_sweeps_keep_to_the_tolerance(plays, tolerances):
    fitted(plays, acceleration=False, tol=1e-4)

    assert set(tolerances) == {1e-4}


def test_a_tolerance_above_the_sweeps_own_stands(plays, tolerances):
    fitted(plays, tol=0.2)

    assert set(tolerances) == {0.2}


@pytest.mark.parametrize("given", ["user_factors", "item_factors", "warm_start"])
def test_a_start_that_may_be_good_is_not_spoiled(plays, tolerances, given):
    model = fitted(plays, iterations=20).set_params(iterations=2, acceleration=True)
    last = model.loss_history[-1]
    tolerances.clear()

    if given == "warm_start":
        model.set_params(warm_start=True).fit(plays)
    else:
        model.fit(plays, **{given: np.array(getattr(model, given))})

    assert tolerances[0] == 1e-3
    assert model.loss_history[0] < last * (1 + 1e-6)


def test_fewer_steps_and_no_more_loss(plays, monkeypatch):
    def steps_and_loss() -> tuple[int, float]:
        seen = []
        model = ImplicitALS(16, alpha=5.0, regularization=2.0, regularization_exponent=0.0, random_state=0)
        model.fit(plays, callback=lambda model, *_: seen.append(model.solver_report_["cg_steps"]))
        return sum(seen), model.loss(plays)

    steps, loss = steps_and_loss()
    monkeypatch.setattr(Training, "_paying_tolerance", lambda training: training.settings.tolerance)
    usual_steps, usual_loss = steps_and_loss()

    assert steps < 0.75 * usual_steps
    assert loss < usual_loss * (1 + 1e-4)


def test_sweeps_that_are_too_coarse_are_solved_again(plays, monkeypatch, tolerances):
    monkeypatch.setattr(sweeps, "LOOSEST", 0.9)
    monkeypatch.setattr(sweeps, "SHARE", 100.0)
    monkeypatch.setattr(sweeps, "FIRST", 0.9)

    history = fitted(plays, iterations=30, tol=1e-6).loss_history

    assert (np.diff(history) <= 1e-10 * np.abs(history[1:])).all()
    assert max(tolerances) > 0.1
    assert len(tolerances) > 61


@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_users_reach_the_tolerance_and_are_those_of_fold_in(plays, iterations):
    model = fitted(plays, iterations=iterations, tol=1e-10)
    P, Q, c0 = model.user_factors, model.item_factors, 1.0
    c = c0 + 5.0 * np.log1p(plays.toarray().astype(float))
    for u in range(0, 400, 13):
        A = (Q.T * c[u]) @ Q + 2.0 * np.eye(16)
        np.testing.assert_allclose(
            P[u], np.linalg.solve(A, Q.T @ (c[u] * (plays.toarray()[u] > 0))), rtol=1e-7, atol=1e-9
        )

    np.testing.assert_array_equal(model.recalculate_user(np.arange(400)), P)
    assert model.loss_history[-1] == pytest.approx(model.loss(plays), rel=1e-10)


def test_a_training_and_its_buffers_are_gone_with_the_last_reference(plays):
    """Without a collection of garbage, which may come late: a training has several times the memory of its factors."""
    training, rows = prepare(ImplicitALS(8, iterations=2), State(), Given(plays))
    run(training, rows, 2, lambda state, sweep, loss: (None, state), False)
    state = final_state(training, rows)
    gone = weakref.ref(training)
    gc.disable()
    try:
        del training
        assert gone() is None
    finally:
        gc.enable()
    assert state.loss_history


def test_no_training_waits_for_another_one(plays, monkeypatch):
    """A lock that trainings shared would be held for ever in a process forked beside one."""
    digesting, finish, digest = threading.Event(), threading.Event(), half.digest

    def held(*arrays):
        if threading.current_thread() is other:
            digesting.set()
            finish.wait(60)
        return digest(*arrays)

    def described() -> None:
        model = ImplicitALS(4, iterations=1)
        model.fit(plays, callback=lambda model, *_: problems.append(model.training_state().problem))

    monkeypatch.setattr(half, "digest", held)
    problems: list[dict[str, str]] = []
    other = threading.Thread(target=described)
    other.start()
    assert digesting.wait(60)
    described()
    first = len(problems)
    finish.set()
    other.join()
    assert first == 1
    assert problems[0] == problems[1]
