"""Weights of missing pairs and features in files: what is written comes back, and damage is refused."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastals import ImplicitALS
from fastals.core.features import NamedFeatures
from fastals.core.state import State
from fastals.persistence import parts

R = sp.random(30, 20, 0.2, "csr", random_state=0)
F, G = np.random.default_rng(0).normal(size=(30, 3)), sp.random(20, 5, 0.4, "csr", random_state=1)


def fitted(**fit):
    return ImplicitALS(4, random_state=0, iterations=3, unobserved_exponent=(0.2, 0.5)).fit(R, **fit)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("mmap", [False, True])
def test_a_model_comes_back_whole(tmp_path, given, mmap):
    weights = {"unobserved_weights": (np.linspace(0, 2, 30), None)} if given else {}
    model = fitted(user_features=F, item_features=G, **weights)
    model.partial_fit_users([31], sp.csr_array((1, 20)), user_features=F[:1])

    model.save(tmp_path / "model")
    loaded = ImplicitALS.load(tmp_path / "model", mmap=mmap)

    for got, expected in zip(loaded.unobserved_weights_, model.unobserved_weights_, strict=True):
        assert (got is None) == (expected is None)
        np.testing.assert_array_equal(got, expected)
    for got, expected in zip(loaded.feature_effects_, model.feature_effects_, strict=True):
        np.testing.assert_array_equal(got, expected)
    everyone = np.arange(32)
    np.testing.assert_array_equal(loaded.recalculate_user(everyone), model.recalculate_user(everyone))
    np.testing.assert_array_equal(loaded.recalculate_item(np.arange(20)), model.recalculate_item(np.arange(20)))


@pytest.mark.parametrize("mmap", [False, True])
def test_names_of_features_stay_with_the_model(tmp_path, mmap):
    names = ("Komödie", "year", "title#0", "title#1", "author=O'Hara, \N{GRINNING FACE}")
    model = fitted(user_features=F, item_features=NamedFeatures(sp.csr_array(G), names))
    model.save(tmp_path / "model")

    loaded = ImplicitALS.load(tmp_path / "model", mmap=mmap)

    assert loaded.feature_names_ == model.feature_names_ == (None, names)
    np.testing.assert_array_equal(loaded.item_factors, model.item_factors)
    model.partial_fit_items([20], sp.csr_array((1, 30)), item_features=NamedFeatures(sp.csr_array(G[:1]), names))
    assert model.feature_names_ == (None, names)
    model.fit(R, item_features=G)
    assert model.feature_names_ == (None, None)


def test_callbacks_see_the_names():
    seen = []
    names = tuple("abcde")
    model = ImplicitALS(4, random_state=0, iterations=2)
    model.fit(
        R,
        item_features=NamedFeatures(sp.csr_array(G), names),
        callback=lambda model, sweep, loss: seen.append(model.feature_names_),
    )
    assert seen == [(None, names)] * 2


@pytest.mark.parametrize(
    "names", [np.array(["a", "b"]), np.arange(3), np.array([["a"], ["b"], ["c"]]), np.array([b"a", b"b", b"c"])]
)
def test_names_that_do_not_fit_are_refused(names):
    known = parts.restored_features(written()[1], (30, 20), 4)
    assert parts.restored_names({"user_feature_names": np.array(["a", "b", "c"])}, known) == (("a", "b", "c"), None)
    for side in ("user", "item"):
        with pytest.raises(ValueError, match=f"{side}_feature_names must be"):
            parts.restored_names({f"{side}_feature_names": names}, known)


def test_without_either_nothing_is_written():
    assert [part.arrays for part in parts.written(State())] == [{}, {}]
    assert parts.restored_unobserved({}, {}, (3, 2)) == (None, None)
    assert parts.restored_features({}, (3, 2), 4) == (None, None)


def written():
    unobserved, features = parts.written(fitted(user_features=F)._state)
    return unobserved.header, {**unobserved.arrays, **features.arrays}


@pytest.mark.parametrize(
    ("name", "damaged"),
    [
        ("user_unobserved_weights", lambda array: array[:-1]),
        ("user_unobserved_weights", lambda array: -array),
        ("item_unobserved_weights", lambda array: array.astype(np.float32)),
        ("user_effects", lambda array: array[:, :-1]),
        ("user_effects", lambda array: array * np.nan),
        ("user_features_indices", lambda array: array + 1),
        ("user_features_indptr", lambda array: array[::-1].copy()),
    ],
)
def test_damage_is_refused(name, damaged):
    header, arrays = written()
    arrays[name] = damaged(arrays[name])

    def restore():
        parts.restored_unobserved(header, arrays, (30, 20))
        parts.restored_features(arrays, (30, 20), 4)

    with pytest.raises((TypeError, ValueError)):
        restore()


@pytest.mark.parametrize("rule", [None, [0.5, 1.0], [0.5, 0.0, 1.0, 1.0], [0.5, 1.0, 0.1, 0.0], [99.0, 1.0, 1.0, 1.0]])
def test_rules_of_weights_are_checked(rule):
    header, arrays = written()
    with pytest.raises((TypeError, ValueError)):
        parts.restored_unobserved({**header, "item": rule}, arrays, (30, 20))
