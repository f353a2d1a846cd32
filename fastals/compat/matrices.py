"""Matrices as implicit takes them: CSR, or converted with a warning, or refused; rows and norms of factors."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastals.core.types import Array
from fastals.core.validation import describe, is_sparse

SMALLEST_NORM = 1e-10


class ParameterWarning(Warning):
    """An argument had to be converted before it could be used."""


def as_csr(user_items: Any) -> sp.csr_array:
    """A matrix as CSR, with a warning where it has to be converted."""
    if not is_sparse(user_items):
        raise TypeError(f"user_items must be a sparse matrix; got {describe(user_items)}")
    if user_items.format != "csr":
        began = time.perf_counter()
        user_items = user_items.tocsr()
        warnings.warn(
            f"user_items should be CSR; converting it took {time.perf_counter() - began:.2g} s",
            ParameterWarning,
            stacklevel=3,
        )
    return user_items


def rows_for(ids: Any, matrix: Any, name: str) -> Any:
    """CSR with one row for each id, or ValueError."""
    if not is_sparse(matrix) or matrix.format != "csr":
        raise ValueError(f"{name} must be a CSR matrix; got {describe(matrix)}")
    if matrix.shape[0] != np.size(ids):
        raise ValueError(f"{name} must have one row for each of {np.size(ids)} ids; got shape {matrix.shape}")
    return matrix


def with_rows(factors: Array, ids: Any, values: Array) -> Array:
    """Factors with some rows replaced, and zero rows before those that lie beyond the last."""
    places = np.atleast_1d(ids)
    n_rows = max(len(factors), int(places.max(initial=-1)) + 1)
    grown = np.zeros((n_rows, factors.shape[1]), factors.dtype)
    grown[: len(factors)] = factors
    grown[places] = values
    return grown


def norms_of(factors: Array) -> Array:
    """Norms of rows, none of them zero."""
    norms: Array = np.maximum(np.linalg.norm(factors, axis=1), factors.dtype.type(SMALLEST_NORM))
    return norms
