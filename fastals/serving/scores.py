"""Numbers that a fitted model gives: scores of pairs, and the loss of any interactions, whole or in parts."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastals.core.validation import check_ids, check_rows
from fastals.serving.fitted import FEATURES, SIDES, Fitted
from fastals.solver.features import distances_of, effects_penalty
from fastals.solver.given_features import checked_feature_strengths
from fastals.solver.half_sweep import finite_loss, full_loss, pair_losses
from fastals.solver.sides import Side, build_sides

LOSS_PARTS = ("stored", "missing", "user_penalty", "item_penalty", "feature_penalty")


def loss(fitted: Fitted, user_items: Any, preference: Any = None) -> float:
    """Value of the objective for the fitted factors on any interactions of the same shape.

    Parameters
    ----------
    user_items, preference
        As for ``fit``. Weights of missing pairs and features are those of the fit.

    Returns
    -------
    float
        In float64: the sum over ALL pairs, and the regularization.

    Raises
    ------
    TypeError, ValueError
        For a matrix that does not fit.
    FloatingPointError
        Where the loss overflows float64.
    NotFittedError
        Before ``fit``.
    """
    users, items = _sides(fitted, user_items, preference)
    P, Q = fitted.matching_factors()
    known = any(features is not None for features in fitted.state.features)
    penalty = sum(_penalties(fitted, users, items)) if known else None
    return full_loss(users, items, P.array, Q.array, fitted.objective, fitted.settings.num_threads, penalty)


def loss_parts(fitted: Fitted, user_items: Any, preference: Any = None) -> dict[str, float]:
    """Divide the objective's value on any interactions among stored pairs, missing pairs, and penalties.

    Parameters
    ----------
    user_items, preference
        As for ``fit``. Weights of missing pairs and features are those of the fit.

    Returns
    -------
    dict of str to float
        Whose sum is ``loss``, up to rounding: "stored", c (phi - p.q)^2 summed over the stored pairs (in Rendle's form
        w (phi - p.q)^2 + c0 v w (p.q)^2); "missing", c0 v w (p.q)^2 summed over the pairs that are not stored;
        "user_penalty", lambda_u |p_u - A' f_u|^2 summed over the users, and "item_penalty"; and "feature_penalty",
        strength |A|^2 of the features' effects of users and items. Without features A is 0.

    Raises
    ------
    TypeError, ValueError
        For a matrix that does not fit.
    FloatingPointError
        Where the loss overflows float64.
    NotFittedError
        Before ``fit``.
    """
    users, items = _sides(fitted, user_items, preference)
    P, Q = fitted.matching_factors()
    pairs = pair_losses(users, items, P.array, Q.array, fitted.objective, fitted.settings.num_threads)
    unit = fitted.objective.unit
    penalties = (finite_loss(unit * penalty) for penalty in _penalties(fitted, users, items))
    return dict(zip(LOSS_PARTS, (*pairs, *penalties), strict=True))


def _sides(fitted: Fitted, user_items: Any, preference: Any) -> tuple[Side, Side]:
    """Both sides of any interactions, in float64."""
    P, Q = fitted.matching_factors()
    for axis, factors in enumerate((P, Q)):
        features = fitted.features(axis)
        if features is not None and features.rows.shape[0] != factors.shape[0]:
            raise ValueError(
                f"{SIDES[axis]}_factors must have {features.rows.shape[0]} rows, as many as {FEATURES[axis]}; "
                f"got shape {factors.shape}; fit again"
            )
    rows, phi = check_rows(user_items, "user_items", shape=(P.shape[0], Q.shape[0]), preference=preference)
    unobserved = fitted.weights(0), fitted.weights(1)
    return build_sides(fitted.objective, rows, phi, np.dtype(np.float64), unobserved)


def _penalties(fitted: Fitted, users: Side, items: Side) -> tuple[float, float, float]:
    """Penalties of users, of items and of the effects of their features, in units of the objective."""
    threads, strengths = fitted.settings.num_threads, checked_feature_strengths(fitted.parameters, fitted.state.chosen)
    halves = zip(fitted.matching_factors(), (users, items), fitted.state.features, strict=True)
    distances = [distances_of(X.array, side.regularization, features, threads) for X, side, features in halves]
    effects = sum(
        effects_penalty(features.effects, strength / fitted.objective.unit)
        for features, strength in zip(fitted.state.features, strengths, strict=True)
        if features is not None
    )
    return distances[0], distances[1], effects


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
