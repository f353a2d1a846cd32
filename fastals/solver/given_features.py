"""Features that a fit is given, checked, and how strongly the effects of each side's are penalised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastals.core.features import check_features
from fastals.core.rows import Rows
from fastals.core.state import Chosen
from fastals.core.validation import check_pair, check_real, is_auto
from fastals.solver.features import mean_diagonal


def checked_features(users: Any, items: Any, shape: tuple[int, int]) -> tuple[Rows | None, Rows | None]:
    """Features of so many users and items as canonical rows; None where there are none.

    Raises
    ------
    TypeError, ValueError
        For anything else, and for another number of rows.
    """
    return (
        None if users is None else check_features(users, "user_features", (shape[0], None)),
        None if items is None else check_features(items, "item_features", (shape[1], None)),
    )


def checked_feature_strengths(parameters: Any, chosen: Chosen | None = None) -> tuple[float, float]:
    """``feature_regularization`` of users and items; TypeError or ValueError where it is wrong.

    What is "auto" is what the data had a fit choose, or 1 where there are none yet.
    """
    given = parameters.feature_regularization
    if is_auto(given):
        given = (chosen or Chosen()).feature_regularization
    users, items = check_pair("feature_regularization", given)
    return (
        check_real("feature_regularization", users, positive=True),
        check_real("feature_regularization", items, positive=True),
    )


def strengths_for(
    parameters: Any, unit: float, features: Sequence[Rows | None], regularizations: Sequence[np.ndarray]
) -> tuple[float, float]:
    """``feature_regularization`` of a model's parameters; "auto" is the mean of what it stands beside.

    ``regularizations`` are lambda of users and of items in the objective's ``unit``, of which those of a side without
    features are not read.
    """
    strengths = checked_feature_strengths(parameters)
    if not is_auto(parameters.feature_regularization):
        return strengths
    users, items = (
        1.0 if rows is None else unit * mean_diagonal(rows, regularization) or 1.0
        for rows, regularization in zip(features, regularizations, strict=True)
    )
    return users, items
