import builtins
import inspect
from typing import ClassVar

import naive
import numpy as np
import pytest
import scipy.sparse as sp

from fastals import ImplicitALS, callbacks
from fastals.datasets import make_interactions
from fastals.evaluation import ranking_metrics_at_k, train_test_split
from fastals.weighting import popularity

optuna = pytest.importorskip("optuna")
from fastals.solver.checked import AUTO_EXPONENT  # noqa: E402
from fastals.tuning import tune  # noqa: E402
from fastals.tuning.trial import Search, dimensions_of  # noqa: E402

pytestmark = pytest.mark.slow

DATA = make_interactions(150, 60, n_groups=4, mean_per_user=12, random_state=0).user_items
TRAIN, VALIDATION = train_test_split(DATA, test_size=0.2, random_state=0)
MODEL = ImplicitALS(iterations=4, confidence="log")


DENSE = sp.csr_array((np.random.default_rng(0).random((60, 30)) < 0.6).astype(np.float64))


class Scripted(dict):
    """Metrics as they were laid down."""

    stderr: ClassVar = {}


def search(n_trials=6, **changes):
    return tune(TRAIN, VALIDATION, **{"n_trials": n_trials, "factors": (4, 8), "model": MODEL, "K": 10, **changes})


def without_times(trials):
    return [{name: value for name, value in trial.items() if name != "seconds"} for trial in trials]


@pytest.mark.parametrize("data", [DATA, DENSE], ids=["sparse", "dense"])
def test_best_parameters_give_the_model_that_was_measured(data):
    """Bit for bit, number of sweeps included; on dense data too, where a fit ends with another half-sweep."""
    train, validation = train_test_split(data, test_size=0.2, random_state=0)
    model = ImplicitALS(iterations=12, tol=1e-5)
    result = tune(
        train, validation, n_trials=4, factors=(2, 8), model=model, K=10, metric="recall", patience=3, refit="train"
    )

    fitted = ImplicitALS(**result.best_params).fit(train)

    np.testing.assert_array_equal(fitted.user_factors, result.model.user_factors)
    np.testing.assert_array_equal(fitted.item_factors, result.model.item_factors)
    assert ranking_metrics_at_k(fitted, train, validation, 10)["recall"] == result.best_value
    assert result.model.get_params() == result.best_params
    best = max((trial for trial in result.trials if trial["state"] == "complete"), key=lambda trial: trial["value"])
    assert best["value"] == result.best_value
    assert (best["iterations"], best["factors"]) == (len(fitted.loss_history), fitted.item_factors.shape[1])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_trails": 3}, "tune got an unexpected keyword argument 'n_trails'; did you mean 'n_trials'"),
        ({"seed": 3}, "unexpected keyword argument 'seed'; of the evaluation it takes users, items, filter_train"),
        ({"filter_trains": 3}, "did you mean 'filter_train'"),
        ({"users": [0.5]}, "users must be"),
        ({"users": [150]}, r"users must lie in 0 \.\. 149; got 150"),
        ({"metric": "ndgc"}, "metric must be one of 'precision', .*; got str 'ndgc'"),
        ({"K": 0}, "K must be >= 1"),
        ({"patience": 0}, "patience must be >= 1"),
        ({"validation": VALIDATION[:10]}, r"test_user_items has shape \(10, 60\)"),
    ],
)
def test_wrong_arguments_are_refused_before_the_first_fit(monkeypatch, wrong, message):
    monkeypatch.setattr(ImplicitALS, "fit", lambda *args, **kwargs: pytest.fail("a model was fitted"))
    options = {"n_trials": 3, "factors": 4, **wrong}
    with pytest.raises((TypeError, ValueError), match=message):
        tune(TRAIN, options.pop("validation", VALIDATION), **options)


def test_good_trials_are_not_ended_after_a_few_sweeps():
    """A metric that dips for seven sweeps on its way to the best: the default waits."""
    curve = iter([0.1, 0.2, *[0.15] * 7, 0.3, *[0.2] * 5])
    search = Search(
        TRAIN, VALIDATION, ImplicitALS(iterations=15), [2], None, "ndcg", 10,
        inspect.signature(tune).parameters["patience"].default, {}, 0, optuna.TrialPruned,
    )  # fmt: skip
    trial = optuna.create_study(direction="maximize").ask()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks, "ranking_metrics_at_k", lambda *args, **kwargs: Scripted(ndcg=next(curve)))
        assert search.objective(trial) == 0.3
    assert trial.user_attrs["iterations"] == 10


def test_refit_to_all_uses_the_validation_pairs_too():
    model = search(n_trials=2, refit="all").model
    assert model.user_items_.nnz == DATA.nnz
    assert search(n_trials=2).model is None


@pytest.mark.parametrize("name", ["study.db", "study.journal"])
def test_resumed_study_equals_an_uninterrupted_one(tmp_path, name):
    expected = search(n_trials=9)  # the first five are laid down, the others follow from what was before them
    search(n_trials=3, storage=tmp_path / name)
    assert (tmp_path / name).is_file()
    got = search(n_trials=9, storage=tmp_path / name)
    assert without_times(got.trials) == without_times(expected.trials)
    assert got.best_params == expected.best_params
    # a finished study is only read
    assert without_times(search(n_trials=9, storage=tmp_path / name).trials) == without_times(got.trials)


def test_study_of_another_search_is_refused(tmp_path):
    search(n_trials=1, storage=tmp_path / "study.db")
    with pytest.raises(ValueError, match="of other data or another search"):
        search(n_trials=1, storage=tmp_path / "study.db", random_state=1)
    with pytest.raises(ValueError, match="of other data or another search"):
        tune(DATA, VALIDATION, n_trials=1, factors=(4, 8), model=MODEL, K=10, storage=tmp_path / "study.db")
    other = search(n_trials=1, storage=tmp_path / "study.db", random_state=1, study_name="other")
    assert len(other.trials) == 1


def test_seed_decides():
    first, again, other = search(n_trials=3), search(n_trials=3), search(n_trials=3, random_state=1)
    assert without_times(first.trials) == without_times(again.trials)
    assert without_times(first.trials) != without_times(other.trials)


@pytest.mark.parametrize("objective", ["hu", "rendle"])
def test_default_ranges_are_in_units_of_the_data(objective):
    """The same search on data in other units: the same products alpha r, the same lambdas and the same metric."""
    model = ImplicitALS(iterations=3, objective=objective, alpha=2.0, random_state=0)
    once = tune(TRAIN, VALIDATION, n_trials=3, factors=4, model=model)
    scaled = ImplicitALS(iterations=3, objective=objective, alpha=0.25, random_state=0)
    got = tune(TRAIN * 8, VALIDATION, n_trials=3, factors=4, model=scaled)
    for a, b in zip(once.trials, got.trials, strict=True):
        np.testing.assert_allclose(a["alpha"], 8 * b["alpha"], rtol=1e-12)
        np.testing.assert_allclose(a["regularization"], b["regularization"], rtol=1e-12)
        np.testing.assert_allclose(a["unobserved_weight"], b["unobserved_weight"], rtol=1e-12)
        assert a["value"] == pytest.approx(b["value"], abs=1e-3)


def test_mean_strength_lies_in_its_range_whatever_the_exponent():
    """In units of the mean stored weight, which is 1; the weight of what is not stored is searched down to 0.0003."""
    model = ImplicitALS(iterations=1)
    result = tune(TRAIN, VALIDATION, n_trials=12, factors=2, model=model, pruner=optuna.pruners.NopPruner())
    for trial in result.trials:
        weight, exponent = trial["unobserved_weight"], trial["regularization_exponent"]
        users = np.diff(TRAIN.indptr) + weight * TRAIN.shape[1]
        items = np.diff(TRAIN.tocsc().indptr) + weight * TRAIN.shape[0]
        frequency = np.concatenate([users, items])
        mean_lambda = trial["regularization"] * (frequency**exponent).mean()
        assert 0.0003 <= mean_lambda / frequency.mean() <= 0.1
        assert 0.0003 <= weight <= 0.5
        assert trial["alpha"] * np.log1p(TRAIN.data).mean() == pytest.approx(1)
    first = [trial["unobserved_weight"] for trial in result.trials[:5]]
    assert first[0] == first[1] == first[2]  # the constructor's parameters, with three exponents of missing pairs
    assert first[3:] == [0.03, 0.003]
    assert min(trial["unobserved_weight"] for trial in result.trials) < 0.003


def test_weights_of_missing_pairs_are_searched_with_lambdas_that_compare():
    """The sum of lambda is that of the strength at exponent 1, with the frequencies that v and w give."""
    model = ImplicitALS(iterations=1, unobserved_exponent=(0.5, 0.7))  # the users' exponent stays
    result = tune(TRAIN, VALIDATION, n_trials=8, factors=2, model=model, pruner=optuna.pruners.NopPruner())
    ridges = [trial.params["ridge"] for trial in result.study.trials]
    for trial, ridge in zip(result.trials, ridges, strict=True):
        assert trial["unobserved_exponent"][0] == 0.5
        arguments = {"regularization": trial["regularization"], "exponent": trial["regularization_exponent"]}
        v, w = (
            naive.weights_by_popularity(np.diff(side.indptr), exponent)
            for side, exponent in zip((TRAIN, TRAIN.tocsc()), trial["unobserved_exponent"], strict=True)
        )
        weights = {"c0": trial["unobserved_weight"], "missing": (v, w)}
        got = sum(side.sum() for side in naive.regularizations(TRAIN.toarray(), **arguments, **weights))
        expected = naive.regularizations(TRAIN.toarray(), regularization=ridge, exponent=1.0, **weights)
        assert got == pytest.approx(sum(side.sum() for side in expected), rel=1e-9)
    exponents = [trial["unobserved_exponent"][1] for trial in result.trials]
    assert exponents[:5] == [AUTO_EXPONENT, 0.75, 0.25, 0.25, 0.25]
    assert len(set(exponents)) == 6
    assert all(0 <= exponent <= 0.75 for exponent in exponents)


@pytest.mark.parametrize("name", ["memory", "study.db"])
@pytest.mark.parametrize("weighting", ["popularity", ("none", "bm25", "tfidf")])
def test_weighed_pairs_are_fitted_and_the_result_repeats_it(tmp_path, name, weighting):
    storage = None if name == "memory" else tmp_path / name
    options = {"weighting": weighting, "factors": 4, "storage": storage, "refit": "train"}
    result = search(n_trials=9, **options)

    fitted = ImplicitALS(**result.best_params).fit(result.weigh(TRAIN))

    np.testing.assert_array_equal(fitted.item_factors, result.model.item_factors)
    assert ranking_metrics_at_k(fitted, TRAIN, VALIDATION, 10)["ndcg"] == result.best_value
    best = result.trials[result.study.best_trial.number]
    names = {trial["weighting"] for trial in result.trials}
    if weighting == "popularity":
        assert names == {"popularity"}
        assert result.weighting == {"name": "popularity", "item_exponent": best["item_exponent"]}
        assert len({trial["item_exponent"] for trial in result.trials}) == 9
        expected = popularity(TRAIN.astype(np.float64), item_exponent=best["item_exponent"])
        np.testing.assert_array_equal(result.weigh(TRAIN).toarray(), expected.toarray())
    else:
        assert names <= {"none", "bm25", "tfidf"}
        assert len(names) > 1
    sizes = np.log1p(result.weigh(TRAIN).data).mean()
    assert result.best_params["alpha"] * sizes == pytest.approx(1)
    everything = search(n_trials=9, **{**options, "refit": "all"})
    assert everything.weighting == result.weighting
    np.testing.assert_array_equal(everything.model.user_items_.toarray(), result.weigh(DATA).astype("f").toarray())


@pytest.mark.parametrize("refit", ["train", "all"])
def test_half_lives_are_searched_and_the_result_repeats_it(refit):
    ages = np.random.default_rng(0).integers(0, 1000, DATA.nnz)
    times = sp.csr_array((ages, DATA.indices, DATA.indptr), shape=DATA.shape)

    result = search(n_trials=4, weighting="recency", times=times, factors=4, refit=refit)

    data = TRAIN if refit == "train" else DATA
    fitted = ImplicitALS(**result.best_params).fit(result.weigh(data, times))
    np.testing.assert_array_equal(fitted.item_factors, result.model.item_factors)
    lives = [trial["half_life"] for trial in result.trials]
    assert len(set(lives)) == 4
    assert all(8 < life < 3000 for life in lives)
    assert result.weighting == {"name": "recency", "half_life": lives[result.study.best_trial.number]}


def test_a_search_with_other_times_is_another_search(tmp_path):
    times = sp.csr_array((np.arange(1, DATA.nnz + 1), DATA.indices, DATA.indptr), shape=DATA.shape)
    options = {"n_trials": 1, "factors": 2, "weighting": "recency", "storage": tmp_path / "study.db"}
    search(**options, times=times)
    with pytest.raises(ValueError, match="is of other data or another search"):
        search(**options, times=times * 2)


def test_without_weighting_nothing_is_weighed():
    result = search(n_trials=1)
    assert result.weighting is None
    assert "weighting" not in result.trials[0]
    np.testing.assert_array_equal(result.weigh(TRAIN).toarray(), TRAIN.toarray())


@pytest.mark.parametrize("known", [("user_features", "item_features"), ("item_features",)])
def test_features_reach_every_fit_and_their_strength_is_searched(tmp_path, known):
    random = np.random.default_rng(0)
    features = {name: random.random((150 if name == "user_features" else 60, 3)) for name in known}
    options = {"factors": 4, "storage": tmp_path / "study.db", "refit": "train", **features}
    result = search(n_trials=4, **options)

    fitted = ImplicitALS(**result.best_params).fit(TRAIN, **features)

    np.testing.assert_array_equal(fitted.item_factors, result.model.item_factors)
    np.testing.assert_array_equal(fitted.feature_effects_[1], result.model.feature_effects_[1])
    strengths = [trial["feature_regularization"] for trial in result.trials]
    assert len(set(strengths)) == 4
    assert all((users == 1.0) == ("user_features" not in features) for users, _ in strengths)
    with pytest.raises(ValueError, match="of other data or another search"):
        search(n_trials=4, **{**options, "item_features": 2 * features["item_features"]})


def test_given_space_is_searched_and_nothing_else():
    space = {"regularization": (0.5, 2.0), "regularization_exponent": (0.0, 0.3), "unobserved_exponent": (-0.2, 0.4)}
    result = search(space=space, factors=4)
    for trial in result.trials:
        assert 0.5 <= trial["regularization"] <= 2.0
        assert 0.0 <= trial["regularization_exponent"] <= 0.3
        assert -0.2 <= trial["unobserved_exponent"] <= 0.4
        assert (trial["factors"], trial["alpha"], trial["unobserved_weight"]) == (4, MODEL.alpha, 1.0)
    assert len({trial["regularization"] for trial in result.trials}) == len(result.trials)


def test_hopeless_trials_are_pruned_and_the_best_is_a_complete_one():
    result = search(n_trials=16, space={"regularization": (1e-2, 1e6)}, model=ImplicitALS(iterations=8))
    states = [trial["state"] for trial in result.trials]
    assert states.count("pruned") >= 1
    assert len(states) == 16
    best = result.trials[result.study.best_trial.number]
    assert best["state"] == "complete"
    assert best["value"] == result.best_value
    pruned = [trial["value"] for trial in result.trials if trial["state"] == "pruned"]
    assert np.median(pruned) < result.best_value
    sweeps = [len(result.study.trials[trial["number"]].intermediate_values) for trial in result.trials]
    assert min(sweeps) == 6  # none before it has shown what it comes to


def test_own_pruner_and_timeout():
    never = search(n_trials=16, pruner=optuna.pruners.NopPruner(), factors=4, model=ImplicitALS(iterations=2))
    assert {trial["state"] for trial in never.trials} == {"complete"}
    with pytest.raises(RuntimeError, match="no trial was completed"):
        search(timeout=1e-9)


def test_frame_is_sorted_and_complete():
    pytest.importorskip("pandas")
    result = search()
    frame = result.to_frame()
    assert sorted(frame["number"]) == list(range(6))
    assert frame["value"].is_monotonic_decreasing
    assert set(frame.columns) >= {"state", "factors", "alpha", "regularization", "unobserved_weight", "seconds"}


def test_neither_data_nor_model_nor_logging_is_changed():
    train, validation, parameters = TRAIN.copy(), VALIDATION.copy(), MODEL.get_params()
    level = optuna.logging.get_verbosity()
    search(n_trials=1)
    assert (abs(TRAIN - train).nnz, abs(VALIDATION - validation).nnz) == (0, 0)
    assert MODEL.get_params() == parameters
    assert optuna.logging.get_verbosity() == level


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_trials": 0}, "n_trials"),
        ({"factors": (8, 24)}, "factors must be the lowest times a power of two; got 8 and 24"),
        ({"factors": 0}, "factors"),
        ({"space": {"beta": (1, 2)}}, "beta"),
        ({"space": {"alpha": (2, 1)}}, r"space\['alpha'\] must be 0 < low < high; got \(2, 1\)"),
        ({"space": {"alpha": (0, 1)}}, r"space\['alpha'\]"),
        ({"space": {"regularization_exponent": (-1, 1)}}, r"must be 0 <= low < high; got \(-1, 1\)"),
        ({"space": {"unobserved_exponent": (1, 1)}}, r"must be low < high; got \(1, 1\)"),
        ({"space": {"feature_regularization": (1, 2)}}, "needs user_features or item_features"),
        ({"item_features": np.ones((59, 2))}, r"item_features must have shape \(60, "),
        ({"weighting": "age"}, "weighting must be one of"),
        ({"weighting": "recency"}, "weighting='recency' needs times"),
        ({"weighting": "bm25", "times": TRAIN}, "times are for weighting='recency'"),
        ({"weighting": "recency", "times": TRAIN, "refit": "all"}, "times must be stored for every pair"),
        ({"refit": "both"}, "refit"),
        ({"random_state": -1}, "random_state"),
    ],
)
def test_bad_arguments_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        search(**changes)


def test_dimensions():
    assert dimensions_of((3, 24)) == [3, 6, 12, 24]
    assert dimensions_of(7) == [7]


def test_missing_optuna_is_said(monkeypatch):
    real = builtins.__import__

    def without_optuna(name, *args, **kwargs):
        if name.split(".")[0] == "optuna":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_optuna)
    with pytest.raises(ImportError, match=r"pip install 'fastals\[tuning\]'"):
        search()
