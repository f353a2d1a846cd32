"""What a fitted model holds, and what its parameters mean: read, checked, and kept for as long as they hold."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastals.core.parameters import NotFittedError, Parameters
from fastals.core.validation import (
    LARGEST_INT32,
    as_array,
    check_choice,
    check_dtype,
    check_factors,
    check_integer,
    check_real,
    is_auto,
    read_only,
)
from fastals.objective import Objective
from fastals.solver import threads
from fastals.solver.half_sweep import SOLVERS, Settings


class Fitted(Parameters):
    """Factors and training matrix of a model; its parameters are those of ``ImplicitALS``."""

    regularization: float | tuple[float, float]
    alpha: float | str
    unobserved_weight: float
    regularization_exponent: float
    confidence: str
    epsilon: float
    objective: str
    solver: str
    tol: float
    max_cg_steps: int
    dtype: Any
    num_threads: int | None
    interactions: Any

    @property
    def user_factors(self) -> np.ndarray:
        """Users' factors, (n_users, factors), read-only; assigning copies."""
        return self._fitted("_user_factors")

    @user_factors.setter
    def user_factors(self, value: Any) -> None:
        self._user_factors = self._given_factors("user_factors", value)

    @property
    def item_factors(self) -> np.ndarray:
        """Items' factors, (n_items, factors), read-only; assigning copies."""
        return self._fitted("_item_factors")

    @item_factors.setter
    def item_factors(self, value: Any) -> None:
        self._item_factors = self._given_factors("item_factors", value)

    @property
    def user_items_(self) -> sp.csr_array:
        """What the model was fitted to: canonical csr_array (n_users, n_items)."""
        return self._fitted("_rows").as_csr(check_dtype(self.dtype))

    def _fitted(self, name: str) -> Any:
        try:
            return self.__dict__[name]
        except KeyError:
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit first") from None

    def _given_factors(self, name: str, value: Any) -> np.ndarray:
        array = as_array(value, name)
        if array.ndim != 2 or not array.shape[1]:
            raise ValueError(f"{name} must have two dimensions; got shape {array.shape}")
        return read_only(check_factors(value, name, array.shape, check_dtype(self.dtype)))

    def _checked_objective(self, alpha: Any = None) -> Objective:
        """Checked parameters; with alpha="auto" the alpha of the fit, unless one is given."""
        if alpha is None:
            alpha = self._fitted("alpha_") if is_auto(self.alpha) else self.alpha
        return Objective.checked(
            objective=self.objective,
            confidence=self.confidence,
            alpha=alpha,
            epsilon=self.epsilon,
            unobserved_weight=self.unobserved_weight,
            regularization=self.regularization,
            regularization_exponent=self.regularization_exponent,
        )

    def _checked_settings(self) -> Settings:
        return Settings(
            check_choice("solver", self.solver, SOLVERS),
            check_real("tol", self.tol),
            min(check_integer("max_cg_steps", self.max_cg_steps, 1), LARGEST_INT32),
            None if self.num_threads is None else check_integer("num_threads", self.num_threads, 1),
        )

    def _matching_factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Factors of users and of items; ValueError where those assigned are of different lengths."""
        P, Q = self.user_factors, self.item_factors
        if P.shape[1] != Q.shape[1]:
            raise ValueError(f"user_factors and item_factors must be equally long; got shapes {P.shape} and {Q.shape}")
        return P, Q

    def _lock(self, purpose: str) -> threading.RLock:
        """Lock of this model and process: one inherited by a fork may be held for ever, so there it is another."""
        cache = self.__dict__.setdefault("_cache", {})
        return cache.setdefault(f"{purpose} lock {threads.forks}", threading.RLock())

    def _cached(self, name: str, sources: tuple[Any, ...], build: Any) -> Any:
        """Value made from ``sources``, kept until one of them is another object (factors never change in place)."""
        cache = self.__dict__.setdefault("_cache", {})
        with self._lock("build"):  # of many requests to a cold model one does the work
            held = cache.get(name)
            if held is None or not all(
                a is b or (np.isscalar(a) and a == b) for a, b in zip(held[0], sources, strict=True)
            ):
                held = cache[name] = (sources, build())
            return held[1]
