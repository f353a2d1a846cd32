"""Fold-in: rows solved against the fitted factors of the other side, to be returned or put into a new state."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from fastals.core.rows import Rows
from fastals.core.state import State
from fastals.core.validation import check_products, describe
from fastals.serving.fitted import SIDES, Fitted, ids_of
from fastals.solver.eigenbasis import Basis, eigenbasis
from fastals.solver.half_sweep import SERIAL_WORK, solve_side
from fastals.solver.sides import build_side

LARGEST_GAP = 1024  # rows without interactions that an update may add, unless the model has more rows than that


def recalculate(fitted: Fitted, axis: int, ids: Any, matrix: Any = None) -> np.ndarray:
    """Factors solved from their rows: one row of a training half-sweep, bit for bit.

    Parameters
    ----------
    userid (or itemid) : int or (n,) array of int
        Only their number matters if rows are given.
    user_items (or item_users) : sparse matrix (n, n_items) or (n, n_users), optional
        A row for each id; the training rows by default. Rows as wide as the fitted matrix will do after partial fits
        have made the model grow.

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
    factors = fold_in(fitted, axis, fitted.rows(axis, found, matrix))
    return factors[0] if scalar else factors


def fold_in(fitted: Fitted, axis: int, rows: Rows) -> np.ndarray:
    """Solve canonical rows against the factors of the other side, as a half-sweep does; (n_rows, factors)."""
    objective, settings, Y = fitted.objective, fitted.settings, fitted.factors(1 - axis)
    X = np.zeros((rows.shape[0], Y.shape[1]), Y.dtype)
    if not rows.shape[0]:
        return X
    if rows.indices.size * Y.shape[1] <= SERIAL_WORK:  # then the basis is made by the calling thread, too
        settings = replace(settings, num_threads=1)
    c0 = objective.c0

    def basis() -> Basis:
        return eigenbasis(Y.array, np.zeros(Y.shape[0]), c0, settings.num_threads)

    side = build_side(objective, rows, axis, Y.dtype)
    solve_side(side, Y.derived.get(("basis", c0), basis), X, objective, settings)
    check_products(X, "the factors calculated")
    return X


def partial_fit(fitted: Fitted, axis: int, ids: Any, matrix: Any) -> State:
    """State with rows solved anew and put in, which has grown for ids beyond its last row.

    Parameters
    ----------
    userids (or itemids) : (n,) array of int
        Distinct. Ids between the last row and the largest new one that are not named get no interactions, and zero
        factors; there may be as many of them as the model has rows, or 1,024.
    user_items (or item_users) : sparse matrix (n, n_items) or (n, n_users)
        Their rows, which replace the training rows; see ``recalculate_user``.

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
    rows = fitted.rows(axis, found, matrix)
    solved = fold_in(fitted, axis, rows)
    if factors.shape != (history.shape[axis], solved.shape[1]):
        raise ValueError(
            f"{SIDES[axis]}_factors must have shape {(history.shape[axis], solved.shape[1])}; got {factors.shape}"
        )
    if n_added and state.interactions is not None:
        # The last thing that can fail: the warning may be turned into an error.
        warnings.warn("the model has grown beyond its id maps, which it no longer carries", stacklevel=4)
        state = state.changed(interactions=None)
    changes = {f"{SIDES[axis]}_factors": factors.replaced(found, solved)}
    return state.changed(history=history.replaced(axis, found, rows), **changes)
