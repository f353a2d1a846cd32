"""Both sides of the data, ready for the solver: weights, preferences, regularisation, ranges of equal cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastals.core.rows import Rows, transposed_entries
from fastals.core.validation import as_type, read_only
from fastals.kernels.rows.row import Entries
from fastals.objective import Objective

RANGES = 1024  # of rows, by cost: threads take every n-th, and the more the more even are their shares
LEAST_ROWS = 32  # in a range on average: solutions are rotated in blocks of eight
ROW_COST = 16  # what a row costs besides its entries, in entries


@dataclass(frozen=True)
class Side:
    """One side's rows, ready to be solved: structure, weights, preferences, regularisation, work ranges.

    ``least_regularization`` is the least lambda that a row with an entry can have: it depends on the objective and the
    other side alone, so that a row is solved alike in training and in any fold-in.
    """

    indptr: np.ndarray
    indices: np.ndarray
    weight: np.ndarray
    preference: np.ndarray
    shift: np.floating
    regularization: np.ndarray
    least_regularization: float
    bounds: np.ndarray

    @property
    def entries(self) -> Entries:
        """The stored pairs as the kernels take them: read-only, as those on a disk are, so that all are of one type."""
        indptr, indices = read_only(self.indptr), read_only(self.indices)
        return Entries(indptr, indices, read_only(self.weight), read_only(self.preference), self.shift)


def balanced_bounds(indptr: np.ndarray) -> np.ndarray:
    """Row numbers that divide CSR rows into at most RANGES ranges of about equal cost, int64."""
    cost = indptr + ROW_COST * np.arange(indptr.size, dtype=np.int64)
    ranges = min(RANGES, max((indptr.size - 1) // LEAST_ROWS, 1))
    goals = np.linspace(0, cost[-1], ranges + 1)
    bounds = np.searchsorted(cost, goals).astype(np.int64)
    bounds[0], bounds[-1] = 0, indptr.size - 1
    return np.unique(bounds)


def even_bounds(count: int, ranges: int = 1024) -> np.ndarray:
    """Row numbers that divide ``count`` rows into at most ``ranges`` equal ranges, int64."""
    return np.unique(np.linspace(0, count, min(ranges, max(count, 1)) + 1).astype(np.int64))


def build_side(objective: Objective, rows: Rows, axis: int, dtype: np.dtype) -> Side:
    """One side of canonical rows: the users' (axis 0) or the items'."""
    weight = objective.weight(rows.data, dtype, rows.room)
    preference = objective.preference(rows.data, dtype, rows.room)
    return _side(objective, rows, axis, weight, preference)


def build_sides(objective: Objective, rows: Rows, phi: np.ndarray | None, dtype: np.dtype) -> tuple[Side, Side]:
    """Users' and items' sides of canonical rows (and of separate preferences, if there are any).

    Of rows on a disk the transpose is there already, and what is weighed goes to the disk, too: written once and then
    read like the indices, it costs no sweep anything, where weighing anew would cost each a logarithm for each pair.
    """
    if rows.disk is not None and rows.disk.columns is not None and phi is None:
        return build_side(objective, rows, 0, dtype), build_side(objective, rows.disk.columns, 1, dtype)
    weight = objective.weight(rows.data, dtype)
    preference = objective.preference(rows.data, dtype) if phi is None else as_type(phi, dtype, "preference")
    indptr, indices, column_weight = transposed_entries(rows, weight)
    columns = Rows(indptr, indices, rows.data[:1], rows.shape[::-1])
    column_preference = preference if preference.size == 1 else transposed_entries(rows, preference)[2]
    return (
        _side(objective, rows, 0, weight, preference),
        _side(objective, columns, 1, column_weight, column_preference),
    )


def _side(objective: Objective, rows: Rows, axis: int, weight: np.ndarray, preference: np.ndarray) -> Side:
    strength = (objective.user_regularization, objective.item_regularization)[axis]
    regularization = objective.regularization_of(strength, rows.counts, rows.shape[1])
    least = objective.regularization_of(strength, 1, rows.shape[1])
    bounds, shift = balanced_bounds(rows.indptr), weight.dtype.type(objective.shift)
    return Side(rows.indptr, rows.indices, weight, preference, shift, regularization, float(least), bounds)
