"""What the splits share: canonical input, a share as a number, times of pairs, and parts of a matrix."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastals.core.stored import StoredInteractions
from fastals.core.validation import check_interactions, describe

RandomState = int | np.random.Generator | None


def canonical(user_items: Any) -> sp.csr_array:
    """Canonical copy in the caller's precision."""
    dtype = np.float32 if getattr(user_items, "dtype", None) == np.float32 else np.float64
    return check_interactions(user_items, "user_items", dtype)


def part(matrix: sp.csr_array, chosen: np.ndarray) -> sp.csr_array:
    """The stored entries of `matrix` where `chosen`, as a CSR array of the same shape and dtype."""
    running = np.concatenate([[0], np.cumsum(chosen)])
    parts = (matrix.data[chosen], matrix.indices[chosen], running[matrix.indptr])
    return sp.csr_array(parts, shape=matrix.shape)


def count_of(size: float | int, total: int, name: str, what: str) -> int:
    """A share or a number as a number, of which both parts are non-empty."""
    if isinstance(size, bool) or not isinstance(size, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a float in (0, 1) or an int >= 1, got {size!r}")
    if isinstance(size, (float, np.floating)):
        if not 0.0 < size < 1.0:
            raise ValueError(f"{name} as a float must be in (0, 1), got {size!r}; a number of {what} is an int")
        size = round(float(size) * total)
    if not 1 <= size < total:
        raise ValueError(f"{name} gives {size} of {total} {what}; neither part may be empty")
    return int(size)


def as_time(cutoff: Any, dtype: np.dtype) -> Any:
    """A point in time as times of a type can be compared with it."""
    if isinstance(cutoff, (int, float, np.integer, np.floating)) and not isinstance(cutoff, bool) and dtype.kind != "M":
        return cutoff
    if isinstance(cutoff, datetime.datetime) and cutoff.tzinfo is not None:
        cutoff = cutoff.astimezone(datetime.UTC).replace(tzinfo=None)
    try:
        date = np.datetime64(cutoff) if isinstance(cutoff, (str, datetime.date, np.datetime64)) else None
    except ValueError:
        date = None
    if date is None or np.isnat(date):
        wanted = "a date" if dtype.kind == "M" else "a number or a date"
        raise ValueError(f"cutoff must be {wanted}, such as '2023-09-01'; got {describe(cutoff)}")
    return date if dtype.kind == "M" else date.astype("datetime64[s]").astype(np.int64)


def pair_times(user_items: Any, matrix: sp.csr_array, timestamps: Any) -> np.ndarray:
    """Time of each stored entry of the canonical `matrix`, from times by matrix or by entry of `user_items`."""
    as_matrix = sp.issparse(timestamps)
    if isinstance(user_items, StoredInteractions):  # whose entries are those of the matrix
        user_items = matrix
    if as_matrix and timestamps.shape != matrix.shape:
        raise ValueError(f"timestamps has shape {timestamps.shape}, user_items {matrix.shape}")
    given = sp.coo_array(timestamps if as_matrix else user_items)
    times = given.data if as_matrix else np.asarray(timestamps)
    if times.shape != (given.nnz,):
        raise ValueError(f"timestamps has shape {times.shape}, expected ({given.nnz},), one a stored entry")
    if times.dtype.kind not in "iufM" or np.isnan(times).any():
        raise ValueError(f"timestamps must be numbers or datetime64 without NaN, got dtype {times.dtype}")
    n_items = np.int64(matrix.shape[1])
    given_keys = given.row.astype(np.int64) * n_items + given.col
    order = np.lexsort((times, given_keys))
    given_keys, times = given_keys[order], times[order]
    keys = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr)) * n_items + matrix.indices
    # Of equal keys the last one, which is the latest.
    position = np.searchsorted(given_keys, keys, side="right") - 1
    found = position >= 0
    found[found] = given_keys[position[found]] == keys[found]
    if not found.all():
        raise ValueError(
            f"timestamps must hold a time for every stored pair of user_items; {int((~found).sum())} have none"
        )
    return times[position]
