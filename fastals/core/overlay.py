"""Factors and interactions of which a few rows have changed: changes lie beside the rest and are merged now and then.

Replacing a row costs that row, not the matrix: an update copies the dictionary of changed rows, at most ``MERGED_FROM``
of them, and shares everything else with the value before it. Values are immutable, so whoever holds one keeps seeing it
whole. What is made from one (an index, an eigenbasis, the transpose) is kept with it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from fastals.core.rows import Rows, joined, transposed
from fastals.core.validation import read_only

MERGED_FROM = 1024  # changed rows: copying a dictionary of them takes some 10 microseconds


class Derived:
    """Values made from one object: each is made once, by one thread, and kept. Copies and pickles start empty."""

    def __init__(self) -> None:
        self._values: dict[Any, Any] = {}
        self._locks: dict[int, threading.RLock] = {}

    def get(self, name: Any, build: Callable[[], Any]) -> Any:
        """Return the value of a name; ``build`` makes it if there is none yet."""
        if name not in self._values:
            # A lock inherited by a fork may be held for ever, so each process has its own.
            with self._locks.setdefault(os.getpid(), threading.RLock()):
                if name not in self._values:
                    self._values[name] = build()
        return self._values[name]

    def __reduce__(self) -> tuple[type[Derived], tuple[()]]:
        return Derived, ()


class Factors:
    """Factors of one side, (rows, factors), read-only.

    Parameters
    ----------
    array : (rows, factors) array
        Not copied.
    changed : dict of int to (factors,) array, optional
        Rows that take the place of those in ``array`` or stand behind them; all others behind them are zero.
    n_rows : int, optional
        Number of rows, if it exceeds that of ``array``.

    Attributes
    ----------
    shape : (int, int)
    dtype : numpy.dtype
    derived : Derived
        What has been made from these factors.
    """

    def __init__(
        self, array: np.ndarray, changed: dict[int, np.ndarray] | None = None, n_rows: int | None = None
    ) -> None:
        self._content: tuple[np.ndarray, dict[int, np.ndarray]] = (read_only(array), changed or {})
        self.shape = (len(array) if n_rows is None else n_rows, array.shape[1])
        self.dtype, self.derived = array.dtype, Derived()

    @property
    def array(self) -> np.ndarray:
        """All rows as one read-only array; changes are merged."""
        array, changed = self._content
        if changed or len(array) < self.shape[0]:
            merged = np.zeros(self.shape, self.dtype)
            merged[: len(array)] = array
            if changed:
                merged[list(changed)] = np.stack(list(changed.values()))
            array = read_only(merged)
            self._content = array, {}
        return array

    def taken(self, ids: np.ndarray) -> np.ndarray:
        """Copy of the rows ``ids``, (ids, factors)."""
        array, changed = self._content
        if ids.size > MERGED_FROM or not (changed or len(array) < self.shape[0]):
            copied: np.ndarray = self.array[ids]
            return copied
        found = np.zeros((ids.size, self.shape[1]), self.dtype)
        for place, row in enumerate(ids.tolist()):
            if row in changed:
                found[place] = changed[row]
            elif row < len(array):
                found[place] = array[row]
        return found

    def replaced(self, ids: np.ndarray, values: np.ndarray) -> Factors:
        """Factors with ``values`` (ids, factors) as the rows ``ids``, and as many rows as these need."""
        n_rows = max(self.shape[0], int(ids.max(initial=-1)) + 1)
        array, changed = self._content
        if len(changed) + ids.size > MERGED_FROM:
            array, changed = self.array, {}
        return Factors(array, {**changed, **dict(zip(ids.tolist(), values.copy(), strict=True))}, n_rows)

    def __reduce__(self) -> tuple[type[Factors], tuple[np.ndarray]]:
        return Factors, (self.array,)


class LentFactors(Factors):
    """Factors of a training under way, which are taken from it when they are first asked for.

    Parameters
    ----------
    like : (rows, factors) array
        Of the same shape and type.
    lend : callable
        Returns the array, which the training will not write again.
    """

    def __init__(self, like: np.ndarray, lend: Callable[[], np.ndarray]) -> None:
        super().__init__(like[:0], n_rows=len(like))
        self._lend, self._lent = lend, False

    @property
    def array(self) -> np.ndarray:
        """All rows as one read-only array."""
        if not self._lent:
            self._content, self._lent = (read_only(self._lend()), {}), True
        return self._content[0]

    def taken(self, ids: np.ndarray) -> np.ndarray:
        """Copy of the rows ``ids``, (ids, factors)."""
        copied: np.ndarray = self.array[ids]
        return copied

    def replaced(self, ids: np.ndarray, values: np.ndarray) -> Factors:
        """Factors of the training's array with some rows replaced; see ``Factors``."""
        return Factors(self.array).replaced(ids, values)


class History:
    """The interactions of a model: canonical rows of its users, or of its items where items were replaced last.

    Parameters
    ----------
    rows : Rows
        Rows of the users (axis 0) or of the items (axis 1).
    axis : int
    changed : dict of int to Rows, optional
        Single rows that take the place of those in ``rows`` or stand behind them; all others behind them are empty.
    shape : (int, int), optional
        Users and items, if they exceed those of ``rows``.

    Attributes
    ----------
    shape : (int, int)
    fitted_shape : (int, int)
        Users and items before any row was replaced.
    """

    def __init__(
        self, rows: Rows, axis: int = 0, changed: dict[int, Rows] | None = None, shape: tuple[int, int] | None = None
    ) -> None:
        self._content: tuple[int, Rows, dict[int, Rows]] = (axis, rows, changed or {})
        self._mirror: tuple[Rows, dict[int, Rows]] | None = None  # the other side's rows, where they are kept too
        self.shape = self.fitted_shape = shape or (rows.shape if axis == 0 else rows.shape[::-1])
        self.derived = Derived()

    def oriented(self, axis: int) -> Rows:
        """Rows of all users (axis 0) or of all items (axis 1); changes are merged."""
        own, rows, changed = self._content
        if axis != own and self._mirror is not None:
            rows = self._merged(axis, *self._mirror)
            self._mirror = rows, {}
            return rows
        rows = self._merged(own, rows, changed)
        self._content = own, rows, {}
        return rows if axis == own else self.derived.get("transposed", lambda: transposed(rows))

    def _merged(self, axis: int, rows: Rows, changed: dict[int, Rows]) -> Rows:
        """All rows of one side, those changed among them."""
        n_rows, n_columns = self.shape[axis], self.shape[1 - axis]
        rows = rows.widened(n_columns)
        if changed or rows.shape[0] < n_rows:
            ids = np.array(list(changed), np.int64)
            rows = rows.replaced(ids, joined(list(changed.values()), n_columns), n_rows)
        return rows

    def taken(self, ids: np.ndarray, axis: int) -> Rows:
        """The rows ``ids`` of the users (axis 0) or of the items (axis 1)."""
        own, rows, changed = self._content
        if axis != own and self._mirror is not None:
            rows, changed = self._mirror
        elif axis != own:
            changed = {}
        if not changed or ids.size > MERGED_FROM:
            return self.oriented(axis).taken(ids)
        empty = Rows(np.zeros(2, np.int64), rows.indices[:0], rows.data[:0], (1, rows.shape[1]))
        single = [
            changed[row] if row in changed else rows.taken(np.array([row])) if row < rows.shape[0] else empty
            for row in ids.tolist()
        ]
        return joined(single, self.shape[1 - axis])

    def replaced(self, axis: int, ids: np.ndarray, new: Rows) -> History:
        """History with ``new`` as the rows ``ids`` (distinct) of an axis, and as many rows as these need."""
        own, rows, changed = self._content
        n_rows = max(self.shape[axis], int(ids.max(initial=-1)) + 1)
        if axis != own:
            rows, changed = self.oriented(axis), {}
        history = History(rows, axis, None, (n_rows, self.shape[1]) if axis == 0 else (self.shape[0], n_rows))
        history._content = axis, *history._overlaid(axis, rows, changed, ids, new)
        history.fitted_shape = self.fitted_shape
        return history

    def updated(self, users: tuple[np.ndarray, Rows], items: tuple[np.ndarray, Rows]) -> History:
        """History with rows of users and, in agreement with them, of items replaced: (ids, rows) of each side.

        Both sides are kept from then on, so that neither is made from the other for the sake of a few rows.
        """
        own, rows, changed = self._content
        sides = [(rows, changed), self._mirror or (self.oriented(1 - own), {})]
        shape = users[1].shape[1], items[1].shape[1]
        history = History(rows, 0, None, (shape[1], shape[0]))
        history._content = 0, *history._overlaid(0, *sides[own], *users)
        history._mirror = history._overlaid(1, *sides[1 - own], *items)
        history.fitted_shape = self.fitted_shape
        return history

    def scaled(self, factor: float) -> History:
        """History with all values multiplied; what becomes zero is dropped."""
        history = History(self.oriented(0).scaled(factor))
        history.fitted_shape = self.fitted_shape
        return history

    def _overlaid(
        self, axis: int, rows: Rows, changed: dict[int, Rows], ids: np.ndarray, new: Rows
    ) -> tuple[Rows, dict[int, Rows]]:
        """Rows of one side and what is changed in them, with ``new`` as the rows ``ids``; many changes are merged."""
        if len(changed) + ids.size > MERGED_FROM:
            rows, changed = self._merged(axis, rows, changed), {}
        if ids.size > MERGED_FROM:
            return rows.replaced(ids, new, self.shape[axis]), {}
        single = (new.taken(np.array([place])) for place in range(ids.size))
        return rows, {**changed, **dict(zip(ids.tolist(), single, strict=True))}

    def __reduce__(self) -> tuple[type[History], tuple[Rows], dict[str, tuple[int, int]]]:
        return History, (self.oriented(0).in_memory(),), {"fitted_shape": self.fitted_shape}
