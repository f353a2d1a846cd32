"""Interactions on a disk: what stands for a matrix, and room on that disk for arrays of its size."""

from __future__ import annotations

import mmap
import os
import tempfile

import numpy as np

from fastals.core.rows import Rows


class StoredInteractions:
    """What is accepted wherever a matrix (n_users, n_items) is, with its rows in files that are mapped into memory."""

    @property
    def rows(self) -> Rows:
        """Canonical rows of the users, read-only, with those of the items; checked when they are first asked for."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, int]:
        """Users and items."""
        raise NotImplementedError

    @property
    def dtype(self) -> np.dtype:
        """Type of the values."""
        return self.rows.data.dtype


def mapped_room(folder: str, size: int, dtype: np.dtype) -> np.ndarray:
    """Array (size,) to be written, in a file without a name: it vanishes with the array, whatever ends the process.

    Raises
    ------
    OSError
        Where the disk has no room for it: a page that cannot be written later would end the process.
    """
    n_bytes = max(size * np.dtype(dtype).itemsize, 1)
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        else:
            file.truncate(n_bytes)
        return np.frombuffer(mmap.mmap(file.fileno(), n_bytes), dtype, size)


def folder_with_room(folder: str) -> str:
    """The folder, or that for temporary files where it may not be written to."""
    return folder if os.access(folder, os.W_OK | os.X_OK) else tempfile.gettempdir()
