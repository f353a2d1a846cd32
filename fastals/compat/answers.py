"""What implicit's model answers: lists filled up as there, explanations, factors solved from rows.

What was filtered stands at the end of a list, and behind all there is id 0 with score 0.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from fastals.compat.matrices import rows_for, with_rows
from fastals.core.types import Array
from fastals.core.validation import UnknownIdError
from fastals.model import ImplicitALS


def padded(
    ids: Array, scores: Array, chosen: Any, size: int, scalar: bool, filtered_score: float
) -> tuple[Array, Array]:
    """Lists (n, N) whose tails are id -1, as implicit gives them.

    Parameters
    ----------
    ids, scores : (n, N) arrays
    chosen : array of int or None
        The ids to choose from; of those the lists are no longer than there are, and of int64.
    size : int
        Number of ids there are.
    scalar : bool
        Whether the only list is wanted.
    filtered_score : float
        Score of what was filtered.
    """
    ids, scores = ids.copy(), scores.copy()
    candidates = np.arange(size) if chosen is None else np.unique(chosen)
    for row in np.flatnonzero(ids[:, -1] < 0):
        found = int(np.count_nonzero(ids[row] >= 0))
        filtered = np.setdiff1d(candidates, ids[row, :found])[::-1][: ids.shape[1] - found]
        ids[row, found:], scores[row, found:] = 0, 0
        ids[row, found : found + filtered.size], scores[row, found : found + filtered.size] = filtered, filtered_score
    if chosen is not None:
        ids, scores = ids[:, : candidates.size].astype(np.int64), scores[:, : candidates.size]
    return (ids[0], scores[0]) if scalar else (ids, scores)


class Unknown(contextlib.AbstractContextManager[None]):
    """Turns the error of an unknown id into the IndexError that implicit raises."""

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if isinstance(error, UnknownIdError):
            raise IndexError(str(error)) from None


def recommend(
    model: ImplicitALS,
    userid: Any,
    user_items: Any,
    N: int = 10,
    filter_already_liked_items: bool = True,
    filter_items: Any = None,
    recalculate_user: bool = False,
    items: Any = None,
) -> tuple[Array, Array]:
    """Items of the highest scores for a user or several.

    Parameters
    ----------
    userid : int or (n,) array of int
    user_items : csr_matrix (n, n_items)
        A row for each user; may be None where neither it filters nor users are recalculated.
    N : int
    filter_already_liked_items, filter_items, recalculate_user, items
        As in implicit; ``items`` and ``filter_items`` exclude one another.

    Returns
    -------
    ids, scores : (N,) or (n, N) arrays
        Lists have N entries, or as many as ``items``. Filtered items stand at the end with the lowest number of the
        type, and behind all items id 0 with score 0.

    Raises
    ------
    ValueError
        For anything but CSR, a row too few or too many, or ``items`` beside ``filter_items``.
    IndexError
        For ids that the model does not know.
    """
    if items is not None and filter_items is not None:
        raise ValueError("items and filter_items cannot both be given to recommend")
    rows = None
    if filter_already_liked_items or recalculate_user:
        rows = rows_for(userid, user_items, "user_items")
    with Unknown():
        ids, scores = model.recommend(
            np.atleast_1d(userid), rows, N, filter_already_liked_items, filter_items, recalculate_user, items
        )
    lowest = float(np.finfo(scores.dtype).min)
    return padded(ids, scores, items, len(model.item_factors), np.ndim(userid) == 0, lowest)


def similar_items(
    model: ImplicitALS,
    itemid: Any,
    N: int = 10,
    recalculate_item: bool = False,
    item_users: Any = None,
    filter_items: Any = None,
    items: Any = None,
) -> tuple[Array, Array]:
    """Items of the smallest angle to one or several.

    Parameters
    ----------
    itemid : int or (n,) array of int
    N : int
    recalculate_item : bool
        Whether to solve the items' factors from ``item_users``.
    item_users : csr_matrix (n, n_users), optional
        A row for each item.
    filter_items, items : array of int, optional
        Items never to return; items to choose from. Only one may be given.

    Returns
    -------
    ids, scores : (N,) or (n, N) arrays
        As ``recommend``, filtered ones with minus infinity.

    Raises
    ------
    ValueError, IndexError
        As ``recommend``.
    """
    if items is not None and filter_items is not None:
        raise ValueError("items and filter_items cannot both be given to similar_items")
    rows = rows_for(itemid, item_users, "item_users") if recalculate_item else None
    with Unknown():
        ids, scores = model.similar_items(np.atleast_1d(itemid), N, recalculate_item, rows, filter_items, items)
    return padded(ids, scores, items, len(model.item_factors), np.ndim(itemid) == 0, -np.inf)


def similar_users(
    model: ImplicitALS, userid: Any, N: int = 10, filter_users: Any = None, users: Any = None
) -> tuple[Array, Array]:
    """Users of the smallest angle to one or several.

    Parameters
    ----------
    userid : int or (n,) array of int
    N : int
    filter_users, users : array of int, optional
        Users never to return; users to choose from. Only one may be given.

    Returns
    -------
    ids, scores : (N,) or (n, N) arrays
        As ``similar_items``.

    Raises
    ------
    ValueError, IndexError
        As ``recommend``.
    """
    if users is not None and filter_users is not None:
        raise ValueError("users and filter_users cannot both be given to similar_users")
    with Unknown():
        ids, scores = model.similar_users(np.atleast_1d(userid), N, filter_users, users)
    return padded(ids, scores, users, len(model.user_factors), np.ndim(userid) == 0, -np.inf)


def explain(
    model: ImplicitALS, userid: int, user_items: Any, itemid: int, user_weights: Any = None, N: int = 10
) -> tuple[float, list[tuple[int, float]], tuple[Array, bool]]:
    """What each of the user's items contributes to a score.

    Parameters
    ----------
    userid : int
    user_items : csr_matrix (1, n_items) or (n_users, n_items)
    itemid : int
    user_weights : optional
        Third result of an earlier call for the same user.
    N : int

    Returns
    -------
    total : float
    contributions : list of (int, float)
        The N largest, of items of the user.
    user_weights
        For further calls.

    Raises
    ------
    ValueError, IndexError
        As ``recommend``.
    """
    with Unknown():
        return model.explain(userid, user_items, itemid, user_weights, N)


def recalculate(model: ImplicitALS, axis: int, ids: Any, rows: Any) -> Array:
    """Factors solved from rows.

    Parameters
    ----------
    userid (or itemid) : int or (n,) array of int
    user_items (or item_users) : csr_matrix (n, n_items) (or (n, n_users))

    Returns
    -------
    (factors,) or (n, factors) array

    Raises
    ------
    ValueError
        For anything but CSR, or a row too few or too many.
    """
    checked = rows_for(ids, rows, ("user_items", "item_users")[axis])
    return (model.recalculate_item if axis else model.recalculate_user)(ids, checked)


def partial_fit(model: ImplicitALS, axis: int, ids: Any, rows: Any) -> Array:
    """All factors of a side, some of them solved anew.

    Parameters
    ----------
    userids (or itemids) : int or (n,) array of int
    user_items (or item_users) : csr_matrix (n, n_items) (or (n, n_users))

    Raises
    ------
    ValueError
        For anything but CSR, or a row too few or too many.
    """
    return with_rows((model.item_factors if axis else model.user_factors), ids, recalculate(model, axis, ids, rows))
