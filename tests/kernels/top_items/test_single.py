"""Places of candidates; the lists themselves are tested in serving/test_single_query.py, bit for bit."""

import numpy as np
import pytest

from fastals.kernels.top_items.single import chosen_places


@pytest.mark.parametrize("n_items", [1, 64, 65, 500])
def test_each_candidate_that_may_be_returned_once(n_items):
    random = np.random.default_rng(n_items)
    places_of = random.permutation(n_items).astype(np.int32)
    candidates, excluded, seen = (random.integers(0, n_items, size).astype(np.int32) for size in (200, 20, 30))
    places = np.empty(candidates.size, np.int32)

    count = chosen_places(candidates, excluded, seen, places_of, places)

    expected = np.setdiff1d(candidates, np.concatenate((excluded, seen)))
    np.testing.assert_array_equal(np.sort(places[:count]), np.sort(places_of[expected]))
