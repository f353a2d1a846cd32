"""A random problem: ratings in some form, perhaps preferences and given factors, and the parameters of a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastals import ImplicitALS

from . import oracle
from .choices import Choices
from .forms import Form, draw_form, draw_values, dressed, pattern_of

# Options and how often each is drawn. A new parameter is one line here (and its part of the formulas in ``oracle``).
PARAMETERS: dict[str, dict[Any, float]] = {
    "objective": {"hu": 2, "rendle": 1},
    "confidence": {"linear": 2, "log": 1, "raw": 1},
    "alpha": {"auto": 3, 1e-3: 1, 0.3: 2, 1.0: 2, 40.0: 3, 1e3: 1},
    "epsilon": {0.01: 1, 0.5: 1, 1.0: 2, 10.0: 1},
    "unobserved_weight": {0.0: 2, 1e-6: 1, 0.1: 3, 1.0: 6, 30.0: 1},
    "unobserved_exponent": {0.0: 8, 0.5: 2, (0.3, 0.7): 1, (1.0, 0.0): 0.5, -0.5: 0.5, 2.0: 0.5},
    "regularization": {
        0.0: 1, 1e-9: 1, 1e-4: 1, 0.05: 3, 0.5: 4, 10.0: 3, (0.5, 2.0): 2, (1e-6, 0.1): 1, (0.0, 1.0): 0.5,
        (1.0, 0.0): 0.5, "auto": 3,
    },
    "regularization_exponent": {0.0: 3, 0.5: 2, 1.0: 2, 2.0: 0.5},
    "solver": {"cg": 3, "cholesky": 2},
    "tol": {0.0: 1, 1e-12: 1, 1e-8: 1, 1e-6: 2, 1e-3: 4, 0.1: 1, 10.0: 0.3},
    "max_cg_steps": {1: 1, 2: 1, 4: 1, 20: 1, 50: 5, 300: 0.5},
    "dtype": {"float32": 1, "float64": 1},
    "iterations": {1: 3, 2: 3, 3: 3, 5: 2, 8: 1},
    "acceleration": {"auto": 2, True: 1, False: 2},
    "num_threads": {1: 30, 2: 1},
    "feature_regularization": {"auto": 3, 1e-3: 1, 1.0: 1, (0.1, 30.0): 1},
}  # fmt: skip
ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-53}


@dataclass(frozen=True)
class Problem:
    """Everything that a fit depends on. ``ratings`` is dense float64; its zeros are not stored.

    What is to come is one more field, with a default, drawn in ``draw_problem`` and passed on by ``data``.
    """

    choices: Choices
    ratings: np.ndarray
    form: Form
    factors: int
    parameters: dict[str, Any]
    seed: int
    preference: np.ndarray | None = None
    given: dict[str, np.ndarray] = field(default_factory=dict)
    unobserved: tuple[np.ndarray | None, np.ndarray | None] | None = None  # weights of missing pairs that are given
    features: tuple[np.ndarray | None, np.ndarray | None] = (None, None)  # of users and items, dense float64

    def model(self, **more: Any) -> ImplicitALS:
        """Model not yet fitted; ``more`` overrides parameters."""
        parameters = {"factors": self.factors, "random_state": self.seed, **self.parameters, **more}
        return ImplicitALS(**parameters)

    @cached_property
    def matrix(self) -> Any:
        """The ratings in their form."""
        return dressed(self.choices, self.form, self.ratings)

    @cached_property
    def data(self) -> dict[str, Any]:
        """Arguments of ``fit``."""
        arguments = {"user_items": self.matrix, **self.given, **self.besides}
        if self.preference is not None:
            rows, columns = np.nonzero(pattern_of(self.matrix))
            triplets = self.preference[rows, columns], (rows, columns)
            arguments["preference"] = sp.csr_array(sp.coo_array(triplets, shape=self.ratings.shape))
        return arguments

    @cached_property
    def besides(self) -> dict[str, Any]:
        """``unobserved_weights`` and features, if there are any; features in some form."""
        found = {} if self.unobserved is None else {"unobserved_weights": self.unobserved}
        for name, array in zip(("user_features", "item_features"), self.features, strict=True):
            if array is not None:
                form = self.choices.pick(f"{name} form", (np.array, np.asfortranarray, sp.csr_array, sp.coo_matrix))
                found[name] = form(array)
        return found

    def prior(self, axis: int, effects: tuple[Any, Any], ids: np.ndarray | None = None) -> oracle.Prior:
        """What features predict of all rows, or of rows ``ids``; of new ones nothing."""
        features = self.features[axis]
        if ids is not None and features is not None:
            known = np.where(ids < len(features), ids, 0)
            features = np.where((ids < len(features))[:, None], features[known], 0.0)
        count = self.shape[axis] if ids is None else ids.size
        return oracle.Prior.of(features, effects[axis], count, self.factors)

    def priors(self, effects: tuple[Any, Any]) -> tuple[oracle.Prior, oracle.Prior]:
        """``prior`` of users and items."""
        return self.prior(0, effects), self.prior(1, effects)

    @cached_property
    def feature_strengths(self) -> tuple[float, float]:
        """``feature_regularization`` of users and items, "auto" calculated."""
        strength = self.parameters["feature_regularization"]
        if strength == "auto":
            sides = zip(self.features, self.lambdas, strict=True)
            return tuple(1.0 if side is None else oracle.mean_diagonal(side, own) for side, own in sides)
        return strength if isinstance(strength, tuple) else (strength, strength)

    def effects_penalty(self, effects: tuple[Any, Any]) -> float:
        """strength |A|^2 of both sides."""
        sides = zip(self.feature_strengths, effects, strict=True)
        return float(sum(strength * (A**2).sum() for strength, A in sides if A is not None))

    @cached_property
    def missing(self) -> tuple[np.ndarray, np.ndarray]:
        """v and w, of the missing pairs of users and of items."""
        return tuple(self.missing_of(axis, np.arange(self.shape[axis]), self._counts[axis]) for axis in (0, 1))

    @property
    def _counts(self) -> tuple[np.ndarray, np.ndarray]:
        stored = self.ratings != 0
        return stored.sum(axis=1), stored.sum(axis=0)

    def missing_of(self, axis: int, ids: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Weights of rows with ``counts`` entries as ``ids``: by their counts in the scale of the fit, or those given.

        New ids get the mean of those given.
        """
        if self.unobserved is not None:
            given = self.unobserved[axis]
            if given is None:
                return np.ones(ids.size)
            return np.where(ids < given.size, given[np.minimum(ids, given.size - 1)], given.mean())
        exponent = self.parameters["unobserved_exponent"]
        pair = exponent if isinstance(exponent, tuple) else (0.0, exponent)
        _, scale = oracle.popularity_weights(self._counts[axis], pair[axis])
        return oracle.popularity_weights(counts, pair[axis], scale)[0]

    @property
    def loss_data(self) -> dict[str, Any]:
        """Arguments of ``loss``."""
        return {name: value for name, value in self.data.items() if name in ("user_items", "preference")}

    @property
    def plain(self) -> sp.csr_array:
        """The ratings as a canonical csr_array of float64."""
        return sp.csr_array(self.ratings)

    @property
    def shape(self) -> tuple[int, int]:
        return self.ratings.shape

    @property
    def c0(self) -> float:
        return float(self.parameters["unobserved_weight"])

    @property
    def roundoff(self) -> float:
        """Unit roundoff of the factors' type, half its eps."""
        return ROUNDOFF[self.parameters["dtype"]]

    @property
    def alpha(self) -> float:
        """Alpha as README has it, "auto" calculated."""
        p = self.parameters
        if p["alpha"] != "auto":
            return float(p["alpha"])
        return oracle.automatic_alpha(self.ratings, p["confidence"], p["epsilon"], self.c0)

    @cached_property
    def terms(self) -> oracle.Terms:
        """What the fit minimises."""
        return oracle.terms_of(self.ratings, self.preference, self.alpha, self.parameters, *self.missing)

    def terms_of_rows(self, ratings: np.ndarray, axis: int = 0, ids: np.ndarray | None = None) -> oracle.Terms:
        """Terms of rows folded in, or explained, as ``ids``: phi follows from the sign of the values."""
        v, w = self._missing_of_rows(ratings, axis, ids)
        return oracle.terms_of(ratings, None, self.alpha, self.parameters, v, w)

    def _missing_of_rows(self, ratings: np.ndarray, axis: int, ids: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        ids = np.arange(len(ratings)) if ids is None else ids
        return self.missing_of(axis, ids, (ratings != 0).sum(axis=1)), self.missing[1 - axis]

    @cached_property
    def lambdas(self) -> tuple[np.ndarray, np.ndarray]:
        """Lambda of users and of items."""
        exponent = self.parameters["regularization_exponent"]
        return oracle.regularizations(self.ratings, self.strengths, exponent, self.c0, *self.missing)

    @cached_property
    def strengths(self) -> tuple[float, float]:
        """Regularization of users and of items, "auto" calculated."""
        strength, exponent = self.parameters["regularization"], self.parameters["regularization_exponent"]
        if strength == "auto":
            return oracle.automatic_regularization(self.ratings, exponent, self.c0, *self.missing)
        return strength if isinstance(strength, tuple) else (strength, strength)

    def rows_lambda(self, ratings: np.ndarray, axis: int, ids: np.ndarray | None = None) -> np.ndarray:
        """Lambda of other rows of users (axis 0) or items (axis 1) as ``ids``, ``ratings`` (rows, columns)."""
        exponent = self.parameters["regularization_exponent"]
        v, w = self._missing_of_rows(ratings, axis, ids)
        return oracle.regularizations(ratings, (self.strengths[axis], 0.0), exponent, self.c0, v, w)[0]

    @property
    def may_have_no_solution(self) -> bool:
        """Whether some row's system may be singular in the type of the factors: FloatingPointError is an answer."""
        return min(lambdas.min() for lambdas in self.lambdas) < 1e-6

    def describe(self) -> str:
        """All that matters, on a few lines."""
        given = ", ".join(self.given) or "none"
        return (
            f"{self.shape[0]} x {self.shape[1]}, {np.count_nonzero(self.ratings)} stored, {self.factors} factors, "
            f"preference {'given' if self.preference is not None else 'by sign'}, given factors: {given}, "
            f"weights of missing pairs {'given' if self.unobserved is not None else 'by exponent'}, "
            f"features {[None if side is None else side.shape[1] for side in self.features]}\n"
            f"  {self.form}\n  {self.parameters}, random_state={self.seed}"
        )


def draw_shape(choices: Choices) -> tuple[int, int]:
    """Mostly 2 .. 60 rows and columns, now and then one, or a few hundred."""
    size = choices.weighted("size", {"small": 60, "single": 2, "large": 1})
    if size == "single":
        return choices.pick("single", ((1, 1), (1, 30), (30, 1)))
    low, high = (2, 60) if size == "small" else (100, 400)
    return choices.skewed("users", low, high), choices.skewed("items", low, high)


def draw_stored(choices: Choices, shape: tuple[int, int]) -> np.ndarray:
    """Pattern of the stored pairs: of any density, with empty, full and equal rows and columns; never empty."""
    random = choices.generator("stored")
    stored = random.random(shape) < choices.pick("density", (0.05, 0.15, 0.3, 0.6, 0.95))
    if choices.chance("full row", 0.2):
        stored[random.integers(shape[0])] = True
    if choices.chance("full column", 0.2):
        stored[:, random.integers(shape[1])] = True
    if choices.chance("equal rows", 0.2):
        stored[random.integers(shape[0], size=3)] = stored[0]
    if choices.chance("equal columns", 0.2):
        stored[:, random.integers(shape[1], size=3)] = stored[:, :1]
    if choices.chance("empty row", 0.3):
        stored[random.integers(shape[0])] = False
    if choices.chance("empty column", 0.3):
        stored[:, random.integers(shape[1])] = False
    if not stored.any():
        stored[random.integers(shape[0]), random.integers(shape[1])] = True
    return stored


def draw_ratings(choices: Choices, form: Form, shape: tuple[int, int]) -> np.ndarray:
    stored = draw_stored(choices, shape)
    ratings = np.zeros(shape)
    ratings[stored] = draw_values(choices, form, int(stored.sum()))
    if choices.chance("equal rating rows", 0.1):
        ratings[-1] = ratings[0]
    return ratings if ratings.any() else np.where(np.arange(ratings.size).reshape(shape) == 0, 1.0, 0.0)


def draw_parameters(choices: Choices) -> dict[str, Any]:
    return {name: choices.weighted(name, options) for name, options in PARAMETERS.items()}


def draw_factors(choices: Choices) -> int:
    """Mostly 1 .. 24 factors, now and then up to 70."""
    return choices.skewed("factors", 1, 24) if choices.chance("few factors", 0.97) else choices.integer("f", 25, 70)


def draw_given(choices: Choices, shape: tuple[int, int], factors: int) -> dict[str, np.ndarray]:
    """Factors to start from: none, the users', the items' or both, in any type and order."""
    names = "user_factors", "item_factors"
    which = choices.weighted("given", {(): 6, names[:1]: 2, names[1:]: 1, names: 1})
    given = {}
    for name, length in zip(names, shape, strict=True):
        if name in which:
            array = choices.generator(name).normal(size=(length, factors)) * choices.pick(f"{name} scale", (0.03, 1.0))
            if choices.chance(f"{name} integers", 0.1):
                given[name] = np.round(3 * array + 0.5).astype(np.int16)
            else:
                kind = choices.pick(f"{name} type", ("float64", "float32", "float16"))
                given[name] = array.astype(kind, order=choices.pick(f"{name} order", ("C", "F")))
    return given


def draw_unobserved(choices: Choices, shape: tuple[int, int]) -> tuple[np.ndarray | None, np.ndarray | None] | None:
    """Weights of missing pairs, of users, of items or of both: of any size, and some of them zero."""
    which = choices.weighted("unobserved", {(): 8, (0,): 0.5, (1,): 1, (0, 1): 1})
    if not which:
        return None
    found: list[np.ndarray | None] = [None, None]
    for axis in which:
        random = choices.generator(f"unobserved {axis}")
        weights = np.exp(random.normal(size=shape[axis]) * choices.pick(f"unobserved {axis} spread", (0.3, 1.0, 3.0)))
        if choices.chance(f"unobserved {axis} zeros", 0.15):
            weights[random.random(shape[axis]) < 0.3] = 0
        weights[random.integers(shape[axis])] = 1
        found[axis] = weights
    return found[0], found[1]


def draw_features(choices: Choices, shape: tuple[int, int]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Features of users, of items or of both: numbers of any size or marks, with empty rows and equal columns."""
    which = choices.weighted("features", {(): 8, (0,): 0.5, (1,): 0.5, (0, 1): 0.5})
    found: list[np.ndarray | None] = [None, None]
    for axis in which:
        mine = choices.within(f"features {axis}")
        random, size = mine.generator("values"), (shape[axis], mine.skewed("count", 1, 12))
        array = random.normal(size=size) * mine.pick("scale", (0.01, 1.0, 30.0))
        if mine.chance("marks", 0.5):
            array = (random.random(size) < mine.pick("density", (0.1, 0.5, 0.9))).astype(np.float64)
        if mine.chance("empty rows", 0.4):
            array[random.random(shape[axis]) < 0.3] = 0
        if mine.chance("equal columns", 0.2):
            array[:, -1] = array[:, 0]
        found[axis] = array
    return found[0], found[1]


def draw_problem(choices: Choices, *, preferences: bool = True, given: bool = True, **parameters: Any) -> Problem:
    """Any problem; ``parameters`` are those that the case prescribes."""
    shape = draw_shape(choices)
    form = draw_form(choices, shape)
    ratings, factors = draw_ratings(choices, form, shape), parameters.pop("factors", draw_factors(choices))
    preference = None
    if preferences and choices.chance("preference", 0.15):
        preference = choices.generator("preference").choice([0.0, 1.0, 0.25, -1.0, 2.5], shape)
    return Problem(
        choices, ratings, form, factors, draw_parameters(choices) | parameters, choices.integer("seed", 0, 10**6),
        preference, draw_given(choices, shape, factors) if given else {}, draw_unobserved(choices, shape),
        draw_features(choices, shape),
    )  # fmt: skip
