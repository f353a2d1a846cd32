"""Parts of a store, written: from a source by way of the database, from a matrix, or from parts that are there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastals.core.rows import Rows, transposed
from fastals.core.validation import describe
from fastals.tables.database import connection
from fastals.tables.layout import Columns
from fastals.tables.scans import Options
from fastals.tables.staging import Staging
from fastals.tables.store_files import SIDES, ArraySpec, PartSpec, SideWriter, write_array
from fastals.tables.store_merge import ENTRIES, Pairs, RepeatedPairError, merged_pairs, write_pairs
from fastals.tables.store_sources import Matrix, Stage, take_source

LEAST_LIMIT = 2**28
_RESERVED = 6 * 10**8  # bytes beside the database: the interpreter, its libraries, and a block of pairs
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {f"{unit}I": 1024**power for power, unit in enumerate("KMGT", start=1)}
_AMOUNT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?I?)B?\s*", re.IGNORECASE)
# What pairs become that were merged already, each in a part.
_RULES_OF_PARTS = {"sum": "sum", "count": "sum", "max": "max", "last": "last", "error": "error"}


class Work(NamedTuple):
    """How a part is made: what becomes of repeated pairs, bytes of memory, where temporary files go, who is told."""

    duplicates: str
    memory_limit: int
    folder: Path
    stage: Stage


def check_memory_limit(value: Any) -> int:
    """Bytes of a number or of text such as "2GB" or "1.5 GiB"; TypeError or ValueError for anything else."""
    found = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    if found is not None and found[2].upper() in _UNITS:
        value = int(float(found[1]) * _UNITS[found[2].upper()])
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"memory_limit must be a number of bytes, or text such as '2GB'; got {describe(value)}")
    if value < LEAST_LIMIT:
        raise ValueError(f"memory_limit must be at least {LEAST_LIMIT:,} bytes; got {value:,}")
    return int(value)


def check_appendable(duplicates: str) -> str:
    """What pairs of several parts become; ValueError where that cannot be told from what each part holds."""
    if duplicates not in _RULES_OF_PARTS:
        raise ValueError(
            f"a store of duplicates={duplicates!r} cannot grow: it does not hold how many rows a pair came from; "
            "build it anew from all of them"
        )
    return _RULES_OF_PARTS[duplicates]


def staged_part(
    place: Path,
    source: Any,
    columns: Columns,
    options: Options | None,
    work: Work,
    known: tuple[np.ndarray, np.ndarray] | None = None,
    timed: bool | None = None,
) -> tuple[PartSpec, str]:
    """Write a part from a source, and tell what the source was.

    ``known`` are the ids of the users and items that are there already, and ``timed`` says whether the part must have
    times or must not.
    """
    limit = max(work.memory_limit - _RESERVED, work.memory_limit // 2)
    with connection(work.folder, limit) as con:
        staging = Staging(con, work.folder)
        take_source(staging, source, columns, options, work.stage)
        if timed is not None and timed != staging.has_times:
            raise ValueError(
                f"the store has {'' if timed else 'no '}times: name the column of time for all or for none"
            )
        work.stage("numbering ids", 0, 1)
        shape = staging.number(known)
        place.mkdir()
        arrays: dict[str, ArraySpec] = {}
        for side in (0, 1):
            first = 0 if known is None else len(known[side])
            name = f"{('user', 'item')[side]}_ids"
            arrays[name] = write_array(place / f"{name}.npy", *staging.new_ids(side, first, shape[side]))
        in_order = work.duplicates == "last" or (work.duplicates in ("sum", "mean") and staging.has_values)
        for side, name in enumerate(SIDES):
            work.stage(f"sorting {name.replace('_', ' ')}", 0, 1)
            pairs = staging.sorted_by(side, shape[side], in_order)
            with SideWriter(place / name, np.float32, staging.has_times and side == 0) as writer:
                try:
                    _write_all(writer, pairs, work, shape[side], np.dtype(np.float32), name)
                except RepeatedPairError as error:
                    user, item = (staging.name_of(one, error.place[one]) for one in (0, 1))
                    raise ValueError(f"user {user} and item {item} meet more than once") from None
                arrays |= writer.finish()
        return PartSpec(place.name, shape, writer.stored, arrays), "; ".join(staging.sources)


def _write_all(
    writer: SideWriter, pieces: Iterator[Pairs], work: Work, n_rows: int, dtype: np.dtype, name: str
) -> None:
    for pairs in pieces:
        write_pairs(writer, pairs, work.duplicates, dtype)
        work.stage(f"writing {name.replace('_', ' ')}", pairs.last, n_rows)


def matrix_part(place: Path, matrix: Matrix, stage: Stage) -> PartSpec:
    """Write a part from a matrix in memory."""
    place.mkdir()
    arrays = {
        name: write_array(place / f"{name}.npy", ids.dtype, [ids])
        for name, ids in (("user_ids", matrix.user_ids), ("item_ids", matrix.item_ids))
    }
    for name, rows, times in zip(SIDES, (matrix.rows, transposed(matrix.rows)), (matrix.times, None), strict=True):
        with SideWriter(place / name, rows.data.dtype, times is not None) as writer:
            counts = rows.counts
            writer.append(counts, rows.indices[:0], rows.data[:0], None)
            for first in range(0, rows.indices.size, ENTRIES):
                part = slice(first, first + ENTRIES)
                values = np.broadcast_to(rows.data, rows.indices.shape)[part]
                writer.append(counts[:0], rows.indices[part], values, None if times is None else times[part])
            arrays |= writer.finish()
        stage(f"writing {name.replace('_', ' ')}", 1, 1)
    return PartSpec(place.name, matrix.rows.shape, matrix.rows.indices.size, arrays)


def merged_part(
    place: Path, parts: Sequence[Rows], times: Sequence[np.ndarray] | None, ids: dict[str, np.ndarray], work: Work
) -> PartSpec:
    """Write one part from several, the oldest first, with the ids of all."""
    place.mkdir()
    shape = parts[-1].shape
    dtype = np.result_type(*(part.data.dtype for part in parts))
    arrays = {name: write_array(place / f"{name}.npy", found.dtype, [found]) for name, found in ids.items()}
    for side, name in enumerate(SIDES):
        rows = [part if side == 0 else transposed(part) for part in parts]
        pieces = merged_pairs(rows, times if side == 0 else None, rows[-1].shape)
        with SideWriter(place / name, dtype, times is not None and side == 0) as writer:
            _write_all(writer, pieces, work, shape[side], dtype, name)
            arrays |= writer.finish()
    return PartSpec(place.name, shape, writer.stored, arrays)
