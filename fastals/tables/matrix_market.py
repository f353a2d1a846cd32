"""Sparse matrices in the MatrixMarket format (Boisvert, Pozo, Remington, NIST 1996).

Not by way of SciPy, whose reader a damaged file can bring to write where it must not, or to end the process: here the
text is cut by NumPy, and nothing is allocated on the word of the header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np
from scipy import sparse

from fastals.core.safe_open import brief, check_proportion, open_text, text_errors

__all__ = ["read_matrix_market"]

_SIZES = re.compile(r"\s*([0-9]{1,18}\s+){2}[0-9]{1,18}\s*", re.ASCII)
_FIELDS = ("real", "double", "integer", "unsigned-integer", "pattern")
_MIRRORED = {"general": 0, "symmetric": 1, "hermitian": 1, "skew-symmetric": -1}


def read_matrix_market(path: Path) -> sparse.coo_array:
    """Read a coordinate file of real numbers, plain or gzip; the other half of a symmetric one is filled in.

    Raises
    ------
    ValueError
        Naming the file, and what in it is not as it should be.
    """
    try:
        with text_errors(path), open_text(path) as file:
            columns, sign = _kind(file.readline())
            lines = _content(file)
            line = next(lines, "")
            if not _SIZES.fullmatch(line):
                raise ValueError(f"its line of sizes is {line[:60]!r}, wanted numbers of rows, columns and entries")
            n_rows, n_columns, n_stored = map(int, line.split())
            first = next(lines, None)
            table = np.empty((0, columns)) if first is None else np.loadtxt(chain([first], file), ndmin=2, comments="%")
        if table.shape != (n_stored, columns):
            raise ValueError(f"it has {len(table)} lines of {table.shape[1]} numbers, wanted {n_stored} of {columns}")
        shape = n_rows, n_columns
        if sign and n_rows != n_columns:
            raise ValueError(f"a symmetric matrix of shape {shape} is not square")
        check_proportion(path, shape, n_stored)
        rows, cols = (_positions(table[:, side], name, shape[side]) for side, name in enumerate(("row", "column")))
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path}: this is not a usable MatrixMarket file ({brief(error)})") from None
    values = table[:, 2] if columns == 3 else np.ones(n_stored)
    if sign:
        apart = rows != cols
        rows, cols = np.concatenate((rows, cols[apart])), np.concatenate((cols, rows[apart]))
        values = np.concatenate((values, sign * values[apart]))
    return sparse.coo_array((values, (rows, cols)), shape=shape)


def _kind(line: str) -> tuple[int, int]:
    """Numbers in a line, and by what the mirrored entries are multiplied (0: there are none), of the first line."""
    words = line.lower().split()
    if len(words) != 5 or words[1] != "matrix" or words[2] not in ("coordinate", "array"):
        raise ValueError(f"it begins with {line[:60]!r}, wanted '%%MatrixMarket matrix coordinate real general'")
    if words[2] == "array":
        raise ValueError("a dense array, wanted coordinates")
    if words[3] not in _FIELDS or words[4] not in _MIRRORED:
        raise ValueError(f"it says {line[:60]!r}, wanted one of {', '.join(_FIELDS)} and of {', '.join(_MIRRORED)}")
    return 2 if words[3] == "pattern" else 3, _MIRRORED[words[4]]


def _content(file: TextIO) -> Iterator[str]:
    """The lines that are neither comments nor blank."""
    return (line for line in file if line.strip() and not line.lstrip().startswith("%"))


def _positions(numbers: np.ndarray, name: str, length: int) -> np.ndarray:
    """Indices from 0, of numbers that are to be whole and 1 to length."""
    good = (numbers >= 1) & (numbers <= length) & (numbers == np.floor(numbers))
    if not good.all():
        raise ValueError(f"entry {np.argmin(good) + 1} is in {name} {numbers[np.argmin(good)]:g} of 1 to {length}")
    return numbers.astype(np.int64) - 1
