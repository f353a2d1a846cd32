"""Lists as implicit gives them, tails included."""

import numpy as np

from fastals.compat.answers import padded

IDS = np.array([[2, 0, -1, -1, -1], [1, 3, 0, 2, -1]], np.int32)
SCORES = np.array([[5, 4, np.nan, np.nan, np.nan], [9, 8, 7, 6, np.nan]], np.float32)


def test_what_was_filtered_comes_before_what_is_not_there():
    ids, scores = padded(IDS, SCORES, None, 4, False, -np.inf)
    assert ids.tolist() == [[2, 0, 3, 1, 0], [1, 3, 0, 2, 0]]
    assert scores.tolist() == [[5, 4, -np.inf, -np.inf, 0], [9, 8, 7, 6, 0]]
    assert IDS[0, 2] == -1


def test_chosen_ids_bound_the_length():
    ids, scores = padded(IDS[:1], SCORES[:1], [0, 2, 3, 3], 4, True, -1.0)
    assert ids.tolist() == [2, 0, 3]
    assert scores.tolist() == [5, 4, -1]
    assert ids.dtype == np.int64
