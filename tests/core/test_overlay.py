"""Changed rows beside the rest: whatever is replaced, in whatever order, a dense matrix would read the same."""

import pickle
import threading

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from fastals.core import overlay
from fastals.core.overlay import Derived, Factors, History, LentFactors
from fastals.core.validation import check_rows

UPDATES = st.lists(
    st.tuples(st.integers(0, 1), st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True), st.integers(0, 99)),
    max_size=6,
)


def rows_of(dense):
    return check_rows(sp.csr_array(dense), "user_items")[0]


def random_dense(seed, shape):
    random = np.random.default_rng(seed)
    return random.integers(1, 4, shape) * (random.random(shape) < 0.4) * 1.0


def assert_rows(got, expected):
    np.testing.assert_array_equal(got.as_csr(np.dtype(np.float64)).toarray(), expected)
    assert got.data.shape in ((got.indices.size,), (1,))


@pytest.fixture(params=[2, 1000], ids=["merged often", "never merged"])
def merged_from(request, monkeypatch):
    monkeypatch.setattr(overlay, "MERGED_FROM", request.param)


@pytest.mark.usefixtures("merged_from")
class TestFactors:
    @given(updates=UPDATES, reads=st.lists(st.booleans(), min_size=6, max_size=6))
    def test_read_as_a_dense_matrix(self, updates, reads):
        expected = np.random.default_rng(0).normal(size=(5, 3))
        factors = Factors(expected.copy())
        for (_, ids, seed), read in zip(updates, reads, strict=False):
            values = np.random.default_rng(seed).normal(size=(len(ids), 3))
            factors = factors.replaced(np.array(ids), values)
            grown = np.zeros((max(len(expected), max(ids) + 1), 3))
            grown[: len(expected)], grown[ids] = expected, values
            expected = grown
            assert factors.shape == expected.shape
            if read:
                every = np.arange(len(expected))[::-1]
                np.testing.assert_array_equal(factors.taken(every[:2]), expected[every[:2]])
                np.testing.assert_array_equal(factors.taken(every), expected[every])
        np.testing.assert_array_equal(factors.array, expected)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(factors)).array, expected)

    def test_what_was_there_before_stays(self):
        before = Factors(np.ones((4, 2)))
        after = before.replaced(np.array([1, 6]), np.full((2, 2), 5.0))
        np.testing.assert_array_equal(before.array, np.ones((4, 2)))
        assert after.array[1, 0] == 5
        for factors in (before, after):
            with pytest.raises(ValueError, match="read-only"):
                factors.array[0] = 0

    def test_given_values_are_copied(self):
        values = np.full((1, 2), 5.0)
        factors = Factors(np.ones((4, 2))).replaced(np.array([1]), values)
        values[:] = 7
        assert factors.array[1, 0] == 5


def test_replacing_one_row_touches_no_other():
    """The million others are shared, not copied: the cost of an update is that of its row."""
    array = np.ones((2**20, 1))
    factors = Factors(array)
    for row in range(50):
        factors = factors.replaced(np.array([row]), np.full((1, 1), 5.0))
    assert np.shares_memory(factors._content[0], array)
    assert (factors.taken(np.array([49, 50])) == [[5], [1]]).all()

    history = History(rows_of(random_dense(0, (300, 20))))
    indices = history.oriented(0).indices
    for row in range(50):
        history = history.replaced(0, np.array([row]), rows_of(random_dense(row, (1, 20))))
    assert np.shares_memory(history._content[1].indices, indices)


def test_lent_factors_are_taken_once_and_when_they_are_asked_for():
    array, taken = np.ones((3, 2)), []
    factors = LentFactors(array, lambda: taken.append(1) or array)

    assert (factors.shape, factors.dtype, taken) == ((3, 2), np.float64, [])
    assert factors.taken(np.array([2])).tolist() == [[1, 1]]
    assert np.shares_memory(factors.array, array)
    assert factors.replaced(np.array([0]), np.zeros((1, 2))).array.tolist() == [[0, 0], [1, 1], [1, 1]]
    assert taken == [1]


@pytest.mark.usefixtures("merged_from")
@given(updates=UPDATES, reads=st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_history_reads_as_a_dense_matrix(updates, reads):
    expected = random_dense(1, (5, 4))
    history = History(rows_of(expected))
    for (axis, ids, seed), read in zip(updates, reads, strict=False):
        new = random_dense(seed, (len(ids), expected.shape[1 - axis]))
        before, copy = history, history.oriented(0).as_csr(np.dtype(np.float64)).toarray() if read == 2 else None
        history = history.replaced(axis, np.array(ids), rows_of(new))
        turned = expected.T if axis else expected
        grown = np.zeros((max(len(turned), max(ids) + 1), turned.shape[1]))
        grown[: len(turned)], grown[ids] = turned, new
        expected = grown.T if axis else grown
        assert history.shape == expected.shape
        if read:
            some = np.arange(expected.shape[axis])[::2]
            assert_rows(history.taken(some, axis), (expected.T if axis else expected)[some])
        if copy is not None:
            assert_rows(before.oriented(0), copy)
    assert history.fitted_shape == (5, 4)
    assert_rows(history.oriented(1), expected.T)
    assert_rows(history.oriented(0), expected)
    assert_rows(pickle.loads(pickle.dumps(history)).oriented(0), expected)


class TestDerived:
    def test_is_made_once_by_one_of_many_threads(self):
        derived, calls, barrier = Derived(), [], threading.Barrier(8)

        def ask():
            barrier.wait()
            derived.get("index", lambda: calls.append(1) or object())

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert calls == [1]
        assert derived.get("index", object) is derived.get("index", object)

    def test_an_error_leaves_nothing(self):
        derived = Derived()
        with pytest.raises(ZeroDivisionError):
            derived.get("index", lambda: 1 // 0)
        assert derived.get("index", lambda: 3) == 3

    def test_does_not_travel(self):
        derived = Derived()
        derived.get("index", threading.Lock)  # which cannot be pickled
        assert pickle.loads(pickle.dumps(derived)).get("index", lambda: 4) == 4


@pytest.mark.usefixtures("merged_from")
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 99), st.booleans()), max_size=5),
    st.integers(0, 1),
)
def test_both_sides_of_a_history_change_in_agreement(updates, axis):
    expected = random_dense(1, (5, 4))
    history = History(rows_of(expected)).replaced(axis, np.array([1]), rows_of(random_dense(2, (1, (4, 5)[axis]))))
    expected = history.oriented(0).as_csr(np.dtype(np.float64)).toarray()
    for new_users, new_items, seed, read in updates:
        grown = np.zeros((len(expected) + new_users, expected.shape[1] + new_items))
        grown[: len(expected), : expected.shape[1]] = expected
        grown += random_dense(seed, grown.shape) * (np.random.default_rng(seed).random(grown.shape) < 0.3)
        before = np.zeros_like(grown)
        before[: len(expected), : expected.shape[1]] = expected
        users, items = (np.flatnonzero((grown != before).any(axis=1 - side)) for side in (0, 1))
        history = history.updated((users, rows_of(grown[users])), (items, rows_of(grown.T[items])))
        expected = grown
        assert history.shape == expected.shape
        if read:
            assert_rows(history.taken(np.arange(len(expected))[::2], 0), expected[::2])
            assert_rows(history.taken(np.arange(expected.shape[1])[::2], 1), expected.T[::2])
    assert history.fitted_shape == (5, 4)
    assert_rows(history.oriented(1), expected.T)
    assert_rows(history.oriented(0), expected)
    assert_rows(pickle.loads(pickle.dumps(history)).oriented(1), expected.T)
