"""Top-N lists against brute force: exact to the last bit, whatever is left out, batched or filtered."""

import os
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import llvmlite.binding
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastals.serving import top_items as ranking
from fastals.serving.top_items import ItemIndex, top_items, unit_rows

DATA = Path(__file__).parents[3] / "shared" / "data"
DTYPES = [np.float32, np.float64]


def brute_force(scores, n, *, seen=None, excluded=(), candidates=None):
    """Lists from all scores: by falling score and rising id, without what is filtered, padded."""
    n_queries, n_items = scores.shape
    ids, values = np.full((n_queries, n), -1), np.full((n_queries, n), np.nan, scores.dtype)
    for q in range(n_queries):
        left = np.ones(n_items, bool) if candidates is None else np.isin(np.arange(n_items), candidates)
        left[np.asarray(excluded, np.int64)] = False
        if seen is not None:
            left[seen[1][seen[0][q] : seen[0][q + 1]]] = False
        left = np.flatnonzero(left)
        best = left[np.argsort(-scores[q, left], kind="stable")][:n]
        ids[q, : best.size], values[q, : best.size] = best, scores[q, best]
    return ids, values


def check_equal(got, expected):
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def random_seen(random, n_queries, n_items):
    """Row pointers and unsorted ids; some queries have seen nothing, some nearly everything."""
    rows = [random.permutation(n_items)[: random.choice([0, 3, n_items // 3, n_items - 2])] for _ in range(n_queries)]
    return np.concatenate([[0], np.cumsum([row.size for row in rows])]), np.concatenate(rows)


def skewed(random, n_rows, factors, dtype):
    """Vectors whose norms differ as those of trained factors do, so that walks end at all depths."""
    norms = random.lognormal(0, 1, (n_rows, 1))
    return (random.normal(size=(n_rows, factors)) * norms).astype(dtype)


def computed_scores(queries, items):
    """All scores as `top_items` computes them, from lists that leave nothing out."""
    scores = np.empty((queries.shape[0], items.shape[0]), items.dtype)
    for q in range(queries.shape[0]):
        ids, values = top_items(queries[q : q + 1], items, items.shape[0])
        scores[q, ids[0]] = values[0]
    return scores


@st.composite
def problems(draw):
    """Small integers, whose scores are exact in any order of summation, with ties, zero rows and all filters."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_queries, n_items, factors = draw(st.integers(1, 20)), draw(st.integers(1, 150)), draw(st.integers(1, 20))
    largest = draw(st.sampled_from([0, 1, 5]))
    dtype = draw(st.sampled_from(DTYPES))
    queries, items = (
        random.integers(-largest, largest + 1, (rows, factors)).astype(dtype) for rows in (n_queries, n_items)
    )
    items = items[random.integers(0, draw(st.integers(1, n_items)), n_items)]
    items[random.random(n_items) < 0.1] = 0
    queries[random.random(n_queries) < 0.1] = 0
    filters = {}
    if draw(st.booleans()):
        filters["seen"] = random_seen(random, n_queries, n_items)
    if draw(st.booleans()):
        filters["excluded"] = random.integers(0, n_items, draw(st.integers(0, n_items)))
    if draw(st.booleans()):
        filters["candidates"] = random.integers(0, n_items, draw(st.integers(0, 2 * n_items)))
    return queries, items, draw(st.integers(1, n_items + 5)), filters


@given(problems())
def test_equals_brute_force(problem):
    queries, items, n, filters = problem

    got = top_items(queries, items, n, **filters)

    check_equal(got, brute_force(queries @ items.T, n, **filters))
    assert got[0].dtype == np.int32
    assert got[1].dtype == items.dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 10, 100])
@pytest.mark.slow
def test_pruned_lists_are_exact_and_independent_of_batch_threads_and_filters(dtype, n, monkeypatch):
    monkeypatch.setattr(ranking, "_SERIAL_WORK", 0)
    monkeypatch.setattr(ranking, "_BLOCK_BYTES", 4096)
    monkeypatch.setattr(ranking, "_BLOCKS_PER_LAUNCH", 2)
    random = np.random.default_rng(n)
    queries, items = skewed(random, 90, 17, dtype), skewed(random, 2000, 17, dtype)
    items[1000:1200] = items[:200]
    seen = random_seen(random, 90, 2000)
    index = ItemIndex.build(items)
    expected = brute_force(computed_scores(queries, items), n, seen=seen, excluded=[3])

    for num_threads in (1, 2, None):
        got = top_items(queries, items, n, seen=seen, excluded=[3], index=index, num_threads=num_threads)
        check_equal(got, expected)
    for q in range(0, 90, 7):
        one_seen = (seen[0][q : q + 2] - seen[0][q], seen[1][seen[0][q] : seen[0][q + 1]])
        got = top_items(queries[q : q + 1], items, n, seen=one_seen, excluded=[3], index=index)
        check_equal(got, [part[q : q + 1] for part in expected])
    monkeypatch.setattr(ranking, "_SERIAL_WORK", 2**62)
    check_equal(top_items(queries, items, n, seen=seen, excluded=[3], index=index), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_are_the_inner_products(dtype):
    random = np.random.default_rng(0)
    queries, items = skewed(random, 20, 64, dtype), skewed(random, 300, 64, dtype)

    ids, scores = top_items(queries, items, 300)

    products = np.take_along_axis(queries.astype(float) @ items.astype(float).T, ids, axis=1)
    scale = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(items, axis=1)[ids]
    assert np.abs(scores - products).max() > 0 or dtype == np.float64
    np.testing.assert_array_less(np.abs(scores - products), 64 * np.finfo(dtype).eps * scale)


def test_norm_bound_allows_for_rounding():
    """Items along the query attain the bound; computed scores then differ from it by rounding, either way."""
    random = np.random.default_rng(1)
    query = random.normal(size=(1, 40)).astype(np.float32)
    items = (query * (1 + 1e-6 * random.normal(size=(3000, 1)))).astype(np.float32)

    got = top_items(query, items, 5)

    check_equal(got, brute_force(computed_scores(query, items), 5))


@pytest.mark.parametrize(("scale", "dtype"), [(1e-23, np.float32), (1e18, np.float32), (1e-170, float), (1e150, float)])
def test_extreme_magnitudes(scale, dtype):
    """Products that underflow, and squares that do or that overflow."""
    random = np.random.default_rng(2)
    queries, items = (random.normal(size=(rows, 9)) * scale for rows in (12, 900))
    queries, items = queries.astype(dtype), items.astype(dtype)

    got = top_items(queries, items, 7)

    check_equal(got, brute_force(computed_scores(queries, items), 7))


def test_cosine_on_unit_rows():
    random = np.random.default_rng(3)
    items = random.normal(size=(500, 24))
    unit = items / np.linalg.norm(items, axis=1, keepdims=True)

    ids, scores = top_items(unit, unit, 10)

    np.testing.assert_array_equal(ids[:, 0], np.arange(500))
    np.testing.assert_allclose(scores, np.sort(unit @ unit.T, axis=1)[:, :-11:-1], rtol=1e-12, atol=1e-14)


def test_zero_query_returns_lowest_ids_that_are_left():
    items = np.random.default_rng(4).normal(size=(50, 3))
    seen = (np.array([0, 2]), np.array([1, 4]))

    ids, scores = top_items(np.zeros((1, 3)), items, 4, seen=seen, excluded=[0, 3])

    np.testing.assert_array_equal(ids, [[2, 5, 6, 7]])
    np.testing.assert_array_equal(scores, np.zeros((1, 4)))


@pytest.mark.parametrize("n_queries", [1, 9])
@pytest.mark.parametrize(
    "filters",
    [{"excluded": np.arange(40)}, {"candidates": []}, {"candidates": [3, 3], "excluded": [3]}, {"seen": None}],
)
def test_nothing_left(n_queries, filters):
    random = np.random.default_rng(5)
    if "seen" in filters:
        filters = {"seen": (40 * np.arange(n_queries + 1), np.tile(np.arange(40), n_queries))}

    ids, scores = top_items(random.normal(size=(n_queries, 4)), random.normal(size=(40, 4)), 3, **filters)

    np.testing.assert_array_equal(ids, np.full((n_queries, 3), -1))
    np.testing.assert_array_equal(scores, np.full((n_queries, 3), np.nan))


def test_no_queries():
    ids, scores = top_items(np.empty((0, 4)), np.ones((40, 4)), 3, seen=(np.zeros(1, np.int64), []))

    assert ids.shape == scores.shape == (0, 3)


def test_arguments_are_not_changed_and_may_be_read_only_strided_or_of_another_type():
    random = np.random.default_rng(6)
    queries, items = random.normal(size=(6, 10)).astype(np.float32), random.normal(size=(80, 10))
    seen = random_seen(random, 6, 80)
    expected = top_items(queries[:, ::2].astype(np.float64), np.ascontiguousarray(items[:, ::2]), 5, seen=seen)
    copies = [a.copy() for a in (queries, items, *seen)]
    for array in (queries, items, *seen):
        array.flags.writeable = False

    got = top_items(queries[:, ::2], items[:, ::2], 5, seen=(seen[0].astype(np.int32), seen[1].astype(np.uint16)))

    check_equal(got, expected)
    check_equal((queries, items, *seen), copies)


def test_many_python_threads_at_once():
    random = np.random.default_rng(7)
    queries, items = skewed(random, 400, 16, np.float32), skewed(random, 6000, 16, np.float32)
    index = ItemIndex.build(items)
    expected = top_items(queries, items, 5, index=index)
    got = {}

    def work(thread):
        for q in range(thread, 400, 16):
            got[q] = top_items(queries[q : q + 1], items, 5, index=index)
        got[f"batch {thread}"] = top_items(queries, items, 5, index=index)

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(16)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    for q in range(400):
        check_equal(got[q], [part[q : q + 1] for part in expected])
    for thread in range(16):
        check_equal(got[f"batch {thread}"], expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_queries", [1, 3, 80])
@pytest.mark.parametrize("n_candidates", [1, 31, 64, 400])
def test_few_candidates_score_as_among_all(dtype, n_queries, n_candidates):
    """Scores are bitwise those of the whole walk, with seen, excluded and zero queries."""
    random = np.random.default_rng(10)
    queries, items = skewed(random, n_queries, 21, dtype), skewed(random, 2000, 21, dtype)
    queries[1:2] = 0
    candidates = random.integers(0, 2000, n_candidates)
    seen, excluded = random_seen(random, n_queries, 2000), candidates[:5]
    index = ItemIndex.build(items)
    expected = brute_force(computed_scores(queries, items), 10, seen=seen, excluded=excluded, candidates=candidates)

    got = top_items(queries, items, 10, seen=seen, excluded=excluded, candidates=candidates, index=index)

    check_equal(got, expected)


def test_memory_is_bounded():
    """Results aside, a walk takes blocks; the index is one copy of the factors, a restricted one a quarter."""
    random = np.random.default_rng(8)
    queries, items = skewed(random, 4000, 32, np.float32), skewed(random, 20000, 32, np.float32)
    index = ItemIndex.build(items)
    top_items(queries[:500], items, 10, index=index, candidates=np.arange(4000))
    held = sum(part.nbytes for part in index[:3])

    tracemalloc.start()
    ids, scores = top_items(queries, items, 10, index=index, candidates=np.arange(4000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held <= items.nbytes + 12 * 20000 + 32 * 32 * 4
    assert peak <= ids.nbytes + scores.nbytes + items.nbytes // 4 + 2**20


def other_machine() -> None:
    """What one process checks of the whole: exact lists, and one score for a pair on every path."""
    random = np.random.default_rng(9)
    for factors in (5, 16):
        queries, items = skewed(random, 11, factors, np.float32), skewed(random, 200, factors, np.float32)
        seen = random_seen(random, 11, 200)
        check_equal(top_items(queries, items, 9, seen=seen), brute_force(computed_scores(queries, items), 9, seen=seen))
    print("exact")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("features", "settings"),
    [
        ("", {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}),
        ("avx2 fma", {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+sse4.1,+sse4.2,+avx,+avx2,+fma"}),
        ("", {"NUMBA_DISABLE_JIT": "1"}),
    ],
)
def test_other_machines(features, settings):
    """Shorter vectors, no fused multiply-add, and no compiler."""
    host = llvmlite.binding.get_host_cpu_features()
    if not all(host.get(feature, False) for feature in features.split()):
        pytest.skip(f"this machine lacks {features}")

    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import test_top_items; test_top_items.other_machine()"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]), **settings},
        capture_output=True,
        text=True,
        timeout=240,
    )

    assert (found.returncode, found.stdout) == (0, "exact\n"), found.stderr


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"n": 0}, ValueError, "n must be >= 1"),
        ({"n": 2.0}, TypeError, "n must be an integer"),
        ({"queries": np.ones(3)}, ValueError, "queries must have shape"),
        ({"queries": np.ones((2, 4))}, ValueError, "queries must have 3 factors"),
        ({"queries": [[1.0, 2.0, 3.0]]}, TypeError, "queries must be a NumPy array"),
        ({"items": np.ones((5, 3), int)}, TypeError, "items must have dtype"),
        ({"index": ItemIndex.build(np.ones((4, 3)))}, ValueError, "index must have been built"),
        ({"excluded": [5]}, ValueError, "excluded must lie in 0 .. 4; got 5"),
        ({"candidates": [-1]}, ValueError, "candidates must lie in 0 .. 4; got -1"),
        ({"candidates": [0.5]}, TypeError, "candidates must be"),
        ({"seen": (np.array([0, 1]), np.array([0]))}, ValueError, "seen must have 3 integer row pointers"),
        ({"seen": (np.array([0, 1, 3]), np.array([0]))}, ValueError, "seen must have row pointers that rise"),
        ({"seen": (np.array([0, 1, 2]), np.array([0, 5]))}, ValueError, "seen must hold integer ids in 0 .. 4"),
    ],
)
def test_errors_name_the_argument(change, error, message):
    arguments = {"queries": np.ones((2, 3)), "items": np.ones((5, 3)), "n": 2, **change}

    with pytest.raises(error, match=message):
        top_items(**arguments)


def test_real_factors_against_brute_force():
    """Factors of a truncated singular value decomposition: pruning as it happens in use."""
    path = DATA / "ml-100k.npz"
    if not path.exists():
        pytest.skip("needs the shared data sets")
    data = np.load(path)
    user, item = (data[name] for name in (("user", "item") if "user" in data else ("train_user", "train_item")))
    dense = np.zeros((user.max() + 1, item.max() + 1))
    dense[user, item] = 1
    left = np.linalg.eigh(dense @ dense.T)[1][:, :-17:-1]
    queries, items = left.astype(np.float32), (dense.T @ left).astype(np.float32)
    seen = (np.concatenate([[0], np.cumsum(dense.sum(axis=1))]).astype(np.int64), np.nonzero(dense)[1])

    got = top_items(queries, items, 10, seen=seen)

    check_equal(got, brute_force(computed_scores(queries, items), 10, seen=seen))


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e-160, 1, 1e150])
def test_unit_rows_of_any_magnitude(scale):
    """Also where squares underflow; rows of zeros stay."""
    rows = np.array([[3.0, 4], [0, 0], [-1, 0]]) * scale

    got = unit_rows(rows)

    np.testing.assert_allclose(got, [[0.6, 0.8], [0, 0], [-1, 0]], rtol=1e-3 if scale < 1e-300 else 1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, 2e19])
def test_items_whose_products_may_overflow_are_refused(value):
    items = np.ones((4, 2), np.float32)
    items[1, 1] = value
    with pytest.raises(ValueError, match="items must be finite and below"):
        top_items(np.ones((1, 2), np.float32), items, 1)
