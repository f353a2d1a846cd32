"""The state of a model: immutable, and clear about what it lacks."""

import dataclasses
import pickle

import numpy as np
import pytest

from fastals.core.overlay import Factors
from fastals.core.parameters import NotFittedError
from fastals.core.state import Chosen, State, needed


def test_cannot_be_changed_in_place():
    state = State(Factors(np.ones((2, 3))), chosen=Chosen(2.0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.chosen = Chosen(3.0)
    changed = state.changed(chosen=Chosen(3.0))
    assert (state.chosen.alpha, changed.chosen.alpha) == (2.0, 3.0)
    assert changed.user_factors is state.user_factors


def test_what_is_not_there_is_named_as_not_fitted():
    state = State(chosen=Chosen(2.0))
    assert needed(state.chosen).alpha == 2.0
    with pytest.raises(NotFittedError, match="call fit first"):
        needed(state.history)


def test_a_running_training_does_not_travel():
    state = State(chosen=Chosen(2.0), training_state=lambda: None)
    got = pickle.loads(pickle.dumps(state))
    assert (got.chosen, got.training_state) == (Chosen(2.0), None)
