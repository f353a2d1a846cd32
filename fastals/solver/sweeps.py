"""The iteration: sweeps of two half-sweeps, whose state is always that of the last finished half-sweep.

Alternating least squares is a fixed-point iteration on the items' factors alone, Q -> T(Q): solve the users from Q,
then the items from the users. Extrapolations speed it up,

    X_n = T(Q_{n-1}),    Q_n = X_n + (m_n + m_{n-1}) (X_n - Z_{n-1}),    Z_n = (X_n + Q_n) / 2,
    m_n = (t_n - 1) / t_{n+1},    t_{n+1} = (1 + (1 + 4 t_n^2)^1/2) / 2.

With m_n for m_{n-1}, by which third sweeps end worse (Rendle's loss .2 to .5 % higher), that is
X_n + m_n (X_n - X_{n-1}) + m_n (X_n - Q_{n-1}), Nesterov's difference and the optimised gradient method's (Kim and
Fessler 2016). The loss, free after users' half-sweeps, guards it: where it would rise, users are solved from X_n and
the sequence starts anew (O'Donoghue and Candes 2015). Half the sweeps, and by both differences 10 to 18 % fewer still.

While the loss still falls fast, accuracy does not pay. Rows that are solved to a tolerance t leave the loss above its
least by at most t^2 of what they explain, loss(0) - loss. So an accelerated sweep after a relative fall f is solved to

    t = min(SHARE f^1/2, LOOSEST) loss / (loss(0) - loss),    the ratio being at most 1 and t at least ``tol``,

the first one, from random factors, to FIRST; and the users, to ``tol``, once more in the end. Where the loss would rise
nevertheless, ``tol`` it is at once. On the same data a quarter to a third fewer passes over them lead to 0.1 % of the
best loss. The square root of the ratio would do by the bound, but on ml-1m, where it is 1/5, costs a sweep.

Long rows that take many steps start from a guess; see ``continuation``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np

from fastals.core.overlay import Derived
from fastals.core.state import FeatureNames
from fastals.core.unobserved import Unobserved
from fastals.core.validation import describe
from fastals.objective import Objective
from fastals.solver.continuation import continued, may_be_guessed, most_terms, pays
from fastals.solver.eigenbasis import eigenbasis
from fastals.solver.half import Half, extrapolate
from fastals.solver.half_sweep import Report, Settings, solve_side

Value = TypeVar("Value")
# (half, other, fixed, solved, guess, settings): solve a half against the other's fixed factors, into ``solved``.
Way = Callable[[Half, Half, np.ndarray, np.ndarray, np.ndarray | None, Settings], Report]

LARGEST_MOMENTUM = 0.9
SHARE, LOOSEST, FIRST = 0.3, 0.1, 0.05  # of the tolerance, see above
ITEMS, USERS = 0, 1  # of a sweep's reports


class TrainingState(NamedTuple):
    """All that the sweeps to come depend on, besides data and parameters; ``problem`` tells those apart."""

    problem: dict[str, str]
    accelerated: bool
    sequence: float  # t_n
    loss_history: list[float]
    reports: list[tuple[Report, Report]]
    user_factors: np.ndarray | None  # None where they are to be solved again, to ``user_tolerance``
    item_factors: np.ndarray
    previous_items: tuple[np.ndarray, ...]  # of sweeps before, the latest first (accelerated: X_n), once needed
    previous_users: tuple[np.ndarray, ...]
    user_effects: np.ndarray | None = None  # of features, if there are any
    item_effects: np.ndarray | None = None
    user_tolerance: float | None = None  # of the users' last half-sweep, against ``item_factors``


class Training:
    """Factors under way.

    Parameters
    ----------
    objective : Objective
    settings : Settings
    users, items : Half
        The start; factors given are never written.
    accelerated : bool
        Whether to extrapolate the items' factors, and to solve to ``settings.tolerance`` only once that pays.
    way : Way, optional
        How a half-sweep is done; by default by the row kernels.

    Attributes
    ----------
    users, items : Half
        Their factors are always those of the last finished half-sweep, whatever interrupts the present one.
    loss_history : list of float
        The loss after each sweep.
    reports : list of (Report, Report)
        Of each sweep's items and users.
    advanced : bool
        Whether a half-sweep has been finished.
    unobserved, exponents : (Unobserved, Unobserved), (float, float)
        Weights of missing pairs that the sides were built with; those of popularity, where they follow from it.
    feature_names, feature_strengths : (tuple of str, tuple of str), (float, float)
        Of the features of users and of items, if they have any.
    users_first : bool
        Whether the users are to be solved before the first sweep, as only items were given.
    """

    def __init__(
        self,
        objective: Objective,
        settings: Settings,
        users: Half,
        items: Half,
        accelerated: bool = False,
        way: Way | None = None,
    ) -> None:
        self.objective, self.settings, self.accelerated = objective, settings, accelerated
        self.users, self.items, self._way = users, items, way  # its own method would keep it until garbage is collected
        self.loss_history: list[float] = []
        self.reports: list[tuple[Report, Report]] = []
        self.advanced = self.users_first = False
        self._tolerance = settings.tolerance  # of the present sweep
        self.unobserved: tuple[Unobserved | None, Unobserved | None] = (None, None)
        self.feature_strengths, self.exponents = (1.0, 1.0), (0.0, 0.0)
        self.feature_names: FeatureNames = (None, None)
        self._sequence = 1.0  # t_n
        self._derived = Derived()
        self._step = 0  # changes whenever factors are about to

    def sweep(self) -> float:
        """One sweep, items first; returns the loss after it, which its last half-sweep gives for free."""
        self._tolerance = self._paying_tolerance()
        of_effects = self._tolerance if self.settings.solver == "cg" else 0.0
        self.items.fit_effects(of_effects)
        items = self.solve_items()
        if self._rises(items) and self._tighten():
            items = self.solve_items()
        self.users.fit_effects(of_effects)
        guess = self._continued(self.users) if self._guessed(USERS) else None
        users = self._solve_users_ahead(guess) if self.accelerated else self.solve_users(guess)
        if self._rises(users) and self._tighten():
            users = self.solve_users(again=True)
        self.reports.append((items, users))
        self.loss_history.append(users.loss)
        return users.loss

    def solve_items(self) -> Report:
        """Solve the items against the users' factors."""
        items, guess = self.items, None
        if self._guessed(ITEMS):  # extrapolated items are a guess already
            guess = items.factors if self.accelerated else self._continued(items)
        if self.accelerated and items.ahead is None:
            items.ahead = items.factors
        solved = items.buffer()
        report = self._solved(items, self.users, self.users.factors, solved, guess)
        items.advance(solved, keep=not self.accelerated and self._guessed(ITEMS))
        items.release(guess)
        return report

    def solve_users(self, guess: np.ndarray | None = None, again: bool = False) -> Report:
        """Solve the users against the items' factors; from zero, if there is no guess; maybe ``again`` in a sweep."""
        users = self.users
        solved = users.buffer()
        report = self._solved(users, self.items, self.items.factors, solved, guess)
        users.advance(solved, keep=not again and self._guessed(USERS))
        users.release(guess)
        return report

    def finish(self) -> bool:
        """Solve the users once more if they started from a guess or did not reach the tolerance that was asked for.

        They are solved from zero then, as fold-in will solve their rows, bit for bit, and the last loss becomes theirs.
        Returns whether they were.
        """
        started_from_a_guess = len(self.reports) > 2 and self._guessed(USERS)
        if self._tighten() or started_from_a_guess:
            report = self.solve_users(again=True)
            if self.loss_history:
                self.loss_history[-1] = report.loss
            return True
        return False

    def _paying_tolerance(self) -> float:
        """Tolerance of the next sweep, from the losses so far."""
        tolerance, history = self.settings.tolerance, self.loss_history
        if not self.accelerated or self.settings.solver != "cg":
            return tolerance
        if not history:
            return tolerance if self.users.settled or self.items.settled else max(tolerance, FIRST)
        before, loss = history[-2] if len(history) > 1 else self.reports[0][ITEMS].loss, history[-1]
        of_zero = self._derived.get("loss of zero", lambda: self.users.loss_of_zero(self.objective))
        fall, explained = max(before - loss, 0.0), of_zero - loss
        if not loss > 0 or not np.isfinite(explained):
            return tolerance
        return max(tolerance, min(SHARE * (fall / loss) ** 0.5, LOOSEST) * loss / max(explained, loss))

    def _tighten(self) -> bool:
        """Set the sweep's tolerance to what was asked for; returns whether that is a change."""
        loose, self._tolerance = self._tolerance, self.settings.tolerance
        return loose != self._tolerance

    def _rises(self, report: Report) -> bool:
        """Whether the loss is above that after the sweep before."""
        return bool(self.loss_history) and report.loss > self.loss_history[-1]

    def _solved(
        self, half: Half, other: Half, fixed: np.ndarray, solved: np.ndarray, guess: np.ndarray | None
    ) -> Report:
        """Solve one half against fixed factors of the other, into ``solved`` in place."""
        self._step += 1
        way, settings = self._way or self._solved_here, replace(self.settings, tolerance=self._tolerance)
        report = way(half, other, fixed, solved, guess, settings)
        self.advanced = True
        return report

    def _solved_here(
        self, half: Half, other: Half, fixed: np.ndarray, solved: np.ndarray, guess: np.ndarray | None,
        settings: Settings,
    ) -> Report:  # fmt: skip
        threads = settings.num_threads
        rotated = other.rotated_buffer()
        regularization, weights = other.side.regularization, other.side.entries.row_weights
        c0, shared = self.objective.c0, half.side.shared_with(half.effects)
        basis = eigenbasis(fixed, regularization, c0, threads, rotated, weights, shared)
        penalty = basis.penalty if other.effects is None else other.effects.penalty(fixed)
        prior = None
        if half.effects is not None:
            penalty, prior = penalty + half.effects.own_penalty(), half.effects.rotated(basis)
        basis = replace(basis, penalty=penalty)
        report = solve_side(half.side, basis, solved, self.objective, settings, guess, prior)
        other.release(rotated)
        return report

    def _solve_users_ahead(self, guess: np.ndarray | None) -> Report:
        """Solve the users against extrapolated items and take both, or against the items if the loss would rise."""
        users, items, solved = self.users, self.items, self.items.factors
        before, previous = items.earlier[0] if items.earlier else None, items.ahead
        items.earlier, items.ahead = [solved], None
        if before is None or previous is None:
            items.release(previous)
            return self.solve_users()
        ahead, momentum = items.used_up(previous), self._next_momentum()
        # The change from the mean of both.
        extrapolate(solved, (momentum, momentum / 2), (before, previous), ahead, self.settings.num_threads)
        if before is not previous:  # one and the same after a sweep that took its extrapolation back
            items.release(before)
        found = users.buffer()
        report = self._solved(users, items, ahead, found, guess)
        if self._rises(report):
            self._sequence = 1.0
            items.release(ahead)
            users.release(guess)
            # What has been found is nearer than any guess.
            report = self.solve_users(None if guess is None else found)
            users.release(found)
            return report
        items.factors = ahead
        users.advance(found, keep=self._guessed(USERS))
        users.release(guess)
        return report

    def _next_momentum(self) -> float:
        """m_n + m_{n-1}, and t_n becomes t_{n+1}."""
        t, self._sequence = self._sequence, float((1 + np.sqrt(1 + 4 * self._sequence**2)) / 2)
        momenta = (t - 1) / self._sequence, max(np.sqrt(max(t**2 - t, 0)) - 1, 0) / t  # t_{n-1}^2 = t_n^2 - t_n
        return float(sum(min(momentum, LARGEST_MOMENTUM) for momentum in momenta))

    def _continued(self, half: Half) -> np.ndarray:
        """Where a half's factors are expected next."""
        n = len(self.reports)
        most = most_terms(self.accelerated, n, self.settings.tolerance)
        return continued(half, n, most, self.settings.num_threads)

    def _guessed(self, half: int) -> bool:
        """Whether rows start from a guess now, in a sweep's half 0 (items) or 1 (users).

        They do once a sweep has taken as many steps as make that worth it, but for the first one, which may take more
        than all others.
        """
        chosen = (self.items, self.users)[half]
        if self.settings.solver != "cg" or not may_be_guessed(chosen, self.settings.max_steps):
            return False
        return pays(chosen, (sweep[half] for sweep in self.reports[1:]))

    @property
    def problem(self) -> dict[str, str]:
        """What the iteration depends on, part by part: digests of data, weights, and how rows are solved."""
        return self._derived.get("problem", self._digests)

    def _digests(self) -> dict[str, str]:
        users, items, objective, settings = self.users, self.items, self.objective, self.settings
        shapes, found = f"{users.factors.shape} and {items.factors.shape}", users.digests(items)
        return {
            "factors": f"{users.factors.dtype} of shapes {shapes}",
            **found,
            "weights": f"{found['weights']} {objective.shift} {objective.offset} {objective.c0} {objective.unit}",
            "features": " and ".join(
                "none" if half.effects is None else half.effects.digest for half in (users, items)
            ),
            "solver": f"{settings.solver} {settings.tolerance} {settings.max_steps}",
        }

    def state(self) -> TrainingState:
        """State after the last sweep; its arrays do not change any more."""
        users, items = self.users, self.items
        previous_items = items.earlier if self.accelerated or self._guessed(ITEMS) else []
        previous_users, user_factors = users.earlier if self._guessed(USERS) else [], users.kept()
        return TrainingState(
            self.problem, self.accelerated, float(self._sequence), list(self.loss_history), list(self.reports),
            user_factors, items.lend(items.factors),
            tuple(items.lend(array) for array in previous_items),
            tuple(users.lend(array) for array in previous_users),
            None if users.effects is None else users.effects.array,
            None if items.effects is None else items.effects.array,
            self._tolerance if user_factors is None else None,
        )  # fmt: skip

    def restore(self, state: TrainingState) -> None:
        """Go on from a state of the same problem, as if there had been no break.

        Raises
        ------
        TypeError, ValueError
            For anything else.
        """
        if not isinstance(state, TrainingState):
            raise TypeError(f"resume_from must be a TrainingState; got {describe(state)}")
        for name, expected in self.problem.items():
            if (got := state.problem.get(name)) != expected:
                raise ValueError(f"resume_from must come from a fit of the same {name}: {expected}; got {got}")
        self.accelerated, self._sequence, self.advanced = state.accelerated, state.sequence, True
        self.users_first = False
        self._tolerance = np.inf  # of the sweep before, which is not known
        self.loss_history, self.reports = list(state.loss_history), list(state.reports)
        for half, name, given, previous in (
            (self.users, "users", state.user_factors, state.previous_users),
            (self.items, "items", state.item_factors, state.previous_items),
        ):
            if given is not None:
                half.factors = half.taken(given, f"{name[:-1]}_factors")
            if not isinstance(previous, tuple):
                raise TypeError(f"previous_{name} must be a tuple of arrays; got {describe(previous)}")
            half.earlier = [half.taken(array, f"previous_{name}") for array in previous]
            half.ahead, half.settled = None, True
        for half, effects in ((self.users, state.user_effects), (self.items, state.item_effects)):
            if half.effects is not None:
                half.effects.take(effects)
        if state.user_factors is None:
            self._tolerance = state.user_tolerance or self.settings.tolerance
            self.solve_users(again=True)
            self._tolerance = np.inf

    def until_it_goes_on(self, function: Callable[[], Value]) -> Callable[[], Value]:
        """Function that raises RuntimeError once the training has gone on from where it is now."""
        step = self._step

        def guarded() -> Value:
            if step != self._step:
                raise RuntimeError(
                    "the model that fit hands to a callback shows its own sweep alone, and training has gone on; read "
                    "during the callback what is to be kept"
                )
            return function()

        return guarded

    def check_products(self) -> None:
        """Raise FloatingPointError where scores, the products of the factors, may overflow."""
        self.users.check_products("user_factors")
        self.items.check_products("item_factors")

    def summary(self) -> dict[str, float]:
        """Mean steps a row in the last sweep, and rows over all half-sweeps that needed more than the plain way."""
        halves = [half for sweep in self.reports for half in sweep]
        last = self.reports[-1] if self.reports else ()
        iterated = sum(half.iterated for half in last)
        return {
            "cg_steps": sum(half.steps for half in last) / iterated if iterated else 0.0,
            "direct_rows": sum(half.direct for half in halves),
            "fallback_rows": sum(half.fallbacks for half in halves),
            "singular_rows": sum(half.singular for half in halves),
            "largest_ridge": max((half.ridge for half in halves), default=0.0),
        }
