"""The items' half-sweep over shards, held against dense systems."""

import naive
import numpy as np
import pytest
import scipy.sparse as sp
from serial_executor import sharded_fit

from fastals.distributed import items as half_sweep

pytestmark = pytest.mark.slow  # kernels of shards are compiled, or clusters started

R = np.random.default_rng(2).integers(0, 4, (60, 25)) * (np.random.default_rng(3).random((60, 25)) < 0.3)
R[7, 3], R[8, 3], R[:, 11], R[20] = -2, -1, 0, 0
R[0, :3] = 500  # items too heavy for conjugate gradients, beside others
CHOICES = [
    {"alpha": 2.0},
    {"alpha": 2.0, "objective": "rendle", "unobserved_weight": 0.2},
    {"alpha": 3.0, "confidence": "raw", "unobserved_weight": 0.5},
    {"alpha": 2.0, "unobserved_weight": 0.0},  # all directly
    {"alpha": 2.0, "solver": "cholesky"},
]


def oracle(choice, P):
    names = ("objective", "confidence", "alpha", "epsilon")
    given = {name: choice[name] for name in names if name in choice}
    c0 = choice.get("unobserved_weight", 1.0)
    terms = naive.terms(R, c0=c0, **given)
    lambdas = naive.regularizations(R, regularization=2.0, exponent=0.5, c0=c0)
    Q = naive.half_sweep(naive.transpose(terms), P, lambdas[1])
    return Q, naive.loss(terms, P, Q, *lambdas)


@pytest.mark.parametrize("batch", [1, 2**26], ids=["one system a batch", "all at once"])
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_items_solve_the_dense_systems(make, choice, batch, monkeypatch):
    monkeypatch.setattr(half_sweep, "BATCH_BYTES", batch)
    P = np.random.default_rng(0).normal(size=(60, 6))
    model = make(dtype="float64", tol=1e-13, iterations=0, pairs_per_shard=60, **choice)
    training, _ = sharded_fit(model, sp.csr_array(R), user_factors=P)
    assert len(training.users.shards.references) == 8

    report = training.solve_items()

    Q, loss = oracle(choice, P)
    np.testing.assert_allclose(training.items.factors, Q, atol=1e-8)
    assert report.loss == pytest.approx(loss, rel=1e-9)
    directly = choice.get("solver") == "cholesky" or choice.get("unobserved_weight") == 0
    assert report.direct >= 3
    assert (report.iterated > 0) != directly


def test_a_guess_saves_steps_and_changes_nothing(make):
    P = np.random.default_rng(0).normal(size=(60, 6))
    model = make(alpha=20.0, dtype="float64", tol=1e-6, iterations=0, pairs_per_shard=60, acceleration=False)
    training, _ = sharded_fit(model, sp.csr_array(R), user_factors=P)
    exact, _ = oracle({"alpha": 20.0}, P)
    reports = []
    for guess in (None, exact * (1 + 1e-4), -exact):
        solved = np.empty_like(exact)
        way, fixed = training._way, training.users.factors
        reports.append(way(training.items, training.users, fixed, solved, guess, training.settings))
        np.testing.assert_allclose(solved, exact, atol=1e-4)
    assert reports[1].steps < reports[0].steps
    assert reports[2].steps == reports[0].steps  # where the loss is less at zero, they start there


def test_rows_that_take_too_many_steps_are_solved_directly(make):
    P = np.random.default_rng(0).normal(size=(60, 6))
    model = make(alpha=20.0, dtype="float64", tol=1e-9, max_cg_steps=1, iterations=0, pairs_per_shard=60)
    training, _ = sharded_fit(model, sp.csr_array(R), user_factors=P)
    report = training.solve_items()
    assert report.fallbacks == np.count_nonzero(np.any(R, axis=0)) - report.iterated - report.direct
    np.testing.assert_allclose(training.items.factors, oracle({"alpha": 20.0}, P)[0], atol=1e-8)


def test_converged_items_drop_out(make):
    """Each step asks for the items under way alone."""
    P = np.random.default_rng(0).normal(size=(60, 6))
    model = make(alpha=5.0, dtype="float64", tol=0.02, iterations=0, pairs_per_shard=60)
    training, _ = sharded_fit(model, sp.csr_array(R), user_factors=P)
    asked = []
    share = training.executor.share
    training.executor.share = lambda name, value: asked.append((name, value)) or share(name, value)

    report = training.solve_items()

    sizes = [len(value[1]) for name, value in asked if name == "items-direction"]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]
    assert sum(sizes) == report.steps
