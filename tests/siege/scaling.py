"""Kinds "scale" and "light": weights of any size, and weights far below c0, keep every digit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from .checks import Checks
from .choices import Choices
from .fits import Recorder, check_loss, check_state, check_sweeps, fitted
from .limits import Method, solved_rows
from .problem import Problem, draw_problem

LARGEST_WEIGHT = 1e16  # of float32: squares of a weight times a factor stay finite


def check_scale(choices: Choices, checks: Checks) -> None:
    """Weights, c0 and lambda times s: the minimiser is the same and the loss s times as large."""
    plain = draw_scalable(choices)
    largest = plain.terms.weight.max() + max(lambdas.max() for lambdas in plain.lambdas)
    exponent = choices.generator("s").uniform(-30, min(15, np.log10(LARGEST_WEIGHT / largest)))
    # By a power of four every product is the same but for its exponent; roots, too.
    power = choices.chance("power of four", 0.5)
    s = 4.0 ** round(exponent / np.log10(4)) if power else 10.0**exponent
    # With tol = 0 iterations go on until squares of residuals underflow, which exponents decide.
    exact = power and (plain.parameters["solver"] == "cholesky" or plain.parameters["tol"] > 0)
    scaled = times(plain, s)
    checks.description = f"{plain.describe()}\n  s = {s!r}"
    recorders = Recorder(), Recorder()
    models = [fitted(problem, checks, recorder) for problem, recorder in zip((plain, scaled), recorders, strict=True)]
    start = fitted(scaled, checks, iterations=0)
    if models[0] is None or models[1] is None or start is None:
        checks.true("scaled fit finds a solution where the other does", models[0] is models[1])
        return
    check_state(scaled, models[1], checks)
    check_loss(scaled, models[1], checks)
    check_sweeps(scaled, models[1], start, recorders[1].sweeps, checks)
    if exact:
        for name in ("user_factors", "item_factors"):
            checks.same("scaled by a power of four: factors", getattr(models[1], name), getattr(models[0], name))
        history = [loss * s for loss in models[0].loss_history]
        checks.same("scaled by a power of four: losses", models[1].loss_history, history)


def draw_scalable(choices: Choices) -> Problem:
    """Problem whose lambda does not depend on c0 by a power, in the middle of the range."""
    return draw_problem(
        choices, regularization_exponent=0.0, acceleration=choices.chance("accelerated", 0.5),
        alpha=choices.pick("alpha", (0.3, 1.0, 40.0)), unobserved_weight=choices.pick("c0", (0.0, 0.1, 1.0, 1.0)),
        regularization=choices.pick("lambda", (0.05, 0.5, 10.0, (0.5, 2.0))),
    )  # fmt: skip


def times(problem: Problem, s: float) -> Problem:
    """The problem with all weights and lambda times s."""
    p = problem.parameters
    strength = p["regularization"]
    pair = strength if isinstance(strength, tuple) else (strength, strength)
    scaled = {"alpha": p["alpha"] * s, "unobserved_weight": p["unobserved_weight"] * s}
    if p["feature_regularization"] != "auto":
        scaled["feature_regularization"] = tuple(value * s for value in problem.feature_strengths)
    return replace(problem, parameters=p | scaled | {"regularization": tuple(value * s for value in pair)})


def check_light(choices: Choices, checks: Checks) -> None:
    """confidence="raw" with c = alpha |r| at 1e-3 to 1e-7 of c0: factors and losses as exact as any.

    What is far below c0 takes part in A as -(c0 - c), and loses nothing there; b is c phi y, and has c's own digits.
    So the limits are those of any row.
    """
    c0 = choices.pick("c0", (1.0, 1.0, 30.0, 1e4))
    alpha = c0 * 10.0 ** choices.generator("lightness").uniform(-7, -3)
    problem = draw_problem(
        choices, objective="hu", confidence="raw", unobserved_weight=c0, alpha=alpha,
        dtype=choices.weighted("type", {"float32": 4, "float64": 1}), tol=choices.pick("tol", (0.0, 1e-6, 1e-6, 1e-3)),
        regularization=c0 * choices.pick("strength", (1e-3, 0.1, 1.0)), regularization_exponent=0.0,
    )  # fmt: skip
    problem = replace(problem, ratings=problem.ratings.clip(-8, 8))
    checks.description = problem.describe()
    recorder = Recorder()
    model, start = fitted(problem, checks, recorder), fitted(problem, checks, iterations=0)
    if model is None or start is None:
        return
    check_state(problem, model, checks)
    check_loss(problem, model, checks)
    check_sweeps(problem, model, start, recorder.sweeps, checks)
    random = choices.generator("rows")
    ratings = random.integers(1, 5, (5, problem.shape[1])) * (random.random((5, problem.shape[1])) < 0.3).astype(float)
    got = model.recalculate_user(np.arange(5), sp.csr_array(ratings))
    prior = problem.prior(0, model.feature_effects_, np.arange(5))
    rows = solved_rows(
        problem.terms_of_rows(ratings), got, model.item_factors, problem.rows_lambda(ratings, 0), Method.of(problem),
        prior,
    )  # fmt: skip
    checks.solved("light rows", rows)
