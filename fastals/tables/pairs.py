"""Coded pairs, with values and times, as a canonical matrix; and such a matrix from a file, held against its bounds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import sparse

from fastals.core.safe_open import brief
from fastals.tables.duplicates import Duplicates, merged_values

__all__ = ["checked_csr", "csr", "to_csr"]


def to_csr(
    users: np.ndarray,
    items: np.ndarray,
    values: np.ndarray | None,
    times: np.ndarray | None,
    duplicates: Duplicates,
    user_ids: np.ndarray,
    item_ids: np.ndarray,
) -> tuple[sparse.csr_array, np.ndarray | None]:
    """Canonical CSR of coded pairs, and their latest times: stable sort by (user, item), then one value per run."""
    n_users, n_items = shape = (user_ids.size, item_ids.size)
    pair = users * n_items + items  # below 2**62 while there are fewer than 2**31 users and items
    if (pair[1:] > pair[:-1]).all():
        order, first = None, np.arange(pair.size)
    else:
        order = np.argsort(pair, kind="stable")
        pair = pair[order]
        first = np.flatnonzero(np.concatenate(([True], pair[1:] != pair[:-1])))
    if duplicates == "error" and first.size < pair.size:
        run = first[np.argmax(np.diff(np.append(first, pair.size)) > 1)]
        user, item = divmod(int(pair[run]), n_items)
        user_id, item_id = brief(repr(user_ids[user].item())), brief(repr(item_ids[item].item()))
        raise ValueError(f"user {user_id} and item {item_id} meet more than once")
    data = merged_values(values, order, first, pair.size, duplicates)
    latest = None if times is None else np.maximum.reduceat(times if order is None else times[order], first)
    pair = pair[first]
    if not data.all():
        latest = None if latest is None else latest[data != 0]
        pair, data = pair[data != 0], data[data != 0]
    indptr = np.zeros(n_users + 1, dtype=np.int64)
    np.cumsum(np.bincount(pair // n_items, minlength=n_users), out=indptr[1:])
    return csr(data, pair % n_items, indptr, shape), latest


def csr(data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    """CSR of canonical arrays, with int32 indices where they suffice (SciPy holds both in one type)."""
    kind = np.int32 if max(data.size, *shape) < 2**31 else np.int64
    matrix = sparse.csr_array((data, indices.astype(kind, copy=False), indptr.astype(kind, copy=False)), shape=shape)
    matrix.has_canonical_format = True
    return matrix


def checked_csr(arrays: Mapping[str, np.ndarray], shape: tuple[int, int]) -> sparse.csr_array:
    """CSR of arrays that come from a file: every bound that compiled code relies on is checked."""
    indptr, indices, data = (arrays[name] for name in ("indptr", "indices", "data"))
    good = (
        indptr.shape == (shape[0] + 1,)
        and indices.ndim == data.ndim == 1
        and indptr.dtype.kind == indices.dtype.kind == "i"
        and data.dtype == np.float32
        and indptr[0] == 0
        and indptr[-1] == indices.size == data.size
        and bool((indptr[1:] >= indptr[:-1]).all())
    )
    if good and indices.size:
        rising = indices[1:] > indices[:-1]
        starts = indptr[1:-1]
        rising[starts[(starts > 0) & (starts < indices.size)] - 1] = True  # a new row may begin lower
        good = bool(rising.all()) and indices.min() >= 0 and indices.max() < shape[1] and bool(np.isfinite(data).all())
    if not good:
        raise ValueError(f"saved interactions are damaged: their arrays are not a canonical matrix of shape {shape}")
    return csr(data, indices, indptr, shape)
