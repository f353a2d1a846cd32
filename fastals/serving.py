"""What is done with a fitted model: top-N lists, similar items and users, explanation, fold-in, partial updates."""

from __future__ import annotations

import threading
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastals import threads
from fastals.explanation import contributions, factorised_system
from fastals.ranking import ItemIndex, top_items, unit_rows
from fastals.solver import Basis, Side, eigenbasis, gramian, solve_side, transposed
from fastals.validation import (
    LARGEST_INT32,
    Rows,
    check_ids,
    check_integer,
    check_products,
    check_rows,
    describe,
    read_only,
    row_of,
)

# Up to so many entries times factors one thread is done before others have woken up; on a busy machine they may take
# milliseconds.
SERIAL_FOLD_IN = 2**17


class Serving:
    """Methods with the signatures of the library implicit; ``ImplicitALS`` adds fitting and parameters.

    Everywhere a scalar id gives one-dimensional results and an array of ids two-dimensional ones. Ids come out as
    int32, scores in the type of the factors, the best first, equal scores by the lower id. Where fewer than N remain,
    one-dimensional results are shorter, and the tails of two-dimensional ones are id -1 and score NaN.
    """

    def recommend(
        self,
        userid: Any,
        user_items: Any = None,
        N: int = 10,
        filter_already_liked_items: bool = True,
        filter_items: Any = None,
        recalculate_user: bool = False,
        items: Any = None,
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
        users, scalar = self._ids("userid", userid, None if recalculate_user else self.user_factors.shape[0])
        rows = None
        if filter_already_liked_items or recalculate_user:
            rows = self._rows_of(users, user_items, "user_items", axis=0)
        queries = self._fold_in(rows, axis=0) if recalculate_user else self._matching_factors()[0][users]
        seen = (rows.indptr, rows.indices) if filter_already_liked_items else None
        return self._top(queries, "items", N, scalar, filter_items, items, seen)

    def similar_items(
        self,
        itemid: Any,
        N: int = 10,
        recalculate_item: bool = False,
        item_users: Any = None,
        filter_items: Any = None,
        items: Any = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Items whose factors make the smallest angle with an item's.

        The item itself comes first, with score 1 up to rounding, unless others point in the very same direction.

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

        Returns
        -------
        ids : (N,) or (n, N) int32 array
        scores : array of the same shape
            Cosines; 0 for an item whose factors are zero.

        Raises
        ------
        TypeError, ValueError, NotFittedError
            As ``recommend``.
        """
        ids, scalar = self._ids("itemid", itemid, None if recalculate_item else self.item_factors.shape[0])
        if recalculate_item:
            queries = self._fold_in(self._rows_of(ids, item_users, "item_users", axis=1), axis=1)
        else:
            queries = self.item_factors[ids]
        return self._top(unit_rows(queries), "unit items", N, scalar, filter_items, items)

    def similar_users(
        self, userid: Any, N: int = 10, filter_users: Any = None, users: Any = None
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
            Cosines; 0 for a user whose factors are zero.

        Raises
        ------
        TypeError, ValueError, NotFittedError
            As ``recommend``.
        """
        ids, scalar = self._ids("userid", userid, self.user_factors.shape[0])
        queries, names = unit_rows(self.user_factors[ids]), ("filter_users", "users")
        return self._top(queries, "unit users", N, scalar, filter_users, users, names=names)

    def explain(
        self, userid: int, user_items: Any = None, itemid: int | None = None, user_weights: Any = None, N: int = 10
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
            Item whose score is explained.
        user_weights : optional
            Third result of an earlier call for the same user, which saves the factorisation.
        N : int
            Number of contributions to return.

        Returns
        -------
        total_score : float
            Sum of all contributions: the score with the user's factors solved from the row.
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
        item = int(self._ids("itemid", itemid, self.item_factors.shape[0], scalar=True)[0][0])
        user, _ = self._ids("userid", userid, None, scalar=True)
        count = check_integer("N", N, 1)
        if sp.issparse(user_items) and user_items.ndim == 2 and user_items.shape[0] > 1:
            check_ids(user, "userid", user_items.shape[0])
            row = row_of(user_items, int(user[0]), "user_items", self.item_factors.shape[0])
        else:
            row = self._rows_of(user, user_items, "user_items", axis=0)
        objective, Y = self._checked_objective(), self.item_factors
        if user_weights is None:
            G = self._cached("gramian", (Y,), lambda: gramian(Y, np.zeros(Y.shape[0]), self.num_threads)[0])
            user_weights = factorised_system(objective, row, Y, G)
        parts = contributions(objective, row, Y, user_weights, Y[item])
        order = np.argsort(-parts, kind="stable")[:count]
        best = [(int(row.indices[t]), float(parts[t])) for t in order]
        return float(parts.sum()), best, user_weights

    def recalculate_user(self, userid: Any, user_items: Any = None) -> np.ndarray:
        """Factors of users solved from their rows: one row of a training half-sweep, bit for bit.

        Parameters
        ----------
        userid : int or (n,) array of int
            Only their number matters if ``user_items`` is given.
        user_items : sparse matrix (n, n_items), optional
            A row for each user; the training rows by default.

        Returns
        -------
        (factors,) or (n, factors) array

        Raises
        ------
        TypeError, ValueError, NotFittedError
            As ``recommend``.
        """
        users, scalar = self._ids("userid", userid, None)
        factors = self._fold_in(self._rows_of(users, user_items, "user_items", axis=0), axis=0)
        return factors[0] if scalar else factors

    def recalculate_item(self, itemid: Any, item_users: Any = None) -> np.ndarray:
        """Factors of items solved from their users; as ``recalculate_user``, with rows (n, n_users)."""
        items, scalar = self._ids("itemid", itemid, None)
        factors = self._fold_in(self._rows_of(items, item_users, "item_users", axis=1), axis=1)
        return factors[0] if scalar else factors

    def partial_fit_users(self, userids: Any, user_items: Any) -> None:
        """Solve users from new rows and put them into the model, which grows for ids beyond its last user.

        Parameters
        ----------
        userids : (n,) array of int
            Distinct. Ids between the last user and the largest new one that are not named become users without
            interactions: their factors are zero.
        user_items : sparse matrix (n, n_items)
            The users' rows, which replace their training rows.

        Raises
        ------
        TypeError, ValueError, NotFittedError
            As ``recommend``; the model is left as it was.
        """
        self._update(userids, user_items, axis=0)

    def partial_fit_items(self, itemids: Any, item_users: Any) -> None:
        """Solve items from new rows (n, n_users) and put them into the model; as ``partial_fit_users``."""
        self._update(itemids, item_users, axis=1)

    def _ids(self, name: str, value: Any, size: int | None, scalar: bool = False) -> tuple[np.ndarray, bool]:
        """Ids as an int64 array of shape (n,), and whether a scalar came."""
        ids = check_ids(value, name, np.iinfo(np.int32).max if size is None else size)
        if scalar and ids.ndim:
            raise ValueError(f"{name} must be one integer; got {describe(value)}")
        return np.atleast_1d(ids), ids.ndim == 0

    def _matching_factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Factors of users and of items; ValueError where those assigned are of different lengths."""
        P, Q = self.user_factors, self.item_factors
        if P.shape[1] != Q.shape[1]:
            raise ValueError(f"user_factors and item_factors must be equally long; got shapes {P.shape} and {Q.shape}")
        return P, Q

    def _rows_of(self, ids: np.ndarray, matrix: Any, name: str, axis: int) -> Rows:
        """One canonical row for each id: of the given matrix, or of the training matrix (axis 1: its transpose)."""
        if matrix is not None:
            if sp.issparse(matrix) and matrix.ndim == 1:  # what SciPy makes of one row of a sparse array
                matrix = matrix.reshape(1, -1)
            shape = ids.size, (self.item_factors if axis == 0 else self.user_factors).shape[0]
            if sp.issparse(matrix) and matrix.shape[0] != ids.size:
                turned = matrix.shape[1] != shape[1] == matrix.shape[0]
                raise ValueError(
                    f"{name} must have one row for each of the {ids.size} ids, shape {shape}; got {matrix.shape}; "
                    + ("it looks transposed" if turned else f"pass {name}[ids] instead of the whole matrix")
                )
            return check_rows(matrix, name, shape=shape)[0]
        rows = self._training_rows(axis)
        check_ids(ids, "userid" if axis == 0 else "itemid", rows.shape[0])
        return rows.taken(ids)

    def _training_rows(self, axis: int) -> Rows:
        with self._lock("read"):  # not in the middle of an update
            rows: Rows = self._fitted("_rows")
            name, factors = (("item", self.item_factors), ("user", self.user_factors))[axis]
        if factors.shape[0] != rows.shape[1 - axis]:
            raise ValueError(
                f"{name}_factors must have {rows.shape[1 - axis]} rows for the training matrix, of shape {rows.shape}, "
                f"to serve; got shape {factors.shape}; fit again, or pass {('user_items', 'item_users')[axis]}"
            )
        return rows if axis == 0 else self._cached("columns", (rows,), lambda: transposed(rows))

    def _fold_in(self, rows: Rows, axis: int) -> np.ndarray:
        """Solve rows against the fitted factors of the other side, as a half-sweep does."""
        objective, settings = self._checked_objective(), self._checked_settings()
        Y = self.item_factors if axis == 0 else self.user_factors
        if rows.shape[1] > Y.shape[0]:  # its kernels would read beyond the end
            raise RuntimeError("the model was fitted anew, to a smaller matrix, during a call of another thread")
        weight = objective.unobserved_weight
        basis: Basis = self._cached(
            f"basis {axis}", (Y, weight), lambda: eigenbasis(Y, np.zeros(Y.shape[0]), weight, settings.num_threads)
        )
        strength = objective.user_regularization if axis == 0 else objective.item_regularization
        side = Side.of(
            rows,
            objective.extra(rows.data, Y.dtype),
            objective.preference(rows.data, Y.dtype),
            objective.row_regularization(rows, strength),
        )
        X = np.zeros((rows.shape[0], Y.shape[1]), Y.dtype)
        if rows.indices.size * Y.shape[1] <= SERIAL_FOLD_IN:
            settings = replace(settings, num_threads=1)
        if rows.shape[0]:
            solve_side(side, basis, X, objective, settings)
            check_products(X, "the factors calculated")
        return X

    def _update(self, ids: Any, matrix: Any, axis: int) -> None:
        """Replace rows of one side, growing it where needed; all or nothing, and one update after the other."""
        with self._lock("update"):
            self._replace(ids, matrix, axis)

    def _replace(self, ids: Any, matrix: Any, axis: int) -> None:
        names = ("userids", "user_items", "_user_factors") if axis == 0 else ("itemids", "item_users", "_item_factors")
        new, _ = self._ids(names[0], ids, None)
        if np.unique(new).size != new.size:
            raise ValueError(f"{names[0]} must be distinct; got {describe(ids)}")
        if not new.size:
            return
        given = self._rows_of(new, matrix, names[1], axis)
        solved = self._fold_in(given, axis)
        before, old = getattr(self, names[2][1:]), self._training_rows(axis)
        if before.shape != (old.shape[0], solved.shape[1]):
            raise ValueError(f"{names[2][1:]} must have shape {(old.shape[0], solved.shape[1])}; got {before.shape}")
        size = max(before.shape[0], int(new.max()) + 1)
        factors = np.zeros((size, before.shape[1]), before.dtype)
        factors[: before.shape[0]] = before
        factors[new] = solved
        rows = old.replaced(new, given, size)
        rows = rows if axis == 0 else transposed(rows)
        if size > before.shape[0] and "interactions" in self.__dict__:
            # The last thing that can fail: the warning may be turned into an error.
            warnings.warn("the model has grown beyond its id maps, which it no longer carries", stacklevel=4)
            del self.interactions
        with self._lock("read"):
            self.__dict__.update({names[2]: read_only(factors), "_rows": rows})

    def _lock(self, purpose: str) -> threading.RLock:
        """Lock of this model and process: one inherited by a fork may be held for ever, so there it is another."""
        cache = self.__dict__.setdefault("_cache", {})
        return cache.setdefault(f"{purpose} lock {threads.forks}", threading.RLock())

    def _cached(self, name: str, sources: tuple[Any, ...], build: Any) -> Any:
        """Value made from ``sources``, kept until one of them is another object (factors never change in place)."""
        cache = self.__dict__.setdefault("_cache", {})
        with self._lock("build"):  # of many requests to a cold model one does the work
            held = cache.get(name)
            if held is None or not all(
                a is b or (np.isscalar(a) and a == b) for a, b in zip(held[0], sources, strict=True)
            ):
                held = cache[name] = (sources, build())
            return held[1]

    def _top(
        self,
        queries: np.ndarray,
        among: str,
        N: Any,
        scalar: bool,
        excluded: Any,
        candidates: Any,
        seen: tuple[np.ndarray, np.ndarray] | None = None,
        names: tuple[str, str] = ("filter_items", "items"),
    ) -> tuple[np.ndarray, np.ndarray]:
        """Top lists among "items", or "unit items" or "unit users" for cosines; one-dimensional for a scalar id."""
        length, settings = check_integer("N", N, 1, None if scalar else LARGEST_INT32), self._checked_settings()
        factors = self.user_factors if among == "unit users" else self.item_factors
        if scalar:
            length = min(length, max(factors.shape[0], 1))  # no more are returned
        excluded, candidates = (
            None if ids is None else np.atleast_1d(check_ids(ids, name, factors.shape[0]))
            for name, ids in zip(names, (excluded, candidates), strict=True)
        )
        index = self._cached(
            among, (factors,), lambda: ItemIndex.build(factors if among == "items" else unit_rows(factors))
        )
        ids, scores = top_items(
            queries, factors, length, seen=seen, excluded=excluded, candidates=candidates, index=index,
            num_threads=settings.num_threads,
        )  # fmt: skip
        if not scalar:
            return ids, scores
        found = ids[0] >= 0
        return ids[0][found], scores[0][found]
