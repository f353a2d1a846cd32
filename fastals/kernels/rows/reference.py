"""The half-sweep as a textbook has it: the reference that the fast kernels are tested against.

Every row of the fixed side's system is formed from the row's stored pairs alone, with c0 Y'Y for all that is not
stored, and solved in place by Cholesky's method. ``cg_rows`` forms no matrix, ``direct_rows`` forms it in tiles of the
eigenbasis; both return these solutions, and ten times faster or more.
"""

import numpy as np
from numba import prange

from fastals.kernels.jit import compiled_parallel
from fastals.kernels.rows.row import extra_of, target_of, value_of


@compiled_parallel
def solve_rows_by_the_book(entries, Y, gramian, regularization, X):
    """Solve (c0 v_u Y' diag(w) Y + lambda_u I + sum_t extra_t y_t y_t') x_u = sum_t target_t y_t for every row u of X.

    Parameters
    ----------
    entries : Entries
        The stored pairs; see ``rows.row``.
    Y : (n, k) array
        Factors of the other side.
    gramian : (k, k) float64 array
        c0 Y' diag(w) Y.
    regularization : (n_rows,) float64 array
        lambda of each row.
    X : (n_rows, k) float64 array
        Solutions (output, in place).
    """
    k = Y.shape[1]
    for u in prange(X.shape[0]):
        row_weight = value_of(entries.row_weights, np.int64(u))
        A, x = row_weight * gramian, X[u]
        x[:] = 0  # the right-hand side first
        for i in range(k):
            A[i, i] += regularization[u]
        for t in range(entries.indptr[u], entries.indptr[u + 1]):
            y, weight = Y[entries.indices[t]], value_of(entries.weight, t)
            relative = row_weight * value_of(entries.column_weights, entries.indices[t])
            extra = extra_of(weight, entries.shift, entries.missing, relative)
            target = target_of(weight, entries.offset, value_of(entries.preference, t))
            for i in range(k):
                x[i] += target * y[i]
                for j in range(i + 1):
                    A[i, j] += extra * y[i] * y[j]
        for j in range(k):  # A = L L', and L z = b
            for i in range(j, k):
                for s in range(j):
                    A[i, j] -= A[i, s] * A[j, s]
                A[i, j] = np.sqrt(A[j, j]) if i == j else A[i, j] / A[j, j]
            for s in range(j):
                x[j] -= A[j, s] * x[s]
            x[j] /= A[j, j]
        for j in range(k - 1, -1, -1):  # L' x = z
            for s in range(j + 1, k):
                x[j] -= A[s, j] * x[s]
            x[j] /= A[j, j]
