"""The baselines that any model must beat."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastals.core.parameters import NotFittedError
from fastals.core.validation import check_ids, check_integer, check_interactions, check_rows
from fastals.serving.top_items import top_items


class Popularity:
    """Recommends what most users have.

    Stands in for a fitted model in `ranking_metrics_at_k`.

    Parameters
    ----------
    user_items : sparse matrix or array (n_users, n_items), optional
        What to fit it to at once: ``Popularity(train)`` is ``Popularity().fit(train)``.

    Attributes
    ----------
    item_users : float32 array (n_items,)
        Number of users who have each item.

    Raises
    ------
    TypeError, ValueError
        As `fit`.
    """

    item_users: np.ndarray | None = None

    def __init__(self, user_items: Any = None) -> None:
        if user_items is not None:
            self.fit(user_items)

    def fit(self, user_items: Any) -> Popularity:
        """Count the users of each item.

        Parameters
        ----------
        user_items : sparse matrix or array (n_users, n_items)
            Training interactions; a stored pair counts once, whatever its value.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            For anything but a finite sparse matrix.
        """
        matrix = check_interactions(user_items, "user_items", np.float64)
        self.item_users = np.bincount(matrix.indices, minlength=matrix.shape[1]).astype(np.float32)
        return self

    def recommend(
        self,
        userid: Any,
        user_items: Any,
        N: int = 10,
        filter_already_liked_items: bool = True,
        items: Any = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Items that most users have, equal ones by the lower id.

        Parameters
        ----------
        userid : (n,) array of int
            Only their number matters: everybody gets the same but for what is filtered.
        user_items : sparse matrix or array (n, n_items)
            A row for each user: what to filter.
        N : int
            Length of the lists.
        filter_already_liked_items : bool
            Whether items stored in ``user_items`` are left out.
        items : array of int, optional
            Items to choose from; all by default.

        Returns
        -------
        ids : (n, N) int32 array
            -1 where fewer than N are left.
        counts : (n, N) float32 array
            Number of users who have the item; NaN where there is none.

        Raises
        ------
        TypeError, ValueError
            For ids that are not an array, or a matrix that has not one row for each.
        NotFittedError
            Before `fit`.
        """
        if self.item_users is None:
            raise NotFittedError("this Popularity is not fitted yet: call fit, or give it user_items")
        users, seen, candidates = _checked(self.item_users.size, userid, user_items, filter_already_liked_items, items)
        rows = np.ones((users.size, 1), np.float32)
        return top_items(rows, self.item_users[:, None], N, seen=seen, candidates=candidates)


class RandomOrder:
    """Recommends items in an order drawn at random for each user.

    Stands in for a fitted model in `ranking_metrics_at_k`; what cold items are compared with, which nobody has yet.

    Parameters
    ----------
    n_items : int
        Number of all items.
    random_state : int, default 0
        Seed; with it and the number of the user a user's order is drawn, and so is the same whenever it is asked for.

    Raises
    ------
    TypeError, ValueError
        For a number below 1, or a negative seed.
    """

    def __init__(self, n_items: int, random_state: int = 0) -> None:
        self.n_items = check_integer("n_items", n_items, 1)
        self.random_state = check_integer("random_state", random_state, 0)

    def recommend(
        self,
        userid: Any,
        user_items: Any,
        N: int = 10,
        filter_already_liked_items: bool = True,
        items: Any = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Items of the largest of the numbers drawn for a user.

        Parameters
        ----------
        userid : (n,) array of int
            Whose order it is.
        user_items : sparse matrix or array (n, n_items)
            A row for each user: what to filter.
        N : int
            Length of the lists.
        filter_already_liked_items : bool
            Whether items stored in ``user_items`` are left out.
        items : array of int, optional
            Items to choose from; all by default.

        Returns
        -------
        ids : (n, N) int32 array
            -1 where fewer than N are left.
        scores : (n, N) float32 array
            Uniform in [0, 1); NaN where there is none.

        Raises
        ------
        TypeError, ValueError
            As `Popularity.recommend`.
        """
        users, seen, candidates = _checked(self.n_items, userid, user_items, filter_already_liked_items, items)
        ids = np.full((users.size, check_integer("N", N, 1)), -1, np.int32)
        scores = np.full(ids.shape, np.nan, np.float32)
        for row, user in enumerate(users):
            drawn = np.random.default_rng([self.random_state, int(user)]).random(self.n_items, np.float32)
            left = np.ones(self.n_items, bool) if candidates is None else np.isin(np.arange(self.n_items), candidates)
            if seen is not None:
                left[seen[1][seen[0][row] : seen[0][row + 1]]] = False
            allowed = np.flatnonzero(left)
            best = allowed[np.argsort(-drawn[allowed], kind="stable")[:N]]
            ids[row, : best.size], scores[row, : best.size] = best, drawn[best]
        return ids, scores


def _checked(
    n_items: int, userid: Any, user_items: Any, filtered: bool, items: Any
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray] | None, np.ndarray | None]:
    """Users, what they have as (indptr, indices) if it is filtered, and the items to choose from, None for all."""
    users = np.atleast_1d(check_ids(userid, "userid", np.iinfo(np.int32).max))
    candidates = None if items is None else np.atleast_1d(check_ids(items, "items", n_items))
    if not filtered:
        return users, None, candidates
    rows, _ = check_rows(user_items, "user_items", shape=(users.size, n_items))
    return users, (rows.indptr, rows.indices), candidates
