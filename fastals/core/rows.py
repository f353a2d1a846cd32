"""Canonical sparse rows, the one form in which interactions travel through the package, and what is done with them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from fastals.kernels.sparse import transpose

COUNTED = 2**22  # entries at a time, so that what is counted from needs no copy


class OnDisk(NamedTuple):
    """What rows that are mapped from a disk have besides.

    columns : Rows, optional
        Those of the transposed matrix, where they are on the disk, too.
    room : callable
        ``room(size, dtype)`` is an array (size,) to be written, in a file on the disk.
    """

    columns: Rows | None
    room: Callable[[int, np.dtype], np.ndarray]


class Rows(NamedTuple):
    """Canonical sparse rows: sorted, no duplicates, no zeros; ``indptr`` int64 (n + 1,), ``indices`` int32 (nnz,).

    ``data`` is (nnz,), or (1,) where all stored values are equal; ``shape`` is that of the matrix. Arrays that are
    mapped from a disk are read-only, and come with ``disk``.
    """

    indptr: np.ndarray
    indices: np.ndarray
    data: np.ndarray
    shape: tuple[int, int]
    disk: OnDisk | None = None

    @property
    def counts(self) -> np.ndarray:
        """Number of stored entries of each row, int64."""
        return self.indptr[1:] - self.indptr[:-1]  # np.diff takes five times as long for one row

    @property
    def column_counts(self) -> np.ndarray:
        """Number of stored entries of each column, int64."""
        if self.disk is not None and self.disk.columns is not None:
            return self.disk.columns.counts
        counts = np.zeros(self.shape[1], np.int64)
        for first in range(0, self.indices.size, COUNTED):
            counts += np.bincount(self.indices[first : first + COUNTED], minlength=self.shape[1])
        return counts

    def room(self, size: int, dtype: np.dtype) -> np.ndarray:
        """Array (size,) to be written: in memory, but for as many as there are entries of rows on a disk."""
        if self.disk is None or size < self.indices.size:
            return np.empty(size, dtype)
        return self.disk.room(size, dtype)

    def in_memory(self) -> Rows:
        """The same rows without their place on a disk, to be copied or sent as arrays."""
        return self._replace(disk=None)

    def widened(self, n_columns: int) -> Rows:
        """The same rows of a matrix that has so many columns, empty ones behind its last."""
        if n_columns == self.shape[1]:
            return self
        disk = self.disk
        if disk is not None and disk.columns is not None:
            indptr = disk.columns.indptr
            indptr = np.concatenate((indptr, np.full(n_columns - self.shape[1], indptr[-1])))
            disk = disk._replace(columns=disk.columns._replace(indptr=indptr, shape=(n_columns, self.shape[0])))
        return self._replace(shape=(self.shape[0], n_columns), disk=disk)

    def scaled(self, factor: float) -> Rows:
        """The same rows with all values multiplied, as are those of columns on a disk; what becomes 0 is dropped."""
        data = (self.data.astype(np.float64) * factor).astype(self.data.dtype)
        disk = self.disk
        if disk is not None and disk.columns is not None:
            disk = disk._replace(columns=disk.columns.scaled(factor))
        if data.all():
            return self._replace(data=data, disk=disk)
        kept = np.broadcast_to(data != 0, self.indices.shape)
        indptr = np.concatenate((np.zeros(1, np.int64), np.cumsum(kept)))[self.indptr]
        return self._replace(indptr=indptr, indices=self.indices[kept], data=data[data != 0], disk=disk)

    def apart_from(self, matrix: Any) -> Rows:
        """Equal rows that share no memory with a matrix of the caller's, so that its changes do not reach them."""

        def own(array: np.ndarray) -> np.ndarray:
            theirs = (getattr(matrix, name, None) for name in ("indptr", "indices", "data"))
            shared = any(isinstance(other, np.ndarray) and np.may_share_memory(array, other) for other in theirs)
            return array.copy() if shared else array

        return self._replace(indptr=own(self.indptr), indices=own(self.indices), data=own(self.data))

    def as_csr(self, dtype: np.dtype) -> sp.csr_array:
        """Matrix with values of ``dtype``, or of their own type where that one does not hold them all."""
        data = np.broadcast_to(self.data, self.indices.shape)
        with np.errstate(over="ignore"):
            converted = data.astype(dtype)
        if not (np.isfinite(converted).all() and converted.all()):
            converted = data.copy()
        return sp.csr_array((converted, self.indices.copy(), self.indptr.copy()), shape=self.shape)

    def taken(self, ids: np.ndarray) -> Rows:
        """The rows ``ids``, in their order."""
        starts, counts = self.indptr[ids], self.indptr[ids + 1] - self.indptr[ids]
        indptr = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
        if ids.size == 1:
            entries: Any = slice(starts[0], starts[0] + counts[0])
        else:
            entries = np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], counts)
        data = self.data if self.data.size != self.indices.size else self.data[entries]
        indices = self.indices[entries]
        if self.disk is not None:  # to kernels read-only arrays are of another type
            indices, data = indices.copy(), data.copy()
        return Rows(indptr, indices, data, (ids.size, self.shape[1]))

    def replaced(self, ids: np.ndarray, rows: Rows, n_rows: int) -> Rows:
        """These rows, ``n_rows`` of them in the end, with those at ``ids`` (distinct) replaced by ``rows``."""
        source = np.full(n_rows, self.shape[0], np.int64)  # an empty row stands behind the old ones
        source[: self.shape[0]] = np.arange(self.shape[0])
        source[ids] = self.shape[0] + 1 + np.arange(ids.size)
        old, new = (np.broadcast_to(part.data, part.indices.shape) for part in (self, rows))
        both = Rows(
            np.concatenate((self.indptr, self.indptr[-1:], self.indptr[-1] + rows.indptr[1:])),
            np.concatenate((self.indices, rows.indices)),
            np.concatenate((old, new)),
            (self.shape[0] + 1 + ids.size, self.shape[1]),
        )
        return both.taken(source).compact()

    def compact(self) -> Rows:
        """The same rows, equal values kept as one."""
        equal = self.data.size and self.data.min() == self.data.max()
        return self._replace(data=self.data[:1]) if equal else self


def joined(parts: list[Rows], n_columns: int) -> Rows:
    """All rows of several matrices, one matrix below the other."""
    counts = [np.diff(part.indptr) for part in parts]
    data = [np.broadcast_to(part.data, part.indices.shape) for part in parts]
    rows = Rows(
        np.concatenate(([0], np.cumsum(np.concatenate((*counts, np.empty(0, np.int64)))))).astype(np.int64),
        np.concatenate([part.indices for part in parts]) if parts else np.empty(0, np.int32),
        np.concatenate(data) if parts else np.empty(0, np.float32),
        (sum(count.size for count in counts), n_columns),
    )
    return rows.compact()


def transposed_entries(rows: Rows, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indptr and indices of the transpose and, moved along, values of the entries (of one element: unchanged)."""
    full = values.size == rows.indices.size > 1
    moved = np.empty(values.size if full else 0, values.dtype)
    indptr, indices = np.empty(rows.shape[1] + 1, np.int64), np.empty(rows.indices.size, np.int32)
    transpose(rows.indptr, rows.indices, values, indptr, indices, moved)
    return indptr, indices, moved if full else values


def transposed(rows: Rows) -> Rows:
    """Canonical rows of the transposed matrix."""
    if rows.disk is not None and rows.disk.columns is not None:
        return rows.disk.columns
    return Rows(*transposed_entries(rows, rows.data), rows.shape[::-1])


def digest(*arrays: np.ndarray) -> str:
    """Hash of the bytes of contiguous arrays."""
    found = hashlib.blake2b(digest_size=16)
    for array in arrays:
        found.update(array.view(np.uint8).data)
    return found.hexdigest()
