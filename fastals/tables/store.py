"""A store: interactions larger than memory, in a folder of plain arrays that are mapped when they are needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastals.core.parameters import documented_by
from fastals.core.rows import Rows
from fastals.core.stored import StoredInteractions
from fastals.tables import store_change
from fastals.tables.duplicates import Duplicates, check_duplicates
from fastals.tables.ids import IdIndex
from fastals.tables.interactions import Interactions
from fastals.tables.layout import Columns
from fastals.tables.pairs import csr
from fastals.tables.store_build import check_memory_limit
from fastals.tables.store_change import Manner
from fastals.tables.store_files import read_header
from fastals.tables.store_parts import Part, all_ids
from fastals.tables.store_sources import checked_options

__all__ = ["InteractionStore"]

PathLike = str | os.PathLike[str]


class InteractionStore(StoredInteractions):
    """Interactions in a folder, taken wherever a matrix (n_users, n_items) is: by ``fit``, splits, metrics, tuning.

    Made by `build` and opened by `open`. A model that
    is fitted to a store reads it row by row from its maps and keeps the factors alone in memory, and its factors are
    those of a fit to the same matrix in memory, bit for bit. (Splits and metrics copy into memory what they are given;
    ``fit`` with a separate ``preference`` does so with the pattern.)

    Attributes
    ----------
    path : Path
    shape : (int, int)
        Users and items.
    nnz : int
        Number of stored pairs.
    duplicates : str
        What repeated pairs have become, and become when more is appended.
    source : str
        Where the data came from, for people.
    n_parts : int
        1, unless parts have been appended and not merged yet.
    user_ids, item_ids : ndarray, integers or fixed-width text
        The id of each row and column. Of a new store they are sorted, as those of `Interactions` of the same table
        are; ids appended later follow the ones before.
    times : (nnz,) int64 array, or None
        When each pair was, in the order of the rows; of repeated pairs the latest.

    Examples
    --------
    >>> import tempfile
    >>> from fastals import ImplicitALS, InteractionStore
    >>> folder = tempfile.TemporaryDirectory()
    >>> plays = {"user": ["ann", "bob", "ann"], "item": ["abba", "blur", "blur"], "plays": [3, 1, 5]}
    >>> store = InteractionStore.build(plays, f"{folder.name}/plays")
    >>> store
    <InteractionStore: 2 users x 2 items, 3 stored>
    >>> ImplicitALS(factors=2, random_state=0).fit(store).user_factors.shape
    (2, 2)
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self._open()

    @classmethod
    def build(
        cls,
        source: Any,
        path: PathLike,
        *,
        user: str | int | None = None,
        item: str | int | None = None,
        value: str | int | None = None,
        time: str | int | None = None,
        duplicates: Duplicates = "sum",
        memory_limit: int | str = "2GB",
        temporary_folder: PathLike | None = None,
        show_progress: bool = False,
        **text_options: Any,
    ) -> InteractionStore:
        """Build a store, in bounded memory.

        Parameters
        ----------
        source : path, list of paths, sparse matrix, dataframe, Interactions, or iterable of batches
            Files of delimited text, JSON lines or Parquet, told by their content, plain, gzip or zstd, one or several
            or a pattern such as ``"days/*.csv.gz"``; or one ``.npz`` or MatrixMarket file; see
            `fastals.datasets.read_interactions`. A pandas, polars or pyarrow table. A batch is such a table, a
            mapping of columns, or (users, items[, values[, times]]). Matrices keep their shape, and their positions
            are the ids. Needs DuckDB (extra ``tables``), but for matrices.
        path : path
            Folder to be made. It appears complete or not at all; what a killed build has left is removed by the next
            of the same path.
        user, item, value, time : str or int, optional
            Name or position of the columns; see ``read_interactions``. Times are kept only if they are named.
        duplicates : {"sum", "mean", "max", "last", "count", "error"}
            What repeated pairs become; see `Interactions.from_arrays`. In matrices they are always summed.
        memory_limit : int or str
            Bytes, or text such as "2GB" (10^9) or "2GiB" (2^30), at least 256 MB, that the build may take; ids as text
            and bad rows that are dropped come on top, once each. What does not fit goes to temporary files.
        temporary_folder : path, optional
            For these, which may take several times the space of the store; beside the store by default.
        show_progress : bool
            Whether to show what is being done (with tqdm, if it is installed).
        **text_options
            ``separator``, ``header``, ``encoding``, ``decimal`` and ``skip_bad`` of ``read_interactions``.

        Returns
        -------
        InteractionStore

        Raises
        ------
        FileExistsError
            If there is something at ``path``.
        FileNotFoundError, ImportError, TypeError, ValueError, OSError
            As ``read_interactions``; for a disk that is full.
        """
        check_duplicates(duplicates)
        columns, limit = Columns(user, item, value, time), check_memory_limit(memory_limit)
        manner = Manner(columns, checked_options(text_options), limit, temporary_folder, show_progress)
        store_change.build(Path(path), source, duplicates, manner)
        return cls(path)

    @classmethod
    def open(cls, path: PathLike, *, verify: bool = False) -> InteractionStore:
        """Open a store.

        Parameters
        ----------
        path : path
        verify : bool
            Whether to read all of it and verify its checksums, too. Sizes, types and pointers are checked always, and
            the rest, as far as memory safety and canonical form go, when it is first used.

        Returns
        -------
        InteractionStore

        Raises
        ------
        ValueError
            For a folder that is no store, or damaged; the message names the file.
        OSError
            Where it cannot be opened.
        """
        store = cls(path)
        if verify:
            store.verify()
        return store

    def append(
        self,
        source: Any,
        *,
        user: str | int | None = None,
        item: str | int | None = None,
        value: str | int | None = None,
        time: str | int | None = None,
        memory_limit: int | str = "2GB",
        temporary_folder: PathLike | None = None,
        show_progress: bool = False,
        compact: bool = True,
        **text_options: Any,
    ) -> InteractionStore:
        """Add more pairs, such as those of another day, of known and of new users and items.

        Known ids keep their places, so that a model fitted before still matches; new ones follow in sorted order.
        Pairs that are there already are merged by the store's rule for duplicates; of one that had come to zero nothing
        is known any more. Whatever ends the process leaves the store as it was, or with all that was appended.

        Parameters
        ----------
        source, user, item, value, time, memory_limit, temporary_folder, show_progress, **text_options
            As for `build`.
        compact : bool
            Whether to merge what is new into the rest at once, which reads and writes the whole store once. Otherwise
            it is written beside, for the price of the new pairs alone, and the store must be compacted before it is
            read.

        Returns
        -------
        self

        Raises
        ------
        BlockingIOError
            Where another process is changing the store.
        FileNotFoundError, ImportError, TypeError, ValueError, OSError
            As `build`; for a store of means, which cannot grow, and for times that are missing on one side.
        """
        columns, limit = Columns(user, item, value, time), check_memory_limit(memory_limit)
        manner = Manner(columns, checked_options(text_options), limit, temporary_folder, show_progress)
        store_change.append(self.path, source, manner, compact)
        self._open()
        return self

    def compact(self, *, temporary_folder: PathLike | None = None, show_progress: bool = False) -> InteractionStore:
        """Merge the parts that have been appended into one.

        Parameters
        ----------
        temporary_folder, show_progress
            As for `build`.

        Returns
        -------
        self

        Raises
        ------
        BlockingIOError
            Where another process is changing the store.
        OSError
            Where the disk is full.
        """
        store_change.compact(self.path, temporary_folder, show_progress)
        self._open()
        return self

    def verify(self) -> None:
        """Read every file and verify its checksum.

        Raises
        ------
        ValueError
            Naming the first file that is damaged.
        """
        for part in self._parts:
            part.verify()

    @property
    def shape(self) -> tuple[int, int]:
        """Users and items."""
        return self._parts[-1].spec.shape

    @property
    def user_items(self) -> InteractionStore:
        """The store itself, which is taken wherever the ``user_items`` of `Interactions` are."""
        return self

    @property
    def rows(self) -> Rows:
        """Canonical rows of the users, mapped and read-only, with those of the items.

        Raises
        ------
        ValueError
            Where parts have been appended and not merged, or a file is damaged; the message names it.
        """
        return self.whole.rows

    @property
    def whole(self) -> Part:
        """The only part; ValueError where there are more."""
        if self.n_parts > 1:
            raise ValueError(f"{self.path}: {self.n_parts - 1} appended parts are not merged yet: call compact() first")
        return self._parts[0]

    @property
    def times(self) -> np.ndarray | None:
        """When each pair was, (nnz,) int64, mapped."""
        return self._parts[0].times if self.rows is not None else None

    @property
    def timed(self) -> bool:
        """Whether there are times."""
        return self._parts[0].times is not None

    @property
    def nnz(self) -> int:
        """Number of stored pairs; of one that is in several parts, each."""
        return sum(part.spec.stored for part in self._parts)

    @property
    def n_users(self) -> int:
        """Number of rows."""
        return self.shape[0]

    @property
    def n_items(self) -> int:
        """Number of columns."""
        return self.shape[1]

    @property
    def n_parts(self) -> int:
        """Number of parts."""
        return len(self._parts)

    @property
    def duplicates(self) -> str:
        """What repeated pairs become."""
        return self._header.duplicates

    @property
    def source(self) -> str:
        """Where the data came from."""
        return self._header.source

    @property
    def user_ids(self) -> np.ndarray:
        """The id of each row."""
        return self._ids("user_ids")

    @property
    def item_ids(self) -> np.ndarray:
        """The id of each column."""
        return self._ids("item_ids")

    @documented_by(Interactions.user_index)
    def user_index(self, ids: Any) -> Any:
        """Row of one user id, or rows of several."""
        users, items = self._index
        return users.positions(ids, items)

    @documented_by(Interactions.item_index)
    def item_index(self, ids: Any) -> Any:
        """Column of one item id, or columns of several."""
        users, items = self._index
        return items.positions(ids, users)

    def to_matrix(self) -> sp.csr_array:
        """Copy of the store in memory.

        Returns
        -------
        csr_array (n_users, n_items)

        Raises
        ------
        ValueError
            As ``rows``.
        """
        return self.rows.as_csr(self.dtype)

    def to_interactions(self) -> Interactions:
        """Copy of the store in memory with ids and times; values are float32.

        Returns
        -------
        Interactions

        Raises
        ------
        ValueError
            As ``rows``.
        """
        made = Interactions(self.to_matrix(), self.user_ids, self.item_ids)
        if self.times is not None:
            matrix = made.user_items
            made.times = csr(self.times.copy(), matrix.indices, matrix.indptr, matrix.shape)
        made.source = self.source
        return made

    def __repr__(self) -> str:
        more = f", in {self.n_parts} parts" if self.n_parts > 1 else ""
        return f"<InteractionStore: {self.n_users:,} users x {self.n_items:,} items, {self.nnz:,} stored{more}>"

    def __reduce__(self) -> tuple[type[InteractionStore], tuple[Path]]:
        return type(self), (self.path.absolute(),)

    def _open(self) -> None:
        self._header = read_header(self.path)
        check_duplicates(self._header.duplicates)
        self._parts = tuple(Part(self.path, spec) for spec in self._header.parts)
        self._found: dict[str, Any] = {}

    def _ids(self, name: str) -> np.ndarray:
        if name not in self._found:
            self._found[name] = all_ids(self._parts, name)
        ids: np.ndarray = self._found[name]
        return ids

    @property
    def _index(self) -> tuple[IdIndex, IdIndex]:
        if "index" not in self._found:
            self._found["index"] = IdIndex(self.user_ids, "user"), IdIndex(self.item_ids, "item")
        index: tuple[IdIndex, IdIndex] = self._found["index"]
        return index
