"""Side features against dense normal equations, brute-force losses and ridge regressions in closed form."""

import naive
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from problems import Problem, problems

from fastals import ImplicitALS
from fastals.core.features import check_features
from fastals.persistence.checkpoint import read_state, write_state
from fastals.solver import features as module
from fastals.solver.features import Effects, product

FEATURES = st.integers(1, 4)


@st.composite
def problems_with_features(draw):
    """A problem, and features of its users, its items, or both; strengths."""
    problem = draw(problems())
    elements = st.sampled_from([0, 0, 1, 0.5, -2])
    users, items = (draw(arrays(np.float64, (count, draw(FEATURES)), elements=elements)) for count in problem.R.shape)
    kept = draw(st.sampled_from([(users, items), (users, None), (None, items)]))
    return problem, kept, draw(st.sampled_from([(0.5, 2.0), (1e-3, 1e3)]))


def fitted(problem: Problem, features, strengths, **more):
    P, _ = problem.start()
    model = problem.model(feature_regularization=strengths, **more)
    names = ("user_features", "item_features")
    return model.fit(**problem.data, user_factors=P, **dict(zip(names, features, strict=True)))


def predicted(features, effects, count, factors):
    """Z of one side."""
    return np.zeros((count, factors)) if features is None else features @ effects


def total_loss(problem, model, features, strengths):
    """The brute-force loss with |x - z|^2 in the place of |x|^2, and the effects' penalty."""
    factors, lambdas = (model.user_factors, model.item_factors), problem.regularizations
    zeros = tuple(np.zeros(len(side)) for side in factors)
    total = naive.loss(problem.terms, *factors, *zeros)
    for X, F, A, ridge, strength in zip(factors, features, model.feature_effects_, lambdas, strengths, strict=True):
        total += (ridge * ((X - predicted(F, A, *X.shape)) ** 2).sum(axis=1)).sum()
        total += 0 if A is None else strength * (A**2).sum()
    return total


@settings(deadline=None, max_examples=40)
@given(problems_with_features(), st.sampled_from(["cg", "cholesky"]))
def test_users_solve_the_dense_normal_equations(drawn, solver):
    problem, features, strengths = drawn
    model = fitted(problem, features, strengths, solver=solver, iterations=3, tol=1e-12, max_cg_steps=200)

    Z = predicted(features[0], model.feature_effects_[0], *model.user_factors.shape)
    for u, ridge in enumerate(problem.regularizations[0]):
        A, b = naive.normal_equations(problem.terms, model.item_factors, problem.regularizations[0], u)
        right = b + ridge * Z[u]
        x = model.user_factors[u]
        assert np.linalg.norm(A @ x - right) <= 1e-8 * (np.linalg.norm(A) * np.linalg.norm(x) + np.linalg.norm(right))


@settings(deadline=None, max_examples=40)
@given(problems_with_features(), st.sampled_from(["cg", "cholesky"]))
def test_the_loss_is_the_brute_force_value_and_never_rises(drawn, solver):
    problem, features, strengths = drawn
    model = fitted(problem, features, strengths, solver=solver, iterations=5, tol=1e-10, max_cg_steps=200)

    expected = total_loss(problem, model, features, strengths)

    scale = sum(np.abs(W * T**2).sum() for W, T in problem.terms)
    assert model.loss_history[-1] == pytest.approx(expected, rel=1e-8, abs=1e-10 * scale)
    assert model.loss(**problem.pairs) == pytest.approx(expected, rel=1e-8, abs=1e-10 * scale)
    assert (np.diff(model.loss_history) <= 1e-8 * scale).all()


@settings(deadline=None, max_examples=25)
@given(problems_with_features(), st.sampled_from(["cg", "cholesky"]), st.sampled_from(["float32", "float64"]))
def test_fold_in_gives_the_trained_users_bit_for_bit(drawn, solver, dtype):
    problem, features, strengths = drawn
    assume(problem.preference is None and problem.c0 > 0)  # the model keeps none; systems of empty rows are regular
    model = fitted(problem, features, strengths, solver=solver, dtype=dtype, iterations=3)
    everyone = np.arange(problem.R.shape[0])

    np.testing.assert_array_equal(model.recalculate_user(everyone), model.user_factors)
    for u in everyone:
        np.testing.assert_array_equal(model.recalculate_user(int(u)), model.user_factors[u])
        if problem.regularizations[0][u] == 0 and features[0] is None:  # no pairs, missing ones of no weight: A = 0
            with pytest.raises(np.linalg.LinAlgError, match="not determined"):
                model.explain(int(u), itemid=0)
            continue
        score, parts, _ = model.explain(int(u), itemid=0)
        scale = 1 + abs(score) + sum(abs(part) for _, part in parts)
        assert score == pytest.approx(model.predict(int(u), 0), abs=1e-3 * scale)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_against_factors_of_zero_a_row_is_what_its_features_predict(dtype):
    """Dislikes alone leave no item a factor; weights far below c0 are for the solver that looks at pivots."""
    random = np.random.default_rng(0)
    F, P = random.normal(size=(4, 2)), random.normal(size=(4, 5))
    model = ImplicitALS(5, confidence="raw", alpha=1e-4, regularization=0.3, iterations=1, dtype=dtype)

    model.fit(-sp.csr_array(np.eye(4, 6)), user_features=F, user_factors=P)

    assert not model.item_factors.any()
    np.testing.assert_allclose(model.user_factors, F @ model.feature_effects_[0], rtol=1e-5)


def random_side(n, d, density, seed=0):
    random = np.random.default_rng(seed)
    F = sp.random(n, d, density, "csr", random_state=seed)
    return F, random.uniform(0, 2, n), random.normal(size=(n, 3)).astype(np.float32)


@pytest.mark.parametrize(("d", "density"), [(5, 0.9), (40, 0.05), (40, 0.5)])
@pytest.mark.parametrize("iterated", [False, True])
def test_effects_are_the_ridge_regression(monkeypatch, d, density, iterated):
    F, ridge, X = random_side(200, d, density)
    monkeypatch.setattr(module, "DIRECT_FEATURES", 0 if iterated else 1024)
    effects = Effects(check_features(F, "user_features", F.shape), ridge, 0.3, 3, 2)

    effects.fit(X)
    before = effects.array
    effects.fit(X)

    dense = F.toarray()
    expected = np.linalg.solve((dense.T * ridge) @ dense + 0.3 * np.eye(d), (dense.T * ridge) @ X)
    np.testing.assert_allclose(before, expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(effects.array, expected, rtol=1e-6, atol=1e-8)
    penalty = (ridge[:, None] * (X - dense @ effects.array) ** 2).sum() + 0.3 * (effects.array**2).sum()
    assert effects.penalty(X) == pytest.approx(penalty, rel=1e-12)


@pytest.mark.parametrize("values", ["equal", "different"])
def test_equal_features_have_equal_effects(monkeypatch, values):
    """Of 40 columns 12 are distinct, one of them empty; by iteration, with the closed form of all 40."""
    F, ridge, X = random_side(200, 12, 0.1)
    if values == "equal":
        F.data[:] = 0.5
    F = sp.csr_array(F @ sp.diags(np.where(np.arange(12) == 3, 0.0, 1.0)))
    F.eliminate_zeros()
    place = np.concatenate((np.arange(12), np.random.default_rng(1).integers(0, 12, 28)))
    F = sp.csr_array(F[:, place])
    monkeypatch.setattr(module, "DIRECT_FEATURES", 0)
    effects = Effects(check_features(F, "user_features", F.shape), ridge, 0.3, 3, 1)

    effects.fit(X)

    dense = F.toarray()
    expected = np.linalg.solve((dense.T * ridge) @ dense + 0.3 * np.eye(40), (dense.T * ridge) @ X)
    np.testing.assert_allclose(effects.array, expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(effects.array, effects.array[:12][place])
    distinct = effects._distinct
    assert distinct.columns.shape == (12, 200)
    assert distinct.place.tolist() == place.tolist()
    np.testing.assert_allclose(distinct.roots[:, 0] ** 2, np.bincount(place))


def test_a_looser_residual_is_reached_and_lowers_the_penalty(monkeypatch):
    F, ridge, X = random_side(200, 150, 0.05)
    monkeypatch.setattr(module, "DIRECT_FEATURES", 0)
    effects = Effects(check_features(F, "user_features", F.shape), ridge, 0.01, 3, 1)
    dense = F.toarray()
    system, right = (dense.T * ridge) @ dense + 0.01 * np.eye(150), (dense.T * ridge) @ X
    inverse, penalties = 1 / np.diag(system)[:, None], [effects.penalty(X)]
    for residual in (0.01, 1e-3, 1e-5):
        effects.fit(X, residual)
        rest = right - system @ effects.array
        reached = np.sqrt((inverse * rest**2).sum(axis=0) / (inverse * right**2).sum(axis=0))
        assert (reached <= residual).all()
        assert reached.max() > residual / 100  # and it was not found exactly at once
        penalties.append(effects.penalty(X))
    assert (np.diff(penalties) < 0).all()


def test_iterated_effects_do_not_depend_on_threads(monkeypatch):
    """Nor on whether the calling thread does all of it, in as many ranges."""
    F, ridge, X = random_side(200, 150, 0.05)
    monkeypatch.setattr(module, "DIRECT_FEATURES", 0)
    monkeypatch.setattr(module, "SERIAL_WORK", 0)
    got = []
    for threads in (1, 2, None):
        effects = Effects(check_features(F, "user_features", F.shape), ridge, 0.01, 3, threads)
        effects.fit(X, 1e-3)
        got.append(effects.array)
    np.testing.assert_array_equal(got[0], got[1])
    np.testing.assert_array_equal(got[0], got[2])


def test_many_features_are_found_as_accurately_as_rows(ratings, monkeypatch):
    """Iterated to the tolerance of a sweep they leave the loss near that with exact ones, and it never rises."""
    F = sp.random(30, 60, 0.1, "csr", random_state=0)
    options = {"random_state": 0, "dtype": "float64", "regularization": 0.5, "regularization_exponent": 0.5}
    options |= {"feature_regularization": 0.1, "iterations": 30}
    exact = ImplicitALS(4, **options).fit(ratings, user_features=F)
    monkeypatch.setattr(module, "DIRECT_FEATURES", 0)
    model = ImplicitALS(4, **options).fit(ratings, user_features=F)
    assert model.loss_history == sorted(model.loss_history, reverse=True)
    assert model.loss_history[-1] == pytest.approx(exact.loss_history[-1], rel=1e-3)
    direct = ImplicitALS(4, solver="cholesky", acceleration=False, **options).fit(ratings, user_features=F)
    monkeypatch.setattr(module, "DIRECT_FEATURES", 1024)
    whole = ImplicitALS(4, solver="cholesky", acceleration=False, **options).fit(ratings, user_features=F)
    np.testing.assert_allclose(direct.feature_effects_[0], whole.feature_effects_[0], rtol=1e-4, atol=1e-7)


def test_products_do_not_depend_on_threads_or_on_the_other_rows():
    F, _, _ = random_side(3000, 500, 0.05)
    rows = check_features(F, "user_features", F.shape)
    A = np.random.default_rng(1).normal(size=(500, 40))

    expected = product(rows, np.ones(1), A, np.empty((3000, 40)), 1)
    got = product(rows, np.ones(1), A, np.empty((3000, 40)), 2)
    one = product(rows.taken(np.array([7])), np.ones(1), A, np.empty((1, 40)), 2)

    np.testing.assert_allclose(expected, F.toarray() @ A, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(one[0], expected[7])


def test_the_random_start_teaches_the_effects_nothing():
    """Effects begin at zero: the first users are noise."""
    R = sp.random(30, 20, 0.3, "csr", random_state=0)
    model = ImplicitALS(4, iterations=1, random_state=0).fit(R, user_features=np.ones((30, 2)))
    assert not model.feature_effects_[0].any()


@pytest.mark.parametrize("at", [0, 3])
def test_a_resumed_fit_goes_on_bit_for_bit(at, tmp_path):
    R, F, G = sp.random(60, 40, 0.2, "csr", random_state=0), np.eye(60, 5), sp.random(40, 7, 0.3, "csr", random_state=1)
    options = {"user_features": F, "item_features": G, "unobserved_weights": (np.linspace(0.5, 2, 60), None)}
    model = ImplicitALS(6, random_state=0, iterations=6)
    path = tmp_path / "training"

    def keep(model, sweep, loss):
        if sweep == at:
            write_state(path, model.training_state())

    expected = model.fit(R, callback=keep, **options)
    got = ImplicitALS(6, iterations=6).fit(R, resume_from=read_state(path), **options)

    np.testing.assert_array_equal(got.user_factors, expected.user_factors)
    np.testing.assert_array_equal(got.feature_effects_[1], expected.feature_effects_[1])
    assert got.loss_history == expected.loss_history
    with pytest.raises(ValueError, match="same features"):
        ImplicitALS(6).fit(R, resume_from=read_state(path), **{**options, "user_features": 2 * F})
    with pytest.raises(ValueError, match="same unobserved_weights"):
        ImplicitALS(6).fit(R, resume_from=read_state(path), **{**options, "unobserved_weights": None})


@pytest.mark.parametrize("seed", range(8))
def test_a_fit_resumed_after_its_last_sweep_has_the_last_loss_to_the_last_digit(seed):
    """Sums over effects must not depend on the order in which they lie, which a file does not keep."""
    random, states = np.random.default_rng(seed), []
    R, features = sp.random(9, 5, 0.5, "csr", random_state=seed), random.normal(size=(9, 7))
    options = {"user_features": features, "item_features": features[:5]}
    model = ImplicitALS(5, random_state=0, iterations=3, dtype="float64", acceleration=False)

    expected = model.fit(R, callback=lambda model, *_: states.append(model.training_state()), **options).loss_history
    arrays = {name: np.ascontiguousarray(getattr(states[-1], name)) for name in ("user_effects", "item_effects")}
    got = model.fit(R, resume_from=states[-1]._replace(**arrays), **options).loss_history

    assert got == expected


def test_users_and_items_known_by_features_alone():
    """Without interactions a row is solved from an empty history: M x = lambda z."""
    random = np.random.default_rng(0)
    F, G = random.normal(size=(40, 3)), random.normal(size=(30, 4))
    R = sp.csr_array((random.random((40, 30)) < 1 / (1 + np.exp(3 - F @ random.normal(size=(3, 4)) @ G.T))) * 1.0)
    model = ImplicitALS(5, random_state=0, dtype="float64", tol=1e-12).fit(R, user_features=F, item_features=G)
    Q, w = model.item_factors, model.unobserved_weights_[1]
    new = random.normal(size=3)
    ridge = model.regularization_[0] * 30

    got = model.recalculate_user(99, user_features=new)

    expected = np.linalg.solve(Q.T @ (w[:, None] * Q) + ridge * np.eye(5), ridge * (new @ model.feature_effects_[0]))
    np.testing.assert_allclose(got, expected, rtol=1e-9)
    items, scores = model.recommend(99, N=30, user_features=new)
    np.testing.assert_allclose(scores, np.sort(Q @ expected)[::-1], rtol=1e-9)
    np.testing.assert_array_equal(items, np.argsort(-(Q @ expected)))
    model.partial_fit_users([40], None, user_features=new)
    np.testing.assert_array_equal(model.user_factors[40], got)
    near, _ = model.similar_items(99, N=5, item_features=G[3])
    x = model.recalculate_item(99, item_features=G[3])
    np.testing.assert_array_equal(near, np.argsort(-(Q @ x) / np.linalg.norm(Q, axis=1))[:5])
    score, parts, _ = model.explain(40, itemid=2)
    assert parts == []
    assert score == pytest.approx(Q[2] @ got)


def test_features_of_a_model_without_any_are_refused():
    model = ImplicitALS(2, random_state=0).fit(sp.csr_array(np.eye(4)))
    with pytest.raises(ValueError, match="user_features must be left out: the model was fitted without any"):
        model.recommend(0, user_features=[1.0])
    with pytest.raises(TypeError, match="user_items must be a sparse matrix, unless user_features are given; got None"):
        model.partial_fit_users([0], None)


def test_update_keeps_weights_and_features():
    """The rows touched equal those of fold-in with the weights of their new numbers of entries."""
    R, F = sp.random(60, 40, 0.2, "csr", random_state=0), np.random.default_rng(0).normal(size=(60, 3))
    model = ImplicitALS(5, random_state=0, unobserved_exponent=(0.3, 0.5), dtype="float64", tol=1e-12)
    model.fit(R, user_features=F)
    new = sp.csr_array(([1.0, 2.0], ([3, 61], [5, 41])), shape=(62, 42))

    model.update(new)

    v, w = model.unobserved_weights_
    assert (v.size, w.size) == (62, 42)
    for u in (3, 61):
        np.testing.assert_allclose(model.user_factors[u], model.recalculate_user(u), rtol=1e-9, atol=1e-12)
    assert np.isfinite(model.loss(model.user_items_))


@pytest.mark.parametrize(("weight", "exponent"), [(1e-12, 0.5), (0.0, 0.5), (0.0, 1.0)])
@pytest.mark.parametrize("solver", ["cg", "cholesky"])
def test_without_missing_pairs_a_cold_row_is_what_its_features_predict(solver, weight, exponent):
    """The missing pairs of a row without any other draw it to zero; where they weigh next to nothing it is z.

    So it is where its lambda is zero, too.
    """
    dense = np.random.default_rng(0).random((40, 30)) < 0.3
    dense[:, :5] = False
    R, G = sp.csr_array(dense.astype(float)), np.random.default_rng(1).normal(size=(30, 3))
    fit = {"item_features": G, "unobserved_weights": (None, np.where(np.arange(30) < 5, weight, 1.0))}
    settings = {"dtype": "float64", "tol": 1e-10, "random_state": 0, "acceleration": False, "unobserved_exponent": 0}
    settings |= {"regularization": 0.5 if exponent < 1 else 0.02, "regularization_exponent": exponent}
    model = ImplicitALS(4, solver=solver, **settings).fit(R, **fit)
    drawn = ImplicitALS(4, solver=solver, **settings).fit(R, item_features=G)

    model.partial_fit_items(np.arange(5), sp.csr_array((5, 40)))  # from the users that the fit ended with
    np.testing.assert_allclose(model.item_factors[:5], G[:5] @ model.feature_effects_[1], rtol=1e-3, atol=1e-5)
    shrunk = np.linalg.norm(drawn.item_factors[:5]) / np.linalg.norm(G[:5] @ drawn.feature_effects_[1])
    assert shrunk < 0.8


@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize("choice", [{}, {"unobserved_weight": 4.0**33, "regularization": 4.0**33 / 50}])
def test_automatic_strength_is_the_mean_of_what_it_stands_beside(ratings, form, choice, tmp_path):
    """Users have features of different weight, items have none; kept for the loss, in files and in updates."""
    F = np.random.default_rng(0).normal(size=(30, 3)) * [1, 5, 0.1]
    features = sp.csr_array(F) if form == "sparse" else F
    options = {"random_state": 0, "dtype": "float64", "regularization_exponent": 0.5, **choice}
    model = ImplicitALS(4, **options).fit(ratings, user_features=features)
    missing = np.ones(30), model.unobserved_weights_[1]
    lambdas, _ = naive.regularizations(
        ratings.toarray(), regularization=model.regularization_, exponent=0.5, c0=model.unobserved_weight,
        missing=missing,
    )  # fmt: skip

    strength = np.diag(F.T @ (lambdas[:, None] * F)).mean()
    expected = ImplicitALS(4, **options, feature_regularization=(strength, 1.0)).fit(ratings, user_features=features)

    np.testing.assert_allclose(model.feature_effects_[0], expected.feature_effects_[0], rtol=1e-8)
    assert model.loss(ratings) == pytest.approx(expected.loss(ratings), rel=1e-12)
    model.save(tmp_path / "model.fastals")
    loaded = ImplicitALS.load(tmp_path / "model.fastals")
    assert loaded.loss(ratings) == model.loss(ratings)
    new = sp.csr_array(([1.0], ([3], [5])), shape=(30, 22))
    for one in (model, loaded, expected):
        one.update(new, sweeps=1)
    assert loaded.loss_history == model.loss_history
    assert model.loss_history[-1] == pytest.approx(expected.loss_history[-1], rel=1e-9)
