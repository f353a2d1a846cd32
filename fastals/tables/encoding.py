"""Columns of a table as features: what each learns from the rows it is made from, and how it encodes any rows.

A column becomes a group of features, and in every row the group's features together have length 1 (of a number: on
average of the squares), or are all zero where nothing is known. So a title of ten words counts as much as one genre.

numbers
    (x - mean) / standard deviation.
categories
    One feature a category, 1 for that of the row.
lists
    One feature a tag, 1 / sqrt(m) for each of the m known tags of the row.
text
    Counts of words, hashed into a fixed number of features, scaled to length 1. The sign of a word's count comes from
    its hash, too, so that words that share a feature add nothing on average (Weinberger et al., "Feature Hashing for
    Large Scale Multitask Learning", ICML 2009). The hash is CRC-32, which is the same everywhere.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp

from fastals.core.safe_open import brief

_WORD = re.compile(r"\w+")


class Encoding(Protocol):
    """A column's way to become features."""

    @property
    def column(self) -> str:
        """Name of the column."""
        ...

    @property
    def names(self) -> list[str]:
        """Names of the features."""
        ...

    def encoded(self, cells: Sequence[Any]) -> sp.csr_array:
        """Features (n, d) of the column's cells in n rows; a cell that is None is missing."""
        ...


@dataclass(frozen=True)
class Numbers:
    """A column of numbers."""

    column: str
    mean: float
    deviation: float

    @classmethod
    def learnt(cls, column: str, cells: Sequence[Any]) -> Numbers:
        """From all numbers that there are; a constant column, which says nothing, becomes zeros."""
        known = numbers_of(column, cells)
        known = known[~np.isnan(known)]
        deviation = float(known.std()) if known.size else 0.0
        return cls(column, float(known.mean()) if known.size else 0.0, deviation)

    @property
    def names(self) -> list[str]:
        """The column's."""
        return [self.column]

    def encoded(self, cells: Sequence[Any]) -> sp.csr_array:
        """Standardised, (n, 1)."""
        numbers = numbers_of(self.column, cells)
        standardised = (numbers - self.mean) / self.deviation if self.deviation > 0 else np.zeros(numbers.shape)
        return sp.csr_array(np.nan_to_num(standardised, nan=0.0)[:, None])


@dataclass(frozen=True)
class Labels:
    """A column of categories, or of lists of tags where there is a ``separator`` of those in one text."""

    column: str
    labels: tuple[str, ...]
    separator: str | None = None

    @classmethod
    def learnt(cls, column: str, cells: Sequence[Any], separator: str | None = None) -> Labels:
        """All labels that there are, sorted."""
        found = {label for cell in cells for label in labels_of(column, cell, separator)}
        return cls(column, tuple(sorted(found)), separator)

    @property
    def names(self) -> list[str]:
        """``column=label``."""
        return [f"{self.column}={label}" for label in self.labels]

    def encoded(self, cells: Sequence[Any]) -> sp.csr_array:
        """Rows of length 1, (n, number of labels); labels that were not learnt count for nothing."""
        position = {label: number for number, label in enumerate(self.labels)}

        def row(cell: Any) -> Iterable[tuple[int, float]]:
            of_cell = labels_of(self.column, cell, self.separator)
            return [(position[label], 1.0) for label in of_cell if label in position]

        return _unit_rows(map(row, cells), len(cells), len(self.labels))


@dataclass(frozen=True)
class Words:
    """A column of text, hashed into ``width`` features."""

    column: str
    width: int

    @property
    def names(self) -> list[str]:
        """``column#number``."""
        return [f"{self.column}#{number}" for number in range(self.width)]

    def encoded(self, cells: Sequence[Any]) -> sp.csr_array:
        """Rows of length 1, (n, width)."""

        def row(cell: Any) -> Iterable[tuple[int, float]]:
            counts: dict[int, float] = {}
            for word in _WORD.findall("" if cell is None else str(cell).casefold()):
                hashed = zlib.crc32(word.encode("utf-8", "surrogatepass"))
                feature = hashed % self.width
                counts[feature] = counts.get(feature, 0.0) + (1.0 if hashed < 2**31 else -1.0)
            return counts.items()

        return _unit_rows(map(row, cells), len(cells), self.width)


def numbers_of(column: str, cells: Sequence[Any]) -> np.ndarray:
    """Cells as (n,) float64, NaN where they are missing.

    Raises
    ------
    ValueError
        For a cell that is no finite number, nor text of one.
    """
    numbers = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        if is_missing(cell):
            continue
        try:
            numbers[row] = float(cell)
        except (TypeError, ValueError, OverflowError):
            numbers[row] = np.inf
        if not np.isfinite(numbers[row]):
            raise ValueError(f"column {column!r} has {brief(repr(cell))} in row {row}, wanted a finite number")
    return numbers


def labels_of(column: str, cell: Any, separator: str | None) -> list[str]:
    """Labels of a cell, each once: of a category, or with a separator of a list, in one text or in a sequence.

    Raises
    ------
    TypeError
        For a cell that is a sequence where a category is wanted, or neither text nor a sequence where a list is.
    """
    if is_missing(cell):
        return []
    sequence = isinstance(cell, (list, tuple, set, frozenset, np.ndarray))
    if separator is None:
        if sequence:
            raise TypeError(f"column {column!r} has the list {brief(repr(cell))}, wanted a category; name it in lists")
        return [label(cell)]
    if not sequence and not isinstance(cell, str):
        raise TypeError(f"column {column!r} has {brief(repr(cell))}, wanted lists, or text with {separator!r} between")
    tags = cell if sequence else cell.split(separator)
    found = (label(tag) for tag in tags if not is_missing(tag))
    return list(dict.fromkeys(tag for tag in found if tag))


def label(cell: Any) -> str:
    """A category or an id as text; whole floats, which integers become where some are missing, as integers."""
    if isinstance(cell, (float, np.floating)) and float(cell).is_integer():
        return str(int(cell))
    return str(cell).strip()


def is_missing(cell: Any) -> bool:
    """Whether a cell is None, NaN or blank text."""
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or (isinstance(cell, (float, np.floating)) and bool(np.isnan(cell)))


def _unit_rows(rows: Iterator[Iterable[tuple[int, float]]], n_rows: int, width: int) -> sp.csr_array:
    """Rows of (feature, value), each scaled to length 1, as a matrix; values that are 0 are left out."""
    indptr, indices, data = [0], [], []
    for row in rows:
        entries = [(feature, value) for feature, value in row if value]
        length = sum(value * value for _, value in entries) ** 0.5
        indices += [feature for feature, _ in entries]
        data += [value / length for _, value in entries]
        indptr.append(len(indices))
    arrays = (np.array(data, np.float64), np.array(indices, np.int32), np.array(indptr, np.int32))
    matrix = sp.csr_array(arrays, shape=(n_rows, width))
    matrix.sort_indices()
    return matrix
