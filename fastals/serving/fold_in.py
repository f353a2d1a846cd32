"""Fold-in: rows solved against the fitted factors of the other side, to be returned or kept in the model."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from fastals.core.rows import Rows, transposed
from fastals.core.validation import check_ids, check_products, check_rows, describe, is_sparse, read_only
from fastals.serving.fitted import Fitted
from fastals.solver.eigenbasis import Basis, eigenbasis
from fastals.solver.half_sweep import solve_side
from fastals.solver.sides import Side

# Up to so many entries times factors one thread is done before others have woken up; on a busy machine they may take
# milliseconds.
SERIAL_FOLD_IN = 2**17


class FoldIn(Fitted):
    """Factors for new or changed rows without training; ids and errors as in ``fastals.serving.recommend``."""

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

    def _rows_of(self, ids: np.ndarray, matrix: Any, name: str, axis: int) -> Rows:
        """One canonical row for each id: of the given matrix, or of the training matrix (axis 1: its transpose)."""
        if matrix is not None:
            if is_sparse(matrix) and matrix.ndim == 1:  # what SciPy makes of one row of a sparse array
                matrix = matrix.reshape(1, -1)
            shape = ids.size, (self.item_factors if axis == 0 else self.user_factors).shape[0]
            if is_sparse(matrix) and matrix.shape[0] != ids.size:
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
