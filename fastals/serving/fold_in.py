"""Fold-in: rows solved against the fitted factors of the other side, to be returned or put into a new state."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from fastals.core.rows import Rows
from fastals.core.state import State
from fastals.core.validation import check_products, describe
from fastals.serving.fitted import FEATURES, MATRICES, SIDES, Fitted, ids_of
from fastals.solver.eigenbasis import Basis, eigenbasis
from fastals.solver.features import predictions
from fastals.solver.half_sweep import SERIAL_WORK, on_one_thread, solve_side
from fastals.solver.sides import build_side

LARGEST_GAP = 1024  # rows without interactions that an update may add, unless the model has more rows than that


def recalculate(fitted: Fitted, axis: int, ids: Any, matrix: Any = None, features: Any = None) -> np.ndarray:
    """Factors solved from their rows: one row of a training half-sweep, bit for bit.

    Parameters
    ----------
    userid (or itemid) : int or (n,) array of int
        If rows are given, only their number matters, unless the model has features or weights of missing pairs that
        were given: those go by id.
    user_items (or item_users) : sparse matrix (n, n_items) (or (n, n_users)), optional
        A row for each id; the training rows by default. Rows as wide as the fitted matrix will do after partial fits
        have made the model grow.
    user_features (or item_features) : array or sparse matrix (n, d), optional
        A row for each id, in a model that was fitted with features; by default those it has of the ids. Given without
        a matrix, they are all that is known: the rows are empty.

    Returns
    -------
    (factors,) or (n, factors) array

    Raises
    ------
    TypeError, ValueError
        For ids out of range, or a matrix that does not have one row for each id and a column for each item (or user).
    FloatingPointError
        Where a row has no finite solution.
    NotFittedError
        Before ``fit``.
    """
    found, scalar = ids_of(f"{SIDES[axis]}id", ids, None)
    factors = fold_in(fitted, axis, found, *fitted.known(axis, found, matrix, features))
    return factors[0] if scalar else factors


def fold_in(fitted: Fitted, axis: int, ids: np.ndarray, rows: Rows, features: Rows | None = None) -> np.ndarray:
    """Solve canonical rows against the factors of the other side, as a half-sweep does; (n_rows, factors)."""
    objective, settings, Y = fitted.objective, fitted.settings, fitted.factors(1 - axis)
    X = np.zeros((rows.shape[0], Y.shape[1]), Y.dtype)
    if not rows.shape[0]:
        return X
    entries = rows.indices.size + (0 if features is None else features.indices.size)
    if rows.shape[0] == 1 or entries * Y.shape[1] <= SERIAL_WORK:  # a row is one thread's, however long it is
        settings = on_one_thread(settings)
    side = build_side(objective, rows, axis, Y.dtype, fitted.missing(axis, ids, rows))
    columns = side.entries.column_weights

    own, prior = fitted.state.features[axis], None
    shared = side.shared_with(own)

    def build() -> Basis:
        zeros = np.zeros(Y.shape[0])
        return eigenbasis(Y.array, zeros, objective.c0, settings.num_threads, missing=columns, shared=shared)

    basis = Y.derived.get(("basis", objective.c0, shared), build)
    if own is not None and features is not None:
        prior = predictions(features, own.effects, basis, settings.num_threads)
    solve_side(side, basis, X, objective, settings, prior=prior)
    check_products(X, "the factors calculated")
    return X


def partial_fit(fitted: Fitted, axis: int, ids: Any, matrix: Any, features: Any = None) -> State:
    """State with rows solved anew and put in, which has grown for ids beyond its last row.

    Parameters
    ----------
    userids (or itemids) : (n,) array of int
        Distinct. Ids between the last row and the largest new one that are not named get no interactions, and zero
        factors; there may be as many of them as the model has rows, or 1,024.
    user_items (or item_users) : sparse matrix (n, n_items) (or (n, n_users)), or None
        Their rows, which replace the training rows; see ``recalculate_user``. None, of a model with features, for
        rows of which nothing is known but ``user_features`` (or ``item_features``).
    user_features (or item_features) : array or sparse matrix (n, d), optional
        Their features, which replace those that the model has.

    Notes
    -----
    The weight of the rows' missing pairs becomes what ``unobserved_exponent`` says of their new number of entries, in
    the scale of the fit. Weights that were given to ``fit`` stay, and new rows get their mean.

    Raises
    ------
    TypeError, ValueError
        For ids that are not distinct or far outside, or a matrix that does not fit; the model is left unchanged.
    FloatingPointError
        Where a row has no finite solution.
    NotFittedError
        Before ``fit``.
    """
    name, state = f"{SIDES[axis]}ids", fitted.state
    found, _ = ids_of(name, ids, None)
    if np.unique(found).size != found.size:
        raise ValueError(f"{name} must be distinct; got {describe(ids)}")
    if not found.size:
        return state
    factors, history = fitted.factors(axis), fitted.history(axis)
    n_rows = factors.shape[0]
    n_added = max(int(found.max()) + 1 - n_rows, 0)
    if n_added - np.count_nonzero(found >= n_rows) > max(n_rows, LARGEST_GAP):
        raise ValueError(
            f"{name} must not lie far outside of the model's {n_rows} {SIDES[axis]}s; got {found.max()}, which would "
            "leave as many rows without interactions; map ids to positions, for instance with fastals.Interactions"
        )
    if matrix is None and features is None:
        raise TypeError(f"{MATRICES[axis]} must be a sparse matrix, unless {FEATURES[axis]} are given; got None")
    rows, known = fitted.known(axis, found, matrix, features)
    rows = rows.apart_from(matrix)
    solved = fold_in(fitted, axis, found, rows, known)
    if factors.shape != (history.shape[axis], solved.shape[1]):
        raise ValueError(
            f"{SIDES[axis]}_factors must have shape {(history.shape[axis], solved.shape[1])}; got {factors.shape}"
        )
    if n_added and state.interactions is not None:
        # The last thing that can fail: the warning may be turned into an error.
        warnings.warn("the model has grown beyond its id maps, which it no longer carries", stacklevel=4)
        state = state.changed(interactions=None)
    changes: dict[str, Any] = {f"{SIDES[axis]}_factors": factors.replaced(found, solved)}
    own, weights = state.features[axis], state.unobserved[axis]
    if own is not None and known is not None:
        changed = own._replace(rows=own.rows.replaced(0, found, known))
        changes["features"] = (changed, state.features[1]) if axis == 0 else (state.features[0], changed)
    if weights is not None:
        weighed = weights.replaced(found, rows.counts)
        changes["unobserved"] = (weighed, state.unobserved[1]) if axis == 0 else (state.unobserved[0], weighed)
    return state.changed(history=history.replaced(axis, found, rows), **changes)
