"""``fastals info``: what a model file holds."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastals.cli import show

if TYPE_CHECKING:
    from fastals.model import ImplicitALS
    from fastals.tables.interactions import Interactions

__all__ = ["describe"]

# What `solver_report_` calls it, and what it is to people.
_REPORT = {
    "cg_steps": "steps of conjugate gradients a row, last sweep",
    "direct_rows": "rows solved directly",
    "fallback_rows": "rows solved in float64",
    "singular_rows": "underdetermined rows",
    "largest_ridge": "largest ridge added, relative to the diagonal",
}


def describe(path: Path, model: ImplicitALS, interactions: Interactions) -> None:
    """Show file and sizes, the parameters, the losses and the report of the solver.

    The file keeps no date of its own, so that equal models are equal files: shown is when it was written or copied.
    """
    written = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
    users, items = len(model.user_factors), len(model.item_factors)
    ids = [
        f"{noun}s as {'integers' if known.dtype.kind in 'iu' else 'text'}, such as {known[0].item()!r}"
        for noun, known in (("user", interactions.user_ids), ("item", interactions.item_ids))
    ]
    show.facts(
        "Model",
        [
            ("file", f"{path} ({show.size(path)}, of {written:%Y-%m-%d %H:%M:%S %z})"),
            ("users", f"{users:,}"),
            ("items", f"{items:,}"),
            ("interactions", f"{model.user_items_.nnz:,}"),
            ("factors", f"{model.factors:,} in {np.dtype(model.dtype).name}"),
            ("ids", "; ".join(ids) if hasattr(model, "interactions") else "positions counted from 0"),
            *_features(model),
            ("alpha that was used", show.number(model.alpha_, 7)),
            ("exponents of missing pairs that were used", ", ".join(map(_exponent, model.unobserved_exponent_))),
            ("regularization that was used", ", ".join(show.number(one, 7) for one in model.regularization_)),
        ],
    )
    show.facts("Parameters", [(name, str(value)) for name, value in model.get_params().items()])
    show.loss_history(model.loss_history)
    show.facts(
        "How the rows were solved",
        [(_REPORT.get(name, name), show.number(value, 4)) for name, value in model.solver_report_.items()],
    )


def _exponent(value: float | None) -> str:
    return "weights were given" if value is None else show.number(value, 4)


def _features(model: ImplicitALS) -> list[tuple[str, str]]:
    """How many features users and items have, and what the first is called."""
    rows = []
    for noun, effects, names in zip(("user", "item"), model.feature_effects_, model.feature_names_, strict=True):
        if effects is not None:
            example = "" if names is None else f", such as {names[0]}"
            rows.append((f"{noun} features", f"{len(effects):,}{example}"))
    return rows
