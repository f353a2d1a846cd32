"""One side of a training under way: its rows, its factors, and the memory that the next ones are written to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastals.core.features import Features
from fastals.core.rows import digest
from fastals.core.validation import check_factors, check_products
from fastals.kernels.dense.memory import CACHE_LINE
from fastals.kernels.factors import CHANGES, extrapolate_task
from fastals.objective import Objective
from fastals.solver.eigenbasis import aligned_factors
from fastals.solver.features import Effects
from fastals.solver.sides import Side, even_bounds, loss_of_zero
from fastals.solver.threads import run_tasks

DRAWN_ROWS = 2**16  # at a time, so that an interrupt is heard in between
EFFECTS_SHARE = 0.1  # of the tolerance of a sweep's rows, to which effects are found; see `fastals.solver.features`


def draw(random: np.random.Generator, P: np.ndarray) -> None:
    """Write random factors to P (n, factors) in place, from where the generator's stream stands."""
    for first in range(0, P.shape[0], DRAWN_ROWS):
        random.standard_normal(dtype=P.dtype, out=P[first : first + DRAWN_ROWS])
    P *= P.dtype.type(0.1 / np.sqrt(P.shape[1]))


def extrapolate(
    current: np.ndarray,
    weights: Sequence[float],
    earlier: Sequence[np.ndarray],
    out: np.ndarray,
    num_threads: int | None,
) -> None:
    """Write x_0 + sum_i weights_i (x_i - x_{i+1}) to ``out``, which may be one of the ``earlier``.

    x_0 is ``current`` and x_1, x_2, ... the ``earlier``, one to three of them, as many as weights. All are (n, factors)
    arrays of one type.
    """
    spare = CHANGES - len(earlier)
    strides = tuple(current.dtype.type(weight) for weight in (*weights, *[0.0] * spare))
    previous = (*earlier, *[earlier[-1]] * spare)
    run_tasks(extrapolate_task, num_threads, even_bounds(current.shape[0]), current, strides, previous, out)


class Half:
    """Factors of one side and their buffers.

    A half-sweep writes into a buffer, which becomes ``factors`` once it is complete; what it replaces becomes a buffer
    again. While the other side is solved, one buffer holds these factors in their eigenbasis. An array that has been
    lent to somebody is never written again.

    A side whose rows and factors lie elsewhere derives from this class and answers for them; ``factors`` is then
    whatever stands for them, with a shape and a dtype.

    Attributes
    ----------
    side : Side
    factors : (n, factors) array
        The last solution, or what it was extrapolated to.
    earlier : list of (n, factors) arrays
        The solutions before the last one, the latest first, as many as may be asked for.
    ahead : (n, factors) array, optional
        What the solution of the sweep before was extrapolated to, while the present one has not been.
    effects : Effects, optional
        Of the side's features.
    settled : bool
        Whether the factors are more than a random start: a solution, or given.
    guessable : bool
        Whether rows may start from a guess, for which ``factors`` and ``earlier`` must be at hand.
    """

    guessable = True

    def __init__(self, side: Side, factors: np.ndarray, effects: Effects | None = None) -> None:
        self.side, self.factors, self.effects, self.settled = side, factors, effects, False
        self.earlier: list[np.ndarray] = []
        self.ahead: np.ndarray | None = None
        self._free: list[np.ndarray] = []
        self._lent: list[np.ndarray] = []
        self._padded: np.ndarray | None = None  # for rotated factors, where their rows are longer

    def buffer(self) -> np.ndarray:
        """Array like ``factors`` to be written."""
        if self._free:
            return self._free.pop()
        padded = self.factors.shape[1] != self._width
        return np.empty_like(self.factors) if padded else aligned_factors(self.factors)

    def rotated_buffer(self) -> np.ndarray:
        """Array (n, width) for these factors in their eigenbasis; see ``aligned_factors``."""
        if self.factors.shape[1] == self._width:
            return self.buffer()
        if self._padded is None:
            self._padded = aligned_factors(self.factors)
        return self._padded

    def advance(self, solved: np.ndarray, keep: bool) -> None:
        """Take over a solution, and ``keep`` the one it replaces as the latest of the ``earlier``."""
        replaced, self.factors, self.settled = self.factors, solved, True
        if keep:
            self.earlier.insert(0, replaced)
        else:
            self.release(replaced)

    def forget(self, kept: int) -> None:
        """Release the earlier solutions but for the latest ``kept`` of them."""
        outdated, self.earlier = self.earlier[kept:], self.earlier[:kept]
        for array in outdated:
            self.release(array)

    @property
    def filled(self) -> int:
        """Number of rows with entries."""
        return int(np.count_nonzero(np.diff(self.side.indptr)))

    @property
    def stored(self) -> int:
        """Number of entries."""
        return int(self.side.indptr[-1])

    def loss_of_zero(self, objective: Objective) -> float:
        """The loss where all factors are zero."""
        return loss_of_zero(self.side, objective)

    def digests(self, other: Half) -> dict[str, str]:
        """Of all that a training depends on in the entries of the users, this half, and in those of the items."""
        entries, regularization = self.side.entries, self.side.regularization
        return {
            "user_items": digest(entries.indptr, entries.indices),
            "weights": digest(entries.weight, entries.preference),
            "unobserved_weights": digest(entries.row_weights, other.side.entries.row_weights),
            "regularization": digest(regularization, other.side.regularization),
        }

    def taken(self, given: np.ndarray, name: str) -> np.ndarray:
        """Factors like the present ones from an array of a training state; TypeError or ValueError for another."""
        return check_factors(given, name, self.factors.shape, self.factors.dtype)

    def check_products(self, name: str) -> None:
        """Raise FloatingPointError where products of the factors may overflow."""
        check_products(self.factors, name)

    def fit_effects(self, tolerance: float) -> None:
        """Fit the effects of the features, if there are any, to the factors, in a sweep to a tolerance; 0: exactly."""
        if self.effects is not None and self.settled:
            self.effects.fit(self.factors, EFFECTS_SHARE * tolerance)

    def features(self) -> Features | None:
        """Features and their present effects."""
        return None if self.effects is None else self.effects.state()

    @property
    def features_digest(self) -> str:
        """Of all that the effects depend on besides the factors; none without features."""
        return "none" if self.effects is None else self.effects.digest

    def release(self, array: np.ndarray | None) -> None:
        """Make an array a buffer again, unless it is still in use, lent, or of no use as one."""
        used = (self.factors, *self.earlier, self.ahead, self._padded, *self._free)
        if array is None or any(array is other for other in used):
            return
        if any(array is other for other in self._lent):
            self._lent = [other for other in self._lent if other is not array]
        elif self.factors.shape[1] != self._width or array.ctypes.data % CACHE_LINE == 0:
            self._free.append(array)

    def used_up(self, array: np.ndarray) -> np.ndarray:
        """An array that nobody needs, to be written again; a buffer in its place if it has been lent."""
        if any(array is other for other in self._lent):
            self.release(array)
            return self.buffer()
        return array

    def kept(self) -> np.ndarray | None:
        """The factors for a training state; None where that is to do without and solve them again."""
        return self.lend(self.factors)

    def lend(self, array: np.ndarray) -> np.ndarray:
        """Return ``factors`` or one of the ``earlier`` to be kept by somebody."""
        self._lent.append(array)
        return array

    def lend_factors(self) -> np.ndarray:
        """Return the present factors to be kept by somebody."""
        return self.lend(self.factors)

    @property
    def _width(self) -> int:
        return int(aligned_factors(self.factors[:0]).shape[1])
