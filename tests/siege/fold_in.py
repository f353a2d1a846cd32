"""Kinds "fold_in" and "partial_fit": rows solved against a trained model, bit for bit as in training."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from fastals import ImplicitALS

from .checks import Checks
from .choices import Choices
from .fits import fitted
from .forms import draw_form, draw_values, dressed
from .limits import Method, solved_rows
from .problem import Problem, draw_problem


def check_fold_in(choices: Choices, checks: Checks) -> None:
    """Rows that were trained, new ones, and items; alone, in any company, in any form."""
    problem = draw_problem(choices, preferences=False)
    checks.description = problem.describe()
    model = fitted(problem, checks)
    if model is None:
        return
    try:
        check_trained(problem, model, checks)
        check_new_rows(problem, model, checks)
    except FloatingPointError as error:
        checks.true("fold-in finds a solution", problem.may_have_no_solution, repr(error))


def check_trained(problem: Problem, model: ImplicitALS, checks: Checks) -> None:
    """Users are what training made of them; items are solved, and both the same in any company."""
    random = problem.choices.generator("company")
    for axis, name in enumerate(("user", "item")):
        recalculate = getattr(model, f"recalculate_{name}")
        ratings = problem.ratings if axis == 0 else problem.ratings.T
        every = recalculate(np.arange(len(ratings)))
        if axis == 0:
            checks.same("folded-in users are the trained ones", every, model.user_factors)
        else:
            rows = solved_rows(
                problem.terms.transposed, every, model.user_factors, problem.lambdas[1], Method.of(problem),
                problem.prior(1, model.feature_effects_),
            )  # fmt: skip
            checks.solved("folded-in items", rows)
        some = random.integers(0, len(ratings), 5)
        one = int(some[0])
        checks.same(f"{name} alone as in company", recalculate(one), every[one])
        checks.same(f"{name}s in any company", recalculate(some), every[some])
        rows = sp.csr_array(ratings[some])
        with checks.unchanged("fold-in leaves its arguments", rows):
            checks.same(f"{name}s of given rows", recalculate(some, rows), every[some])


def check_new_rows(problem: Problem, model: ImplicitALS, checks: Checks) -> None:
    """New rows of either side: solved, each alone as in company, and so in a form of any kind."""
    for axis, name in enumerate(("user", "item")):
        choices = problem.choices.within(f"new {name}")
        ratings, matrix = new_rows(choices, problem.shape[1 - axis], choices.integer("rows", 1, 6))
        recalculate = getattr(model, f"recalculate_{name}")
        with checks.unchanged("fold-in leaves its arguments", matrix):
            got = recalculate(np.arange(len(ratings)), matrix)
        other = (model.item_factors, model.user_factors)[axis]
        terms, lambdas = problem.terms_of_rows(ratings, axis), problem.rows_lambda(ratings, axis)
        prior = problem.prior(axis, model.feature_effects_, np.arange(len(ratings)))
        rows = solved_rows(terms, got, other, lambdas, Method.of(problem), prior)
        checks.solved(f"new {name}s", rows)
        one = choices.integer("one", 0, len(ratings) - 1)
        checks.same(f"new {name} alone as in company", recalculate(one, sp.csr_array(ratings[[one]])), got[one])
        checks.true("new empty rows are zero", not got[~ratings.any(axis=1) & ~prior.z.any(axis=1)].any())


def new_rows(choices: Choices, n_columns: int, n_rows: int) -> tuple[np.ndarray, object]:
    """Ratings of new rows, dense and in some form."""
    form = draw_form(choices, (n_rows, n_columns))
    stored = choices.generator("new").random((n_rows, n_columns)) < choices.pick("density", (0.1, 0.4, 0.9))
    ratings = np.zeros((n_rows, n_columns))
    ratings[stored] = draw_values(choices, form, int(stored.sum()))
    return ratings, dressed(choices, form, ratings)


def check_partial_fit(choices: Choices, checks: Checks) -> None:
    """New rows in the model: it grows, what was not named stays, and what was handed out does not change."""
    problem = draw_problem(choices, preferences=False)
    checks.description = problem.describe()
    model = fitted(problem, checks)
    if model is None:
        return
    axis = choices.integer("side", 0, 1)
    ids = new_ids(choices, problem.shape[axis])
    ratings, matrix = new_rows(choices.within("partial"), problem.shape[1 - axis], len(ids))
    checks.description += f"\n  axis {axis}, ids {ids.tolist()}"
    held = model.user_factors, model.item_factors
    before = [factors.copy() for factors in held]
    try:
        expected = (model.recalculate_user, model.recalculate_item)[axis](ids, matrix)
        with checks.warnings_expected(), checks.unchanged("partial_fit leaves its arguments", ids, matrix):
            (model.partial_fit_users, model.partial_fit_items)[axis](ids, matrix)
    except FloatingPointError as error:
        checks.true("partial_fit finds a solution", problem.may_have_no_solution, repr(error))
        return
    size = max(problem.shape[axis], int(ids.max()) + 1)
    factors = np.zeros((size, problem.factors), before[axis].dtype)
    factors[: problem.shape[axis]] = before[axis]
    factors[ids] = expected
    both = (model.user_factors, model.item_factors)
    checks.same("partial_fit: the side it names", both[axis], factors)
    checks.same("partial_fit: the other side", both[1 - axis], before[1 - axis])
    checks.same("partial_fit: what was handed out", list(held), before)
    check_grown(problem, model, axis, ids, ratings, checks)


def check_grown(
    problem: Problem, model: ImplicitALS, axis: int, ids: np.ndarray, ratings: np.ndarray, checks: Checks
) -> None:
    """The training matrix has the new rows in place of the old ones, and they serve."""
    old = problem.ratings if axis == 0 else problem.ratings.T
    rows = np.zeros((max(len(old), int(ids.max()) + 1), old.shape[1]))
    rows[: len(old)] = old
    rows[ids] = ratings
    dtype = problem.parameters["dtype"]
    kept = model.user_items_.toarray() if axis == 0 else model.user_items_.toarray().T
    checks.same("partial_fit: user_items_", kept.astype(np.float64), rows.astype(dtype).astype(np.float64))
    recalculate, factors = (
        (model.recalculate_user, model.user_factors), (model.recalculate_item, model.item_factors)
    )[axis]  # fmt: skip
    checks.same("partial_fit: fold-in of the rows it kept", recalculate(ids), factors[ids])
    items, scores = model.recommend(0, N=3, filter_already_liked_items=False)
    expected = model.item_factors[items].astype(np.float64) @ model.user_factors[0].astype(np.float64)
    sizes = np.abs(model.item_factors[items]).astype(np.float64) @ np.abs(model.user_factors[0]).astype(np.float64)
    limits = 2 * problem.factors * (problem.roundoff * sizes + np.finfo(dtype).tiny)
    checks.at_most("partial_fit: scores", scores - expected, limits)


def new_ids(choices: Choices, size: int) -> np.ndarray:
    """Distinct ids in any order, known ones and ones beyond the last, gaps among them."""
    random = choices.generator("ids")
    known = random.permutation(size)[: choices.integer("known", 0, min(3, size))]
    beyond = size + random.permutation(6)[: choices.integer("beyond", 0, 3)]
    ids = np.concatenate((known, beyond))
    return random.permutation(ids if ids.size else np.array([size]))
