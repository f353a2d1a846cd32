"""Lists of single queries against those of batches, which brute force checks: the same to the last bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastals.kernels.top_items import single
from fastals.kernels.top_items.cones import NEAREST
from fastals.serving.single_query import SketchIndex, top_of_one
from fastals.serving.top_items import top_items, unit_rows

DTYPES = [np.float32, np.float64]


def vectors(random, n_rows, factors, dtype, spread=1.0):
    norms = random.lognormal(0, spread, (n_rows, 1))
    return (random.normal(size=(n_rows, factors)) * norms * np.geomspace(1, 0.05, factors)).astype(dtype)


def from_a_batch(query, items, n, *, seen=None, **filters):
    """The same list by way of a batch of two queries."""
    hidden = np.empty(0, np.int32) if seen is None else seen
    ids, scores = top_items(
        np.stack([query, query]), items, n, seen=(np.array([0, hidden.size, hidden.size]), hidden), **filters
    )
    found = ids[0] >= 0
    return ids[0][found], scores[0][found]


def check_equal(got, expected):
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factors", [1, 7, 64, 65, 100])
@pytest.mark.parametrize("n_items", [1, 31, 700, 3000])
def test_all_items(dtype, factors, n_items):
    random = np.random.default_rng(factors + n_items)
    items, queries = vectors(random, n_items, factors, dtype), vectors(random, 4, factors, dtype)
    index = SketchIndex.build(items)
    seen = np.sort(random.permutation(n_items)[: n_items // 3]).astype(np.int32)
    for query in queries:
        for n in (1, 10, 200):
            check_equal(top_of_one(query, index, n), from_a_batch(query, items, n))
            check_equal(
                top_of_one(query, index, n, seen, excluded=np.array([0])),
                from_a_batch(query, items, n, seen=seen, excluded=[0]),
            )


@given(st.data())
def test_any_vectors_and_filters(data):
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    dtype = data.draw(st.sampled_from(DTYPES))
    n_items, factors = data.draw(st.integers(1, 1200)), data.draw(st.sampled_from([1, 3, 17, 70]))
    # Small integers make many equal scores; powers of ten go where squares and products underflow.
    scale = data.draw(st.sampled_from([1.0, 1e-12, 1e-19, 1e-21, 1e-30, 1e12]))
    items, query = random.integers(-3, 4, (n_items, factors)), random.integers(-3, 4, factors)
    if data.draw(st.booleans()):
        items, query = vectors(random, n_items, factors, float), random.normal(size=factors)
    items, query = (items * scale).astype(dtype), (query * data.draw(st.sampled_from([1.0, scale]))).astype(dtype)
    ids = st.lists(st.integers(0, n_items - 1), max_size=n_items)
    seen = np.array(sorted(set(data.draw(ids))), np.int32)
    excluded = data.draw(st.none() | ids.map(lambda chosen: np.array(chosen, np.int64)))
    candidates = data.draw(st.none() | ids.map(lambda chosen: np.array(chosen, np.int64)))
    n = data.draw(st.integers(1, 100))
    index = SketchIndex.build(items)

    got = top_of_one(query, index, n, seen, excluded, candidates)

    check_equal(got, from_a_batch(query, items, n, seen=seen, excluded=excluded, candidates=candidates))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_equal_norm_and_copies_of_one_another(dtype):
    random = np.random.default_rng(5)
    unit = unit_rows(np.repeat(vectors(random, 700, 70, dtype), 3, axis=0))
    index = SketchIndex.build(unit)
    for query in unit[::301]:
        check_equal(top_of_one(query, index, 10), from_a_batch(query, unit, 10))


@given(st.data())
def test_any_vectors_of_one_length(data):
    """About a few directions or many, with copies, their opposites and vectors of zeros."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    dtype, factors = data.draw(st.sampled_from(DTYPES)), data.draw(st.sampled_from([1, 3, 17, 70]))
    n_items, n_centres = data.draw(st.integers(1, 2500)), data.draw(st.sampled_from([1, 5, 200]))
    spread, scale = data.draw(st.sampled_from([0.0, 1e-6, 0.2, 3.0])), data.draw(st.sampled_from([1.0, 1e-17, 1e12]))
    rows = random.normal(size=(n_centres, factors))[random.integers(0, n_centres, n_items)]
    rows = rows + spread * random.normal(size=rows.shape)
    rows *= random.choice([-1, 1], (n_items, 1)) if data.draw(st.booleans()) else 1
    rows *= random.random((n_items, 1)) >= data.draw(st.sampled_from([0.0, 0.1, 1.0]))
    items = unit_rows(rows.astype(dtype)) * dtype(scale)
    items *= random.uniform(0.992, 1, (n_items, 1)).astype(dtype) if data.draw(st.booleans()) else 1
    query = data.draw(st.sampled_from([items[0], -items[n_items // 2], random.normal(size=factors).astype(dtype)]))
    ids = st.lists(st.integers(0, n_items - 1), max_size=n_items)
    seen = np.array(sorted(set(data.draw(ids))), np.int32)
    excluded = data.draw(st.none() | ids.map(lambda chosen: np.array(chosen, np.int64)))
    candidates = data.draw(st.none() | ids.map(lambda chosen: np.array(chosen, np.int64)))
    n = data.draw(st.sampled_from([1, 10, 100, 600]))
    index = SketchIndex.build(items)

    got = top_of_one(query, index, n, seen, excluded, candidates)

    assert len(index.items.cones) == (-(-n_items // 64) if items.any() else 0)
    check_equal(got, from_a_batch(query, items, n, seen=seen, excluded=excluded, candidates=candidates))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("factors", [64, 200])
def test_a_query_weak_in_the_leading_coordinates(factors, alike, dtype):
    """Of items that differ much where it is zero, and hardly where it is not: their sketches tell few of them off."""
    random = np.random.default_rng(9)
    items = random.normal(size=(3000, factors))
    items[:, factors // 2 :] = 0.03 + 1e-3 * items[:, factors // 2 :]
    items = unit_rows(items.astype(dtype)) if alike else items.astype(dtype)
    query = np.repeat([0, 1], factors // 2).astype(dtype)
    index = SketchIndex.build(items)
    assert single._is_weak(single._sketched(query, index.items.sketches))
    for n in (1, 10, 200):
        check_equal(top_of_one(query, index, n), from_a_batch(query, items, n))


@pytest.mark.parametrize("scale", [1e-320, 1e-310, 1e-308, 1e-300, 1e150])
@pytest.mark.parametrize("strength", [1e-306, 1e-305, 1e-300, 1.0, 1e100])
@pytest.mark.parametrize("alike", [False, True])
def test_vectors_whose_inverses_overflow(alike, strength, scale):
    random = np.random.default_rng(10)
    items = random.normal(size=(700, 20))
    items = (unit_rows(items) if alike else items) * scale
    query = strength * random.normal(size=20)
    index = SketchIndex.build(items)
    for n in (1, 10, 300):
        check_equal(top_of_one(query, index, n), from_a_batch(query, items, n))


def test_panels_far_from_a_query_are_left_out(monkeypatch):
    """Cones that leave out nothing would be right, and slow: of 63 panels, not half are bounded by items."""
    if not hasattr(single._bounded_panels, "py_func"):
        pytest.skip("only compiled kernels are swapped for Python ones here")
    random = np.random.default_rng(8)
    centres = np.repeat(random.normal(size=(50, 40)), 80, axis=0)
    items = unit_rows((centres + 0.3 * random.normal(size=centres.shape)).astype(np.float32))
    index, bounded = SketchIndex.build(items, 1.0), []

    def counted(panels, *rest):
        bounded.append(panels.size)
        bound_all(panels, *rest)

    bound_all = single._bound_all
    monkeypatch.setattr(single, "_bound_all", counted)
    monkeypatch.setattr(single, "_bounded_panels", single._bounded_panels.py_func)
    monkeypatch.setattr(single, "_left_by_panels", single._left_by_panels.py_func)
    ids, scores = np.empty(10, np.int32), np.empty(10, np.float32)
    single.rank_single.py_func(
        items[99], index.items, np.zeros(0, np.int32), np.zeros(0, bool), np.zeros(0, np.int32), scores, ids
    )

    check_equal((ids, scores), from_a_batch(items[99], items, 10))
    assert bounded[0] == NEAREST
    assert 2 <= bounded[1] < 31


@pytest.mark.slow
@pytest.mark.parametrize("factors", [32, 128])
def test_most_items_are_told_off_by_their_sketches(monkeypatch, factors):
    """A bound that tells nothing would be right, and slow: of 5,000 items, few are left to be scored."""
    if not hasattr(single.rank_single, "py_func"):
        pytest.skip("only compiled kernels are swapped for Python ones here")
    random = np.random.default_rng(6)
    items = vectors(random, 5000, factors, np.float32, spread=0.3)
    query = vectors(random, 1, factors, np.float32)[0]
    index, left = SketchIndex.build(items), []

    def counted(query, norm, count, *rest):
        left.append(count)
        offer(query, norm, count, *rest)

    offer = single._offer_left
    monkeypatch.setattr(single, "_offer_left", counted)
    ids, scores = np.empty(10, np.int32), np.empty(10, np.float32)
    single.rank_single.py_func(
        query, index.items, np.zeros(0, np.int32), np.zeros(0, bool), np.zeros(0, np.int32), scores, ids
    )

    check_equal((ids, scores), from_a_batch(query, items, 10))
    assert 10 <= sum(left) < 100
