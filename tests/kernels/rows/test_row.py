"""A row's entries, its diagonal, and what it adds to the loss, against the formulas."""

import numpy as np
import pytest

from fastals.core.unobserved import ALIKE
from fastals.core.validation import read_only
from fastals.kernels.rows.row import (
    FAILED,
    LOSS,
    REPORTS,
    Entries,
    System,
    accept,
    diagonal,
    gather_row,
    gathered_for,
    least_share,
    row_loss,
    solve_empty_row,
    target_of,
    value_of,
)

INDPTR, INDICES = np.array([0, 3, 3, 5]), np.array([1, 4, 7, 0, 2], np.int32)


def entries(weight, preference, shift=0.0, offset=0.0, missing=0.0, v=ALIKE, w=ALIKE):
    return Entries(
        INDPTR, INDICES, np.array(weight), np.array(preference), np.float64(offset), shift, missing, v, w
    )  # fmt: skip


@pytest.mark.parametrize(
    ("weight", "preference", "shift", "offset"),
    [
        ([2.0, 3, 5, 1, 4], [1.0, 0, 0.5, 1, 1], 0.0, 0.7),
        ([2.0], [1.0], 0.0, 0.7),
        ([2.0, 3, 5, 1, 4], [1.0], 0.0, 0.0),
        ([0.2, 3, 5, 1, 4], [1.0], 0.7, 0.0),
    ],
)
def test_gathered_entries(weight, preference, shift, offset):
    given = entries(weight, preference, shift, offset, shift + offset)
    row = gathered_for(5, given, np.ones(1))
    w, phi = np.broadcast_to(weight, 5)[:3], np.broadcast_to(preference, 5)[:3]

    constant, largest, least = gather_row(given, 0, row)

    assert row.indices[:4].tolist() == [1, 4, 7, 1]
    np.testing.assert_allclose(row.weights[:4], [*(w - shift), 0])
    np.testing.assert_allclose(row.targets[:4], [*((w + offset) * phi), 0])
    assert constant == pytest.approx(((w + offset) * phi**2).sum())
    assert largest == pytest.approx(max((w - shift).max(), 0))
    assert least == pytest.approx(min((w - shift).min(), 0))


@pytest.mark.parametrize("weight", [0.001, 0.3, 2.7])
def test_equal_entries_are_the_same_whether_one_stands_for_all_or_not(weight):
    """What they are compared by decides how the row is solved, so a last digit of it is many of the solution."""
    like, found = np.ones(1, np.float32), []
    for count in (1, 5):
        given = entries(np.full(count, weight, np.float32), like, 1.0)._replace(offset=np.float32(0.0))
        row = gathered_for(5, given, like)
        found.append((gather_row(given, 0, row)[1:], row.weights[:3].tolist(), row.targets[:3].tolist()))
    assert found[0] == found[1]


@pytest.mark.parametrize(("shift", "offset"), [(0.0, 0.7), (0.7, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("weight", [[2.0, 3, 5, 1, 4], [2.0]])
def test_weights_of_missing_pairs(shift, offset, weight):
    """extra = c - c0 v w, and its extremes in units of w."""
    v, w, missing = read_only(np.array([2.0, 1, 0.5])), read_only(np.linspace(0.1, 3, 8)), shift + offset
    given = entries(weight, [1.0], shift, offset, missing, v, w)
    row = gathered_for(5, given, np.ones(1))

    _, largest, least = gather_row(given, 0, row)

    extra = np.broadcast_to(weight, 5)[:3] + offset - missing * 2 * w[[1, 4, 7]]
    np.testing.assert_allclose(row.weights[:4], [*extra, 0], rtol=1e-14)
    relative = extra / w[[1, 4, 7]]
    assert (largest, least) == pytest.approx((max(relative.max(), 0), min(relative.min(), 0)))


def test_the_loss_of_a_row_is_that_of_its_square_multiplied_out():
    """constant - b.x - x.r = sum c (phi - x.y)^2 + lambda |x|^2 over all pairs, whether x solves the row or not."""
    random = np.random.default_rng(0)
    Y, x, c0, ridge = random.normal(size=(9, 4)), random.normal(size=4), 0.3, 2.0
    c, phi = np.full(9, c0), np.zeros(9)
    c[[1, 4, 7]], phi[[1, 4, 7]] = [2.0, 3, 5], [1.0, 0, 0.5]
    A, b = (Y.T * c) @ Y + ridge * np.eye(4), Y.T @ (c * phi)

    got = row_loss((c * phi**2).sum(), b @ x, x @ (b - A @ x))

    assert got == pytest.approx((c * (phi - Y @ x) ** 2).sum() + ridge * x @ x)


def test_small_formulas():
    assert target_of(2.0, 0.5, 0.25) == 0.625
    assert [value_of(np.array([3.0]), 5), value_of(np.array([1.0, 2.0]), 1)] == [3, 2]
    M = np.zeros(3)
    diagonal(np.array([1.0, 2, 4]), 3.0, 0.5, M)
    assert M.tolist() == [3.5, 6.5, 12.5]


def test_rows_without_entries_are_what_their_features_predict():
    """M x = lambda z; what is left of the loss is constant - b.x."""
    z, spectrum, ridge = np.array([[1.0, -2, 0]]), np.array([1.0, 2, 0]), np.array([0.5])
    system = System(np.zeros((1, 3)), spectrum, ridge, None, 1.0, z)
    M, b, x, report = np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(REPORTS)

    solve_empty_row(
        0, entries([1.0], [1.0])._replace(row_weights=read_only(np.array([3.0, 1]))), system, M, b, x, report
    )

    assert x.tolist() == [0.5 / 3.5, -1 / 6.5, 0]
    expected = 3 * (spectrum * x**2).sum() + 0.5 * ((x - z) ** 2).sum()
    assert report[LOSS] == pytest.approx(expected)


def test_a_row_that_weighs_nothing_is_what_its_features_predict():
    """M = 0: any x is as good, and z the nearest to what is known; without features it is zero."""
    weighed = entries([1.0], [1.0])._replace(row_weights=read_only(np.array([0.0, 1])))
    for prior, expected in ((np.array([[1.0, -2, 0]]), [1, -2, 0]), (np.empty((0, 3)), [0, 0, 0])):
        system = System(np.zeros((1, 3)), np.array([1.0, 2, 0]), np.zeros(1), None, 1.0, prior)
        x, report = np.ones(3), np.zeros(REPORTS)
        solve_empty_row(0, weighed, system, np.zeros(3), np.zeros(3), x, report)
        assert x.tolist() == expected
        assert report[LOSS] == 0


def test_least_share_is_the_least_confidence_in_units_of_c0():
    given = entries([0.2, 3, 5, 1, 4], [1.0], shift=0.8, missing=0.8)
    row = gathered_for(5, given, np.ones(1))
    assert least_share(gather_row(given, 0, row)[2], 0.8) == pytest.approx(0.25)
    assert least_share(gather_row(given, 2, row)[2], 0.8) == 1


def test_solutions_that_are_not_finite_are_counted_and_left_zero():
    report, x = np.zeros(REPORTS), np.array([1.0, np.nan])
    accept(x, 3.0, report)
    accept(np.ones(2), 4.0, report)
    assert x.tolist() == [0, 0]
    assert (report[FAILED], report[LOSS]) == (1, 7)
