"""Columns of a table in memory: values and times checked, and the columns of a dataframe."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

__all__ = ["check_times", "check_values", "eager_frame", "frame_columns"]


def check_values(values: Any, size: int) -> np.ndarray | None:
    """Finite numbers, one for each row; TypeError or ValueError for anything else. None stays None."""
    if values is None:
        return None
    numbers = np.asarray(values)
    if numbers.dtype.kind in "mM":
        raise TypeError(f"values must be numbers, got dtype {numbers.dtype}; times are given by time= or times=")
    if numbers.dtype.kind not in "biuf":
        raise TypeError(f"values must be numbers, got {_first_other(values, numbers.dtype)}")
    if numbers.shape != (size,):
        raise ValueError(f"values must have one entry for each of the {size} rows, got shape {numbers.shape}")
    if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
        position = int(np.argmin(np.isfinite(numbers)))
        raise ValueError(f"values must be finite, got {numbers[position]} at position {position}")
    return numbers


def _first_other(values: Any, dtype: np.dtype) -> str:
    """Say what is the first of some values that is no number, and where."""
    for position, value in enumerate(np.asarray(values, object).ravel()):
        if not isinstance(value, Real):
            return f"{value!r:.60} at position {position}"
    return f"dtype {dtype}"


def check_times(times: Any, size: int) -> np.ndarray:
    """Times as int64; datetimes in seconds since 1970."""
    array = np.asarray(times)
    if array.dtype.kind == "M":
        if np.isnat(array).any():
            raise ValueError(f"times must not be missing, got NaT at position {int(np.argmax(np.isnat(array)))}")
        array = array.astype("datetime64[s]").astype(np.int64)
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.trunc(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        way = (
            "; text becomes datetimes by pandas.to_datetime or Polars' str.to_datetime"
            if array.dtype.kind in "OU"
            else ""
        )
        raise TypeError(f"times must be integers or datetimes, got dtype {array.dtype}{way}")
    if array.shape != (size,):
        raise ValueError(f"times must have one entry for each of the {size} rows, got shape {array.shape}")
    return array.astype(np.int64)


def eager_frame(frame: Any) -> Any:
    """A pandas, polars or pyarrow table by way of narwhals; ImportError without it, TypeError for anything else."""
    try:
        import narwhals.stable.v1 as nw
    except ModuleNotFoundError:
        raise ImportError("dataframes need narwhals: pip install 'fastals[tables]'") from None
    try:
        return nw.from_native(frame, eager_only=True)
    except TypeError:
        kind = f"{type(frame).__module__.split('.')[0]} {type(frame).__name__}"
        collected = "; call its collect() first" if hasattr(frame, "collect") else ""
        raise TypeError(f"frame must be a pandas, polars or pyarrow table in memory, got {kind}{collected}") from None


def frame_columns(
    table: Any, user: str, item: str, value: str | None = None, time: str | None = None
) -> list[np.ndarray | None]:
    """Columns of users, items, values and times of an eager frame, None where there is none.

    Raises
    ------
    ValueError
        If a column does not exist (the message lists those that do) or has missing entries.
    """
    columns: list[np.ndarray | None] = []
    for argument, name in (("user", user), ("item", item), ("value", value), ("time", time)):
        if argument in ("value", "time") and name is None:
            columns.append(None)
            continue
        if name not in table.columns:
            raise ValueError(f"{argument}: no column {name!r}; the table has {', '.join(map(repr, table.columns))}")
        missing = table[name].is_null()
        if missing.any():
            raise ValueError(f"{argument}: column {name!r} has a missing entry in row {missing.arg_true()[0]}")
        columns.append(table[name].to_numpy())
    return columns
