"""Kinds "forms" and "starts": what must make no difference at all, and fits that go on from earlier ones."""

from __future__ import annotations

import numpy as np

from .checks import Checks
from .choices import Choices
from .fits import Recorder, fitted
from .problem import draw_problem
from .states import state_of


def check_forms(choices: Choices, checks: Checks) -> None:
    """The form of the matrix, the number of threads, and the kind of seed make no difference: the same bits."""
    problem = draw_problem(choices, preferences=False, iterations=choices.pick("sweeps", (1, 4)))
    checks.description = problem.describe()
    model = fitted(problem, checks)
    if model is None:
        return
    expected = state_of(model)
    threads = 3 - problem.parameters["num_threads"] if choices.chance("threads", 0.1) else 1
    plain = problem.model(num_threads=threads, dtype=np.dtype(problem.parameters["dtype"]))
    with checks.warnings_expected():
        plain.fit(problem.plain, **problem.given, **problem.besides)
    got = state_of(plain)
    for part in ("user_factors", "item_factors", "loss_history", "alpha", "report"):
        checks.same(f"form and threads make no difference: {part}", got[part], expected[part])
    kind = choices.pick("random state", (np.random.default_rng, np.random.RandomState))
    twins = [problem.model(random_state=kind(7), iterations=1).fit for _ in range(2)]
    with checks.warnings_expected():
        got, expected = (state_of(fit(problem.plain, **problem.given, **problem.besides)) for fit in twins)
    checks.same("equal generators, equal fits", got, expected)


def check_starts(choices: Choices, checks: Checks) -> None:
    """A refit from scratch is a first fit; a warm start goes on; a direct, plain one as if there had been no break."""
    problem = draw_problem(
        choices, preferences=False, given=False, solver="cholesky", acceleration=False,
        iterations=choices.pick("sweeps", (2, 4)),
    )  # fmt: skip
    checks.description = problem.describe()
    whole = fitted(problem, checks)
    first = fitted(problem, checks, iterations=1, warm_start=True)
    if whole is None or first is None:
        return
    more = problem.parameters["iterations"] - 1
    recorder = Recorder()
    with checks.warnings_expected():
        first.set_params(iterations=more).fit(problem.plain, callback=recorder, **problem.besides)
        again = state_of(whole.fit(problem.plain, **problem.besides))
    checks.true("a warm start counts its own sweeps", len(first.loss_history) == len(recorder.sweeps) == more)
    for name in ("user_factors", "item_factors"):
        checks.same("a warm start goes on", getattr(first, name), again[name])
    fresh = fitted(problem, checks)
    if fresh is not None:
        checks.same("a refit is a first fit", again, state_of(fresh))
