"""Read interactions from files: delimited text, .npz and MatrixMarket."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy import io, sparse

from fastals.delimited import read_delimited
from fastals.interactions import Duplicates, Interactions
from fastals.text_layout import ITEM_NAMES, USER_NAMES, VALUE_NAMES, match_name, open_bytes, open_text, sniff_layout

__all__ = ["read_interactions"]


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
        then by position (see `fastals.text_layout.sniff_layout`).
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
    with open(path, "rb") as file:
        start = file.read(6)
    if start[:4] == b"PK\x03\x04" or path.suffix == ".npz":
        return _read_npz(path, columns, duplicates)
    if start[:4] == b"PAR1":
        raise ValueError(f"{path}: Parquet is not read directly; use a dataframe and Interactions.from_dataframe")
    if _is_matrix_market(path):
        return _read_matrix_market(path)
    layout = sniff_layout(path, separator=separator, header=header, **columns)
    return read_delimited(path, layout, duplicates=duplicates)


def _is_matrix_market(path: Path) -> bool:
    try:
        with open_text(path) as file:
            return file.readline(100).lower().startswith("%%matrixmarket")
    except (OSError, EOFError, UnicodeDecodeError):
        return False


def _read_npz(path: Path, columns: dict[str, Any], duplicates: Duplicates) -> Interactions:
    try:
        # Files opened here, since NumPy leaves those that it opened open if they turn out to be no archives.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            is_matrix = {"format", "shape"} <= set(archive.files)
            arrays = {} if is_matrix else _id_arrays(path, archive, columns)
        if is_matrix:
            with open(path, "rb") as file:
                matrix = sparse.load_npz(file)
    except (zipfile.BadZipFile, OSError, EOFError, KeyError, AttributeError, TypeError, NotImplementedError) as error:
        raise ValueError(f"{path}: this is no readable .npz file ({error})") from None
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path}: this is no .npz file of plain arrays ({error})") from None
    try:
        if is_matrix:
            made = Interactions(matrix)
            made.source = f"{path.name}: sparse matrix, ids are positions counted from 0"
        else:
            made = Interactions.from_arrays(*arrays.values(), duplicates=duplicates)
            made.source = f"{path.name}: arrays {', '.join(map(repr, arrays))}"
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    return made


def _id_arrays(path: Path, archive: Any, columns: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of users, items and perhaps values, in this order."""
    names = archive.files
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
            raise ValueError(f"{path}: no {kind} {what}; the file has {', '.join(map(repr, names)) or 'none'}")
        picked.append(wanted)
    return {name: archive[name] for name in picked}


def _read_matrix_market(path: Path) -> Interactions:
    try:
        with open_bytes(path) as file:
            matrix = io.mmread(file, spmatrix=False)
        if not sparse.issparse(matrix):
            raise ValueError("a dense array, wanted coordinates")
        made = Interactions(matrix)
    except (TypeError, ValueError, OverflowError, EOFError, OSError) as error:
        raise ValueError(f"{path}: this is no usable MatrixMarket file ({error})") from None
    made.source = f"{path.name}: MatrixMarket, ids are positions counted from 0"
    return made
