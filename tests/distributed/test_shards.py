"""What is done to one shard."""

import pickle

import numpy as np
import pytest
from serial_executor import sharded_fit

from fastals import ImplicitALS
from fastals.distributed import shards as on_shard
from fastals.kernels.dense.memory import CACHE_LINE
from fastals.objective import Objective
from fastals.solver.half_sweep import Settings


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize(
    "choice", [{}, {"unobserved_exponent": (0.0, 0.5)}, {"solver": "cholesky"}, {"factors": 16}], ids=str
)
def test_users_are_those_of_a_local_fit_bit_for_bit(plays, make, choice, pickled):
    """Solved from the same items, wherever their arrays have come from."""
    model = make(iterations=0, alpha=2.0, **choice)
    Q = np.random.default_rng(0).normal(size=(90, model.factors)).astype(np.float32) / 3
    parameters = {
        name: value for name, value in model.get_params().items() if name not in ("client", "pairs_per_shard")
    }

    training, P = sharded_fit(model, plays, pickled, item_factors=Q)

    assert len(training.users.shards.references) > 4
    np.testing.assert_array_equal(P, ImplicitALS(**parameters).fit(plays, item_factors=Q).user_factors)


def test_kernels_get_the_arrays_of_a_local_fit(plays, make):
    training, _ = sharded_fit(make(iterations=0), plays)
    shard = pickle.loads(pickle.dumps(training.users.shards.references[0]))
    for entries in (on_shard.users_of(shard).entries, on_shard.entries_of(shard.item_entries)):
        assert not any(part.flags.writeable for part in entries if isinstance(part, np.ndarray) and part.ndim)
    frozen = np.ones((3, 16), np.float32)
    frozen.flags.writeable = False
    owned = on_shard.own(frozen)
    assert owned.flags.writeable
    assert owned.ctypes.data % CACHE_LINE == 0
    assert on_shard.own(owned) is owned


def test_drawing_again_gives_the_same(plays, make):
    training, _ = sharded_fit(make(iterations=0), plays)
    shard, random = training.users.shards.references[0], np.random.default_rng(3)
    first, second = (on_shard.first_factors(shard, random).X for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not on_shard.first_factors(shard, None).X.any()


def test_sums_keep_their_order():
    left, right = (np.array([1e20, 1.0]), 2.0), (np.array([1.0, 2.0]), 3.0)
    arrays, number = on_shard.add(left, right)
    np.testing.assert_array_equal(arrays, [1e20, 3.0])
    assert number == 5.0
    got = on_shard.add_weighed(np.array([[1.0, 5.0, -1.0]]), np.array([[2.0, 3.0, -4.0]]))
    np.testing.assert_array_equal(got, [[3.0, 5.0, -4.0]])


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
def test_what_is_compiled_ahead_is_all_that_a_fit_runs(make, solver):
    objective, settings = Objective("hu", "linear", 1.0, 1.0, 1.0, 0.5, 0.5, 0.5), Settings(solver, 1e-3, 50, 1)
    assert on_shard.warm(objective, "<f4", 6, settings) is None


def test_threads_are_those_asked_for_outside_of_workers():
    settings = Settings("cg", 1e-3, 50, 3)
    assert on_shard.with_threads(settings) == settings


def test_shards_without_entries(plays, make):
    """One that is empty, among the others."""
    plays = plays.tolil()
    plays[100:200] = 0
    training, P = sharded_fit(make(iterations=2), [plays[:100].tocsr(), plays[100:200].tocsr(), plays[200:].tocsr()])
    assert not P[100:200].any()
    assert np.isfinite(training.loss_history).all()
