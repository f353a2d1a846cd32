"""What a trial of a search draws and fits."""

import numpy as np

from fastals import ImplicitALS
from fastals.datasets import make_interactions
from fastals.tuning.trial import derived_seed, ladder_of, padded

TRAIN = make_interactions(150, 60, n_groups=4, mean_per_user=12, random_state=0).user_items


def test_ladder():
    assert ladder_of((3, 24)) == [3, 6, 12, 24]
    assert ladder_of(7) == [7]


def test_padding_keeps_what_is_known_and_empty_rows_empty():
    known = np.array([[1, -2], [0, 0], [3, 1]], dtype=np.float32)
    got = padded(known, 6, np.random.default_rng(0))
    np.testing.assert_array_equal(got[:, :2], known)
    assert (got[1] == 0).all()
    assert got.dtype == np.float32
    assert 0 < np.abs(got[[0, 2], 2:]).max() < np.abs(known).max()


def test_doubling_goes_on_where_the_lower_rung_ended():
    """One sweep after the doubling the loss is below that of the lower rung, whose space the upper one contains."""
    model = ImplicitALS(4, iterations=3, alpha=5.0, regularization=1.0, random_state=0).fit(TRAIN)
    start = padded(model.user_factors, 8, np.random.default_rng(0))
    doubled = ImplicitALS(8, iterations=1, alpha=5.0, regularization=1.0).fit(TRAIN, user_factors=start)
    assert doubled.loss_history[0] < model.loss_history[-1]


def test_derived_seeds_are_apart():
    seeds = [derived_seed(seed, number, use) for seed in (0, 1) for number in (0, 1, 2) for use in (1, 2)]

    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert seeds[0] == derived_seed(0, 0, 1)
