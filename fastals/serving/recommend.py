"""What is asked of a fitted model: top-N lists, similar items and users, explanation.

Everywhere a scalar id gives one-dimensional results and an array of ids two-dimensional ones. Ids come out as int32,
scores in the type of the factors, the best first, equal scores by the lower id. Where fewer than N remain,
one-dimensional results are shorter, and the tails of two-dimensional ones are id -1 and score NaN.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastals.core.overlay import Factors
from fastals.core.state import needed
from fastals.core.stored import StoredInteractions
from fastals.core.validation import LARGEST_INT32, check_ids, check_integer, is_sparse, row_of
from fastals.serving.explanation import contributions, factorised_system, ridge
from fastals.serving.fitted import Fitted, ids_of
from fastals.serving.fold_in import fold_in
from fastals.serving.single_query import SketchIndex, top_of_one
from fastals.serving.top_items import ItemIndex, allowed_items, top_items, unit_rows
from fastals.solver.eigenbasis import gramian
from fastals.solver.features import product


class Choice(NamedTuple):
    """Which ids may be returned: those of ``candidates`` (None: all) but not of ``excluded``, nor those ``seen``."""

    excluded: np.ndarray | None
    candidates: np.ndarray | None
    seen: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def checked(cls, excluded: Any, candidates: Any, names: tuple[str, str], size: int, seen: Any = None) -> Choice:
        """Choice of arguments called ``names``, ids below ``size`` or None."""
        given = zip(names, (excluded, candidates), strict=True)
        left_out, chosen = (None if ids is None else np.atleast_1d(check_ids(ids, name, size)) for name, ids in given)
        return cls(left_out, chosen, seen)


def recommend(
    fitted: Fitted,
    userid: Any,
    user_items: Any = None,
    N: int = 10,
    filter_already_liked_items: bool = True,
    filter_items: Any = None,
    recalculate_user: bool = False,
    items: Any = None,
    user_features: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Items of the highest scores p_u.q_i for one user or several.

    Parameters
    ----------
    userid : int or (n,) array of int
        May lie outside of the training users with ``recalculate_user``.
    user_items : sparse matrix (n, n_items), optional
        A row for each user: what to filter, and to calculate the factors from with ``recalculate_user``. The
        training rows by default.
    N : int
        Length of the lists.
    filter_already_liked_items : bool
        Whether items stored in ``user_items`` are left out, dislikes among them.
    filter_items : array of int, optional
        Items never to return, in any order, repeated or not.
    recalculate_user : bool
        Whether to solve the users' factors from ``user_items`` instead of taking the fitted ones.
    items : array of int, optional
        Items to choose from; all by default. Those also in ``filter_items`` are left out.
    user_features : array or sparse matrix (n, d), optional
        A row of features for each user, from which the factors are calculated, with the users' rows if those are
        given: for users of whom nothing but their features may be known. With ``recalculate_user`` the features that
        the users were fitted with by default; a user outside of the training users has none.

    Returns
    -------
    ids : (N,) or (n, N) int32 array
    scores : array of the same shape

    Raises
    ------
    TypeError, ValueError
        For ids out of range, or a matrix that has not one row for each user and a column for each item.
    NotFittedError
        Before ``fit``.
    """
    recalculate = recalculate_user or user_features is not None
    users, scalar = ids_of("userid", userid, None if recalculate else fitted.factors(0).shape[0])
    rows: Any = None
    if recalculate:
        rows, features = fitted.known(0, users, user_items, user_features)
        queries = fold_in(fitted, 0, users, rows, features)
    else:
        rows = fitted.rows(0, users, user_items) if filter_already_liked_items else None
        queries = fitted.matching_factors()[0].taken(users)
    seen = (rows.indptr, rows.indices) if filter_already_liked_items else None
    choice = Choice.checked(filter_items, items, ("filter_items", "items"), fitted.factors(1).shape[0], seen)
    length = _length(N, scalar, fitted.factors(1).shape[0])
    return _shaped(*_top(fitted, 1, queries, choice, length), scalar)


def similar_items(
    fitted: Fitted,
    itemid: Any,
    N: int = 10,
    recalculate_item: bool = False,
    item_users: Any = None,
    filter_items: Any = None,
    items: Any = None,
    item_features: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Items whose factors make the smallest angle with an item's.

    The item itself comes first, with score 1, unless it is filtered; with ``recalculate_item`` it comes
    before those that are as near.

    Parameters
    ----------
    itemid : int or (n,) array of int
        May lie outside of the training items with ``recalculate_item``.
    N : int
        Length of the lists.
    recalculate_item : bool
        Whether to solve the items' factors from ``item_users`` instead of taking the fitted ones.
    item_users : sparse matrix (n, n_users), optional
        A row for each item; the training columns by default.
    filter_items, items : array of int, optional
        Items never to return; items to choose from.
    item_features : array or sparse matrix (n, d), optional
        A row of features for each item, from which its factors are calculated, as in ``recommend``.

    Returns
    -------
    ids : (N,) or (n, N) int32 array
    scores : array of the same shape
        Cosines, none above 1, and 1 of an item with itself; 0 for an item whose factors are zero.

    Raises
    ------
    TypeError, ValueError, NotFittedError
        As ``recommend``.
    """
    factors = fitted.factors(1)
    recalculate = recalculate_item or item_features is not None
    ids, scalar = ids_of("itemid", itemid, None if recalculate else factors.shape[0])
    queries = None
    if recalculate:
        queries = unit_rows(fold_in(fitted, 1, ids, *fitted.known(1, ids, item_users, item_features)))
    choice = Choice.checked(filter_items, items, ("filter_items", "items"), factors.shape[0])
    length = _length(N, scalar, factors.shape[0])
    return _shaped(*_similar(fitted, 1, ids, queries, choice, length), scalar)


def similar_users(
    fitted: Fitted, userid: Any, N: int = 10, filter_users: Any = None, users: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Users whose factors make the smallest angle with a user's; as ``similar_items``.

    Parameters
    ----------
    userid : int or (n,) array of int
    N : int
        Length of the lists.
    filter_users, users : array of int, optional
        Users never to return; users to choose from.

    Returns
    -------
    ids : (N,) or (n, N) int32 array
    scores : array of the same shape
        Cosines, none above 1, and 1 of a user with itself; 0 for a user whose factors are zero.

    Raises
    ------
    TypeError, ValueError, NotFittedError
        As ``recommend``.
    """
    factors = fitted.factors(0)
    ids, scalar = ids_of("userid", userid, factors.shape[0])
    choice = Choice.checked(filter_users, users, ("filter_users", "users"), factors.shape[0])
    length = _length(N, scalar, factors.shape[0])
    return _shaped(*_similar(fitted, 0, ids, None, choice, length), scalar)


def explain(
    fitted: Fitted,
    userid: int,
    user_items: Any = None,
    itemid: int | None = None,
    user_weights: Any = None,
    N: int = 10,
    user_features: Any = None,
) -> tuple[float, list[tuple[int, float]], tuple[np.ndarray, bool]]:
    """Divide a score among the user's stored items.

    With the user's normal equations A p = sum_t target_t y_t the score of item i is a sum over what is stored,
    q_i.p = sum_t target_t q_i' A^-1 y_t (section 5 of Hu, Koren and Volinsky 2008).

    Parameters
    ----------
    userid : int
    user_items : sparse matrix (1, n_items) or (n_users, n_items), optional
        The user's row, or all of them; the training row by default.
    itemid : int
        Item whose score is explained; must be given.
    user_weights : optional
        Third result of an earlier call for the same user, which saves the factorisation.
    N : int
        Number of contributions to return.
    user_features : array or sparse matrix (1, d), optional
        The user's features, of a model that was fitted with such; by default those it has.

    Returns
    -------
    total_score : float
        Sum of all contributions, and of what the user's features contribute: the score with the user's factors solved
        from the row.
    top_contributions : list of (item id, contribution)
        The N largest, in falling order.
    user_weights : tuple
        Cholesky factorisation of A, as ``scipy.linalg.cho_factor`` gives it.

    Raises
    ------
    TypeError, ValueError, NotFittedError
        As ``recommend``; LinAlgError where A is singular.
    """
    if itemid is None:
        raise TypeError("itemid must be given: the item whose score is to be explained")
    items = fitted.factors(1)
    item = int(ids_of("itemid", itemid, items.shape[0], scalar=True)[0][0])
    user, _ = ids_of("userid", userid, None, scalar=True)
    count = check_integer("N", N, 1)
    stored = isinstance(user_items, StoredInteractions)
    if stored or (is_sparse(user_items) and user_items.ndim == 2 and user_items.shape[0] > 1):
        check_ids(user, "userid", user_items.shape[0])
        row = row_of(user_items, int(user[0]), "user_items", items.shape[0])
        user_items = row.as_csr(row.data.dtype)
    row, features = fitted.known(0, user, user_items, user_features)
    objective, Y, missing = fitted.objective, items.array, fitted.missing(0, user, row)
    strength = ridge(objective, row, missing, known=features is not None)
    if user_weights is None:
        # On one thread: a single row never starts Numba's threads, so a process may fork after it.
        G = items.derived.get("gramian", lambda: gramian(Y, np.zeros(Y.shape[0]), 1, missing.columns)[0])
        user_weights = factorised_system(objective, row, Y, G, missing, strength)
    predicted = np.zeros((1, Y.shape[1]))
    if features is not None:
        effects = needed(fitted.state.features[0]).effects
        product(features, np.full(features.shape[1], strength), effects, predicted, 1)
    parts, of_features = contributions(objective, row, Y, user_weights, Y[item], predicted[0])
    order = np.argsort(-parts, kind="stable")[:count]
    best = [(int(row.indices[t]), float(parts[t])) for t in order]
    return float(parts.sum()) + of_features, best, user_weights


def _length(N: Any, scalar: bool, size: int) -> int:
    """Length of the lists; of a scalar id no longer than there are rows to return."""
    length = check_integer("N", N, 1, None if scalar else LARGEST_INT32)
    return min(length, max(size, 1)) if scalar else length


def _shaped(ids: np.ndarray, scores: np.ndarray, scalar: bool) -> tuple[np.ndarray, np.ndarray]:
    """Lists as they came, or the only one without its tail."""
    if not scalar:
        return ids, scores
    found = ids.shape[1] if ids[0, -1] >= 0 else int(np.count_nonzero(ids >= 0))  # the first, as a rule
    return ids[0, :found], scores[0, :found]


def _top(
    fitted: Fitted, axis: int, queries: np.ndarray, choice: Choice, length: int, cosine: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Top lists among the users or items by inner product with their factors, or with these at length 1."""
    factors = fitted.factors(axis)
    if len(queries) == 1:
        seen = None if choice.seen is None else choice.seen[1]
        sketched = _sketches(factors, cosine)
        ids, scores = top_of_one(queries[0], sketched, length, seen, choice.excluded, choice.candidates)
        return _padded(ids, length, -1)[None], _padded(scores, length, np.nan)[None]

    def built() -> ItemIndex:
        return ItemIndex.build(unit_rows(factors.array), 1.0) if cosine else ItemIndex.build(factors.array)

    return top_items(
        queries, factors.array, length, seen=choice.seen, excluded=choice.excluded, candidates=choice.candidates,
        index=factors.derived.get("unit index" if cosine else "index", built), num_threads=fitted.settings.num_threads,
    )  # fmt: skip


def _sketches(factors: Factors, cosine: bool) -> SketchIndex:
    """Factors, or these at length 1, prepared for single queries."""

    def built() -> SketchIndex:
        return SketchIndex.build(unit_rows(factors.array), 1.0) if cosine else SketchIndex.build(factors.array)

    sketched: SketchIndex = factors.derived.get("unit sketches" if cosine else "sketches", built)
    return sketched


def _padded(values: np.ndarray, length: int, filling: float) -> np.ndarray:
    """A list filled up to a length."""
    return values if values.size == length else np.pad(values, (0, length - values.size), constant_values=filling)


def _similar(
    fitted: Fitted, axis: int, own: np.ndarray, queries: np.ndarray | None, choice: Choice, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Top lists by cosine. Without queries they are the rows ``own``, which come first, else before their equals."""
    factors, stored = fitted.factors(axis), queries is None
    if queries is None:
        one = own.size == 1
        queries = _sketches(factors, True).items.rows[own[0]][None] if one else unit_rows(factors.taken(own))
    ids, scores = _top(fitted, axis, queries, choice, length, cosine=True)
    if own.size == 1 and ids[0, 0] == own[0]:
        if stored:
            scores[0, 0] = queries[0].any()
        return ids, scores
    if stored:
        first = ids[:, 0] == own
        scores[first, 0] = queries[first].any(axis=1)
    misplaced = np.flatnonzero((ids[:, 0] != own) & (own < factors.shape[0]))
    allowed = allowed_items(choice.excluded, choice.candidates, factors.shape[0])
    for row in misplaced[allowed[own[misplaced]]] if allowed.size else misplaced:
        if stored:
            place, score = 0, float(queries[row].any())
        else:
            itself = Choice(None, own[row : row + 1])
            score = _top(fitted, axis, queries[row : row + 1], itself, 1, cosine=True)[1][0, 0]
            place = int(np.count_nonzero(scores[row] > score))
        if place < length:
            others = ids[row] != own[row]
            ids[row] = np.insert(ids[row][others], place, own[row])[:length]
            scores[row] = np.insert(scores[row][others], place, score)[:length]
    return ids, scores
