"""The iteration: sweeps of two half-sweeps, whose state is always that of the last finished half-sweep."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fastals.objective import Objective
from fastals.solver import Report, Settings, Side, eigenbasis, solve_side


@dataclass
class Training:
    """Factors under way.

    A half-sweep writes into a spare array and is taken over when it is complete, so an interrupt or an error leaves
    ``user_factors`` and ``item_factors`` as the last finished half-sweep made them.
    """

    objective: Objective
    settings: Settings
    users: Side
    items: Side
    user_factors: np.ndarray
    item_factors: np.ndarray
    loss_history: list[float] = field(default_factory=list)
    reports: list[tuple[Report, Report]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._spare_users = np.empty_like(self.user_factors)
        self._spare_items = np.empty_like(self.item_factors)

    def solve_items(self) -> Report:
        """Solve the items against the users' factors."""
        basis = eigenbasis(
            self.user_factors, self.users.regularization, self.objective.unobserved_weight, self.settings.num_threads
        )
        report = solve_side(self.items, basis, self._spare_items, self.objective, self.settings)
        self.item_factors, self._spare_items = self._spare_items, self.item_factors
        return report

    def solve_users(self) -> Report:
        """Solve the users against the items' factors."""
        basis = eigenbasis(
            self.item_factors, self.items.regularization, self.objective.unobserved_weight, self.settings.num_threads
        )
        report = solve_side(self.users, basis, self._spare_users, self.objective, self.settings)
        self.user_factors, self._spare_users = self._spare_users, self.user_factors
        return report

    def sweep(self) -> float:
        """One sweep, items first; returns the loss after it, which its last half-sweep gives for free."""
        items = self.solve_items()
        users = self.solve_users()
        self.reports.append((items, users))
        self.loss_history.append(users.loss)
        return users.loss

    def summary(self) -> dict[str, float]:
        """Mean steps a row in the last sweep, and rows over all half-sweeps that needed more than the plain way."""
        halves = [half for sweep in self.reports for half in sweep]
        last = self.reports[-1] if self.reports else ()
        iterated = sum(half.iterated for half in last)
        return {
            "cg_steps": sum(half.steps for half in last) / iterated if iterated else 0.0,
            "fallback_rows": sum(half.fallbacks for half in halves),
            "singular_rows": sum(half.singular for half in halves),
        }
