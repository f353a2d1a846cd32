"""A threshold from the most promising items: as high as they make it, and never above what n items reach."""

import numpy as np
import pytest

from fastals.kernels.top_items.products import PANEL
from fastals.kernels.top_items.promising import (
    Promising,
    inner_product,
    look_promising,
    look_promising_of,
    reached_by,
)
from fastals.kernels.top_items.single import _panel_for
from fastals.serving.single_query import SketchIndex


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("wanted", [1, 32, 33, 256])
@pytest.mark.parametrize("panels", [1, 7, 8, 200])
@pytest.mark.parametrize("least", [-np.inf, 0.5])
def test_a_value_that_as_many_reach_as_are_wanted(panels, wanted, least, dtype):
    """Ties, values left out, and panels that are not named do not lead it astray."""
    random = np.random.default_rng(panels)
    values = np.round(random.normal(size=(2 * panels, PANEL)), 1).astype(dtype)
    values[random.random(values.shape) < 0.3] = -np.inf
    chosen = np.sort(random.permutation(2 * panels)[:panels]).astype(np.int32)
    within = values[chosen]
    values[np.setdiff1d(np.arange(2 * panels), chosen)] = 9
    least = dtype(least)

    got = reached_by(values, chosen, least, np.empty(wanted, dtype), np.empty(wanted, np.int32))

    assert got == least or (got > least and np.count_nonzero(within >= got) >= wanted)
    if (panels, wanted, least) == (200, 32, -np.inf):  # 45 are expected above the median of 64 largest
        assert np.count_nonzero(within > got) < 4 * wanted


def looked_at(look, values, places, n, n_items=1000, factors=20):
    """The threshold that ``look`` finds, and the scores of all items by place."""
    random = np.random.default_rng(2)
    items, query = random.normal(size=(n_items, factors)).astype(np.float32), random.normal(size=factors)
    query = query.astype(np.float32)
    index = SketchIndex.build(items).items
    panel, scores, ids = _panel_for(query), np.empty(n, np.float32), np.empty(n, np.int32)
    scored = items[index.order] @ query
    promising = Promising(np.empty(32, np.float32), np.empty(32, np.int32))
    if look is look_promising:
        look(query, values(scored), places, np.float32(-np.inf), index, promising, panel, scores, ids)
    else:
        look(query, values(scored), places, index, promising, panel, scores, ids)
    return panel.threshold[0], scored


@pytest.mark.parametrize("n", [1, 10, 32])
def test_the_best_of_panels_give_what_n_items_reach(n):
    """Of promises that keep their word the threshold is the n-th best score, of the panels that are named."""
    panels = np.array([0, 2, 5, 15], np.int32)  # the last has 40 places

    def values(scored):
        full = np.full((16, PANEL), 100, np.float32)  # what no item has
        full.reshape(-1)[:1000] = scored
        full[2, 7] = -np.inf
        return full

    got, scored = looked_at(look_promising, values, panels, n)

    scored[2 * PANEL + 7] = -np.inf
    named = np.concatenate([scored[number * PANEL : (number + 1) * PANEL] for number in panels])
    expected = np.sort(named)[-n]
    assert got <= expected
    np.testing.assert_allclose(got, expected, rtol=1e-3)


def test_the_best_of_places_give_what_n_items_reach():
    places = np.arange(3, 1000, 7, dtype=np.int32)

    got, scored = looked_at(look_promising_of, lambda scored: scored[places], places, 10)

    assert got <= np.sort(scored[places])[-10]
    np.testing.assert_allclose(got, np.sort(scored[places])[-10], rtol=1e-3)


def test_fewer_places_than_are_asked_for_give_no_threshold():
    places = np.arange(9, dtype=np.int32)

    got, _ = looked_at(look_promising_of, lambda scored: scored[places], places, 10)

    assert got == -np.inf


def test_inner_product_of_a_row():
    rows = np.arange(12, dtype=np.float64).reshape(3, 4)
    assert inner_product(rows[1], rows, 2) == rows[1] @ rows[2]
