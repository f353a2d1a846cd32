"""What a store is built from: files, frames, batches; or a matrix, which is canonical already."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastals.core.rows import Rows
from fastals.core.validation import check_rows, describe, is_sparse
from fastals.tables.columns import eager_frame, frame_columns
from fastals.tables.database import SAMPLE_LINES
from fastals.tables.interactions import Interactions
from fastals.tables.layout import Columns, layout_of_columns
from fastals.tables.readers import is_matrix_file, read_interactions
from fastals.tables.scans import Options
from fastals.tables.staging import Staging

Stage = Callable[[str, int, int], None]
BATCH = 2**20  # rows of a frame or entries of a matrix at a time


class Matrix(NamedTuple):
    """A source that is in memory and canonical: rows of the users, ids, and times of the entries, if there are any."""

    rows: Rows
    user_ids: np.ndarray
    item_ids: np.ndarray
    times: np.ndarray | None
    source: str


def as_matrix(source: Any) -> Matrix | None:
    """The source, if it is a matrix, `Interactions`, or a file that holds a matrix; else None.

    Raises
    ------
    TypeError, ValueError
        For a matrix that is no use as interactions.
    """
    if isinstance(source, (str, os.PathLike)) and Path(source).is_file() and is_matrix_file(Path(source)):
        source = read_interactions(Path(source))
    if isinstance(source, Interactions):
        rows, _ = check_rows(source.user_items, "source")
        times = None if source.times is None else source.times.data
        return Matrix(rows, source.user_ids, source.item_ids, times, source.source or "interactions in memory")
    if not is_sparse(source):
        return None
    rows, _ = check_rows(source, "source")
    with np.errstate(over="ignore"):
        single = rows.data.astype(np.float32)
    if np.array_equal(single, rows.data):  # no digit is lost
        rows = rows._replace(data=single)
    users, items = (np.arange(count) for count in rows.shape)
    return Matrix(rows, users, items, None, "a sparse matrix, ids are positions counted from 0")


def take_source(staging: Staging, source: Any, columns: Columns, options: Options | None, stage: Stage) -> None:
    """Take pairs into the database, from whatever they are in.

    Raises
    ------
    TypeError
        For a source of another kind, or text options where there is no text.
    ValueError
        Where the source cannot be read; the message says where.
    FileNotFoundError
        If no file matches.
    """
    paths = _paths(source)
    if paths is not None:
        for number, path in enumerate(paths):
            stage("reading", number, len(paths))
            staging.take_file(path, columns, options or Options())
        stage("reading", len(paths), len(paths))
        return
    if options is not None:
        raise TypeError(f"options of text are for files; got {describe(source)}")
    matrix = as_matrix(source)
    taken = 0
    for batch in _batches(source, columns) if matrix is None else _entries(matrix):
        staging.take_batch(*batch)
        taken += len(batch[0])
        stage("reading", taken, taken)
    staging.sources.append(f"batches of {taken:,} rows" if matrix is None else matrix.source)


def _paths(source: Any) -> list[Path] | None:
    """Files that a path, a pattern or a list of them names, in their order; None for any other source."""
    if isinstance(source, (str, os.PathLike)):
        source = [source]
    if not isinstance(source, (list, tuple)) or not source or not isinstance(source[0], (str, os.PathLike)):
        return None
    found = []
    for one in source:
        path = Path(one)
        if path.is_dir():
            raise ValueError(f"{path}: this is a folder; wanted a file, or a pattern such as {path / '*.parquet'}")
        matches = (
            [path] if path.exists() else [Path(match) for match in sorted(glob.glob(os.fspath(one), recursive=True))]
        )
        if not matches:
            raise FileNotFoundError(f"no file {os.fspath(one)!r}")
        for match in matches:
            if is_matrix_file(match):
                raise ValueError(f"{match}: this is a matrix; it can be a source by itself, not one of several")
        found += matches
    return found


def _batches(source: Any, columns: Columns) -> Iterator[tuple[Any, ...]]:
    """Users, items, values and times of a frame or of any number of batches, some at a time."""
    if _is_frame(source) or isinstance(source, Mapping):
        yield from _frame_batches(source, columns)
        return
    if isinstance(source, (bytes, np.ndarray)) or not isinstance(source, Iterable):
        raise TypeError(
            "source must be a path, a sparse matrix, a dataframe, Interactions or an iterable of batches; "
            f"got {describe(source)}"
        )
    for batch in source:
        if _is_frame(batch) or isinstance(batch, Mapping):
            yield from _frame_batches(batch, columns)
        elif isinstance(batch, (tuple, list)) and 2 <= len(batch) <= 4:
            yield tuple(batch)
        else:
            raise TypeError(
                f"a batch must be a frame, a mapping or (users, items[, values[, times]]); got {describe(batch)}"
            )


def _is_frame(source: Any) -> bool:
    return hasattr(source, "columns") or hasattr(source, "column_names")


def _frame_batches(frame: Any, columns: Columns) -> Iterator[tuple[Any, ...]]:
    """Columns of a frame or of a mapping of columns, found as those of a file are."""
    if isinstance(frame, Mapping):
        names = _names(
            columns,
            list(frame),
            [list(one) for one in zip(*(column[:SAMPLE_LINES] for column in frame.values()), strict=False)],
        )
        yield tuple(None if name is None else frame[name] for name in names)
        return
    if type(frame).__name__ == "RecordBatch":
        import pyarrow

        frame = pyarrow.Table.from_batches([frame])
    table = eager_frame(frame)
    names = _names(columns, table.columns, table.head(SAMPLE_LINES).rows())
    for first in range(0, len(table), BATCH):
        yield tuple(frame_columns(table[first : first + BATCH], *names))  # type: ignore[arg-type]


def _names(columns: Columns, there: list[str], sample: Iterable[Iterable[Any]]) -> list[str | None]:
    texts = [["" if cell is None else str(cell) for cell in row] for row in sample]
    layout = layout_of_columns(columns, tuple(map(str, there)), len(there), texts)
    places = (layout.user, layout.item, layout.value, layout.time)
    return [None if place is None else there[place] for place in places]


def _entries(matrix: Matrix) -> Iterator[tuple[Any, ...]]:
    """The entries of a matrix with their ids."""
    rows = matrix.rows
    users = np.repeat(np.arange(rows.shape[0]), rows.counts)
    for first in range(0, users.size, BATCH):
        part = slice(first, first + BATCH)
        values = np.broadcast_to(rows.data, users.shape)[part]
        times = None if matrix.times is None else matrix.times[part]
        yield matrix.user_ids[users[part]], matrix.item_ids[rows.indices[part]], values, times


def checked_options(given: dict[str, Any]) -> Options | None:
    """Options of text; TypeError for one that is not known."""
    unknown = sorted(set(given) - set(Options._fields))
    if unknown:
        raise TypeError(f"unknown options {', '.join(unknown)}; known are {', '.join(Options._fields)}")
    return Options(**given) if given else None
