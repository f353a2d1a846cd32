"""The transpose of CSR rows against SciPy's, and the forms of rows."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastals.kernels.sparse import row_form, transpose


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (3, 40), (50, 50)])
def test_transpose(shape):
    matrix = sp.random(*shape, 0.3, "csr", random_state=0)
    expected = sp.csr_matrix(matrix.T)
    indptr, indices = np.empty(shape[1] + 1, np.int64), np.empty(matrix.nnz, np.int32)
    values = np.empty(matrix.nnz)

    transpose(matrix.indptr.astype(np.int64), matrix.indices, matrix.data, indptr, indices, values)

    expected.sort_indices()
    for got, wanted in ((indptr, expected.indptr), (indices, expected.indices), (values, expected.data)):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("indices", "values", "expected"),
    [
        ([0, 3, 4], [1, 2, 1], 1),
        ([0, 3, 4], [-2, -2, -2], 2),
        ([4], [7], 2),
        ([], [], 1),
        ([0, 0], [1, 2], 0),
        ([3, 1], [1, 2], 0),
        ([0, 5], [1, 2], 0),
        ([-1, 2], [1, 2], 0),
        ([0, 2], [1, 0], 0),
        ([0, 2], [1, np.nan], 0),
        ([0, 2], [-np.inf, 1], 0),
    ],
)
def test_forms_of_rows(indices, values, expected):
    assert row_form(np.array(indices, np.int32), np.array(values, np.float32), 5) == expected
