"""Hyper-parameters searched on validation data with Optuna (extra ``tuning``)."""

from fastals.tuning.strength import comparable_regularization
from fastals.tuning.study import TuningResult, tune

__all__ = ["TuningResult", "comparable_regularization", "tune"]
