"""Splits and ranking metrics for implicit feedback, each with its definition and source."""

from fastals.evaluation.baseline import Popularity
from fastals.evaluation.metrics import item_popularity, metrics_from_rankings, ranking_metrics_at_k
from fastals.evaluation.results import RankingMetrics
from fastals.evaluation.sampled import sampled_metrics_at_k, sampled_metrics_from_scores
from fastals.evaluation.splits import (
    StrongGeneralizationSplit,
    leave_k_out_split,
    strong_generalization_split,
    temporal_split,
    train_test_split,
)

__all__ = [
    "Popularity",
    "RankingMetrics",
    "StrongGeneralizationSplit",
    "item_popularity",
    "leave_k_out_split",
    "metrics_from_rankings",
    "ranking_metrics_at_k",
    "sampled_metrics_at_k",
    "sampled_metrics_from_scores",
    "strong_generalization_split",
    "temporal_split",
    "train_test_split",
]
