"""The kernels around the walk over items, against NumPy."""

import numpy as np
import pytest

from fastals.kernels.top_items.tiles import TILE_ITEMS
from fastals.kernels.top_items.walk import pack_panels, row_norms, rows_sorted, select_panels, vector_norm
from fastals.serving.top_items import top_items


def panels_of(items):
    panels = np.empty((-(-len(items) // TILE_ITEMS), items.shape[1], TILE_ITEMS), items.dtype)
    pack_panels(items, np.arange(len(items), dtype=np.int32), panels)
    return panels


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_norms(scale):
    matrix = (np.random.default_rng(0).normal(size=(5, 7)) * scale).astype(np.float32)
    norms = np.empty(5)
    row_norms(matrix, norms)
    np.testing.assert_allclose(norms, np.linalg.norm(matrix.astype(np.float64), axis=1), rtol=1e-12)
    assert vector_norm(matrix[2]) == norms[2]


@pytest.mark.parametrize("size", [2.0**-1074, 2.0**-1030, 2.0**-401, 2.0**-399, 2.0**401, 2.0**1022])
def test_norms_at_the_ends_of_the_range(size):
    """Subnormal numbers, whose inverse overflows, too."""
    for vector in ([size], [0.0, size, size], [size, 0.0]):
        expected = size * np.sqrt(np.count_nonzero(vector))
        assert vector_norm(np.array(vector)) == pytest.approx(expected, rel=1e-15, abs=2.0**-1074)


def test_lists_of_subnormal_queries_are_complete():
    """Every score underflows to zero, so that ids decide, for a query alone and beside others."""
    items, queries = np.full((300, 1), 1e-154), np.array([[0.0], [2.0**-1030], [2.0**-1074]])
    for rows in (queries, queries[1:2]):
        ids, scores = top_items(rows, items, 300)
        np.testing.assert_array_equal(ids, np.tile(np.arange(300), (len(rows), 1)))
        assert not scores.any()


def test_panels():
    items = np.random.default_rng(1).normal(size=(70, 5)).astype(np.float32)
    order = np.random.default_rng(2).permutation(70).astype(np.int32)
    panels = np.empty((3, 5, TILE_ITEMS), np.float32)
    pack_panels(items, order, panels)
    flat = panels.transpose(0, 2, 1).reshape(-1, 5)
    np.testing.assert_array_equal(flat[:70], items[order])
    assert (flat[70:] == 0).all()

    positions = np.array([3, 69, 0, 40])
    chosen = np.empty((1, 5, TILE_ITEMS), np.float32)
    select_panels(panels, positions, chosen)
    np.testing.assert_array_equal(chosen[0, :, :4].T, items[order[positions]])
    assert (chosen[0, :, 4:] == 0).all()


def test_rows_sorted():
    indptr = np.array([0, 2, 2, 4])
    assert rows_sorted(indptr, np.array([1, 5, 0, 9], np.int32))
    assert not rows_sorted(indptr, np.array([5, 1, 0, 9], np.int32))
