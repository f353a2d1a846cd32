"""One trial of a search for hyper-parameters: what is drawn, and how it is fitted.

Strength and weights are searched in units of the data's mean weight of a stored pair, so that one default range serves
clicks, stars and play counts. The regularisation is searched by its strength at exponent 1: with another exponent it
is rescaled so that the mean lambda of a row stays the same,

    lambda(exponent) = lambda(1) mean(frequency) / mean(frequency^exponent),

the mean being taken over all users and items (Rendle et al. 2022, section 3.4). For lambda_u = regularization
frequency_u^exponent to tell rows apart, frequency_u = stored + c0 n_items must count in the same units: a search scales
alpha so that the mean stored pair weighs 1, and looks for c0, not the other way round.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastals.callbacks import ValidationCallback
from fastals.core.validation import check_choice, check_integer
from fastals.evaluation import Popularity, ranking_metrics_at_k
from fastals.model import ImplicitALS
from fastals.objective import Objective

# Of the stored pairs' mean weight: the share that a pair that is not stored has, and the regularisation at exponent 1.
_UNOBSERVED_SHARE = (0.0003, 0.5)
_RIDGE = (0.0003, 0.1)
_EXPONENT = (0.0, 1.0)
_LITERAL = ("regularization", "alpha", "unobserved_weight", "regularization_exponent", "epsilon")
# The first trials. A regularisation of .01 suits most data; the weight of what is not stored is what differs.
_FIRST = tuple(
    {"unobserved_share": share, "ridge": 0.01, "regularization_exponent": 0.75} for share in (0.03, 0.003, 0.3)
)


@dataclass
class Search:
    """Data, ranges, and the fit of a trial."""

    train: sp.csr_array
    validation: sp.csr_array
    model: ImplicitALS
    dimensions: list[int]
    space: Mapping[str, tuple[float, float]] | None
    metric: str
    K: int
    patience: int | None
    evaluation_options: dict[str, Any]
    seed: int
    pruned: type[Exception]

    def __post_init__(self) -> None:
        for name, bounds in (self.space or {}).items():
            check_choice("a name in space", name, _LITERAL)
            low, high = bounds
            if not low < high or low < 0 or (low == 0 and name != "regularization_exponent"):
                raise ValueError(f"space[{name!r}] must be 0 < low < high; got {bounds!r}")
        check_integer("iterations", self.model.iterations, 1)
        self.monitor()
        # What is wrong with the evaluation shows before the first fit.
        options = {**self.evaluation_options, "auc": False, "recalculate_user": False}
        names = (*ranking_metrics_at_k(Popularity(self.train), self.train, self.validation, self.K, **options), "auc")
        check_choice("metric", self.metric, names)

    @property
    def first(self) -> tuple[dict[str, Any], ...]:
        """What the first trials try, in the names that Optuna knows."""
        return _FIRST if self.space is None else ()

    def monitor(self) -> ValidationCallback:
        """A new one, to follow one fit."""
        options = self.evaluation_options
        return ValidationCallback(self.train, self.validation, self.metric, self.K, patience=self.patience, **options)

    def fingerprint(self, study_name: str) -> str:
        """Of all that makes trials comparable."""
        digest = hashlib.sha256()
        for matrix in (self.train, self.validation):
            for part in (matrix.indptr, matrix.indices, matrix.data):
                digest.update(np.ascontiguousarray(part).tobytes())
        options = {name: np.asarray(value).tolist() for name, value in self.evaluation_options.items()}
        follow = [self.metric, self.K, self.patience, options]
        fixed = {**self.model.get_params(), "num_threads": None, "random_state": None}
        default = [_UNOBSERVED_SHARE, _RIDGE, _EXPONENT, _FIRST]
        what = [study_name, self.dimensions, self.space or default, follow, fixed, self.seed]
        return hashlib.sha256(digest.digest() + json.dumps(what, default=str, sort_keys=True).encode()).hexdigest()

    def parameters(self, trial: Any) -> dict[str, Any]:
        """Constructor's arguments of a trial: those of the model, and those that Optuna suggests in their place."""
        found = self.model.get_params()
        largest = len(self.dimensions) - 1
        found["factors"] = self.dimensions[trial.suggest_int("doublings", 0, largest) if largest else 0]
        found["random_state"] = derived_seed(self.seed, trial.number, 1)
        if self.space is not None:
            for name, (low, high) in self.space.items():
                log = name != "regularization_exponent"
                found[name] = trial.suggest_float(name, float(low), float(high), log=log)
            return found
        found["alpha"] = 1 / float(_objective(found).size(self.train.data).mean())
        found["unobserved_weight"] = trial.suggest_float("unobserved_share", *_UNOBSERVED_SHARE, log=True)
        exponent = found["regularization_exponent"] = trial.suggest_float("regularization_exponent", *_EXPONENT)
        frequency = self._frequency(_objective(found))
        ratio = float(frequency.mean() / (frequency**exponent).mean())
        found["regularization"] = trial.suggest_float("ridge", *_RIDGE, log=True) * ratio
        return found

    def objective(self, trial: Any) -> float:
        """Value of a trial: the best metric of its sweeps."""
        parameters = self.parameters(trial)
        trial.set_user_attr("arguments", {name: parameters[name] for name in ("factors", *_LITERAL)})
        monitor = self.monitor()
        ImplicitALS(**parameters).fit(self.train, callback=Reporting(monitor, trial, self.pruned), show_progress=False)
        trial.set_user_attr("iterations", int(monitor.best_sweep or 0) + 1)
        return monitor.best_value

    def value(self, model: ImplicitALS) -> float:
        """The metric of a fitted model."""
        monitor = self.monitor()
        monitor(model, 0, 0.0)
        return float(monitor.best_value)

    def _frequency(self, objective: Objective) -> np.ndarray:
        """Frequency of all users and items."""
        n_users, n_items = self.train.shape
        users = objective.frequency(np.diff(self.train.indptr), n_items)
        items = objective.frequency(np.bincount(self.train.indices, minlength=n_items), n_users)
        return np.concatenate([users, items])


@dataclass
class Reporting:
    """Callback of `fit` that follows the metric, reports it to Optuna and gives up what is pruned."""

    monitor: ValidationCallback
    trial: Any
    pruned: type[Exception]

    def __call__(self, model: Any, sweep: int, loss: float) -> bool:
        """Follow, report, and raise Optuna's exception if the trial is to be given up."""
        stop = self.monitor(model, sweep, loss)
        self.trial.report(self.monitor.best_value, sweep)
        if self.trial.should_prune():
            raise self.pruned
        return stop


def _objective(parameters: Mapping[str, Any]) -> Objective:
    """Objective of a model's parameters with alpha = 1."""
    names = ("objective", "confidence", "epsilon", "unobserved_weight", "regularization", "regularization_exponent")
    return Objective.checked(alpha=1.0, **{name: parameters[name] for name in names})


def dimensions_of(factors: Any) -> list[int]:
    """Dimensions from the lowest to the highest by doubling."""
    low, high = factors if isinstance(factors, (tuple, list)) and len(factors) == 2 else (factors, factors)
    low, high = check_integer("factors", low, 1), check_integer("factors", high, 1)
    found = [low]
    while found[-1] < high:
        found.append(2 * found[-1])
    if found[-1] != high:
        raise ValueError(f"the highest of factors must be the lowest times a power of two; got {low} and {high}")
    return found


def derived_seed(*numbers: int) -> int:
    """Seed of 32 bits from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
