"""A long fit kept on disk: stop it, or let it be killed, and go on as if there had been no break."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastals.core.safe_open import brief
from fastals.core.validation import check_integer, check_real, describe
from fastals.kernels.factors import CHANGES
from fastals.persistence.model_file import read_model_file, write_model_file
from fastals.persistence.save_load import check_stored_factors
from fastals.solver.half_sweep import Report
from fastals.solver.sweeps import TrainingState

KIND = "training state"
# Which a state may do without.
OPTIONAL = ("user_factors", "user_effects", "item_effects")
# Of each as many arrays as there are, up to so many.
EARLIER = {
    name: (name, *(f"{name}_{n + 1}" for n in range(1, CHANGES))) for name in ("previous_items", "previous_users")
}


class Checkpoint:
    """Write the state of a running ``fit`` to a file every few sweeps, and go on from it.

    >>> checkpoint = Checkpoint("training.checkpoint", every=5)                     # doctest: +SKIP
    >>> model = checkpoint.fit(ImplicitALS(factors=256, iterations=50), user_items)  # doctest: +SKIP

    Run again after a break, the same lines go on from the file. The factors are then, bit for bit, those of a fit
    without a break (on the same kind of processor, with the same versions of the libraries), and so is the history of
    the loss.

    Parameters
    ----------
    path : str or path-like
        File to write; it is replaced as a whole, so that a crash while writing leaves the one before.
    every : int, default 1
        Sweeps from one writing to the next. The file takes the space of the factors, up to twice; up to four times
        where plain sweeps of long rows start from guesses.

    Notes
    -----
    Passed to ``model.fit(user_items, callback=checkpoint)`` it only writes; ``fit(resume_from=checkpoint.load())`` is
    the other half.
    """

    def __init__(self, path: str | os.PathLike[str], every: int = 1):
        self.path = Path(path)
        self.every = check_integer("every", every, 1)

    def __call__(self, model: Any, sweep: int, loss: float) -> None:
        """Write the file if it is this sweep's turn."""
        if (sweep + 1) % self.every == 0:
            write_state(self.path, model.training_state())

    def load(self) -> TrainingState | None:
        """Read the file.

        Returns
        -------
        TrainingState or None
            None if there is no file.

        Raises
        ------
        ValueError
            For a file that is not the state of a training, or is damaged.
        """
        return read_state(self.path) if self.path.exists() else None

    def fit(
        self,
        model: Any,
        user_items: Any,
        *,
        callback: Callable[[Any, int, float], Any] | None = None,
        **fit_options: Any,
    ) -> Any:
        """Fit the model, from the file's state if there is one, and remove the file in the end.

        Parameters
        ----------
        model : ImplicitALS
            ``iterations`` counts the sweeps before the break, too, and may be changed; the other parameters that the
            factors depend on may not.
        user_items : sparse matrix or array
        callback : callable, optional
            As for ``fit``; called after the file has been written, for the sweeps that are run.
        **fit_options
            Passed to ``fit``.

        Returns
        -------
        ImplicitALS
            The model.

        Raises
        ------
        ValueError
            As ``fit`` and ``load``; for a file from other data or parameters, too. Remove it to start afresh.
        """

        def write_and_call(model: Any, sweep: int, loss: float) -> Any:
            self(model, sweep, loss)
            return None if callback is None else callback(model, sweep, loss)

        try:
            model.fit(user_items, callback=write_and_call, resume_from=self.load(), **fit_options)
        except ValueError as error:
            if not str(error).startswith("resume_from must come from"):
                raise
            raise ValueError(f"{self.path} is of another fit, remove it to start afresh: {error}") from error
        self.path.unlink(missing_ok=True)
        return model


def _report(values: np.ndarray) -> Report:
    steps, iterated, direct, fallbacks, singular = (int(count) for count in values[1:-1])
    return Report(float(values[0]), steps, iterated, direct, fallbacks, singular, float(values[-1]))


def write_state(path: str | os.PathLike[str], state: TrainingState) -> None:
    """Write a state to a file, which appears complete or not at all."""
    header = {
        "kind": KIND,
        "problem": state.problem,
        "accelerated": state.accelerated,
        "sequence": state.sequence,
        "user_tolerance": state.user_tolerance,
    }
    reports = [[dataclasses.astuple(half) for half in sweep] for sweep in state.reports]
    arrays = {
        "loss_history": np.array(state.loss_history, np.float64),
        "reports": np.array(reports, np.float64).reshape(-1, 2, len(dataclasses.fields(Report))),
        "item_factors": state.item_factors,
    }
    for name in OPTIONAL:
        if (array := getattr(state, name)) is not None:
            arrays[name] = array
    for name, names in EARLIER.items():
        arrays.update(zip(names, getattr(state, name), strict=False))
    write_model_file(path, header, arrays)


def read_state(path: str | os.PathLike[str]) -> TrainingState:
    """Read a file of ``write_state``; ValueError for anything else. Nothing in it is ever executed."""
    header, arrays = read_model_file(path)
    try:
        if header.get("kind") != KIND:
            raise ValueError(f"its kind is {brief(header.get('kind'))!r}")
        history, reports = arrays["loss_history"], arrays["reports"]
        if history.dtype != np.float64 or history.ndim != 1 or not np.isfinite(history).all():
            raise ValueError("loss_history must be a finite float64 vector")
        if reports.dtype != np.float64 or reports.shape != (history.size, 2, len(dataclasses.fields(Report))):
            raise ValueError("reports must be float64, two for each sweep")
        if not (reports[:, :, 1:] >= 0).all() or not np.isfinite(reports[:, :, 1:]).all():
            raise ValueError("reports must hold finite counts that are not negative")
        if not isinstance(header["accelerated"], bool):
            raise ValueError(f"accelerated must be true or false; got {describe(header['accelerated'])}")
        tolerance = header.get("user_tolerance")
        if tolerance is None and "user_factors" not in arrays:
            raise KeyError("user_factors")
        matrices = {name: arrays[name] for name in (*OPTIONAL, *itertools.chain(*EARLIER.values())) if name in arrays}
        for name, array in {"item_factors": arrays["item_factors"], **matrices}.items():
            _check_matrix(array, name)
        previous_items, previous_users = (
            tuple(matrices[name] for name in itertools.takewhile(matrices.__contains__, names))
            for names in EARLIER.values()
        )
        halves = [(_report(items), _report(users)) for items, users in reports]
        return TrainingState(
            {str(name): str(value) for name, value in dict(header["problem"]).items()},
            header["accelerated"],
            check_real("sequence", header["sequence"], positive=True),
            history.tolist(),
            halves,
            matrices.get("user_factors"),
            arrays["item_factors"],
            previous_items,
            previous_users,
            matrices.get("user_effects"),
            matrices.get("item_effects"),
            None if tolerance is None else check_real("user_tolerance", tolerance),
        )
    except KeyError as error:
        raise ValueError(
            f"cannot read {os.fspath(path)!r}: no valid training state: it lacks {brief(error)}"
        ) from error
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"cannot read {os.fspath(path)!r}: no valid training state: {brief(error)}") from error


def _check_matrix(array: np.ndarray, name: str) -> None:
    if array.ndim != 2 or array.dtype.kind != "f" or not array.size:
        raise ValueError(f"{name} must be a matrix of floats; got {describe(array)}")
    check_stored_factors(array, name, array.shape, array.dtype)
