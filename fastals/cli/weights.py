"""Weights of the pairs, by name from the command line, between reading the data and fitting them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from scipy import sparse

from fastals.core.validation import check_choice
from fastals.tables.store import InteractionStore
from fastals.weighting import bm25, popularity, recency, tfidf, times_of

if TYPE_CHECKING:
    from fastals.tables.interactions import Interactions

__all__ = ["check_weights", "weighed"]

_BY_NAME = {"bm25": bm25, "tfidf": tfidf, "popularity": popularity}
_SECONDS = {"": 1, "s": 1, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_557_600}


def check_weights(weighting: str | None, half_life: str | None, timed: bool) -> None:
    """ValueError for a name, a half-life or a combination that makes no sense."""
    if weighting is not None:
        check_choice("weighting", weighting, tuple(_BY_NAME))
    if half_life is not None:
        _seconds(half_life)
        if not timed:
            raise ValueError("--half-life needs --time-column")


def _seconds(half_life: str) -> float:
    """A number in the unit of the times, or of hours (h), days (d), weeks (w) or years (y) in seconds."""
    found = re.fullmatch(r"([0-9]*\.?[0-9]+)([a-z]?)", half_life.strip())
    if found is None or found[2] not in _SECONDS or float(found[1]) <= 0:
        raise ValueError(f"--half-life must be a positive number, in seconds or with h, d, w or y, got {half_life!r}")
    return float(found[1]) * _SECONDS[found[2]]


def weighed(
    train: Any, interactions: Interactions | InteractionStore, weighting: str | None, half_life: str | None
) -> sparse.csr_array:
    """Pairs to train on under the weights that were asked for.

    Parameters
    ----------
    train : csr_array (n_users, n_items) or InteractionStore
        All of the interactions, or a part of them. A store is taken into memory where it is to be weighed.
    interactions : Interactions or InteractionStore
        Where the times are.
    weighting : {"bm25", "tfidf", "popularity"}, optional
        A function of `fastals.weighting`, with its defaults.
    half_life : str, optional
        Of a pair's weight; ages count from the latest time in ``train``.
    """
    if isinstance(train, InteractionStore) and not (weighting is None and half_life is None):
        train = train.to_matrix()
    if half_life is not None and interactions.times is not None:
        times: Any = interactions.times
        if isinstance(interactions, InteractionStore):
            rows = interactions.rows
            times = sparse.csr_array((interactions.times, rows.indices, rows.indptr), shape=rows.shape)
        train = recency(train, times_of(train, times), half_life=_seconds(half_life))
    return train if weighting is None else _BY_NAME[weighting](train)
