"""A score divided among what a user has stored (section 5 of Hu, Koren and Volinsky 2008).

With the user's normal equations A p = sum_t target_t y_t the score of an item with factors q is a sum over what is
stored, q.p = sum_t target_t q' A^-1 y_t.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastals.core.rows import Rows
from fastals.core.validation import describe
from fastals.objective import Objective

Factorisation = tuple[np.ndarray, bool]


def factorised_system(objective: Objective, row: Rows, Y: np.ndarray, gramian: np.ndarray) -> Factorisation:
    """Cholesky factorisation of A in float64, as ``scipy.linalg.cho_factor`` gives it, for one canonical row.

    Raises
    ------
    LinAlgError
        Where A is singular.
    FloatingPointError
        Where it overflows.
    """
    from scipy.linalg import cho_factor  # a seventh of the time of `import fastals`, which few models need

    extra, _ = _weights(objective, row)
    stored = Y[row.indices].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        A = objective.c0 * gramian + (stored.T * extra) @ stored
        A[np.diag_indices_from(A)] += objective.regularization_of(
            objective.user_regularization, row.indices.size, row.shape[1]
        )
    if not np.isfinite(A).all():
        raise FloatingPointError("item_factors and the weights of user_items are too large: their products overflow")
    try:
        return cho_factor(A)
    except np.linalg.LinAlgError as error:
        raise np.linalg.LinAlgError(
            f"the user's factors are not determined by user_items; raise regularization ({error})"
        ) from None


def contributions(objective: Objective, row: Rows, Y: np.ndarray, factorisation: Any, item: np.ndarray) -> np.ndarray:
    """What each stored entry of one canonical row adds to the score of an item's factors (factors,), float64."""
    from scipy.linalg import cho_solve

    factor = _checked_factorisation(factorisation, Y.shape[1])
    _, target = _weights(objective, row)
    stored = Y[row.indices].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        parts: np.ndarray = target * (stored @ cho_solve(factor, item.astype(np.float64)))
    if not np.isfinite(parts.sum()):
        raise FloatingPointError("the contributions of user_items overflow; raise regularization, or scale them down")
    return parts


def _weights(objective: Objective, row: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Weights c - c0 and targets c phi of the entries of a row, float64."""
    values = np.broadcast_to(row.data, row.indices.shape)
    weight = objective.weight(values, np.dtype(np.float64))
    return objective.extra_and_target(weight, objective.preference(values, np.dtype(np.float64)))


def _checked_factorisation(value: Any, factors: int) -> Factorisation:
    """Return a pair of a finite triangle and a flag, or raise TypeError or ValueError."""
    if not (isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], np.ndarray)):
        raise TypeError(f"user_weights must be the third result of explain; got {describe(value)}")
    triangle, lower = value
    if triangle.shape != (factors, factors) or triangle.dtype != np.float64:
        raise ValueError(f"user_weights must hold float64 of shape {(factors, factors)}; got {describe(triangle)}")
    if not (np.isfinite(triangle).all() and np.diagonal(triangle).all()):
        raise ValueError("user_weights must be finite, with no zero on the diagonal")
    return triangle, bool(lower)
