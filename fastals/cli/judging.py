"""Held-out pairs: how they are set aside, and the ranking metrics on them, beside those of popularity."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastals.cli import show
from fastals.evaluation import Popularity, ranking_metrics_at_k, temporal_split, train_test_split

if TYPE_CHECKING:
    from scipy import sparse

    from fastals.evaluation.results import RankingMetrics
    from fastals.model import ImplicitALS
    from fastals.tables.interactions import Interactions
    from fastals.tables.store import InteractionStore

__all__ = ["as_json", "held_out_metrics", "measured", "split"]

_MANY_NEW = 0.05  # users without training pairs, for each with some, beyond which these are judged apart, too
_METRICS = ("precision", "recall", "ndcg", "map", "mrr", "hit_rate", "coverage")


def split(
    interactions: Interactions | InteractionStore, test_size: float, seed: int
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Train on the past and test on what came later, where times are known; else a random part is tested."""
    matrix = interactions.user_items
    if interactions.times is not None:
        return temporal_split(matrix, interactions.times, test_size=test_size, random_state=seed)
    return train_test_split(matrix, test_size=test_size, random_state=seed)


def measured(model: ImplicitALS, train: sparse.csr_array, test: sparse.csr_array, K: int) -> dict[str, RankingMetrics]:
    """Ranking metrics of a model and of popularity; of users with training pairs, too, where many have none."""
    models = {"fastals": model, "popularity": Popularity(train)}
    found = {name: ranking_metrics_at_k(one, train, test, K) for name, one in models.items()}
    users = np.flatnonzero((np.diff(train.indptr) > 0) & (np.diff(test.indptr) > 0))
    if users.size and _new_users(train, test) > _MANY_NEW * users.size:
        found |= {
            f"{name}, known users": ranking_metrics_at_k(one, train, test, K, users=users)
            for name, one in models.items()
        }
    return found


def _new_users(train: sparse.csr_array, test: sparse.csr_array) -> int:
    """Users who are tested and have no pair to learn from."""
    return int(np.count_nonzero((np.diff(test.indptr) > 0) & (np.diff(train.indptr) == 0)))


def held_out_metrics(model: ImplicitALS, train: sparse.csr_array, test: sparse.csr_array, K: int) -> None:
    """Show the ranking metrics on held-out pairs beside those of popularity."""
    found = measured(model, train, test, K)
    new = _new_users(train, test)
    users = f"{found['fastals'].n_users:,} users" + (f", {new:,} of them without training pairs" if new else "")
    title = f"Held-out pairs ({test.nnz:,} of {users}), ranked among all items, at {K}"
    show.metrics(title, found, [name for name in _METRICS if name in found["fastals"]])


def as_json(
    model: ImplicitALS,
    interactions: Interactions | InteractionStore,
    train: sparse.csr_array,
    test: sparse.csr_array,
    found: dict[str, RankingMetrics],
) -> str:
    """What was measured, on which data and with which settings, as one JSON object."""
    parameters: dict[str, Any] = model.get_params()
    return json.dumps(
        {
            "source": interactions.source,
            "users": interactions.n_users,
            "items": interactions.n_items,
            "interactions": int(interactions.user_items.nnz),
            "split": "random" if interactions.times is None else "by time",
            "test_interactions": int(test.nnz),
            "test_users": found["fastals"].n_users,
            "test_users_without_training_pairs": _new_users(train, test),
            "parameters": parameters,
            "alpha": model.alpha_,
            "regularization": list(model.regularization_),
            "unobserved_exponent": list(model.unobserved_exponent_),
            "loss": model.loss_history[-1] if model.loss_history else None,
            "at": found["fastals"].K,
            "metrics": {name: _plain(metrics) for name, metrics in found.items()},
            "standard_errors": {name: _plain(metrics.stderr) for name, metrics in found.items()},
        },
        indent=2,
        allow_nan=False,
    )


def _plain(values: Mapping[str, float]) -> dict[str, float | None]:
    """Numbers as JSON has them: NaN becomes null."""
    return {name: None if math.isnan(value) else value for name, value in values.items()}
