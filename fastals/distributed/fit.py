"""What a distributed fit makes, in one immutable value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastals.core.features import Features
from fastals.core.state import Chosen, FeatureNames
from fastals.distributed.executor import DaskExecutor, Reference
from fastals.distributed.sources import Sources
from fastals.solver.fitting import chosen_by
from fastals.solver.sweeps import Training, TrainingState


class Fit(NamedTuple):
    """What a distributed fit makes; the counterpart of ``fastals.core.state.State``.

    users, shards : list of references
        Each shard's ``Solved`` and ``Shard``, on the workers.
    bounds : (shards + 1,) int64 array
        Shard s has the users bounds[s] .. bounds[s + 1].
    """

    executor: DaskExecutor
    sources: Sources
    users: list[Reference]
    shards: list[Reference]
    bounds: np.ndarray
    item_factors: np.ndarray
    chosen: Chosen
    loss_history: tuple[float, ...]
    unobserved_weights: Any
    unobserved_exponent: tuple[float, float]
    report: dict[str, float]
    features: tuple[Features | None, Features | None] = (None, None)
    feature_names: FeatureNames = (None, None)
    training_state: Callable[[], TrainingState] | None = None


def fit_of(training: Training, executor: DaskExecutor, sources: Sources, weights: Any, began: tuple[int, int]) -> Fit:
    """What a training has made so far; ``began`` are bytes moved and sweeps done when it began."""
    users: Any = training.users
    sweeps = len(training.loss_history) - began[1]
    moved = (executor.bytes_moved() - began[0]) / max(sweeps, 1)
    seconds = {f"seconds_{name}": value for name, value in executor.seconds.items()}
    return Fit(
        executor, sources, users.factors.references, users.shards.references, users.shards.bounds,
        training.items.lend_factors(), chosen_by(training), tuple(training.loss_history), weights,
        training.exponents, {**training.summary(), "bytes_per_sweep": float(moved), **seconds},
        (training.users.features(), training.items.features()), training.feature_names,
    )  # fmt: skip
