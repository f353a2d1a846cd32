import datetime

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from fastals.evaluation import leave_k_out_split, strong_generalization_split, temporal_split, train_test_split

SHAPE = (30, 20)


def interactions(seed=0, density=0.3, dtype=np.float64):
    values = sp.csr_array(sp.random(*SHAPE, density, random_state=np.random.default_rng(seed)))
    values.data = np.arange(1, values.nnz + 1).astype(dtype)
    return values


def times_of(matrix):
    """Distinct sparse timestamps on the pattern of `matrix`; the earliest is zero."""
    matrix = sp.csr_array(matrix)
    times = np.random.default_rng(1).permutation(matrix.nnz)
    return sp.csr_array((times, matrix.indices, matrix.indptr), shape=matrix.shape)


def tied_times(matrix):
    """Timestamps of three values."""
    times = times_of(matrix)
    times.data %= 3
    return times


def assert_partition(matrix, *parts):
    """Every stored pair is in exactly one part, which has the shape, dtype and canonical form of the whole."""
    expected = sp.csr_array(matrix)
    for part in parts:
        assert isinstance(part, sp.csr_array)
        assert part.shape == matrix.shape
        assert part.dtype == (np.float32 if matrix.dtype == np.float32 else np.float64)
        assert part.has_canonical_format
        assert (part.data != 0).all()
    assert sum(part.nnz for part in parts) == expected.nnz
    np.testing.assert_array_equal(sum(part.toarray() for part in parts), expected.toarray())


SPLITS = {
    "random": lambda m, seed: train_test_split(m, test_size=0.3, random_state=seed),
    "leave 2 out": lambda m, seed: leave_k_out_split(m, 2, random_state=seed),
    "leave last 2 out": lambda m, seed: leave_k_out_split(m, 2, timestamps=tied_times(m), random_state=seed),
    "temporal": lambda m, seed: temporal_split(m, tied_times(m), test_size=0.3, random_state=seed),
    "strong": lambda m, seed: strong_generalization_split(m, test_users=7, random_state=seed)[:3],
}


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
class TestEverySplit:
    @pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
    def test_partition(self, split, dtype):
        matrix = interactions(dtype=dtype)
        assert_partition(matrix, *split(matrix, 0))

    def test_seeded(self, split):
        matrix = interactions()
        first, again, other = (split(matrix, seed) for seed in (3, 3, 4))
        generator = split(matrix, np.random.default_rng(3))
        for a, b, c in zip(first, again, generator, strict=True):
            np.testing.assert_array_equal(a.toarray(), b.toarray())
            np.testing.assert_array_equal(a.toarray(), c.toarray())
        assert any((a != b).nnz for a, b in zip(first, other, strict=True))

    def test_input_left_alone(self, split):
        matrix = interactions()
        matrix.data.setflags(write=False)
        matrix.indices.setflags(write=False)
        before = matrix.copy()
        for part in split(matrix, 0):
            part.data[:] = -1
        np.testing.assert_array_equal(matrix.toarray(), before.toarray())

    @pytest.mark.parametrize("form", ["coo", "csc", "lil"])
    def test_any_sparse_form(self, split, form):
        matrix = interactions()
        for got, expected in zip(split(matrix.asformat(form), 5), split(matrix, 5), strict=True):
            np.testing.assert_array_equal(got.toarray(), expected.toarray())

    def test_dense_refused(self, split):
        with pytest.raises(TypeError, match="user_items must be a SciPy sparse"):
            split(np.ones(SHAPE), 0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.02, 0.98))
def test_random_counts(seed, share):
    matrix = interactions(seed)
    train, test = train_test_split(matrix, test_size=share, random_state=seed)
    assert test.nnz == round(share * matrix.nnz)
    assert_partition(matrix, train, test)
    assert train_test_split(matrix, test_size=17, random_state=seed)[1].nnz == 17


def test_random_split_is_uniform():
    matrix = interactions(density=0.1)
    counts = sum((train_test_split(matrix, test_size=0.25, random_state=s)[1] > 0).astype(int) for s in range(400))
    # Binomial(400, 1/4) of each pair: 100 +- 8.7; five deviations either side.
    assert counts.nnz == matrix.nnz
    assert (abs(counts.data - 100) < 44).all()


def test_duplicates_and_zeros_beforehand():
    matrix = sp.coo_array(([1.0, 2.0, 0.0, 4.0, 5.0], ([0, 0, 0, 1, 1], [1, 1, 2, 0, 3])), shape=(2, 4))
    train, test = train_test_split(matrix, test_size=1, random_state=0)
    assert (train.nnz, test.nnz) == (2, 1)
    np.testing.assert_array_equal((train + test).toarray(), [[0, 3, 0, 0], [4, 0, 0, 5]])
    assert matrix.nnz == 5


@pytest.mark.parametrize("K", [1, 2, 5])
def test_leave_k_out_counts(K):
    matrix = interactions()
    n_stored = np.diff(matrix.indptr)
    train, test = leave_k_out_split(matrix, K, random_state=0)
    np.testing.assert_array_equal(np.diff(test.indptr), np.where(n_stored > K, K, 0))
    assert (np.diff(train.indptr)[n_stored > 0] >= 1).all()


def test_leave_k_out_train_only():
    matrix = interactions()
    n_eligible = int((np.diff(matrix.indptr) > 2).sum())
    _, test = leave_k_out_split(matrix, 2, train_only_size=0.4, random_state=0)
    assert np.count_nonzero(np.diff(test.indptr)) == n_eligible - round(0.4 * n_eligible)


def test_leave_k_out_takes_each_item_equally_often():
    matrix = sp.csr_array(np.ones((1, 5)))
    counts = sum(leave_k_out_split(matrix, 2, random_state=s)[1].toarray()[0] for s in range(500))
    # Binomial(500, 2/5): 200 +- 11.
    assert (abs(counts - 200) < 55).all()


def test_leave_last_out():
    matrix = interactions()
    times = times_of(matrix)
    _, test = leave_k_out_split(matrix, 2, timestamps=times, random_state=0)
    for user in range(SHAPE[0]):
        start, stop = matrix.indptr[user : user + 2]
        latest = np.argsort(times.data[start:stop])[-2:] if stop - start > 2 else []
        expected = matrix.indices[start:stop][latest]
        assert set(test.indices[test.indptr[user] : test.indptr[user + 1]]) == set(expected)


def test_temporal_order_and_counts():
    matrix = interactions()
    times = times_of(matrix)
    train, test = temporal_split(matrix, times, test_size=0.25)
    assert test.nnz == round(0.25 * matrix.nnz)
    dense = times.toarray()
    assert dense[train.nonzero()].max() < dense[test.nonzero()].min()
    train, test = temporal_split(matrix, times, cutoff=40)
    assert train.nnz == 40
    assert dense[test.nonzero()].min() == 40


@pytest.mark.parametrize(
    "cutoff",
    [
        "2023-09-01",
        "2023-09-01T00:00:00",
        np.datetime64("2023-09-01", "ns"),
        datetime.date(2023, 9, 1),
        datetime.datetime(2023, 9, 1),
        datetime.datetime(2023, 9, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
    ],
)
def test_cutoff_may_be_a_date(cutoff):
    matrix = sp.csr_array(np.ones((2, 2)))
    dates = np.array(["2023-08-31T23:59:59", "2023-09-01", "2024-01-01", "1969-01-01"], "M8[s]")
    for times in (dates, dates.astype("M8[us]"), dates.astype(np.int64)):
        _, test = temporal_split(matrix, times, cutoff=cutoff)
        np.testing.assert_array_equal(test.toarray(), [[0, 1], [1, 0]])


def test_temporal_ties_at_the_border():
    matrix = interactions()
    times = tied_times(matrix)
    dense = times.toarray()
    train, test = temporal_split(matrix, times, test_size=11, random_state=0)
    assert test.nnz == 11
    assert dense[train.nonzero()].max() <= dense[test.nonzero()].min()


def test_times_as_array_of_entries():
    users, items = np.array([1, 0, 1, 1, 0]), np.array([2, 1, 0, 2, 3])
    matrix = sp.coo_array((np.ones(5), (users, items)), shape=(2, 4))
    # Pair (1, 2) comes at times 5 and 90; the later one counts.
    times = np.array([5, 7, 8, 90, 50])
    expected = [[0, 0, 0, 1], [0, 0, 2, 0]]
    np.testing.assert_array_equal(temporal_split(matrix, times, test_size=2)[1].toarray(), expected)
    np.testing.assert_array_equal(temporal_split(matrix, times.astype("M8[s]"), test_size=2)[1].toarray(), expected)
    np.testing.assert_array_equal(leave_k_out_split(matrix, timestamps=times)[1].toarray(), expected)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), fold_in=st.floats(0.05, 0.95), n_users=st.integers(1, 20))
def test_strong_generalization_counts(seed, fold_in, n_users):
    matrix = interactions(seed)
    split = strong_generalization_split(matrix, test_users=n_users, fold_in_size=fold_in, random_state=seed)
    assert_partition(matrix, split.train, split.fold_in, split.test)
    assert len(split.users) == n_users
    n_stored = np.diff(matrix.indptr)
    expected = np.zeros(SHAPE[0])
    for user in split.users:
        expected[user] = min(max(round(fold_in * int(n_stored[user])), 1), n_stored[user] - 1)
    np.testing.assert_array_equal(np.diff(split.fold_in.indptr), expected)
    others = np.setdiff1d(np.arange(SHAPE[0]), split.users)
    np.testing.assert_array_equal(np.diff(split.train.indptr)[split.users], 0)
    np.testing.assert_array_equal(np.diff(split.test.indptr)[others], 0)


def test_strong_generalization_share_of_users():
    matrix = interactions()
    n_eligible = int((np.diff(matrix.indptr) > 1).sum())
    assert len(strong_generalization_split(matrix, test_users=0.3, random_state=0).users) == round(0.3 * n_eligible)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda m: train_test_split(m, test_size=1.5), "test_size"),
        (lambda m: train_test_split(m, test_size=0), "test_size"),
        (lambda m: train_test_split(m, test_size=m.nnz), "test_size"),
        (lambda m: leave_k_out_split(m, 0), "K must be >= 1"),
        (lambda m: leave_k_out_split(m, 20), "more than K = 20"),
        (lambda m: leave_k_out_split(m, train_only_size=1.0), "train_only_size"),
        (lambda m: temporal_split(m, times_of(m), test_size=0.2, cutoff=3), "not both"),
        (lambda m: temporal_split(m, times_of(m), cutoff="soon"), "cutoff must be a number or a date"),
        (lambda m: temporal_split(m, times_of(m), cutoff=True), "cutoff must be a number or a date"),
        (
            lambda m: temporal_split(m, times_of(m), cutoff=np.datetime64("NaT", "s")),
            "cutoff must be a number or a date",
        ),
        (lambda m: temporal_split(m, np.full(m.nnz, "2023", "M8[D]"), cutoff=3), "cutoff must be a date, such as"),
        (lambda m: temporal_split(m, np.ones(3)), "timestamps has shape"),
        (lambda m: temporal_split(m, np.full(m.nnz, np.nan)), "without NaN"),
        (lambda m: temporal_split(m, times_of(m)[:5]), "timestamps has shape"),
        (lambda m: temporal_split(m, times_of(interactions(9))), "a time for every stored pair"),
        (lambda m: strong_generalization_split(m, fold_in_size=1.0), "fold_in_size"),
        (lambda m: strong_generalization_split(m, test_users=30), "test_users"),
    ],
)
def test_bad_arguments(call, match):
    with pytest.raises(ValueError, match=match):
        call(interactions())


def test_size_of_wrong_type():
    with pytest.raises(TypeError, match="test_size"):
        train_test_split(interactions(), test_size="a fifth")
