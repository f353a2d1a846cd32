"""A part of a store, mapped into memory and checked before compiled code relies on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastals.core.overlay import Derived
from fastals.core.rows import OnDisk, Rows
from fastals.core.stored import folder_with_room, mapped_room
from fastals.tables.store_files import CHUNK, SIDES, PartSpec, check_sum, map_array


class Part:
    """A part of a store.

    Parameters
    ----------
    store : path
        Folder of the store.
    spec : PartSpec

    Raises
    ------
    ValueError
        That names the file which is damaged: by its size, its type or its pointers here, and by what else compiled code
        relies on where the rows are first asked for.
    """

    def __init__(self, store: Path, spec: PartSpec) -> None:
        self.spec, self._folder, self._derived = spec, store / spec.folder, Derived()
        self._maps = {name: map_array(self._folder / f"{name}.npy", array) for name, array in spec.arrays.items()}
        for side in SIDES:
            indptr = self._maps[f"{side}/indptr"]
            if indptr[0] != 0 or indptr[-1] != spec.stored or not _rises(indptr):
                raise ValueError(self._damaged(side, "indptr", f"it does not rise from 0 to {spec.stored:,}"))

    @property
    def rows(self) -> Rows:
        """Canonical rows of the users, with those of the items."""
        return self._derived.get("rows", self._checked_rows)

    def _checked_rows(self) -> Rows:
        for side, n_columns in zip(SIDES, self.spec.shape[::-1], strict=True):
            self._check_side(side, n_columns)
        folder = str(self._folder.parent)

        def room(size: int, dtype: np.dtype) -> np.ndarray:
            return mapped_room(folder_with_room(folder), size, dtype)

        columns = Rows(*self._arrays("by_item"), self.spec.shape[::-1], OnDisk(None, room))
        return Rows(*self._arrays("by_user"), self.spec.shape, OnDisk(columns, room))

    def users_between(self, first: int, last: int) -> Rows:
        """Canonical rows of the users from ``first`` to before ``last``, copied into memory; they alone are checked."""
        indptr, indices, values = self._arrays("by_user")
        begin, end = int(indptr[first]), int(indptr[last])
        self._check_side("by_user", self.spec.shape[1], begin, end)
        data = values if values.size == 1 else values[begin:end]
        shape = last - first, self.spec.shape[1]
        return Rows(indptr[first : last + 1] - begin, indices[begin:end].copy(), data.copy(), shape)

    @property
    def user_pointers(self) -> np.ndarray:
        """Pointers of the users' rows, (n_users + 1,) int64, mapped."""
        return self._maps["by_user/indptr"]

    @property
    def times(self) -> np.ndarray | None:
        """Times of the entries of the users' rows, if there are any."""
        return self._maps.get("by_user/times")

    def ids(self, name: str) -> np.ndarray:
        """The ids that the part has added: "user_ids" or "item_ids"."""
        return self._maps[name]

    def verify(self) -> None:
        """ValueError for the first file whose checksum is not the one written."""
        for name, array in self.spec.arrays.items():
            check_sum(self._folder / f"{name}.npy", array)

    def _arrays(self, side: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._maps[f"{side}/indptr"], self._maps[f"{side}/indices"], self._maps[f"{side}/values"]

    def _check_side(self, side: str, n_columns: int, begin: int = 0, end: int | None = None) -> None:
        """ValueError unless rows are canonical: indices of columns, sorted, and finite values other than zero.

        ``begin`` and ``end`` are the entries looked at, of whole rows.
        """
        indptr, indices, values = self._arrays(side)
        end = indices.size if end is None else end
        for first in range(begin, end, CHUNK):
            part = indices[first : min(first + CHUNK + 1, end)]  # with the next one, to compare the last with
            if part.min() < 0 or part.max() >= n_columns:
                raise ValueError(self._damaged(side, "indices", f"it has indices outside of 0 .. {n_columns - 1}"))
            rises = part[1:] > part[:-1]
            starts = indptr[slice(*np.searchsorted(indptr, (first + 1, first + part.size)))]
            rises[starts - first - 1] = True  # a row may begin lower
            if not rises.all():
                raise ValueError(self._damaged(side, "indices", "its rows are not sorted"))
        for first in range(begin if values.size > 1 else 0, end if values.size > 1 else values.size, CHUNK):
            part = values[first : min(first + CHUNK, end)] if values.size > 1 else values
            if not (np.isfinite(part).all() and part.all()):
                raise ValueError(self._damaged(side, "values", "it has values that are zero or not finite"))

    def _damaged(self, side: str, name: str, reason: str) -> str:
        return f"{self._folder / side / name}.npy: this file of a store is damaged: {reason}"


def all_ids(parts: Sequence[Part], name: str) -> np.ndarray:
    """The ids of several parts, which follow one another; of one part, mapped."""
    found = [part.ids(name) for part in parts]
    return found[0] if len(found) == 1 else np.concatenate([ids for ids in found if len(ids)])


def _rises(indptr: np.ndarray) -> bool:
    """Whether pointers never fall."""
    return all(
        bool((indptr[first + 1 : first + CHUNK + 1] >= indptr[first : first + CHUNK][: indptr.size - first - 1]).all())
        for first in range(0, indptr.size - 1, CHUNK)
    )
