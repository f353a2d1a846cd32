"""Search for hyper-parameters on a validation metric, with Optuna (extra ``tuning``).

How a trial is drawn and fitted: `fastals.tuning.trial`.
"""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastals.callbacks import check_options
from fastals.core.validation import check_choice, check_integer, check_interactions
from fastals.model import ImplicitALS
from fastals.tuning.pair_weights import check_weighting, weighed
from fastals.tuning.trial import Search, derived_seed, dimensions_of
from fastals.weighting import times_of


@dataclass
class TuningResult:
    """What `tune` returns.

    Attributes
    ----------
    best_params : dict
        Arguments of ``ImplicitALS`` of the best trial, ``iterations`` and ``random_state`` among them: the sweeps that
        did best. ``ImplicitALS(**result.best_params).fit(train)`` is the model that was measured, bit for bit; with a
        weighting it is ``fit(result.weigh(train))``, and with features ``fit`` is given them as `tune` was.
    best_value : float
        Its validation metric.
    trials : list of dict
        One for each trial that was begun, in their order: number, state ("complete", "pruned", "fail"), value,
        iterations (the sweeps after which the value was reached), seconds and the arguments searched. value is None for
        trials without one; else it is that of the model that a fit of so many sweeps leaves.
    model : ImplicitALS or None
        The best model, if `refit` was asked for.
    study : optuna.Study
        For Optuna's own plots and importances.
    weighting : dict or None
        How the training matrix was weighed before the fit: ``name`` of the function of `fastals.weighting` and its
        options, as {"name": "popularity", "item_exponent": -0.3}; None where it was not. See `weigh`.
    """

    best_params: dict[str, Any]
    best_value: float
    trials: list[dict[str, Any]]
    model: ImplicitALS | None
    study: Any
    weighting: dict[str, Any] | None = None

    def weigh(self, user_items: Any, times: Any = None) -> sp.csr_array:
        """Weigh the pairs of a matrix as those of the best trial were.

        ``ImplicitALS(**result.best_params).fit(result.weigh(train))`` is the model that was measured, whether or not
        there was a weighting. Give `fit` the features, too, if `tune` was given any.

        Parameters
        ----------
        user_items : sparse matrix or array (n_users, n_items)
        times : sparse matrix or array (n_users, n_items), optional
            Of its pairs, or of more; where they are weighed by their age.

        Returns
        -------
        csr_array (n_users, n_items), float64
            A canonical copy where there is no weighting.

        Raises
        ------
        TypeError, ValueError
            For a matrix that does not fit.
        """
        return weighed(user_items, self.weighting, times)

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
    weighting: str | Sequence[str] | None = None,
    times: Any = None,
    user_features: Any = None,
    item_features: Any = None,
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
        Ranges of ``regularization``, ``alpha``, ``unobserved_weight``, ``epsilon``, ``feature_regularization``
        (log-uniform), ``regularization_exponent`` and ``unobserved_exponent`` (uniform; the items' exponent); what is
        left out is not searched. By default alpha is such that the mean stored pair weighs 1; searched are
        unobserved_weight from 0.0003 to 0.5, unobserved_exponent from 0 to 0.75, regularization_exponent from 0 to 1,
        regularization such that the mean lambda of a row is that of a strength of 0.0003 to 0.1 at exponent 1
        (`comparable_regularization`), and with features feature_regularization from 0.001 to 10 times the mean diagonal
        of F' diag(lambda) F, beside which it stands.
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
        By default a trial is pruned that is among the lowest 30 % of five or more at the same sweep, from the sixth on.
        In simulated searches of 30 out of 40 random settings on the same data sets it kept at least 99.8 % of the best
        metric; from the third sweep on it were 99.4 %.
    refit : {"train", "all"}, optional
        Keep the best as ``model``, fitted to the training matrix, or to training and validation together.
    weighting : str or sequence of str, optional
        Weigh the training pairs before each fit, by a function of `fastals.weighting`: "popularity" (its item_exponent
        is searched from -0.6 to 0), "bm25" (k1 from 1 to 1000, b from 0 to 1), "tfidf" or "recency" (half_life from
        .01 to 3 times the time from the first pair to the last); of several names, "none" among them, each trial takes
        one. The metric is that of the unweighted pairs. See `TuningResult.weigh`.
    times : sparse matrix or array (n_users, n_items), optional
        Of the training pairs, for "recency"; with ``refit="all"`` those of the validation pairs, too.
    user_features, item_features : arrays or sparse matrices (n_users, d), (n_items, d'), optional
        Passed to every ``fit``.
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
    .. [1] T. Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework", KDD 2019.
    .. [2] S. Rendle et al., "Revisiting the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022.
    """
    optuna = _optuna()
    check_options("tune", evaluation_options, inspect.signature(tune))
    n_trials, seed = check_integer("n_trials", n_trials, 1), check_integer("random_state", random_state, 0)
    if refit is not None:
        check_choice("refit", refit, ("train", "all"))
    train = check_interactions(train_user_items, "train_user_items", np.float64)
    validation = check_interactions(validation_user_items, "validation_user_items", np.float64)
    features = {"user_features": user_features, "item_features": item_features}
    if refit == "all" and times is not None:
        times_of(train + validation, times)  # all that will be wanted shows before the first fit
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
        weightings=check_weighting(weighting),
        features={name: value for name, value in features.items() if value is not None},
        times=times,
    )
    with _quiet(optuna, show_progress), _opened(optuna, storage) as place:
        study = optuna.create_study(
            direction="maximize",
            storage=place,
            study_name=study_name,
            pruner=pruner
            or optuna.pruners.PercentilePruner(70.0, n_startup_trials=4, n_warmup_steps=5, n_min_trials=4),
            load_if_exists=True,
        )
        _claim(study, search.fingerprint(study_name))
        _run(optuna, study, search, n_trials, timeout)
        return _result(optuna, study, search, refit)


def _run(optuna: Any, study: Any, search: Search, n_trials: int, timeout: float | None) -> None:
    """Trials until there are enough, each with a sampler of its own seed."""
    finished, first = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED), search.first

    def stop_at_end(study: Any, trial: Any) -> None:
        seed_sampler()
        if len(study.get_trials(deepcopy=False, states=finished)) >= n_trials:
            study.stop()

    def seed_sampler() -> None:
        begun = (trial for trial in study.get_trials(deepcopy=False) if trial.state != optuna.trial.TrialState.WAITING)
        number = sum(1 for _ in begun)  # those laid down beforehand leave some of their parameters to the sampler
        study.sampler = optuna.samplers.TPESampler(
            seed=derived_seed(search.seed, number, 0),
            n_startup_trials=len(first) or 8,
            multivariate=True,
            group=len(search.weightings) > 1,  # each weighting has options of its own
        )

    if not study.get_trials(deepcopy=False):
        for parameters in first:
            study.enqueue_trial(parameters)
    if len(study.get_trials(deepcopy=False, states=finished)) < n_trials:
        seed_sampler()
        study.optimize(search.objective, timeout=timeout, callbacks=[stop_at_end], catch=(FloatingPointError,))


def _result(optuna: Any, study: Any, search: Search, refit: str | None) -> TuningResult:
    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if not complete:
        raise RuntimeError("no trial was completed: raise n_trials or timeout, or look at the ranges in space")
    best = study.best_trial
    arguments = {**_arguments(best), "random_state": derived_seed(search.seed, best.number, 1)}
    parameters = {**search.model.get_params(), **arguments, "iterations": best.user_attrs["iterations"]}
    weighting = best.user_attrs["weighting"]
    model = search.fitted(parameters, weighed(search.train, weighting, search.times))
    value = search.value(model)
    if refit == "all":
        both = search.train + search.validation
        model = search.fitted(parameters, weighed(both, weighting, search.times))
    trials = [
        {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "value": trial.value,
            "iterations": trial.user_attrs.get("iterations"),
            "seconds": trial.duration.total_seconds() if trial.duration else None,
            **_arguments(trial),
            **_shown(trial.user_attrs.get("weighting")),
        }
        for trial in study.get_trials(deepcopy=False)
        if trial.state != optuna.trial.TrialState.WAITING
    ]
    chosen = None if weighting is None or weighting["name"] == "none" else dict(weighting)
    return TuningResult(parameters, value, trials, model if refit else None, study, chosen)


def _arguments(trial: Any) -> dict[str, Any]:
    """Arguments of a trial's model; files keep pairs as lists."""
    kept = trial.user_attrs.get("arguments", {})
    return {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()}


def _shown(weighting: Mapping[str, Any] | None) -> dict[str, Any]:
    """A trial's weighting among its arguments: the name under "weighting", and its options."""
    options = dict(weighting or {})
    return {"weighting": options.pop("name"), **options} if options else {}


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
