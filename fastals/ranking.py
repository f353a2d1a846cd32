"""Exact top-N lists by inner product, filtered, with reproducible ties."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastals import threads
from fastals.kernels import ranking as kernels

Array = np.ndarray[Any, np.dtype[Any]]

# A block of queries and its lists stay in a core's cache while the items pass by.
_BLOCK_BYTES = 256 * 1024
# Below this many multiply-adds one thread is done before others have woken up.
_SERIAL_WORK = 2**25
# Fewer candidates than this share of the items are worth packing on their own.
_PACKED_SHARE = 0.25
_EMPTY_MASK = np.zeros(0, dtype=np.bool_)


class ItemIndex(NamedTuple):
    """Items packed for `top_items`, by falling norm; a snapshot that holds one copy of the factors.

    Attributes
    ----------
    panels : ndarray of shape (ceil(m / 32), factors, 32)
        Items in panels of 32, each transposed.
    order : ndarray of shape (m,), int32
        Item ids by falling norm, equal norms by rising id.
    norms : ndarray of shape (m,), float64
        Their Euclidean norms.
    n_items : int
        Ids are 0 to n_items - 1.
    """

    panels: Array
    order: Array
    norms: Array
    n_items: int

    @classmethod
    def build(cls, items: Array) -> ItemIndex:
        """Pack item factors.

        Parameters
        ----------
        items : ndarray of shape (n_items, factors), float32 or float64
            Finite item factors; not kept.

        Returns
        -------
        ItemIndex

        Raises
        ------
        TypeError, ValueError
            If ``items`` is not such an array.
        """
        items = _check_factors("items", items)
        norms = np.empty(items.shape[0])
        kernels.row_norms(items, norms)
        order = np.argsort(-norms, kind="stable").astype(np.int32)
        panels = np.empty(_panel_shape(*items.shape), items.dtype)
        kernels.pack_panels(items, order, panels)
        return cls(panels, order, norms[order], items.shape[0])

    def restricted(self, allowed: Array) -> ItemIndex:
        """Index of the items for which the Boolean array ``allowed`` (n_items,) is true."""
        positions = np.flatnonzero(allowed[self.order])
        panels = np.empty(_panel_shape(positions.size, self.panels.shape[1]), self.panels.dtype)
        kernels.select_panels(self.panels, positions, panels)
        return ItemIndex(panels, self.order[positions], self.norms[positions], self.n_items)


def top_items(
    queries: Array,
    items: Array,
    n: int,
    *,
    seen: tuple[Array, Array] | None = None,
    excluded: Array | None = None,
    candidates: Array | None = None,
    index: ItemIndex | None = None,
    num_threads: int | None = None,
) -> tuple[Array, Array]:
    """The n items of largest inner product with each query.

    The result is exact: the n largest computed scores, equal scores by rising id. A score is the sum of the products
    of a query's and an item's factors in their order, accumulated in the type of the factors; it does not depend on
    the other queries of the call, on the filters or on the number of threads. With items of equal norm and queries
    of any, the order is that of the cosine.

    Parameters
    ----------
    queries : ndarray of shape (n_queries, factors)
        Query vectors, finite; converted to the type of ``items``.
    items : ndarray of shape (n_items, factors), float32 or float64
        Item factors, finite.
    n : int
        Length of the lists, at least 1.
    seen : tuple of (indptr, indices), optional
        Ids that each query may not return, as the rows of a CSR matrix: ``indices[indptr[q]:indptr[q + 1]]``.
    excluded : array_like of int, optional
        Ids that no query may return, in any order, repeated or not.
    candidates : array_like of int, optional
        Ids to choose from, in any order, repeated or not; all if None.
    index : ItemIndex, optional
        ``ItemIndex.build(items)`` from before, which saves packing the items again.
    num_threads : int, optional
        Threads for large batches, Numba's number if None. Small batches run on the calling thread alone.

    Returns
    -------
    ids : ndarray of shape (n_queries, n), int32
        Item ids, best first; -1 where fewer than n items remain.
    scores : ndarray of shape (n_queries, n), type of ``items``
        Their scores; NaN where fewer than n items remain.

    Raises
    ------
    TypeError, ValueError
        If shapes, types or ids do not fit.

    Notes
    -----
    Items are visited by falling norm; a query is done when the product of the norms (with a margin for rounding) is
    below its n-th best score [1]_. Trained factors leave a tenth to a third of the products to compute; where nothing
    can be left out, the whole product is computed in register tiles. Memory beyond the result and the index is a few
    hundred KiB for each thread, and a quarter of an index at most where candidates are few.

    References
    ----------
    .. [1] C. Teflioudi, R. Gemulla, O. Mykytiuk, "LEMP: Fast Retrieval of Large Entries in a Matrix Product",
       SIGMOD 2015.
    """
    if index is None:
        index = ItemIndex.build(items)
    elif (items.shape, items.dtype) != ((index.n_items, index.panels.shape[1]), index.panels.dtype):
        raise ValueError(
            f"index was built from items of shape {(index.n_items, index.panels.shape[1])} and type "
            f"{index.panels.dtype}, items has shape {items.shape} and type {items.dtype}"
        )
    queries = _check_queries(queries, index)
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise TypeError(f"n must be an integer, got {type(n).__name__}")
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    indptr, indices = _check_seen(seen, queries.shape[0], index.n_items)
    allowed = _allowed_items(excluded, candidates, index.n_items)
    available = np.count_nonzero(allowed) if allowed.size else index.n_items
    if available < _PACKED_SHARE * index.n_items:
        index = index.restricted(allowed)

    ids = np.full((queries.shape[0], n), -1, dtype=np.int32)
    scores = np.full((queries.shape[0], n), np.nan, dtype=queries.dtype)
    length = min(n, available)
    if length and queries.shape[0]:
        _rank(queries, index, allowed, indptr, indices, scores[:, :length], ids[:, :length], num_threads)
    return ids, scores


def _rank(
    queries: Array,
    index: ItemIndex,
    allowed: Array,
    indptr: Array,
    indices: Array,
    scores: Array,
    ids: Array,
    num_threads: int | None,
) -> None:
    """Fill ``scores`` and ``ids``, on one thread where that is faster."""
    n_queries, factors = queries.shape
    packed = (index.panels, index.order, index.norms, allowed)
    if n_queries == 1:
        kernels.rank_one(queries[0], *packed, indices, scores[0], ids[0])
        return
    arguments = (queries, *packed, indptr, indices, scores, ids)
    if n_queries * index.order.size * factors <= _SERIAL_WORK:
        kernels.rank_block(0, 1, *arguments)
        return
    block_size = max(8, _BLOCK_BYTES // ((factors + 2 * scores.shape[1]) * queries.itemsize))
    with threads.parallel(num_threads) as n_threads:
        rounds = -(-n_queries // (block_size * n_threads))
        kernels.rank_blocks(rounds * n_threads, *arguments)


def _panel_shape(n_items: int, factors: int) -> tuple[int, int, int]:
    return -(-n_items // kernels.TILE_ITEMS), factors, kernels.TILE_ITEMS


def _check_factors(name: str, factors: Array) -> Array:
    """Two-dimensional C-contiguous float array, or an error."""
    if not isinstance(factors, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, got {type(factors).__name__}")
    if factors.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name} must have type float32 or float64, got {factors.dtype}")
    if factors.ndim != 2 or factors.shape[1] < 1:
        raise ValueError(f"{name} must have shape (rows, factors), got shape {factors.shape}")
    return np.ascontiguousarray(factors)


def _check_queries(queries: Array, index: ItemIndex) -> Array:
    """Queries in the type of the items."""
    queries = _check_factors("queries", queries)
    if queries.shape[1] != index.panels.shape[1]:
        raise ValueError(f"queries have {queries.shape[1]} factors, items have {index.panels.shape[1]}")
    return queries.astype(index.panels.dtype, copy=False)


def _check_ids(name: str, ids: Any, n_items: int) -> Array:
    """One-dimensional integer ids within range."""
    ids = np.asarray(ids)
    if ids.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {ids.shape}")
    if ids.size == 0:
        return ids.astype(np.int64)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integer item ids, got type {ids.dtype}")
    if ids.min() < 0 or ids.max() >= n_items:
        raise ValueError(f"{name} must lie between 0 and {n_items - 1}, got {ids.min()} to {ids.max()}")
    return ids


def _allowed_items(excluded: Any, candidates: Any, n_items: int) -> Array:
    """Boolean array over the items, empty if all are allowed."""
    if excluded is None and candidates is None:
        return _EMPTY_MASK
    allowed = np.full(n_items, candidates is None)
    if candidates is not None:
        allowed[_check_ids("candidates", candidates, n_items)] = True
    if excluded is not None:
        allowed[_check_ids("excluded", excluded, n_items)] = False
    return allowed


def _check_seen(seen: tuple[Array, Array] | None, n_queries: int, n_items: int) -> tuple[Array, Array]:
    """Row pointers and sorted ids of the seen items."""
    if seen is None:
        return np.zeros(n_queries + 1, dtype=np.int64), np.zeros(0, dtype=np.int32)
    indptr, indices = np.asarray(seen[0]), np.asarray(seen[1])
    if indptr.shape != (n_queries + 1,):
        raise ValueError(f"seen must have {n_queries + 1} row pointers, one more than queries, got {indptr.shape}")
    indices = _check_ids("seen", indices, n_items).astype(np.int32, copy=False)
    indptr = indptr.astype(np.int64, copy=False)
    if indptr[0] != 0 or indptr[-1] != indices.size or np.any(indptr[1:] < indptr[:-1]):
        raise ValueError(f"seen must have row pointers that rise from 0 to {indices.size}, the number of indices")
    if not kernels.rows_sorted(indptr, indices):
        rows = np.repeat(np.arange(n_queries), np.diff(indptr))
        indices = indices[np.lexsort((indices, rows))]
    return indptr, np.ascontiguousarray(indices)
