"""Items of one length by their directions: panels of neighbours, and bounds that no score is above."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastals.kernels.top_items.cones import NEAREST, _halve, bound_cones, measure_cones, order_by_direction
from fastals.kernels.top_items.products import PANEL
from fastals.kernels.top_items.sketch import LENGTHS, WIDEST, Query, levels_of, sketch_query
from fastals.kernels.top_items.walk import bound_factors
from fastals.serving.single_query import SketchIndex


def clustered(random, n_clusters, size, factors, spread, dtype=np.float64):
    """Rows of length 1, some about each of several directions, in no order."""
    centres = random.normal(size=(n_clusters, 1, factors))
    rows = centres / np.linalg.norm(centres, axis=2, keepdims=True) + spread * random.normal(
        size=(n_clusters, size, factors)
    ) / np.sqrt(factors)
    rows = rows.reshape(-1, factors)[random.permutation(n_clusters * size)]
    return (rows / np.linalg.norm(rows, axis=1)[:, None]).astype(dtype)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=300), st.data())
def test_halves_of_any_values(values, data):
    middle = data.draw(st.integers(1, len(values) - 1))
    values, ids = np.array(values, float), np.arange(len(values), dtype=np.int32)
    got = values.copy()

    _halve(got, ids, middle)

    np.testing.assert_array_equal(got, values[ids])
    np.testing.assert_array_equal(np.sort(ids), np.arange(len(values)))
    assert got[:middle].min() >= got[middle:].max()


def mean_angle(rows, ids):
    """Between the rows of a panel and their mean."""
    cosines = []
    for first in range(0, len(ids), PANEL):
        panel = rows[ids[first : first + PANEL]].astype(np.float64)
        centre = panel.mean(axis=0)
        cosines.extend(panel @ centre / np.linalg.norm(centre))
    return np.degrees(np.arccos(np.clip(cosines, -1, 1))).mean()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_clusters", [16, 13])
def test_panels_hold_neighbours(n_clusters, dtype):
    random = np.random.default_rng(n_clusters)
    rows = clustered(random, n_clusters, 5 * PANEL, 20, 0.2, dtype)
    ids = random.permutation(len(rows)).astype(np.int32)
    before = mean_angle(rows, ids)

    order_by_direction(rows, ids)

    np.testing.assert_array_equal(np.sort(ids), np.arange(len(rows)))
    # A cluster that a half ends in shares a panel with another: 3 of 65 panels here, none of 80.
    assert before > 70
    assert mean_angle(rows, ids) < 16


@pytest.mark.parametrize("n_rows", [1, PANEL, PANEL + 1, 10 * PANEL])
def test_equal_rows_have_some_order(n_rows):
    rows, ids = np.ones((n_rows, 3), np.float32), np.arange(n_rows, dtype=np.int32)

    order_by_direction(rows, ids)

    np.testing.assert_array_equal(np.sort(ids), np.arange(n_rows))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e15])
def test_cones_hold_their_rows(dtype, scale):
    random = np.random.default_rng(0)
    rows = clustered(random, 3, PANEL, 12, 0.3) * random.uniform(0.99, 1, (3 * PANEL, 1)) * scale
    rows[:PANEL] = rows[0]
    rows[2 * PANEL - 3 : 2 * PANEL] = 0
    rows[2 * PANEL :: 2] = -rows[2 * PANEL + 1 :: 2]  # their mean is 0: the first row is the centre
    rows = np.concatenate((rows, np.zeros((5, 12)))).astype(dtype)
    norms = np.linalg.norm(rows.astype(np.float64) / scale, axis=1) * scale
    ids, centres, cones = np.arange(len(rows), dtype=np.int32), np.empty((4, 12), dtype), np.empty((4, 3))

    measure_cones(rows, ids, norms, centres, cones)

    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), [1, 1, 1, 0], rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(centres[2], rows[2 * PANEL] / norms[2 * PANEL], rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(cones[3], [1, 0, 0])
    for panel in range(3):
        own = slice(panel * PANEL, (panel + 1) * PANEL)
        present = norms[own] > 0
        directions = rows[own][present].astype(np.float64) / norms[own][present][:, None]
        centre = centres[panel].astype(np.float64)
        cosine = (directions @ centre / np.linalg.norm(centre)).min()
        # Beside equal rows a sine is rounding: of 1 - cosine^2 its root, as measured the rounding itself.
        np.testing.assert_allclose(cones[panel, :2], [cosine, np.sqrt(max(1 - cosine**2, 0))], atol=1e-6)
        assert cones[panel, 2] == norms[own].max()
    assert cones[0, 1] < 4e-15


def bounds_and_scores(items, query):
    """How near the centres are, the number of them that count as nearest, and bounds and scores by panel."""
    index = SketchIndex.build(items).items
    sketches, n_panels = index.sketches, len(index.cones)
    assert n_panels == -(-len(items) // PANEL)
    sketched = Query(
        np.empty(sketches.codes.shape[1:], np.int16), np.empty(LENGTHS + levels_of(sketches.codes.shape[1]))
    )
    sketch_query(query, sketches, sketched)
    upper, estimates = np.empty((len(sketches.panels), PANEL), items.dtype), np.empty((1, PANEL), items.dtype)
    near, bounds = np.empty((2, n_panels))
    length = bound_factors(query)[0] * sketched.numbers[0]
    least = bound_cones(length, index.cones, sketches, sketched, estimates, upper, near, bounds)
    products = items[index.order] * query
    scores = products[:, 0].copy()
    for t in range(1, items.shape[1]):
        scores += products[:, t]
    scores = np.array([scores[first : first + PANEL].max() for first in range(0, len(items), PANEL)])
    return near / sketched.numbers[0], np.count_nonzero(near >= least), bounds / sketched.numbers[0], scores


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("factors", [1, 2, 15, 64, 65, 130, 270])
@pytest.mark.parametrize("scale", [1.0, 1e-15, 1e12, 1e-155])
def test_no_score_is_above_its_bound(dtype, factors, scale):
    random = np.random.default_rng(factors)
    items = clustered(random, 12, PANEL, factors, 0.5) * random.uniform(0.995, 1, (12 * PANEL, 1))
    items[50] = items[51] = items[52]
    items = (items * (scale if dtype == np.float64 or scale > 1e-30 else 1.0)).astype(dtype)
    items[::40] = 0
    others = random.normal(size=factors), np.eye(factors)[0], items[:200].sum(axis=0, dtype=float)
    for query in (*others, items[51], -items[51].astype(float), items[51] + 1e-4 * np.abs(items[51]).max()):
        query = (query / np.abs(query).max()).astype(dtype)
        near, nearest, bounds, scores = bounds_and_scores(items, query)
        smallest = (factors + WIDEST) * np.finfo(dtype).tiny
        assert (bounds >= scores - smallest).all()
        assert np.isfinite(near).all()
        assert min(NEAREST, len(near)) <= nearest


@pytest.mark.parametrize("spread", [0.05, 0.5, 2.0])
def test_bounds_are_those_of_the_cones(spread):
    """cos(theta - alpha), but for the rounding of the centres' sketches."""
    random = np.random.default_rng(1)
    items = clustered(random, 32, PANEL, 64, spread, np.float32)
    query = items[7]

    near, nearest, bounds, scores = bounds_and_scores(items, query)

    order, expected = SketchIndex.build(items).items.order, []
    for first in range(0, len(items), PANEL):
        own = items[order[first : first + PANEL]].astype(np.float64)
        centre = own.mean(axis=0) / np.linalg.norm(own.mean(axis=0))
        alpha, theta = np.arccos([(own @ centre).min(), query @ centre])
        expected.append(max(np.cos(max(theta - alpha, 0)), 0))
    np.testing.assert_allclose(bounds, expected, atol=0.02)
    assert nearest == NEAREST
    assert near.argmax() == scores.argmax()
