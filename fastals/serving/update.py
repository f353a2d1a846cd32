"""New interactions taken into a fitted model, for the cost of what they touch.

They are merged into the history; then the rows that they touch are solved as a sweep solves them, each side against the
other as it is by then: new users, items, users. A row's system needs the other side's Gramian and the few rows it has
entries of. The Gramian is kept and follows the rows that change,

    G' = G + sum_changed (y' y'^T - y y^T),

so that no pass is made over all factors: k^2 for each changed row, k^3 for the eigenbasis, and k^2 for each row of the
other side that is looked up. ``sweeps`` then refine all rows by whole sweeps, of the cost of a sweep of ``fit``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fastals.core.overlay import Factors
from fastals.core.rows import Rows, transposed
from fastals.core.state import State, needed
from fastals.core.validation import check_choice, check_integer, check_products, check_real, check_rows, describe
from fastals.serving.fitted import SIDES, Fitted
from fastals.solver.eigenbasis import basis_of, gramian
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
        For arguments that do not fit, or a table for a model without ids; the model is left unchanged, as after any
        error.
    FloatingPointError
        Where a row has no finite solution.
    NotFittedError
        Before ``fit``.

    Notes
    -----
    Without sweeps the cost is that of the rows touched: of few pairs in a large model a few milliseconds. Decay passes
    over the whole history. The losses of the sweeps are appended to ``loss_history``. Stored values count with the
    alpha of the fit.
    """
    check_choice("rule", news.rule, RULES)
    sweeps = check_integer("sweeps", news.sweeps, 0)
    users, items = fitted.factors(0), fitted.factors(1)
    for axis in (0, 1):
        fitted.history(axis)
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
    users = _grown(users, new.shape[0])
    items = _grown(items, new.shape[1])
    users = _solved(fitted, 0, touched[0][unknown], merged[0].taken(np.flatnonzero(unknown)), users, items)
    items = _solved(fitted, 1, touched[1], merged[1], items, users)
    users = _solved(fitted, 0, touched[0], merged[0], users, items)
    state = state.changed(history=history, user_factors=users, item_factors=items)
    if sweeps:
        state = refreshed(fitted.objective, fitted.settings, state, sweeps, fitted.parameters.acceleration is not False)
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


def _gramian(factors: Factors, num_threads: int | None) -> np.ndarray:
    """Gramian of the factors, kept with them."""

    def made() -> np.ndarray:
        return gramian(factors.array, np.zeros(factors.shape[0]), num_threads)[0]

    kept: np.ndarray = factors.derived.get("running gramian", made)
    return kept


def _grown(factors: Factors, n_rows: int) -> Factors:
    """Factors with zero rows behind them."""
    return (
        factors.replaced(np.arange(n_rows - 1, n_rows), np.zeros((1, factors.shape[1]), factors.dtype))
        if (n_rows > factors.shape[0])
        else factors
    )


def _solved(fitted: Fitted, axis: int, ids: np.ndarray, rows: Rows, own: Factors, other: Factors) -> Factors:
    """Factors of one side with the rows ``ids`` solved against the other side."""
    if not ids.size:
        return own
    objective, settings = fitted.objective, fitted.settings
    columns = np.unique(rows.indices)
    G = _gramian(other, settings.num_threads)
    basis = basis_of(other.taken(columns), G, 0.0, objective.c0, settings.num_threads)
    side = build_side(objective, rows, axis, own.dtype)
    side = replace(side, indices=np.searchsorted(columns, rows.indices).astype(np.int32))
    X = np.zeros((ids.size, own.shape[1]), own.dtype)
    solve_side(side, basis, X, objective, settings)
    check_products(X, f"the {SIDES[axis]}_factors calculated")
    before, after = own.taken(ids).astype(np.float64), X.astype(np.float64)
    G_own = _gramian(own, settings.num_threads) + (after.T @ after - before.T @ before)
    solved = own.replaced(ids, X)
    solved.derived.get("running gramian", lambda: G_own)
    return solved
