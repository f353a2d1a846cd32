"""Small random problems for hypothesis, in every form the objective takes, with their dense counterpart."""

from dataclasses import dataclass
from typing import Any

import naive
import numpy as np
import scipy.sparse as sp
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastals import ImplicitALS

VALUES = [0, 0, 0, 0, 1, 2, 5, 0.5, -1, -3]


@dataclass
class Problem:
    """Ratings (dense, zeros are not stored), perhaps preferences, weights of missing pairs, parameters of a model."""

    R: np.ndarray
    preference: np.ndarray | None
    factors: int
    parameters: dict[str, Any]
    seed: int
    unobserved_weights: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def matrix(self) -> sp.csr_array:
        return sp.csr_array(self.R)

    @property
    def data(self) -> dict[str, Any]:
        """Arguments of ``fit``."""
        return {**self.pairs, "unobserved_weights": self.unobserved_weights}

    @property
    def missing(self) -> np.ndarray:
        """c0 v_u w_i of all pairs."""
        return naive.missing_weights(self.R.shape, self.c0, self.unobserved_weights)

    @property
    def pairs(self) -> dict[str, Any]:
        """Arguments of ``fit`` and ``loss``; the preferences have the pattern of the ratings, zeros included."""
        if self.preference is None:
            return {"user_items": self.matrix}
        pattern = self.matrix
        phi = self.preference[self.R != 0]
        return {
            "user_items": self.matrix,
            "preference": sp.csr_array((phi, pattern.indices, pattern.indptr), self.R.shape),
        }

    @property
    def c0(self) -> float:
        return self.parameters["unobserved_weight"]

    @property
    def terms(self) -> list[tuple[np.ndarray, np.ndarray]]:
        names = ("objective", "confidence", "alpha", "epsilon")
        return naive.terms(
            self.R, c0=self.c0, preference=self.preference, missing=self.unobserved_weights,
            **{name: self.parameters[name] for name in names},
        )  # fmt: skip

    @property
    def regularizations(self) -> tuple[np.ndarray, np.ndarray]:
        exponent, regularization = self.parameters["regularization_exponent"], self.parameters["regularization"]
        return naive.regularizations(
            self.R, regularization=regularization, exponent=exponent, c0=self.c0, missing=self.unobserved_weights
        )

    def model(self, **more: Any) -> ImplicitALS:
        """Model of one sweep in float64, unless said otherwise."""
        return ImplicitALS(**{"factors": self.factors, "dtype": "float64", "iterations": 1, **self.parameters, **more})

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Factors of users and items to start from."""
        random = np.random.default_rng(self.seed)
        users, items = self.R.shape
        return random.normal(size=(users, self.factors)), random.normal(size=(items, self.factors))


@st.composite
def problems(draw: Any, values: tuple[float, ...] = tuple(VALUES), largest: int = 8) -> Problem:
    """One user, one item, empty rows and columns, more factors than users: whatever comes up."""
    shape = draw(st.tuples(st.integers(1, largest), st.integers(1, largest)))
    R = draw(arrays(np.float64, shape, elements=st.sampled_from(values)))
    assume(R.any())
    preference = None
    if draw(st.booleans()):
        preference = draw(arrays(np.float64, shape, elements=st.sampled_from([0, 1, 0.25, -1])))
    parameters = {
        "objective": draw(st.sampled_from(["hu", "rendle"])),
        "confidence": draw(st.sampled_from(["linear", "log", "raw"])),
        "alpha": draw(st.sampled_from([0.3, 1, 40])),
        "epsilon": draw(st.sampled_from([0.1, 1])),
        "unobserved_weight": draw(st.sampled_from([0, 0.1, 1])),
        "regularization": draw(st.sampled_from([0.1, 10, (0.5, 2.0)])),
        "regularization_exponent": draw(st.sampled_from([0, 0.5, 1])),
    }
    weights = None
    if draw(st.booleans()):
        weights = tuple(draw(arrays(np.float64, count, elements=st.sampled_from([1, 0, 0.3, 4]))) for count in shape)
        assume(all(side.any() for side in weights))
    return Problem(R, preference, draw(st.integers(1, 24)), parameters, draw(st.integers(0, 99)), weights)
