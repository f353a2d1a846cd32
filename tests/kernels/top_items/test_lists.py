"""The best n: heaps and sorted lists against sorting, and what may not be returned."""

import numpy as np
import pytest

from fastals.kernels.top_items.lists import (
    MARK_WORDS,
    NO_ITEM,
    contains,
    fill_lowest,
    replace_worst,
    set_marks,
    sort_heap,
)


@pytest.mark.parametrize("n", [1, 10, 64, 65, 300])
def test_best_of_many_with_equal_scores(n):
    random = np.random.default_rng(n)
    offered = random.integers(0, 50, 200).astype(np.float32)
    scores, ids = np.full(n, -np.inf, np.float32), np.full(n, NO_ITEM)
    for item in random.permutation(200):
        if offered[item] > scores[0] or (offered[item] == scores[0] and item < ids[0]):
            replace_worst(scores, ids, offered[item], np.int32(item))
    sort_heap(scores, ids)
    expected = np.argsort(-offered, kind="stable")[:n]
    np.testing.assert_array_equal(ids[: len(expected)], expected)
    np.testing.assert_array_equal(scores[: len(expected)], offered[expected])
    assert (ids[len(expected) :] == -1).all()
    assert np.isnan(scores[len(expected) :]).all()


@pytest.mark.parametrize("size", [0, 1, 30, 1000])
def test_membership(size):
    seen = np.sort(np.random.default_rng(size).permutation(2000)[:size]).astype(np.int32)
    marks = np.empty(MARK_WORDS, np.int64)
    set_marks(seen, marks)
    got = [contains(seen, marks, np.int32(item)) for item in range(2000)]
    np.testing.assert_array_equal(got, np.isin(np.arange(2000), seen))


def test_lists_of_zero_queries():
    scores, ids = np.empty(4, np.float32), np.empty(4, np.int32)
    allowed = np.array([1, 1, 0, 1, 1, 1], bool)
    fill_lowest(6, allowed, np.array([0, 4], np.int32), scores, ids)
    assert ids.tolist() == [1, 3, 5, -1]
    assert scores[:3].tolist() == [0, 0, 0]
