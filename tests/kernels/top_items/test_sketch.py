"""Bounds on scores: never below the score that is computed, whatever the vectors, and close to it where they should."""

import numpy as np
import pytest

from fastals.kernels.top_items.sketch import WIDTH, Query, sketch_query, upper_bound
from fastals.serving.single_query import SketchIndex


def bounds_and_scores(items, query):
    """Bounds, and the scores added up term by term in the type of the items, in the index's order."""
    index = SketchIndex.build(items).items
    sketched = Query(np.empty(WIDTH, np.int16), np.empty(3))
    sketch_query(query, index.sketches.rotation, sketched)
    bounds = np.array([upper_bound(index.sketches, place, sketched) for place in range(len(items))])
    products = items[index.order] * query
    scores = products[:, 0].copy()
    for t in range(1, items.shape[1]):
        scores += products[:, t]
    return bounds, scores


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("factors", [1, 15, 16, 17, 64, 65, 130])
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
        smallest = (factors + WIDTH) * np.finfo(dtype).tiny
        assert (bounds >= scores - smallest).all()


def test_bounds_are_close_where_a_sketch_holds_all_coordinates():
    random = np.random.default_rng(0)
    items, query = random.normal(size=(500, 64)).astype(np.float32), random.normal(size=64).astype(np.float32)
    bounds, scores = bounds_and_scores(items, query)
    norms = np.linalg.norm(query) * np.sort(np.linalg.norm(items, axis=1))[::-1]
    assert ((bounds - scores) / norms).max() < 0.02
