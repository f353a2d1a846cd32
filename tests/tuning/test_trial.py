"""What a trial of a search draws and fits."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastals import ImplicitALS
from fastals.tuning.trial import as_left_by_fit, derived_seed

DENSE = sp.csr_array((np.random.default_rng(0).random((60, 30)) < 0.6).astype(np.float64))


@pytest.mark.parametrize("acceleration", [False, True])
@pytest.mark.parametrize("data", ["sparse", "dense"])
@pytest.mark.parametrize("known", [False, True])
def test_a_sweep_is_measured_as_a_fit_that_ends_with_it(ratings, data, acceleration, known):
    """Bit for bit, where fits end with another half-sweep, too; the model under way is left alone."""
    matrix = ratings if data == "sparse" else DENSE
    features = {"user_features": np.random.default_rng(1).random((matrix.shape[0], 2))} if known else {}
    got, loose = [], []

    def callback(model, sweep, loss):
        before = np.array(model.user_factors)
        got.append(as_left_by_fit(model))
        np.testing.assert_array_equal(model.user_factors, before)
        loose.append(not np.array_equal(before, got[-1].user_factors))

    options = {"factors": 4, "random_state": 0, "tol": 1e-6, "acceleration": acceleration}
    whole = ImplicitALS(iterations=6, **options).fit(matrix, callback=callback, **features)

    for sweep, model in enumerate(got):
        expected = ImplicitALS(iterations=sweep + 1, **options).fit(matrix, **features)
        np.testing.assert_array_equal(model.user_factors, expected.user_factors)
        np.testing.assert_array_equal(model.item_factors, expected.item_factors)
    assert any(loose) or not acceleration
    undisturbed = ImplicitALS(iterations=6, **options).fit(matrix, **features)
    np.testing.assert_array_equal(whole.user_factors, undisturbed.user_factors)


def test_derived_seeds_are_apart():
    seeds = [derived_seed(seed, number, use) for seed in (0, 1) for number in (0, 1, 2) for use in (1, 2)]

    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert seeds[0] == derived_seed(0, 0, 1)
