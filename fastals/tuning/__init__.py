"""Hyper-parameters searched on validation data with Optuna (extra ``tuning``)."""

from fastals.tuning.study import TuningResult, tune

__all__ = ["TuningResult", "tune"]
