"""Kind "fit": any problem; factors, losses, reports and the caller's data after every sweep."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastals import ImplicitALS
from fastals.solver.sweeps import LOOSEST

from . import oracle
from .checks import Checks
from .choices import Choices
from .limits import U64, Method, Solved, effects_limits, solved_rows
from .problem import Problem, draw_problem


@dataclass
class Sweep:
    """What a callback saw."""

    P: np.ndarray
    Q: np.ndarray
    loss: float
    effects: tuple[np.ndarray | None, np.ndarray | None]


@dataclass
class Recorder:
    """Callback that copies what every sweep made, and may stop the fit."""

    stop_after: int | None = None
    sweeps: list[Sweep] = field(default_factory=list)

    def __call__(self, model: ImplicitALS, sweep: int, loss: float) -> bool:
        effects = model.feature_effects_
        self.sweeps.append(Sweep(model.user_factors.copy(), model.item_factors.copy(), loss, effects))
        return self.stop_after == sweep


def fitted(problem: Problem, checks: Checks, callback: Any = None, **parameters: Any) -> ImplicitALS | None:
    """Fitted model; None where the problem has no solution and fit says so."""
    model, data = problem.model(**parameters), problem.data
    try:
        with checks.warnings_expected(), checks.unchanged("fit leaves its arguments", *data.values()):
            model.fit(**data, callback=callback)
    except FloatingPointError as error:
        checks.true("fit finds a solution", problem.may_have_no_solution, repr(error))
        checks.true("a failed fit leaves no state", not hasattr(model, "user_factors"))
        return None
    return model


def check_fit(choices: Choices, checks: Checks) -> None:
    problem = draw_problem(choices)
    checks.description = problem.describe()
    stop = 1 if choices.chance("stopped", 0.1) else None
    recorder = Recorder(stop)
    model = fitted(problem, checks, recorder)
    if model is not None:
        check_state(problem, model, checks)
        check_loss(problem, model, checks)
        start = fitted(problem, checks, iterations=0)
        if start is not None:
            check_sweeps(problem, model, start, recorder.sweeps, checks)


def check_state(problem: Problem, model: ImplicitALS, checks: Checks) -> None:
    """Shapes, types, zeros, and what the model keeps of the data."""
    dtype = np.dtype(problem.parameters["dtype"])
    for name, axis in (("user_factors", 1), ("item_factors", 0)):
        factors = getattr(model, name)
        shape = (problem.shape[1 - axis], problem.factors)
        checks.true("factors: type and shape", factors.dtype == dtype and factors.shape == shape)
        checks.true("factors: finite, read-only", np.isfinite(factors).all() and not factors.flags.writeable)
        empty = ~(problem.ratings != 0).any(axis=axis) & (problem.features[1 - axis] is None)
        checks.true("rows without entries are zero", not factors[empty].any(), name)
    kept = model.user_items_
    checks.true("user_items_ is canonical", kept.format == "csr" and kept.has_canonical_format)
    checks.same("user_items_", kept.toarray().astype(np.float64), problem.ratings.astype(dtype).astype(np.float64))
    alpha = problem.alpha
    checks.at_most("alpha_", model.alpha_ - alpha, 4 * problem.ratings.size * U64 * alpha)
    for got, strength in zip(model.regularization_, problem.strengths, strict=True):
        checks.at_most("regularization_", got - strength, 4 * problem.ratings.size * U64 * strength)
    checks.true("loss_history: floats", all(type(loss) is float for loss in model.loss_history))
    checks.true("losses are not negative", all(loss >= 0 for loss in model.loss_history), str(model.loss_history))
    report = model.solver_report_
    checks.true("solver_report_", all(np.isfinite(value) and value >= 0 for value in report.values()), str(report))
    if problem.parameters["solver"] == "cg":
        checks.true("cg_steps", report["cg_steps"] <= problem.parameters["max_cg_steps"], str(report))


def check_loss(problem: Problem, model: ImplicitALS, checks: Checks) -> None:
    """``loss`` in full, in float64: the sum over all pairs, whose parts cancel."""
    P, Q = (factors.astype(np.float64) for factors in (model.user_factors, model.item_factors))
    effects = model.feature_effects_
    expected = oracle.loss(problem.terms, P, Q, problem.lambdas, problem.priors(effects))
    expected += problem.effects_penalty(effects)
    with checks.unchanged("loss leaves its arguments", *problem.loss_data.values()):
        got = model.loss(**problem.loss_data)
    checks.at_most("loss()", got - expected, full_loss_error(problem, P, Q, effects))
    checks.true("losses are not negative", got >= 0, f"loss() = {got}")


def full_loss_error(problem: Problem, P: np.ndarray, Q: np.ndarray, effects: tuple[Any, Any]) -> float:
    """Roundings of the full loss: every sum errs by its length times u64 times the sum of the sizes it adds.

    The sizes are those of the stored pairs' terms, c (|phi| + |p|.|q|)^2, of c0 v w (|p|.|q|)^2 on all pairs, by way
    of the Gramians too, and of the penalties; the lengths those of inner products, rows, and the matrix.
    """
    terms = problem.terms
    X = np.abs(P) @ np.abs(Q).T
    gramians = (((terms.v * np.abs(P).T) @ np.abs(P)) * ((terms.w * np.abs(Q).T) @ np.abs(Q))).sum()
    size = (terms.own * (np.abs(terms.phi) + X) ** 2).sum() + (terms.missing * X**2).sum() + terms.c0 * gramians
    size += _penalty_sizes(problem, 0, P, effects) + _penalty_sizes(problem, 1, Q, effects)
    return (4 * problem.factors + sum(problem.shape) + 20) * 2 * U64 * size


def _penalty_sizes(problem: Problem, axis: int, X: np.ndarray, effects: tuple[Any, Any]) -> float:
    """The sizes that a side's penalties are made of: lambda (|x| + U)^2 and strength |A|^2."""
    prior, A = problem.prior(axis, effects), effects[axis]
    total = problem.lambdas[axis] @ (np.sqrt((X.astype(np.float64) ** 2).sum(axis=1)) + prior.size) ** 2
    return float(total + (0 if A is None else problem.feature_strengths[axis] * (A**2).sum()))


def check_sweeps(problem: Problem, model: ImplicitALS, start: ImplicitALS, sweeps: list[Sweep], checks: Checks) -> None:
    """Each sweep: both sides solved, the loss right and never rising; then what ``fit`` made of the last one.

    Accelerated sweeps are solved to their own tolerance. Where the loss would rise for that, to the one asked for.
    """
    method, accelerated = Method.of(problem), _accelerated(problem)
    under_way = method._replace(tol=max(method.tol, LOOSEST)) if accelerated else method
    checks.same("loss_history", model.loss_history[:-1], [sweep.loss for sweep in sweeps[:-1]])
    if set(problem.given) == {"item_factors"}:
        users = solved_rows(problem.terms, start.user_factors, start.item_factors, problem.lambdas[0], method)
        checks.solved("users solved from given items", users)
    P, before, before_error = start.user_factors, np.inf, 0.0
    settled = [start.user_factors if problem.given else None, problem.given.get("item_factors")]
    for number, sweep in enumerate(sweeps):
        lost = sum(check_effects(problem, axis, settled[axis], sweep.effects[axis], checks) for axis in (0, 1))
        settled = [sweep.P, sweep.Q]
        priors = problem.priors(sweep.effects)
        items = solved_rows(problem.terms.transposed, sweep.Q, P, problem.lambdas[1], under_way, priors[1])
        users = solved_rows(problem.terms, sweep.P, sweep.Q, problem.lambdas[0], under_way, priors[0])
        if not accelerated or number == 0:
            checks.solved("items", items, f"sweep {number}")
        checks.solved("users", users, f"sweep {number}")
        error = _loss_error(problem, users, sweep)
        expected = oracle.loss(problem.terms, sweep.P, sweep.Q, problem.lambdas, priors)
        expected += problem.effects_penalty(sweep.effects)
        checks.at_most("loss of a sweep", sweep.loss - expected, error, f"sweep {number}, {sweep.loss}, {expected}")
        if number:
            allowed = error + before_error + lost + sum(_excess(problem, P, sweep, method))
            checks.at_most("loss never rises", max(sweep.loss - before, 0), allowed, f"sweep {number}")
        P, before, before_error = sweep.P, sweep.loss, error
    if sweeps:
        check_last(problem, model, sweeps[-1], method, checks)


def check_effects(problem: Problem, axis: int, X: np.ndarray | None, A: np.ndarray | None, checks: Checks) -> float:
    """Effects of a sweep are the ridge regression of the factors before it, zero before there were any.

    Returns what they may lose against their minimum.
    """
    F, own, strength = problem.features[axis], problem.lambdas[axis], problem.feature_strengths[axis]
    checks.true("effects where there are features", (A is None) == (F is None))
    if F is None or A is None:
        return 0.0
    if X is None:
        checks.true("effects before the first solution are zero", not A.any())
        return 0.0
    X = X.astype(np.dtype(problem.parameters["dtype"])).astype(np.float64)
    limits = effects_limits(F, own, strength, X, A)
    checks.at_most("effects of features", F.T * own @ (X - F @ A) - strength * A, limits)
    return float((limits**2).sum() / strength)


def check_last(problem: Problem, model: ImplicitALS, last: Sweep, method: Method, checks: Checks) -> None:
    """Fit keeps the last sweep; users that started from guesses or were not solved to ``tol`` are solved once more."""
    checks.same("the last sweep's items", model.item_factors, last.Q)
    checks.same("the last sweep's effects", list(model.feature_effects_), list(last.effects))
    priors = problem.priors(last.effects)
    users = solved_rows(problem.terms, model.user_factors, last.Q, problem.lambdas[0], method, priors[0])
    checks.solved("users in the end", users)
    final = Sweep(model.user_factors, last.Q, model.loss_history[-1], last.effects)
    expected = oracle.loss(problem.terms, final.P, final.Q, problem.lambdas, priors)
    expected += problem.effects_penalty(last.effects)
    checks.at_most("the last loss", final.loss - expected, _loss_error(problem, users, final))


def _excess(problem: Problem, P: np.ndarray, sweep: Sweep, method: Method) -> tuple[float, float]:
    """What items and users may lose against their minimum where they are solved to the tolerance asked for."""
    priors = problem.priors(sweep.effects)
    items = solved_rows(problem.terms.transposed, sweep.Q, P, problem.lambdas[1], method, priors[1])
    return items.excess, solved_rows(problem.terms, sweep.P, sweep.Q, problem.lambdas[0], method, priors[0]).excess


def _accelerated(problem: Problem) -> bool:
    chosen = problem.parameters["acceleration"]
    return not problem.given if chosen == "auto" else chosen


def _loss_error(problem: Problem, users: Solved, sweep: Sweep) -> float:
    """Of the loss that comes with the users' half-sweep: the rows', and the items' penalty in float64."""
    penalty = _penalty_sizes(problem, 1, sweep.Q, sweep.effects) + problem.effects_penalty(sweep.effects)
    total = problem.terms.constants.sum() + penalty
    return users.loss_limits.sum() + 2 * (sum(problem.shape) + problem.factors) * U64 * total
