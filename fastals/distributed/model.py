"""The distributed model: what is fitted, and what is asked of it where the users are."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike

from fastals.core.overlay import Factors, History
from fastals.core.parameters import NotFittedError, Parameters, documented_by
from fastals.core.state import FeatureNames, State, training_state_of
from fastals.core.types import Array, ArrayLike, FeaturesLike, RandomState
from fastals.core.validation import check_integer, describe, read_only
from fastals.distributed import serving
from fastals.distributed.executor import DaskExecutor, client_of
from fastals.distributed.fit import Fit, fit_of
from fastals.distributed.prepare import prepare
from fastals.distributed.sources import Table, sources_of
from fastals.model import ImplicitALS
from fastals.solver.checked import unobserved_of
from fastals.solver.fitting import Given, sweep_until, warn_of_singular_rows
from fastals.solver.sweeps import TrainingState
from fastals.tables.store import PathLike


class DaskImplicitALS(Parameters):
    """`ImplicitALS` on the workers of a Dask cluster: its parameters, its factors up to rounding, more memory.

    Pairs are divided by users into shards, which the data alone determine. Each shard's users are solved where it is,
    and their factors never move; items are solved by conjugate gradients whose products are summed over the shards in a
    fixed order. So the factors do not depend on the number of workers, to the last bit, nor on workers that are lost:
    what these held is calculated again.

    Parameters
    ----------
    factors, regularization, alpha, iterations, unobserved_weight, unobserved_exponent, regularization_exponent, \
confidence, epsilon, objective, solver, tol, max_cg_steps, dtype, num_threads, random_state, warm_start, acceleration, \
feature_regularization
        As in `ImplicitALS`. ``num_threads`` is the most that a worker uses, of the threads it has. With
        ``solver="cholesky"`` a sweep sums a k x k matrix for each item over the shards.
    client : distributed.Client, optional
        By default the current one.
    pairs_per_shard : int, optional
        Stored pairs of a shard, on which the last bits of the factors depend. By default a million, and more where
        there are many items or more than a billion pairs. Data of one shard get the bits of a local fit in which users
        never start from a guess.

    Attributes
    ----------
    item_factors : (n_items, factors) array, read-only
    loss_history, alpha_, regularization_, unobserved_exponent_, feature_effects_, feature_names_
        As in `ImplicitALS`.
    n_shards_ : int
    solver_report_ : dict
        That of `ImplicitALS`, and ``bytes_per_sweep`` (sent to, between and by workers, in the mean of all sweeps) and
        seconds by phase: ``seconds_load``, ``seconds_pilot``, ``seconds_weigh``, ``seconds_users``,
        ``seconds_items_basis``, ``seconds_items_steps``, ``seconds_items_direct``, with features of users
        ``seconds_users_effects``; where all pairs are one shard, ``seconds_items`` in the place of three.

    Examples
    --------
    >>> from distributed import Client                                # doctest: +SKIP
    >>> from fastals import InteractionStore
    >>> from fastals.distributed import DaskImplicitALS
    >>> client = Client("scheduler:8786")                             # doctest: +SKIP
    >>> store = InteractionStore.open("/shared/plays")                # doctest: +SKIP
    >>> model = DaskImplicitALS(factors=64, client=client).fit(store)  # doctest: +SKIP
    >>> ids, scores = model.recommend(N=10)                           # doctest: +SKIP
    """

    _fit: Fit | None = None

    def __init__(
        self,
        factors: int = 64,
        *,
        regularization: float | tuple[float, float] | str = "auto",
        alpha: float | str = "auto",
        iterations: int = 15,
        unobserved_weight: float = 1.0,
        unobserved_exponent: float | tuple[float, float] | str = "auto",
        regularization_exponent: float = 1.0,
        confidence: str = "auto",
        epsilon: float = 1.0,
        objective: str = "hu",
        solver: str = "cg",
        tol: float = 1e-3,
        max_cg_steps: int = 50,
        dtype: DTypeLike = "float32",
        num_threads: int | None = None,
        random_state: RandomState = None,
        warm_start: bool = False,
        acceleration: bool | str = "auto",
        feature_regularization: float | tuple[float, float] | str = "auto",
        client: Any = None,
        pairs_per_shard: int | None = None,
    ) -> None:
        self.factors = factors
        self.regularization = regularization
        self.alpha = alpha
        self.iterations = iterations
        self.unobserved_weight = unobserved_weight
        self.unobserved_exponent = unobserved_exponent
        self.regularization_exponent = regularization_exponent
        self.confidence = confidence
        self.epsilon = epsilon
        self.objective = objective
        self.solver = solver
        self.tol = tol
        self.max_cg_steps = max_cg_steps
        self.dtype = dtype
        self.num_threads = num_threads
        self.random_state = random_state
        self.warm_start = warm_start
        self.acceleration = acceleration
        self.feature_regularization = feature_regularization
        self.client = client
        self.pairs_per_shard = pairs_per_shard

    def fit(
        self, user_items: Any, *, preference: Any = None,
        unobserved_weights: tuple[ArrayLike | None, ArrayLike | None] | None = None,
        user_features: FeaturesLike | None = None, item_features: FeaturesLike | None = None,
        user_factors: ArrayLike | None = None, item_factors: ArrayLike | None = None,
        callback: Callable[[DaskImplicitALS, int, float], Any] | None = None, show_progress: bool | None = None,
        resume_from: TrainingState | None = None, store: PathLike | None = None,
        columns: Mapping[str, Any] | None = None,
    ) -> DaskImplicitALS:  # fmt: skip
        """Fit the factors; returns when that is done.

        Parameters
        ----------
        user_items : InteractionStore, path of one, sparse matrix, dask array, list of CSR chunks, or table
            Rows are users. A store is read by the workers, which must reach it under the same path. A matrix is sent to
            them. Chunks, of consecutive users and all items, may be sparse matrices, futures or delayed objects, and
            each is a shard. A table of pairs, a dask DataFrame or another, or files of one such as Parquet, becomes a
            store in the folder ``store``, which has the ids (``InteractionStore.open(store)``).
        preference, unobserved_weights, user_factors, item_factors, show_progress
            As for `ImplicitALS.fit`; preferences with a matrix or a store alone.
        store, columns
            For a table: a folder to be made that all workers can reach, and options of `InteractionStore.build`, such
            as ``{"user": "customer", "item": "sku"}``.
        user_features, item_features
            As for `ImplicitALS.fit`. They are held here; each shard is sent its users' rows once, and the effects
            (n_features, factors) once a sweep.
        callback : callable, optional
            ``callback(model, sweep, loss)`` after each sweep, as for `ImplicitALS.fit`.
        resume_from : TrainingState, optional
            What a callback of an earlier fit to the same shards got from ``training_state``. The workers may be others.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError, FloatingPointError, OSError
            As `ImplicitALS.fit` and `InteractionStore.build`; for a damaged file of a store, which the message names.
        ConnectionError
            Where the scheduler is lost; the model is then as before, and a checkpoint is good.
        """
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable; got {describe(callback)}")
        iterations = check_integer("iterations", self.iterations, 0)
        sources = sources_of(user_items, preference, self.pairs_per_shard, Table(store, columns))
        executor = DaskExecutor(client_of(self.client), sources.shards)
        given = Given(None, None, unobserved_weights, user_features, item_features, user_factors, item_factors)
        if self.warm_start and self._fit is not None and user_factors is None and item_factors is None:
            given = given._replace(item_factors=self._fit.item_factors)
        training = prepare(self, given, sources, executor)
        began = executor.bytes_moved(), len(resume_from.loss_history) if resume_from is not None else 0

        def snapshot() -> Fit:
            return fit_of(training, executor, sources, unobserved_weights, began)

        def watch(sweep: int, loss: float) -> Any:
            if callback is None:
                return None
            model = copy.copy(self)
            model._fit = snapshot()._replace(training_state=training.until_it_goes_on(training.state))
            return callback(model, sweep, loss)

        if resume_from is not None:
            training.restore(resume_from)
        try:
            sweep_until(training, iterations, watch, show_progress)
        except KeyboardInterrupt:
            if training.advanced:
                self._fit = snapshot()
            raise
        training.finish()
        training.check_products()
        self._fit = snapshot()
        warn_of_singular_rows(State(report=self._fit.report), stacklevel=2)
        return self

    def to_local(self) -> ImplicitALS:
        """The model as a plain one here, with all factors and pairs; pairs of a store stay on its disk.

        Returns
        -------
        ImplicitALS

        Raises
        ------
        NotFittedError
            Before ``fit``.
        """
        fit = self._fitted
        model, rows = ImplicitALS(**self._plain_parameters()), fit.sources.rows(fit.executor)
        model._state = State(
            Factors(self.user_factors),
            Factors(fit.item_factors),
            History(rows),
            fit.chosen,
            fit.loss_history,
            unobserved=unobserved_of(rows, fit.unobserved_exponent, fit.unobserved_weights),
            report={name: value for name, value in fit.report.items() if not name.startswith(OWN_REPORTS)},
            features=fit.features,
            feature_names=fit.feature_names,
        )
        return model

    def recommend(
        self, N: int = 10, filter_already_liked_items: bool = True, filter_items: ArrayLike | None = None,
        items: ArrayLike | None = None,
    ) -> tuple[Any, Any]:  # fmt: skip
        """Items of the highest scores for all users, as dask arrays: calculated where the users are, once asked for.

        Parameters
        ----------
        N, filter_already_liked_items, filter_items, items
            As for `ImplicitALS.recommend`.

        Returns
        -------
        ids : (n_users, N) int32 dask array
        scores : dask array of the same shape
            One chunk for each shard.

        Raises
        ------
        TypeError, ValueError
            For arguments that do not fit, when the arrays are computed.
        NotFittedError
            Before ``fit``.
        """
        fit = self._fitted
        length = min(check_integer("N", N, 1), fit.item_factors.shape[0])
        filtered = filter_already_liked_items
        query = serving.Query(self._plain_parameters(), fit.chosen, length, filtered, filter_items, items)
        return serving.recommend_all(fit.executor, fit.shards, fit.users, fit.item_factors, query, fit.bounds)

    def write_user_factors(self, folder: PathLike) -> list[str]:
        """Write the users' factors, shard by shard, where they are.

        Parameters
        ----------
        folder : path
            Made if it is not there; all workers must reach it under this path.

        Returns
        -------
        list of str
            Files ``users-<first>-<end>.npy``, one for each shard, of the users from <first> to before <end>; each
            appears complete or not at all.

        Raises
        ------
        OSError
            Where a worker cannot write.
        NotFittedError
            Before ``fit``.
        """
        fit = self._fitted
        path = os.path.abspath(os.fspath(folder))
        firsts, ends = fit.bounds[:-1].tolist(), fit.bounds[1:].tolist()
        return fit.executor.gather(fit.executor.map("write-users", serving.write_users, fit.users, path, firsts, ends))

    @documented_by(training_state_of)
    def training_state(self) -> TrainingState:
        """State of the running ``fit``, for its callbacks, of the items alone: the users' factors follow from them."""
        return cast(TrainingState, training_state_of(self._fit or State()))

    @property
    def user_factors(self) -> Array:
        """Users' factors, (n_users, factors), read-only, fetched from the workers at each call."""
        fit = self._fitted
        parts = fit.executor.gather(fit.executor.map("users-fetch", serving.factors_of, fit.users))
        return read_only(np.concatenate(parts))

    @property
    def item_factors(self) -> Array:
        """Items' factors, (n_items, factors), read-only."""
        return read_only(self._fitted.item_factors)

    @property
    def loss_history(self) -> list[float]:
        """The loss after each sweep."""
        return list(self._fitted.loss_history)

    @property
    def alpha_(self) -> float:
        """The alpha that was used."""
        return self._fitted.chosen.alpha

    @property
    def regularization_(self) -> tuple[float, float]:
        """The regularization that was used, of users and of items."""
        return self._fitted.chosen.regularization

    @property
    def unobserved_exponent_(self) -> tuple[float | None, float | None]:
        """The exponent of missing pairs that was used, of users and of items; None where weights were given."""
        return (None, None) if self._fitted.unobserved_weights is not None else self._fitted.unobserved_exponent

    @property
    def feature_effects_(self) -> tuple[Array | None, Array | None]:
        """Effects (A, B) of the features of users and of items, (d, factors) float64; None where there are none."""
        users, items = (None if side is None else read_only(side.effects) for side in self._fitted.features)
        return users, items

    @property
    def feature_names_(self) -> FeatureNames:
        """Names of the features of users and of items, if they have any."""
        return self._fitted.feature_names

    @property
    def n_shards_(self) -> int:
        """Number of shards."""
        return len(self._fitted.shards)

    @property
    def solver_report_(self) -> dict[str, float]:
        """How the rows were solved, what was sent, and how long it took; see the class."""
        return dict(self._fitted.report)

    def __sklearn_is_fitted__(self) -> bool:
        return self._fit is not None

    def __getstate__(self) -> dict[str, Any]:
        if self._fit is not None:
            raise TypeError("a fitted DaskImplicitALS has its users on the workers: pickle what to_local() returns")
        return {**self.__dict__, "client": None}

    def __copy__(self) -> DaskImplicitALS:
        copied = type(self)(**self.get_params())
        copied._fit = self._fit
        return copied

    @property
    def _fitted(self) -> Fit:
        if self._fit is None:
            raise NotFittedError("this DaskImplicitALS is not fitted yet: call fit first")
        return self._fit

    def _plain_parameters(self) -> dict[str, Any]:
        """Parameters of a plain model."""
        return {name: value for name, value in self.get_params().items() if name not in OWN}


OWN = ("client", "pairs_per_shard")  # parameters that ImplicitALS has not
OWN_REPORTS = ("seconds_", "bytes_")  # beginnings of the names of reports
