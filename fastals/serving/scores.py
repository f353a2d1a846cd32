"""Numbers that a fitted model gives: scores of pairs, and the loss of any interactions."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastals.core.validation import check_ids, check_rows
from fastals.serving.fitted import Fitted
from fastals.solver.features import penalty_of
from fastals.solver.fitting import checked_feature_strengths
from fastals.solver.half_sweep import full_loss
from fastals.solver.sides import build_sides


def loss(fitted: Fitted, user_items: Any, preference: Any = None) -> float:
    """Value of the objective for the fitted factors on any interactions of the same shape.

    Parameters
    ----------
    user_items, preference
        As for ``fit``. Weights of missing pairs and features are those of the fit.

    Returns
    -------
    float
        In float64: the sum over ALL pairs, and the regularisation.

    Raises
    ------
    TypeError, ValueError
        For a matrix that does not fit.
    FloatingPointError
        Where the loss overflows float64.
    NotFittedError
        Before ``fit``.
    """
    objective, settings = fitted.objective, fitted.settings
    P, Q = fitted.matching_factors()
    rows, phi = check_rows(user_items, "user_items", shape=(P.shape[0], Q.shape[0]), preference=preference)
    users, items = build_sides(objective, rows, phi, np.dtype(np.float64), fitted.state.unobserved)
    penalty, threads = None, settings.num_threads
    if any(features is not None for features in fitted.state.features):
        strengths = checked_feature_strengths(fitted.parameters)
        penalty = sum(
            penalty_of(factors.array, side.regularization, features, strength / objective.unit, threads)
            for factors, side, features, strength in zip(
                (P, Q), (users, items), fitted.state.features, strengths, strict=True
            )
        )
    return full_loss(users, items, P.array, Q.array, objective, threads, penalty)


def predict(fitted: Fitted, user: Any, item: Any) -> Any:
    """Score p_u.q_i of users and items.

    Parameters
    ----------
    user, item : int or (n,) array of int
        Broadcast against each other.

    Returns
    -------
    float or (n,) array

    Raises
    ------
    TypeError, ValueError
        For ids that are not integers or out of range.
    NotFittedError
        Before ``fit``.
    """
    P, Q = fitted.matching_factors()
    users, items = check_ids(user, "user", P.shape[0]), check_ids(item, "item", Q.shape[0])
    if users.ndim == items.ndim == 1 and 1 != users.size != items.size != 1:
        raise ValueError(f"user and item must have equal lengths; got {users.size} and {items.size}")
    return np.einsum("...k,...k->...", P.array[users], Q.array[items])[()]
