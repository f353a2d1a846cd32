"""implicit's weights of pairs, whose idf differs from that of ``fastals.weighting``: log N - log(1 + n)."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from fastals.core.types import Array


def bm25_weight(X: Any, K1: float = 100, B: float = 0.8) -> sp.coo_matrix:
    """Weigh entries by r (K1 + 1) / (r + K1 (1 - B + B |row| / mean |row|)) idf, BM25.

    Parameters
    ----------
    X : sparse matrix (n_rows, n_columns)
        Left as it is.
    K1, B : float
        Where the growth with r levels off, and how much long rows are discounted.

    Returns
    -------
    float64 coo_matrix

    Raises
    ------
    TypeError, ValueError
        For what SciPy cannot make a sparse matrix.
    """
    matrix, idf = _with_idf(X)
    totals = np.bincount(matrix.row, matrix.data, matrix.shape[0])
    length = 1 - B + B * totals[matrix.row] / totals.mean()
    matrix.data = matrix.data * (K1 + 1) / (matrix.data + K1 * length) * idf
    return matrix


def tfidf_weight(X: Any) -> sp.coo_matrix:
    """Weigh entries by r^1/2 idf.

    Parameters
    ----------
    X : sparse matrix (n_rows, n_columns)
        Left as it is.

    Returns
    -------
    float64 coo_matrix

    Raises
    ------
    TypeError, ValueError
        For what SciPy cannot make a sparse matrix.
    """
    matrix, idf = _with_idf(X)
    matrix.data = np.sqrt(matrix.data) * idf
    return matrix


def _with_idf(X: Any) -> tuple[sp.coo_matrix, Array]:
    """A copy of a matrix, and log N - log(1 + n) for each entry, N rows of which n have the column."""
    matrix = sp.coo_matrix(X, dtype=np.float64, copy=True)
    counts = np.bincount(matrix.col, minlength=matrix.shape[1])
    return matrix, (np.log(matrix.shape[0]) - np.log1p(counts))[matrix.col]
