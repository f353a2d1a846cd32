"""Where the iterations of a half-sweep start: a continuation of the solutions before it.

Long rows that take many steps start from a guess, from the third sweep on. Once there are solutions enough, the guess
is x_n and the change that is expected next. In plain sweeps, changes d_n = x_n - x_{n-1} fall like a series in
1 / (n ... (n + j)), j = 1 .. T, and whatever its coefficients,

    d_{n+1} = sum_{i < T} (-1)^i C(T, i + 1) p_i d_{n-i},    p_i = (n ... (n - i)) / ((n + T + 1) ... (n + T + 1 - i)),

which for T = 1 is n / (n + 2) d_n. On ml-1m with 256 factors, guesses of users after eight plain sweeps are off by
.017 as they stand, .0034, .0013, .0007 for T = 1, 2, 3, in the norm of A and relative to the solution (measured); a
fit of the coefficients to the changes is no better. Each term more about doubles what errors of the solutions add: the
third pays while n^3 ``tol`` is small, and where sweeps are loose, as with extrapolated items, not even the second does.

Sparse data do not benefit; their rows start from zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from fastals.solver.half import Half, extrapolate
from fastals.solver.half_sweep import Report

# A guess costs a rotation and a pass more, about k / (2 n) + 1 steps for n entries of a row, and saves a third of the
# steps or more: it pays where a row takes more than GUESS_COST (1 + k / n) steps from zero (measured on four data sets;
# with 2 accelerated fits to ml-1m with 256 factors take a twentieth longer, as their first sweeps go without).
GUESS_COST = 1.6
SETTLED = 2  # sweeps before solutions follow a series
THIRD_WHILE = 0.6  # n^3 tol is smaller: 18 sweeps at 1e-4, 8 at 1e-3, after which two terms take fewer steps (measured)


def change_weights(n: int, terms: int) -> list[float]:
    """What the changes d_n, d_{n-1}, ... count in the next one, as above; n > ``terms``."""
    weights, share = [], 1.0
    for i in range(terms):
        share *= (n - i) / (n + terms + 1 - i)
        weights.append((-1) ** i * math.comb(terms, i + 1) * share)
    return weights


def most_terms(accelerated: bool, n: int, tolerance: float) -> int:
    """T after n sweeps, where there are solutions enough."""
    if accelerated:
        return 1
    return 3 if n**3 * tolerance < THIRD_WHILE else 2


def continued(half: Half, n: int, most: int, num_threads: int | None) -> np.ndarray:
    """Where a half's factors, its n-th solution, are expected next, by at most so many changes.

    Where they are, without earlier solutions. Of those it keeps what is of use after one more.
    """
    terms = max(min(n - SETTLED, most, len(half.earlier)), 0)
    if not terms:
        return half.factors
    guess = half.buffer()
    extrapolate(half.factors, change_weights(n, terms), half.earlier[:terms], guess, num_threads)
    half.forget(most - 1)
    return guess


def may_be_guessed(half: Half, max_steps: int) -> bool:
    """Whether rows of a half could take so many steps that a guess would pay."""
    return half.guessable and max_steps > GUESS_COST * (1 + half.factors.shape[1] * (half.filled / max(half.stored, 1)))


def pays(half: Half, reports: Iterable[Report]) -> bool:
    """Whether rows of a half have taken as many steps as make a guess worth it, in any of some half-sweeps."""
    factors_per_entry = half.factors.shape[1] / max(half.stored, 1)
    return any(
        report.steps > GUESS_COST * report.iterated * (1 + factors_per_entry * report.iterated) for report in reports
    )
