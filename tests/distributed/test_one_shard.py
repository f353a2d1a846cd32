"""The items' half-sweep as one task: the bits of the iteration over shards, of which there is one."""

import numpy as np
import pytest
from serial_executor import SerialExecutor, assert_near, sharded_fit

from fastals import ImplicitALS
from fastals.distributed.one_shard import Asked, Here, solve_all_shards, solve_one_shard

pytestmark = pytest.mark.slow  # kernels of shards are compiled, or clusters started


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize(
    "parameters", [{}, {"solver": "cholesky"}, {"unobserved_exponent": (0.4, 0.4), "dtype": "float64"}], ids=str
)
def test_the_bits_of_the_iteration_over_shards(plays, make, parameters, features):
    random = np.random.default_rng(0)
    given = {f"{side}_features": random.random((n, 3)) for side, n in (("user", 300), ("item", 90)) if features}
    training, _ = sharded_fit(make(pairs_per_shard=10_000, iterations=3, **parameters), plays, pickled=True, **given)
    users, items, way = training.users, training.items, training._way
    assert len(users.factors.references) == 1
    asked = Asked(way._known, training.objective, training.settings, items.factors)
    known = None if users.effects is None else users.effects.known()
    solved, reports = [np.empty_like(items.factors) for _ in range(2)], []
    for solve, pickled, out in ((solve_all_shards, False, solved[0]), (solve_one_shard, True, solved[1])):
        executor = SerialExecutor(1, pickled)
        reports.append(solve(executor, users.shards.references, users.factors.references, asked, known, out))
        assert ("items-solve" in executor.calls) == pickled
    np.testing.assert_array_equal(solved[1], solved[0])
    assert reports[1] == reports[0]
    assert np.abs(solved[0]).max() > 0


def test_a_fit_of_one_shard_is_a_local_one(plays, make):
    model = make(pairs_per_shard=10_000, tol=1e-6)
    training, P = sharded_fit(model, plays, pickled=True)
    plain = {name: value for name, value in model.get_params().items() if name not in ("client", "pairs_per_shard")}
    assert training.executor.calls.count("items-solve") >= 4
    assert "items-product" not in training.executor.calls
    assert_near(training, P, ImplicitALS(**plain).fit(plays))


def test_on_a_worker(client, plays, make):
    model = make(pairs_per_shard=10_000).fit(plays)
    training, P = sharded_fit(make(pairs_per_shard=10_000), plays)
    np.testing.assert_array_equal(model.item_factors, training.items.factors)
    np.testing.assert_array_equal(model.user_factors, P)
    assert model.solver_report_["seconds_items"] > 0
    assert model.n_shards_ == 1


def test_the_only_shard_is_its_own_sum():
    here = Here()
    assert here.map("add", lambda left, right: left + right, [1], 2) == [3]
    assert here.total("add", None, lambda left, right: left + right, [1], [5]) == 6
    assert here.share("one", 1) == here.handed("one", 1) == 1
    with here.phase("none"):
        assert here.seconds == {}
