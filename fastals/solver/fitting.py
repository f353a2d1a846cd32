"""From parameters and data to a training, and from a training to the state of a model.

How two arguments get from `ImplicitALS.fit` to the kernel that solves a row, and what they are on the way:

    user_items      fit > prepare > check_rows (Rows) > build_sides (Side) > Training.sweep > solve_side > cg_task >
                    iterate_rows (Entries)
    regularization  fit > prepare > objective_for (Objective) > build_sides (Side, lambda of each row) >
                    Training.sweep > solve_side (System) > cg_task > iterate_rows (M)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastals.core.features import feature_names
from fastals.core.overlay import Factors, History, LentFactors
from fastals.core.progress import progress_bar
from fastals.core.rows import Rows
from fastals.core.state import Chosen, State, needed
from fastals.core.validation import (
    LARGEST_INT32,
    check_dtype,
    check_factors,
    check_integer,
    check_random_state,
    check_rows,
    is_auto,
    is_true,
)
from fastals.objective import Objective
from fastals.solver.checked import check_parameters, objective_for, unobserved_of
from fastals.solver.features import Effects
from fastals.solver.given_features import checked_feature_strengths, checked_features, strengths_for
from fastals.solver.half import Half, draw
from fastals.solver.half_sweep import Settings
from fastals.solver.pilot import every, exponents_for
from fastals.solver.sides import Side, build_sides
from fastals.solver.sweeps import Training

Callback = Callable[[State, int, float], tuple[Any, State]]


class Given(NamedTuple):
    """What ``ImplicitALS.fit`` is given besides its callbacks; see there."""

    user_items: Any
    preference: Any = None
    unobserved_weights: Any = None
    user_features: Any = None
    item_features: Any = None
    user_factors: Any = None
    item_factors: Any = None


def prepare(parameters: Any, before: State, given: Given) -> tuple[Training, Rows]:
    """Training of a model with these parameters, and the canonical rows of its users.

    ``before`` is the state of an earlier fit, which is the start with ``warm_start``.

    Raises
    ------
    TypeError, ValueError
        For arguments or parameters that do not fit.
    """
    settings, _ = check_parameters(parameters)
    rows, phi = check_rows(given.user_items, "user_items", preference=given.preference, allow_empty=False)
    weights = given.unobserved_weights
    exponents = exponents_for(parameters, weights, rows.indices.size, lambda step: every(rows, phi, 0, step))
    unobserved = unobserved_of(rows, exponents, weights)
    objective = objective_for(parameters, rows, unobserved)
    dtype = check_dtype(parameters.dtype)
    _warn_of_unreachable_tolerance(settings, dtype)
    started = given.user_factors is not None or given.item_factors is not None
    if parameters.warm_start and not started:
        given = _continued(given, before, rows.shape)
    sides = build_sides(objective, rows, phi, dtype, unobserved)
    features = checked_features(given.user_features, given.item_features, rows.shape)
    factors = _first_factors(parameters, rows.shape, dtype, given)
    if parameters.warm_start and not started and before.user_factors is not None:
        _draw_unknown(rows, phi, factors, parameters.random_state)
    strengths = strengths_for(parameters, objective.unit, features, [side.regularization for side in sides])
    halves = _halves(sides, factors, features, objective.unit, strengths, settings)
    for half, start in zip(halves, (given.user_factors, given.item_factors), strict=True):
        half.settled = start is not None
    accelerated = not started if is_auto(parameters.acceleration) else bool(parameters.acceleration)
    training = Training(objective, settings, halves[0], halves[1], accelerated=accelerated)
    training.unobserved, training.feature_strengths = unobserved, strengths
    training.feature_names = (feature_names(given.user_features), feature_names(given.item_features))
    training.users_first = given.user_factors is None and given.item_factors is not None
    return training, rows


def _halves(
    sides: tuple[Side, Side],
    factors: tuple[np.ndarray, np.ndarray],
    features: tuple[Rows | None, ...],
    unit: float,
    strengths: tuple[float, float],
    settings: Settings,
) -> list[Half]:
    """Halves of a training, of users and of items; their effects begin at zero."""
    halves = []
    for side, array, rows, strength in zip(sides, factors, features, strengths, strict=True):
        effects = None
        if rows is not None:
            effects = Effects(rows, side.regularization, strength / unit, array.shape[1], settings.num_threads)
        halves.append(Half(side, array, effects))
    return halves


def _continued(given: Given, before: State, shape: tuple[int, int]) -> Given:
    """What is given, with the factors of an earlier fit as the start; ValueError where they are of another shape."""
    kept = before.user_factors, before.item_factors
    known = tuple(size if factors is None else factors.shape[0] for size, factors in zip(shape, kept, strict=True))
    if known != shape:
        raise ValueError(
            f"warm_start goes on from factors of {known[0]} users and {known[1]} items, but user_items has shape "
            f"{shape}: set warm_start=False to start afresh"
        )
    arrays = (None if factors is None else factors.array for factors in kept)
    return given._replace(**dict(zip(("user_factors", "item_factors"), arrays, strict=True)))


def current_state(training: Training, rows: Rows) -> State:
    """State of a training after its last sweep; for callbacks, who read factors or training state at once or never."""
    halves = (training.users, training.items)
    users, items = (LentFactors(half.factors, training.until_it_goes_on(half.lend_factors)) for half in halves)
    return _state(training, users, items, rows).changed(training_state=training.until_it_goes_on(training.state))


def final_state(training: Training, rows: Rows) -> State:
    """State of a training that has come to its end."""
    return _state(training, Factors(training.users.factors), Factors(training.items.factors), rows)


def chosen_by(training: Training) -> Chosen:
    """What stands in a training for parameters that may be "auto"."""
    objective = training.objective
    strengths = objective.user_regularization, objective.item_regularization
    return Chosen(objective.alpha, strengths, training.feature_strengths)


def _state(training: Training, users: Factors, items: Factors, rows: Rows) -> State:
    return State(
        users,
        items,
        History(rows),
        chosen_by(training),
        tuple(training.loss_history),
        unobserved=training.unobserved,
        features=(training.users.features(), training.items.features()),
        report=training.summary(),
        feature_names=training.feature_names,
    )


def refreshed(parameters: Any, objective: Objective, settings: Settings, state: State, sweeps: int) -> State:
    """State after some sweeps over its history from its factors; their losses are appended."""
    rows = needed(state.history).oriented(0)
    factors = needed(state.user_factors).array.copy(), needed(state.item_factors).array.copy()
    _draw_unknown(rows, None, factors, parameters.random_state)
    sides = build_sides(objective, rows, None, factors[0].dtype, state.unobserved)
    known = tuple(None if side is None else side.rows.oriented(0) for side in state.features)
    strengths = checked_feature_strengths(parameters, state.chosen)
    users, items = _halves(sides, factors, known, objective.unit, strengths, settings)
    for half, side in zip((users, items), state.features, strict=True):
        half.settled = True
        if half.effects is not None and side is not None:
            half.effects.take(side.effects)
    accelerated = parameters.acceleration is not False
    training = Training(objective, settings, users, items, accelerated=accelerated)
    for _ in range(sweeps):
        training.sweep()
    training.finish()
    training.check_products()
    return state.changed(
        user_factors=Factors(users.factors), item_factors=Factors(items.factors),
        features=(users.features(), items.features()),
        loss_history=(*state.loss_history, *training.loss_history), report=training.summary(),
    )  # fmt: skip


def run(
    training: Training, rows: Rows, iterations: int, callback: Callback | None, show_progress: bool | None
) -> dict[str, Factors]:
    """Sweep until there have been ``iterations`` sweeps or a callback stops.

    ``callback(state, sweep, loss)`` returns what the user's callback has returned, and the state it has left. Returns
    the factors that it has put in there after the last sweep, by name.
    """
    put_in: dict[str, Factors] = {}

    def watch(sweep: int, loss: float) -> Any:
        nonlocal put_in
        if callback is None:
            return None
        returned, state = callback(current_state(training, rows), sweep, loss)
        left = {"user_factors": needed(state.user_factors), "item_factors": needed(state.item_factors)}
        put_in = {name: factors for name, factors in left.items() if not isinstance(factors, LentFactors)}
        return returned

    sweep_until(training, iterations, watch, show_progress)
    if not put_in:
        training.finish()
    training.check_products()
    return put_in


def sweep_until(
    training: Training, iterations: int, watch: Callable[[int, float], Any], show_progress: bool | None
) -> None:
    """Sweep until there have been ``iterations`` sweeps or ``watch(sweep, loss)`` returns True.

    Raises
    ------
    ValueError
        For fewer ``iterations`` than there have been.
    """
    if (done := len(training.loss_history)) > iterations:
        raise ValueError(f"iterations must be at least the {done} sweeps of resume_from; got {iterations}")
    if training.users_first:
        training.solve_users()
    with progress_bar(iterations - len(training.loss_history), show_progress) as advance:
        for sweep in range(len(training.loss_history), iterations):
            loss = training.sweep()
            advance(loss)
            if is_true("what callback returns", watch(sweep, loss)):
                break


def _first_factors(
    parameters: Any, shape: tuple[int, int], dtype: np.dtype, given: Given
) -> tuple[np.ndarray, np.ndarray]:
    """Factors to start from: those given, or random ones of the users."""
    factors = check_integer("factors", parameters.factors, 1, LARGEST_INT32)
    P, Q = (
        None if value is None else check_factors(value, name, (count, factors), dtype)
        for value, name, count in (
            (given.user_factors, "user_factors", shape[0]),
            (given.item_factors, "item_factors", shape[1]),
        )
    )
    random = check_random_state(parameters.random_state)
    if P is None:
        P = np.zeros((shape[0], factors), dtype)
        if Q is None:
            draw(random, P)
    return P, np.zeros((shape[1], factors), dtype) if Q is None else Q


def _draw_unknown(
    rows: Rows, phi: np.ndarray | None, factors: tuple[np.ndarray, np.ndarray], random_state: Any
) -> None:
    """Write random factors, in place, to users of zeros who like items, but of zeros alone.

    Sweeps would solve both against zeros, and never leave them: they are new ones that an update has not related to
    any that was known. Users who like nothing are zeros because they have been solved.
    """
    P, Q = factors
    zero = np.flatnonzero(~P.any(axis=1) & (rows.counts > 0))
    if not zero.size:
        return
    some = rows.taken(zero)
    preferences = some.data if phi is None else rows._replace(data=phi, disk=None).taken(zero).data
    liked = np.broadcast_to(preferences, some.indices.shape) > 0
    learned = np.asarray(Q.any(axis=1))[some.indices]
    like, known = (np.logical_or.reduceat(entries, some.indptr[:-1]) for entries in (liked, liked & learned))
    unknown = zero[like & ~known]
    drawn = np.empty((unknown.size, P.shape[1]), P.dtype)
    draw(check_random_state(random_state), drawn)
    P[unknown] = drawn


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
