"""Factors in the form that vector search libraries want: inner product as Euclidean distance or as cosine.

Most indices for nearest neighbours want a metric, which the inner product is not. With M the largest norm of an item,
items and users get one coordinate more,

    q' = (q, (M^2 - |q|^2)^1/2),    p' = (p, 0),

after which all items have norm M, and

    p'.q' = p.q,    cos(p', q') = p.q / (|p| M),    |p' - q'|^2 = |p|^2 + M^2 - 2 p.q :

for each user, items rank the same by inner product, by cosine and by Euclidean distance [1]_.

References
----------
.. [1] Y. Bachrach, Y. Finkelstein, R. Gilad-Bachrach, L. Katzir, N. Koenigstein, N. Nice, U. Paquet, "Speeding Up the
   Xbox Recommender System Using a Euclidean Transformation for Inner-Product Spaces", RecSys 2014.

Examples
--------
With hnswlib, for a fitted ``model``:

>>> import hnswlib                                                                   # doctest: +SKIP
>>> vectors = augmented_item_factors(model.item_factors)                             # doctest: +SKIP
>>> index = hnswlib.Index(space="l2", dim=vectors.shape[1])                          # doctest: +SKIP
>>> index.init_index(max_elements=vectors.shape[0], M=32, ef_construction=200)       # doctest: +SKIP
>>> index.add_items(vectors)                                                         # doctest: +SKIP
>>> index.set_ef(200)                                                                # doctest: +SKIP
>>> queries = augmented_queries(model.user_factors[:5])                              # doctest: +SKIP
>>> ids, distances = index.knn_query(queries, k=10)                                  # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastals.core.validation import check_dtype, check_factors, check_real


def _checked(value: Any, name: str) -> np.ndarray:
    array = np.asarray(value)
    if array.ndim not in (1, 2) or array.shape[-1] < 1:
        raise ValueError(f"{name} must have shape (rows, factors) or (factors,); got {array.shape}")
    return check_factors(array, name, array.shape, check_dtype(array.dtype))


def augmented_item_factors(item_factors: Any, max_norm: float | None = None) -> np.ndarray:
    """Item factors with a coordinate that gives all of them the same norm.

    Parameters
    ----------
    item_factors : (n_items, factors) or (factors,) array, float32 or float64
    max_norm : float, optional
        M, at least the largest norm, which is taken by default. Items that are added to an index later must be
        augmented with the same M; leave room if their norms may be larger.

    Returns
    -------
    (n_items, factors + 1) or (factors + 1,) array of the same type

    Raises
    ------
    TypeError, ValueError
        For factors that are not finite or of another type, or a norm that is too small.

    Notes
    -----
    In float32 the order holds up to rounding errors of M^2 times 1e-7 or so.
    """
    Q = _checked(item_factors, "item_factors")
    squares = np.einsum("...k,...k->...", Q, Q, dtype=np.float64)
    largest = float(squares.max(initial=0))
    square = largest if max_norm is None else check_real("max_norm", max_norm) ** 2
    if square < largest * (1 - 1e-6):  # a norm taken in float32 may be that much smaller
        raise ValueError(f"max_norm must be at least the largest norm, {largest**0.5}; got {max_norm}")
    return np.concatenate((Q, np.sqrt(np.maximum(square - squares, 0))[..., None]), axis=-1, dtype=Q.dtype)


def augmented_queries(factors: Any) -> np.ndarray:
    """User factors (or any others that items are ranked for) with a zero, to match ``augmented_item_factors``.

    Parameters
    ----------
    factors : (n, factors) or (factors,) array, float32 or float64

    Returns
    -------
    (n, factors + 1) or (factors + 1,) array of the same type

    Raises
    ------
    TypeError, ValueError
        For factors that are not finite or of another type.
    """
    P = _checked(factors, "factors")
    return np.concatenate((P, np.zeros((*P.shape[:-1], 1), P.dtype)), axis=-1)
