"""Weights of stored pairs in a search: what is drawn of ``fastals.weighting``, and the matrix that is fitted then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastals import weighting as functions
from fastals.core.validation import check_choice, check_interactions, describe
from fastals.weighting import times_of

# Of each function of ``fastals.weighting`` the options that are searched: lowest, highest, whether log-uniform.
RANGES: dict[str, dict[str, tuple[float, float, bool]]] = {
    "none": {},
    "popularity": {"item_exponent": (-0.6, 0.0, False)},
    "bm25": {"k1": (1.0, 1000.0, True), "b": (0.0, 1.0, False)},
    "tfidf": {},
    "recency": {"half_life": (0.01, 3.0, True)},  # of the time from the first pair to the last
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


def span_of(names: tuple[str, ...], train: sp.csr_array, times: Any) -> float:
    """The time from the first pair to the last, which half-lives are drawn in units of; 1 where none are.

    Raises
    ------
    TypeError, ValueError
        Where times are wanted and not given, or not all of them, or all are the same.
    """
    if "recency" not in names:
        if times is not None:
            raise ValueError("times are for weighting='recency'; give both or neither")
        return 1.0
    if times is None:
        raise ValueError("weighting='recency' needs times, a matrix with those of the training pairs; got None")
    when = times_of(train, times).data
    span = float(when.max()) - float(when.min()) if when.size else 0.0
    if not span:
        raise ValueError(f"times must differ for weighting='recency'; all are {when[0] if when.size else None}")
    return span


def suggested(trial: Any, names: tuple[str, ...], span: float = 1.0) -> dict[str, Any] | None:
    """What Optuna suggests to a trial: "name" and the function's options; None where nothing is weighed."""
    if not names:
        return None
    name = names[0] if len(names) == 1 else trial.suggest_categorical("weighting", names)
    options = {
        option: trial.suggest_float(f"{name}_{option}", low, high, log=log)
        for option, (low, high, log) in RANGES[name].items()
    }
    if name == "recency":
        options["half_life"] *= span
    return {"name": name, **options}


def weighed(user_items: Any, weighting: Mapping[str, Any] | None, times: Any = None) -> sp.csr_array:
    """Canonical copy of a matrix in float64, weighed as ``suggested`` says.

    In float64 whatever the type of the matrix, so that weights do not depend on it. ``times`` may be those of more
    pairs than there are.
    """
    matrix = check_interactions(user_items, "user_items", np.float64)
    if weighting is None or weighting["name"] == "none":
        return matrix
    options = {option: value for option, value in weighting.items() if option != "name"}
    if weighting["name"] == "recency":
        if times is None:
            raise ValueError("times must be given, for pairs are weighed by their age; got None")
        return functions.recency(matrix, times_of(matrix, times), **options)
    return _FUNCTIONS[weighting["name"]](matrix, **options)
