"""Trainings over shards: what a local fit comes to, whatever the objective, the weights and the start."""

import numpy as np
import pytest
import scipy.sparse as sp
from serial_executor import SerialExecutor, assert_near, sharded_fit

from fastals import ImplicitALS
from fastals.distributed.prepare import prepare, take_census
from fastals.distributed.sources import sources_of
from fastals.objective import Objective
from fastals.solver import pilot
from fastals.solver.checked import AUTO_EXPONENT
from fastals.solver.fitting import Given

pytestmark = pytest.mark.slow  # kernels of shards are compiled, or clusters started

CHOICES = [
    {},
    {"acceleration": False},
    {"confidence": "log", "epsilon": 0.5},
    {"confidence": "raw", "alpha": 3.0, "tol": 1e-4},  # at the default one step more changes a row by the limit below
    {"objective": "rendle", "unobserved_weight": 0.1, "regularization_exponent": 1.0, "alpha": 1.0},
    {"unobserved_weight": 0.0},
    {"unobserved_exponent": (0.3, 0.5)},
    {"solver": "cholesky"},
    {"factors": 20, "tol": 1e-5},
    {"regularization": "auto"},
    {"regularization": "auto", "regularization_exponent": 0.5, "unobserved_exponent": (0.3, 0.5)},
]


def local_fit(model, user_items, **given):
    parameters = {
        name: value for name, value in model.get_params().items() if name not in ("client", "pairs_per_shard")
    }
    return ImplicitALS(**parameters).fit(user_items, **given)


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_loss_and_factors_are_those_of_a_local_fit(plays, make, choice):
    training, P = sharded_fit(make(**choice), plays, pickled=True)
    local = local_fit(make(**choice), plays)

    assert_near(training, P, local)
    got, expected = training.summary(), local.solver_report_
    assert {name: got[name] for name in ("direct_rows", "singular_rows")} == {
        name: expected[name] for name in ("direct_rows", "singular_rows")
    }
    assert got["cg_steps"] == pytest.approx(expected["cg_steps"], rel=0.02)


def test_alpha_is_that_of_a_local_fit(plays, make):
    for choice in ({}, {"confidence": "log"}):
        training, _ = sharded_fit(make(iterations=1, **choice), plays)
        assert training.objective.alpha == pytest.approx(
            local_fit(make(iterations=1, **choice), plays).alpha_, rel=1e-14
        )


@pytest.mark.parametrize("weights", [None, (np.linspace(0, 2, 300), None), (None, np.linspace(2, 0, 90))], ids=str)
def test_regularization_is_that_of_a_local_fit(plays, make, weights):
    options = {"regularization": "auto", "iterations": 1, "unobserved_exponent": (0.4, -0.2)}
    training, _ = sharded_fit(make(**options), plays, unobserved_weights=weights)
    objective = training.objective
    expected = local_fit(make(**options), plays, unobserved_weights=weights).regularization_
    assert (objective.user_regularization, objective.item_regularization) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("pairs_per_shard", [10**6, 3_000, 700])
@pytest.mark.parametrize("separate", [False, True], ids=["values", "preferences"])
def test_exponents_of_missing_pairs_are_those_of_a_local_fit(make, monkeypatch, pairs_per_shard, separate):
    """They are found on the same users, wherever the shards of these begin."""
    monkeypatch.setattr(pilot, "PAIRS", 30_000)
    random = np.random.default_rng(0)  # alike but for popularity, which lists are best to follow
    plays = sp.csr_array((random.random((3_000, 70)) < np.linspace(0, 0.6, 70)) * random.integers(1, 9, (3_000, 70)))
    likes = random.random(plays.nnz) < 0.8
    preference = sp.csr_array((likes.astype(float), plays.indices, plays.indptr), shape=plays.shape)
    given = {"preference": preference} if separate else {}
    model = make(regularization="auto", alpha="auto", pairs_per_shard=pairs_per_shard)

    training, _ = sharded_fit(model, plays, pickled=True, **given)

    local = local_fit(model, plays, **given)
    assert training.exponents == local.unobserved_exponent_
    assert training.exponents[1] != AUTO_EXPONENT
    assert training.executor.calls.count("sample") == 1
    assert (len(training.users.shards.references) > 1) == (pairs_per_shard < 10**6)


def test_random_starts_are_those_of_a_local_fit(plays, make):
    """To the last bit, though each shard draws its own."""
    for seed in (0, np.random.default_rng(1)):
        _, P = sharded_fit(make(iterations=0, random_state=np.random.default_rng(7) if seed else seed), plays)
        expected = local_fit(make(iterations=0, random_state=np.random.default_rng(7) if seed else seed), plays)
        np.testing.assert_array_equal(P, expected.user_factors)


@pytest.mark.parametrize("side", ["user_factors", "item_factors"])
def test_given_starts(plays, make, side):
    start = np.random.default_rng(0).normal(size=(plays.shape[side == "item_factors"], 6)) / 10
    training, P = sharded_fit(make(), plays, **{side: start})

    assert_near(training, P, local_fit(make(), plays, **{side: start}))
    with pytest.raises(ValueError, match=f"{side} must have shape"):
        sharded_fit(make(), plays, **{side: start[1:]})


def test_given_weights_of_missing_pairs_and_preferences(plays, make):
    random, preference = np.random.default_rng(0), plays.copy()
    preference.data = random.random(plays.nnz)
    for weights in ((random.random(300) + 0.5, random.random(90) + 0.5), (None, random.random(90))):
        training, P = sharded_fit(make(), plays, unobserved_weights=weights, preference=preference)
        local = local_fit(make(), plays, unobserved_weights=weights, preference=preference)
        assert_near(training, P, local)
    with pytest.raises(TypeError, match="unobserved_weights must be a pair"):
        sharded_fit(make(), plays, unobserved_weights=np.ones(300))


def test_equal_values(plays, make):
    ones = sp.csr_array((np.ones(plays.nnz), plays.indices, plays.indptr), shape=plays.shape)
    training, P = sharded_fit(make(), ones, pickled=True)
    assert_near(training, P, local_fit(make(), ones))


def test_directions_that_rounding_errors_fill_are_left_out(make):
    """More factors than users or items have rank, and nothing that regularises."""
    R = sp.csr_array(np.random.default_rng(0).integers(0, 3, (40, 12)).astype(float))
    choice = {"factors": 16, "regularization": 0.0, "dtype": "float64", "pairs_per_shard": 60, "acceleration": False}
    for more in ({}, {"unobserved_exponent": (0.5, 0.5)}):
        training, _ = sharded_fit(make(**choice, **more), R)
        with pytest.warns(RuntimeWarning, match="underdetermined"):
            local = local_fit(make(**choice, **more), R)
        np.testing.assert_allclose(training.loss_history[-1], local.loss_history[-1], atol=1e-8 * R.nnz)
        assert training.summary()["singular_rows"] > 0


def test_users_never_start_from_a_guess(plays, make):
    """So that their factors follow from the items' alone."""
    training, _ = sharded_fit(make(iterations=8, tol=1e-6, acceleration=False), plays)
    assert not training.users.earlier


def test_training_states_do_without_users(plays, make):
    whole, P = sharded_fit(make(iterations=6), plays)
    part, _ = sharded_fit(make(iterations=0), plays)
    for _ in range(3):
        part.sweep()
    state = part.state()
    assert state.user_factors is None

    resumed, again = sharded_fit(make(iterations=6), plays, resume_from=state)

    np.testing.assert_array_equal(again, P)
    np.testing.assert_array_equal(resumed.items.factors, whole.items.factors)
    assert resumed.loss_history == whole.loss_history
    other = plays.copy()
    other.data[0] += 1
    for changed, name in ((other, "weights"), (plays[:299], "factors")):
        with pytest.raises(ValueError, match=f"resume_from must come from a fit of the same {name}"):
            sharded_fit(make(iterations=6, alpha=training_alpha(part)), changed, resume_from=state)
    with pytest.raises(ValueError, match="of the same user_items"):
        sharded_fit(make(iterations=6, pairs_per_shard=300), plays, resume_from=state)


def training_alpha(training):
    return training.objective.alpha


def test_chunks_must_fit_together(plays, make):
    objective = Objective("hu", "linear", 1.0, 1.0, 1.0, 0.5, 0.5, 0.5)
    for chunks, message in (
        ([plays[:10], plays[10:, :80]], "equally many columns"),
        ([plays[:10] * 0, plays[10:] * 0], "at least one stored value"),
    ):
        sources = sources_of(chunks, None, None)
        with pytest.raises(ValueError, match=message):
            take_census(sources, SerialExecutor(sources.shards), objective, 0.0)


def test_parameters_are_checked_first(plays, make):
    sources = sources_of(plays, None, 400)
    executor = SerialExecutor(sources.shards)
    for parameters, error in (({"factors": 0}, ValueError), ({"solver": "lu"}, ValueError), ({"tol": "x"}, TypeError)):
        with pytest.raises(error):
            prepare(make(**parameters), Given(None), sources, executor)
    assert not executor.calls
