"""The items' half-sweep where all pairs are one shard: that of a local fit, to the last bit."""

import numpy as np
import pytest
from serial_executor import SerialExecutor, sharded_fit

from fastals import ImplicitALS
from fastals.distributed.one_shard import Asked, solve_all_shards, solve_one_shard

pytestmark = pytest.mark.slow  # kernels of shards are compiled, or clusters started

PARAMETERS = [
    {},
    {"solver": "cholesky"},
    {"unobserved_exponent": (0.4, 0.4), "dtype": "float64"},
    {"regularization_exponent": 0.0, "alpha": 2.0, "unobserved_exponent": (0.0, 0.4)},
    {"regularization_exponent": 0.0, "alpha": 2.0, "unobserved_exponent": (0.4, 0.0)},
]


@pytest.fixture(params=[False, True], ids=["bare", "features"])
def given(request):
    random = np.random.default_rng(0)
    return {f"{side}_features": random.random((n, 3)) for side, n in (("user", 300), ("item", 90)) if request.param}


@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
def test_a_fit_of_one_shard_has_the_bits_of_a_local_one(plays, make, parameters, given):
    model = make(pairs_per_shard=10_000, **parameters)
    training, P = sharded_fit(model, plays, pickled=True, **given)
    plain = {name: value for name, value in model.get_params().items() if name not in ("client", "pairs_per_shard")}
    local = ImplicitALS(**plain).fit(plays, **given)
    assert "items-product" not in training.executor.calls
    np.testing.assert_array_equal(P, local.user_factors)
    np.testing.assert_array_equal(training.items.factors, local.item_factors)
    assert training.loss_history == local.loss_history


@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
def test_as_the_iteration_over_shards(plays, make, parameters, given):
    training, _ = sharded_fit(make(pairs_per_shard=10_000, iterations=3, tol=1e-6, **parameters), plays, **given)
    users, items, way = training.users, training.items, training._way
    asked = Asked(way._known, training.objective, training.settings, items.factors)
    known = None if users.effects is None else users.effects.known()
    solved, reports = [], []
    for solve in (solve_all_shards, solve_one_shard):
        solved.append(np.empty_like(items.factors))
        parts = users.shards.references, users.factors.references, asked, known, solved[-1]
        reports.append(solve(SerialExecutor(1), *parts))
    np.testing.assert_allclose(solved[1], solved[0], atol=1e-5 * np.abs(solved[0]).max())
    assert reports[1].loss == pytest.approx(reports[0].loss, rel=1e-6)


def test_on_a_worker(client, plays, make):
    model = make(pairs_per_shard=10_000).fit(plays)
    training, P = sharded_fit(make(pairs_per_shard=10_000), plays)
    np.testing.assert_array_equal(model.item_factors, training.items.factors)
    np.testing.assert_array_equal(model.user_factors, P)
    assert model.solver_report_["seconds_items"] > 0
    assert model.n_shards_ == 1
