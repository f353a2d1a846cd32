"""From parameters and shards to a training; the counterpart of ``fastals.solver.fitting.prepare``."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastals.core.features import feature_names
from fastals.core.rows import Rows, joined
from fastals.core.unobserved import Unobserved, weights_or_alike
from fastals.core.validation import (
    LARGEST_INT32,
    check_dtype,
    check_factors,
    check_integer,
    check_random_state,
    describe,
    is_auto,
    read_only,
)
from fastals.distributed import shards as on_shard
from fastals.distributed.executor import Executor, Reference, WorkersChangedError
from fastals.distributed.features import ShardedEffects
from fastals.distributed.features import warm as warm_features
from fastals.distributed.halves import HalfSweeps, ShardedFactors, ShardedUsers, UserShards
from fastals.distributed.items import Items
from fastals.distributed.sources import Sources
from fastals.kernels.rows.row import Entries
from fastals.objective import Objective
from fastals.solver.checked import Weights, check_parameters, exponents_of
from fastals.solver.features import Effects
from fastals.solver.fitting import Given
from fastals.solver.given_features import checked_features, strengths_for
from fastals.solver.half import DRAWN_ROWS, Half
from fastals.solver.half_sweep import Settings
from fastals.solver.pilot import Sample, exponents_for
from fastals.solver.sides import (
    Missing,
    Side,
    balanced_bounds,
    filled_and_whole,
    regularization_of_rows,
    shared_regularization,
)
from fastals.solver.sweeps import Training

ATTEMPTS = 5  # to load all shards without the loss of a worker


class Census(NamedTuple):
    """What is known of the entries of all shards.

    pieces : list of references
        To a ``Piece`` each.
    counts : list of Counts
    columns : (n_items,) int64 array
        Users who have each item.
    """

    pieces: list[Reference]
    counts: Sequence[on_shard.Counts]
    columns: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Users and items."""
        return sum(count.users for count in self.counts), self.counts[0].items

    @property
    def bounds(self) -> np.ndarray:
        """Shard s has the users bounds[s] .. bounds[s + 1]."""
        return np.concatenate(([0], np.cumsum([count.users for count in self.counts]))).astype(np.int64)

    @property
    def density(self) -> float:
        """Share of the pairs that are stored; users and items without entries do not count."""
        return float(self.sum("stored") / (self.sum("filled") * int(np.count_nonzero(self.columns))))

    def sum(self, name: str) -> Any:
        """Sum of an attribute of ``Counts``, in shard order."""
        return sum(getattr(count, name) for count in self.counts)


def prepare(parameters: Any, given: Given, sources: Sources, executor: Executor) -> Training:
    """Training of a model with these parameters on the shards; its ``users`` are a ``ShardedUsers``.

    Raises
    ------
    TypeError, ValueError
        For arguments or parameters that do not fit, and for a damaged shard, whose file the message names.
    """
    settings, objective = check_parameters(parameters)
    dtype = check_dtype(parameters.dtype)
    factors = check_integer("factors", parameters.factors, 1, LARGEST_INT32)

    def loaded() -> tuple[Objective, tuple[float, float], Census, UserShards, Items]:
        with executor.placed():
            with executor.phase("load"):
                census = take_census(sources, executor, objective, exponents_of(parameters)[0])
            with executor.phase("pilot"):
                exponents = _exponents(parameters, given, executor, census)
            suited = _with_alpha(objective, census) if is_auto(parameters.alpha) else objective
            with executor.phase("weigh"):
                plan, weights = _planned(census, suited, exponents, given, (dtype, factors))
                if is_auto(parameters.regularization):
                    plan = _with_regularization(census, executor, plan, weights)
                users, known = _weighed(census, executor, plan, weights, settings)
            executor.settle([*census.pieces, *users.references])
        return plan.objective, exponents, census, users, known

    with executor.phase("warm"):
        executor.warm("warm", on_shard.warm, objective, dtype.str, factors, settings)
        if given.user_features is not None:
            executor.warm("warm-features", warm_features, dtype.str, factors)
    for attempt in range(ATTEMPTS):
        try:
            objective, exponents, census, users, known = loaded()
            break
        except WorkersChangedError:
            if attempt == ATTEMPTS - 1:
                raise
    features = checked_features(given.user_features, given.item_features, census.shape)
    P, Q = _given_factors(given, census.shape, factors, dtype)
    shape = census.shape[0], factors
    starts = _starts(parameters, census.bounds, P, given, factors, dtype)
    references = executor.map("users-start", on_shard.first_factors, users.references, starts)
    effects, strengths = _effects(parameters, features, executor, users, known.side, (objective, settings))
    known = known._replace(effects=effects[1])
    user_half = ShardedUsers(executor, users, ShardedFactors(references, shape, dtype), effects[0])
    item_half = Half(known.side, np.zeros((census.shape[1], factors), dtype) if Q is None else Q, effects[1])
    user_half.settled, item_half.settled = P is not None, Q is not None
    started = P is not None or Q is not None
    accelerated = not started if is_auto(parameters.acceleration) else bool(parameters.acceleration)
    way = HalfSweeps(executor, objective, user_half, item_half, known)
    training = Training(objective, settings, user_half, item_half, accelerated, way)
    training.users_first, training.feature_strengths = P is None and Q is not None, strengths
    training.exponents = exponents
    training.feature_names = (feature_names(given.user_features), feature_names(given.item_features))
    return training


def _effects(
    parameters: Any, features: tuple[Rows | None, Rows | None], executor: Executor, users: UserShards, items: Side,
    solved_by: tuple[Objective, Settings],
) -> tuple[tuple[ShardedEffects | None, Effects | None], tuple[float, float]]:  # fmt: skip
    """Effects of the features of users and items, zero to begin with, and the strengths of their penalties."""
    (of_users, of_items), (objective, settings) = features, solved_by
    parts = [np.empty(0)]
    if of_users is not None:
        parts = executor.gather(executor.map("users-lambda", on_shard.regularization_of_users, users.references))
    regularizations = np.concatenate(parts), items.regularization
    unit, factors = objective.unit, parameters.factors
    strengths = strengths_for(parameters, unit, features, regularizations)
    found: tuple[Any, ...] = (
        None
        if of_users is None
        else ShardedEffects(executor, users, of_users, regularizations[0], strengths[0] / unit, factors, settings),
        None
        if of_items is None
        else Effects(of_items, regularizations[1], strengths[1] / unit, factors, settings.num_threads),
    )
    return found, strengths


def _with_alpha(objective: Objective, census: Census) -> Objective:
    """The objective with the alpha that suits all shards."""
    return objective.with_alpha(census.density, np.float64(census.sum("size") / census.sum("stored")))


def _with_regularization(census: Census, executor: Executor, plan: on_shard.Plan, weights: Weights) -> on_shard.Plan:
    """The plan with the regularization that suits all shards."""
    objective, w = plan.objective, weights_or_alike(weights[1])
    shared = executor.share("frequencies", plan), filled_and_whole(census.columns, w)
    parts = _parts(weights[0], census.bounds)
    sums = executor.gather(executor.map("frequencies", on_shard.frequency_sums, census.pieces, *shared, parts))
    users, of_users = (sum(part) for part in zip(*sums, strict=True))
    items = objective.sums(census.columns, w, *of_users)
    return plan._replace(objective=objective.with_regularization(census.density, users, items))


def take_census(sources: Sources, executor: Executor, objective: Objective, exponent: float) -> Census:
    """Load all shards and count their entries; ValueError where they do not fit together or hold nothing."""
    pieces = executor.map("load", sources.load, *sources.arguments)
    counts = executor.gather(executor.map("count", on_shard.count, pieces, objective, exponent))
    items = {count.items for count in counts}
    if len(items) > 1:
        raise ValueError(f"chunks of user_items must have equally many columns; got {sorted(items)}")
    if not sum(count.stored for count in counts):
        raise ValueError("user_items must have at least one stored value that is not zero; got none")
    columns = executor.total("count-items", on_shard.add, on_shard.column_counts, pieces)
    return Census(pieces, counts, columns)


def _exponents(parameters: Any, given: Given, executor: Executor, census: Census) -> tuple[float, float]:
    """Exponents of missing pairs, of users and of items, as in a local fit to the same pairs."""

    def sample(step: int) -> Sample:
        firsts = [int(-begin % step) for begin in census.bounds[:-1]]
        parts = executor.gather(executor.map("sample", on_shard.sample, census.pieces, firsts, step))
        rows = joined([part.rows for part in parts], census.shape[1])
        own = [part.phi for part in parts if part.phi is not None]
        return Sample(rows, np.concatenate(own) if own else None)

    return exponents_for(parameters, given.unobserved_weights, census.sum("stored"), sample)


def _planned(
    census: Census,
    objective: Objective,
    exponents: tuple[float, float],
    given: Given,
    form: tuple[np.dtype, int],
) -> tuple[on_shard.Plan, Weights]:
    """What all shards are weighed by, and weights of missing pairs; ``form`` are dtype and number of factors."""
    v, items = weights = _weights_of_missing(given.unobserved_weights, census, exponents)
    scale = census.sum("powers") / census.sum("filled")
    extremes = min(count.smallest for count in census.counts), max(count.largest for count in census.counts)
    smallest, largest = (extreme / scale for extreme in extremes) if v is None else (v.smallest, v.largest)
    exponent = exponents[0] if given.unobserved_weights is None else 0.0
    w = None if items is None else items.array
    return on_shard.Plan(objective, form[0].str, form[1], w, exponent, scale, smallest, largest), weights


def _parts(v: Unobserved | None, bounds: np.ndarray) -> list[np.ndarray | None]:
    """Each shard's part of weights that were given."""
    return [None if v is None else v.array[slice(*ends)] for ends in itertools.pairwise(bounds)]


def _weighed(
    census: Census, executor: Executor, plan: on_shard.Plan, weights: Weights, settings: Settings
) -> tuple[UserShards, Items]:
    """All shards with their entries weighed, and the items' side."""
    objective, (v, items), bounds = plan.objective, weights, census.bounds
    shared = executor.share("plan", plan)
    shards = executor.map("weigh", on_shard.weigh, census.pieces, shared, _parts(v, bounds))
    weighed = executor.gather(executor.map("describe", on_shard.describe_weights, shards, objective))
    users = Missing(columns=weights_or_alike(items), smallest=plan.smallest, largest=plan.largest)
    _, least = regularization_of_rows(objective, 0, np.ones(1), users, users.whole(census.shape[1]))
    pairs, alike = [count.pairs for count in census.counts], v is None and not plan.exponent
    shared = shared_regularization(objective, 0, users) if alike else 0.0
    known = UserShards(shards, bounds, census.sum("stored"), census.sum("filled"), pairs, weighed, least, shared)
    extras = executor.total("weigh-items", on_shard.add_weighed, on_shard.weigh_items, shards, settings)
    whole = float(sum(shard.row_weights for shard in weighed))
    side = items_side(objective, census.columns, Missing.of(items, None), whole)
    return known, Items(side, extras, alike)


def _weights_of_missing(given: Any, census: Census, exponents: tuple[float, float]) -> Weights:
    """Weights of missing pairs: of users where they were given (else each shard has its own), and of items."""
    if given is None:
        return None, Unobserved.by_popularity(census.columns, exponents[1])
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise TypeError(f"unobserved_weights must be a pair, of users and of items; got {describe(given)}")
    return (
        Unobserved.given(given[0], "unobserved_weights of users", census.shape[0]),
        Unobserved.given(given[1], "unobserved_weights of items", census.shape[1]),
    )


def items_side(objective: Objective, counts: np.ndarray, missing: Missing, whole: float) -> Side:
    """The items' side without their entries, which are in the shards; ``whole`` is the sum of v."""
    regularization, least = regularization_of_rows(objective, 1, counts, missing, whole)
    indptr = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
    one = read_only(np.ones(1))
    entries = Entries(
        read_only(indptr), read_only(np.empty(0, np.int32)), one, one, np.float64(objective.offset), objective.shift,
        objective.missing, missing.rows, one,
    )  # fmt: skip
    shared = shared_regularization(objective, 1, missing)
    return Side(entries, regularization, least, balanced_bounds(indptr), shared)


def _given_factors(
    given: Given, shape: tuple[int, int], factors: int, dtype: np.dtype
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Factors of users and items that were given, checked."""
    users, items = given.user_factors, given.item_factors
    return (
        None if users is None else check_factors(users, "user_factors", (shape[0], factors), dtype),
        None if items is None else check_factors(items, "item_factors", (shape[1], factors), dtype),
    )


def _starts(
    parameters: Any, bounds: np.ndarray, P: np.ndarray | None, given: Given, factors: int, dtype: np.dtype
) -> list[Any]:
    """Where each shard's users start: factors given, none (zero), or where the stream of a local fit stands.

    The stream is drawn once here, so that all that is sent is its state at each shard: the factors are drawn there.
    """
    ends = list(itertools.pairwise(bounds.tolist()))
    if P is not None:
        return [P[first:last] for first, last in ends]
    random = check_random_state(parameters.random_state)
    if given.item_factors is not None:
        return [None] * len(ends)
    starts, skipped = [], np.empty((min(DRAWN_ROWS, int(bounds[-1])), factors), dtype)
    for begin, end in ends:
        starts.append(copy.deepcopy(random))
        for first in range(begin, end, DRAWN_ROWS):
            random.standard_normal(dtype=dtype, out=skipped[: min(DRAWN_ROWS, end - first)])
    return starts
