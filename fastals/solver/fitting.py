"""From parameters and data to a training, and from a training to the state of a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fastals.core.overlay import Factors, History, LentFactors
from fastals.core.progress import progress_bar
from fastals.core.rows import Rows
from fastals.core.state import State, needed
from fastals.core.validation import (
    LARGEST_INT32,
    check_choice,
    check_dtype,
    check_factors,
    check_integer,
    check_random_state,
    check_real,
    check_rows,
    describe,
    is_auto,
    is_true,
)
from fastals.objective import Objective
from fastals.solver.half_sweep import SOLVERS, Settings
from fastals.solver.sides import build_sides
from fastals.solver.sweeps import Training

Callback = Callable[[State, int, float], tuple[Any, State]]
DRAWN_ROWS = 2**16  # at a time, so that an interrupt is heard in between


def checked_objective(parameters: Any, alpha: Any) -> Objective:
    """Objective of a model's parameters, with its alpha; TypeError or ValueError names the one that is wrong."""
    return Objective.checked(
        objective=parameters.objective,
        confidence=parameters.confidence,
        alpha=alpha,
        epsilon=parameters.epsilon,
        unobserved_weight=parameters.unobserved_weight,
        regularization=parameters.regularization,
        regularization_exponent=parameters.regularization_exponent,
    )


def checked_settings(parameters: Any) -> Settings:
    """Settings of the solver of a model's parameters; TypeError or ValueError names the one that is wrong."""
    threads = parameters.num_threads
    return Settings(
        check_choice("solver", parameters.solver, SOLVERS),
        check_real("tol", parameters.tol),
        min(check_integer("max_cg_steps", parameters.max_cg_steps, 1), LARGEST_INT32),
        None if threads is None else check_integer("num_threads", threads, 1),
    )


def prepare(
    parameters: Any, before: State, user_items: Any, preference: Any, user_factors: Any, item_factors: Any
) -> tuple[Training, Rows]:
    """Training of a model with these parameters, and the canonical rows of its users.

    ``before`` is the state of an earlier fit, which is the start with ``warm_start``; the other arguments are those of
    ``ImplicitALS.fit``.

    Raises
    ------
    TypeError, ValueError
        For arguments or parameters that do not fit.
    """
    settings = checked_settings(parameters)
    objective = checked_objective(parameters, 1.0 if is_auto(parameters.alpha) else parameters.alpha)
    acceleration = parameters.acceleration
    if not isinstance(acceleration, bool) and not is_auto(acceleration):
        raise ValueError(f"acceleration must be True, False or 'auto'; got {describe(acceleration)}")
    rows, phi = check_rows(user_items, "user_items", preference=preference, allow_empty=False)
    if is_auto(parameters.alpha):
        objective = objective.with_alpha_for(rows)
    dtype = check_dtype(parameters.dtype)
    _warn_of_unreachable_tolerance(settings, dtype)
    given = user_factors is not None or item_factors is not None
    if parameters.warm_start and not given:
        kept = before.user_factors, before.item_factors
        user_factors, item_factors = (None if factors is None else factors.array for factors in kept)
        known = tuple(
            size if factors is None else factors.shape[0] for size, factors in zip(rows.shape, kept, strict=True)
        )
        if known != rows.shape:
            raise ValueError(
                f"warm_start goes on from factors of {known[0]} users and {known[1]} items, but user_items has shape "
                f"{rows.shape}: set warm_start=False to start afresh"
            )
    P, Q = _first_factors(parameters, rows.shape, dtype, user_factors, item_factors)
    users, items = build_sides(objective, rows, phi, dtype)
    accelerated = not given if is_auto(acceleration) else bool(acceleration)
    training = Training(objective, settings, users, items, P, Q, accelerated=accelerated)
    training.users_first = user_factors is None and item_factors is not None
    return training, rows


def current_state(training: Training, rows: Rows) -> State:
    """State of a training after its last sweep; for callbacks, who read factors or training state at once or never."""
    halves = (training.users, training.items)
    users, items = (LentFactors(half.factors, training.until_it_goes_on(half.lend_factors)) for half in halves)
    return State(
        users, items, History(rows), training.objective.alpha, tuple(training.loss_history), training.summary(),
        training_state=training.until_it_goes_on(training.state),
    )  # fmt: skip


def final_state(training: Training, rows: Rows) -> State:
    """State of a training that has come to its end."""
    P, Q = Factors(training.users.factors), Factors(training.items.factors)
    return State(P, Q, History(rows), training.objective.alpha, tuple(training.loss_history), training.summary())


def run(
    training: Training, rows: Rows, iterations: int, callback: Callback | None, show_progress: bool | None
) -> dict[str, Factors]:
    """Sweep until there have been ``iterations`` sweeps or a callback stops.

    ``callback(state, sweep, loss)`` returns what the user's callback has returned, and the state it has left. Returns
    the factors that it has put in there after the last sweep, by name.
    """
    put_in: dict[str, Factors] = {}
    if training.users_first:
        training.solve_users()
    with progress_bar(iterations - len(training.loss_history), show_progress) as advance:
        for sweep in range(len(training.loss_history), iterations):
            loss = training.sweep()
            advance(loss)
            if callback is None:
                continue
            returned, state = callback(current_state(training, rows), sweep, loss)
            left = {"user_factors": needed(state.user_factors), "item_factors": needed(state.item_factors)}
            put_in = {name: factors for name, factors in left.items() if not isinstance(factors, LentFactors)}
            if is_true("what callback returns", returned):
                break
    if not put_in:
        training.finish()
    training.check_products()
    return put_in


def _first_factors(
    parameters: Any, shape: tuple[int, int], dtype: np.dtype, user_factors: Any, item_factors: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Factors to start from: those given, or random ones of the users."""
    factors = check_integer("factors", parameters.factors, 1, LARGEST_INT32)
    user_shape, item_shape = (shape[0], factors), (shape[1], factors)
    P = None if user_factors is None else check_factors(user_factors, "user_factors", user_shape, dtype)
    Q = None if item_factors is None else check_factors(item_factors, "item_factors", item_shape, dtype)
    random = check_random_state(parameters.random_state)
    if P is None:
        P = np.zeros(user_shape, dtype)
        if Q is None:
            for first in range(0, user_shape[0], DRAWN_ROWS):
                random.standard_normal(dtype=dtype, out=P[first : first + DRAWN_ROWS])
            P *= dtype.type(0.1 / np.sqrt(factors))
    return P, np.zeros(item_shape, dtype) if Q is None else Q


def _warn_of_unreachable_tolerance(settings: Settings, dtype: np.dtype) -> None:
    eps = float(np.finfo(dtype).eps)
    if settings.solver == "cg" and settings.tolerance < eps:
        warnings.warn(
            f"tol={settings.tolerance:.3g} is below {eps:.1e}, what conjugate gradients reach in {dtype}: most rows "
            "will take max_cg_steps and then be solved directly; solver='cholesky' gets there at once",
            RuntimeWarning,
            stacklevel=4,
        )


def warn_of_singular_rows(state: State, stacklevel: int) -> None:
    """RuntimeWarning where rows were not determined by the data."""
    singular = state.report["singular_rows"]
    if singular:
        warnings.warn(
            f"{singular} rows are underdetermined (regularization too small); their minimum-norm solutions were used, "
            "up to rounding errors",
            RuntimeWarning,
            stacklevel=stacklevel + 1,
        )
