"""Canonical rows against dense matrices."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastals.core.rows import OnDisk, Rows, joined, transposed
from fastals.core.validation import check_rows, read_only

MATRICES = arrays(
    np.float64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.sampled_from([0, 0, 1, 1, -2])
)


def rows_of(dense):
    return check_rows(sp.csr_array(dense), "user_items")[0]


def dense_of(rows):
    return rows.as_csr(np.dtype(np.float64)).toarray()


@given(MATRICES)
def test_transposed(dense):
    got = transposed(rows_of(dense))

    np.testing.assert_array_equal(dense_of(got), dense.T)
    assert all(
        (np.diff(got.indices[first:last]) > 0).all()
        for first, last in zip(got.indptr[:-1], got.indptr[1:], strict=True)
    )


@given(MATRICES, st.data())
def test_taken(dense, data):
    ids = data.draw(st.lists(st.integers(0, len(dense) - 1), max_size=8))
    np.testing.assert_array_equal(dense_of(rows_of(dense).taken(np.array(ids, np.int64))), dense[ids])


@given(MATRICES, st.data())
def test_replaced(dense, data):
    ids = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True))
    new = data.draw(arrays(np.float64, (len(ids), dense.shape[1]), elements=st.sampled_from([0, 1, 3])))
    expected = np.zeros((10, dense.shape[1]))
    expected[: len(dense)], expected[ids] = dense, new

    got = rows_of(dense).replaced(np.array(ids), rows_of(new), 10)

    np.testing.assert_array_equal(dense_of(got), expected)


@given(st.lists(arrays(np.float64, (2, 3), elements=st.sampled_from([0, 1, 2])), max_size=4))
def test_joined(blocks):
    expected = np.concatenate([np.empty((0, 3)), *blocks])
    np.testing.assert_array_equal(dense_of(joined([rows_of(block) for block in blocks], 3)), expected)


def test_equal_values_are_kept_once():
    rows = rows_of(np.array([[1.0, 0, 1], [1, 1, 0]]))
    assert rows.data.tolist() == [1]
    assert joined([rows, rows], 3).data.tolist() == [1]
    assert joined([rows, rows_of(np.array([[2.0, 0, 0]]))], 3).data.tolist() == [1, 1, 1, 1, 2]


def test_apart_from_shares_nothing_with_the_callers_matrix():
    matrix = sp.csr_array(np.array([[1.0, 2, 0], [0, 3, 4]]))
    rows = check_rows(matrix, "user_items")[0]
    own = rows.apart_from(matrix)
    matrix.data[:], matrix.indices[:] = 9, 0
    np.testing.assert_array_equal(dense_of(own), [[1, 2, 0], [0, 3, 4]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_that_a_type_does_not_hold_keep_their_own(dtype):
    rows = rows_of(np.array([[1e300, 1e-300]]))
    np.testing.assert_array_equal(rows.as_csr(np.dtype(dtype)).toarray(), [[1e300, 1e-300]])


def test_transposed_is_the_canonical_transpose(ratings):
    ones = ratings.copy()
    ones.data[:] = 1
    for matrix in (ratings, ones):
        rows, _ = check_rows(matrix, "user_items")

        got = transposed(rows)

        expected, _ = check_rows(matrix.T, "user_items")
        for ours, theirs in zip(got[:3], expected[:3], strict=True):
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)
        assert got.shape == (22, 30)


def on_disk(rows, asked):
    """The same rows as a store has them: read-only, with their transpose, and room that is asked for."""

    def room(size, dtype):
        asked.append(size)
        return np.empty(size, dtype)

    def mapped(part, columns):
        arrays = (read_only(array) for array in (part.indptr, part.indices, part.data))
        return Rows(*arrays, part.shape, OnDisk(columns, room))

    return mapped(rows, mapped(transposed(rows), None))


def test_column_counts(ratings):
    rows = check_rows(ratings, "ratings")[0]
    expected = np.count_nonzero(ratings.toarray(), axis=0)
    for got in (rows, on_disk(rows, []), rows.compact()):
        np.testing.assert_array_equal(got.column_counts, expected)


def test_room_for_as_many_as_there_are_entries_is_on_the_disk(ratings):
    asked = []
    rows = check_rows(ratings, "ratings")[0]
    for there in (rows, on_disk(rows, asked)):
        for size in (1, rows.indices.size):
            assert there.room(size, np.dtype(np.float32)).shape == (size,)
    assert asked == [rows.indices.size]


def test_the_transpose_on_the_disk_is_taken(ratings):
    rows = on_disk(check_rows(ratings, "ratings")[0], [])
    assert transposed(rows) is rows.disk.columns
    kept = rows.apart_from(object())  # a store, say
    assert transposed(kept) is rows.disk.columns
    assert kept.indices is rows.indices
    np.testing.assert_array_equal(transposed(rows.in_memory()).indices, rows.disk.columns.indices)


def test_rows_taken_from_a_disk_are_in_memory(ratings):
    rows = on_disk(check_rows(ratings, "ratings")[0], [])
    for ids in ([5], [2, 7, 3]):
        taken = rows.taken(np.array(ids))
        assert taken.disk is None
        assert taken.indices.flags.writeable
        np.testing.assert_array_equal(taken.as_csr(np.dtype(np.float64)).toarray(), ratings.toarray()[ids])


@pytest.mark.parametrize("factor", [0.25, 1e-300, 0.0])
def test_scaled_rows_and_their_columns_on_a_disk(ratings, factor):
    """Values that vanish are dropped, from both."""
    rows = check_rows(ratings * 1e-100, "ratings")[0]
    expected = ratings.toarray() * 1e-100 * factor

    for got in (rows.scaled(factor), on_disk(rows, []).scaled(factor)):
        np.testing.assert_allclose(dense_of(got), expected, rtol=1e-15)
        np.testing.assert_allclose(dense_of(transposed(got)), expected.T, rtol=1e-15)
        assert got.data.all()


def test_widened_rows_and_their_columns_on_a_disk(ratings):
    rows = check_rows(ratings, "ratings")[0]
    expected = np.zeros((30, 25))
    expected[:, :22] = ratings.toarray()

    for got in (rows.widened(25), on_disk(rows, []).widened(25)):
        np.testing.assert_array_equal(dense_of(got), expected)
        np.testing.assert_array_equal(dense_of(transposed(got)), expected.T)
        assert got.column_counts.size == 25
