"""Features in shards: the model of a local fit, and what shards answer for their users' features."""

import numpy as np
import pytest
import scipy.sparse as sp
from serial_executor import assert_near, sharded_fit

import fastals.solver.features as of_solver
from fastals import ImplicitALS
from fastals.core.features import NamedFeatures, check_features
from fastals.core.validation import check_rows
from fastals.distributed import features as module
from fastals.distributed.shards import Solved
from fastals.solver.half_sweep import Settings
from fastals.solver.sides import build_sides

pytestmark = pytest.mark.slow  # kernels of shards are compiled, or clusters started

OWN = ("client", "pairs_per_shard")


@pytest.fixture(scope="module")
def known(plays):
    """Features of users (300, 4) and of items (90, 5): sparse ones, and a column that nobody has."""
    random = np.random.default_rng(1)
    users = sp.random(300, 4, density=0.4, random_state=random, format="csr")
    items = random.standard_normal((90, 5))
    items[:, 3] = 0
    items[9] = [1, 0, 2, 0, 0]  # of the item that nobody has
    return users, items


def local_fit(model, plays, **given):
    plain = {name: value for name, value in model.get_params().items() if name not in OWN}
    return ImplicitALS(**plain).fit(plays, **given)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"solver": "cholesky", "dtype": "float64"},
        {"objective": "rendle", "alpha": 1.0, "feature_regularization": (3.0, 0.5)},
        {"unobserved_exponent": (0.3, 0.5), "confidence": "log", "acceleration": False},
    ],
    ids=["hu", "direct", "rendle", "weights"],
)
@pytest.mark.parametrize("sides", [("user", "item"), ("user",), ("item",)], ids="-".join)
def test_as_a_local_fit(plays, make, known, parameters, sides):
    given = {f"{side}_features": known[("user", "item").index(side)] for side in sides}
    model = make(tol=1e-6, **parameters)
    local = local_fit(model, plays, **given)
    training, P = sharded_fit(model, plays, pickled=True, **given)
    assert_near(training, P, local)
    effects = training.users.effects, training.items.effects
    for got, expected in zip(effects, local.feature_effects_, strict=True):
        assert (got is None) == (expected is None)
        if got is not None:
            np.testing.assert_allclose(got.array, expected, atol=1e-3 * np.abs(expected).max())
    assert ("warm-features" in training.executor.calls) == ("user" in sides)
    strengths = training.feature_strengths
    assert strengths == pytest.approx(local._state.chosen.feature_regularization, rel=1e-12)


def test_rows_without_entries_are_what_their_features_predict(plays, make, known):
    """The third user and the item 9 have no pairs; against the closed form."""
    training, P = sharded_fit(make(tol=1e-7, iterations=3, dtype="float64"), plays, item_features=known[1])
    B, items = training.items.effects.array, training.items
    weights, lam = training.users.shards.references[0].users.entries.row_weights, items.side.regularization[9]
    assert weights.size == 1
    # The items were solved against the users of the sweep before: solve them again against those of now.
    users = training.users.factors
    solved = np.empty_like(items.factors)
    training._way(items, training.users, users, solved, None, training.settings)
    w = items.side.entries.row_weights
    system = training.objective.c0 * (w[9] if w.size > 1 else 1.0) * P.T @ P + lam * np.eye(6)
    expected = np.linalg.solve(system, lam * (known[1][9] @ B))
    np.testing.assert_allclose(solved[9], expected, rtol=1e-9)
    assert np.abs(expected).max() > 1e-4


def test_items_that_weigh_nothing_are_what_their_features_predict(plays, make, known):
    """As in a local fit: the item 9 has no pairs, and no missing ones that count."""
    weights = np.ones(90)
    weights[9] = 0
    given = {"item_features": known[1], "unobserved_weights": (None, weights)}
    model = make(tol=1e-6, regularization_exponent=1.0, regularization=0.05, feature_regularization=1e-6)
    local = local_fit(model, plays, **given)
    training, P = sharded_fit(model, plays, pickled=True, **given)
    assert_near(training, P, local)
    assert np.abs(training.items.factors[9]).max() > 1e-2


@pytest.mark.parametrize("direct", [True, False])
def test_the_loss_is_that_of_the_objective(plays, make, known, direct, monkeypatch):
    """By brute force over all pairs, with the effects found directly or by conjugate gradients."""
    monkeypatch.setattr(of_solver, "DIRECT_FEATURES", 1000 if direct else 0)
    model = make(tol=1e-7, alpha=2.0, confidence="linear", dtype="float64", iterations=3)
    training, P = sharded_fit(model, plays, user_features=known[0], item_features=known[1])
    Q, (of_users, of_items) = training.items.factors, (training.users.effects, training.items.effects)
    dense = plays.toarray()
    confidence, preference = 1 + 2.0 * np.abs(dense), (dense > 0).astype(float)
    expected = float((confidence * (preference - P @ Q.T) ** 2).sum())
    for X, F, effects in ((P, known[0].toarray(), of_users), (Q, known[1], of_items)):
        lam, A = effects._regularization, effects.array
        expected += float((lam[:, None] * (X - F @ A) ** 2).sum()) + effects._strength * float((A**2).sum())
    assert training.loss_history[-1] == pytest.approx(expected / 1.0 * training.objective.unit, rel=1e-9)
    assert training.loss_history == sorted(training.loss_history, reverse=True)


def test_a_shard_answers_for_its_users(plays, known):
    """Its part of F' diag(lambda) X, and the distances to what its features predict."""
    random = np.random.default_rng(2)
    rows = check_features(known[0], "user_features", (300, None))
    from fastals.distributed import shards as on_shard
    from fastals.objective import Objective

    objective = Objective.checked(
        objective="hu", confidence="linear", alpha=1.0, epsilon=1.0, unobserved_weight=1.0, regularization=2.0,
        regularization_exponent=0.5,
    )  # fmt: skip
    piece = on_shard.Piece(check_rows(plays, "user_items")[0])
    shard = on_shard.weigh(piece, on_shard.Plan(objective, "<f8", 6, None, 0.0, 1.0, 1.0, 1.0), None)
    lam = build_sides(objective, piece.rows, None, np.dtype(np.float64))[0].regularization
    X, A, settings = random.standard_normal((300, 6)), random.standard_normal((4, 6)), Settings("cg", 1e-3, 50, 1)
    solved, features = Solved(X, np.zeros(8)), module.by_both(rows)
    F = known[0].toarray()

    got = module.right_side(shard, features, solved, settings)
    np.testing.assert_allclose(got, F.T @ (lam[:, None] * X), rtol=1e-12)
    G, penalty = module.gramian_of_users(shard, solved, features, A, settings)
    np.testing.assert_allclose(G, X.T @ X, rtol=1e-12)
    assert penalty == pytest.approx(float((lam[:, None] * (X - F @ A) ** 2).sum()), rel=1e-12)
    np.testing.assert_array_equal(on_shard.regularization_of_users(shard), lam)


def test_a_resumed_fit_has_the_same_bits(plays, make, known):
    given = {"user_features": known[0], "item_features": known[1]}
    expected, P = sharded_fit(make(iterations=6), plays, **given)
    first, _ = sharded_fit(make(iterations=3), plays, **given)
    state = None

    def keep(training):
        nonlocal state
        state = training.state()

    kept, _ = sharded_fit(make(iterations=0), plays, **given)
    for _ in range(3):
        kept.sweep()
    keep(kept)
    got, Q = sharded_fit(make(iterations=6), plays, resume_from=state, **given)
    np.testing.assert_array_equal(Q, P)
    np.testing.assert_array_equal(got.items.factors, expected.items.factors)
    np.testing.assert_array_equal(got.users.effects.array, expected.users.effects.array)
    assert got.loss_history == expected.loss_history
    assert first.loss_history[:2] == expected.loss_history[:2]


def test_on_workers(client, plays, make, known):
    """The bits of one process; a local model that serves rows known by features alone."""
    pytest.importorskip("distributed")
    named = NamedFeatures(known[0], ["a", "b", "c", "d"])
    training, P = sharded_fit(make(), plays, user_features=named, item_features=known[1])
    model = make().fit(plays, user_features=named, item_features=known[1])
    np.testing.assert_array_equal(model.user_factors, P)
    np.testing.assert_array_equal(model.item_factors, training.items.factors)
    assert model.loss_history == training.loss_history
    assert model.feature_names_ == (("a", "b", "c", "d"), None)
    local = model.to_local()
    for got, expected in zip(local.feature_effects_, model.feature_effects_, strict=True):
        np.testing.assert_array_equal(got, expected)
    assert local.loss(plays) == pytest.approx(model.loss_history[-1], rel=1e-6)
    ids, _ = local.recommend(0, sp.csr_array((1, 90)), N=5, recalculate_user=True, user_features=[0, 1.0, 0, 2.0])
    assert ids.shape == (5,)


@pytest.mark.parametrize("name", ["user_features", "item_features"])
def test_features_that_do_not_fit_are_refused(plays, make, name):
    with pytest.raises(ValueError, match=f"{name} must have shape"):
        sharded_fit(make(), plays, **{name: np.ones((7, 2))})
