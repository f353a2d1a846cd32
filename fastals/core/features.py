"""What is known of users or items besides their pairs: a row of features for each, and what the features predict.

A row's factors are drawn towards z = A' f, its features f times their effects A, with the strength lambda that draws
rows without features towards zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from fastals.core.overlay import History
from fastals.core.rows import Rows
from fastals.core.validation import as_array, check_rows, describe, is_sparse


class Features(NamedTuple):
    """Features of one side's rows, and their effects.

    rows : History
        Canonical rows (n, d), of the users or of the items; those that are added without features have none.
    effects : (d, factors) float64 array
        A (or B, of the items): z = A' f.
    """

    rows: History
    effects: np.ndarray

    @property
    def n_features(self) -> int:
        """d, the number of features."""
        return int(self.effects.shape[0])


class NamedFeatures:
    """A matrix of features whose columns have names; taken wherever a matrix of features is.

    Parameters
    ----------
    matrix : csr_array (n, d)
    names : sequence of str
        One for each column.

    Raises
    ------
    ValueError
        For another number of names.
    """

    def __init__(self, matrix: sp.csr_array, names: Sequence[str]) -> None:
        if len(names) != matrix.shape[1]:
            raise ValueError(f"names must be one for each of {matrix.shape[1]} columns; got {len(names)}")
        self.matrix, self.names = matrix, tuple(names)


def feature_names(value: Any) -> tuple[str, ...] | None:
    """Names of features, if they have any."""
    return value.names if isinstance(value, NamedFeatures) else None


def check_features(value: Any, name: str, shape: tuple[int | None, int | None]) -> Rows:
    """Canonical rows of features: of a dense array, any sparse matrix, or NamedFeatures; stored zeros are dropped.

    Parameters
    ----------
    value : (n, d) array, sparse matrix or NamedFeatures, or (d,) for one row
        Finite real numbers. Left unchanged.
    name : str
        For error messages.
    shape : pair of int or None
        Wanted shape.

    Raises
    ------
    TypeError, ValueError
        For anything else.
    """
    if isinstance(value, NamedFeatures):
        value = value.matrix
    given = value
    if not is_sparse(value):
        array = as_array(value, name)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{name} must hold real numbers, in an array or a sparse matrix; got {describe(value)}")
        array = array[None] if array.ndim == 1 else array
        if array.ndim != 2:
            raise ValueError(f"{name} must have shape (rows, features); got {array.shape}")
        value = sp.csr_array(array)
    elif value.ndim == 1:
        value = value.reshape(1, -1)
    if value.shape[1] == 0:
        raise ValueError(f"{name} must have at least one column; got shape {value.shape}")
    return check_rows(value, name, shape=shape)[0].apart_from(given)
