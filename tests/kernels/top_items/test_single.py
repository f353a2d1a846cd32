"""Places of candidates; the lists themselves are tested in serving/test_single_query.py, bit for bit."""

import numpy as np
import pytest

from fastals.kernels.top_items.products import PANEL
from fastals.kernels.top_items.single import chosen_places, reached_by


@pytest.mark.parametrize("n_items", [1, 64, 65, 500])
def test_each_candidate_that_may_be_returned_once(n_items):
    random = np.random.default_rng(n_items)
    places_of = random.permutation(n_items).astype(np.int32)
    candidates, excluded, seen = (random.integers(0, n_items, size).astype(np.int32) for size in (200, 20, 30))
    places = np.empty(candidates.size, np.int32)

    count = chosen_places(candidates, excluded, seen, places_of, places)

    expected = np.setdiff1d(candidates, np.concatenate((excluded, seen)))
    np.testing.assert_array_equal(np.sort(places[:count]), np.sort(places_of[expected]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("wanted", [1, 32, 33, 256])
@pytest.mark.parametrize("panels", [1, 7, 8, 200])
@pytest.mark.parametrize("least", [-np.inf, 0.5])
def test_a_value_that_as_many_reach_as_are_wanted(panels, wanted, least, dtype):
    """Ties, values left out, and what lies behind the last value do not lead it astray."""
    random = np.random.default_rng(panels)
    values = np.round(random.normal(size=(panels, PANEL)), 1).astype(dtype)
    values[random.random(values.shape) < 0.3] = -np.inf
    count = panels * PANEL - 5
    values.reshape(-1)[count:] = 9
    least = dtype(least)

    got = reached_by(values, count, least, np.empty(wanted, dtype), np.empty(wanted, np.int32))

    within = values.reshape(-1)[:count]
    assert got == least or (got > least and np.count_nonzero(within >= got) >= wanted)
    if (panels, wanted, least) == (200, 32, -np.inf):  # 45 are expected above the median of 64 largest
        assert np.count_nonzero(within > got) < 4 * wanted
