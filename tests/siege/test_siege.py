"""A sample of the siege: the first cases of every kind."""

from itertools import islice

import pytest

from .runner import KINDS, run_case, seeds_of

CASES = {"fit": 45, "top_items": 25, "fold_in": 25, "threads": 2}
OTHERS = 10
SAMPLE = [(kind, seed) for kind in KINDS for seed in islice(seeds_of(0, kind), CASES.get(kind, OTHERS))]


@pytest.mark.parametrize(("kind", "seed"), SAMPLE, ids=[f"{kind}-{seed}" for kind, seed in SAMPLE])
def test_case(kind, seed):
    case = run_case(seed)

    assert case.kind == kind
    assert sum(case.checks.counts.values()) > 0
    assert not case.failed, str(case)
