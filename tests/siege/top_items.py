"""Kind "top_items": lists of crafted factors, against a full sort.

Scores are sums of k products in the factors' type, so each errs by k roundoffs of the sum of their sizes; the list of
all items tells every computed score, and every other list (shorter, filtered, of some candidates, of one user) must be
its selection, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastals import ImplicitALS

from .checks import Checks
from .choices import Choices
from .problem import ROUNDOFF

FAMILIES = ("integers", "normal", "decades", "equal norms", "collinear", "tiny", "huge", "subnormal")
QUERIES = 6
Lists = tuple[np.ndarray, np.ndarray]  # ids and scores
Method = Callable[..., Lists]


def check_top_items(choices: Choices, checks: Checks) -> None:
    dtype = choices.pick("dtype", ("float32", "float64"))
    users, items, k = choices.skewed("users", 1, 30), choices.skewed("items", 1, 300), choices.skewed("factors", 1, 24)
    if choices.chance("parallel path", 0.004):  # from 2^25 multiply-adds on
        users, items, k = 300, choices.integer("many items", 2800, 3200), 40
    P = draw_factors(choices, "users", users, k, dtype)
    Q = draw_factors(choices, "items", items, k, dtype)
    liked = choices.generator("liked").random((users, items)) < choices.pick("density", (0.02, 0.3, 0.9))
    liked[0, 0] = True
    matrix = sp.csr_array(liked.astype(np.float64))
    model = ImplicitALS(k, iterations=0, dtype=dtype, num_threads=choices.weighted("threads", {1: 8, 2: 1}))
    model.fit(matrix, user_factors=P, item_factors=Q)
    checks.description = f"{users} users, {items} items, {k} factors, {dtype}"
    checks.same("given factors are kept", [model.user_factors, model.item_factors], [P, Q])
    P, Q = P.astype(np.float64), Q.astype(np.float64)
    full = check_full(checks, "recommend", model.recommend, (P, Q), dtype, filter_already_liked_items=False)
    similar = check_full(checks, "similar_items", model.similar_items, (unit(Q), unit(Q)), dtype)
    others = check_full(checks, "similar_users", model.similar_users, (unit(P), unit(P)), dtype)
    for number in range(QUERIES):
        check_recommend(choices.within(f"recommend {number}"), checks, model, full, liked)
    check_similar(choices.within("items"), checks, model.similar_items, similar, ("filter_items", "items"))
    check_similar(choices.within("users"), checks, model.similar_users, others, ("filter_users", "users"))


def draw_factors(choices: Choices, name: str, rows: int, k: int, dtype: str) -> np.ndarray:
    """Factors of a family, with zeros and duplicates; never all zero."""
    random, family = choices.generator(name), choices.pick(f"{name} family", FAMILIES)
    X = random.normal(size=(rows, k))
    if family == "integers":
        X = random.integers(-2, 3, (rows, k)).astype(np.float64)
    elif family == "decades":
        X *= 10.0 ** random.uniform(-12, 8, (rows, 1))
    elif family == "equal norms":
        X = unit(X)
    elif family == "collinear":
        X = random.integers(1, 4, (rows, 1)) * X[:1]
    elif family in ("tiny", "huge", "subnormal"):
        info = np.finfo(dtype)
        X *= {"tiny": float(info.tiny) ** 0.5, "huge": float(info.max) ** 0.5 / (8 * k), "subnormal": info.tiny}[family]
    if choices.chance(f"{name} zero", 0.3):
        X[random.random(rows) < 0.3] = 0
    if choices.chance(f"{name} duplicates", 0.4):
        half = random.random(rows) < 0.5
        X[half] = X[random.integers(0, rows, int(half.sum()))]
    X = X.astype(dtype)
    if not X.any():
        X[0] = 1
    return X


def unit(X: np.ndarray) -> np.ndarray:
    """Rows of length 1; zeros stay. Scaled first, for squares underflow."""
    X = X.astype(np.float64)
    largest = np.abs(X).max(axis=1, keepdims=True)
    X = X / np.where(largest > 0, largest, 1)
    lengths = np.sqrt((X**2).sum(axis=1, keepdims=True))
    return X / np.where(lengths > 0, lengths, 1)


def check_full(
    checks: Checks, name: str, method: Method, factors: tuple[np.ndarray, np.ndarray], dtype: str, **more: Any
) -> Lists:
    """The list of everything for everybody: a permutation, falling, ties by rising id, scores within k roundoffs.

    Unit rows have been rounded, too: by the division and by that of the length, 2 u each for either side.
    """
    P, Q = factors
    (n, k), m = P.shape, len(Q)
    ids, scores = method(np.arange(n), N=m + 3, **more)
    shapes = ids.shape == scores.shape == (n, m + 3)
    if not checks.true(f"{name}: shape", shapes and ids.dtype == np.int32 and scores.dtype == dtype):
        return ids, scores
    checks.true(f"{name}: tail", (ids[:, m:] == -1).all() and np.isnan(scores[:, m:]).all())
    ids, scores = ids[:, :m], scores[:, :m]
    checks.true(f"{name}: every id once", (np.sort(ids, axis=1) == np.arange(m)).all())
    steps, ties = np.diff(scores.astype(np.float64), axis=1), np.diff(ids, axis=1)
    falling = (steps < 0) | ((steps == 0) & (ties > 0))
    if name.startswith("similar"):  # the query itself comes first, whatever ties with it
        checks.true(f"{name}: itself first", (ids[:, 0] == np.arange(n)).all())
        falling[:, :1] |= steps[:, :1] == 0
        checks.same(f"{name}: a row with itself", scores[:, 0], P.any(axis=1).astype(dtype))
        checks.true(f"{name}: no cosine above 1", scores.max() <= 1)
    checks.true(f"{name}: falling, ties by id", falling.all())
    exact = np.take_along_axis(P @ Q.T, ids.astype(np.int64), axis=1)
    sizes = np.take_along_axis(np.abs(P) @ np.abs(Q).T, ids.astype(np.int64), axis=1)
    limits = (2 * k + 8) * (ROUNDOFF[dtype] * sizes + float(np.finfo(dtype).tiny) * 2.0**-20)
    checks.at_most(f"{name}: scores", scores - exact, limits)
    return ids, scores


def selection(full: Lists, row: int, allowed: np.ndarray, N: int) -> Lists:
    """The first N of a row of the full list that are allowed."""
    ids, scores = full[0][row], full[1][row]
    kept = np.flatnonzero(allowed[ids])[:N]
    return ids[kept], scores[kept]


def expected_lists(full: Lists, rows: np.ndarray, allowed: np.ndarray, N: int, scalar: bool) -> Lists:
    """What a call returns: lists of those ``allowed`` (rows, m), one-dimensional for a scalar."""
    if scalar:
        return selection(full, int(rows[0]), allowed[0], N)
    ids, scores = np.full((rows.size, N), -1, np.int32), np.full((rows.size, N), np.nan, full[1].dtype)
    for position, row in enumerate(rows):
        found = selection(full, int(row), allowed[position], N)
        ids[position, : found[0].size], scores[position, : found[0].size] = found
    return ids, scores


def draw_query(
    choices: Choices, n: int, m: int, names: tuple[str, str]
) -> tuple[np.ndarray, bool, int, np.ndarray, dict[str, Any]]:
    """Ids asked for, whether one alone, N, the Boolean (ids, m) allowed, and the options that say so."""
    random, scalar = choices.generator("query"), choices.chance("scalar", 0.4)
    rows = random.integers(0, n, 1 if scalar else choices.skewed("rows", 1, 12))
    N = choices.pick("N", (1, 2, 10, m, m + 2))
    allowed, options = np.ones((rows.size, m), bool), {}
    if choices.chance("candidates", 0.4):
        candidates = random.integers(0, m, choices.skewed("count", 1, m))
        if choices.chance("none", 0.1):
            candidates = candidates[:0]
        allowed &= np.isin(np.arange(m), candidates)
        options[names[1]] = candidates
    if choices.chance("excluded", 0.4):
        excluded = random.integers(0, m, choices.skewed("excluded count", 1, m))
        allowed &= ~np.isin(np.arange(m), excluded)
        options[names[0]] = excluded
    return rows, scalar, N, allowed, options


def check_recommend(choices: Choices, checks: Checks, model: ImplicitALS, full: Lists, liked: np.ndarray) -> None:
    """One call of ``recommend`` with any filters; what is liked is that of training, or of given rows."""
    n, m = liked.shape
    rows, scalar, N, allowed, options = draw_query(choices, n, m, ("filter_items", "items"))
    which = choices.pick("liked", ("trained", "given", "kept"))
    given = None
    if which == "trained":
        allowed &= ~liked[rows]
    elif which == "given":
        seen = choices.generator("given").random((rows.size, m)) < 0.3
        allowed &= ~seen
        given = sp.csr_array(seen.astype(np.float32))
    userid = int(rows[0]) if scalar else rows
    with checks.unchanged("recommend leaves its arguments", rows, given, options):
        got = model.recommend(userid, given, N=N, filter_already_liked_items=which != "kept", **options)
    checks.same("recommend: a selection of the full list", got, expected_lists(full, rows, allowed, N, scalar))


def check_similar(choices: Choices, checks: Checks, method: Method, full: Lists, names: tuple[str, str]) -> None:
    rows, scalar, N, allowed, options = draw_query(choices, *full[0].shape, names)
    got = method(int(rows[0]) if scalar else rows, N=N, **options)
    expected = expected_lists(full, rows, allowed, N, scalar)
    checks.same(f"{method.__name__}: a selection of the full list", got, expected)
