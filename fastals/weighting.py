"""Weights of stored pairs: BM25, tf-idf, powers of popularity, and recency, on any sparse matrix of users by items.

Each function returns a new canonical matrix and leaves the one it is given alone. A negative value (a dislike) keeps
its sign: its size is weighed. With r the size of a value, n_i the number of users who have item i and N that of users,

    bm25:        r' = r (k1 + 1) / (r + k1 (1 - b + b |r_u| / mean |r_u|)) idf_i
                 idf_i = log(1 + (N - n_i + .5) / (n_i + .5))
    tfidf:       r' = r^1/2 idf_i,  idf_i = 1 + log((1 + N) / (1 + n_i))
    popularity:  r' = r n_u^a n_i^b, scaled so that the mean size stays
    recency:     r' = r 2^-(age / half_life)

where |r_u| is the sum of a user's sizes. Both idf are positive for every item, so that no weight changes its sign [1]_.

References
----------
.. [1] S. Robertson, H. Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", Foundations and Trends in
   Information Retrieval 2009; the idf of BM25 is that of the search library Lucene, that of tf-idf scikit-learn's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from fastals.core.types import SparseLike
from fastals.core.validation import check_interactions, check_real, describe

__all__ = ["bm25", "popularity", "recency", "tfidf"]


def bm25(user_items: SparseLike, *, k1: float = 100.0, b: float = 0.8) -> sp.csr_array:
    """Weigh pairs by BM25: large values saturate, heavy users and common items count less.

    Parameters
    ----------
    user_items : sparse matrix or array (n_users, n_items)
    k1 : float
        Size at which a value saturates; positive.
    b : float
        How much a user's total counts against each of its pairs, 0 (not at all) to 1.

    Returns
    -------
    csr_array (n_users, n_items), float32 or float64

    Raises
    ------
    TypeError, ValueError
        For a matrix or parameter that does not fit.
    """
    matrix, size, users = _entries(user_items)
    saturation, share = check_real("k1", k1, positive=True), check_real("b", b)
    if share > 1:
        raise ValueError(f"b must lie in 0 .. 1; got {b}")
    totals = np.bincount(users, size, matrix.shape[0])
    mean = totals.mean() if size.size else 1.0
    length = 1 - share + share * totals[users] / mean
    counts = np.bincount(matrix.indices, minlength=matrix.shape[1])
    idf = np.log1p((matrix.shape[0] - counts + 0.5) / (counts + 0.5))
    return _weighed(matrix, size * (saturation + 1) / (size + saturation * length) * idf[matrix.indices])


def tfidf(user_items: SparseLike) -> sp.csr_array:
    """Weigh pairs by the root of their size and the rarity of their item.

    Parameters
    ----------
    user_items : sparse matrix or array (n_users, n_items)

    Returns
    -------
    csr_array (n_users, n_items), float32 or float64

    Raises
    ------
    TypeError, ValueError
        For a matrix that does not fit.
    """
    matrix, size, _ = _entries(user_items)
    counts = np.bincount(matrix.indices, minlength=matrix.shape[1])
    idf = 1 + np.log((1 + matrix.shape[0]) / (1 + counts))
    return _weighed(matrix, np.sqrt(size) * idf[matrix.indices])


def popularity(user_items: SparseLike, *, item_exponent: float = -0.3, user_exponent: float = 0.0) -> sp.csr_array:
    """Multiply pairs by powers of how many users have the item, and of how many items the user has.

    A negative exponent makes rare items (or users with few) count for more. The mean size stays.

    Parameters
    ----------
    user_items : sparse matrix or array (n_users, n_items)
    item_exponent, user_exponent : float
        Finite, of any sign.

    Returns
    -------
    csr_array (n_users, n_items), float32 or float64

    Raises
    ------
    TypeError, ValueError
        For a matrix or exponent that does not fit.
    """
    matrix, size, users = _entries(user_items)
    logarithm = np.zeros(size.size)
    for name, exponent, ids, length in (
        ("item_exponent", item_exponent, matrix.indices, matrix.shape[1]),
        ("user_exponent", user_exponent, users, matrix.shape[0]),
    ):
        power = check_real(name, abs(exponent)) * np.sign(exponent)
        logarithm += power * np.log(np.maximum(np.bincount(ids, minlength=length), 1))[ids]
    weighed = size * np.exp(logarithm - logarithm.max(initial=0))
    return _weighed(matrix, weighed * (size.mean() / weighed.mean()) if size.size else weighed)


def recency(user_items: SparseLike, times: SparseLike, *, half_life: float, now: float | None = None) -> sp.csr_array:
    """Halve pairs with every half-life that has passed since.

    Parameters
    ----------
    user_items : sparse matrix or array (n_users, n_items)
    times : sparse matrix or array of the same pattern
        When each pair was, in any unit; in epoch seconds, say.
    half_life : float
        In the unit of the times; positive.
    now : float, optional
        The time from which ages count; the latest of the times by default. Later pairs have age 0.

    Returns
    -------
    csr_array (n_users, n_items), float32 or float64

    Raises
    ------
    TypeError, ValueError
        For a matrix or parameter that does not fit.
    """
    matrix, size, _ = _entries(user_items)
    half = check_real("half_life", half_life, positive=True)
    when = _checked_times(times)
    if when.shape != matrix.shape or not (
        np.array_equal(when.indptr, matrix.indptr) and np.array_equal(when.indices, matrix.indices)
    ):
        raise ValueError(f"times must have the stored pattern of user_items; got {describe(times)}")
    # Integers of 64 bits keep their digits: the difference is taken before the conversion.
    latest = when.data.max(initial=0) if now is None else now
    if isinstance(latest, (bool, np.bool_)) or not np.isfinite(latest):
        raise ValueError(f"now must be a finite number; got {describe(now)}")
    age = np.maximum((latest - when.data).astype(np.float64), 0)
    return _weighed(matrix, size * np.exp2(-age / half))


def times_of(user_items: Any, times: Any) -> sp.csr_array:
    """Times of the stored pairs of a matrix, from those of as many pairs or more.

    Parameters
    ----------
    user_items : sparse matrix or array (n_users, n_items)
    times : sparse matrix or array (n_users, n_items)
        Stored for every pair of ``user_items``; a zero counts as one where it is stored.

    Returns
    -------
    csr_array (n_users, n_items)
        Of the type of the times, canonical, and of the pattern of ``user_items``.

    Raises
    ------
    TypeError, ValueError
        For matrices that do not fit, or pairs without a time.
    """
    matrix = check_interactions(user_items, "user_items", np.float64)
    when = _checked_times(times)
    if when.shape != matrix.shape:
        raise ValueError(f"times must have the shape of user_items, {matrix.shape}; got {when.shape}")
    wanted, stored = (
        np.repeat(np.arange(part.shape[0], dtype=np.int64), np.diff(part.indptr)) * part.shape[1] + part.indices
        for part in (matrix, when)
    )
    places = np.searchsorted(stored, wanted)
    found = np.zeros(wanted.size, bool)
    inside = places < stored.size
    found[inside] = stored[places[inside]] == wanted[inside]
    if not found.all():
        raise ValueError(f"times must be stored for every pair of user_items; {np.count_nonzero(~found)} have none")
    return sp.csr_array((when.data[places], matrix.indices.copy(), matrix.indptr.copy()), shape=matrix.shape)


def _checked_times(times: Any) -> sp.csr_array:
    """Copy of times, sorted; TypeError or ValueError for what is no matrix of finite numbers."""
    given: Any = times if sp.issparse(times) else np.asarray(times)
    if given.ndim != 2:
        raise TypeError(f"times must be a sparse matrix or a two-dimensional array; got {describe(times)}")
    if given.dtype.kind not in "iuf":
        raise ValueError(f"times must be finite numbers; got {describe(times)}")
    when = sp.csr_array(given, copy=True)
    when.sort_indices()
    if not np.isfinite(when.data).all():
        raise ValueError(f"times must be finite numbers; got {describe(times)}")
    return when


def _entries(user_items: Any) -> tuple[sp.csr_array, np.ndarray, np.ndarray]:
    """Canonical copy of a matrix, and of its entries their sizes (float64) and rows."""
    dtype = np.float64 if getattr(user_items, "dtype", None) == np.float64 else np.float32
    matrix = check_interactions(user_items, "user_items", dtype)
    return matrix, np.abs(matrix.data.astype(np.float64)), np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def _weighed(matrix: sp.csr_array, size: np.ndarray) -> sp.csr_array:
    """The matrix with other sizes; those that vanish in its type are dropped, as ``fit`` drops zeros."""
    matrix.data[:] = np.copysign(size, matrix.data)
    if not np.isfinite(matrix.data).all():
        raise ValueError(f"user_items must stay finite in {matrix.dtype} when they are weighed")
    matrix.eliminate_zeros()
    return matrix
