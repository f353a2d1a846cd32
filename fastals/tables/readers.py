"""Read interactions from files: delimited text, Parquet, JSON lines, .npz and MatrixMarket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fastals.core.safe_open import brief, open_bytes, open_regular, text_errors
from fastals.core.validation import check_choice
from fastals.tables.duplicates import Duplicates, check_duplicates
from fastals.tables.interactions import Interactions
from fastals.tables.layout import Columns, match_name
from fastals.tables.matrix_market import read_matrix_market
from fastals.tables.npz import PlainArchive, open_npz
from fastals.tables.numbering import read_table
from fastals.tables.scans import Options

__all__ = ["is_matrix_file", "read_interactions"]

_MATRIX_MARKET = b"%%matrixmarket"
_OLD_EXCEL = b"\xd0\xcf\x11\xe0"
# What a spreadsheet is told by: a member of its archive, but for the format of Excel before 2007.
_SHEETS = {
    "[Content_Types].xml": "an Excel workbook",
    "content.xml": "an OpenDocument spreadsheet",
    "xls": "an Excel workbook of before 2007",
}
_ADVICE = "save its sheet as CSV (UTF-8), or read it with pandas and call Interactions.from_dataframe"


def read_interactions(
    path: str | Path,
    *,
    user_column: str | int | None = None,
    item_column: str | int | None = None,
    value_column: str | int | None = None,
    time_column: str | int | None = None,
    separator: str | None = None,
    header: bool | None = None,
    encoding: str = "utf-8",
    decimal: str = ".",
    skip_bad: bool = False,
    duplicates: Duplicates = "sum",
) -> Interactions:
    """Read (user, item[, value][, time]) from a file.

    Parameters
    ----------
    path : path
        One of, told by its content:

        - delimited text, with or without a header, plain, gzip or zstd;
        - JSON lines (or an array of objects), plain, gzip or zstd;
        - Parquet;
        - ``.npz``, either a matrix of ``scipy.sparse.save_npz`` (ids are then the positions 0, 1, 2, ...), or one with
          one-dimensional arrays ``user``, ``item`` and perhaps ``value``;
        - a MatrixMarket coordinate file (``.mtx``, ``.mtx.gz``); ids are the positions counted from 0, that is one
          less than the numbers in the file.

        The first three need DuckDB (extra ``tables``).
    user_column, item_column, value_column : str or int, optional
        Name in the header, or position counted from 0 (of arrays: the name). Default: found by usual names, then by
        position: the first, the second, and the third if it holds numbers that are not times.
    time_column : str or int, optional
        Numbers (kept as integers), or dates and times (kept in seconds since 1970). Default: times are not read.
    separator : str, optional
        Text only. Default: the one of tab, ``::``, ``|``, ``;``, ``,`` and white space that cuts all lines alike.
    header : bool, optional
        Text only. Default: found out.
    encoding : str, default "utf-8"
        Text only: any that Python knows, such as "cp1252" or "utf-16".
    decimal : {".", ","}
        Text only: the decimal sign of values.
    skip_bad : bool, default False
        Whether to drop rows that cannot be read (another number of fields, an empty id, a value that is not a number)
        instead of refusing the file. `source` then says how many there were, and what the first ones were like.
    duplicates : {"sum", "mean", "max", "last", "count", "error"}
        What repeated pairs become, see `Interactions.from_arrays`. In matrices they are always summed.

    Returns
    -------
    Interactions
        Its attribute `source` says which columns were taken. Ids of a text file are integers if every id of the
        column is one in plain form (``007`` is not); in Parquet and JSON they keep their type.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If DuckDB is needed and not installed.
    ValueError
        If the content is not what was wanted; the message names the file and, in text, the line and the column.
    """
    path = Path(path)
    check_choice("decimal", decimal, (".", ","))
    check_duplicates(duplicates)
    if path.is_dir():
        raise ValueError(f"{path}: this is a folder, wanted a file")
    columns = Columns(user_column, item_column, value_column, time_column)
    if _magic(path) == _OLD_EXCEL:
        raise ValueError(f"{path}: this is {_SHEETS['xls']}; {_ADVICE}")
    if _is_npz(path):
        return _read_npz(path, columns, duplicates)
    if _is_matrix_market(path):
        with text_errors(path):
            return _read_matrix_market(path, columns)
    table = read_table(path, columns, Options(separator, header, encoding, decimal, skip_bad))
    try:
        made = Interactions._from_codes(
            table.user_codes, table.item_codes, table.values, table.user_ids, table.item_ids, duplicates, table.times
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    made.source = f"{path.name}: {table.layout}{table.dropped}"
    return made


def is_matrix_file(path: Path) -> bool:
    """Whether a file is read as a whole, without a database: ``.npz`` or MatrixMarket."""
    return _is_npz(path) or _is_matrix_market(path)


def _magic(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read(4)


def _is_npz(path: Path) -> bool:
    return path.suffix == ".npz" or _magic(path) == b"PK\x03\x04"


def _is_matrix_market(path: Path) -> bool:
    if _magic(path)[:2] not in (b"\x1f\x8b", b"%%"):
        return False
    try:
        with text_errors(path), open_bytes(path) as file:
            return file.read(len(_MATRIX_MARKET)).lower() == _MATRIX_MARKET
    except ValueError:  # a damaged gzip file, of which its reader will tell
        return False


def _read_npz(path: Path, columns: Columns, duplicates: Duplicates) -> Interactions:
    arrays: dict[str, np.ndarray] = {}
    with open_npz(path) as archive:
        if not archive.has_arrays:
            for member, kind in _SHEETS.items():
                if member in archive.names:
                    raise ValueError(f"{path}: this is {kind}; {_ADVICE}")
            held = brief(", ".join(map(repr, archive.names)) or "nothing")
            raise ValueError(
                f"{path}: this is a zip archive without arrays, of {held}; unpack it and pass a table in it"
            )
        if {"format", "shape"} <= set(archive.names):
            _refuse_times(path, columns)
            matrix = archive.read_sparse()
        else:
            picked = _array_names(path, archive, columns)
            arrays = {argument: archive.read(name) for argument, name in picked.items()}
    try:
        if arrays:
            made = Interactions.from_arrays(**arrays, duplicates=duplicates)
            made.source = f"{path.name}: arrays {', '.join(map(repr, picked.values()))}"
        else:
            made = Interactions(matrix)
            made.source = f"{path.name}: sparse matrix, ids are positions counted from 0"
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    return made


def _array_names(path: Path, archive: PlainArchive, columns: Columns) -> dict[str, str]:
    """Names of the arrays of users and items, of values if there are any, and of times if they are asked for."""
    names = archive.names
    picked = {}
    for kind in ("user", "item", "value", "time"):
        wanted: Any = getattr(columns, kind)
        if wanted is None and kind == "time":
            continue
        if wanted is None:
            position = match_name(names, kind)
            wanted = None if position is None else names[position]
            if wanted is None and kind == "value":
                continue
        if wanted not in names:
            what = "array" if wanted is None else f"array {wanted!r}"
            there = brief(", ".join(map(repr, names)) or "none", 1000)
            raise ValueError(f"{path}: no {kind} {what}; the file has {there}")
        picked[f"{kind}s"] = wanted
    return picked


def _refuse_times(path: Path, columns: Columns) -> None:
    if columns.time is not None:
        raise ValueError(f"{path}: no time column {columns.time!r}; this is a sparse matrix, which holds no times")


def _read_matrix_market(path: Path, columns: Columns) -> Interactions:
    _refuse_times(path, columns)
    matrix = read_matrix_market(path)
    try:
        made = Interactions(matrix)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    made.source = f"{path.name}: MatrixMarket, ids are positions counted from 0"
    return made
