"""One trial of a search for hyper-parameters: what is drawn, and how it is fitted.

A trial climbs a ladder of dimensions: it fits the smallest one first, then doubles it, the known factors padded with
small noise and the sweeps going on from there, up to the dimension it was asked for. As all trials begin on the same
rung, the pruner compares like with like, and most of the poor ones are given up while they are cheap.

The regularisation is searched by its mean strength over all rows, whatever the exponent: lambda_u = regularization
frequency_u^exponent would otherwise change by orders of magnitude with the exponent (Rendle et al. 2022 rescale
it in the same way). Strength and weights are searched in units of the data's mean weight of a stored pair, so
that one default range serves clicks, stars and play counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastals.callbacks import ValidationCallback
from fastals.core.validation import check_choice, check_integer
from fastals.model import ImplicitALS
from fastals.objective import Objective

# Mean lambda of a row, and of the stored pairs' mean weight the share that an unobserved pair has.
_RIDGE = (0.03, 30.0)
_UNOBSERVED_SHARE = (0.003, 0.5)
_EXPONENT = (0.0, 1.0)
_LITERAL = ("regularization", "alpha", "unobserved_weight", "regularization_exponent", "epsilon")
# Noise in the factors that a doubling adds, in units of the mean square of those there are.
_NOISE = 0.1


@dataclass
class Search:
    """Data, ranges and the climb of a trial."""

    train: sp.csr_array
    validation: sp.csr_array
    model: ImplicitALS
    ladder: list[int]
    space: Mapping[str, tuple[float, float]] | None
    monitor_options: dict[str, Any]
    seed: int
    pruned: type[Exception]

    def __post_init__(self) -> None:
        for name, bounds in (self.space or {}).items():
            check_choice("a name in space", name, _LITERAL)
            low, high = bounds
            if not low < high or low < 0 or (low == 0 and name != "regularization_exponent"):
                raise ValueError(f"space[{name!r}] must be 0 < low < high; got {bounds!r}")
        self.iterations = check_integer("iterations", self.model.iterations, 1)

    def fingerprint(self, study_name: str) -> str:
        """Of all that makes trials comparable."""
        digest = hashlib.sha256()
        for matrix in (self.train, self.validation):
            for part in (matrix.indptr, matrix.indices, matrix.data):
                digest.update(np.ascontiguousarray(part).tobytes())
        options = {name: np.asarray(value).tolist() for name, value in self.monitor_options.items()}
        fixed = {**self.model.get_params(), "num_threads": None, "random_state": None}
        text = json.dumps([study_name, self.ladder, self.space, options, fixed, self.seed], default=str, sort_keys=True)
        return hashlib.sha256(digest.digest() + text.encode()).hexdigest()

    def parameters(self, trial: Any) -> dict[str, Any]:
        """Constructor's arguments of a trial: those of the model, and those that Optuna suggests in their place."""
        found = self.model.get_params()
        rung = trial.suggest_int("doublings", 0, len(self.ladder) - 1) if len(self.ladder) > 1 else 0
        found["factors"] = self.ladder[rung]
        found["random_state"] = derived_seed(self.seed, trial.number, 1)
        if self.space is not None:
            for name, (low, high) in self.space.items():
                log = name != "regularization_exponent"
                found[name] = trial.suggest_float(name, float(low), float(high), log=log)
            return found
        share = trial.suggest_float("unobserved_share", *_UNOBSERVED_SHARE, log=True)
        size = float(_objective(found).size(self.train.data).mean())
        if found["objective"] == "rendle":
            if isinstance(found["alpha"], str):
                found["alpha"] = 1 / size  # only its ratio to the unobserved weight matters
            found["unobserved_weight"] = share * found["alpha"] * size
        else:
            if not found["unobserved_weight"] > 0:
                raise ValueError(
                    "alpha is searched relative to unobserved_weight, which must not be 0 then; give space"
                )
            found["alpha"] = found["unobserved_weight"] / (share * size)
        exponent = found["regularization_exponent"] = trial.suggest_float("regularization_exponent", *_EXPONENT)
        strength = trial.suggest_float("ridge", *_RIDGE, log=True) * found["alpha"] * size
        found["regularization"] = strength / self._mean_power(_objective(found), exponent)
        return found

    def _mean_power(self, objective: Objective, exponent: float) -> float:
        """Mean over users and items of frequency^exponent (Rendle 2022)."""
        n_users, n_items = self.train.shape
        users = objective.frequency(np.diff(self.train.indptr), n_items)
        items = objective.frequency(np.bincount(self.train.indices, minlength=n_items), n_users)
        return float((np.concatenate([users, items]) ** exponent).mean())

    def climb(
        self, parameters: Mapping[str, Any], user_items: Any, sweeps: list[int], callbacks: Iterable[Any]
    ) -> ImplicitALS:
        """Fit up the ladder, so many sweeps on each rung at the most."""
        model, start = ImplicitALS(**parameters), None
        if model.acceleration == "auto":
            model.acceleration = True  # with given factors too
        random = np.random.default_rng([parameters["random_state"], 1])
        for model.factors, model.iterations, callback in zip(self.ladder, sweeps, callbacks, strict=False):
            if start is not None:
                start = padded(start, model.factors, random)
            model.fit(user_items, user_factors=start, callback=callback)
            start = model.user_factors
        model.set_params(iterations=self.iterations, acceleration=parameters["acceleration"])
        return model

    def objective(self, trial: Any) -> float:
        """Value of a trial: the best metric on its last rung."""
        parameters = self.parameters(trial)
        trial.set_user_attr("arguments", {name: parameters[name] for name in ("factors", *_LITERAL)})
        n_rungs = self.ladder.index(parameters["factors"]) + 1
        monitors = [ValidationCallback(self.train, self.validation, **self.monitor_options) for _ in range(n_rungs)]
        follow = [
            Reporting(monitor, trial, rung * self.iterations, self.pruned) for rung, monitor in enumerate(monitors)
        ]
        planned = [-(-self.iterations // 3)] * (n_rungs - 1) + [self.iterations]
        self.climb(parameters, self.train, planned, follow)
        *below, last = monitors
        done = [len(monitor.learning_curve["sweep"]) for monitor in below]
        trial.set_user_attr("sweeps", [*done, int(last.best_sweep or 0) + 1])
        return last.best_value


@dataclass
class Reporting:
    """Callback of `fit` that follows the metric, reports it to Optuna and gives up what is pruned."""

    monitor: ValidationCallback
    trial: Any
    first_step: int
    pruned: type[Exception]

    def __call__(self, model: Any, sweep: int, loss: float) -> bool:
        """Follow, report, and raise Optuna's exception if the trial is to be given up."""
        stop = self.monitor(model, sweep, loss)
        self.trial.report(self.monitor.best_value, self.first_step + sweep)
        if self.trial.should_prune():
            raise self.pruned
        return stop


def _objective(parameters: Mapping[str, Any]) -> Objective:
    """Objective of a model's parameters with alpha = 1."""
    names = ("objective", "confidence", "epsilon", "unobserved_weight", "regularization", "regularization_exponent")
    return Objective.checked(alpha=1.0, **{name: parameters[name] for name in names})


def ladder_of(factors: Any) -> list[int]:
    """Dimensions from the lowest to the highest by doubling."""
    low, high = factors if isinstance(factors, (tuple, list)) and len(factors) == 2 else (factors, factors)
    low, high = check_integer("factors", low, 1), check_integer("factors", high, 1)
    ladder = [low]
    while ladder[-1] < high:
        ladder.append(2 * ladder[-1])
    if ladder[-1] != high:
        raise ValueError(f"the highest of factors must be the lowest times a power of two; got {low} and {high}")
    return ladder


def padded(known: np.ndarray, factors: int, random: np.random.Generator) -> np.ndarray:
    """Factors with further columns of small noise, from which the sweeps can grow."""
    scale = _NOISE * float(np.sqrt(np.mean(np.square(known, dtype=np.float64))))
    noise = scale * random.standard_normal((known.shape[0], factors - known.shape[1]), dtype=np.float32)
    noise[~known.any(axis=1)] = 0  # rows without data stay exactly zero
    return np.hstack([known, noise.astype(known.dtype)])


def derived_seed(*numbers: int) -> int:
    """Seed of 32 bits from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
