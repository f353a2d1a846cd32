"""A quick model that takes no shortcuts, and what makes two of them the same."""

import numpy as np

from fastals import ImplicitALS


def small(**parameters) -> ImplicitALS:
    return ImplicitALS(**{"factors": 4, "iterations": 3, "random_state": 0, "acceleration": False, **parameters})


def assert_same(got: ImplicitALS, expected: ImplicitALS) -> None:
    np.testing.assert_array_equal(got.user_factors, expected.user_factors)
    np.testing.assert_array_equal(got.item_factors, expected.item_factors)
    assert got.loss_history == expected.loss_history
