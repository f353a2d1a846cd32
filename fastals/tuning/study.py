"""Search for hyper-parameters on a validation metric, with Optuna (extra ``tuning``).

How a trial is drawn and fitted: `fastals.tuning.trial`.
"""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastals.callbacks import check_options
from fastals.core.validation import check_choice, check_integer, check_interactions
from fastals.model import ImplicitALS
from fastals.tuning.trial import Search, derived_seed, dimensions_of


@dataclass
class TuningResult:
    """What `tune` returns.

    Attributes
    ----------
    best_params : dict
        Arguments of ``ImplicitALS`` of the best trial, ``iterations`` and ``random_state`` among them: the sweeps that
        did best. ``ImplicitALS(**result.best_params).fit(train)`` is the model that was measured, bit for bit.
    best_value : float
        Its validation metric.
    trials : list of dict
        One a trial that was begun, in their order: number, state ("complete", "pruned", "fail"), value, iterations
        (the sweeps after which the value was reached), seconds and the arguments searched. value is None for trials
        without one. Sweeps are no more accurate than pays, and users are solved once more as a fit ends, so that the
        value of a trial may differ a little from `best_value` (by 3e-4 of it in ``notebooks/03_hyperparameters``).
    model : ImplicitALS or None
        The best model, if `refit` was asked for.
    study : optuna.Study
        For Optuna's own plots and importances.
    """

    best_params: dict[str, Any]
    best_value: float
    trials: list[dict[str, Any]]
    model: ImplicitALS | None
    study: Any

    def to_frame(self) -> Any:
        """Trials as a pandas DataFrame, best first.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        ImportError
            Without pandas.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_frame needs pandas: pip install pandas; `trials` is the same as a list") from error
        return pd.DataFrame(self.trials).sort_values("value", ascending=False, kind="stable").reset_index(drop=True)


def tune(
    train_user_items: Any,
    validation_user_items: Any,
    *,
    n_trials: int = 30,
    metric: str = "ndcg",
    K: int = 20,
    factors: int | tuple[int, int] = (16, 128),
    model: ImplicitALS | None = None,
    space: Mapping[str, tuple[float, float]] | None = None,
    patience: int | None = 8,
    random_state: int = 0,
    storage: str | Path | None = None,
    study_name: str = "fastals",
    timeout: float | None = None,
    pruner: Any = None,
    refit: str | None = None,
    show_progress: bool = False,
    **evaluation_options: Any,
) -> TuningResult:
    """Search for hyper-parameters of `ImplicitALS`.

    Parameters
    ----------
    train_user_items, validation_user_items : sparse matrix or array (n_users, n_items)
        As in `fastals.evaluation.ranking_metrics_at_k`. Keep the test set out of both.
    n_trials : int, default 30
        Trials, complete or pruned, that the study has in the end.
    metric, K : str and int, default "ndcg" and 20
        What is maximised, see `fastals.evaluation.metrics`.
    factors : int or (int, int), default (16, 128)
        Number of factors: fixed, or searched among the doublings from the lowest to the highest, which is the lowest
        times a power of two.
    model : ImplicitALS, optional
        All that is not searched (objective, confidence, ...) is taken from it; by default from ``ImplicitALS()``.
        ``random_state`` is set by the search. ``iterations`` is the most that a trial takes; the best number is found.
    space : dict of str to (low, high), optional
        Ranges of ``regularization``, ``alpha``, ``unobserved_weight``, ``epsilon`` (log-uniform) and
        ``regularization_exponent`` (uniform); what is left out is not searched. By default alpha is such that the mean
        stored pair weighs 1; searched are unobserved_weight from 0.0003 to 0.5, the exponent from 0 to 1, and
        regularization such that the mean lambda of a row is that of a strength of 0.0003 to 0.1 at exponent 1.
    patience : int, optional
        Sweeps without a better metric after which a trial ends; None for never. Of 120 random settings on Last.fm,
        MovieLens 100K and Online Retail a patience of 4 lost up to 26 % of NDCG@20, and 8 up to 3.5 %.
    random_state : int, default 0
        Seed. A trial depends on it and on its number and on the trials before, so that a study that was interrupted
        and resumed finds what it would have found.
    storage : path or str, optional
        File of the study, which makes it resumable: ``.journal`` or ``.log`` for Optuna's journal, anything else for
        SQLite; or a database URL of Optuna. In memory by default.
    study_name : str
        Name of the study in the storage.
    timeout : float, optional
        Seconds after which no new trial is begun.
    pruner : optuna.pruners.BasePruner, optional
        By default a trial is pruned that is among the lowest 30 % of five or more at the same sweep, from the third on.
    refit : {"train", "all"}, optional
        Keep the best as ``model``, fitted to the training matrix, or to training and validation together.
    show_progress : bool
        Whether to show Optuna's progress (one line a trial).
    **evaluation_options
        Passed to `ranking_metrics_at_k`, such as `users` to evaluate a sample of the users.

    Returns
    -------
    TuningResult

    Raises
    ------
    ImportError
        Without Optuna.
    TypeError, ValueError
        Before the first fit, for arguments that do not fit or are not known, and for a storage whose study is of other
        data or another search.
    RuntimeError
        If no trial was completed.

    References
    ----------
    T. Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework", KDD 2019.
    S. Rendle et al., "Revisiting the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022.
    """
    optuna = _optuna()
    check_options("tune", evaluation_options, inspect.signature(tune))
    n_trials, seed = check_integer("n_trials", n_trials, 1), check_integer("random_state", random_state, 0)
    if refit is not None:
        check_choice("refit", refit, ("train", "all"))
    train = check_interactions(train_user_items, "train_user_items", np.float64)
    validation = check_interactions(validation_user_items, "validation_user_items", np.float64)
    search = Search(
        train,
        validation,
        model=ImplicitALS() if model is None else model,
        dimensions=dimensions_of(factors),
        space=space,
        metric=metric,
        K=K,
        patience=patience,
        evaluation_options=evaluation_options,
        seed=seed,
        pruned=optuna.TrialPruned,
    )
    with _quiet(optuna, show_progress), _opened(optuna, storage) as place:
        study = optuna.create_study(
            direction="maximize",
            storage=place,
            study_name=study_name,
            pruner=pruner
            or optuna.pruners.PercentilePruner(70.0, n_startup_trials=4, n_warmup_steps=2, n_min_trials=4),
            load_if_exists=True,
        )
        _claim(study, search.fingerprint(study_name))
        _run(optuna, study, search, n_trials, timeout)
        return _result(optuna, study, search, refit)


def _run(optuna: Any, study: Any, search: Search, n_trials: int, timeout: float | None) -> None:
    """Trials until there are enough, each with a sampler of its own seed."""
    finished = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)

    def stop_at_end(study: Any, trial: Any) -> None:
        seed_sampler()
        if len(study.get_trials(deepcopy=False, states=finished)) >= n_trials:
            study.stop()

    def seed_sampler() -> None:
        number = len(study.get_trials(deepcopy=False))
        study.sampler = optuna.samplers.TPESampler(
            seed=derived_seed(search.seed, number, 0), n_startup_trials=8, multivariate=True
        )

    if not study.get_trials(deepcopy=False):
        for parameters in search.first:
            study.enqueue_trial(parameters)
    if len(study.get_trials(deepcopy=False, states=finished)) < n_trials:
        seed_sampler()
        study.optimize(search.objective, timeout=timeout, callbacks=[stop_at_end], catch=(FloatingPointError,))


def _result(optuna: Any, study: Any, search: Search, refit: str | None) -> TuningResult:
    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if not complete:
        raise RuntimeError("no trial was completed: raise n_trials or timeout, or look at the ranges in space")
    best = study.best_trial
    arguments = {**best.user_attrs["arguments"], "random_state": derived_seed(search.seed, best.number, 1)}
    parameters = {**search.model.get_params(), **arguments, "iterations": best.user_attrs["iterations"]}
    model = ImplicitALS(**parameters).fit(search.train, show_progress=False)
    value = search.value(model)
    if refit == "all":
        model = ImplicitALS(**parameters).fit(search.train + search.validation, show_progress=False)
    trials = [
        {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "value": trial.value,
            "iterations": trial.user_attrs.get("iterations"),
            "seconds": trial.duration.total_seconds() if trial.duration else None,
            **trial.user_attrs.get("arguments", {}),
        }
        for trial in study.get_trials(deepcopy=False)
        if trial.state != optuna.trial.TrialState.WAITING
    ]
    return TuningResult(parameters, value, trials, model if refit else None, study)


def _claim(study: Any, fingerprint: str) -> None:
    """Make a new study ours, or make sure that an old one is of this very search."""
    known = study.user_attrs.get("fastals")
    if known is None:
        study.set_user_attr("fastals", fingerprint)
    elif known != fingerprint:
        raise ValueError(
            f"study {study.study_name!r} in storage is of other data or another search; "
            "give another storage or study_name"
        )


@contextlib.contextmanager
def _opened(optuna: Any, storage: str | Path | None) -> Iterator[Any]:
    """Optuna's storage from a path by its ending, or from a URL; connections to a database are closed on leaving."""
    if storage is None:
        yield None
        return
    path = Path(storage)
    if "://" not in str(storage) and path.suffix in (".journal", ".log"):
        yield optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
        return
    database = optuna.storages.RDBStorage(str(storage) if "://" in str(storage) else f"sqlite:///{path.resolve()}")
    try:
        yield database
    finally:
        database.remove_session()
        database.engine.dispose()  # the study opens new ones if it is asked again


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ImportError("tuning needs Optuna: pip install 'fastals[tuning]'") from error
    return optuna


@contextlib.contextmanager
def _quiet(optuna: Any, show_progress: bool) -> Iterator[None]:
    """Optuna's level of logging as asked for, and as it was in the end."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.INFO if show_progress else optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            # multivariate sampling, and rows that a trial's small regularization leaves undetermined
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", message=r"\d+ row solutions", category=RuntimeWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
