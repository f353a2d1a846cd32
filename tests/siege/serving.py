"""Kind "serving": explanations, predictions, and lists for folded-in users."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from fastals import ImplicitALS

from . import oracle
from .checks import Checks
from .choices import Choices
from .fits import fitted
from .limits import PIVOT, U64, Method, solved_rows
from .problem import Problem, draw_problem


def check_serving(choices: Choices, checks: Checks) -> None:
    problem = draw_problem(choices)
    checks.description = problem.describe()
    model = fitted(problem, checks)
    if model is None:
        return
    check_predictions(problem, model, checks)
    try:
        check_explanation(problem, model, checks)
        check_folded_lists(problem, model, checks)
    except FloatingPointError as error:
        checks.true("serving finds a solution", problem.may_have_no_solution, repr(error))


def check_predictions(problem: Problem, model: ImplicitALS, checks: Checks) -> None:
    """p.q of pairs: k products, k roundings."""
    random = problem.choices.generator("pairs")
    users, items = random.integers(0, problem.shape[0], 7), random.integers(0, problem.shape[1], 7)
    P, Q = (factors.astype(np.float64) for factors in (model.user_factors[users], model.item_factors[items]))
    limits = 2 * problem.factors * (problem.roundoff * (np.abs(P) * np.abs(Q)).sum(axis=1) + tiny(model))
    expected = (P * Q).sum(axis=1)
    checks.at_most("predict pairs", model.predict(users, items) - expected, limits)
    checks.at_most("predict one", model.predict(int(users[0]), int(items[0])) - expected[0], limits[0])
    Q = model.item_factors.astype(np.float64)
    limits = 2 * problem.factors * (problem.roundoff * np.abs(P[:1]) @ np.abs(Q).T + tiny(model))
    got = model.predict(users[:1], np.arange(problem.shape[1]))
    checks.at_most("predict one user", got - (P[:1] @ Q.T)[0], limits[0])


def tiny(model: ImplicitALS) -> float:
    return float(np.finfo(model.user_factors.dtype).tiny)


def check_explanation(problem: Problem, model: ImplicitALS, checks: Checks) -> None:
    """Shares of a score: their sum is q.x for the exact x, their order falls, a kept factorisation gives the same.

    In float64, with z = A^-1 q: Cholesky and two solutions err in z by (3 k + 8) k u64 condition |z| (Higham 2002,
    theorem 10.4), forming A by (n + 2) u64 condition |z|; a share is target_t y_t.z. The condition is that of what A is
    added up from, which is larger than A where weights are below those of missing pairs.
    """
    user, item = (problem.choices.integer(name, 0, size - 1) for name, size in zip("ui", problem.shape, strict=True))
    k, Y = problem.factors, model.item_factors.astype(np.float64)
    terms = problem.terms_of_rows(problem.ratings)
    A, _ = oracle.normal_equations(terms, Y, problem.lambdas[0])
    added = terms.missing[user] + np.abs(terms.extra[user])
    eigenvalues, size = np.linalg.eigvalsh(A[user]), added @ (Y**2).sum(axis=1) + k * problem.lambdas[0][user]
    n = int(terms.stored[user].sum())
    roundings = ((3 * k + 8) * k + n + 2) * U64
    try:
        total, parts, weights = model.explain(user, itemid=item, N=n + 1)
    except np.linalg.LinAlgError as error:
        checks.true("explain finds a solution", eigenvalues[0] <= roundings * size + PIVOT * size, repr(error))
        return
    if eigenvalues[0] <= 2 * roundings * size:
        return
    z = np.linalg.solve(A[user], Y[item])
    condition = size / eigenvalues[0]
    expected = terms.target[user] * (Y @ z)
    limits = 2 * roundings * condition * np.abs(terms.target[user]) * np.sqrt((Y**2).sum(axis=1)) * np.sqrt(z @ z)
    got = np.zeros(problem.shape[1])
    got[[index for index, _ in parts]] = [value for _, value in parts]
    checks.at_most("explain: shares", got - expected, limits)
    prior = problem.prior(0, model.feature_effects_, np.array([user]))
    ridge, limit = problem.lambdas[0][user], 2 * limits.sum()
    limit += 4 * (roundings * condition + 12 * U64) * ridge * prior.size[0] * np.sqrt(z @ z)
    checks.at_most("explain: total", total - expected.sum() - ridge * z @ prior.z[0], limit)
    values = [value for _, value in parts]
    checks.true("explain: the largest first", values == sorted(values, reverse=True) and len(parts) == n, str(parts))
    again = model.explain(user, sp.csr_array(problem.ratings), itemid=item, user_weights=weights, N=2)
    checks.same("explain: factorisation kept, fewer shares", again[:2], (total, parts[:2]))
    folded = model.recalculate_user(user)
    rows = solved_rows(row_of(terms, user), folded[None], Y, problem.lambdas[0][[user]], Method.of(problem), prior)
    q = np.sqrt(Y[item] @ Y[item])
    # Both differ by z.r for the residual r of the folded-in user.
    limit += np.sqrt((z @ z) * (rows.residual_limits[0] ** 2).sum())
    limit += 2 * k * U64 * q * np.sqrt(folded @ folded.astype(np.float64))
    checks.at_most("explain: total is the score", total - folded.astype(np.float64) @ Y[item], limit)


def row_of(terms: oracle.Terms, row: int) -> oracle.Terms:
    """The terms of one row."""
    return terms._replace(
        own=terms.own[[row]],
        phi=terms.phi[[row]],
        background=terms.background[[row]],
        stored=terms.stored[[row]],
        v=terms.v[[row]],
    )


def check_folded_lists(problem: Problem, model: ImplicitALS, checks: Checks) -> None:
    """Lists for users folded in from their training rows are those of the trained users."""
    if problem.preference is not None:
        return
    random = problem.choices.generator("lists")
    users, N = random.integers(0, problem.shape[0], 4), problem.choices.integer("N", 1, 12)
    liked = problem.choices.chance("liked", 0.5)
    expected = model.recommend(users, N=N, filter_already_liked_items=liked)
    rows = sp.csr_array(problem.ratings[users])
    with checks.unchanged("recommend leaves its arguments", users, rows):
        got = model.recommend(users, rows, N=N, filter_already_liked_items=liked, recalculate_user=True)
    checks.same("lists of folded-in users", got, expected)
