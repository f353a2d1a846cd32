"""From parameters and data to a training: starts, what is refused, what callbacks leave, and the state in the end."""

import numpy as np
import pytest
from models import small

from fastals import ImplicitALS
from fastals.core.overlay import Factors, LentFactors
from fastals.core.state import State
from fastals.solver import half
from fastals.solver.checked import check_parameters
from fastals.solver.fitting import (
    Given,
    current_state,
    final_state,
    prepare,
    run,
    warn_of_singular_rows,
)


def prepared(model: ImplicitALS, ratings, before=None, **given):
    return prepare(model, before or State(), Given(ratings, **given))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows_at_a_time", [2**16, 7])
def test_users_start_from_small_random_factors_and_items_from_zero(ratings, monkeypatch, dtype, rows_at_a_time):
    monkeypatch.setattr(half, "DRAWN_ROWS", rows_at_a_time)
    random = np.random.default_rng(5)

    training, _ = prepared(small(dtype=dtype, random_state=5), ratings)

    expected = random.standard_normal((30, 4), dtype) * np.dtype(dtype).type(0.1 / 2)
    np.testing.assert_array_equal(training.users.factors, expected)
    assert training.users.factors.dtype == dtype
    assert not training.items.factors.any()


def test_warm_start_goes_on_from_the_state_and_given_factors_come_first(ratings):
    model = small(warm_start=True).fit(ratings)
    given = np.full((30, 4), 0.5)

    warm, _ = prepared(model, ratings, model._state)
    from_given, _ = prepared(model, ratings, model._state, user_factors=given)

    np.testing.assert_array_equal(warm.users.factors, model.user_factors)
    np.testing.assert_array_equal(warm.items.factors, model.item_factors)
    np.testing.assert_array_equal(from_given.users.factors, given)
    assert not from_given.items.factors.any()


def test_fewer_iterations_than_have_been_made_are_refused(ratings):
    states = []
    small().fit(ratings, callback=lambda model, *_: states.append(model.training_state()))

    with pytest.raises(ValueError, match="iterations must be at least the 3 sweeps of resume_from; got 2"):
        small(iterations=2).fit(ratings, resume_from=states[-1])


def test_warm_start_from_another_shape_is_refused_by_its_name(ratings):
    model = small(warm_start=True).fit(ratings)

    with pytest.raises(ValueError, match=r"warm_start goes on from factors of 30 users .* \(7, .*warm_start=False"):
        prepared(model, ratings[:7], model._state)


@pytest.mark.parametrize(("acceleration", "given", "expected"), [
    ("auto", False, True), ("auto", True, False), (True, True, True), (False, False, False),
])  # fmt: skip
def test_only_a_start_of_ones_own_is_accelerated_unasked(ratings, acceleration, given, expected):
    start = {"user_factors": np.ones((30, 4))} if given else {}

    training, _ = prepared(small(acceleration=acceleration), ratings, **start)

    assert training.accelerated is expected


def test_automatic_alpha_is_that_of_the_training(ratings):
    training, _ = prepared(small(alpha="auto"), ratings)

    assert training.objective.alpha == small(alpha="auto").fit(ratings).alpha_


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("solver", "qr", ValueError), ("tol", -1, ValueError), ("tol", "x", TypeError), ("max_cg_steps", 0, ValueError),
        ("num_threads", 0, ValueError), ("num_threads", 1.5, TypeError), ("factors", 0, ValueError),
        ("dtype", "float16", ValueError), ("acceleration", 1, ValueError), ("alpha", "high", TypeError),
        ("regularization", (1, 2, 3), ValueError), ("epsilon", 0, ValueError), ("random_state", "x", TypeError),
    ],
)  # fmt: skip
def test_wrong_parameters_are_named(ratings, name, value, error):
    with pytest.raises(error, match=f"^{name} must"):
        prepared(small(**{name: value}), ratings)
    if name != "random_state":
        with pytest.raises(error, match=f"^{name} must"):
            check_parameters(small(**{name: value}))


@pytest.mark.parametrize(("dtype", "tol", "solver", "told"), [
    ("float32", 1e-8, "cg", True), ("float32", 1e-8, "cholesky", False), ("float32", 1e-6, "cg", False),
    ("float64", 1e-8, "cg", False),
])  # fmt: skip
def test_tolerance_that_cannot_be_reached_is_told(ratings, recwarn, dtype, tol, solver, told):
    prepared(small(dtype=dtype, tol=tol, solver=solver), ratings)

    assert [str(one.message)[:19] for one in recwarn] == ["tol=1e-08 is below "] * told


def test_a_run_is_a_fit(ratings):
    model = small().fit(ratings)
    training, rows = prepared(small(), ratings)

    assert run(training, rows, 3, None, False) == {}
    state = final_state(training, rows)

    np.testing.assert_array_equal(state.user_factors.array, model.user_factors)
    np.testing.assert_array_equal(state.item_factors.array, model.item_factors)
    assert list(state.loss_history) == model.loss_history
    assert dict(state.report) == model.solver_report_
    assert state.chosen[:2] == (model.alpha_, model.regularization_)
    held = state.history.oriented(0)
    assert held.shape == rows.shape
    assert all(getattr(held, part) is getattr(rows, part) for part in ("indptr", "indices", "data"))  # no copy


@pytest.mark.parametrize(("returned", "sweeps"), [(True, 2), (np.True_, 2), (None, 5), (False, 5)])
def test_callback_stops_a_run(ratings, returned, sweeps):
    training, rows = prepared(small(), ratings)
    seen = []

    def callback(state, sweep, loss):
        seen.append((sweep, loss))
        return returned if sweep == 1 else None, state

    run(training, rows, 5, callback, False)

    assert seen == list(enumerate(training.loss_history))
    assert len(seen) == sweeps


def test_what_callbacks_put_in_after_the_last_sweep_is_returned(ratings):
    training, rows = prepared(small(), ratings)
    mine = Factors(np.ones((22, 4), np.float32))

    got = run(training, rows, 3, lambda state, sweep, loss: (None, state.changed(item_factors=mine)), False)

    assert got == {"item_factors": mine}


def test_state_under_way_lends_its_factors_until_training_goes_on(ratings):
    training, rows = prepared(small(), ratings)
    training.sweep()
    early, unread = current_state(training, rows), current_state(training, rows)
    assert isinstance(early.user_factors, LentFactors)
    held = early.user_factors.array
    expected = held.copy()

    training.sweep()

    np.testing.assert_array_equal(held, expected)
    assert len(early.loss_history) == 1
    for late in (lambda: unread.item_factors.array, unread.training_state):
        with pytest.raises(RuntimeError, match="training has gone on"):
            late()


def test_singular_rows_are_warned_of(recwarn):
    warn_of_singular_rows(State(report={"singular_rows": 0}), stacklevel=1)
    assert len(recwarn) == 0
    with pytest.warns(RuntimeWarning, match="7 rows are underdetermined") as caught:
        warn_of_singular_rows(State(report={"singular_rows": 7}), stacklevel=1)
    assert caught[0].filename == __file__
