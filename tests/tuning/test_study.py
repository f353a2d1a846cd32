import builtins

import numpy as np
import pytest

from fastals import ImplicitALS
from fastals.datasets import make_interactions
from fastals.evaluation import ranking_metrics_at_k, train_test_split

optuna = pytest.importorskip("optuna")
from fastals.tuning import tune  # noqa: E402

DATA = make_interactions(150, 60, n_groups=4, mean_per_user=12, random_state=0).user_items
TRAIN, VALIDATION = train_test_split(DATA, test_size=0.2, random_state=0)
MODEL = ImplicitALS(iterations=4, confidence="log")


def search(n_trials=6, **changes):
    return tune(TRAIN, VALIDATION, **{"n_trials": n_trials, "factors": (4, 8), "model": MODEL, "K": 10, **changes})


def without_times(trials):
    return [{name: value for name, value in trial.items() if name != "seconds"} for trial in trials]


def test_refit_reproduces_the_best_trial():
    result = search(refit="train", factors=(2, 8), metric="recall")
    got = ranking_metrics_at_k(result.model, TRAIN, VALIDATION, 10)["recall"]
    expected = max(trial["value"] for trial in result.trials if trial["state"] == "complete")
    assert got == result.best_value == expected
    assert result.model.get_params() == result.best_params
    assert result.model.item_factors.shape == (60, result.best_params["factors"])
    assert len(result.best_sweeps) == [2, 4, 8].index(result.best_params["factors"]) + 1


def test_refit_to_all_uses_the_validation_pairs_too():
    model = search(n_trials=2, refit="all").model
    assert model.user_items_.nnz == DATA.nnz
    assert search(n_trials=2).model is None


@pytest.mark.parametrize("name", ["study.db", "study.journal"])
def test_resumed_study_equals_an_uninterrupted_one(tmp_path, name):
    expected = search(n_trials=9)  # the first eight are drawn at random, the ninth from what they gave
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
        search(n_trials=1, storage=tmp_path / "study.db", seed=1)
    with pytest.raises(ValueError, match="of other data or another search"):
        tune(DATA, VALIDATION, n_trials=1, factors=(4, 8), model=MODEL, K=10, storage=tmp_path / "study.db")
    other = search(n_trials=1, storage=tmp_path / "study.db", seed=1, study_name="other")
    assert len(other.trials) == 1


def test_seed_decides():
    first, again, other = search(n_trials=3), search(n_trials=3), search(n_trials=3, seed=1)
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
    model = ImplicitALS(iterations=1)
    result = tune(TRAIN, VALIDATION, n_trials=8, factors=2, model=model)
    users = np.diff(TRAIN.indptr) + TRAIN.shape[1]
    items = np.diff(TRAIN.tocsc().indptr) + TRAIN.shape[0]
    frequency = np.concatenate([users, items])
    for trial in result.trials:
        strength = trial["regularization"] * (frequency ** trial["regularization_exponent"]).mean()
        assert 0.03 <= strength / (trial["alpha"] * TRAIN.data.mean()) <= 30
        assert 0.003 <= 1 / (trial["alpha"] * TRAIN.data.mean()) <= 0.5


def test_given_space_is_searched_and_nothing_else():
    space = {"regularization": (0.5, 2.0), "regularization_exponent": (0.0, 0.3)}
    result = search(space=space, factors=4)
    for trial in result.trials:
        assert 0.5 <= trial["regularization"] <= 2.0
        assert 0.0 <= trial["regularization_exponent"] <= 0.3
        assert (trial["factors"], trial["alpha"], trial["unobserved_weight"]) == (4, MODEL.alpha, 1.0)
    assert len({trial["regularization"] for trial in result.trials}) == len(result.trials)


def test_hopeless_trials_are_pruned_and_the_best_is_a_complete_one():
    result = search(n_trials=16, space={"regularization": (1e-2, 1e6)}, model=ImplicitALS(iterations=6))
    states = [trial["state"] for trial in result.trials]
    assert states.count("pruned") >= 1
    assert len(states) == 16
    best = result.trials[result.study.best_trial.number]
    assert best["state"] == "complete"
    assert best["value"] == result.best_value
    pruned = [trial["value"] for trial in result.trials if trial["state"] == "pruned"]
    assert np.median(pruned) < result.best_value


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
        ({"refit": "both"}, "refit"),
        ({"model": ImplicitALS(unobserved_weight=0.0)}, "unobserved_weight"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_arguments_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        search(**changes)


def test_missing_optuna_is_said(monkeypatch):
    real = builtins.__import__

    def without_optuna(name, *args, **kwargs):
        if name.split(".")[0] == "optuna":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_optuna)
    with pytest.raises(ImportError, match=r"pip install 'fastals\[tuning\]'"):
        search()
