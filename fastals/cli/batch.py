"""Recommendations for many users into a csv or parquet file, a block of users at a time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from fastals.cli import show
from fastals.persistence.atomic import atomic_writer

if TYPE_CHECKING:
    from fastals.model import ImplicitALS
    from fastals.tables.interactions import Interactions

__all__ = ["check_format", "write_recommendations"]

_USERS_AT_A_TIME = 4096
_COLUMNS = ("user", "rank", "item", "score")


def check_format(path: Path) -> None:
    """Raise unless the suffix is one that can be written."""
    if path.suffix not in (".csv", ".parquet"):
        raise ValueError(f"--output {path}: the name must end in .csv or .parquet")
    if path.suffix == ".parquet":
        _pyarrow()


def write_recommendations(
    model: ImplicitALS, interactions: Interactions, rows: np.ndarray, number: int, seen: bool, path: Path
) -> int:
    """Write user, rank, item, score for users in the given rows, and return how many.

    The file appears when it is complete; a failure leaves an earlier one as it was.
    """
    write = _write_parquet if path.suffix == ".parquet" else _write_csv
    with atomic_writer(path) as file:
        return write(file, _blocks(model, interactions, rows, number, seen))


def _blocks(
    model: ImplicitALS, interactions: Interactions, rows: np.ndarray, number: int, seen: bool
) -> Iterator[tuple[np.ndarray, ...]]:
    """The four columns for one block of users after another, under a progress display."""
    with show.progress() as display:
        task = display.add_task("recommending to users", total=rows.size, note="")
        for start in range(0, rows.size, _USERS_AT_A_TIME):
            block = rows[start : start + _USERS_AT_A_TIME]
            ids, scores = model.recommend(block, N=number, filter_already_liked_items=not seen)
            there = ids >= 0
            users = np.broadcast_to(interactions.user_ids[block][:, None], ids.shape)[there]
            ranks = np.broadcast_to(np.arange(1, ids.shape[1] + 1), ids.shape)[there]
            yield users, ranks, interactions.item_ids[ids[there]], scores[there]
            display.update(task, advance=block.size)


def _write_csv(file: IO[bytes], blocks: Iterator[tuple[np.ndarray, ...]]) -> int:
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


def _write_parquet(file: IO[bytes], blocks: Iterator[tuple[np.ndarray, ...]]) -> int:
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
