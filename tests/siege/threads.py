"""Kind "threads": a model that one thread refits while others read, list, save, copy and pickle it.

Whatever they see is one whole state: that of the fit before, or of the one that has just been completed, never a
mixture, never something half done; and what they were handed does not change any more.
"""

from __future__ import annotations

import copy
import pickle
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastals import ImplicitALS

from .checks import Checks, content
from .choices import Choices
from .files import folder
from .forms import Form
from .problem import Problem, draw_parameters
from .states import state_of

READERS, REFITS, MOST_READINGS = 2, 6, 60
PLAIN = Form("csr", "array", "float64", *(False,) * 6)


@dataclass
class Whole:
    """What a complete state answers, as ``content``."""

    state: Any
    lists: Any
    similar: Any
    folded: Any

    @classmethod
    def of(cls, model: ImplicitALS) -> Whole:
        users, items = np.arange(model.user_factors.shape[0]), np.arange(model.item_factors.shape[0])
        return cls(
            content(state_of(model), flags=False), content(model.recommend(users, N=5), flags=False),
            content(model.similar_items(items, N=3), flags=False),
            content(model.recalculate_user(users), flags=False),
        )  # fmt: skip


@dataclass
class Readers:
    """Threads that read the model until they are told to stop."""

    model: ImplicitALS
    wholes: list[Whole]
    place: Path
    done: threading.Event = field(default_factory=threading.Event)
    failures: list[str] = field(default_factory=list)
    readings: int = 0
    handed: list[tuple[np.ndarray, bytes]] = field(default_factory=list)

    def read(self, number: int) -> None:
        """One thread's readings, one action after another."""
        actions = [self.lists, self.similar, self.folded, self.pickled, self.copied, self.factors, self.saved]
        turn = number
        while not self.done.is_set() and turn < MOST_READINGS * len(actions):
            action: Callable[[int], None] = actions[turn % len(actions)]
            turn += 1
            try:
                action(number)
            except Exception:
                self.failures.append(f"{action.__name__} raised:\n{traceback.format_exc()}")
            self.readings += 1

    def expect(self, name: str, part: str, got: Any) -> None:
        """What was read is that part of one of the whole states."""
        if content(got, flags=False) not in [getattr(whole, part) for whole in self.wholes]:
            self.failures.append(f"{name}: of no whole state: {str(got)[:150]}")

    def lists(self, number: int) -> None:
        users = np.arange(self.model.user_factors.shape[0])
        self.expect("recommend", "lists", self.model.recommend(users, N=5))

    def similar(self, number: int) -> None:
        items = np.arange(self.model.item_factors.shape[0])
        self.expect("similar_items", "similar", self.model.similar_items(items, N=3))

    def folded(self, number: int) -> None:
        users = np.arange(self.model.user_factors.shape[0])
        self.expect("recalculate_user", "folded", self.model.recalculate_user(users))

    def pickled(self, number: int) -> None:
        self.expect("pickle", "state", state_of(pickle.loads(pickle.dumps(self.model))))

    def copied(self, number: int) -> None:
        self.expect("deepcopy", "state", state_of(copy.deepcopy(self.model)))

    def factors(self, number: int) -> None:
        for name in ("user_factors", "item_factors"):
            array = getattr(self.model, name)
            held = array.tobytes()
            self.handed.append((array, held))
            if held not in [whole.state[name][3] for whole in self.wholes]:
                self.failures.append(f"{name}: of no whole state: {array.ravel()[:4]}")

    def saved(self, number: int) -> None:
        path = self.place / f"model {number}"
        self.model.save(path)
        self.expect("save", "state", state_of(ImplicitALS.load(path)))

    def changed(self) -> int:
        """How many of the arrays that were handed out have changed since."""
        return sum(array.tobytes() != held for array, held in self.handed)


def check_threads(choices: Choices, checks: Checks) -> None:
    """Refits to two data sets in turn, beside readers; with a callback, which sees the factors under way."""
    problems = draw_pair(choices)
    callback = seen_by_callback(checks) if choices.chance("callback", 0.3) else None
    checks.description = "\n  ".join(problem.describe() for problem in problems)
    wholes = [Whole.of(problem.model().fit(problem.plain)) for problem in problems]
    model = problems[0].model().fit(problems[0].plain)
    with folder() as place:
        readers = Readers(model, wholes, place)
        threads = [threading.Thread(target=readers.read, args=(number,)) for number in range(READERS)]
        for thread in threads:
            thread.start()
        try:
            for number in range(REFITS):
                model.fit(problems[(number + 1) % 2].plain, callback=callback)
        finally:
            readers.done.set()
            for thread in threads:
                thread.join()
    failed = readers.failures
    checks.true("threads: whole states", not failed, f"{len(failed)} of {readers.readings} readings, {failed[:1]}")
    checks.true("threads: what was handed out stays", not readers.changed(), f"{readers.changed()} arrays changed")
    checks.true("threads: the last fit is kept", content(state_of(model), flags=False) == wholes[REFITS % 2].state)


def draw_pair(choices: Choices) -> tuple[Problem, Problem]:
    """Two problems of one shape and one model's parameters, large enough for a refit to take some milliseconds."""
    shape = choices.integer("users", 100, 300), choices.integer("items", 50, 150)
    parameters = draw_parameters(choices) | {"iterations": 3, "alpha": 1.0, "regularization": 0.02}
    ratings = choices.generator("ratings")
    problem = Problem(
        choices, (ratings.random(shape) < 0.05) * 1.0, PLAIN, choices.integer("factors", 4, 24), parameters, 1
    )
    return problem, replace(problem, ratings=(ratings.random(shape) < 0.1) * 1.0)


def seen_by_callback(checks: Checks) -> Callable[[ImplicitALS, int, float], None]:
    """Callback for which the model has the factors under way: their loss is the one it is told."""

    def callback(model: ImplicitALS, sweep: int, loss: float) -> None:
        checks.true("callback: factors under way", model.item_factors.any() and len(model.loss_history) == sweep + 1)
        checks.true("callback: the loss is the last", model.loss_history[-1] == loss)

    return callback
