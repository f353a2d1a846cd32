"""Every form of the input gives the same model, and is left as it was."""

import numpy as np
import pytest
import scipy.sparse as sp
from models import assert_same, small


def shuffled(matrix: sp.csr_array) -> sp.csr_array:
    """The same matrix with the entries of each row in falling order of the columns."""
    edges = zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)
    order = np.concatenate([np.arange(stop - 1, start - 1, -1) for start, stop in edges])
    return sp.csr_array((matrix.data[order], matrix.indices[order], matrix.indptr), matrix.shape)


def duplicated(matrix: sp.csr_array, to: str, dtype: str) -> sp.sparray:
    """The same matrix with every value in two parts, 1 and the rest (which may be 0)."""
    coo = matrix.tocoo()
    rows, columns = (np.concatenate((index, index)) for index in (coo.row, coo.col))
    parts = np.concatenate((np.ones(coo.nnz), coo.data - 1)).astype(dtype)
    if to == "coo":
        return sp.coo_array((parts, (rows, columns)), matrix.shape)
    order = np.argsort(rows, kind="stable")
    indptr = np.searchsorted(rows[order], np.arange(matrix.shape[0] + 1))
    return sp.csr_array((parts[order], columns[order], indptr), matrix.shape)


def wide_indices(matrix: sp.csr_array) -> sp.csr_array:
    got = matrix.copy()
    got.indices, got.indptr = got.indices.astype(np.int64), got.indptr.astype(np.int64)
    return got


def read_only(matrix: sp.csr_array) -> sp.csr_array:
    got = matrix.copy()
    for array in (got.data, got.indices, got.indptr):
        array.flags.writeable = False
    return got


FORMS = {
    "csr_matrix": sp.csr_matrix,
    **{name: lambda m, name=name: m.asformat(name) for name in ("csc", "coo", "lil", "dok", "bsr", "dia")},
    "csc_matrix": sp.csc_matrix,
    "coo_matrix": sp.coo_matrix,
    "unsorted": shuffled,
    "unsorted int8": lambda m: shuffled(m).astype(np.int8),
    "duplicates": lambda m: duplicated(m, "csr", "float64"),
    "duplicates int16": lambda m: duplicated(m, "csr", "int16"),
    "duplicates coo": lambda m: duplicated(m, "coo", "float32"),
    "duplicates coo uint8": lambda m: duplicated(m, "coo", "uint8"),
    "int64 indices": wide_indices,
    "read-only": read_only,
    "read-only unsorted": lambda m: read_only(shuffled(m)),
    **{dtype: lambda m, dtype=dtype: m.astype(dtype) for dtype in ("float32", "int8", "uint16", "int32", "int64")},
}


def content(matrix: sp.sparray) -> dict[str, np.ndarray]:
    """Copies of all arrays that make up a sparse matrix."""
    names = ("data", "indices", "indptr", "row", "col", "coords", "rows", "offsets")
    held = {name: getattr(matrix, name) for name in names if hasattr(matrix, name)}
    return {name: np.array(value, copy=True) for name, value in held.items()} or {"all": matrix.toarray()}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_matrix_gives_the_same_model(ratings, form):
    matrix = FORMS[form](ratings)
    before = content(matrix)

    got = small().fit(matrix)

    assert_same(got, small().fit(ratings))
    assert got.loss(matrix) == got.loss(ratings)
    after = content(matrix)
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)
        assert after[name].dtype == array.dtype


def test_boolean_data_are_ones(ratings):
    ones = ratings.copy()
    ones.data[:] = 1

    assert_same(small().fit(ratings.astype(bool)), small().fit(ones))


@pytest.mark.parametrize("to", ["csr", "coo"])
@pytest.mark.parametrize(("dtype", "total"), [(np.int8, 240.0), (bool, 2.0), (np.float32, 2**24 + 3.0)])
def test_duplicates_are_summed_without_overflow(to, dtype, total):
    """In the matrix's own type 120 + 120 is -16, True + True is True, and 2^24 + 1 + 1 + 1 is 2^24."""
    parts = {np.int8: [120, 120], bool: [True, True], np.float32: [2.0**24, 1, 1, 1]}[dtype]
    parts = np.array([*parts, 1], dtype)
    rows = [0] * (len(parts) - 1) + [1]
    if to == "coo":
        matrix = sp.coo_array((parts, (rows, rows)), (2, 2))
    else:
        matrix = sp.csr_array((parts, rows, [0, len(parts) - 1, len(parts)]), (2, 2))

    model = small(dtype="float64").fit(matrix)

    assert model.user_items_.toarray().tolist() == [[total, 0], [0, 1]]


def test_matrix_that_shares_memory_with_the_model_is_left_alone(ratings):
    """Also float64 CSR in canonical form, of which nothing needs to be copied, is the caller's alone."""
    model = small().fit(ratings)
    kept = model.user_items_.toarray()

    ratings.data[:] = 9
    ratings.indices[:] = 0

    np.testing.assert_array_equal(model.user_items_.toarray(), kept)
