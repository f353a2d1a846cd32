"""A sample of the siege: some cases of every kind."""

from itertools import islice

import pytest

from .runner import KINDS, run_case, seeds_of

CASES = {"fit": 45, "top_items": 25, "fold_in": 20, "scale": 15, "threads": 2}
OTHERS = 10
# Where kinds start, if not at 0: at stretches with losses near zero and with scales from 1e-28 on.
FIRST = {"fit": 858, "fold_in": 107, "scale": 1860}
# And one at 2^48 whose users have factors of 1e-25, the squares of whose residuals are none.
UNDERFLOW = ("scale", 8_101_360)
SAMPLE = [UNDERFLOW] + [
    (kind, seed) for kind in KINDS for seed in islice(seeds_of(FIRST.get(kind, 0), kind), CASES.get(kind, OTHERS))
]


@pytest.mark.parametrize(("kind", "seed"), SAMPLE, ids=[f"{kind}-{seed}" for kind, seed in SAMPLE])
def test_case(kind, seed):
    case = run_case(seed)

    assert case.kind == kind
    assert sum(case.checks.counts.values()) > 0
    assert not case.failed, str(case)
