"""Splits that leave items or users without any training pair, and metrics of the warm and the cold items apart.

Warm is what has a pair in training, cold what has none: of a cold item or user a model knows nothing but its features.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from fastals.core.validation import check_interactions
from fastals.evaluation.metrics import ranking_metrics_at_k
from fastals.evaluation.parts import RandomState, canonical, count_of, part
from fastals.evaluation.results import RankingMetrics
from fastals.evaluation.splits import temporal_split


class ColdStartSplit(NamedTuple):
    """A split that leaves items (or users) cold.

    Attributes
    ----------
    train, test : csr_array (n_users, n_items)
        Both of the shape of the input.
    cold : int64 array
        The items (or users) with pairs in `test` and none in `train`, increasing.
    """

    train: sp.csr_array
    test: sp.csr_array
    cold: np.ndarray


def cold_item_split(
    user_items: Any, *, test_items: float | int = 0.2, random_state: RandomState = None
) -> ColdStartSplit:
    """Hold out whole items, chosen at random: all their pairs are tested.

    To judge warm items beside them, split `train` again, by `train_test_split` for example, and add the two test parts.

    Parameters
    ----------
    user_items : sparse matrix or array (n_users, n_items)
        The interactions.
    test_items : float or int, default 0.2
        A float in (0, 1) is the share, an int >= 1 the number, of the items with any pair that are held out (a share is
        rounded to a whole number).
    random_state : int, numpy.random.Generator or None
        Seed.

    Returns
    -------
    ColdStartSplit
        `train`, `test` and `cold`, the items held out. Users of whom nothing is left in `train` keep their rows.

    Raises
    ------
    TypeError, ValueError
        For anything but a finite sparse matrix, or a size that leaves either part empty.
    """
    matrix = canonical(user_items)
    stored = np.bincount(matrix.indices, minlength=matrix.shape[1])
    cold = _held_out(stored, test_items, "test_items", "items with a pair", random_state)
    return _split(matrix, np.isin(matrix.indices, cold), cold)


def cold_user_split(
    user_items: Any, *, test_users: float | int = 0.2, random_state: RandomState = None
) -> ColdStartSplit:
    """Hold out whole users, chosen at random: all their pairs are tested.

    For users of whom a part of the pairs is known when they are recommended to, see `strong_generalization_split`.

    Parameters
    ----------
    user_items : sparse matrix or array (n_users, n_items)
        The interactions.
    test_users : float or int, default 0.2
        A float in (0, 1) is the share, an int >= 1 the number, of the users with any pair who are held out (a share is
        rounded to a whole number).
    random_state : int, numpy.random.Generator or None
        Seed.

    Returns
    -------
    ColdStartSplit
        `train`, `test` and `cold`, the users held out.

    Raises
    ------
    TypeError, ValueError
        For anything but a finite sparse matrix, or a size that leaves either part empty.
    """
    matrix = canonical(user_items)
    stored = np.diff(matrix.indptr)
    cold = _held_out(stored, test_users, "test_users", "users with a pair", random_state)
    return _split(matrix, np.repeat(np.isin(np.arange(stored.size), cold), stored), cold)


def growing_catalogue_split(
    user_items: Any,
    timestamps: Any,
    *,
    test_size: float | int | None = None,
    cutoff: Any = None,
    random_state: RandomState = None,
) -> ColdStartSplit:
    """Learn from the past, test on what came later, items that nobody had before among it.

    `temporal_split`, which says besides which items were new: those of the later pairs without an earlier one.

    Parameters
    ----------
    user_items : sparse matrix or array (n_users, n_items)
        The interactions.
    timestamps : sparse matrix or array (n_users, n_items), or array (n_stored,)
        Times of the pairs, as in `temporal_split`.
    test_size : float or int, optional
        Share or number of the pairs, the latest of which are tested; 0.2 if neither this nor `cutoff` is given.
    cutoff : number or date, optional
        Instead of `test_size`: pairs with a time >= cutoff are tested.
    random_state : int, numpy.random.Generator or None
        Seed; decides which of the pairs of equal time at the border are tested.

    Returns
    -------
    ColdStartSplit
        `train`, `test` and `cold`, the items first seen in `test`; there may be none.

    Raises
    ------
    TypeError, ValueError
        As `temporal_split`.
    """
    train, test = temporal_split(user_items, timestamps, test_size=test_size, cutoff=cutoff, random_state=random_state)
    return ColdStartSplit(train, test, np.setdiff1d(test.indices, train.indices).astype(np.int64))


class MetricsByWarmth(NamedTuple):
    """Metrics of the warm and of the cold items; each is None where no user has a relevant item of the kind.

    Attributes
    ----------
    all : RankingMetrics
        All test pairs, among all items: what `ranking_metrics_at_k` gives.
    warm, cold : RankingMetrics or None
        Test pairs of the warm (cold) items alone, among all items: a cold item must win against all warm ones.
    warm_alone, cold_alone : RankingMetrics or None
        The same pairs, among the warm (cold) items alone: how well they are ranked within their kind.
    """

    all: RankingMetrics
    warm: RankingMetrics | None
    cold: RankingMetrics | None
    warm_alone: RankingMetrics | None
    cold_alone: RankingMetrics | None


def metrics_by_warmth(
    model: Any, train_user_items: Any, test_user_items: Any, K: int = 10, **options: Any
) -> MetricsByWarmth:
    """Evaluate a model on warm and on cold items apart; cold are those without a pair in training.

    With R_u the relevant items of user u and C the cold items, the recall of `cold` is the mean, over the users with
    any, of the share of R_u & C within the first K of all items; that of `cold_alone` within the first K of C. Whoever
    ranks at random expects K / |C| of the latter, where |C| > K.

    Parameters
    ----------
    model : fitted model
        As for `ranking_metrics_at_k`; ``recommend`` must take ``items=``, which to choose from.
    train_user_items : sparse matrix or array (n_users, n_items)
        What the model was fitted to.
    test_user_items : sparse matrix or array (n_users, n_items)
        The held-out interactions; values > 0 are relevant.
    K : int, default 10
        Length of the rankings.
    **options
        Passed on to `ranking_metrics_at_k`, but for `items`.

    Returns
    -------
    MetricsByWarmth
        The metrics of `all`, `warm`, `cold`, `warm_alone` and `cold_alone`.

    Raises
    ------
    TypeError, ValueError
        As `ranking_metrics_at_k`.
    """
    train = check_interactions(train_user_items, "train_user_items", np.float64)
    test = check_interactions(test_user_items, "test_user_items", np.float64)
    everything = ranking_metrics_at_k(model, train, test, K, **options)  # checks that the shapes agree
    is_warm = np.bincount(train.indices, minlength=train.shape[1]) > 0
    asked = np.arange(test.shape[0]) if options.get("users") is None else options["users"]
    found: list[RankingMetrics | None] = []
    for chosen in (is_warm, ~is_warm):
        of_kind = part(test, chosen[test.indices])
        if not (of_kind[asked].data > 0).any():
            found += [None, None]
            continue
        among_all = ranking_metrics_at_k(model, train, of_kind, K, **options)
        alone = ranking_metrics_at_k(model, train, of_kind, K, items=np.flatnonzero(chosen), **options)
        found += [among_all, alone]
    warm, warm_alone, cold, cold_alone = found
    return MetricsByWarmth(everything, warm, cold, warm_alone, cold_alone)


def _held_out(stored: np.ndarray, size: float | int, name: str, what: str, random_state: RandomState) -> np.ndarray:
    """A random part, increasing, of the rows or columns that have stored pairs."""
    eligible = np.flatnonzero(stored)
    chosen = count_of(size, eligible.size, name, what)
    return np.sort(np.random.default_rng(random_state).choice(eligible, chosen, replace=False)).astype(np.int64)


def _split(matrix: sp.csr_array, tested: np.ndarray, cold: np.ndarray) -> ColdStartSplit:
    return ColdStartSplit(part(matrix, ~tested), part(matrix, tested), cold)
