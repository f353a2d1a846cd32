"""Sorted pairs, of a database or of several parts of a store, merged into the rows of one side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from fastals.core.rows import Rows
from fastals.tables.duplicates import merged_values
from fastals.tables.store_files import SideWriter

ENTRIES = 2**20  # at a time, or one row: some 100 MB with all that is made of them


class Pairs(NamedTuple):
    """Pairs of the rows first .. last, sorted by row, column and age; values (by default 1) and times, if any."""

    first: int
    last: int
    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray | None
    times: np.ndarray | None


class RepeatedPairError(ValueError):
    """A pair that occurs twice where it must not; ``place`` is its row and column."""

    def __init__(self, place: tuple[int, int]) -> None:
        super().__init__(f"row {place[0]} and column {place[1]} meet more than once")
        self.place = place


def row_blocks(starts: np.ndarray) -> Iterator[tuple[int, int]]:
    """Divide rows, which begin at ``starts`` (n + 1,), into blocks of at most ENTRIES, or of one row."""
    first, end = 0, starts.size - 1
    while first < end:
        last = int(np.searchsorted(starts, starts[first] + ENTRIES, side="right")) - 1
        last = min(max(last, first + 1), end)
        yield first, last
        first = last


def write_pairs(writer: SideWriter, pairs: Pairs, duplicates: str, dtype: np.dtype) -> None:
    """Write the next rows, repeated pairs merged and those of value zero left out.

    Here and not in the database, whose threads would add up in any order: so the sums are the same bits every time,
    and those that `Interactions` has of the same table.
    """
    rows, columns = pairs.rows, pairs.columns
    fresh = np.ones(rows.size, bool)
    np.not_equal(columns[1:], columns[:-1], out=fresh[1:])
    fresh[1:] |= rows[1:] != rows[:-1]
    starts = np.flatnonzero(fresh)
    if duplicates == "error" and starts.size < rows.size:
        again = int(np.argmin(fresh))
        raise RepeatedPairError((int(rows[again]), int(columns[again])))
    values = merged_values(pairs.values, None, starts, rows.size, duplicates, dtype)
    times = None if pairs.times is None or not starts.size else np.maximum.reduceat(pairs.times, starts)
    kept = values != 0
    if not kept.all():
        starts, values, times = starts[kept], values[kept], None if times is None else times[kept]
    counts = np.bincount(rows[starts] - pairs.first, minlength=pairs.last - pairs.first)
    writer.append(counts, columns[starts], values, times)


def merged_pairs(parts: Sequence[Rows], times: Sequence[np.ndarray] | None, shape: tuple[int, int]) -> Iterator[Pairs]:
    """Pairs of several canonical matrices, the oldest first, whose rows and columns are the first ones of ``shape``."""
    starts = np.zeros(shape[0] + 1, np.int64)
    for part in parts:
        starts[: part.indptr.size] += part.indptr
        starts[part.indptr.size :] += part.indptr[-1]
    for first, last in row_blocks(starts):
        rows, columns, values, when = [], [], [], []
        for number, part in enumerate(parts):
            inside = min(last, part.shape[0])
            if inside <= first:
                continue
            counts = np.diff(part.indptr[first : inside + 1])
            entries = slice(int(part.indptr[first]), int(part.indptr[inside]))
            rows.append(np.repeat(np.arange(first, inside), counts))
            columns.append(part.indices[entries].astype(np.int64))
            equal = part.data.size != part.indices.size
            values.append(np.broadcast_to(part.data, columns[-1].shape) if equal else part.data[entries])
            if times is not None:
                when.append(times[number][entries])
        row, column = np.concatenate(rows), np.concatenate(columns)
        order = np.argsort((row - first) * shape[1] + column, kind="stable")
        yield Pairs(
            first, last, row[order], column[order], np.concatenate(values)[order],
            np.concatenate(when)[order] if times is not None else None,
        )  # fmt: skip
