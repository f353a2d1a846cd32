"""What is minimised: how data become weights, targets and regularization.

    L(P, Q) = sum over ALL u, i of c_ui (phi_ui - p_u.q_i)^2 + sum_u lambda_u |p_u|^2 + sum_i lambda_i |q_i|^2

A pair that is not stored has phi = 0 and c = c0 v_u w_i, where v and w are weights of users and items, mostly all 1
(see ``fastals.core.unobserved``). A row's normal equations need, of each stored pair, only  extra = c - c0 v_u w_i  and
target = c phi:

    (c0 v_u Y' diag(w) Y + lambda_u I + sum_t extra_t y_t y_t') x_u = sum_t target_t y_t.

The loss has two forms: what a row's solution adds to it stands, derived, in ``fastals.kernels.rows.row``, and the sum
over all pairs in ``fastals.solver.half_sweep.full_loss``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fastals.core.rows import Rows
from fastals.core.validation import check_choice, check_pair, check_real, largest_factor, read_only
from fastals.kernels.rows.row import extra_of, target_of

OBJECTIVES = ("hu", "rendle")
CONFIDENCES = ("linear", "log", "raw")
Room = Callable[[int, np.dtype], np.ndarray]
CHUNK = 2**20  # entries whose weights are calculated at a time, in float64


@dataclass(frozen=True)
class Objective:
    """The objective's parameters, checked; see ``ImplicitALS`` for their meaning.

    Attributes
    ----------
    unit : float
        What weights, c0 and lambda are divided by while rows are solved: a power of four changes no digit of theirs,
        nor of their roots, which the direct solution takes. It is 1, unless both c0 and alpha are so small or large
        that squares of residuals would leave the range of float32.
    c0 : float
        In units of ``unit``.
    """

    name: str
    confidence: str
    alpha: float
    epsilon: float
    unobserved_weight: float
    user_regularization: float
    item_regularization: float
    regularization_exponent: float
    unit: float = field(init=False, repr=False, compare=False)  # found once: every fold-in asks for it
    c0: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        largest = max(self.unobserved_weight, self.alpha)
        unit = 1.0 if not largest or 2.0**-20 < largest < 2.0**20 else 4.0 ** round(np.log2(largest) / 2)
        object.__setattr__(self, "unit", unit)
        object.__setattr__(self, "c0", self.unobserved_weight / unit)

    @classmethod
    def checked(
        cls,
        objective: Any,
        confidence: Any,
        alpha: Any,
        epsilon: Any,
        unobserved_weight: Any,
        regularization: Any,
        regularization_exponent: Any,
    ) -> Objective:
        """Objective of a model's raw parameters; TypeError or ValueError that names the one that is wrong."""
        pair = check_pair("regularization", regularization)
        return cls(
            check_choice("objective", objective, OBJECTIVES),
            check_choice("confidence", confidence, CONFIDENCES),
            check_real("alpha", alpha),
            check_real("epsilon", epsilon, positive=True),
            check_real("unobserved_weight", unobserved_weight),
            check_real("regularization", pair[0]),
            check_real("regularization", pair[1]),
            check_real("regularization_exponent", regularization_exponent),
        )

    def with_alpha_for(self, rows: Rows) -> Objective:
        """The objective with an alpha that suits the data, whatever their scale and density.

        alpha = c0 density^-1/2 / mean, so that the mean stored pair weighs c0 density^-1/2 (1 where c0 is 0); the mean
        is that of |r|, or of log(1 + |r| / epsilon), and rows and columns without entries do not count. Measured on
        seven data sets with c0 = 1: recall@20 within 7 % of the best of 58 settings on each, while the best fixed
        alpha differs a thousandfold between play counts and visits.
        """
        total = np.float64(0)
        with np.errstate(over="ignore"):
            for first in range(0, rows.data.size, CHUNK):
                total += np.sum(self.size(rows.data[first : first + CHUNK]))
        return self.with_alpha(density_of(rows), total / rows.data.size)

    def with_alpha(self, density: float, mean: np.float64) -> Objective:
        """The objective with an alpha that suits a density and a mean size; see ``with_alpha_for``."""
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            alpha = (self.unobserved_weight or density**0.5) / density**0.5 / mean
        if not 0 < alpha < np.inf:
            raise ValueError(
                f"alpha must be given, for 'auto' finds none: user_items have a mean size of {mean:.3g}"
                f"{' in the logarithm' if self.confidence == 'log' else ''} and unobserved_weight is "
                f"{self.unobserved_weight:.3g}"
            )
        return replace(self, alpha=float(alpha))

    def with_regularization(self, density: float, *sides: np.ndarray) -> Objective:
        """The objective with a regularization of users and one of items that suit the data.

        ``sides`` are the ``sums`` of the users and of the items. The mean lambda of a side is

            (c0 mean(frequency))^1/2,    where c0 = 0: (density^1/2 mean(frequency))^1/2,

        so that all weights and lambda scale together; at the exponent 1 lambda_u = frequency_u (c0 / mean)^1/2. Rows
        and columns without entries do not count. No constant suits catalogues of different sizes: measured on seven
        data sets, those that are best on one reach half as much on others.
        """
        weight = self.unobserved_weight or density**0.5
        with np.errstate(over="ignore", invalid="ignore"):
            users, items = (
                float(np.sqrt(weight * frequencies / rows) * rows / powers) for rows, frequencies, powers in sides
            )
        return replace(self, user_regularization=users, item_regularization=items)

    def sums(self, counts: np.ndarray, weights: np.ndarray, filled: float, whole: float) -> np.ndarray:
        """Number, frequencies and powers of frequencies, summed over the rows of a side that have entries; float64.

        Parameters
        ----------
        counts : (n,) int64 array
            Stored entries of each row.
        weights : (n,) or (1,) array
            v of the rows' missing pairs.
        filled, whole : float
            Sum of w over the columns that have entries, and over all: frequencies count the first, their powers, which
            lambda is made of, all columns.
        """
        kept = counts > 0
        counts, weights = counts[kept], weights if weights.size == 1 else weights[kept]
        with np.errstate(over="ignore"):
            powers = self.frequency(counts, weights * whole) ** self.regularization_exponent
            frequency = self.frequency(counts, weights * filled)
            return np.array([counts.size, frequency.sum(), powers.sum()], np.float64)

    def size(self, values: np.ndarray) -> np.ndarray:
        """Weights of stored values at alpha = 1, in float64: |r|, or log(1 + |r| / epsilon)."""
        size = np.abs(values.astype(np.float64))
        return np.log1p(size / self.epsilon) if self.confidence == "log" else size

    @property
    def missing(self) -> float:
        """What c says of a pair beside what it would weigh if it were missing: c0 for Hu, 0 for Rendle."""
        return self.c0 if self.name == "hu" else 0.0

    @property
    def shift(self) -> float:
        """What makes c - c0 of a weight, extra = weight - shift: c0 for raw confidences, whose weight is c, else 0."""
        return self.missing if self.confidence == "raw" else 0.0

    @property
    def offset(self) -> float:
        """What makes c of a weight, target = (weight + offset) phi: c0 for Hu where the weight is c - c0, else 0."""
        return 0.0 if self.confidence == "raw" else self.missing

    def extra_and_target(
        self, weight: np.ndarray, preference: np.ndarray, missing: np.ndarray | float = 1.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """c - c0 v_u w_i and c phi of entries; ``missing`` is v_u w_i."""
        return extra_of(weight, self.shift, self.missing, missing), target_of(weight, self.offset, preference)

    def weight(self, values: np.ndarray, dtype: np.dtype, room: Room = np.empty) -> np.ndarray:
        """Weights of stored values, in ``dtype`` and in units of ``unit``: alpha times their size.

        They are c - c0 (linear, log), c (raw), or Rendle's w; ``room(size, dtype)`` is the array they are written to,
        but for a single one, whose array is kept and read-only.

        Raises
        ------
        ValueError
            Where a weight overflows ``dtype``.
        """
        if values.size == 1:
            return _weight_of_one(self, float(values[0]), np.dtype(dtype))
        return self._weights(values, dtype, room)

    def _weights(self, values: np.ndarray, dtype: np.dtype, room: Room) -> np.ndarray:
        """The same of any number of values, each time anew."""
        weight = room(values.size, dtype)
        # Squares of a weight times a factor must stay finite.
        largest, limit = 0.0, largest_factor((1,), dtype)
        for first in range(0, values.size, CHUNK):
            part = slice(first, first + CHUNK)
            with np.errstate(over="ignore"):
                exact = self.alpha / self.unit * self.size(values[part])
                weight[part] = exact
            largest = max(largest, exact.max())
        if not largest < limit:
            raise ValueError(
                f"alpha times the values of user_items must stay below {limit:.3g} in {np.dtype(dtype)}; "
                f"got {largest:.3g}"
            )
        return weight

    def preference(self, values: np.ndarray, dtype: np.dtype, room: Room = np.empty) -> np.ndarray:
        """phi of stored values: 1 where r > 0, 0 for dislikes; one element where all are likes. See ``weight``."""
        if values.size == 0 or (values[0] if values.size == 1 else values.min()) > 0:
            return _one(np.dtype(dtype))
        preference = room(values.size, dtype)
        for first in range(0, values.size, CHUNK):
            part = slice(first, first + CHUNK)
            preference[part] = values[part] > 0
        return preference

    def frequency(self, stored: np.ndarray | int, missing: np.ndarray | float) -> np.ndarray:
        """Frequency of rows with ``stored`` entries: stored + c0 v_u sum w (Rendle 2022, where v and w are 1).

        ``missing`` is v_u sum w, the number of columns where all weigh 1.
        """
        return np.asarray(stored + self.unobserved_weight * missing, np.float64)

    def regularization_of(self, strength: float, stored: np.ndarray | int, missing: np.ndarray | float) -> np.ndarray:
        """lambda of rows, in units of ``unit``: strength frequency^exponent; arguments are those of ``frequency``.

        See Rendle et al. 2022.

        Raises
        ------
        ValueError
            Where it overflows.
        """
        frequency = self.frequency(stored, missing)
        with np.errstate(over="ignore", invalid="ignore"):
            found = strength * frequency**self.regularization_exponent
        if not np.isfinite(found).all():
            raise ValueError(
                f"regularization_exponent must leave regularization * {frequency.max():.3g}^regularization_exponent "
                f"finite; got {self.regularization_exponent}"
            )
        return found / self.unit


@functools.lru_cache(maxsize=4096)
def _weight_of_one(objective: Objective, value: float, dtype: np.dtype) -> np.ndarray:
    """``Objective.weight`` of a single value, or of many equal ones; kept, as every request brings the same."""
    return read_only(objective._weights(np.array([value]), dtype, np.empty))


@functools.lru_cache(maxsize=8)
def _one(dtype: np.dtype) -> np.ndarray:
    return read_only(np.ones(1, dtype))


def density_of(rows: Rows) -> float:
    """Share of the pairs that are stored; rows and columns without entries do not count."""
    return float(rows.indices.size / (np.count_nonzero(rows.counts) * np.count_nonzero(rows.column_counts)))
