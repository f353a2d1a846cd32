"""One trial of a search for hyper-parameters: what is drawn, and how it is fitted.

Strength and weights are searched in units of the data's mean weight of a stored pair, so that one default range serves
clicks, stars and play counts. The regularization is searched by its strength at exponent 1, whatever the trial's
exponent and weights of missing pairs: see `fastals.tuning.strength`. For lambda_u = regularization frequency_u^exponent
to tell rows apart, frequency_u = stored + c0 v_u sum w must count in the same units: a search scales alpha so that the
mean stored pair weighs 1, and looks for c0, not the other way round. Where pairs are weighed, it is the weighed ones.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastals.callbacks import ValidationCallback
from fastals.core.features import check_features
from fastals.core.rows import Rows
from fastals.core.rows import digest as digest_of
from fastals.core.validation import check_choice, check_integer, check_rows
from fastals.evaluation import Popularity, ranking_metrics_at_k
from fastals.model import ImplicitALS
from fastals.solver.checked import AUTO_EXPONENT, checked_objective, exponents_of
from fastals.tuning.pair_weights import RANGES, span_of, suggested, weighed
from fastals.tuning.strength import comparable_regularization, feature_strengths, first_trial
from fastals.weighting import times_of

# Of the stored pairs' mean weight: the share that a pair that is not stored has, and the regularization at exponent 1.
_UNOBSERVED_SHARE = (0.0003, 0.5)
_RIDGE = (0.0003, 0.1)
_EXPONENT = (0.0, 1.0)
# Of seven data sets Goodbooks needs .7, the others .25 to .5.
_UNOBSERVED_EXPONENT = (0.0, 0.75)
# Strength of the features' effects, in units of what it stands beside; see ``feature_strengths``.
_FEATURE_SHARE = (0.001, 10.0)
_LITERAL = (
    "regularization",
    "alpha",
    "unobserved_weight",
    "unobserved_exponent",
    "regularization_exponent",
    "epsilon",
    "feature_regularization",
)
_UNIFORM = ("regularization_exponent", "unobserved_exponent")  # the others log-uniform
# The first trials: the constructor's parameters with its exponent of missing pairs and with these two, then two weights
# of what is not stored, which differ most from data to data; a regularization of .01 suits most. The sampler learns
# from them alone. NDCG@20 of test pairs after 20 trials, and what it was without .25 here, with 0 in the last two and
# three random trials before the sampler's, means of several searches: MovieLens 100K .4489 and .4409 (eight), Last.fm
# .2932 and .2913 (four), Online Retail .2445 and .2449 (four), Goodbooks .0859 and .0859 (one).
_FIRST_EXPONENTS = (_UNOBSERVED_EXPONENT[1], 0.25)
_FIRST = tuple(
    {"unobserved_share": share, "ridge": 0.01, "regularization_exponent": 0.75, "unobserved_exponent": 0.25}
    for share in (0.03, 0.003)
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
    weightings: tuple[str, ...] = ()
    features: dict[str, Any] = field(default_factory=dict)
    times: Any = None

    def __post_init__(self) -> None:
        self._span = span_of(self.weightings, self.train, self.times)
        self._sides = self._checked_features()
        if self.space is None:  # trials give alpha, which confidence="auto" follows
            confidence = checked_objective(self.model).confidence
            self.model = ImplicitALS(**{**self.model.get_params(), "confidence": confidence})
        for name, bounds in (self.space or {}).items():
            check_choice("a name in space", name, _LITERAL)
            low, high = bounds
            least = {"regularization_exponent": "0 <= ", "unobserved_exponent": ""}.get(name, "0 < ")
            if not low < high or (least and low < 0) or (least == "0 < " and low == 0):
                raise ValueError(f"space[{name!r}] must be {least}low < high; got {bounds!r}")
            if name == "feature_regularization" and not self.features:
                raise ValueError("space['feature_regularization'] needs user_features or item_features")
        check_integer("iterations", self.model.iterations, 1)
        self.monitor()
        # What is wrong with the evaluation shows before the first fit.
        options = {**self.evaluation_options, "auc": False, "recalculate_user": False}
        names = (*ranking_metrics_at_k(Popularity(self.train), self.train, self.validation, self.K, **options), "auc")
        check_choice("metric", self.metric, names)

    @property
    def first(self) -> tuple[dict[str, Any], ...]:
        """What the first trials try, in the names that Optuna knows."""
        if self.space is not None:
            return ()
        start = first_trial(check_rows(self.train, "train_user_items")[0])
        ranges = {"unobserved_share": _UNOBSERVED_SHARE, "ridge": _RIDGE}
        inside = {name: min(max(start[name], low), high) for name, (low, high) in ranges.items()}
        own = {**start, **inside}
        return (own, *({**own, "unobserved_exponent": exponent} for exponent in _FIRST_EXPONENTS), *_FIRST)

    def monitor(self) -> ValidationCallback:
        """A new one, to follow one fit."""
        options = self.evaluation_options
        return ValidationCallback(self.train, self.validation, self.metric, self.K, patience=self.patience, **options)

    def fingerprint(self, study_name: str) -> str:
        """Of all that makes trials comparable."""
        digest = hashlib.sha256()
        dated = [] if self.times is None else [times_of(self.train, self.times)]
        for matrix in (self.train, self.validation, *dated):
            for part in (matrix.indptr, matrix.indices, matrix.data):
                digest.update(np.ascontiguousarray(part).tobytes())
        options = {name: np.asarray(value).tolist() for name, value in self.evaluation_options.items()}
        follow = [self.metric, self.K, self.patience, options]
        fixed = {**self.model.get_params(), "num_threads": None, "random_state": None}
        default = [
            _UNOBSERVED_SHARE,
            _RIDGE,
            _EXPONENT,
            _UNOBSERVED_EXPONENT,
            _FEATURE_SHARE,
            _FIRST_EXPONENTS,
            _FIRST,
            AUTO_EXPONENT,
        ]
        weights = [(name, RANGES[name]) for name in self.weightings]
        known = [None if side is None else digest_of(side.indptr, side.indices, side.data) for side in self._sides]
        what = [study_name, self.dimensions, self.space or default, weights, known, follow, fixed, self.seed]
        return hashlib.sha256(digest.digest() + json.dumps(what, default=str, sort_keys=True).encode()).hexdigest()

    def parameters(self, trial: Any, matrix: sp.csr_array) -> dict[str, Any]:
        """Constructor's arguments of a trial: those of the model, and those that Optuna suggests in their place.

        ``matrix`` is what is fitted: the training matrix, weighed.
        """
        found = self.model.get_params()
        largest = len(self.dimensions) - 1
        found["factors"] = self.dimensions[trial.suggest_int("doublings", 0, largest) if largest else 0]
        found["random_state"] = derived_seed(self.seed, trial.number, 1)
        if self.space is not None:
            for name, (low, high) in self.space.items():
                found[name] = trial.suggest_float(name, float(low), float(high), log=name not in _UNIFORM)
            if "unobserved_exponent" in self.space:
                found["unobserved_exponent"] = self._of_both(found["unobserved_exponent"])
            return found
        found["alpha"] = 1 / float(checked_objective(self.model).size(matrix.data).mean())
        found["unobserved_weight"] = trial.suggest_float("unobserved_share", *_UNOBSERVED_SHARE, log=True)
        found["regularization_exponent"] = trial.suggest_float("regularization_exponent", *_EXPONENT)
        found["unobserved_exponent"] = self._of_both(trial.suggest_float("unobserved_exponent", *_UNOBSERVED_EXPONENT))
        strength = trial.suggest_float("ridge", *_RIDGE, log=True)
        found["regularization"] = comparable_regularization(strength, ImplicitALS(**found), matrix)
        if self.features:
            share = trial.suggest_float("feature_share", *_FEATURE_SHARE, log=True)
            strengths = feature_strengths(share, ImplicitALS(**found), matrix, self._sides)
            found["feature_regularization"] = strengths
        return found

    def objective(self, trial: Any) -> float:
        """Value of a trial: the best metric of its sweeps."""
        weighting = suggested(trial, self.weightings, self._span)
        matrix = weighed(self.train, weighting, self.times)
        parameters = self.parameters(trial, matrix)
        names = (name for name in _LITERAL if self.features or name != "feature_regularization")
        trial.set_user_attr("arguments", {name: parameters[name] for name in ("factors", *names)})
        trial.set_user_attr("weighting", weighting)
        monitor = self.monitor()
        self.fitted(parameters, matrix, callback=Reporting(monitor, trial, self.pruned))
        trial.set_user_attr("iterations", int(monitor.best_sweep or 0) + 1)
        return monitor.best_value

    def fitted(self, parameters: Mapping[str, Any], matrix: sp.csr_array, **options: Any) -> ImplicitALS:
        """Model of these parameters, fitted to a matrix and the features."""
        return ImplicitALS(**parameters).fit(matrix, **self.features, show_progress=False, **options)

    def value(self, model: ImplicitALS) -> float:
        """The metric of a fitted model."""
        monitor = self.monitor()
        monitor(model, 0, 0.0)
        return float(monitor.best_value)

    def _of_both(self, exponent: float) -> Any:
        """``unobserved_exponent`` whose part for items is searched; that for users stays the model's."""
        users, _ = exponents_of(self.model)
        return (users, exponent) if users else exponent

    def _checked_features(self) -> tuple[Rows | None, Rows | None]:
        """Features of users and of items, None where there are none."""
        users, items = (
            check_features(self.features[name], name, (count, None)) if name in self.features else None
            for name, count in zip(("user_features", "item_features"), self.train.shape, strict=True)
        )
        return users, items


@dataclass
class Reporting:
    """Callback of `fit` that follows the metric, reports it to Optuna and gives up what is pruned."""

    monitor: ValidationCallback
    trial: Any
    pruned: type[Exception]

    def __call__(self, model: Any, sweep: int, loss: float) -> bool:
        """Follow, report, and raise Optuna's exception if the trial is to be given up."""
        stop = self.monitor(as_left_by_fit(model), sweep, loss)
        self.trial.report(self.monitor.best_value, sweep)
        if self.trial.should_prune():
            raise self.pruned
        return stop


def as_left_by_fit(model: ImplicitALS) -> ImplicitALS:
    """The model as ``fit`` would leave it if the present sweep were its last: with the users solved to ``tol``.

    Within an accelerated fit they are less accurate: on small data NDCG@10 was seen to differ by .006, so that the
    model that is returned would not be the one that was measured.
    """
    left = copy.copy(model)
    left.user_factors = model.recalculate_user(np.arange(model.user_factors.shape[0]))
    return left


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
