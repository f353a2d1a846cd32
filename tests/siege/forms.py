"""The same ratings in every form in which a caller may pass them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from .choices import Choices

FORMATS = {"csr": 6, "csc": 2, "coo": 2, "bsr": 1, "lil": 1, "dok": 1, "dia": 1}
VALUE_TYPES = {
    "float64": 6, "float32": 6, "bool": 1, "int8": 1, "uint8": 1, "int16": 1, "uint16": 1, "int32": 1, "uint32": 1,
    "int64": 1, "uint64": 1, "longdouble": 1, ">f8": 1, ">f4": 1, ">i4": 1,
}  # fmt: skip
STEP = 2.0**-6  # values are multiples of it, or duplicates are halves: their sums are exact in any order
LARGEST_DIA = 12  # rows and columns: beyond, diagonals are mostly zeros


@dataclass(frozen=True)
class Form:
    """How a matrix is stored."""

    format: str
    container: str  # "array" or "matrix"
    value_type: str
    duplicates: bool
    cancelled: bool  # duplicates that sum to zero
    zeros: bool  # stored zeros
    unsorted: bool
    wide_indices: bool
    read_only: bool

    @property
    def kind(self) -> str:
        """NumPy's letter: b, i, u or f."""
        return np.dtype(self.value_type).kind


def draw_form(choices: Choices, shape: tuple[int, int]) -> Form:
    """A form; three in ten are the plain csr_array of float64."""
    if choices.chance("plain form", 0.3):
        return Form("csr", "array", "float64", *(False,) * 6)
    form = choices.weighted("format", FORMATS)
    value_type = choices.weighted("value type", VALUE_TYPES)
    if form == "dia" and max(shape) > LARGEST_DIA:
        form = "csr"
    if form in ("lil", "dok", "dia") and value_type[0] == ">":
        value_type = "float32"
    compressed = form in ("csr", "csc")
    repeats = compressed or form == "coo"
    return Form(
        form,
        "matrix" if choices.chance("matrix", 0.3) else "array",
        value_type,
        duplicates=repeats and choices.chance("duplicates", 0.3),
        cancelled=repeats and np.dtype(value_type).kind in "if" and choices.chance("cancelled", 0.2),
        zeros=repeats and choices.chance("zeros", 0.2),
        unsorted=compressed and choices.chance("unsorted", 0.3),
        wide_indices=compressed and choices.chance("wide indices", 0.3),
        read_only=form in ("csr", "csc", "bsr") and choices.chance("read-only", 0.3),
    )


def draw_values(choices: Choices, form: Form, count: int) -> np.ndarray:
    """Values as float64, none of them zero, each of them exact in the form's type, and so are its parts."""
    random = choices.generator("values")
    if form.kind == "b":
        return random.integers(1, 3 if form.duplicates else 2, count).astype(np.float64)
    kind = choices.weighted("values", {"stars": 3, "counts": 2, "uniform": 3, "equal": 2, "decades": 1})
    if kind == "stars":
        values = random.integers(1, 6, count).astype(np.float64)
    elif kind == "counts":
        values = np.ceil(random.pareto(0.8, count)).clip(1, 1e5)
    elif kind == "uniform":
        values = random.uniform(STEP, 4, count)
    elif kind == "equal":
        values = np.full(count, random.integers(1, 4), np.float64)
    else:
        values = (10.0 ** random.uniform(-4, 4, count)).astype(np.float32).astype(np.float64)
    if form.kind in "iu":
        info = np.iinfo(form.value_type)
        values = np.ceil(values).clip(1, min(info.max, 10**5))
    elif kind != "decades":
        values = np.maximum(np.round(values / STEP), 1) * STEP
    if form.kind in "if" and choices.chance("dislikes", 0.3):
        values[random.random(count) < choices.pick("share of dislikes", (0.1, 0.5, 1.0))] *= -1
    return values.clip(-100, None) if form.value_type == "int8" else values


def dressed(choices: Choices, form: Form, ratings: np.ndarray) -> Any:
    """The ratings as a sparse matrix of that form; its order, duplicates and zeros are drawn."""
    random = choices.generator("dressing")
    rows, columns = np.nonzero(ratings)
    values = ratings[rows, columns]
    if form.duplicates:
        first = _parts(form, values)
        rows, columns = np.tile(rows, 2), np.tile(columns, 2)
        values = np.concatenate((first, values - first))
        kept = values != 0
        rows, columns, values = rows[kept], columns[kept], values[kept]
    for wanted, added in ((form.cancelled, (3.0, -3.0)), (form.zeros, (0.0,))):
        if wanted:
            more = random.integers(0, ratings.shape, (3, 2))
            for value in added:
                rows, columns = np.append(rows, more[:, 0]), np.append(columns, more[:, 1])
                values = np.append(values, np.full(3, value))
    order = random.permutation(rows.size)
    triplets = values[order], rows[order], columns[order]
    return _assembled(form, *triplets, ratings.shape)


def _parts(form: Form, values: np.ndarray) -> np.ndarray:
    """What the first of two duplicates holds: half of a float, half of an integer rounded down, one of two Trues."""
    return values / 2 if form.kind == "f" else np.trunc(values / 2)


def _assembled(form: Form, values: np.ndarray, rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> Any:
    native = np.dtype(form.value_type).newbyteorder("=")
    values = values.astype(native)
    if form.format in ("csr", "csc"):
        matrix = _compressed(form, values, rows, columns, shape)
    else:
        matrix = getattr(sp, f"coo_{form.container}")((values, (rows, columns)), shape=shape)
        if form.format == "bsr":
            block = tuple(2 if length % 2 == 0 else 1 for length in shape)
            matrix = getattr(sp, f"bsr_{form.container}")(matrix.toarray(), blocksize=block)
        elif form.format != "coo":
            matrix = matrix.asformat(form.format)
    if form.value_type[0] == ">":
        matrix.data = matrix.data.astype(form.value_type)
    if form.read_only:
        for array in (matrix.data, matrix.indices, matrix.indptr):
            array.flags.writeable = False
    return matrix


def _compressed(form: Form, values: np.ndarray, rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> Any:
    """CSR or CSC with its duplicates, in the order of the triplets if unsorted; SciPy would sum and sort them."""
    major, minor, length = (rows, columns, shape[0]) if form.format == "csr" else (columns, rows, shape[1])
    order = np.argsort(major, kind="stable") if form.unsorted else np.lexsort((minor, major))
    indptr = np.searchsorted(major[order], np.arange(length + 1))
    matrix = getattr(sp, f"{form.format}_{form.container}")(shape, dtype=values.dtype)
    width = np.int64 if form.wide_indices else np.int32
    matrix.data = values[order]
    matrix.indices, matrix.indptr = minor[order].astype(width), indptr.astype(width)
    return matrix


def pattern_of(matrix: Any) -> np.ndarray:
    """Boolean (rows, columns): the pairs that a matrix stores, explicit zeros and sums of zero among them."""
    native = matrix.astype(np.float64)
    held = sp.coo_array(sp.csr_array(native) if matrix.format == "dia" else native)
    pattern = np.zeros(matrix.shape, bool)
    pattern[held.row, held.col] = True
    return pattern
