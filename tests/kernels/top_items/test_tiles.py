"""The tile of scores, compiled and plain, against NumPy."""

import numpy as np
import pytest
from numba import njit

from fastals.kernels.top_items.tiles import TILE_ITEMS, lowest_bit, make_plain_score_tile, score_tile


@njit
def tile(X, Y, k, thresholds, C, masks):
    return score_tile(X, 0, Y, 0, k, thresholds, 0, C, masks)


@pytest.mark.parametrize("threshold", [-np.inf, 0.0, 1e9])
def test_scores_and_marks(threshold):
    random, k = np.random.default_rng(0), 20
    queries, items = random.normal(size=(8, k)).astype(np.float32), random.normal(size=(TILE_ITEMS, k))
    X, Y = np.ascontiguousarray(queries.T), np.ascontiguousarray(items.astype(np.float32).T)
    expected, thresholds = queries @ items.T, np.full(8, threshold, np.float32)
    for run in (tile, lambda X, Y, k, h, C, masks: make_plain_score_tile(8)(X, 0, Y, 0, k, h, 0, C, masks)):
        C, masks = np.zeros((8, TILE_ITEMS), np.float32), np.zeros(8, np.int64)

        found = run(X, Y, k, thresholds, C, masks)

        reached = expected >= threshold
        assert bool(found) == reached.any()
        for m in range(8):
            bits = [bool(int(masks[m]) >> j & 1) for j in range(TILE_ITEMS)]
            assert bits == reached[m].tolist()
            np.testing.assert_allclose(C[m][reached[m]], expected[m][reached[m]], rtol=1e-4, atol=1e-4)


def test_lowest_bit():
    @njit
    def lowest(mask):
        return lowest_bit(mask)

    assert [lowest(1 << j | 1 << 40) for j in (0, 3, 39)] == [0, 3, 39]
