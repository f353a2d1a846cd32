"""Sparse rows: their transpose, their products with dense matrices, and whether a row is canonical."""

import numpy as np

from fastals.kernels.jit import compiled, compiled_with_gil


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
def multiply_rows(first, last, indptr, indices, values, scales, X, out):
    """Write sum_t values_t scales_i x_i, i = indices_t, of the rows first .. last to ``out`` in place, in float64.

    ``values`` is (nnz,) and ``scales`` (n,); either may be (1,) where all are equal. ``X`` is (n, k), ``out``
    (n_rows, k or more); columns past k become zero. A row's sum depends on the row alone.
    """
    sums = np.empty(X.shape[1])
    for r in range(first, last):
        sums[:] = 0
        for t in range(indptr[r], indptr[r + 1]):
            i = indices[t]
            value = np.float64(values[0 if values.shape[0] == 1 else t]) * scales[0 if scales.shape[0] == 1 else i]
            for j in range(X.shape[1]):
                sums[j] += value * X[i, j]
        for j in range(X.shape[1]):
            out[r, j] = sums[j]
        for j in range(X.shape[1], out.shape[1]):
            out[r, j] = 0


@compiled
def multiply_task(task, tasks, bounds, indptr, indices, values, scales, X, out):
    """Run ``multiply_rows`` over every ``tasks``-th range of rows, from number ``task`` on; see there.

    Range c is the rows from bounds[c] to bounds[c + 1].
    """
    for c in range(task, bounds.shape[0] - 1, tasks):
        multiply_rows(bounds[c], bounds[c + 1], indptr, indices, values, scales, X, out)


@compiled_with_gil
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
