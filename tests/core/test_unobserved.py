"""Weights of missing pairs: by popularity, given, and of rows that come later."""

import numpy as np
import pytest

from fastals.core.unobserved import ALIKE, Unobserved, check_exponents, weights_or_alike

COUNTS = np.array([0, 1, 4, 9, 100])


@pytest.mark.parametrize("exponent", [-0.5, 0.5, 1.0])
def test_weights_by_popularity(exponent):
    got = Unobserved.by_popularity(COUNTS, exponent)

    powers = np.maximum(COUNTS, 1.0) ** exponent
    np.testing.assert_allclose(got.array, powers / powers[1:].mean(), rtol=1e-15)
    assert got.array[1:].mean() == pytest.approx(1)
    assert (got.smallest, got.largest) == (got.array.min(), got.array.max())
    assert not got.array.flags.writeable


def test_rows_without_entries_leave_the_weights_of_others():
    counts = np.concatenate((COUNTS, np.zeros(100, np.int64)))
    got, expected = (Unobserved.by_popularity(some, 0.5).array for some in (counts, COUNTS))
    np.testing.assert_array_equal(got[:5], expected)
    assert Unobserved.by_popularity(np.zeros(3, np.int64), 0.5).array.tolist() == [1, 1, 1]


def test_alike_needs_no_array():
    assert Unobserved.by_popularity(COUNTS, 0.0) is None
    assert Unobserved.given(None, "weights", 5) is None
    assert weights_or_alike(None) is ALIKE


def test_a_row_weighs_by_its_entries_in_the_scale_of_the_fit():
    weights = Unobserved.by_popularity(COUNTS, 0.5)

    np.testing.assert_array_equal(weights.of_rows(np.arange(5), COUNTS), weights.array)
    assert weights.of_rows(np.array([99]), np.array([25])) == 5 / weights.scale


def test_given_weights_stay_with_their_ids_and_others_get_the_mean():
    weights = Unobserved.given([0.0, 2, 4], "weights", 3)

    got = weights.of_rows(np.array([2, 7, 0]), np.array([5, 5, 5]))

    assert got.tolist() == [4, 2, 0]


@pytest.mark.parametrize("weights", [Unobserved.by_popularity(COUNTS, 0.5), Unobserved.given(COUNTS, "weights", 5)])
def test_replaced_rows(weights):
    """Rows between the last and the new ones weigh as rows without entries."""
    got = weights.replaced(np.array([7, 1]), np.array([16, 4]))

    ids, counts = np.arange(5, 8), np.array([0, 0, 16])
    expected = np.concatenate((weights.array, weights.of_rows(ids, counts)))
    expected[1] = weights.of_rows(np.array([1]), np.array([4]))[0]
    np.testing.assert_array_equal(got.array, expected)
    assert weights.array.size == 5


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ([1.0, 2], ValueError, r"weights must have shape \(3,\); got \(2,\)"),
        ([1.0, -2, 3], ValueError, "weights must be finite and >= 0, and not all 0; got -2 to 3"),
        ([1.0, np.nan, 3], ValueError, "weights must be finite"),
        ([0, 0, 0], ValueError, "not all 0; got 0 to 0"),
        (["a", "b", "c"], TypeError, "weights must hold real numbers"),
    ],
)
def test_given_weights_are_checked(value, error, message):
    with pytest.raises(error, match=message):
        Unobserved.given(value, "weights", 3)


def test_exponents():
    assert check_exponents(0.5) == (0, 0.5)
    assert check_exponents((0.25, -1)) == (0.25, -1)
    assert check_exponents(np.array([0.25, 1])) == (0.25, 1)


@pytest.mark.parametrize("value", [None, "auto", (1, 2, 3), True, np.nan, np.inf, 21, (0, "x")])
def test_exponents_are_checked(value):
    with pytest.raises((TypeError, ValueError), match="unobserved_exponent must"):
        check_exponents(value)
