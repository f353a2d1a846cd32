"""Columns of a file, whatever they hold, and what they look like: numbers, categories, lists of tags, or text."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastals.core.safe_open import open_regular, text_errors
from fastals.tables.database import (
    check_lines,
    connection,
    csv_scan,
    errors_name,
    first_lines,
    json_compression,
    quoted,
    transcoded,
    without_wildcards,
)
from fastals.tables.encoding import is_missing
from fastals.tables.layout import Columns, is_number, layout_of_text
from fastals.tables.numbering import compression_of
from fastals.tables.scans import rejection

ROWS_A_CATEGORY = 5  # on average, from which on texts that repeat are categories


def read_columns(path: str | Path, encoding: str = "utf-8") -> dict[str, list[Any]]:
    """All columns of delimited text with a header, Parquet, or JSON lines, by their names.

    Cells of delimited text are text, or None where they are empty; those of the others have the types that they have.

    Raises
    ------
    ImportError
        If DuckDB is not installed.
    ValueError
        If the file cannot be read as a table, or a name comes twice; the message names the file.
    """
    path = Path(path)
    with errors_name(path), text_errors(path), connection() as con, tempfile.TemporaryDirectory() as folder:
        scan, names = _scan(con, path, encoding, Path(folder))
        try:
            cursor = con.execute(f"select * from {scan}")
            names = names or tuple(column[0] for column in cursor.description)
            rows = cursor.fetchall()
        except Exception as error:  # of DuckDB, whose module only the connection knows
            found = re.match(r"Invalid Input Error: CSV Error on Line: (\d+)", str(error))
            if not found:
                raise
            raise ValueError(f"line {found[1]}: {rejection(str(error))}") from None
        if not rows:
            raise ValueError("the file has no rows")
        if len(set(names)) < len(names):
            raise ValueError(f"a column's name comes more than once among {', '.join(map(repr, names))}")
        return {name: list(cells) for name, cells in zip(names, zip(*rows, strict=True), strict=True)}


def _scan(con: Any, path: Path, encoding: str, folder: Path) -> tuple[str, tuple[str, ...] | None]:
    """Table function in SQL, and the columns' names where the file's header has them."""
    with open_regular(path) as file:
        start = file.read(4)
    compression, named = compression_of(start), without_wildcards(path, folder)
    if start == b"PAR1":
        return f"read_parquet({quoted(str(named))})", None
    if encoding.lower().replace("_", "-") not in ("utf-8", "utf8"):
        named, compression = transcoded(named, compression, encoding, folder), "none"
    lines, skipped = first_lines(con, named, compression)
    if not lines:
        raise ValueError("the file is empty")
    check_lines(named, compression)
    if lines[0].lstrip().startswith(("{", "[")):
        shape = "array" if lines[0].lstrip().startswith("[") else "newline_delimited"
        return f"read_json({quoted(str(named))}, format='{shape}', compression='{json_compression(compression)}')", None
    layout = layout_of_text(lines, skipped, Columns(), None, True)
    quote = '"' if layout.separator in (",", ";") else ""
    head = f", skip={layout.skipped + 1}"
    return csv_scan(named, compression, layout.separator, quote, layout.width, head), layout.names


def column_kinds(columns: Mapping[str, Sequence[Any]], separator: str) -> dict[str, list[str]]:
    """Names of the columns under "numbers", "categories", "lists" and "text", by what their cells look like.

    Lists are those with sequences, or with the separator in a text. Columns without any cell are in none.
    """
    kinds: dict[str, list[str]] = {"numbers": [], "categories": [], "lists": [], "text": []}
    for name, column in columns.items():
        cells = [cell for cell in column if not is_missing(cell)]
        if cells:
            kinds[_kind(cells, separator)].append(name)
    return kinds


def _kind(cells: list[Any], separator: str) -> str:
    if any(isinstance(cell, (list, tuple, np.ndarray)) for cell in cells):
        return "lists"
    if all(_is_number(cell) for cell in cells):
        return "numbers"
    texts = [str(cell) for cell in cells]
    if any(isinstance(cell, str) and separator in cell for cell in cells):
        return "lists"
    return "categories" if ROWS_A_CATEGORY * len(set(texts)) <= len(texts) else "text"


def _is_number(cell: Any) -> bool:
    if isinstance(cell, str):
        return "," not in cell and is_number(cell) and bool(np.isfinite(float(cell)))
    return not isinstance(cell, (bool, np.bool_)) and isinstance(cell, (int, float, np.integer, np.floating))
