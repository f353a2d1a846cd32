"""implicit's model files: ``.npz`` archives of plain arrays, to and from paths and binary file objects."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fastals.persistence.streams import checked_target, is_path, stream_reader
from fastals.tables.npz import open_npz

NAMES = (
    "user_factors", "item_factors", "regularization", "factors", "num_threads", "iterations", "use_native", "use_cg",
    "cg_steps", "calculate_training_loss", "dtype", "random_state", "alpha",
)  # fmt: skip


def write_npz(target: Any, values: dict[str, Any]) -> None:
    """Write all values but None; a path gets the ending ``.npz`` if it has another."""
    arrays: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
    np.savez(checked_target(target, "write"), **arrays)


def read_npz(source: Any) -> dict[str, Any]:
    """Values by name, numbers and text as Python's own; a path may lack the ending ``.npz``.

    Raises
    ------
    ValueError
        For what is not such a file, or holds objects that would need pickle.
    """
    if is_path(checked_target(source, "read")):
        path = Path(os.fspath(source))
        return _values(path if path.exists() else path.with_name(f"{path.name}.npz"))
    with tempfile.TemporaryDirectory() as folder, stream_reader(source) as copy:
        path = Path(folder) / "model.npz"
        with open(path, "wb") as file:
            shutil.copyfileobj(copy, file)
        return _values(path)


def _values(path: Path) -> dict[str, Any]:
    with open_npz(path) as archive:
        found = {}
        for name in NAMES:
            if name not in archive.names:
                continue
            try:
                array = archive.read(name)
            except ValueError:
                if name != "random_state":  # None, or a generator, which only pickle could restore
                    raise
                continue
            found[name] = array if array.ndim else array.item()
    return found
