"""The state of a model: immutable, and clear about what it lacks."""

import dataclasses
import pickle

import numpy as np
import pytest

from fastals.core.overlay import Factors
from fastals.core.parameters import NotFittedError
from fastals.core.state import State, needed


def test_cannot_be_changed_in_place():
    state = State(Factors(np.ones((2, 3))), alpha=2.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.alpha = 3.0
    changed = state.changed(alpha=3.0)
    assert (state.alpha, changed.alpha) == (2.0, 3.0)
    assert changed.user_factors is state.user_factors


def test_what_is_not_there_is_named_as_not_fitted():
    state = State(alpha=2.0)
    assert needed(state.alpha) == 2.0
    with pytest.raises(NotFittedError, match="call fit first"):
        needed(state.history)


def test_a_running_training_does_not_travel():
    state = State(alpha=2.0, training_state=lambda: None)
    got = pickle.loads(pickle.dumps(state))
    assert (got.alpha, got.training_state) == (2.0, None)
