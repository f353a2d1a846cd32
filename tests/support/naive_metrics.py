"""Ranking metrics straight from their definitions, one user at a time, in plain Python: the oracle of the tests."""

import math

import numpy as np


def metrics_of_user(ranking, relevant, K, share=None):
    """Metrics of one user: `ranking` holds item ids, best first, `relevant` is a non-empty set."""
    ranking = [item for item in ranking[:K] if item >= 0]
    hits = [rank for rank, item in enumerate(ranking, start=1) if item in relevant]
    precision_at_hits = sum(len([h for h in hits if h <= rank]) / rank for rank in hits)
    reachable = min(K, len(relevant))
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, reachable + 1))
    values = {
        "precision": len(hits) / K,
        "recall": len(hits) / len(relevant),
        "recall_truncated": len(hits) / reachable,
        "hit_rate": float(bool(hits)),
        "map": precision_at_hits / reachable,
        "map_cut": precision_at_hits / len(relevant),
        "ndcg": sum(1 / math.log2(rank + 1) for rank in hits) / ideal,
        "mrr": 1 / hits[0] if hits else 0.0,
    }
    if share is not None:
        bits = [-math.log2(share[item]) for item in ranking]
        values["novelty"] = sum(bits) / len(bits) if bits else math.nan
    return values


def coverage(rankings, K, n_items):
    """Share of the items that come up in any of the rankings."""
    return len({item for ranking in rankings for item in ranking[:K] if item >= 0}) / n_items


def area_of_user(scores, relevant, excluded):
    """AUC of one user by comparing every pair of a relevant item and one that is not."""
    candidates = [item for item in range(len(scores)) if item not in excluded]
    positive = [scores[item] for item in candidates if item in relevant]
    negative = [scores[item] for item in candidates if item not in relevant]
    if not positive or not negative:
        return math.nan
    won = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    return won / (len(positive) * len(negative))


def rank_among(test_score, negative_scores, ties="worst"):
    """Rank, from 1, of the test item among its negatives."""
    return 1 + sum(n > test_score or (n == test_score and ties == "worst") for n in negative_scores)


def mean(values):
    """Mean of those values that are numbers."""
    values = [value for value in values if not math.isnan(value)]
    return sum(values) / len(values) if values else math.nan


class BruteForce:
    """A model that ranks by sorting all scores, equal ones by item number."""

    def __init__(self, user_factors, item_factors):
        self.user_factors, self.item_factors = user_factors, item_factors

    def recommend(self, userid, user_items, N=10, filter_already_liked_items=True, recalculate_user=False):
        queries = self.recalculate_user(userid, user_items) if recalculate_user else self.user_factors[userid]
        scores = (queries @ self.item_factors.T).astype(np.float64)
        if filter_already_liked_items:
            scores[np.repeat(np.arange(len(userid)), np.diff(user_items.indptr)), user_items.indices] = np.nan
        ids = np.argsort(-scores, axis=1, kind="stable")[:, :N]
        scores = np.take_along_axis(scores, ids, axis=1)
        return np.where(np.isnan(scores), -1, ids), scores

    def recalculate_user(self, userid, user_items):
        return user_items @ self.item_factors
