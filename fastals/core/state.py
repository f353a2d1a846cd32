"""What a fit makes, in one immutable value: a model holds one, and another takes its place by one assignment."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias, TypeVar

from fastals.core.features import Features
from fastals.core.overlay import Factors, History
from fastals.core.parameters import NotFittedError
from fastals.core.unobserved import Unobserved

Value = TypeVar("Value")
FeatureNames: TypeAlias = tuple[tuple[str, ...] | None, tuple[str, ...] | None]
_swaps: dict[int, threading.Lock] = {}  # by process: a lock inherited by a fork may be held for ever


class Chosen(NamedTuple):
    """What stands for parameters that are "auto": alpha, and strengths of users and of items."""

    alpha: float = 1.0
    regularization: tuple[float, float] = (1.0, 1.0)
    feature_regularization: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class State:
    """Factors, interactions and reports of a fit; the state of a model that has not been fitted has none.

    Attributes
    ----------
    user_factors, item_factors : Factors, optional
    history : History, optional
        The interactions that the model was fitted to.
    chosen : Chosen, optional
        The alpha and the strengths that were used.
    loss_history : tuple of float
        The loss after each sweep.
    unobserved : (Unobserved, Unobserved)
        Weights of missing pairs, of users and of items; None where all are 1.
    features : (Features, Features)
        Of users and of items; None where there are none.
    report : mapping of str to float
        See ``ImplicitALS.solver_report_``.
    interactions : Interactions, optional
        Ids of users and items.
    training_state : callable, optional
        During ``fit``, for its callbacks: returns the state of the training.
    feature_names : (tuple of str, tuple of str)
        Of users and of items; None where ``fit`` was given none.

    See Also
    --------
    needed : a part of a state that must be there.
    """

    user_factors: Factors | None = None
    item_factors: Factors | None = None
    history: History | None = None
    chosen: Chosen | None = None
    loss_history: tuple[float, ...] = ()
    unobserved: tuple[Unobserved | None, Unobserved | None] = (None, None)
    features: tuple[Features | None, Features | None] = (None, None)
    report: Mapping[str, float] = field(default_factory=dict)
    interactions: Any = None
    training_state: Callable[[], Any] | None = None
    feature_names: FeatureNames = (None, None)

    def changed(self, **changes: Any) -> State:
        """The same state but for some attributes."""
        return replace(self, **changes)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "training_state": None}


def needed(value: Value | None) -> Value:
    """Return a part of a state; NotFittedError where there is none."""
    if value is None:
        raise NotFittedError("this ImplicitALS is not fitted yet: call fit first")
    return value


def fitted(state: State) -> State:
    """Return a state that a fit has made; NotFittedError for another."""
    needed(state.history)
    return state


def training_state_of(state: Any) -> Any:
    """Return the state of the training that a state is of, which ``fit(resume_from=...)`` goes on from.

    Returns
    -------
    TrainingState

    Raises
    ------
    RuntimeError
        Where no ``fit`` is running, or it has gone on.
    """
    if state.training_state is None:
        raise RuntimeError("training_state is there for the callbacks of fit alone: no fit is running")
    return state.training_state()


def swap(model: Any, change: Callable[[State], State]) -> None:
    """Put a changed state in the place of a model's; where another thread was first, change that one."""
    while True:
        before = model._state
        after = change(before)
        with _swaps.setdefault(os.getpid(), threading.Lock()):
            if model._state is before:
                model._state = after
                return
