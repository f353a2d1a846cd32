"""Sparse matrices of SciPy brought into canonical form: sorted CSR without duplicates, its index arrays checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from fastals.core.rows import Rows
from fastals.kernels.sparse import row_form


def check_structure(matrix: Any, name: str) -> None:
    """Raise where index arrays point outside of the matrix: SciPy's conversions trust them and read or write there."""
    if matrix.format == "coo":
        coordinates = list(zip((matrix.row, matrix.col), matrix.shape, strict=True))
    elif matrix.format in ("csr", "csc", "bsr"):
        block = matrix.blocksize if matrix.format == "bsr" else (1, 1)
        sizes = [length // step for length, step in zip(matrix.shape, block, strict=True)]
        major, minor = sizes[::-1] if matrix.format == "csc" else sizes
        indptr, stored = matrix.indptr, min(len(matrix.indices), len(matrix.data))
        if indptr.shape != (major + 1,) or indptr[0] != 0 or indptr[-1] > stored or (indptr[1:] < indptr[:-1]).any():
            raise ValueError(f"{name} must have {major + 1} pointers that rise from 0 to the number of its indices")
        coordinates = [(matrix.indices[: indptr[-1]], minor)]
    else:
        return
    for index, size in coordinates:
        if len(index) and (index.min() < 0 or index.max() >= size):
            raise ValueError(f"{name} has indices outside of 0 .. {size - 1}: {index.min()} .. {index.max()}")


def canonical_csr(matrix: Any, name: str) -> sp.csr_array:
    """Sorted CSR without duplicates, explicit zeros kept, values float64 or float32; shares what it need not copy."""
    check_structure(matrix, name)
    with np.errstate(over="ignore"):  # of longdouble; refused below
        # SciPy sums the duplicates of these forms as it converts them, in the type they came in, and not every type
        # of theirs can it convert.
        cast = matrix.format in ("coo", "bsr", "dia") or (matrix.format == "csc" and matrix.dtype != np.float32)
        csr = sp.csr_array(matrix.astype(np.float64, copy=False) if cast else matrix)
        if not csr.has_canonical_format:
            # Duplicates are summed in float64, so that the order and the type they came in make no difference.
            csr = csr.astype(np.float64) if csr.dtype != np.float64 else csr.copy()
            csr.sum_duplicates()
        if csr.dtype not in (np.float32, np.float64):
            csr = csr.astype(np.float64)
    if not np.isfinite(csr.data).all():
        bad = np.flatnonzero(~np.isfinite(csr.data))
        row = int(np.searchsorted(csr.indptr, bad[0], side="right")) - 1
        value = "NaN" if np.isnan(csr.data[bad[0]]) else csr.data[bad[0]]
        where = f"{value} at row {row}, column {csr.indices[bad[0]]}"
        raise ValueError(f"{name} must be finite; got {where}" + (f", and {bad.size - 1} more" if bad.size > 1 else ""))
    return csr


def kept_entries(csr: sp.csr_array, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indptr and indices of the entries that a mask keeps."""
    before = np.concatenate(([0], np.cumsum(kept, dtype=np.int64)))
    return before[csr.indptr.astype(np.int64)], csr.indices[kept]


def canonical_row(matrix: Any, shape: tuple[int | None, int | None]) -> Rows | None:
    """One row that is in canonical form as it stands, as a request brings it; None for anything else.

    It takes a twentieth of the time of the general way.
    """
    if type(matrix) not in (sp.csr_array, sp.csr_matrix) or matrix.shape != (1, shape[1]) or shape[0] not in (1, None):
        return None
    indptr, indices, data = matrix.indptr, matrix.indices, matrix.data
    if indices.dtype != np.int32 or data.dtype not in (np.float32, np.float64) or indptr.shape != (2,):
        return None
    size = int(indptr[1])
    if indptr[0] != 0 or not 0 <= size <= min(indices.size, data.size):
        return None
    indices, data = indices[:size], data[:size]
    if not (indices.flags.carray and data.flags.carray):  # also for the kernel, which would be compiled anew
        return None
    form = row_form(indices, data, shape[1])
    return Rows(np.array((0, size), np.int64), indices, data[:1] if form == 2 else data, matrix.shape) if form else None
