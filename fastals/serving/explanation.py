"""A score divided among what a user has stored (section 5 of Hu, Koren and Volinsky 2008).

With the user's normal equations A p = sum_t target_t y_t the score of an item with factors q is a sum over what is
stored, q.p = sum_t target_t q' A^-1 y_t. The features of a user add lambda q' A^-1 z to it, with z what they predict.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastals.core.rows import Rows
from fastals.core.unobserved import ALIKE
from fastals.core.validation import describe
from fastals.objective import Objective
from fastals.solver.sides import Missing

Factorisation = tuple[np.ndarray, bool]


def factorised_system(
    objective: Objective, row: Rows, Y: np.ndarray, gramian: np.ndarray, missing: Missing, strength: float
) -> Factorisation:
    """Cholesky factorisation of A in float64, as ``scipy.linalg.cho_factor`` gives it, for one canonical row.

    ``gramian`` is Y' diag(w) Y, ``missing`` holds v of the row and w, ``strength`` is lambda.

    Raises
    ------
    LinAlgError
        Where A is singular.
    FloatingPointError
        Where it overflows.
    """
    from scipy.linalg import cho_factor  # a seventh of the time of `import fastals`, which few models need

    extra, _ = _weights(objective, row, missing)
    stored = Y[row.indices].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        A = objective.c0 * missing.rows[0] * gramian + (stored.T * extra) @ stored
        A[np.diag_indices_from(A)] += strength
    if not np.isfinite(A).all():
        raise FloatingPointError("item_factors and the weights of user_items are too large: their products overflow")
    undetermined = "the user's factors are not determined by user_items; raise regularization"
    try:
        triangle, lower = cho_factor(A)
    except np.linalg.LinAlgError as error:
        raise np.linalg.LinAlgError(f"{undetermined} ({error})") from None
    # A pivot of a singular A is what rounding leaves of its diagonal element: positive by chance.
    if (np.diagonal(triangle) ** 2 <= len(A) * np.finfo(np.float64).eps * np.diagonal(A)).any():
        raise np.linalg.LinAlgError(f"{undetermined} (pivots vanish but for rounding)")
    return triangle, lower


def ridge(objective: Objective, row: Rows, missing: Missing, known: bool) -> float:
    """lambda of one user's row; ``known`` if the user has features.

    A row that weighs nothing has  lambda p = lambda z.  Where its lambda is 0, too, any other will do: it gives  p = z,
    which row kernels take.
    """
    total = missing.total(row.shape[1])
    found = float(objective.regularization_of(objective.user_regularization, row.indices.size, total)[0])
    return 1.0 if known and not (found or row.indices.size or objective.c0 * missing.rows[0]) else found


def contributions(
    objective: Objective, row: Rows, Y: np.ndarray, factorisation: Any, item: np.ndarray, predicted: np.ndarray
) -> tuple[np.ndarray, float]:
    """What each stored entry of one canonical row adds to the score of an item's factors (factors,), float64.

    The second result is what the user's features add, whose part of b is ``predicted`` (factors,), lambda A' f.
    """
    from scipy.linalg import cho_solve

    factor = _checked_factorisation(factorisation, Y.shape[1])
    _, target = _weights(objective, row, Missing())
    stored = Y[row.indices].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        solved = cho_solve(factor, item.astype(np.float64))
        parts: np.ndarray = target * (stored @ solved)
        of_features = float(predicted @ solved)
    if not np.isfinite(parts.sum() + of_features):
        raise FloatingPointError("the contributions of user_items overflow; raise regularization, or scale them down")
    return parts, of_features


def _weights(objective: Objective, row: Rows, missing: Missing) -> tuple[np.ndarray, np.ndarray]:
    """Weights c - c0 v w and targets c phi of the entries of a row, float64."""
    values = np.broadcast_to(row.data, row.indices.shape)
    weight = objective.weight(values, np.dtype(np.float64))
    preference = objective.preference(values, np.dtype(np.float64))
    columns = missing.columns if missing.columns is ALIKE else missing.columns[row.indices]
    return objective.extra_and_target(weight, preference, missing.rows[0] * columns)


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
