"""A model's parameters, checked once, in the form in which the solver takes them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from fastals.core.rows import Rows
from fastals.core.state import Chosen
from fastals.core.unobserved import Unobserved, check_exponents
from fastals.core.validation import (
    LARGEST_INT32,
    check_choice,
    check_dtype,
    check_integer,
    check_real,
    describe,
    is_auto,
    is_true,
)
from fastals.objective import CONFIDENCES, Objective, density_of
from fastals.solver.given_features import checked_feature_strengths
from fastals.solver.half_sweep import SOLVERS, Settings
from fastals.solver.sides import sums_of_frequencies

Weights = tuple[Unobserved | None, Unobserved | None]
# With alpha="auto", where a fit has too few pairs to find a better one, see ``fastals.solver.pilot``: of 0, .25, .5 and
# .75 the best worst share over seven sets. The best is .25 to .35 on five of them, .5 and .7 on the others.
AUTO_EXPONENT = 0.5
PLAIN = (str, int, float, type(None))  # types of parameters that say all by their value
Checked = TypeVar("Checked")


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
    is_true("warm_start", parameters.warm_start)
    acceleration = parameters.acceleration
    if not isinstance(acceleration, bool) and not is_auto(acceleration):
        raise ValueError(f"acceleration must be True, False or 'auto'; got {describe(acceleration)}")
    return settings, objective


def checked_objective(parameters: Any, chosen: Chosen | None = None) -> Objective:
    """Objective of a model's parameters; TypeError or ValueError names the one that is wrong.

    What is "auto" among them is what the data had a fit choose, or 1 where there are none yet.
    """
    chosen = chosen or Chosen()
    confidence = check_choice("confidence", parameters.confidence, ("auto", *CONFIDENCES))
    if confidence == "auto":
        confidence = "log" if is_auto(parameters.alpha) else "linear"
    return _checked_once(
        Objective.checked,
        parameters.objective,
        confidence,
        chosen.alpha if is_auto(parameters.alpha) else parameters.alpha,
        parameters.epsilon,
        parameters.unobserved_weight,
        chosen.regularization if is_auto(parameters.regularization) else parameters.regularization,
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


def exponents_of(parameters: Any) -> tuple[float, float]:
    """``unobserved_exponent`` of users and items; "auto" is 0 where alpha is given, so that weights are as given."""
    exponent = parameters.unobserved_exponent
    if is_auto(exponent):
        exponent = AUTO_EXPONENT if is_auto(parameters.alpha) else 0.0
    return check_exponents(exponent)


def unobserved_of(rows: Rows, exponents: tuple[float, float], given: Any = None) -> Weights:
    """Weights of missing pairs, of users and of items: those given to ``fit``, or powers of popularity."""
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
