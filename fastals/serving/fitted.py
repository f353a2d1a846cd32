"""A fitted model as serving sees it: parameters, checked when they are needed, and one state."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastals.core.canonical import canonical_row
from fastals.core.features import Features, check_features
from fastals.core.overlay import Factors, History
from fastals.core.rows import Rows
from fastals.core.state import State, needed
from fastals.core.unobserved import Unobserved
from fastals.core.validation import LARGEST_INT32, check_ids, check_rows, describe, is_sparse
from fastals.objective import Objective
from fastals.solver.checked import checked_objective, checked_settings
from fastals.solver.half_sweep import Settings
from fastals.solver.sides import Missing

SIDES = ("user", "item")
MATRICES = ("user_items", "item_users")  # rows of the users, rows of the items
FEATURES = ("user_features", "item_features")


class Fitted:
    """Parameters and state of a model; axis 0 stands for its users and axis 1 for its items.

    Parameters
    ----------
    parameters : ImplicitALS
        Only its constructor's parameters are read.
    state : State
        Does not change, whatever happens to the model meanwhile.
    """

    def __init__(self, parameters: Any, state: State) -> None:
        self.parameters, self.state = parameters, state

    @property
    def objective(self) -> Objective:
        """Checked; what is "auto" is what the fit chose."""
        return checked_objective(self.parameters, needed(self.state.chosen))

    @property
    def settings(self) -> Settings:
        """Checked."""
        return checked_settings(self.parameters)

    def factors(self, axis: int) -> Factors:
        """Factors of the users or of the items."""
        return needed((self.state.user_factors, self.state.item_factors)[axis])

    def matching_factors(self) -> tuple[Factors, Factors]:
        """Factors of users and of items; ValueError where those assigned are of different lengths."""
        P, Q = self.factors(0), self.factors(1)
        if P.shape[1] != Q.shape[1]:
            raise ValueError(f"user_factors and item_factors must be equally long; got shapes {P.shape} and {Q.shape}")
        return P, Q

    def weights(self, axis: int) -> Unobserved | None:
        """Weights of a side's missing pairs; ValueError where its factors were assigned and are not as many."""
        own, factors = self.state.unobserved[axis], self.factors(axis)
        if own is not None and own.weights.shape[0] != factors.shape[0]:
            raise ValueError(
                f"{SIDES[axis]}_factors must have {own.weights.shape[0]} rows, as many as their missing pairs have "
                f"weights; got shape {factors.shape}; fit again"
            )
        return own

    def features(self, axis: int) -> Features | None:
        """Features of a side; ValueError where the factors that it is solved against are not as long as their effects.

        Effects are what a fit has found; factors may have been assigned since.
        """
        own, other = self.state.features[axis], self.factors(1 - axis)
        if own is not None and own.effects.shape[1] != other.shape[1]:
            raise ValueError(
                f"{SIDES[1 - axis]}_factors must have {own.effects.shape[1]} columns, like the effects of "
                f"{FEATURES[axis]}; got shape {other.shape}; fit again"
            )
        return own

    def history(self, axis: int) -> History:
        """Interactions, whose rows of an axis match the factors of the other side."""
        history = needed(self.state.history)
        shape, other = history.shape, 1 - axis
        if self.factors(other).shape[0] != shape[other]:
            raise ValueError(
                f"{SIDES[other]}_factors must have {shape[other]} rows for the training matrix, of shape {shape}, to "
                f"serve; got shape {self.factors(other).shape}; fit again, or pass {MATRICES[axis]}"
            )
        return history

    def rows(self, axis: int, ids: np.ndarray, matrix: Any) -> Rows:
        """One canonical row for each id: of the given matrix, or of the training matrix (axis 1: its transpose)."""
        if matrix is None:
            history = self.history(axis)
            check_ids(ids, f"{SIDES[axis]}id", history.shape[axis])
            return history.taken(ids, axis)
        shape = ids.size, self.width(axis, matrix)
        row = canonical_row(matrix, shape) if ids.size == 1 else None
        if row is None:
            row = self._checked_rows(axis, ids, matrix)
        return row._replace(shape=(ids.size, self.factors(1 - axis).shape[0]), disk=None)

    def _checked_rows(self, axis: int, ids: np.ndarray, matrix: Any) -> Rows:
        """Canonical rows of a matrix in any form; ValueError or TypeError where it is not one of a row for each id."""
        name = MATRICES[axis]
        if is_sparse(matrix) and matrix.ndim == 1:  # what SciPy makes of one row of a sparse array
            matrix = matrix.reshape(1, -1)
        shape = ids.size, self.width(axis, matrix)
        if is_sparse(matrix) and matrix.shape[0] != ids.size:
            turned = matrix.shape[1] != shape[1] == matrix.shape[0]
            raise ValueError(
                f"{name} must have one row for each of the {ids.size} ids, shape {shape}; got {matrix.shape}; "
                + ("it looks transposed" if turned else f"pass {name}[ids] instead of the whole matrix")
            )
        return check_rows(matrix, name, shape=shape)[0]

    def known(self, axis: int, ids: np.ndarray, matrix: Any, features: Any) -> tuple[Rows, Rows | None]:
        """Rows of interactions and of features for each id; see ``rows``.

        With features that are given and no matrix the rows are empty: what is known are the features alone. Without
        given features those of the ids serve; ids that the model does not know have none.
        """
        own, name = self.features(axis), FEATURES[axis]
        if own is None and features is not None:
            raise ValueError(f"{name} must be left out: the model was fitted without any")
        if features is not None and matrix is None:
            empty = np.zeros(ids.size + 1, np.int64), np.empty(0, np.int32), np.ones(1, self.factors(axis).dtype)
            rows = Rows(*empty, (ids.size, self.factors(1 - axis).shape[0]))
        else:
            rows = self.rows(axis, ids, matrix)
        if own is not None and features is not None:
            return rows, check_features(features, name, (ids.size, own.n_features))
        return rows, self.features_of(axis, ids)

    def features_of(self, axis: int, ids: np.ndarray) -> Rows | None:
        """Features that the model has of each id; none for ids that it does not know."""
        own = self.features(axis)
        if own is None:
            return None
        inside = np.flatnonzero(ids < own.rows.shape[0])
        none = Rows(np.zeros(1, np.int64), np.empty(0, np.int32), np.ones(1), (0, own.n_features))
        return none.replaced(inside, own.rows.taken(ids[inside], 0), ids.size)

    def missing(self, axis: int, ids: np.ndarray, rows: Rows) -> Missing:
        """Weights of the missing pairs of rows to be folded in, as ``ids``."""
        own, other = self.state.unobserved[axis], self.weights(1 - axis)
        return Missing.of(own, other, None if own is None else own.of_rows(ids, rows.counts))

    def width(self, axis: int, matrix: Any) -> int:
        """Columns that a matrix of rows must have: as the model has now, or had before partial fits made it grow."""
        now = self.factors(1 - axis).shape[0]
        history = self.state.history
        first = now if history is None else min(history.fitted_shape[1 - axis], now)
        if first == now:
            return now
        return matrix.shape[1] if is_sparse(matrix) and first <= matrix.shape[1] <= now else now


def ids_of(name: str, value: Any, size: int | None, *, scalar: bool = False) -> tuple[np.ndarray, bool]:
    """Ids below ``size`` (None: any) as an int64 array of shape (n,), and whether a scalar came."""
    ids = check_ids(value, name, LARGEST_INT32 if size is None else size)
    if scalar and ids.ndim:
        raise ValueError(f"{name} must be one integer; got {describe(value)}")
    return np.atleast_1d(ids), ids.ndim == 0
