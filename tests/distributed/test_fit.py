"""What a distributed fit leaves: the state of its training, and reports of what was sent and how long it took."""

import numpy as np
import pytest
from serial_executor import SerialExecutor

from fastals.distributed.fit import fit_of
from fastals.distributed.prepare import prepare
from fastals.distributed.sources import sources_of
from fastals.solver.fitting import Given

pytestmark = pytest.mark.slow  # kernels of shards are compiled


@pytest.mark.parametrize("before", [0, 1])
def test_a_fit_is_its_training(plays, make, before):
    sources = sources_of(plays, None, 400)
    executor = SerialExecutor(sources.shards)
    training = prepare(make(unobserved_exponent=(0.5, 0.25)), Given(None), sources, executor)
    executor.bytes_moved = lambda: 1_000
    for _ in range(3):
        training.sweep()

    fit = fit_of(training, executor, sources, None, (400, before))

    np.testing.assert_array_equal(fit.item_factors, training.items.factors)
    np.testing.assert_array_equal(np.concatenate([one.X for one in fit.users])[:5], fit.users[0].X[:5])
    assert fit.loss_history == tuple(training.loss_history)
    assert (fit.unobserved_exponent, fit.unobserved_weights) == ((0.5, 0.25), None)
    assert fit.chosen.alpha == training.objective.alpha
    assert fit.bounds[-1] == plays.shape[0]
    assert len(fit.shards) == len(fit.users) == sources.shards
    assert fit.report["bytes_per_sweep"] == 600 / (3 - before)
    assert {"seconds_load", "seconds_weigh", "seconds_pilot"} <= set(fit.report)
