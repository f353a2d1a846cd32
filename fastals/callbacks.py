"""What a training is watched by: a validation metric, which may stop it, and the parts of its loss."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastals.core.state import State, swap
from fastals.core.validation import check_integer, check_real
from fastals.evaluation import ranking_metrics_at_k
from fastals.serving.scores import LOSS_PARTS

__all__ = ["LossParts", "ValidationCallback"]

_LEAST_SPAN = 0.25  # of the metric's axis, in its highest value: noise is not to look like a curve
_LEGEND_ROOM = 0.25  # above the curves, in the height of the axes: the legend covers none of them


def check_options(function: str, options: Mapping[str, Any], signature: inspect.Signature) -> None:
    """TypeError for an option of a function, to be passed on to `ranking_metrics_at_k`, that this does not know.

    Parameters
    ----------
    function : str
        Name of the function.
    options : mapping
        What it was given beyond its own arguments.
    signature : inspect.Signature
        Its own, for the hint at what may have been meant.

    Raises
    ------
    TypeError
        For an unknown option; the message names what was likely meant.
    """
    evaluation = inspect.signature(ranking_metrics_at_k).parameters.values()
    known = [parameter.name for parameter in evaluation if parameter.kind is parameter.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, [*known, *signature.parameters], 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; of the evaluation it takes {', '.join(known)}"
            raise TypeError(f"{function} got an unexpected keyword argument {name!r}{hint}")


class ValidationCallback:
    """Follow a validation metric during `fit`, and stop once it no longer gets better.

    Passed to ``model.fit(train, callback=...)`` it is called after each sweep. Alternatively `fit` runs the training
    and then restores the factors of the best sweep:

    >>> monitor = ValidationCallback(train, validation, metric="ndcg", K=20, patience=3)  # doctest: +SKIP
    >>> monitor.fit(ImplicitALS(factors=128, iterations=50)).recommend(0)                 # doctest: +SKIP
    >>> monitor.plot()                                                                     # doctest: +SKIP

    Parameters
    ----------
    train_user_items, validation_user_items : sparse matrix or array (n_users, n_items)
        As in `fastals.evaluation.ranking_metrics_at_k`. Keep the test set out of both.
    metric : str, default "ndcg"
        A key of the evaluation's result; larger is better.
    K : int, default 10
        Length of the rankings.
    every : int, default 1
        Sweeps from one evaluation to the next; the sweeps ``every - 1``, ``2 every - 1``, ... are evaluated.
    patience : int, optional
        Evaluations in a row without a new best value after which training stops; by default it never stops early.
    min_delta : float, default 0
        How much a value must exceed the best one to be a new best.
    **options
        Passed to `ranking_metrics_at_k`, such as `users` to evaluate a sample of the users.

    Attributes
    ----------
    best_sweep : int or None
        Number of the sweep with the best value so far, counted from 0.
    best_value : float
        Its value, -inf before the first evaluation.
    stopped : bool
        Whether patience ran out and training stopped early.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit, and options that `ranking_metrics_at_k` does not know.
    """

    def __init__(
        self,
        train_user_items: Any,
        validation_user_items: Any,
        metric: str = "ndcg",
        K: int = 10,
        every: int = 1,
        *,
        patience: int | None = None,
        min_delta: float = 0.0,
        **options: Any,
    ):
        self.train_user_items = train_user_items
        self.validation_user_items = validation_user_items
        self.metric = metric
        self.K = K
        self.every = check_integer("every", every, 1)
        self.patience = None if patience is None else check_integer("patience", patience, 1)
        self.min_delta = check_real("min_delta", min_delta)
        check_options("ValidationCallback", options, inspect.signature(ValidationCallback))
        self.options = {"auc": True, **options} if metric == "auc" else options
        self._clear()

    def _clear(self) -> None:
        """Forget the curves and the best factors."""
        self._curve: list[tuple[int, float, float, float]] = []
        self._best_factors: tuple[np.ndarray, np.ndarray] | None = None
        self._best_effects: tuple[np.ndarray | None, ...] = (None, None)  # of features
        self._without_gain = 0
        self.best_sweep: int | None = None
        self.best_value = -np.inf
        self.stopped = False

    def __call__(self, model: Any, sweep: int, loss: float) -> bool:
        """Record the sweep, evaluate if it is its turn, and return True to stop.

        A sweep number that does not grow is taken for a new training run, which clears what was recorded.
        """
        if self._curve and sweep <= self._curve[-1][0]:
            self._clear()
        if (sweep + 1) % self.every:
            self._curve.append((sweep, loss, np.nan, np.nan))
            return False
        metrics = ranking_metrics_at_k(model, self.train_user_items, self.validation_user_items, self.K, **self.options)
        value = metrics[self.metric]
        self._curve.append((sweep, loss, value, metrics.stderr.get(self.metric, np.nan)))
        if value > self.best_value + self.min_delta:
            self.best_sweep, self.best_value, self._without_gain = sweep, value, 0
            self._best_factors = (np.array(model.user_factors), np.array(model.item_factors))
            effects = getattr(model, "feature_effects_", (None, None))
            self._best_effects = tuple(None if of_side is None else of_side.copy() for of_side in effects)
        else:
            self._without_gain += 1
        self.stopped = self.patience is not None and self._without_gain >= self.patience
        return self.stopped

    def fit(self, model: Any, **fit_options: Any) -> Any:
        """Fit a model to the training matrix under this callback, and restore the best factors.

        Parameters
        ----------
        model : ImplicitALS
        **fit_options
            Passed to ``model.fit``.

        Returns
        -------
        ImplicitALS
            The model.

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As ``model.fit`` and `ranking_metrics_at_k`.
        """
        self._clear()
        model.fit(self.train_user_items, callback=self, **fit_options)
        return self.restore(model)

    def restore(self, model: Any) -> Any:
        """Give a model the factors of the best sweep, and the effects of its features.

        Its ``loss_history`` keeps every sweep. The factors are those that were measured: early sweeps of an accelerated
        fit solve the users more loosely than to ``tol``, so they are not quite what ``recalculate_user`` gives.

        Parameters
        ----------
        model : ImplicitALS

        Returns
        -------
        ImplicitALS
            The model.

        Raises
        ------
        ValueError
            Before the first evaluation.
        """
        if self._best_factors is None:
            raise ValueError("no sweep has been evaluated yet, so there are no best factors to restore")
        user_factors, item_factors = self._best_factors
        model.user_factors, model.item_factors = user_factors.copy(), item_factors.copy()
        if any(effects is not None for effects in self._best_effects):
            swap(model, self._with_best_effects)
        return model

    def _with_best_effects(self, state: State) -> State:
        users, items = (
            features if features is None or effects is None else features._replace(effects=effects.copy())
            for features, effects in zip(state.features, self._best_effects, strict=True)
        )
        return state.changed(features=(users, items))

    @property
    def learning_curve(self) -> dict[str, np.ndarray]:
        """Arrays over the sweeps: "sweep" (int64), "loss", and under its name the metric and its "stderr" (float64).

        Metric and standard error are NaN at sweeps that were not evaluated.
        """
        sweep, loss, value, stderr = np.array(self._curve, dtype=np.float64).reshape(-1, 4).T.copy()
        return {"sweep": sweep.astype(np.int64), "loss": loss, self.metric: value, "stderr": stderr}

    def plot(self, ax: Any = None) -> Any:
        """Draw the training loss and, on a second axis, the validation metric over the sweeps, counted from 1.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
            The axes of the loss; those of the metric share its sweeps.

        Raises
        ------
        ImportError
            Without matplotlib, where no axes are given.
        """
        if ax is None:
            try:
                import matplotlib.pyplot as plt
            except ImportError as error:
                raise ImportError("plot needs matplotlib: pip install 'fastals[plots]'") from error
            _, ax = plt.subplots(layout="constrained")
        curve = self.learning_curve
        evaluated = ~np.isnan(curve[self.metric])
        sweep, value = curve["sweep"][evaluated] + 1, curve[self.metric][evaluated]
        (loss_line,) = ax.plot(curve["sweep"] + 1, curve["loss"], color="tab:gray", label="training loss")
        ax.set(xlabel="sweep", ylabel="training loss")
        ax.xaxis.get_major_locator().set_params(integer=True)
        right = ax.twinx()
        label = f"validation {self.metric}@{self.K}"
        (metric_line,) = right.plot(sweep, value, color="tab:blue", marker="o", markersize=3, label=label)
        spread = curve["stderr"][evaluated]
        low, high = value - spread, value + spread
        band = right.fill_between(sweep, low, high, color="tab:blue", alpha=0.15, linewidth=0, label="standard error")
        right.set_ylabel(label)
        lines = [loss_line, metric_line, band]
        if self.best_sweep is not None:
            lines.append(right.axvline(self.best_sweep + 1, color="tab:orange", linestyle=":", label="best sweep"))
        low, high = right.get_ylim()
        missing = max(0.0, _LEAST_SPAN * high - (high - low)) / 2
        right.set_ylim(low - missing, high + missing)
        for axes in (ax, right):
            low, high = axes.get_ylim()
            axes.set_ylim(low, high + _LEGEND_ROOM * (high - low))
        right.legend(
            handles=lines, loc="upper center", ncols=2, fontsize=8, columnspacing=1, handlelength=1.5, edgecolor="none"
        )
        return ax


class LossParts:
    """Record what stored pairs, missing pairs and penalties add to the loss after each sweep of `fit`.

    >>> parts = LossParts(train)                        # doctest: +SKIP
    >>> model.fit(train, callback=parts)                # doctest: +SKIP
    >>> parts.curve["missing"]                          # doctest: +SKIP

    A record takes about as long as a pass over the pairs in float64, where the loss itself costs ``fit`` nothing.

    Parameters
    ----------
    user_items : sparse matrix or array (n_users, n_items)
        What the model is fitted to.
    preference : sparse matrix or array, optional
        As given to ``fit``.
    """

    def __init__(self, user_items: Any, preference: Any = None) -> None:
        self.user_items, self.preference = user_items, preference
        self._records: list[dict[str, float]] = []

    def __call__(self, model: Any, sweep: int, loss: float) -> None:
        """Record a sweep. One whose number does not grow is of a new training, and clears what was recorded."""
        if self._records and sweep <= self._records[-1]["sweep"]:
            self._records = []
        parts = model.loss_parts(self.user_items, preference=self.preference)
        self._records.append({"sweep": sweep, "loss": loss, **parts})

    @property
    def curve(self) -> dict[str, np.ndarray]:
        """Arrays over the sweeps: "sweep" (int64), counted from 0, "loss", and the parts by their names (float64).

        The parts are those of `ImplicitALS.loss_parts`, and their sum is the loss, up to the rounding of the factors.
        """
        names = ("sweep", "loss", *LOSS_PARTS)
        curve = {name: np.array([record[name] for record in self._records], np.float64) for name in names}
        return {**curve, "sweep": curve["sweep"].astype(np.int64)}
