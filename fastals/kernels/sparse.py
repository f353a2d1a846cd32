"""Sparse structure: the transpose of CSR rows, and whether a row is canonical."""

import numpy as np

from fastals.kernels.jit import compiled


@compiled
def transpose(indptr, indices, values, out_indptr, out_indices, out_values):
    """Transpose CSR rows in linear time, without memory besides the result and one counter a column.

    Writes ``out_indptr`` (n_columns + 1,) int64, ``out_indices`` (nnz,), which come out sorted, and, unless they are
    empty, the values (nnz,) in their new order to ``out_values``; all in place.
    """
    out_indptr[:] = 0
    for t in range(indices.shape[0]):
        out_indptr[indices[t] + 1] += 1
    for i in range(1, out_indptr.shape[0]):
        out_indptr[i] += out_indptr[i - 1]
    ends = out_indptr[:-1].copy()
    for u in range(indptr.shape[0] - 1):
        for t in range(indptr[u], indptr[u + 1]):
            place = ends[indices[t]]
            ends[indices[t]] = place + 1
            out_indices[place] = np.int32(u)
            if out_values.shape[0] > 0:
                out_values[place] = values[t]


@compiled
def row_form(indices, values, n_columns):
    """Form of one CSR row: 0 not canonical, 1 canonical, 2 canonical with equal values.

    Canonical: indices rise and lie in 0 .. n_columns - 1, values are finite and not zero.
    """
    before, equal = np.int64(-1), True
    for t in range(indices.shape[0]):
        column, value = np.int64(indices[t]), values[t]
        if column <= before or column >= n_columns or value == 0 or not np.isfinite(value):
            return 0
        before = column
        equal &= value == values[0]
    return 2 if equal and indices.shape[0] > 0 else 1
