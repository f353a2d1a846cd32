"""The kernels of the ranking metrics against NumPy; their definitions are tested in evaluation/test_metrics.py."""

import numpy as np

from fastals.kernels.metrics import areas_task, ranking_values

K = 4


def test_values_of_a_list():
    """Hits at ranks 1 and 3 of 4, of three relevant items; the second row has one item alone, and no hit."""
    ids = np.array([[5, 1, 2, 7], [3, -1, -1, -1]])
    indptr, indices = np.array([0, 3, 4]), np.array([2, 5, 9, 0])
    discounts, information = 1 / np.log2(np.arange(K) + 2), np.arange(10.0)
    values, recommended = np.empty((2, 9)), np.zeros(10, bool)

    ranking_values(ids, indptr, indices, discounts, np.cumsum(discounts), information, values, recommended)

    average = 1 + 2 / 3
    gain = (discounts[0] + discounts[2]) / discounts[:3].sum()
    expected = [[2 / 4, 2 / 3, 2 / 3, 1, average / 3, average / 3, gain, 1, (5 + 1 + 2 + 7) / 4], [0] * 8 + [3]]
    np.testing.assert_allclose(values, expected, rtol=1e-15)
    np.testing.assert_array_equal(np.flatnonzero(recommended), [1, 2, 3, 5, 7])


def test_area_under_the_curve():
    random, n_items, width, factors = np.random.default_rng(0), 20, 16, 3
    P, Q = np.zeros((8, factors)), random.integers(-2, 3, (n_items, factors)).astype(np.float64)
    P[:2] = random.integers(-2, 3, (2, factors))
    panels = np.zeros((2, factors, width))
    for panel in range(2):
        part = Q[panel * width : (panel + 1) * width]
        panels[panel, :, : len(part)] = part.T
    excluded, relevant = (np.array([0, 2, 2]), np.array([3, 4])), (np.array([0, 3, 5]), np.array([0, 3, 19, 7, 8]))
    scores, positive, area = np.empty((2, 1, 2, 8, width)), np.empty((2, 3)), np.empty(2)

    for task in range(2):  # the other finds no users left
        areas_task(task, 2, P, (panels, n_items), excluded, relevant, scores, positive, area)

    for user, (out, good) in enumerate([({3, 4}, {0, 19}), (set(), {7, 8})]):
        score = Q @ P[user]
        pairs = [(score[g], score[i]) for g in good for i in set(range(n_items)) - good - out]
        expected = np.mean([(a > b) + (a == b) / 2 for a, b in pairs])
        assert area[user] == expected
