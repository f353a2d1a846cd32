"""Read interactions from files: delimited text, .npz and MatrixMarket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fastals.core.safe_open import brief, open_bytes, open_regular, text_errors
from fastals.tables.delimited import read_delimited
from fastals.tables.interactions import Duplicates, Interactions
from fastals.tables.matrix_market import read_matrix_market
from fastals.tables.npz import PlainArchive, open_npz
from fastals.tables.text_layout import ITEM_NAMES, USER_NAMES, VALUE_NAMES, match_name, sniff_layout

__all__ = ["read_interactions"]

_MATRIX_MARKET = b"%%matrixmarket"


def read_interactions(
    path: str | Path,
    *,
    user_column: str | int | None = None,
    item_column: str | int | None = None,
    value_column: str | int | None = None,
    separator: str | None = None,
    header: bool | None = None,
    duplicates: Duplicates = "sum",
) -> Interactions:
    """Read (user, item[, value]) from a file.

    Parameters
    ----------
    path : path
        One of, told by its content:

        - delimited text in UTF-8, plain or gzip, with or without a header;
        - ``.npz``, either a matrix of ``scipy.sparse.save_npz`` (ids are then the positions 0, 1, 2, ...), or one with
          one-dimensional arrays ``user``, ``item`` and perhaps ``value``;
        - a MatrixMarket coordinate file (``.mtx``, ``.mtx.gz``); ids are the positions counted from 0, that is one
          less than the numbers in the file.
    user_column, item_column, value_column : str or int, optional
        Text: the name in the header, or the position counted from 0. Arrays: the name. Default: found by usual names,
        then by position (see `fastals.tables.text_layout.sniff_layout`).
    separator : str, optional
        Text only. Default: sniffed among tab, ``::``, ``|``, ``;``, ``,`` and white space.
    header : bool, optional
        Text only. Default: found out.
    duplicates : {"sum", "mean", "max", "last", "count", "error"}
        What becomes of repeated pairs, see `Interactions.from_arrays`. In matrices they are always summed.

    Returns
    -------
    Interactions
        Its attribute `source` says which columns were taken.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the content is not what was wanted; the message names the file and, in text, the line and the column.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path}: this is a folder, wanted a file")
    columns: dict[str, Any] = {"user_column": user_column, "item_column": item_column, "value_column": value_column}
    with text_errors(path):
        with open_regular(path) as packed, open_bytes(path) as file:
            magic, start = packed.read(4), file.read(len(_MATRIX_MARKET))
        if magic == b"PK\x03\x04" or path.suffix == ".npz":
            return _read_npz(path, columns, duplicates)
        if magic == b"PAR1":
            raise ValueError(f"{path}: Parquet is not read directly; use a dataframe and Interactions.from_dataframe")
        if start.lower() == _MATRIX_MARKET:
            return _read_matrix_market(path)
        layout = sniff_layout(path, separator=separator, header=header, **columns)
        return read_delimited(path, layout, duplicates=duplicates)


def _read_npz(path: Path, columns: dict[str, Any], duplicates: Duplicates) -> Interactions:
    arrays: dict[str, np.ndarray] = {}
    with open_npz(path) as archive:
        if not archive.has_arrays:
            held = brief(", ".join(map(repr, archive.names)) or "nothing")
            raise ValueError(
                f"{path}: this is a zip archive without arrays, of {held}; unpack it and pass a table in it"
            )
        if {"format", "shape"} <= set(archive.names):
            matrix = archive.read_sparse()
        else:
            arrays = _id_arrays(path, archive, columns)
    try:
        if arrays:
            made = Interactions.from_arrays(*arrays.values(), duplicates=duplicates)
            made.source = f"{path.name}: arrays {', '.join(map(repr, arrays))}"
        else:
            made = Interactions(matrix)
            made.source = f"{path.name}: sparse matrix, ids are positions counted from 0"
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    return made


def _id_arrays(path: Path, archive: PlainArchive, columns: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of users, items and perhaps values, in this order."""
    names = archive.names
    picked = []
    for kind, known in (("user", USER_NAMES), ("item", ITEM_NAMES), ("value", VALUE_NAMES)):
        wanted = columns[f"{kind}_column"]
        if wanted is None:
            position = match_name(names, known)
            wanted = None if position is None else names[position]
            if wanted is None and kind == "value":
                continue
        if wanted not in names:
            what = "array" if wanted is None else f"array {wanted!r}"
            there = brief(", ".join(map(repr, names)) or "none", 1000)
            raise ValueError(f"{path}: no {kind} {what}; the file has {there}")
        picked.append(wanted)
    return {name: archive.read(name) for name in picked}


def _read_matrix_market(path: Path) -> Interactions:
    matrix = read_matrix_market(path)
    try:
        made = Interactions(matrix)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    made.source = f"{path.name}: MatrixMarket, ids are positions counted from 0"
    return made
