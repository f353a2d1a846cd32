"""Where shards come from: a store, a matrix, chunks of rows that may be anywhere, or a table, which becomes a store."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from fastals.core.rows import Rows, joined
from fastals.core.validation import check_integer, check_rows, describe
from fastals.distributed.executor import Executor
from fastals.distributed.shards import Piece
from fastals.solver.sides import ROW_COST
from fastals.tables.store import InteractionStore, PathLike
from fastals.tables.store_files import is_store

# Pairs of a shard, unless told: so many, or SHARE times the items (whose sums a shard returns each step, which is then
# a small part of the work: with 16 a sweep took a quarter longer at 97 million pairs, measured), or as many as leave
# MOST shards (each is a few tasks a step, of a millisecond each). Fewer are one shard, whose items are solved where it
# is: one thread does that before two workers have exchanged what they sum (measured on a million pairs: half the time).
PAIRS, SHARE, MOST = 2**20, 64, 1024


class Sources(NamedTuple):
    """Shards before they are loaded.

    load : callable
        Makes a ``Piece`` of one element of each of the arguments, on a worker.
    arguments : tuple of lists
        One element for each shard.
    rows : callable
        ``rows(executor)`` are the canonical rows of all users, for a model here.
    """

    load: Callable[..., Piece]
    arguments: tuple[list[Any], ...]
    rows: Callable[[Executor], Rows]

    @property
    def shards(self) -> int:
        """Number of shards."""
        return len(self.arguments[0])


class Table(NamedTuple):
    """Where the store of a table is built, and by which columns; see ``DaskImplicitALS.fit``."""

    store: PathLike | None = None
    columns: Mapping[str, Any] | None = None


def sources_of(user_items: Any, preference: Any, pairs_per_shard: int | None, table: Table | None = None) -> Sources:
    """Shards of what ``DaskImplicitALS.fit`` is given; see there.

    Raises
    ------
    TypeError, ValueError
        For anything else.
    """
    if pairs_per_shard is not None:
        pairs_per_shard = check_integer("pairs_per_shard", pairs_per_shard, 1)
    if isinstance(user_items, (str, os.PathLike)) and is_store(user_items):
        user_items = InteractionStore.open(user_items)
    elif isinstance(user_items, (str, os.PathLike)) or hasattr(user_items, "columns"):
        user_items, table = _store_of(user_items, table or Table()), None
    if table is not None and (table.store is not None or table.columns is not None):
        raise ValueError(f"store and columns are for a table of pairs, or files of one; got {describe(user_items)}")
    if isinstance(user_items, InteractionStore) and preference is None:
        return _of_store(user_items, pairs_per_shard)
    if sp.issparse(user_items) or isinstance(user_items, InteractionStore):
        return _of_rows(*check_rows(user_items, "user_items", preference=preference), pairs_per_shard)
    if preference is not None:
        raise ValueError("preference can be given with a matrix or a store of user_items alone")
    return _of_chunks(user_items)


def bounds_of(indptr: np.ndarray, n_items: int, pairs_per_shard: int | None) -> np.ndarray:
    """Rows that divide users into shards of about equal cost: a power of two of them, if there are users enough.

    What the sum over neighbours of 2^n shards sends is least where 2^m workers have 2^(n - m) neighbours each.
    """
    stored, users = int(indptr[-1]), indptr.size - 1
    if not users or not n_items or not stored:
        raise ValueError(f"user_items must have at least one stored value; got {users} users and {stored} pairs")
    pairs = pairs_per_shard or max(PAIRS, SHARE * n_items, -(-stored // MOST))
    count = 2 ** int(np.ceil(np.log2(max(stored / pairs, 1))))
    cost = indptr + ROW_COST * np.arange(indptr.size, dtype=np.int64)
    bounds = np.searchsorted(cost, np.linspace(0, cost[-1], count + 1)).astype(np.int64)
    bounds[0], bounds[-1] = 0, users
    return np.unique(bounds)


def _of_store(store: InteractionStore, pairs_per_shard: int | None) -> Sources:
    bounds = bounds_of(store.whole.user_pointers, store.n_items, pairs_per_shard).tolist()
    path = str(Path(store.path).absolute())
    stamp = os.stat(Path(path) / "header.json").st_mtime_ns
    count = len(bounds) - 1
    return Sources(
        load_from_store, ([path] * count, [stamp] * count, bounds[:-1], bounds[1:]), lambda executor: store.rows
    )


def _of_rows(rows: Rows, phi: np.ndarray | None, pairs_per_shard: int | None) -> Sources:
    bounds = bounds_of(rows.indptr, rows.shape[1], pairs_per_shard).tolist()
    pieces = []
    for first, last in itertools.pairwise(bounds):
        entries = slice(int(rows.indptr[first]), int(rows.indptr[last]))
        data = rows.data if rows.data.size == 1 else rows.data[entries]
        indptr = rows.indptr[first : last + 1] - rows.indptr[first]
        piece = Rows(indptr, rows.indices[entries], data, (last - first, rows.shape[1]))
        pieces.append(Piece(piece, None if phi is None else phi[entries]))
    return Sources(taken, (pieces,), lambda executor: rows)


def _store_of(table: Any, where: Table) -> InteractionStore:
    """A store of a table, or of files of pairs, built where it was asked for."""
    named = repr(os.fspath(table)) if isinstance(table, (str, os.PathLike)) else "a table"
    if where.store is None:
        raise ValueError(
            f"user_items is {named}, of pairs that a store must number: pass store=, a folder to be made for it that "
            "all workers can reach; or build one by InteractionStore.build or fastals.distributed.build_store"
        )
    if where.columns is not None and not isinstance(where.columns, Mapping):
        raise TypeError(f"columns must be a mapping such as {{'user': 'customer'}}; got {describe(where.columns)}")
    build = build_store if hasattr(table, "partitions") else InteractionStore.build
    return build(table, where.store, **(where.columns or {}))


def _of_chunks(chunks: Any) -> Sources:
    if hasattr(chunks, "to_delayed") and hasattr(chunks, "ndim"):  # a dask array
        blocks = chunks.to_delayed()
        if blocks.ndim != 2 or blocks.shape[1] != 1:
            raise ValueError(f"user_items must have all columns in one chunk; got blocks of shape {blocks.shape}")
        chunks = list(blocks[:, 0])
    if not isinstance(chunks, (list, tuple)) or not chunks:
        raise TypeError(
            f"user_items must be a sparse matrix, a store, a dask array or a list of CSR chunks; got {describe(chunks)}"
        )

    def rows(executor: Executor) -> Rows:
        pieces = executor.gather(executor.map("load", load_chunk, list(chunks)))
        parts = [piece.rows for piece in pieces]
        return joined(parts, parts[0].shape[1])

    return Sources(load_chunk, (list(chunks),), rows)


def load_from_store(path: str, stamp: int, first: int, last: int) -> Piece:
    """Users first .. last of a store that this worker can reach under the same path."""
    return Piece(_opened(path, stamp).whole.users_between(first, last))


@functools.lru_cache(maxsize=4)
def _opened(path: str, stamp: int) -> InteractionStore:
    return InteractionStore.open(path)


def load_chunk(chunk: Any) -> Piece:
    """Rows of a chunk."""
    return Piece(check_rows(chunk, "a chunk of user_items")[0])


def taken(piece: Piece) -> Piece:
    """What was sent as it is."""
    return piece


def build_store(frame: Any, path: PathLike, **options: Any) -> InteractionStore:
    """Build a store of a dask DataFrame, one partition after the other.

    Parameters
    ----------
    frame : dask DataFrame
        A table of users, items and perhaps values and times.
    path : path
        Folder to be made, where all workers can reach it.
    **options
        Those of `InteractionStore.build`: ``user``, ``item``, ``value``, ``time``, ``duplicates`` and others.

    Returns
    -------
    InteractionStore

    Raises
    ------
    TypeError
        For what has no partitions.
    FileExistsError, ValueError, OSError
        As `InteractionStore.build`.
    """
    if not hasattr(frame, "partitions") or not hasattr(frame, "columns"):
        raise TypeError(f"frame must be a dask DataFrame; got {describe(frame)}")
    return InteractionStore.build((part.compute() for part in frame.partitions), path, **options)
