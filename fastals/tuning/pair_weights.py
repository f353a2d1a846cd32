"""Weights of stored pairs in a search: what is drawn of ``fastals.weighting``, and the matrix that is fitted then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastals import weighting as functions
from fastals.core.validation import check_choice, check_interactions, describe

# Of each function of ``fastals.weighting`` the options that are searched: lowest, highest, whether log-uniform.
RANGES: dict[str, dict[str, tuple[float, float, bool]]] = {
    "none": {},
    "popularity": {"item_exponent": (-0.6, 0.0, False)},
    "bm25": {"k1": (1.0, 1000.0, True), "b": (0.0, 1.0, False)},
    "tfidf": {},
}
_FUNCTIONS: dict[str, Callable[..., sp.csr_array]] = {
    "popularity": functions.popularity,
    "bm25": functions.bm25,
    "tfidf": functions.tfidf,
}


def check_weighting(value: Any) -> tuple[str, ...]:
    """Names of the weightings to search among; none for None.

    Raises
    ------
    TypeError, ValueError
        For anything but one name of RANGES or several different ones.
    """
    if value is None:
        return ()
    if not isinstance(value, (str, tuple, list)):
        raise TypeError(f"weighting must be a name or several; got {describe(value)}")
    names = (value,) if isinstance(value, str) else tuple(value)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"weighting must be a name or several different ones; got {value!r}")
    return tuple(check_choice("weighting", name, tuple(RANGES)) for name in names)


def suggested(trial: Any, names: tuple[str, ...]) -> dict[str, Any] | None:
    """What Optuna suggests to a trial: "name" and the function's options; None where nothing is weighed."""
    if not names:
        return None
    name = names[0] if len(names) == 1 else trial.suggest_categorical("weighting", names)
    options = {
        option: trial.suggest_float(f"{name}_{option}", low, high, log=log)
        for option, (low, high, log) in RANGES[name].items()
    }
    return {"name": name, **options}


def weighed(user_items: Any, weighting: Mapping[str, Any] | None) -> sp.csr_array:
    """Canonical copy of a matrix in float64, weighed as ``suggested`` says.

    In float64 whatever the type of the matrix, so that weights do not depend on it.
    """
    matrix = check_interactions(user_items, "user_items", np.float64)
    if weighting is None or weighting["name"] == "none":
        return matrix
    options = {option: value for option, value in weighting.items() if option != "name"}
    return _FUNCTIONS[weighting["name"]](matrix, **options)
