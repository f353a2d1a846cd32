"""A row's solution follows from its data alone, whatever earlier rows or other programs left in the scratch memory."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastals.kernels.half_sweep import REPORTS, scratch_for, solve_rows
from fastals.objective import Objective
from fastals.solver import aligned_factors, build_sides, eigenbasis
from fastals.validation import check_rows

N_USERS, N_ITEMS, FACTORS = 24, 30, 20


def side_and_basis(dtype, alpha):
    """Users with 0 to 23 items each and values of all signs; factors of the items in their eigenbasis."""
    random = np.random.default_rng(0)
    dense = random.integers(-2, 6, (N_USERS, N_ITEMS)) * (np.arange(N_ITEMS) < np.arange(N_USERS)[:, None])
    objective = Objective.checked(
        objective="hu",
        confidence="linear",
        alpha=alpha,
        epsilon=1,
        unobserved_weight=1,
        regularization=0.1,
        regularization_exponent=0,
    )
    users, _ = build_sides(objective, *check_rows(sp.csr_array(dense[:, ::-1]), "user_items"), np.dtype(dtype))
    Y = random.normal(size=(N_ITEMS, FACTORS)).astype(dtype)
    return users, eigenbasis(Y, np.ones(N_ITEMS), 1.0, 1, aligned_factors(Y))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("iterate", [True, False])
@pytest.mark.parametrize("alpha", [0.5, 1e6])  # for conjugate gradients, and for the direct solver in float64
def test_what_scratch_holds_has_no_influence(dtype, iterate, alpha):
    side, basis = side_and_basis(dtype, alpha)
    settings = (dtype(1), dtype(1), iterate, dtype(1e-4), 50)
    found = []
    for garbage in (0, np.nan, np.inf, 7):
        X, report = np.full((N_USERS, FACTORS), garbage, dtype), np.full(REPORTS, garbage, np.float64)
        width = basis.rotated.shape[1]
        scratch, scratch64 = scratch_for(width, N_ITEMS, side.arrays, dtype(1), basis.rotated, basis.spectrum)
        # All but the counting numbers, the column numbers and the constant, which are no scratch.
        for array in (*scratch[:4], scratch[6], *scratch[8:], *scratch64[:4]):
            array[:] = garbage
        solve_rows(
            *(0, N_USERS, side.arrays, basis.rotated, basis.spectrum, side.regularization, basis.rotation),
            *(X, settings, scratch, scratch64, report),
        )
        found.append((X, report))

    expected, expected_report = found[0]
    assert np.isfinite(expected).all()
    assert expected[2:].any(axis=1).all()
    for got, report in found[1:]:
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(report, expected_report)
