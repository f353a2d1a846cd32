"""Matrices that come as implicit's users pass them."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastals.compat.matrices import ParameterWarning, as_csr, rows_for

R = sp.random(4, 3, 0.5, "csr", random_state=0)


def test_csr_passes_and_other_formats_are_converted_with_a_warning():
    assert as_csr(R) is R
    with pytest.warns(ParameterWarning, match="should be CSR"):
        got = as_csr(R.tocoo())
    np.testing.assert_array_equal(got.toarray(), R.toarray())
    with pytest.raises(TypeError, match="user_items must be a sparse matrix; got ndarray"):
        as_csr(R.toarray())


def test_one_row_for_each_id():
    assert rows_for([0, 1, 2, 3], R, "user_items") is R
    with pytest.raises(ValueError, match=r"user_items must have one row for each of 2 ids; got shape \(4, 3\)"):
        rows_for([0, 1], R, "user_items")
    with pytest.raises(ValueError, match="user_items must be a CSR matrix"):
        rows_for([0], R.tocsc(), "user_items")
