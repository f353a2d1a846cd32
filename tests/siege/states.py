"""Everything that makes up a fitted model, by the public interface alone, so that two of them can be held together."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastals import ImplicitALS

from .checks import Checks


def parameters_of(model: ImplicitALS) -> dict[str, Any]:
    """Parameters as a file can hold them: generators are not kept, types are named."""
    parameters = model.get_params()
    if not isinstance(parameters["random_state"], (int, np.integer, type(None))):
        parameters["random_state"] = None
    parameters["dtype"] = np.dtype(parameters["dtype"]).name
    if isinstance(parameters["regularization"], (list, tuple, np.ndarray)):
        parameters["regularization"] = tuple(float(value) for value in parameters["regularization"])
    return parameters


def state_of(model: ImplicitALS) -> dict[str, Any]:
    """What a fit made."""
    matrix = model.user_items_
    return {
        "user_factors": model.user_factors.copy(),
        "item_factors": model.item_factors.copy(),
        "user_items": [matrix.indptr, matrix.indices, matrix.data, list(matrix.shape)],
        "loss_history": list(model.loss_history),
        "alpha": float(model.alpha_),
        "regularization": list(model.regularization_),
        "feature effects": list(model.feature_effects_),
        "report": {name: float(value) for name, value in model.solver_report_.items()},
    }


def check_same_model(checks: Checks, name: str, got: ImplicitALS, expected: ImplicitALS) -> None:
    """Equal parameters, state, and lists."""
    checks.same(f"{name}: parameters", parameters_of(got), parameters_of(expected))
    for part, value in state_of(expected).items():
        checks.same(f"{name}: {part}", state_of(got)[part], value)
    users = np.arange(expected.user_factors.shape[0])
    checks.same(f"{name}: lists", got.recommend(users, N=3), expected.recommend(users, N=3))
