"""Both sides of the data, ready for the solver: weights, preferences, regularization, ranges of equal cost."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fastals.core.rows import Rows, transposed_entries
from fastals.core.unobserved import ALIKE, Unobserved, weights_or_alike
from fastals.core.validation import as_type, largest_factor, read_only
from fastals.kernels.rows.row import Entries
from fastals.objective import CHUNK, Objective

RANGES = 1024  # of rows, by cost: threads take every n-th, and the more the more even are their shares
LEAST_ROWS = 32  # in a range on average: solutions are rotated in blocks of eight
ROW_COST = 16  # what a row costs besides its entries, in entries


@dataclass(frozen=True)
class Side:
    """One side's rows, ready to be solved: their entries as the kernels take them, regularization, work ranges.

    ``least_regularization`` is the least lambda / v that a row with an entry can have: it depends on the model alone,
    so that a row is solved alike in training and in any fold-in. ``shared_regularization`` is lambda where the model
    gives all rows the same and their missing pairs weigh 1, else 0.
    """

    entries: Entries
    regularization: np.ndarray
    least_regularization: float
    bounds: np.ndarray
    shared_regularization: float = 0.0

    def __sizeof__(self) -> int:
        """Bytes of the arrays, which those who move a side ask for."""
        arrays = (*self.entries, self.regularization, self.bounds)
        return sum(int(getattr(array, "nbytes", 0)) for array in arrays)

    def shared_with(self, features: object) -> float:
        """``shared_regularization``, and 0 where rows have features: lambda then pulls them to what these predict."""
        return self.shared_regularization if features is None else 0.0

    @property
    def indptr(self) -> np.ndarray:
        """Row pointers, (n_rows + 1,) int64."""
        indptr: np.ndarray = self.entries.indptr
        return indptr

    @property
    def indices(self) -> np.ndarray:
        """Columns of the entries, (nnz,)."""
        indices: np.ndarray = self.entries.indices
        return indices


class Missing(NamedTuple):
    """Weights of the pairs of one side that are not stored: v of its rows and w of its columns, (n,) or ALIKE.

    ``smallest`` and ``largest`` are those of v at the fit, of all rows of the model; ``sum_and_largest`` is that of w,
    where it is known beforehand.
    """

    rows: np.ndarray = ALIKE
    columns: np.ndarray = ALIKE
    smallest: float = 1.0
    largest: float = 1.0
    sum_and_largest: tuple[float, float] | None = None

    @classmethod
    def of(cls, own: Unobserved | None, other: Unobserved | None, rows: np.ndarray | None = None) -> Missing:
        """Of a side's weights and the other's; ``rows`` are chosen rows' weights in the place of all."""
        columns, of_columns = weights_or_alike(other), None if other is None else other.sum_and_largest
        if own is None:
            return cls(columns=columns, sum_and_largest=of_columns)
        return cls(own.array if rows is None else read_only(rows), columns, own.smallest, own.largest, of_columns)

    def total(self, n_columns: int) -> np.ndarray:
        """v_u sum w of every row: the columns' number where all weigh 1."""
        total: np.ndarray = self.rows * self.whole(n_columns)
        return total

    def whole(self, n_columns: int) -> float:
        """Sum w of all columns."""
        if self.columns is ALIKE:
            return n_columns
        return float(self.columns.sum()) if self.sum_and_largest is None else self.sum_and_largest[0]

    def heaviest(self) -> float:
        """The largest v w."""
        rows = max(self.largest, float(self.rows[0] if self.rows.size == 1 else self.rows.max(initial=0)))
        if self.columns is ALIKE:
            return rows
        return rows * (float(self.columns.max()) if self.sum_and_largest is None else self.sum_and_largest[1])


def frequencies(
    objective: Objective, rows: Rows, unobserved: tuple[Unobserved | None, Unobserved | None]
) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies of all users and of all items, (n_users,) and (n_items,); see ``Objective.frequency``."""
    users, items = unobserved
    return (
        objective.frequency(rows.counts, Missing.of(users, items).total(rows.shape[1])),
        objective.frequency(rows.column_counts, Missing.of(items, users).total(rows.shape[0])),
    )


def sums_of_frequencies(
    objective: Objective, rows: Rows, unobserved: tuple[Unobserved | None, Unobserved | None]
) -> tuple[np.ndarray, np.ndarray]:
    """``Objective.sums`` of all users and of all items."""
    counts, weights = (rows.counts, rows.column_counts), [weights_or_alike(side) for side in unobserved]
    users, items = (filled_and_whole(*side) for side in zip(counts, weights, strict=True))
    return objective.sums(counts[0], weights[0], *items), objective.sums(counts[1], weights[1], *users)


def filled_and_whole(counts: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Sums of the weights of rows with entries, and of all; ``weights`` are (n,) or ALIKE."""
    if weights is ALIKE:
        return int(np.count_nonzero(counts)), counts.size
    return float(weights[counts > 0].sum()), float(weights.sum())


def loss_of_zero(side: Side, objective: Objective) -> float:
    """The loss where all factors are zero: the sum of c phi^2 (Rendle's: w phi^2) over the stored pairs, float64."""
    _, indices, weight, preference, offset = side.entries[:5]
    if weight.size == preference.size == 1:
        return objective.unit * indices.size * float((weight[0] + offset) * preference[0] * preference[0])
    total = 0.0
    for first in range(0, indices.size, CHUNK):
        w, phi = (array if array.size == 1 else array[first : first + CHUNK] for array in (weight, preference))
        total += float(np.sum((w + offset) * phi * phi, dtype=np.float64))
    return objective.unit * total


def balanced_bounds(indptr: np.ndarray) -> np.ndarray:
    """Row numbers that divide CSR rows into at most RANGES ranges of about equal cost, int64."""
    if indptr.size - 1 < 2 * LEAST_ROWS:
        return np.arange(0, indptr.size, max(indptr.size - 1, 1), dtype=np.int64)
    cost = indptr + ROW_COST * np.arange(indptr.size, dtype=np.int64)
    ranges = min(RANGES, max((indptr.size - 1) // LEAST_ROWS, 1))
    goals = np.linspace(0, cost[-1], ranges + 1)
    bounds = np.searchsorted(cost, goals).astype(np.int64)
    bounds[0], bounds[-1] = 0, indptr.size - 1
    return np.unique(bounds)


def even_bounds(count: int, ranges: int = 1024) -> np.ndarray:
    """Row numbers that divide ``count`` rows into at most ``ranges`` equal ranges, int64."""
    if count == 0:
        return np.zeros(1, np.int64)
    ranges = min(ranges, count)
    return np.arange(ranges + 1, dtype=np.int64) * count // ranges


def build_side(objective: Objective, rows: Rows, axis: int, dtype: np.dtype, missing: Missing | None = None) -> Side:
    """One side of canonical rows: the users' (axis 0) or the items'."""
    weight = objective.weight(rows.data, dtype, rows.room)
    preference = objective.preference(rows.data, dtype, rows.room)
    return _side(objective, rows, axis, weight, preference, missing or Missing())


def build_sides(
    objective: Objective,
    rows: Rows,
    phi: np.ndarray | None,
    dtype: np.dtype,
    unobserved: tuple[Unobserved | None, Unobserved | None] = (None, None),
) -> tuple[Side, Side]:
    """Users' and items' sides of canonical rows (and of separate preferences, if there are any).

    Of rows on a disk the transpose is there already, and what is weighed goes to the disk, too: written once and then
    read like the indices, it costs no sweep anything, where weighing anew would cost each a logarithm for each pair.
    """
    users, items = unobserved
    if rows.disk is not None and rows.disk.columns is not None and phi is None:
        return (
            build_side(objective, rows, 0, dtype, Missing.of(users, items)),
            build_side(objective, rows.disk.columns, 1, dtype, Missing.of(items, users)),
        )
    weight = objective.weight(rows.data, dtype)
    preference = objective.preference(rows.data, dtype) if phi is None else as_type(phi, dtype, "preference")
    indptr, indices, column_weight = transposed_entries(rows, weight)
    columns = Rows(indptr, indices, rows.data[:1], rows.shape[::-1])
    column_preference = preference if preference.size == 1 else transposed_entries(rows, preference)[2]
    return (
        _side(objective, rows, 0, weight, preference, Missing.of(users, items)),
        _side(objective, columns, 1, column_weight, column_preference, Missing.of(items, users)),
    )


def _side(
    objective: Objective, rows: Rows, axis: int, weight: np.ndarray, preference: np.ndarray, missing: Missing
) -> Side:
    _check_largest(objective, missing, weight.dtype)
    regularization, least = regularization_of_rows(objective, axis, rows.counts, missing, missing.whole(rows.shape[1]))
    entries = Entries(
        read_only(rows.indptr),
        read_only(rows.indices),
        read_only(weight),
        read_only(preference),
        weight.dtype.type(objective.offset),
        objective.shift,
        objective.missing,
        missing.rows,
        missing.columns,
    )
    shared = shared_regularization(objective, axis, missing)
    return Side(entries, regularization, least, balanced_bounds(rows.indptr), shared)


def shared_regularization(objective: Objective, axis: int, missing: Missing) -> float:
    """lambda of the users (axis 0) or the items where all have the same and their missing pairs weigh 1, else 0."""
    if objective.regularization_exponent or missing.rows is not ALIKE:
        return 0.0
    return (objective.user_regularization, objective.item_regularization)[axis] / objective.unit


def regularization_of_rows(
    objective: Objective, axis: int, counts: np.ndarray, missing: Missing, whole: float
) -> tuple[np.ndarray, float]:
    """lambda of rows of the users (axis 0) or the items with so many entries, and the least lambda / v of the model.

    ``whole`` is the sum of w over all columns.
    """
    strength = (objective.user_regularization, objective.item_regularization)[axis]
    if counts.size == 1:
        weight = float(missing.rows[0]) * whole
        regularization = np.array([_regularization_of_one(objective, strength, int(counts[0]), weight)])
    else:
        regularization = objective.regularization_of(strength, counts, missing.rows * whole)
    return regularization, _least_regularization(objective, strength, missing.smallest, missing.largest, whole)


@functools.lru_cache(maxsize=4096)
def _regularization_of_one(objective: Objective, strength: float, stored: int, missing: float) -> float:
    """``Objective.regularization_of`` of a single row, bit for bit; kept, as requests are of much the same lengths."""
    return float(objective.regularization_of(strength, np.array([stored]), np.array([missing]))[0])


@functools.lru_cache(maxsize=64)
def _least_regularization(
    objective: Objective, strength: float, smallest: float, largest: float, whole: float
) -> float:
    """Least lambda / v of a row with one entry whose v lies between the smallest and the largest; kept for single rows.

    (1 + a v)^e / v falls as v rises, up to v = 1 / (a (e - 1)) if e > 1, and rises from there on.
    """
    slope = objective.unobserved_weight * whole * (objective.regularization_exponent - 1)
    at = largest if slope <= 0 else min(max(1 / slope, smallest), largest)
    return float(objective.regularization_of(strength, 1, at * whole)) / at


def _check_largest(objective: Objective, missing: Missing, dtype: np.dtype) -> None:
    """ValueError where c0 v w is so large that squares of residuals overflow."""
    largest, limit = objective.c0 * missing.heaviest(), largest_factor((1,), dtype)
    if not largest < limit:
        raise ValueError(
            f"unobserved_weights times unobserved_weight must stay below {limit * objective.unit:.3g} in {dtype}; "
            f"got up to {largest * objective.unit:.3g}"
        )
