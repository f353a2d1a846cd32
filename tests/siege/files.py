"""Kinds "files" and "checkpoint": what is written comes back, damaged or interrupted, or is refused."""

from __future__ import annotations

import contextlib
import copy
import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fastals import ImplicitALS
from fastals.checkpoint import Checkpoint

from .checks import Checks, content
from .choices import Choices
from .fits import Recorder, fitted
from .problem import Problem, draw_problem
from .states import check_same_model, state_of

DAMAGES = 8  # of each file
REFUSED = (ValueError, OSError)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fastals-siege-") as name:
        yield Path(name)


def check_files(choices: Choices, checks: Checks) -> None:
    """Saved, mapped, pickled, copied: the same model. Damaged: refused, or the same model."""
    problem = draw_problem(choices)
    checks.description = problem.describe()
    state = choices.pick("random_state", (None, "generator", 5))
    random_state = np.random.default_rng(1) if state == "generator" else state
    model = fitted(problem, checks, random_state=random_state)
    if model is None:
        return
    with folder() as place:
        path = place / "model"
        model.save(path)
        checks.true("save leaves one file", [file.name for file in place.iterdir()] == ["model"])
        check_same_model(checks, "load", ImplicitALS.load(path), model)
        check_same_model(checks, "load(mmap=True)", ImplicitALS.load(path, mmap=True), model)
        check_same_model(checks, "pickle", pickle.loads(pickle.dumps(model)), model)
        check_same_model(checks, "deepcopy", copy.deepcopy(model), model)
        loaded = ImplicitALS.load(path)
        loaded.save(place / "again")
        check_same_model(checks, "save of a loaded model", ImplicitALS.load(place / "again"), model)
        for number in range(DAMAGES):
            (place / "damaged").write_bytes(damaged(choices.within(f"damage {number}"), path.read_bytes()))
            check_damaged(checks, place / "damaged", model)


def damaged(choices: Choices, whole: bytes) -> bytes:
    """Flipped bits, a cut, a stretch of noise, or a stretch from elsewhere in the file."""
    random, how = choices.generator("damage"), choices.pick("how", ("bits", "bits", "cut", "noise", "splice"))
    data = bytearray(whole)
    if how == "bits":
        for place in random.integers(0, len(data), choices.skewed("flips", 1, 8)):
            data[place] ^= 1 << int(random.integers(8))
        return bytes(data)
    if how == "cut":
        return bytes(data[: random.integers(len(data))])
    length = min(choices.skewed("length", 1, 200), len(data))
    start, other = random.integers(0, len(data) - length + 1, 2)
    data[start : start + length] = random.bytes(length) if how == "noise" else data[other : other + length]
    return bytes(data)


def check_damaged(checks: Checks, path: Path, model: ImplicitALS) -> None:
    """Never another model than the saved one; mapped factors are not held against their checksum, but are finite."""
    for mapped in (False, True):
        try:
            loaded = ImplicitALS.load(path, mmap=mapped)
        except REFUSED:
            checks.true("damaged: refused", True)
            continue
        got, expected = state_of(loaded), state_of(model)
        if mapped:
            for name in ("user_factors", "item_factors"):
                checks.true("damaged and mapped: finite", np.isfinite(got[name]).all(), name)
                got[name] = expected[name]
        checks.same("damaged: no other model", got, expected)


class InterruptionError(Exception):
    """Raised by a callback, as a stand-in for whatever ends a process."""


class Interruption:
    """Callback that raises after a sweep."""

    def __init__(self, sweep: int) -> None:
        self.sweep = sweep

    def __call__(self, model: ImplicitALS, sweep: int, loss: float) -> None:
        if sweep == self.sweep:
            raise InterruptionError


def check_checkpoint(choices: Choices, checks: Checks) -> None:
    """A fit that is interrupted, even twice, and goes on from its file ends as one without a break, bit for bit."""
    problem = draw_problem(choices, iterations=choices.pick("sweeps", (2, 4, 7)))
    checks.description = problem.describe()
    whole = fitted(problem, checks)
    if whole is None:
        return
    sweeps, every = problem.parameters["iterations"], choices.pick("every", (1, 2))
    breaks = sorted(choices.generator("breaks").integers(0, sweeps, choices.integer("times", 1, 2)).tolist())
    checks.description += f"\n  every {every}, broken after {breaks}"
    with folder() as place, checks.warnings_expected():
        checkpoint, data = Checkpoint(place / "training", every=every), dict(problem.data)
        matrix = data.pop("user_items")
        for sweep in breaks:
            model = problem.model()
            with (
                contextlib.suppress(InterruptionError),
                checks.unchanged("Checkpoint.fit leaves its arguments", matrix),
            ):
                checkpoint.fit(model, matrix, callback=Interruption(sweep), **data)
                # A break before the file's own sweep does not come again.
                checks.true("a fit past its break is finished", len(model.loss_history) == sweeps)
        check_damaged_checkpoint(choices, checks, problem, whole, checkpoint.path)
        model, recorder = problem.model(), Recorder()
        checkpoint.fit(model, matrix, callback=recorder, **data)
        checks.true("the file is removed in the end", not list(place.iterdir()))
    check_resumed(checks, "resumed", model, whole)


def check_damaged_checkpoint(
    choices: Choices, checks: Checks, problem: Problem, whole: ImplicitALS, path: Path
) -> None:
    """A damaged state is refused, or is the one that was written."""
    if not path.exists():
        return
    other = path.with_name("damaged")
    other.write_bytes(damaged(choices.within("checkpoint"), path.read_bytes()))
    data = dict(problem.data)
    try:
        model = Checkpoint(other, every=100).fit(problem.model(), data.pop("user_items"), **data)
    except ValueError:
        checks.true("damaged state: refused", True)
    else:
        check_resumed(checks, "damaged state", model, whole)
    other.unlink(missing_ok=True)


def check_resumed(checks: Checks, name: str, model: ImplicitALS, whole: ImplicitALS) -> None:
    got, expected = state_of(model), state_of(whole)
    for part in expected:
        checks.true(f"{name}: {part}", content(got[part]) == content(expected[part]))
