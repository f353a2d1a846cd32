"""Evaluation on sampled negatives, for comparison with papers that used it.

Metrics of a few sampled candidates are NOT those of the full ranking and can order models differently (Krichene and
Rendle 2020, "On sampled metrics for item recommendation"); results are marked `sampled`.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from fastals.core.validation import check_choice, check_ids, check_integer
from fastals.evaluation.results import RankingMetrics

# Bytes of gathered item factors, in float64, held at once.
_GATHER_BYTES = 1 << 25


def sampled_metrics_at_k(
    model: Any,
    test_user: Any,
    test_item: Any,
    negatives: Any,
    K: int = 10,
    *,
    ties: Literal["worst", "best"] = "worst",
) -> RankingMetrics:
    """Rank one test item of each user among given negatives: the protocol of NCF (He et al. 2017).

    Parameters
    ----------
    model : fitted model
        With `user_factors` and `item_factors`; a score is their inner product.
    test_user, test_item : int arrays (n,)
        The held-out pairs.
    negatives : int array (n, n_negatives)
        Items to compare with. A negative that equals the test item is left out, as the published evaluator collects
        the candidates in a dict, where the two coincide; so is a negative id (padding).
    K : int, default 10
        Length of the rankings.
    ties : {"worst", "best"}, default "worst"
        Where the test item stands among equal scores: after all of them, as in the published evaluator, or before.
        "worst" gives a constant model nothing.

    Returns
    -------
    RankingMetrics
        hit_rate, ndcg and mrr, with `sampled` set. With r the rank of the test item, counted from 1, and r <= K:
        hit_rate is 1, ndcg is 1 / log2(r + 1), mrr is 1 / r; all are 0 otherwise.

    Raises
    ------
    TypeError, ValueError
        For ids that are not integers or too large, arrays of other shapes, scores that are NaN, or unknown `ties`.
    """
    P, Q = np.asarray(model.user_factors), np.asarray(model.item_factors)
    users, items = check_ids(test_user, "test_user", len(P)), check_ids(test_item, "test_item", len(Q))
    negatives = np.asarray(negatives)
    if users.ndim != 1 or items.shape != users.shape or negatives.ndim != 2 or len(negatives) != len(users):
        raise ValueError(
            "test_user and test_item must have shape (n,), negatives (n, n_negatives); "
            f"got {users.shape}, {items.shape} and {negatives.shape}"
        )
    if negatives.dtype.kind not in "iu":
        raise TypeError(f"negatives must be integers; got dtype {negatives.dtype}")
    if negatives.size and negatives.max() >= len(Q):
        raise ValueError(f"negatives must be below the number of items, {len(Q)}; got {negatives.max()}")
    # One expression for test item and negatives, so that equal factors give equal scores.
    candidates = np.column_stack([items, negatives])
    scores = np.empty(candidates.shape, dtype=np.result_type(P, Q))
    step = max(1, _GATHER_BYTES // (8 * P.shape[1] * candidates.shape[1]))
    for start in range(0, len(users), step):
        block = slice(start, start + step)
        scores[block] = np.einsum("uk,unk->un", P[users[block]], Q[candidates[block]])
    left_out = (negatives == items[:, None]) | (negatives < 0)
    result = sampled_metrics_from_scores(scores[:, 0], scores[:, 1:], K, left_out=left_out, ties=ties)
    result.users = users
    return result


def sampled_metrics_from_scores(
    test_scores: Any,
    negative_scores: Any,
    K: int = 10,
    *,
    left_out: Any = None,
    ties: Literal["worst", "best"] = "worst",
) -> RankingMetrics:
    """As `sampled_metrics_at_k`, from scores made by any library.

    Parameters
    ----------
    test_scores : float array (n,)
        Score of each test item.
    negative_scores : float array (n, n_negatives)
        Scores of its negatives.
    K : int, default 10
        Length of the rankings.
    left_out : bool array (n, n_negatives), optional
        True where a negative is not to be compared with.
    ties : {"worst", "best"}, default "worst"
        Where the test item stands among equal scores.

    Returns
    -------
    RankingMetrics
        hit_rate, ndcg and mrr, with `sampled` set.

    Raises
    ------
    TypeError, ValueError
        For arrays of other shapes, scores that are NaN, or unknown `ties`.
    """
    test_scores, negative_scores = np.asarray(test_scores), np.asarray(negative_scores)
    if test_scores.ndim != 1 or negative_scores.ndim != 2 or len(negative_scores) != len(test_scores):
        raise ValueError(
            "test_scores must have shape (n,), negative_scores (n, n_negatives); "
            f"got {test_scores.shape} and {negative_scores.shape}"
        )
    K = check_integer("K", K, 1)
    check_choice("ties", ties, ("worst", "best"))
    # A NaN compares false with everything and would win every comparison.
    if np.isnan(test_scores).any() or np.isnan(negative_scores).any():
        raise ValueError("test_scores and negative_scores must not hold NaN")
    ahead = negative_scores >= test_scores[:, None] if ties == "worst" else negative_scores > test_scores[:, None]
    if left_out is not None:
        ahead &= ~np.asarray(left_out, dtype=bool)
    rank = 1 + ahead.sum(axis=1)
    hit = rank <= K
    per_user = {
        "hit_rate": hit.astype(np.float64),
        "ndcg": np.where(hit, 1 / np.log2(rank + 1), 0.0),
        "mrr": np.where(hit, 1 / rank, 0.0),
    }
    n = len(rank)
    return RankingMetrics(K, per_user, np.arange(n), np.ones(n, dtype=np.int64), sampled=negative_scores.shape[1])
