"""The baseline that any model must beat."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastals.core.parameters import NotFittedError
from fastals.core.validation import check_ids, check_interactions, check_rows
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
        self, userid: Any, user_items: Any, N: int = 10, filter_already_liked_items: bool = True
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
        users = np.atleast_1d(check_ids(userid, "userid", np.iinfo(np.int32).max))
        seen = None
        if filter_already_liked_items:
            rows, _ = check_rows(user_items, "user_items", shape=(users.size, self.item_users.size))
            seen = rows.indptr, rows.indices
        return top_items(np.ones((users.size, 1), np.float32), self.item_users[:, None], N, seen=seen)
