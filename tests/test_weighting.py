"""Weights of pairs against their formulas on dense matrices."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastals import ImplicitALS
from fastals.weighting import bm25, popularity, recency, tfidf

MATRICES = arrays(
    np.float64, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.sampled_from([0, 0, 1, 2, 7.5, -3])
)


def idf_of(dense, kind):
    N, n = len(dense), (dense != 0).sum(axis=0)
    return np.log(1 + (N - n + 0.5) / (n + 0.5)) if kind == "bm25" else 1 + np.log((1 + N) / (1 + n))


@given(MATRICES, st.floats(0.1, 200), st.floats(0, 1))
def test_bm25(dense, k1, b):
    size = np.abs(dense)
    totals = size.sum(axis=1, keepdims=True)
    length = 1 - b + b * totals / max(totals.mean(), 1e-300)
    expected = np.sign(dense) * size * (k1 + 1) / (size + k1 * length + (size == 0)) * idf_of(dense, "bm25")

    got = bm25(sp.csr_array(dense), k1=k1, b=b)

    np.testing.assert_allclose(got.toarray(), expected, rtol=1e-12)
    assert got.nnz == np.count_nonzero(dense)


@given(MATRICES)
def test_tfidf(dense):
    expected = np.sign(dense) * np.sqrt(np.abs(dense)) * idf_of(dense, "tfidf")
    np.testing.assert_allclose(tfidf(sp.csr_array(dense)).toarray(), expected, rtol=1e-12)


@given(MATRICES, st.floats(-2, 2), st.floats(-2, 2))
def test_popularity(dense, item_exponent, user_exponent):
    stored = dense != 0
    items, users = np.maximum(stored.sum(axis=0), 1), np.maximum(stored.sum(axis=1), 1)[:, None]
    expected = dense * items**item_exponent * users**user_exponent
    if stored.any():
        expected *= np.abs(dense).sum() / np.abs(expected).sum()

    got = popularity(sp.csr_array(dense), item_exponent=item_exponent, user_exponent=user_exponent)

    np.testing.assert_allclose(got.toarray(), expected, rtol=1e-10)


def test_recency_halves_with_every_half_life():
    values, day = sp.csr_array([[8.0, 0, 8], [0, -8, 0]]), 86400
    now = 1_700_000_000
    times = sp.csr_array(([now - 2 * day, now, now - day], values.indices, values.indptr), values.shape)

    np.testing.assert_allclose(recency(values, times, half_life=day).toarray(), [[2, 0, 8], [0, -4, 0]])
    later = recency(values, times, half_life=day, now=now + day)
    np.testing.assert_allclose(later.toarray(), [[1, 0, 4], [0, -2, 0]])
    np.testing.assert_allclose(recency(values, times, half_life=day, now=0).toarray(), values.toarray())


def test_recency_keeps_the_digits_of_64_bit_times():
    """A second apart, in nanoseconds since 1970, which float64 does not tell apart to the last digit."""
    values = sp.csr_array([[1.0, 1.0]])
    times = sp.csr_array((np.array([2**60 + 1, 2**60]), values.indices, values.indptr), values.shape)
    np.testing.assert_allclose(recency(values, times, half_life=1).toarray(), [[1, 0.5]])


@pytest.mark.parametrize("weigh", [bm25, tfidf, popularity, lambda R: recency(R, R, half_life=1.0)])
@pytest.mark.parametrize("form", [sp.csr_matrix, sp.coo_array, sp.csc_array])
def test_the_callers_matrix_stays(ratings, weigh, form):
    given = form(ratings)
    before = given.toarray().copy()
    got = weigh(given)
    np.testing.assert_array_equal(given.toarray(), before)
    assert isinstance(got, sp.csr_array)
    assert got.dtype == np.float64
    assert weigh(form(ratings.astype(np.float32))).dtype == np.float32
    ImplicitALS(2, iterations=1).fit(got)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda R: bm25(R, k1=0), ValueError, "k1 must be finite and > 0"),
        (lambda R: bm25(R, b=1.5), ValueError, r"b must lie in 0 \.\. 1; got 1.5"),
        (lambda R: bm25(R.toarray()), TypeError, "user_items must be a SciPy sparse"),
        (lambda R: popularity(R, item_exponent=np.nan), ValueError, "item_exponent must be finite"),
        (lambda R: recency(R, R[:, ::-1], half_life=1), ValueError, "times must have the stored pattern"),
        (lambda R: recency(R, R, half_life=-1), ValueError, "half_life must be finite and > 0"),
        (lambda R: recency(R, R, half_life=1, now=np.inf), ValueError, "now must be a finite number"),
        (lambda R: recency(R, R * np.nan, half_life=1), ValueError, "times must be finite"),
    ],
)
def test_bad_input(ratings, call, error, message):
    with pytest.raises(error, match=message):
        call(ratings)


def test_no_pairs_stay_no_pairs():
    for weigh in (bm25, tfidf, popularity, lambda R: recency(R, R, half_life=1.0)):
        assert weigh(sp.csr_array((3, 2))).nnz == 0
