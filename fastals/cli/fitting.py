"""``fastals fit`` from the data to the file, Ctrl-C included."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastals.cli import show
from fastals.cli.errors import InterruptedFitError
from fastals.persistence.checkpoint import Checkpoint

if TYPE_CHECKING:
    from fastals.model import ImplicitALS
    from fastals.tables.interactions import Interactions
    from fastals.tables.store import InteractionStore

__all__ = ["fit_and_save"]


def fit_and_save(
    model: ImplicitALS,
    train: Any,
    interactions: Interactions | InteractionStore,
    output: Path,
    checkpoint: Path | None = None,
    features: Mapping[str, Any] | None = None,
) -> None:
    """Fit a model, show what came of it and save it.

    Parameters
    ----------
    model : ImplicitALS
    train : csr_array (n_users, n_items)
        What to fit it to.
    interactions : Interactions or InteractionStore
        Ids to save with it.
    output : path
        File to save it in; only that, where the fit is interrupted after its first sweep.
    checkpoint : path, optional
        File of a `Checkpoint`: the fit goes on from it, keeps it up to date, and removes it in the end.

    features : mapping of str to FeatureTable, optional
        ``user_features`` and ``item_features`` of ``fit``.

    Raises
    ------
    InterruptedFitError
        After Ctrl-C; the message says how far the fit had come and where it is.
    """
    kept = None if checkpoint is None else Checkpoint(checkpoint)
    if kept is not None and kept.path.exists():
        show.line(f"Going on from {checkpoint}")
    try:
        show.train(model, train, kept, **(features or {}))
    except KeyboardInterrupt:
        sweeps = len(model.loss_history) if model.__sklearn_is_fitted__() else 0
        again = f"; the same command goes on from {checkpoint}" if kept is not None and kept.path.exists() else ""
        if not sweeps:
            raise InterruptedFitError(f"interrupted before the first sweep was done, nothing is saved{again}") from None
        model.save(output, interactions=interactions)
        done = f"interrupted after {sweeps:,} of {model.iterations:,} sweeps, whose model is saved in {output}"
        raise InterruptedFitError(f"{done} ({show.size(output)}){again}") from None
    show.fitted(model)
    model.save(output, interactions=interactions)
    show.line(f"Saved {model!r} to {output} ({show.size(output)})")
