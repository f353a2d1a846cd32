"""What repeated pairs of a table become."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import DTypeLike

__all__ = ["Duplicates", "check_duplicates", "merged_values"]

Duplicates = Literal["sum", "mean", "max", "last", "count", "error"]


def check_duplicates(duplicates: str) -> None:
    """ValueError for a rule that is not known."""
    if duplicates not in get_args(Duplicates):
        raise ValueError(f"duplicates must be one of {', '.join(get_args(Duplicates))}, got {duplicates!r}")


def merged_values(
    values: np.ndarray | None,
    order: np.ndarray | None,
    first: np.ndarray,
    size: int,
    duplicates: str,
    dtype: DTypeLike = np.float32,
) -> np.ndarray:
    """One value for each run of equal pairs.

    Parameters
    ----------
    values : (size,) array, optional
        By default every row counts 1.
    order : (size,) int array, optional
        Places of the values in the order of the runs, if they are in another one.
    first : (runs,) int array
        Where each run begins.
    size : int
    duplicates : str
        "sum" (in float64), "mean", "max", "last" or "count"; under "error" there are no repeated pairs.
    dtype : dtype
        Of the result.

    Returns
    -------
    (runs,) array

    Raises
    ------
    ValueError
        Where a result overflows the type.
    """
    counts = np.diff(np.append(first, size))
    with np.errstate(over="ignore"):
        if values is None or duplicates == "count":
            merged = counts if duplicates in ("sum", "count") else np.ones(first.size)
        else:
            ordered = values if order is None else values[order]
            if duplicates == "last":
                merged = ordered[first + counts - 1]
            elif duplicates == "max":
                merged = np.maximum.reduceat(ordered, first)
            else:
                merged = np.add.reduceat(ordered, first, dtype=np.float64)
                merged = merged / counts if duplicates == "mean" else merged
        data = merged.astype(dtype)
    if not np.isfinite(data).all():
        raise ValueError(f"values must fit {np.dtype(dtype)}, got {merged[np.argmin(np.isfinite(data))]}")
    return data
