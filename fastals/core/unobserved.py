"""Weights of the pairs that are not stored: c = c0 v_u w_i, with v of the users and w of the items.

By rule, v_u and w_i are powers of popularity, scaled so that their mean over the training matrix is 1:

    w_i = max(n_i, 1)^exponent / mean(n^exponent),    n_i: users who have item i,

likewise v. The mean is that of rows with entries, so that numbers that nobody uses leave all other weights as they are.
A row that is folded in gets the weight that its own number of entries gives, in the scale of the fit: a row
of the training matrix gets the weight it was trained with, and what it gets depends on the row and the model alone.
Weights that were given stay with their ids; new ids get the mean of those given. (Item weights by popularity: He et al.
2016, eALS, "Fast Matrix Factorization for Online Recommendation with Implicit Feedback".)
"""

from __future__ import annotations

import numbers
from typing import Any, NamedTuple

import numpy as np

from fastals.core.overlay import Factors
from fastals.core.validation import as_array, check_pair, describe, read_only

ALIKE = read_only(np.ones(1))  # stands for weights that are all 1
LARGEST_EXPONENT = 20.0  # of 2^31 users: beyond, powers leave float64


class Unobserved(NamedTuple):
    """Weights of one side's missing pairs.

    weights : Factors
        (n, 1) float64.
    exponent : float, optional
        Of popularity; None where the weights were given.
    scale : float
        What the rule divides by; the mean of the weights where they were given.
    smallest, largest : float
        Of the weights at the fit, which tell the directions that rounding errors fill, whatever row is solved.
    """

    weights: Factors
    exponent: float | None
    scale: float
    smallest: float
    largest: float

    @classmethod
    def by_popularity(cls, counts: np.ndarray, exponent: float) -> Unobserved | None:
        """Weights by the rule; None where all are 1."""
        if exponent == 0:
            return None
        powers = _powers(counts, exponent)
        filled = powers[counts > 0]
        scale = float(filled.mean()) if filled.size else 1.0
        return cls._of(powers / scale, exponent, scale)

    @classmethod
    def given(cls, value: Any, name: str, count: int) -> Unobserved | None:
        """Weights that a caller gave, checked; None for None.

        Raises
        ------
        TypeError, ValueError
            For what is not ``count`` finite numbers, none negative and not all zero.
        """
        if value is None:
            return None
        array = as_array(value, name)
        if array.dtype.kind not in "iuf":
            raise TypeError(f"{name} must hold real numbers; got {describe(value)}")
        if array.shape != (count,):
            raise ValueError(f"{name} must have shape {(count,)}; got {array.shape}")
        weights = array.astype(np.float64)
        if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
            raise ValueError(
                f"{name} must be finite and >= 0, and not all 0; got {weights.min():.3g} to {weights.max():.3g}"
            )
        return cls._of(weights, None, float(weights.mean()))

    @classmethod
    def _of(cls, weights: np.ndarray, exponent: float | None, scale: float) -> Unobserved:
        return cls(Factors(weights[:, None]), exponent, scale, float(weights.min()), float(weights.max()))

    @property
    def array(self) -> np.ndarray:
        """All weights, (n,) float64, read-only."""
        return self.weights.array[:, 0]

    @property
    def sum_and_largest(self) -> tuple[float, float]:
        """Of all weights; kept, as every fold-in asks."""

        def build() -> tuple[float, float]:
            return float(self.array.sum()), float(self.array.max(initial=0))

        found: tuple[float, float] = self.weights.derived.get("sum and largest", build)
        return found

    def of_rows(self, ids: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Weights (rows,) of rows to be folded in, of ``counts`` entries, as ``ids``."""
        if self.exponent is not None:
            return _powers(counts, self.exponent) / self.scale
        found, known = np.full(ids.size, self.scale), ids < self.weights.shape[0]
        found[known] = self.weights.taken(ids[known])[:, 0]
        return found

    def replaced(self, ids: np.ndarray, counts: np.ndarray) -> Unobserved:
        """Weights with those of rows replaced or added, see ``of_rows``; rows in between weigh as empty ones."""
        n_rows, last = self.weights.shape[0], int(ids.max(initial=-1))
        between = np.setdiff1d(np.arange(n_rows, last + 1), ids)
        everyone = np.concatenate((ids, between))
        values = self.of_rows(everyone, np.concatenate((counts, np.zeros(between.size, np.int64))))
        return self._replace(weights=self.weights.replaced(everyone, values[:, None]))


def _powers(counts: np.ndarray, exponent: float) -> np.ndarray:
    return np.maximum(counts, 1).astype(np.float64) ** exponent


def weights_or_alike(unobserved: Unobserved | None) -> np.ndarray:
    """All weights, (n,), or ALIKE."""
    return ALIKE if unobserved is None else unobserved.array


def check_exponents(value: Any) -> tuple[float, float]:
    """Exponents (users, items) of ``unobserved_exponent``: one number is that of the items.

    Raises
    ------
    TypeError, ValueError
        For anything but one finite number, of any sign, or two.
    """
    one = isinstance(value, numbers.Real)
    users, items = check_pair("unobserved_exponent", (0.0, value) if one else value)
    return _exponent(users), _exponent(items)


def _exponent(value: Any) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"unobserved_exponent must be a real number or (users, items); got {describe(value)}")
    if not abs(float(value)) <= LARGEST_EXPONENT:
        raise ValueError(f"unobserved_exponent must lie in -{LARGEST_EXPONENT:g} .. {LARGEST_EXPONENT:g}; got {value}")
    return float(value)
