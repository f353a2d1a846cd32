"""Exact top-N lists by inner product, filtered, with reproducible ties."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastals.core.validation import check_ids, check_integer, largest_factor, read_only
from fastals.kernels.launch import run_in_parallel
from fastals.kernels.top_items import walk as kernels
from fastals.kernels.top_items.tiles import TILE_ITEMS, TILE_QUERIES
from fastals.solver import threads

Array = np.ndarray[Any, np.dtype[Any]]

# A block of queries and its lists stay in a core's cache while the items pass by.
_BLOCK_BYTES = 256 * 1024
# Of each thread in one launch: between launches Ctrl-C is heard and other callers get their turn.
_BLOCKS_PER_LAUNCH = 16
_LAUNCH_WORK = 2**33  # multiply-adds, a fraction of a second
# Below this many multiply-adds one thread is done before others have woken up.
_SERIAL_WORK = 2**25
# Fewer candidates than this share of the items are worth packing on their own.
_PACKED_SHARE = 0.25
_SMALLEST_NORM = 1e-140  # squares of smaller factors lose digits in float64
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
    ceiling : float
        No score is above it: 1 for cosines, which rounding would put beyond.
    """

    panels: Array
    order: Array
    norms: Array
    n_items: int
    ceiling: float = np.inf

    @classmethod
    def build(cls, items: Array, ceiling: float = np.inf) -> ItemIndex:
        """Pack item factors.

        Parameters
        ----------
        items : ndarray of shape (n_items, factors), float32 or float64
            Finite item factors; not kept.
        ceiling : float, optional
            What larger scores are taken for.

        Returns
        -------
        ItemIndex

        Raises
        ------
        TypeError, ValueError
            If ``items`` is not such an array.
        """
        items = _for_kernel(_check_factors("items", items))
        norms = np.empty(items.shape[0])
        limit, largest = largest_factor(items.shape, items.dtype), max(items.max(initial=0), -items.min(initial=0))
        if not largest < limit:
            raise ValueError(f"items must be finite and below {limit:.3g}; got {largest:.3g}")
        kernels.row_norms(items, norms)
        order = np.argsort(-norms, kind="stable").astype(np.int32)
        panels = np.empty(_panel_shape(*items.shape), items.dtype)
        kernels.pack_panels(items, order, panels)
        return cls(panels, order, norms[order], items.shape[0], ceiling)

    def restricted(self, allowed: Array) -> ItemIndex:
        """Index of the items for which the Boolean array ``allowed`` (n_items,) is true."""
        positions = np.flatnonzero(allowed[self.order])
        panels = np.empty(_panel_shape(positions.size, self.panels.shape[1]), self.panels.dtype)
        kernels.select_panels(self.panels, positions, panels)
        return self._replace(panels=panels, order=self.order[positions], norms=self.norms[positions])


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
        Item factors, finite; where ``index`` is given, those it was built from.
    n : int
        Length of the lists, at least 1.
    seen : tuple of (indptr, indices), optional
        Ids that each query may not return, as the rows of a CSR matrix: ``indices[indptr[q]:indptr[q + 1]]``, in any
        order.
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
    _check_items(items, index)
    queries = _check_queries(queries, index)
    n = check_integer("n", n, 1)
    indptr, indices = _check_seen(seen, queries.shape[0], index.n_items)
    excluded, candidates = _check_choice("excluded", excluded, index), _check_choice("candidates", candidates, index)
    allowed = allowed_items(excluded, candidates, index.n_items)
    available = index.n_items
    if allowed.size:
        available = int(np.count_nonzero(allowed))
        if available < _PACKED_SHARE * index.n_items:
            index = index.restricted(allowed)

    length = min(n, available)
    ids = np.empty((queries.shape[0], length), dtype=np.int32)
    scores = np.empty((queries.shape[0], length), dtype=queries.dtype)
    if ids.size:
        _rank(queries, index, allowed, indptr, indices, scores, ids, num_threads)
    if length == n:
        return ids, scores
    tail = ((0, 0), (0, n - length))
    return np.pad(ids, tail, constant_values=-1), np.pad(scores, tail, constant_values=np.nan)


def unit_rows(factors: Array) -> Array:
    """Rows scaled to Euclidean norm 1 (norms in float64); rows of zeros stay."""
    dtype = factors.dtype
    norms = np.sqrt(np.einsum("ij,ij->i", factors, factors, dtype=np.float64))
    small = norms < _SMALLEST_NORM
    if small.any():  # squares that underflow
        factors = factors.astype(np.float64)
        largest = np.abs(factors[small]).max(axis=1, keepdims=True)
        factors[small] /= np.where(largest > 0, largest, 1)
        norms[small] = np.sqrt(np.einsum("ij,ij->i", factors[small], factors[small]))
    norms[norms == 0] = 1
    return (factors / norms[:, None]).astype(dtype)


def allowed_items(excluded: Array | None, candidates: Array | None, n_items: int) -> Array:
    """Boolean array over the items, empty if all are allowed."""
    if excluded is None and candidates is None:
        return _EMPTY_MASK
    allowed = np.full(n_items, candidates is None)
    if candidates is not None:
        allowed[candidates] = True
    if excluded is not None:
        allowed[excluded] = False
    return allowed


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
    ceiling = index.panels.dtype.type(index.ceiling)
    packed = kernels.Items(index.panels, index.order, index.norms, allowed, ceiling)
    if n_queries * index.order.size * factors <= _SERIAL_WORK:
        kernels.rank_block(0, 1, queries, packed, indptr, indices, scores, ids)
        return
    work = index.order.size * factors
    size = min(_BLOCK_BYTES // ((factors + 2 * scores.shape[1]) * queries.itemsize), _LAUNCH_WORK // work)
    size = max(size, TILE_QUERIES)
    blocks_per_launch = min(max(_LAUNCH_WORK // (work * size), 1), _BLOCKS_PER_LAUNCH)
    start = 0
    while start < n_queries:
        with threads.parallel(num_threads) as n_threads:
            stop = min(start + size * n_threads * blocks_per_launch, n_queries)
            blocks = n_threads * -(-(stop - start) // (size * n_threads))
            part = slice(start, stop)
            of_launch = queries[part], packed, indptr[start : stop + 1], indices, scores[part], ids[part]
            try:
                run_in_parallel(kernels.rank_block, blocks, *of_launch)
            except MemoryError as error:
                raise MemoryError(f"no memory for ranking in blocks of {size} queries") from error
        start = stop


def _panel_shape(n_items: int, factors: int) -> tuple[int, int, int]:
    return -(-n_items // TILE_ITEMS), factors, TILE_ITEMS


def _check_factors(name: str, factors: Array) -> Array:
    """Return a two-dimensional float array as it is, or raise."""
    if not isinstance(factors, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array; got {type(factors).__name__}")
    if factors.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name} must have dtype float32 or float64; got {factors.dtype}")
    if factors.ndim != 2 or factors.shape[1] < 1:
        raise ValueError(f"{name} must have shape (rows, factors); got shape {factors.shape}")
    return factors


def _for_kernel(array: Array, dtype: Any = None) -> Array:
    """Contiguous, aligned and read-only, whatever came: of each of these Numba would compile a variant of its own."""
    return read_only(np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED"]))


def _check_items(items: Array, index: ItemIndex) -> None:
    """Raise unless the index can be that of the items."""
    _check_factors("items", items)
    shape, dtype = (index.n_items, index.panels.shape[1]), index.panels.dtype
    if items.shape != shape or items.dtype != dtype:
        raise ValueError(
            f"index must have been built from items of shape {items.shape} and dtype {items.dtype}; "
            f"got one for shape {shape} and dtype {dtype}"
        )


def _check_queries(queries: Array, index: ItemIndex) -> Array:
    """Queries in the type of the items."""
    _check_factors("queries", queries)
    if queries.shape[1] != index.panels.shape[1]:
        raise ValueError(f"queries must have {index.panels.shape[1]} factors, as the items; got {queries.shape[1]}")
    return _for_kernel(queries, index.panels.dtype)


def _check_choice(name: str, ids: Any, index: ItemIndex) -> Array | None:
    """Ids of items, or None."""
    return None if ids is None else np.atleast_1d(check_ids(ids, name, index.n_items))


def _check_seen(seen: tuple[Array, Array] | None, n_queries: int, n_items: int) -> tuple[Array, Array]:
    """Row pointers and sorted ids of the seen items."""
    if seen is None:
        return _for_kernel(np.zeros(n_queries + 1), np.int64), _for_kernel(np.zeros(0), np.int32)
    indptr, indices = np.asarray(seen[0]), np.asarray(seen[1])
    if indptr.shape != (n_queries + 1,) or indptr.dtype.kind not in "iu":
        raise ValueError(
            f"seen must have {n_queries + 1} integer row pointers, one more than queries; "
            f"got shape {indptr.shape} and dtype {indptr.dtype}"
        )
    if indptr[0] != 0 or indptr[-1] != indices.size or np.any(indptr[1:] < indptr[:-1]):
        raise ValueError(f"seen must have row pointers that rise from 0 to {indices.size}, the number of its ids")
    if indices.size and (indices.dtype.kind not in "iu" or indices.min() < 0 or indices.max() >= n_items):
        raise ValueError(f"seen must hold integer ids in 0 .. {n_items - 1}; got {indices.min()} .. {indices.max()}")
    indptr, indices = _for_kernel(indptr, np.int64), _for_kernel(indices, np.int32)
    if not kernels.rows_sorted(indptr, indices):
        rows = np.repeat(np.arange(n_queries), np.diff(indptr))
        indices = _for_kernel(indices[np.lexsort((indices, rows))])
    return indptr, indices
