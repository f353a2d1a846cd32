"""Argument validation: each argument is checked and converted to canonical form once, here."""

from __future__ import annotations

import functools
import numbers
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastals.core.canonical import canonical_csr, canonical_row, kept_entries
from fastals.core.rows import Rows
from fastals.core.stored import StoredInteractions

LARGEST_INT32 = np.iinfo(np.int32).max


class UnknownIdError(KeyError, ValueError):
    """An id that is not among the known users or items."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the message in quotes


def describe(value: Any) -> str:
    """Short description of a value for an error message: type, and shape and dtype where it has them."""
    text = type(value).__name__
    if hasattr(value, "shape"):
        return f"{text} of shape {value.shape}{f' and dtype {value.dtype}' if hasattr(value, 'dtype') else ''}"
    shown = " ".join(repr(value).split())
    return f"{text} {shown if len(shown) <= 60 else shown[:57] + '...'}"


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return a string that is one of ``choices``, or raise ValueError."""
    if not isinstance(value, str) or value not in choices:
        wanted = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {wanted}; got {describe(value)}")
    return value


def is_auto(value: Any) -> bool:
    """Whether a parameter is the string "auto"."""
    return isinstance(value, str) and value == "auto"


def is_true(name: str, value: Any) -> bool:
    """Whether a Boolean (of Python or NumPy, an array of shape () too) is true; None is false, all else a TypeError."""
    if value is None:
        return False
    if isinstance(value, (bool, np.bool_)) or (
        isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype == bool
    ):
        return bool(value)
    raise TypeError(f"{name} must be True, False or None; got {describe(value)}")


def check_integer(name: str, value: Any, minimum: int, maximum: int | None = None) -> int:
    """Return an int in minimum .. maximum; TypeError for other types, bool among them, ValueError outside."""
    if type(value) is int and minimum <= value and (maximum is None or value <= maximum):
        return value
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer >= {minimum}; got {describe(value)}")
    if value < minimum:
        raise ValueError(f"{name} must be >= {minimum}; got {value}")
    if maximum is not None and int(value) > maximum:
        raise ValueError(f"{name} must be <= {maximum}; got {value}")
    return int(value)


def check_real(name: str, value: Any, *, positive: bool = False) -> float:
    """Return a finite non-negative (or positive) float; TypeError for other types, ValueError out of range."""
    if type(value) is float and 0 < value < np.inf:  # the common case; abstract classes are slow to ask
        return value
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a real number; got {describe(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = np.inf
    if not np.isfinite(number) or number < 0 or (positive and number == 0):
        raise ValueError(f"{name} must be finite and {'> 0' if positive else '>= 0'}; got {value}")
    return number


def check_pair(name: str, value: Any) -> tuple[Any, Any]:
    """Return (users, items) of one value, which stands for both, or of two; ValueError for another number of them."""
    several = isinstance(value, (tuple, list)) or getattr(value, "ndim", 0) > 0
    pair = value if several else (value, value)
    if not isinstance(pair, (tuple, list, np.ndarray)) or len(pair) != 2:
        raise ValueError(f"{name} must be one number or (users, items); got {describe(value)}")
    return pair[0], pair[1]


def check_dtype(value: Any) -> np.dtype:
    """Return float32 or float64 as a dtype, or raise ValueError."""
    try:
        dtype: np.dtype = np.dtype(value)
    except (TypeError, ValueError, SyntaxError):
        raise ValueError(f"dtype must be float32 or float64; got {describe(value)}") from None
    if value is None or dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype must be float32 or float64; got {describe(value)}")
    return dtype


def is_sparse(value: Any) -> bool:
    """Whether a value is a SciPy sparse matrix or array (what ``issparse`` tells a type checker has no shape)."""
    return sp.issparse(value)


def _way_to_sparse(value: Any) -> str:
    """What to do with a value that should have been a sparse matrix, as the end of an error message."""
    if isinstance(value, np.ndarray | list | tuple):
        return "; wrap it in scipy.sparse.csr_array"
    if hasattr(value, "user_items"):
        return "; pass its attribute user_items"
    if hasattr(value, "columns"):
        return "; fastals.interactions.Interactions.from_dataframe makes one of a table of users, items and values"
    return ""


def _check_sparse(matrix: Any, name: str, shape: tuple[int | None, int | None]) -> None:
    """Raise unless ``matrix`` is a two-dimensional real sparse matrix of the wanted shape (None: any)."""
    if not is_sparse(matrix):
        raise TypeError(
            f"{name} must be a SciPy sparse matrix or array; got {describe(matrix)}{_way_to_sparse(matrix)}"
        )
    if matrix.ndim != 2:
        raise ValueError(f"{name} must have two dimensions, users and items; got shape {matrix.shape}")
    if matrix.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers; got dtype {matrix.dtype}")
    _check_shape(matrix, name, shape)


def _check_shape(matrix: Any, name: str, shape: tuple[int | None, int | None]) -> None:
    """ValueError unless ``matrix`` is of the wanted shape (None: any)."""
    for axis, wanted in enumerate(shape):
        if wanted is not None and matrix.shape[axis] != wanted:
            expected = tuple("any" if size is None else size for size in shape)
            turned = wanted == matrix.shape[1 - axis] and shape[1 - axis] in (None, matrix.shape[axis])
            hint = "; it looks transposed" if turned else ""
            raise ValueError(f"{name} must have shape {expected}; got {matrix.shape}{hint}".replace("'", ""))


def as_type(data: np.ndarray, dtype: np.dtype, name: str) -> np.ndarray:
    """Values in the model's type; ValueError where they overflow it."""
    if data.size and np.abs(data).max() > np.finfo(dtype).max:
        raise ValueError(
            f"{name} has values beyond the range of {dtype}: {np.abs(data).max():.3g}; use dtype='float64'"
        )
    return np.ascontiguousarray(data, dtype=dtype)


def _check_preference(
    preference: Any, indptr: np.ndarray, indices: np.ndarray, name: str, n_columns: int
) -> np.ndarray:
    """Preferences, float64, of the stored pattern of a matrix; ValueError for another pattern."""
    _check_sparse(preference, "preference", (indptr.size - 1, n_columns))
    other = canonical_csr(preference, "preference")
    if not (np.array_equal(indptr, other.indptr) and np.array_equal(indices, other.indices)):
        raise ValueError(
            f"preference must have the stored pattern of {name}: {other.nnz} against {indices.size} entries"
        )
    return other.data.astype(np.float64)


def _check_stored(
    matrix: StoredInteractions, name: str, shape: tuple[int | None, int | None], preference: Any, allow_empty: bool
) -> tuple[Rows, np.ndarray | None]:
    """Rows of stored interactions, which are canonical, and preferences; as ``check_rows``."""
    _check_shape(matrix, name, shape)
    rows, phi = matrix.rows, None
    if not allow_empty and not rows.indices.size:
        raise ValueError(f"{name} must have at least one stored value; got none")
    if preference is not None:
        phi = _check_preference(preference, rows.indptr, rows.indices, name, rows.shape[1])
    return rows, phi


def check_rows(
    matrix: Any,
    name: str,
    *,
    shape: tuple[int | None, int | None] = (None, None),
    preference: Any = None,
    allow_empty: bool = True,
) -> tuple[Rows, np.ndarray | None]:
    """Bring interactions, and preferences on the same pattern, into canonical form.

    Parameters
    ----------
    matrix : sparse matrix or array, or StoredInteractions
        Left unchanged. Stored zeros are not observations and are dropped.
    name : str
        For error messages.
    shape : pair of int or None
        Wanted shape.
    preference : sparse matrix or array, optional
        Same shape and stored pattern as ``matrix``; its zeros are kept.
    allow_empty : bool
        Whether a matrix without rows, columns or stored values is accepted.

    Returns
    -------
    rows : Rows
        With float32 values if ``matrix`` has such, else float64. Shares memory with it where it can.
    phi : (nnz,) float64 array or None
        Preferences of the same entries.

    Raises
    ------
    TypeError, ValueError
    """
    single = canonical_row(matrix, shape) if preference is None and allow_empty else None
    if single is not None:
        return single, None
    if isinstance(matrix, StoredInteractions):
        return _check_stored(matrix, name, shape, preference, allow_empty)
    _check_sparse(matrix, name, shape)
    if not allow_empty and 0 in matrix.shape:
        raise ValueError(f"{name} must have at least one row and one column; got shape {matrix.shape}")
    csr = canonical_csr(matrix, name)
    if csr.shape[0] > LARGEST_INT32 or csr.shape[1] > LARGEST_INT32:
        raise ValueError(f"{name} must have fewer than 2^31 rows and columns; got shape {csr.shape}")
    phi = None
    if preference is not None:
        phi = _check_preference(preference, csr.indptr, csr.indices, name, csr.shape[1])
    indptr, indices, data = csr.indptr, csr.indices, csr.data
    kept = data != 0
    if not kept.all():
        indptr, indices = kept_entries(csr, kept)
        data, phi = data[kept], phi if phi is None else phi[kept]
    if not allow_empty and not data.size:
        raise ValueError(f"{name} must have at least one stored value that is not zero; got none")
    if data.size and data.min() == data.max():
        data = data[:1]
    # Strided or unaligned arrays would have every kernel compiled anew.
    indices, data = (np.require(array, dtype, ["C", "A"]) for array, dtype in ((indices, np.int32), (data, None)))
    return Rows(indptr.astype(np.int64), indices, data, csr.shape), phi


def row_of(matrix: Any, row: int, name: str, n_columns: int) -> Rows:
    """One row of interactions in canonical form, for the price of the row alone where it can be had."""
    if isinstance(matrix, StoredInteractions):
        _check_shape(matrix, name, (None, n_columns))
        return matrix.rows.taken(np.array([row]))
    _check_sparse(matrix, name, (None, n_columns))
    if matrix.format == "csr":
        first, end = (int(pointer) for pointer in matrix.indptr[row : row + 2])
        if not 0 <= first <= end <= min(len(matrix.indices), len(matrix.data)):
            raise ValueError(f"{name} has pointers {first} .. {end} to its {len(matrix.indices)} indices")
        pointers = np.array([0, end - first])
        parts = matrix.data[first:end], matrix.indices[first:end], pointers
        matrix, row = sp.csr_array(parts, shape=(1, n_columns)), 0
    return check_rows(matrix, name)[0].taken(np.array([row]))


def check_interactions(matrix: Any, name: str = "user_items", dtype: Any = np.float32) -> sp.csr_array:
    """Canonical copy of a sparse matrix: CSR, sorted, duplicates summed, zeros dropped, values of ``dtype``.

    Raises
    ------
    TypeError, ValueError
        As ``check_rows``.
    """
    rows, _ = check_rows(matrix, name)
    data = as_type(rows.data, np.dtype(dtype), name)
    data = data.copy() if data.size == rows.indices.size else np.full(rows.indices.size, data[0])
    return sp.csr_array((data, rows.indices.copy(), rows.indptr.copy()), shape=rows.shape)


def as_array(value: Any, name: str) -> np.ndarray:
    """Array of any value; TypeError where it has no shape, ValueError where parts of it are masked."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise TypeError(f"{name} must be an array; got {describe(value)}: {error}") from None
    if np.ma.is_masked(value):
        raise ValueError(f"{name} must not be masked; got {describe(value)}")
    return array


@functools.lru_cache(maxsize=64)
def largest_factor(shape: tuple[int, ...], dtype: np.dtype) -> float:
    """Size below which no product of two rows of factors overflows: (largest number / factors)^1/2."""
    return float(np.sqrt(np.finfo(dtype).max / shape[-1]))


def check_factors(value: Any, name: str, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """Contiguous copy of given factors in the model's type; TypeError or ValueError where they do not fit."""
    array = as_array(value, name)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers; got {describe(value)}")
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}; got {array.shape}")
    with np.errstate(over="ignore", under="ignore"):
        factors = np.array(array, dtype=dtype, order="C")
    if not np.isfinite(factors).all():
        raise ValueError(f"{name} must be finite in {dtype}; got values that are not")
    if array.any() and not factors.any():
        raise ValueError(f"{name} must not vanish in {dtype}; got {np.abs(array).max():.3g} at the most")
    limit = largest_factor(shape, dtype)
    if factors.size and max(factors.max(), -factors.min()) >= limit:
        raise ValueError(f"{name} must stay below {limit:.3g} in {dtype}; got {np.abs(factors).max():.3g}")
    return factors


def check_given_factors(value: Any, name: str, dtype: Any) -> np.ndarray:
    """Copy of factors of any number of rows; TypeError or ValueError where they are not factors."""
    array = as_array(value, name)
    if array.ndim != 2 or not array.shape[1]:
        raise ValueError(f"{name} must have two dimensions; got shape {array.shape}")
    return check_factors(value, name, array.shape, check_dtype(dtype))


def check_products(factors: np.ndarray, name: str) -> None:
    """FloatingPointError where factors have grown so large that their products may overflow."""
    limit = largest_factor(factors.shape, factors.dtype)
    if factors.shape[0] == 1 and np.vdot(factors, factors) < limit:  # so each is below its root; takes a tenth
        return
    if factors.size and not max(factors.max(), -factors.min()) < limit:
        raise FloatingPointError(
            f"{name} have grown beyond {limit:.3g}, where scores overflow {factors.dtype}; "
            "raise regularization, or scale user_items or given factors"
        )


def check_ids(value: Any, name: str, size: int) -> np.ndarray:
    """Integer ids of shape () or (n,) in 0 .. size - 1, as int64.

    Raises
    ------
    UnknownIdError
        With the first that lies outside.
    TypeError, ValueError
        For what is not integers, or of another shape.
    """
    if type(value) is int and 0 <= value < size:
        return np.array(value)
    ids = as_array(value, name)
    if ids.size == 0 and ids.ndim == 1:
        return np.empty(0, np.int64)
    if ids.dtype == object and isinstance(value, numbers.Integral):
        raise UnknownIdError(f"{name} must lie in 0 .. {size - 1}; got {value}")
    if ids.dtype.kind not in "iu":
        hint = "; Interactions.user_index and item_index turn names into numbers" if ids.dtype.kind in "OSU" else ""
        raise TypeError(f"{name} must be an integer or an array of integers; got {describe(value)}{hint}")
    if ids.ndim > 1:
        raise ValueError(f"{name} must be a scalar or one-dimensional; got shape {ids.shape}")
    if ids.min() < 0 or ids.max() >= size:
        outside = (ids < 0) | (ids >= size)
        first = np.atleast_1d(ids)[np.atleast_1d(outside)][0]
        raise UnknownIdError(f"{name} must lie in 0 .. {size - 1}; got {first}")
    return ids.astype(np.int64)


def check_random_state(random_state: Any) -> np.random.Generator:
    """Generator of a seed, a Generator or a RandomState (whose stream is advanced), or of fresh entropy for None."""
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(0, 2**32, size=4, dtype=np.uint32))
    if random_state is not None and not isinstance(random_state, np.random.Generator):
        check_integer("random_state", random_state, 0)
    return np.random.default_rng(random_state)


def read_only(array: np.ndarray) -> np.ndarray:
    """View of an array through which it cannot be changed; the array itself, if it is one."""
    if not array.flags.writeable:
        return array
    view = array.view()
    view.flags.writeable = False
    return view
