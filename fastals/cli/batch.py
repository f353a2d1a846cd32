"""Recommendations for many users into a csv or parquet file, a block of users at a time.

Spreadsheets take text that begins with ``=``, ``+``, ``-`` or ``@`` for a formula, and formulas in a file can run
commands on the computer of whoever opens it. Ids come from files, so in csv such an id is written with an apostrophe
before it (the remedy of OWASP, "CSV injection"), unless exact ids are asked for. Numbers stay as they are.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from fastals.cli import show
from fastals.persistence.atomic import atomic_writer

if TYPE_CHECKING:
    from fastals.model import ImplicitALS
    from fastals.tables.interactions import Interactions

__all__ = ["check_format", "defused", "write_recommendations"]

_USERS_AT_A_TIME = 4096
_COLUMNS = ("user", "rank", "item", "score")
# The signs in full width count in some spreadsheets; tab and the ends of lines may hide another sign.
_FORMULA_SIGNS = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n")
_NUMBER = re.compile(r"[+-]?[0-9][0-9.,]*")


def check_format(path: Path) -> None:
    """Raise unless the name ends like one that can be written."""
    if not path.name.endswith((".csv", ".csv.gz", ".parquet")):
        raise ValueError(f"--output {path}: the name must end in .csv, .csv.gz or .parquet")
    if path.suffix == ".parquet":
        _pyarrow()


def defused(ids: np.ndarray) -> tuple[np.ndarray, int]:
    """Ids that no spreadsheet takes for formulas, and how many of them had to be changed for that."""
    if ids.dtype.kind != "U":
        return ids, 0
    suspects = np.flatnonzero(np.isin(ids.astype("U1"), _FORMULA_SIGNS))
    at = [position for position in suspects if not _NUMBER.fullmatch(ids[position])]
    if not at:
        return ids, 0
    safe = ids.astype(f"U{ids.dtype.itemsize // 4 + 1}")
    safe[at] = np.char.add("'", ids[at])
    return safe, len(at)


def write_recommendations(
    model: ImplicitALS,
    interactions: Interactions,
    rows: np.ndarray,
    path: Path,
    *,
    number: int,
    seen: bool,
    exact_ids: bool,
) -> tuple[int, int]:
    """Write user, rank, item, score for users in the given rows.

    The file appears when it is complete; a failure leaves an earlier one as it was.

    Returns
    -------
    written, changed : int
        Rows of the table, and ids that had to be changed because spreadsheets would take them for formulas.
    """
    users, items, changed = interactions.user_ids, interactions.item_ids, 0
    if path.suffix != ".parquet" and not exact_ids:
        (users, of_users), (items, of_items) = defused(users), defused(items)
        changed = of_users + of_items
    write = _write_parquet if path.suffix == ".parquet" else _write_csv
    with atomic_writer(path) as file:
        blocks = _blocks(model, users, items, rows, number, seen)
        if path.suffix != ".gz":
            return write(file, blocks), changed
        with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
            return write(packed, blocks), changed


def _blocks(
    model: ImplicitALS, user_ids: np.ndarray, item_ids: np.ndarray, rows: np.ndarray, number: int, seen: bool
) -> Iterator[tuple[np.ndarray, ...]]:
    """The four columns for one block of users after another, under a progress display."""
    with show.progress() as display:
        task = display.add_task("recommending to users", total=rows.size, note="")
        for start in range(0, rows.size, _USERS_AT_A_TIME):
            block = rows[start : start + _USERS_AT_A_TIME]
            ids, scores = model.recommend(block, N=number, filter_already_liked_items=not seen)
            there = ids >= 0
            users = np.broadcast_to(user_ids[block][:, None], ids.shape)[there]
            ranks = np.broadcast_to(np.arange(1, ids.shape[1] + 1), ids.shape)[there]
            yield users, ranks, item_ids[ids[there]], scores[there]
            display.update(task, advance=block.size)


def _write_csv(file: IO[bytes] | gzip.GzipFile, blocks: Iterator[tuple[np.ndarray, ...]]) -> int:
    written = 0
    file.write((",".join(_COLUMNS) + "\r\n").encode())
    for columns in blocks:
        *ids, scores = columns
        shortest = scores.astype(str)  # float32 in its own digits, not in those of the double nearest to it
        text = io.StringIO(newline="")
        csv.writer(text).writerows(zip(*(column.tolist() for column in (*ids, shortest)), strict=True))
        file.write(text.getvalue().encode("utf-8"))
        written += columns[0].size
    return written


def _write_parquet(file: IO[bytes] | gzip.GzipFile, blocks: Iterator[tuple[np.ndarray, ...]]) -> int:
    pyarrow, parquet = _pyarrow()
    written, writer = 0, None
    try:
        for columns in blocks:
            table = pyarrow.table(dict(zip(_COLUMNS, columns, strict=True)))
            writer = writer or parquet.ParquetWriter(file, table.schema)
            writer.write_table(table)
            written += columns[0].size
    finally:
        if writer is not None:
            writer.close()
    return written


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise ImportError("writing .parquet needs pyarrow; install it with: pip install pyarrow") from None
    return pyarrow, pyarrow.parquet
