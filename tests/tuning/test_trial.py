"""What a trial of a search draws and fits."""

from fastals.tuning.trial import derived_seed


def test_derived_seeds_are_apart():
    seeds = [derived_seed(seed, number, use) for seed in (0, 1) for number in (0, 1, 2) for use in (1, 2)]

    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert seeds[0] == derived_seed(0, 0, 1)
