"""The oracle: README's objective on dense float64 matrices, in plain NumPy, without a line of the package.

    L(P, Q) = sum_ui own_ui (phi_ui - x_ui)^2 + sum_ui background_ui x_ui^2 + sum_u lambda_u |p_u|^2 + sum_i ...

with x = P Q'. ``own`` is the weight with which a stored pair pulls x to phi, and zero elsewhere; ``background`` pulls x
to zero: Hu's c0 v_u w_i on the pairs that are not stored, Rendle's on all of them. A row's normal equations are then

    A = sum_i (own_i + background_i) y_i y_i' + lambda I,     b = sum_i own_i phi_i y_i + lambda z,

where z = f A is what the features f of the row predict, mostly zero: |p|^2 is |p - z|^2 then, and strength |A|^2 is
added.

Nothing is subtracted anywhere, so every sum of squares has all its digits, c far below c0 included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray


class Terms(NamedTuple):
    """The objective's terms for one orientation, dense (rows, columns).

    ``c0`` v w' is the weight of what is not stored, v (rows,) and w (columns,).
    """

    own: Array
    phi: Array
    background: Array
    stored: Array
    c0: float
    v: Array
    w: Array

    @property
    def transposed(self) -> Terms:
        return Terms(self.own.T, self.phi.T, self.background.T, self.stored.T, self.c0, self.w, self.v)

    @property
    def missing(self) -> Array:
        """What every pair would weigh if it were not stored."""
        return self.c0 * np.outer(self.v, self.w)

    @property
    def weight(self) -> Array:
        """Coefficient of x^2."""
        return self.own + self.background

    @property
    def target(self) -> Array:
        """Half the coefficient of -x."""
        return self.own * self.phi

    @property
    def extra(self) -> Array:
        """What a stored pair weighs above its missing weight; negative where it weighs less."""
        return np.where(self.stored, self.weight - self.missing, 0.0)

    @property
    def constants(self) -> Array:
        """Loss of each row at x = 0: sum c phi^2, (rows,)."""
        return (self.own * self.phi**2).sum(axis=1)


def sizes(ratings: Array, confidence: str, epsilon: float) -> Array:
    """|r|, or log(1 + |r| / epsilon)."""
    return np.log1p(np.abs(ratings) / epsilon) if confidence == "log" else np.abs(ratings)


def terms_of(
    ratings: Array, preference: Array | None, alpha: float, parameters: Mapping[str, Any], v: Array, w: Array
) -> Terms:
    """README's weights and preferences; zeros of ``ratings`` are not stored. v and w are weights of what is missing."""
    stored, c0 = ratings != 0, float(parameters["unobserved_weight"])
    phi = np.where(stored, (ratings > 0) if preference is None else preference, 0.0)
    size, missing = alpha * sizes(ratings, parameters["confidence"], parameters["epsilon"]), c0 * np.outer(v, w)
    if parameters["objective"] == "rendle":
        return Terms(np.where(stored, size, 0.0), phi, missing, stored, c0, v, w)
    own = size if parameters["confidence"] == "raw" else c0 + size
    return Terms(np.where(stored, own, 0.0), phi, np.where(stored, 0.0, missing), stored, c0, v, w)


def automatic_alpha(ratings: Array, confidence: str, epsilon: float, c0: float) -> float:
    """The alpha with which the mean stored pair weighs c0 / density^1/2 (1 where c0 is 0), empty rows left aside."""
    stored = ratings != 0
    density = stored.sum() / (stored.any(axis=1).sum() * stored.any(axis=0).sum())
    return (c0 / density**0.5 if c0 else 1.0) / sizes(ratings, confidence, epsilon)[stored].mean()


def automatic_regularization(ratings: Array, exponent: float, c0: float, v: Array, w: Array) -> tuple[float, float]:
    """The strengths with which the mean lambda of a side is (c0 mean frequency)^1/2; density^1/2 where c0 is 0.

    Empty rows and columns are left aside, but in the frequencies that lambda is made of.
    """
    kept = [(ratings != 0).any(axis=1), (ratings != 0).any(axis=0)]
    filled = ratings[np.ix_(*kept)]
    density = (filled != 0).mean()
    known = regularizations(filled, (1.0, 1.0), 1.0, c0, v[kept[0]], w[kept[1]])
    whole = regularizations(ratings, (1.0, 1.0), exponent, c0, v, w)
    users, items = (
        float(((c0 or density**0.5) * frequency.mean()) ** 0.5 / lambdas[some].mean())
        for frequency, lambdas, some in zip(known, whole, kept, strict=True)
    )
    return users, items


def popularity_weights(counts: Array, exponent: float, scale: float | None = None) -> tuple[Array, float]:
    """Weights of what is missing by rule, max(n, 1)^exponent / scale, and the scale, by default mean n^exponent."""
    powers = np.maximum(counts, 1.0) ** exponent
    scale = float(powers[counts > 0].mean()) if scale is None else scale
    return powers / scale, scale


def regularizations(
    ratings: Array, strengths: tuple[float, float], exponent: float, c0: float, v: Array, w: Array
) -> tuple[Array, Array]:
    """Lambda of every user and of every item: regularization (stored in the row + c0 v_u sum w)^exponent."""
    stored = ratings != 0
    return (
        strengths[0] * (stored.sum(axis=1) + c0 * v * w.sum()) ** exponent,
        strengths[1] * (stored.sum(axis=0) + c0 * w * v.sum()) ** exponent,
    )


class Prior(NamedTuple):
    """What features predict of a side's rows: z (rows, k), and the length of the sums of sizes |f| |A| (rows,)."""

    z: Array
    size: Array

    @classmethod
    def of(cls, features: Array | None, effects: Array | None, rows: int, k: int) -> Prior:
        """z = F A, zero without features."""
        if features is None or effects is None:
            return cls(np.zeros((rows, k)), np.zeros(rows))
        return cls(features @ effects, np.sqrt(((np.abs(features) @ np.abs(effects)) ** 2).sum(axis=1)))


def mean_diagonal(features: Array, lambdas: Array) -> float:
    """Mean diagonal of F' diag(lambda) F, the automatic strength of features; 1 where it is 0."""
    return float((lambdas @ features**2).mean()) or 1.0


def normal_equations(terms: Terms, Y: Array, lambdas: Array) -> tuple[Array, Array]:
    """A (rows, k, k) and b (rows, k) of all rows against the fixed factors Y (columns, k); b without lambda z."""
    n, k = Y.shape
    outer = (Y[:, :, None] * Y[:, None, :]).reshape(n, k * k)
    A = (terms.weight @ outer).reshape(-1, k, k)
    A[:, range(k), range(k)] += lambdas[:, None]
    return A, terms.target @ Y


def loss(terms: Terms, P: Array, Q: Array, lambdas: tuple[Array, Array], priors: tuple[Prior, Prior]) -> float:
    """L(P, Q), a sum of squares, but for the penalty of effects."""
    P, Q = P.astype(np.float64), Q.astype(np.float64)
    X = P @ Q.T
    total = (terms.own * (terms.phi - X) ** 2).sum() + (terms.background * X**2).sum()
    for factors, own, prior in zip((P, Q), lambdas, priors, strict=True):
        total += own @ ((factors - prior.z) ** 2).sum(axis=1)
    return float(total)
