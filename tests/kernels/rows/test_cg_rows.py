"""A solution follows from the row alone, in each way of solving it, whatever was left in the scratch memory."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastals.core.validation import check_rows, read_only
from fastals.kernels.rows.cg_rows import cg_scratch_for, iterate_rows
from fastals.kernels.rows.conjugate_gradient import Stop
from fastals.kernels.rows.direct_rows import direct_scratch_for, solve_rows
from fastals.kernels.rows.row import DIRECT, DOUBLE, REPORTS, SOLVED, Ranges, System
from fastals.objective import Objective
from fastals.solver.eigenbasis import aligned_factors, eigenbasis
from fastals.solver.sides import build_sides

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


def dirty(scratch, garbage):
    """Scratch full of garbage, but for the numbers of columns, which are read as they come."""
    for name, value in scratch._asdict().items():
        if isinstance(value, tuple):
            dirty(value, garbage)
        elif name != "numbers" and (np.isfinite(garbage) or value.dtype.kind == "f"):
            value[:] = garbage
    return scratch


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("way", ["iterate", "continue", "direct", "float64"])
@pytest.mark.parametrize("alpha", [0.5, 1e6])
def test_what_scratch_holds_has_no_influence(dtype, way, alpha):
    side, basis = side_and_basis(dtype, alpha)
    system = System(basis.rotated, basis.spectrum, side.regularization, basis.back, 1.0, basis.rotated[:0])
    chosen = np.flatnonzero(np.diff(side.indptr))
    before = np.random.default_rng(1).normal(size=(N_USERS, FACTORS)).astype(dtype)
    whole, found = Ranges(np.array([0, N_USERS]), N_ITEMS, np.empty((1, REPORTS))), []
    for garbage in (0, np.nan, np.inf, 7):
        X, report = np.full((N_USERS, FACTORS), garbage, dtype), np.full(REPORTS, garbage, np.float64)
        status = np.full(N_USERS, DOUBLE if way == "float64" else DIRECT, np.uint8)
        if way in ("iterate", "continue"):
            warm_from = 5 if way == "continue" else N_ITEMS
            if way == "continue":
                X[:] = before
            scratch = dirty(cg_scratch_for(whole, side.entries, basis.rotated), garbage)
            stop = Stop(dtype(1e-4), 50, warm_from)
            iterate_rows(0, N_USERS, side.entries, system, stop, X, status, scratch, report)
        else:
            like = basis.spectrum if way == "float64" else basis.rotated
            scratch = dirty(direct_scratch_for(whole, side.entries, basis.rotated, like), garbage)
            solve_rows(0, chosen.size, chosen, side.entries, system, X, status, scratch, report)
        found.append((X[chosen], status[chosen], report))

    expected, status, expected_report = found[0]
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(expected.any(axis=1), status == SOLVED)
    assert (status == SOLVED).all() or way != "float64"
    for got, got_status, report in found[1:]:
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(got_status, status)
        np.testing.assert_array_equal(report, expected_report)


def test_rows_in_company_have_the_bits_that_they_have_alone():
    """What rows of the same lambda and v share follows from these: with empty rows and heavy ones in between."""
    side, basis = side_and_basis(np.float32, 0.5)
    ridges, heavy = np.repeat([0.5, 1, 2, 4, 0.5, 3], [2, 3, 4, 6, 3, 6]), np.array([5, 15, 18])
    counts, weight = np.where(np.arange(N_USERS) % 5 == 2, 0, np.diff(side.indptr)), side.entries.weight.copy()
    indptr = np.concatenate(([0], np.cumsum(counts)))
    weight[indptr[heavy]] = 1e6
    v = np.repeat([1.0, 0.5, 1, 0.5], [11, 3, 7, 3])
    entries = side.entries._replace(indptr=read_only(indptr), weight=read_only(weight), row_weights=read_only(v))
    system = System(basis.rotated, basis.spectrum, ridges, basis.back, 1.0, basis.rotated[:0])
    whole, found = Ranges(np.array([0, N_USERS]), N_ITEMS, np.empty((1, REPORTS))), []

    for step in (1, N_USERS):
        X, status, report = np.zeros((N_USERS, FACTORS), np.float32), np.zeros(N_USERS, np.uint8), np.zeros(REPORTS)
        scratch = cg_scratch_for(whole, entries, basis.rotated)
        for first in range(0, N_USERS, step):
            iterate_rows(
                first, first + step, entries, system, Stop(np.float32(1e-4), 50, N_ITEMS), X, status, scratch, report
            )
        found.append((X, status))

    (expected, expected_status), (got, got_status) = found
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(got_status, expected_status)
    np.testing.assert_array_equal(np.flatnonzero(expected_status == DIRECT), heavy)
    np.testing.assert_array_equal(expected.any(axis=1), (counts > 0) & (expected_status == SOLVED))
