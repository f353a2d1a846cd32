"""From parameters and data to a training, and from a training to the state of a model.

How two arguments get from `ImplicitALS.fit` to the kernel that solves a row, and what they are on the way:

    user_items      fit > prepare > check_rows (Rows) > build_sides (Side) > Training.sweep > solve_side > cg_rows >
                    iterate_rows (Entries)
    regularization  fit > prepare > objective_for (Objective) > build_sides (Side, lambda of each row) >
                    Training.sweep > solve_side (System) > cg_rows > iterate_rows (M)
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fastals.core.features import feature_names
from fastals.core.overlay import Factors, History, LentFactors
from fastals.core.progress import progress_bar
from fastals.core.rows import Rows
from fastals.core.state import Chosen, State, needed
from fastals.core.unobserved import Unobserved, check_exponents
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
from fastals.objective import CONFIDENCES, Objective, density_of
from fastals.solver.features import Effects
from fastals.solver.given_features import checked_feature_strengths, checked_features, strengths_for
from fastals.solver.half import Half
from fastals.solver.half_sweep import SOLVERS, Settings
from fastals.solver.sides import Side, build_sides, sums_of_frequencies
from fastals.solver.sweeps import Training

Callback = Callable[[State, int, float], tuple[Any, State]]
Weights = tuple[Unobserved | None, Unobserved | None]
# With alpha="auto": of 0, .25, .5 and .75 the best worst share over seven sets, whichever of them is left out, see
# ``asv_benchmarks/defaults.py --leave-one-out``. The best is .25 to .35 on five of them, .5 and .7 on the others.
AUTO_EXPONENT = 0.5
PLAIN = (str, int, float, type(None))  # types of parameters that say all by their value
Checked = TypeVar("Checked")
DRAWN_ROWS = 2**16  # at a time, so that an interrupt is heard in between


def checked_objective(parameters: Any, chosen: Chosen | None = None) -> Objective:
    """Objective of a model's parameters; TypeError or ValueError names the one that is wrong.

    What is "auto" among them is what the data had a fit choose, or 1 where there are none yet.
    """
    alpha, regularization, _ = chosen or Chosen()
    confidence = check_choice("confidence", parameters.confidence, ("auto", *CONFIDENCES))
    if confidence == "auto":
        confidence = "log" if is_auto(parameters.alpha) else "linear"
    return _checked_once(
        Objective.checked,
        parameters.objective,
        confidence,
        alpha if is_auto(parameters.alpha) else parameters.alpha,
        parameters.epsilon,
        parameters.unobserved_weight,
        regularization if is_auto(parameters.regularization) else parameters.regularization,
        parameters.regularization_exponent,
    )


def objective_for(parameters: Any, rows: Rows, unobserved: Weights) -> Objective:
    """Objective of a model's parameters, with what is "auto" among them chosen to suit the rows of all users."""
    objective = checked_objective(parameters)
    if is_auto(parameters.alpha):
        objective = objective.with_alpha_for(rows)
    if is_auto(parameters.regularization):
        objective = objective.with_regularization(density_of(rows), *sums_of_frequencies(objective, rows, unobserved))
    return objective


def checked_settings(parameters: Any) -> Settings:
    """Settings of the solver of a model's parameters; TypeError or ValueError names the one that is wrong."""
    given = parameters.solver, parameters.tol, parameters.max_cg_steps, parameters.num_threads
    return _checked_once(_settings, *given)


def _settings(solver: Any, tol: Any, max_cg_steps: Any, num_threads: Any) -> Settings:
    return Settings(
        check_choice("solver", solver, SOLVERS),
        check_real("tol", tol),
        min(check_integer("max_cg_steps", max_cg_steps, 1), LARGEST_INT32),
        None if num_threads is None else check_integer("num_threads", num_threads, 1),
    )


def _checked_once(check: Callable[..., Checked], *values: Any) -> Checked:
    """What ``check`` makes of parameters; of those that it has seen, what it made then: requests bring the same."""
    if all(type(value) in PLAIN or _is_pair_of_floats(value) for value in values):
        found: Checked = _kept(check, *values)
        return found
    return check(*values)


def _is_pair_of_floats(value: Any) -> bool:
    """Whether a value is such as a fit chooses for "auto"; other pairs may be equal and of other types."""
    return type(value) is tuple and len(value) == 2 and type(value[0]) is type(value[1]) is float


@functools.lru_cache(maxsize=256, typed=True)
def _kept(check: Callable[..., Any], *values: Any) -> Any:
    return check(*values)


class Given(NamedTuple):
    """What ``ImplicitALS.fit`` is given besides its callbacks; see there."""

    user_items: Any
    preference: Any = None
    unobserved_weights: Any = None
    user_features: Any = None
    item_features: Any = None
    user_factors: Any = None
    item_factors: Any = None


def check_parameters(parameters: Any) -> tuple[Settings, Objective]:
    """Check what can be told of a model's parameters without data; but for ``random_state``, whose stream may advance.

    Returns the settings of the solver and the objective, with 1 for what is "auto".

    Raises
    ------
    TypeError, ValueError
        Naming the parameter that is wrong.
    """
    settings = checked_settings(parameters)
    objective = checked_objective(parameters)
    check_integer("factors", parameters.factors, 1, LARGEST_INT32)
    check_integer("iterations", parameters.iterations, 0)
    check_dtype(parameters.dtype)
    exponents_of(parameters)
    checked_feature_strengths(parameters)
    acceleration = parameters.acceleration
    if not isinstance(acceleration, bool) and not is_auto(acceleration):
        raise ValueError(f"acceleration must be True, False or 'auto'; got {describe(acceleration)}")
    return settings, objective


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
    unobserved = unobserved_of(parameters, rows, given.unobserved_weights)
    objective = objective_for(parameters, rows, unobserved)
    dtype = check_dtype(parameters.dtype)
    _warn_of_unreachable_tolerance(settings, dtype)
    started = given.user_factors is not None or given.item_factors is not None
    if parameters.warm_start and not started:
        given = _continued(given, before, rows.shape)
    sides = build_sides(objective, rows, phi, dtype, unobserved)
    features = checked_features(given.user_features, given.item_features, rows.shape)
    factors = _first_factors(parameters, rows.shape, dtype, given)
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


def exponents_of(parameters: Any) -> tuple[float, float]:
    """``unobserved_exponent`` of users and items; "auto" is 0 where alpha is given, so that weights are as given."""
    exponent = parameters.unobserved_exponent
    if is_auto(exponent):
        exponent = AUTO_EXPONENT if is_auto(parameters.alpha) else 0.0
    return check_exponents(exponent)


def unobserved_of(parameters: Any, rows: Rows, given: Any) -> Weights:
    """Weights of missing pairs, of users and of items: those given to ``fit``, or by popularity."""
    exponents = exponents_of(parameters)
    if given is None:
        return (
            Unobserved.by_popularity(rows.counts, exponents[0]),
            Unobserved.by_popularity(rows.column_counts, exponents[1]),
        )
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise TypeError(f"unobserved_weights must be a pair, of users and of items; got {describe(given)}")
    return (
        Unobserved.given(given[0], "unobserved_weights of users", rows.shape[0]),
        Unobserved.given(given[1], "unobserved_weights of items", rows.shape[1]),
    )


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
    """Sweep until there have been ``iterations`` sweeps or ``watch(sweep, loss)`` returns True."""
    if training.users_first:
        training.solve_users()
    with progress_bar(iterations - len(training.loss_history), show_progress) as advance:
        for sweep in range(len(training.loss_history), iterations):
            loss = training.sweep()
            advance(loss)
            if is_true("what callback returns", watch(sweep, loss)):
                break


def draw(random: np.random.Generator, P: np.ndarray) -> None:
    """Write random factors to P (n, factors) in place, from where the generator's stream stands."""
    for first in range(0, P.shape[0], DRAWN_ROWS):
        random.standard_normal(dtype=P.dtype, out=P[first : first + DRAWN_ROWS])
    P *= P.dtype.type(0.1 / np.sqrt(P.shape[1]))


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
