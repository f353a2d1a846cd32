"""Splits and ranking metrics for implicit feedback, each with its definition and source."""

from fastals.evaluation.baseline import Popularity, RandomOrder
from fastals.evaluation.cold_start import (
    ColdStartSplit,
    MetricsByWarmth,
    cold_item_split,
    cold_user_split,
    growing_catalogue_split,
    metrics_by_warmth,
)
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
    "ColdStartSplit",
    "MetricsByWarmth",
    "Popularity",
    "RandomOrder",
    "RankingMetrics",
    "StrongGeneralizationSplit",
    "cold_item_split",
    "cold_user_split",
    "growing_catalogue_split",
    "item_popularity",
    "leave_k_out_split",
    "metrics_by_warmth",
    "metrics_from_rankings",
    "ranking_metrics_at_k",
    "sampled_metrics_at_k",
    "sampled_metrics_from_scores",
    "strong_generalization_split",
    "temporal_split",
    "train_test_split",
]
