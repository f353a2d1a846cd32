"""Bounds on scores: never below the score that is computed, whatever the vectors, and close to it where they should."""

import numpy as np
import pytest

from fastals.kernels.top_items.products import PANEL
from fastals.kernels.top_items.sketch import (
    LENGTHS,
    WIDEST,
    Query,
    bound_panels,
    bound_places,
    levels_of,
    sketch_query,
    tighten_panels,
)
from fastals.serving.single_query import SketchIndex


def sketched_query(query, sketches):
    chunks = sketches.codes.shape[1]
    sketched = Query(np.empty(sketches.codes.shape[1:], np.int16), np.empty(LENGTHS + levels_of(chunks)))
    sketch_query(query, sketches, sketched)
    return sketched


def bounds_and_scores(items, query):
    """Bounds of panels, tightened, whole, and of each level, and scores added up term by term, in the index's order."""
    index = SketchIndex.build(items).items
    sketches, sketched = index.sketches, sketched_query(query, index.sketches)
    levels = levels_of(sketches.codes.shape[1])
    estimates, upper = np.empty((2, len(sketches.panels), PANEL), items.dtype)
    panels = np.arange(len(sketches.panels), dtype=np.int32)
    bound_panels(panels, False, sketches, sketched, estimates, upper)
    bounds = [upper.reshape(-1)[: len(items)].copy()]
    tighten_panels(panels, items.dtype.type(-np.inf), sketches, sketched, upper)
    bounds.append(upper.reshape(-1)[: len(items)].copy())
    bound_panels(panels, True, sketches, sketched, estimates, upper)
    bounds.append(upper.reshape(-1)[: len(items)].copy())
    products, upper = np.zeros(len(items), np.int32), np.empty(len(items), items.dtype)
    for level in range(levels):
        bound_places(level, len(items), np.arange(len(items), dtype=np.int32), sketches, sketched, products, upper)
        bounds.append(upper.copy())
    products = items[index.order] * query
    scores = products[:, 0].copy()
    for t in range(1, items.shape[1]):
        scores += products[:, t]
    return [bound.astype(np.float64) / sketched.numbers[0] for bound in bounds], scores


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("factors", [1, 15, 31, 32, 33, 64, 65, 130, 270])
@pytest.mark.parametrize("scale", [1.0, 1e-15, 1e-22, 1e12, 1e-155, 1e-300])
@pytest.mark.slow
def test_bounds_are_never_below_the_score(dtype, factors, scale):
    random = np.random.default_rng(factors)
    items = (random.normal(size=(300, factors)) * random.lognormal(0, 2, (300, 1)) * scale).astype(dtype)
    items[::50] = 0
    for query in (random.normal(size=factors), items[3] / (np.abs(items[3]).max() or 1), np.eye(factors)[0]):
        query = (query * scale).astype(dtype)
        bounds, scores = bounds_and_scores(items, query)
        # Products that underflow are left to the caller, who lowers the threshold.
        smallest = (factors + WIDEST) * np.finfo(dtype).tiny
        for bound in bounds:
            assert (bound >= scores - smallest).all()


def test_bounds_are_close_where_a_sketch_holds_all_coordinates():
    random = np.random.default_rng(0)
    items, query = random.normal(size=(500, 64)).astype(np.float32), random.normal(size=64).astype(np.float32)
    (leading, tightened, whole, bounds), scores = bounds_and_scores(items, query)
    norms = np.linalg.norm(query) * np.sort(np.linalg.norm(items, axis=1))[::-1]
    for bound in (tightened, whole, bounds):
        assert ((bound - scores) / norms).max() < 0.02 < ((leading - scores) / norms).mean()


def test_panels_below_the_limit_keep_their_bounds_and_what_is_left_out_stays_so():
    random = np.random.default_rng(1)
    items, query = random.normal(size=(3 * PANEL, 64)).astype(np.float32), random.normal(size=64).astype(np.float32)
    items[: 2 * PANEL] *= 10
    index = SketchIndex.build(items).items
    sketches, sketched = index.sketches, sketched_query(query, index.sketches)
    estimates, upper = np.empty((2, 3, PANEL), np.float32)
    panels = np.arange(3, dtype=np.int32)
    bound_panels(panels, False, sketches, sketched, estimates, upper)
    upper[0, 5] = -np.inf
    before = upper.copy()

    tighten_panels(panels, np.nextafter(upper[2].max(), np.float32(np.inf)), sketches, sketched, upper)

    assert upper[0, 5] == -np.inf
    np.testing.assert_array_equal(upper[2], before[2])
    assert (upper[:2] <= before[:2]).all()
    assert (upper[:2] < before[:2]).mean() > 0.99
