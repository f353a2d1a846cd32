"""New interactions taken into a fitted model, for the cost of what they touch.

They are merged into the history; then the rows that they touch are solved as a sweep solves them, each side against the
other as it is by then: new users, items, users. A row's system needs the other side's Gramian and the few rows it has
entries of. The Gramian is kept and follows the rows that change,

    G' = G + sum_changed (w' y' y'^T - w y y^T),

so that no pass is made over all factors: k^2 for each changed row, k^3 for the eigenbasis, and k^2 for each row of the
other side that is looked up. ``sweeps`` then refine all rows by whole sweeps, of the cost of a sweep of ``fit``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fastals.core.features import Features
from fastals.core.overlay import Factors
from fastals.core.rows import Rows, transposed
from fastals.core.state import State, needed
from fastals.core.unobserved import Unobserved, weights_or_alike
from fastals.core.validation import (
    check_choice,
    check_integer,
    check_products,
    check_real,
    check_rows,
    describe,
    read_only,
)
from fastals.serving.fitted import SIDES, Fitted
from fastals.solver.eigenbasis import basis_of, gramian
from fastals.solver.features import predictions
from fastals.solver.fitting import refreshed
from fastals.solver.half_sweep import solve_side
from fastals.solver.sides import build_side
from fastals.tables.growth import grown, renumbered
from fastals.tables.interactions import Interactions

RULES = ("sum", "replace", "decay")


class News(NamedTuple):
    """The arguments of ``update``, as they come."""

    user_items: Any
    rule: Any
    half_life: Any
    elapsed: Any
    sweeps: Any
    interactions: Any


def update(fitted: Fitted, news: News) -> State:
    """Take in new interactions: merge them into the history, solve the rows they touch, and refresh the rest.

    Parameters
    ----------
    user_items : sparse matrix (n, m), or Interactions
        What is new, users in rows. Positions are those of the model; rows and columns beyond its last ones are new
        users and items, and fewer than it has will do. Of a table the ids count: those that the model does not know
        are appended to its own, which it keeps.
    rule : {"sum", "replace", "decay"}
        How a value meets the one that is stored: added to it, in its place, or added after all stored values have
        faded to r 2^(-elapsed / half_life). A sum of zero is no observation and is dropped.
    half_life, elapsed : float, optional
        With "decay": the time in which a value falls to its half, and the time since the last update.
    sweeps : int
        Whole sweeps after that. With 0 only rows that have new entries change.
    interactions : Interactions, optional
        The model's ids, where it was not loaded with them and ``user_items`` is a table.

    Returns
    -------
    self

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit, a matrix of the model's shape transposed, or a table for a model without ids; the
        model is left unchanged, as after any error.
    FloatingPointError
        Where a row has no finite solution.
    NotFittedError
        Before ``fit``.

    Notes
    -----
    Without sweeps the cost is that of the rows touched: of few pairs in a large model a few milliseconds. Decay passes
    over the whole history. The losses of the sweeps are appended to ``loss_history``. Stored values count with the
    alpha of the fit, and missing pairs of the rows touched with the weights that ``unobserved_exponent`` gives them in
    the scale of the fit. New users and items have no features; ``partial_fit_users`` takes them.
    """
    check_choice("rule", news.rule, RULES)
    sweeps = check_integer("sweeps", news.sweeps, 0)
    users, items = fitted.matching_factors()
    for axis in (0, 1):
        fitted.history(axis)
        fitted.features(axis)
    fade = _fade(news)
    new, ids = _new_rows(fitted, news)
    state = fitted.state
    if fade != 1:
        state = state.changed(history=needed(state.history).scaled(fade))
    touched = tuple(_touched(rows, side.shape[0]) for rows, side in ((new, users), (transposed(new), items)))
    merged = tuple(
        merged_rows(_stored(state, axis, touched[axis], rows), rows.taken(touched[axis]), news.rule == "replace")
        for axis, rows in enumerate((new, transposed(new)))
    )
    history = needed(state.history).updated((touched[0], merged[0]), (touched[1], merged[1]))
    unknown = touched[0] >= users.shape[0]
    work = _Work(fitted, state.changed(history=history), touched, merged)
    work.solve(0, np.flatnonzero(unknown))
    work.solve(1, np.arange(touched[1].size))
    work.solve(0, np.arange(touched[0].size))
    state = work.finished()
    if sweeps:
        state = refreshed(fitted.parameters, fitted.objective, fitted.settings, state, sweeps)
    if ids is not None:
        state = state.changed(interactions=renumbered(history.oriented(0), *ids))
    elif state.interactions is not None:
        known = state.interactions
        same = history.shape == (known.user_ids.size, known.item_ids.size)
        kept = renumbered(history.oriented(0), known.user_ids, known.item_ids) if same else None
        state = state.changed(interactions=kept)
    return state


def merged_rows(old: Rows, new: Rows, replace_old: bool) -> Rows:
    """Canonical rows of two, of the same shape: sums in float64, or the new value where there is one."""
    width = old.shape[1]
    numbers, keys, values = [], [], []
    for rows in (old, new):
        numbers.append(np.repeat(np.arange(rows.shape[0]), rows.counts))
        keys.append(numbers[-1] * width + rows.indices)
        values.append(np.broadcast_to(rows.data, rows.indices.shape).astype(np.float64))
    key, value = np.concatenate(keys), np.concatenate(values)
    order = np.argsort(key, kind="stable")  # of equal pairs the old one first
    key, value = key[order], value[order]
    first = np.flatnonzero(np.concatenate((np.ones(min(key.size, 1), bool), key[1:] != key[:-1])))
    if key.size and not replace_old:
        value = np.add.reduceat(value, first)
    elif key.size:
        value = value[np.append(first[1:], key.size) - 1]
    key = key[first]
    key, value = key[value != 0], value[value != 0]
    indptr = np.concatenate(([0], np.cumsum(np.bincount(key // width, minlength=old.shape[0])))).astype(np.int64)
    exact = np.result_type(old.data, new.data)
    return Rows(indptr, (key % width).astype(np.int32), value.astype(exact), old.shape).compact()


def _fade(news: News) -> float:
    """What stored values are multiplied by."""
    if news.rule != "decay":
        for name, value in (("half_life", news.half_life), ("elapsed", news.elapsed)):
            if value is not None:
                raise ValueError(f"{name} goes with rule='decay'; got rule={news.rule!r}")
        return 1.0
    half_life = check_real("half_life", news.half_life, positive=True)
    return float(2.0 ** -(check_real("elapsed", news.elapsed) / half_life))


def _new_rows(fitted: Fitted, news: News) -> tuple[Rows, tuple[np.ndarray, np.ndarray] | None]:
    """What is new as rows of at least the model's shape, and the ids of all users and items where it is a table."""
    shape = needed(fitted.state.history).shape
    if not isinstance(news.user_items, Interactions):
        if news.interactions is not None:
            raise ValueError("interactions goes with a table as user_items; got a matrix")
        rows, _ = check_rows(news.user_items, "user_items")
        if rows.shape == shape[::-1] != shape:  # as positions beyond the last ones it would make the model grow
            raise ValueError(
                f"user_items must have users in rows; got shape {rows.shape} for a model of shape {shape}: it looks "
                "transposed"
            )
        larger = tuple(max(sizes) for sizes in zip(rows.shape, shape, strict=True))
        indptr = np.concatenate((rows.indptr, np.full(larger[0] - rows.shape[0], rows.indptr[-1])))
        return Rows(indptr, rows.indices, rows.data, (larger[0], larger[1])), None
    known = fitted.state.interactions if news.interactions is None else news.interactions
    if not isinstance(known, Interactions):
        raise ValueError(
            "user_items must be a matrix for a model that has no ids, or interactions must give them; "
            f"got a table and interactions={describe(news.interactions)}"
        )
    if known.user_items.shape != shape:
        raise ValueError(f"interactions must have the model's shape {shape}; got {known.user_items.shape}")
    rows, *ids = grown(known, news.user_items)
    return rows, (ids[0], ids[1])


def _touched(rows: Rows, known: int) -> np.ndarray:
    """Rows that have new entries, and rows that are new."""
    return np.union1d(np.flatnonzero(rows.counts), np.arange(known, rows.shape[0]))


def _stored(state: State, axis: int, ids: np.ndarray, new: Rows) -> Rows:
    """The history's rows ``ids`` as wide as the new ones; empty ones for those that are new."""
    history = needed(state.history)
    known = ids[ids < history.shape[axis]]
    rows = history.taken(known, axis)
    indptr = np.concatenate((rows.indptr, np.full(ids.size - known.size, rows.indptr[-1])))
    return Rows(indptr, rows.indices, rows.data, (ids.size, new.shape[1]))


class _Work:
    """Factors, Gramians, weights and features of both sides while touched rows are solved."""

    def __init__(self, fitted: Fitted, state: State, ids: tuple[np.ndarray, ...], merged: tuple[Rows, ...]) -> None:
        self.ids, self.merged, self.settings = ids, merged, fitted.settings
        shape = needed(state.history).shape
        self.factors = [_grown(fitted.factors(axis), shape[axis]) for axis in (0, 1)]
        weights, self.gramians = [], []
        for axis in (0, 1):
            own, factors = state.unobserved[axis], fitted.factors(axis)
            G = _gramian(factors, weights_or_alike(own), self.settings.num_threads)
            after = None if own is None else own.replaced(ids[axis], merged[axis].counts)
            known = ids[axis][ids[axis] < factors.shape[0]]
            change = _weights(after, known) - _weights(own, known)
            rows = factors.taken(known).astype(np.float64)
            self.gramians.append(G if own is None else G + (rows * change).T @ rows)
            weights.append(after)
        features = [_with_rows(side, count) for side, count in zip(state.features, shape, strict=True)]
        state = state.changed(
            user_factors=self.factors[0], item_factors=self.factors[1], unobserved=(weights[0], weights[1]),
            features=(features[0], features[1]),
        )  # fmt: skip
        self.fitted = Fitted(fitted.parameters, state)

    def solve(self, axis: int, places: np.ndarray) -> None:
        """Solve the touched rows of one side at ``places`` among those touched."""
        if not places.size:
            return
        ids, rows, own, other = self.ids[axis][places], self.merged[axis].taken(places), self.factors[axis], 1 - axis
        objective, unobserved, threads = self.fitted.objective, self.fitted.state.unobserved, self.settings.num_threads
        columns = np.unique(rows.indices)
        side = build_side(objective, rows, axis, own.dtype, self.fitted.missing(axis, ids, rows))
        known, features, prior = self.fitted.features_of(axis, ids), self.fitted.state.features[axis], None
        fixed, shared = self.factors[other].taken(columns), side.shared_with(features)
        basis = basis_of(fixed, self.gramians[other], 0.0, objective.c0, threads, shared=shared)
        # Of the other side only the rows that are looked up are at hand, under numbers of their own.
        entries = side.entries._replace(indices=read_only(np.searchsorted(columns, rows.indices).astype(np.int32)))
        if unobserved[other] is not None:
            entries = entries._replace(column_weights=read_only(_weights(unobserved[other], columns)[:, 0].copy()))
        if known is not None and features is not None:
            prior = predictions(known, features.effects, basis, threads)
        X = np.zeros((ids.size, own.shape[1]), own.dtype)
        solve_side(replace(side, entries=entries), basis, X, objective, self.settings, prior=prior)
        check_products(X, f"the {SIDES[axis]}_factors calculated")
        before, after, w = own.taken(ids).astype(np.float64), X.astype(np.float64), _weights(unobserved[axis], ids)
        self.gramians[axis] = self.gramians[axis] + ((after * w).T @ after - (before * w).T @ before)
        self.factors[axis] = own.replaced(ids, X)

    def finished(self) -> State:
        """The state with what has been solved, and its Gramians kept."""
        for factors, G in zip(self.factors, self.gramians, strict=True):
            factors.derived.get("running gramian", G.copy)
        users, items = self.factors
        return self.fitted.state.changed(user_factors=users, item_factors=items)


def _weights(unobserved: Unobserved | None, ids: np.ndarray) -> np.ndarray:
    """Weights of the missing pairs of rows, (ids, 1)."""
    return np.ones((ids.size, 1)) if unobserved is None else unobserved.weights.taken(ids)


def _gramian(factors: Factors, weights: np.ndarray, num_threads: int | None) -> np.ndarray:
    """Gramian of the factors, weighted as their missing pairs are, kept with them."""

    def made() -> np.ndarray:
        return gramian(factors.array, np.zeros(factors.shape[0]), num_threads, weights)[0]

    kept: np.ndarray = factors.derived.get("running gramian", made)
    return kept


def _grown(factors: Factors, n_rows: int) -> Factors:
    """Factors with zero rows behind them."""
    if n_rows <= factors.shape[0]:
        return factors
    return factors.replaced(np.array([n_rows - 1]), np.zeros((1, factors.shape[1]), factors.dtype))


def _with_rows(features: Features | None, n_rows: int) -> Features | None:
    """Features with rows behind them that have none."""
    if features is None or n_rows <= features.rows.shape[0]:
        return features
    empty = Rows(np.zeros(2, np.int64), np.empty(0, np.int32), np.ones(1), (1, features.n_features))
    return features._replace(rows=features.rows.replaced(0, np.array([n_rows - 1]), empty))
