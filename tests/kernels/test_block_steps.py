"""A step of conjugate gradients for many columns, against one written out for a single column."""

import numpy as np
import pytest

from fastals.kernels.block_steps import descend_rows, descend_task, turn_rows, turn_task

D, K = 37, 5


@pytest.fixture
def vectors():
    """B, R, P and Q (d, k), and D^-1 (d, 1)."""
    random = np.random.default_rng(0)
    return [*random.standard_normal((4, D, K)), random.random((D, 1)) + 0.1]


@pytest.mark.parametrize("bounds", [[0, D], [0, 1, 20, D]])
def test_a_step_down(vectors, bounds):
    B, R, P, Q, inverse = vectors
    length, strength, bounds = np.linspace(0, 1, K), 0.3, np.array(bounds)
    got_B, got_R, sums = B.copy(), R.copy(), np.full((bounds.size - 1, K), np.nan)

    for task in range(2):
        descend_task(task, 2, bounds, length, strength, inverse, (P, Q, got_B, got_R), sums)

    for j in range(K):
        left = R[:, j] - length[j] * (Q[:, j] + strength * P[:, j])
        np.testing.assert_allclose(got_B[:, j], B[:, j] + length[j] * P[:, j], rtol=1e-14)
        np.testing.assert_allclose(got_R[:, j], left, rtol=1e-13)
        assert sums[:, j].sum() == pytest.approx(left @ (inverse[:, 0] * left), rel=1e-13)
    again_B, again_R, line = B.copy(), R.copy(), np.empty(K)
    for first, last, expected in zip(bounds, bounds[1:], sums, strict=False):
        descend_rows(first, last, length, strength, inverse, P, Q, again_B, again_R, line)
        np.testing.assert_array_equal(line, expected)
    np.testing.assert_array_equal(again_B, got_B)
    np.testing.assert_array_equal(again_R, got_R)


@pytest.mark.parametrize("bounds", [[0, D], [0, 1, 20, D]])
def test_the_next_direction(vectors, bounds):
    _, R, P, _, inverse = vectors
    ratio, bounds = np.linspace(0, 1, K), np.array(bounds)
    got, sums = P.copy(), np.full((bounds.size - 1, K), np.nan)

    for task in range(2):
        turn_task(task, 2, bounds, ratio, inverse, R, got, sums)

    for j in range(K):
        expected = inverse[:, 0] * R[:, j] + ratio[j] * P[:, j]
        np.testing.assert_allclose(got[:, j], expected, rtol=1e-13)
        assert sums[:, j].sum() == pytest.approx(expected @ expected, rel=1e-13)
    again, line = P.copy(), np.empty(K)
    for first, last, expected in zip(bounds, bounds[1:], sums, strict=False):
        turn_rows(first, last, ratio, inverse, R, again, line)
        np.testing.assert_array_equal(line, expected)
    np.testing.assert_array_equal(again, got)
