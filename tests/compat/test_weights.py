"""implicit's weights against their formulas, entry by entry."""

import numpy as np
import scipy.sparse as sp

from fastals.compat.weights import bm25_weight, tfidf_weight

X = np.array([[3.0, 0, 1, 0], [2, 5, 0, 0], [0, 0, 4, 1]])


def expected(weigh):
    found = np.zeros(X.shape)
    for row, column in np.argwhere(X):
        idf = np.log(3) - np.log(1 + np.count_nonzero(X[:, column]))
        found[row, column] = weigh(X[row, column], X[row].sum() / X.sum(axis=1).mean()) * idf
    return found


def test_bm25():
    got = bm25_weight(sp.csr_matrix(X), K1=2, B=0.5)
    assert got.format == "coo"
    np.testing.assert_allclose(
        got.toarray(), expected(lambda r, length: 3 * r / (r + 2 * (0.5 + 0.5 * length))), atol=1e-12
    )


def test_tfidf():
    given = sp.coo_matrix(X)
    np.testing.assert_allclose(tfidf_weight(given).toarray(), expected(lambda r, _: np.sqrt(r)), atol=1e-12)
    np.testing.assert_array_equal(given.toarray(), X)
