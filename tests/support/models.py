"""A quick model that takes no shortcuts, one of given factors, and what makes two models the same."""

import numpy as np
import scipy.sparse as sp

from fastals import ImplicitALS

PLAIN = {"objective": "hu", "alpha": 2.0, "regularization": 0.5, "regularization_exponent": 0.0}


def confidence_of(model) -> str:
    """What confidence="auto" stands for."""
    return {"auto": "log" if model.alpha == "auto" else "linear"}.get(model.confidence, model.confidence)


def small(**parameters) -> ImplicitALS:
    return ImplicitALS(**{"factors": 4, "iterations": 3, "random_state": 0, "acceleration": False, **parameters})


def assert_same(got: ImplicitALS, expected: ImplicitALS) -> None:
    np.testing.assert_array_equal(got.user_factors, expected.user_factors)
    np.testing.assert_array_equal(got.item_factors, expected.item_factors)
    assert got.loss_history == expected.loss_history


def with_factors(R, P, Q, **parameters) -> ImplicitALS:
    """Model of given factors."""
    model = ImplicitALS(np.shape(P)[1], **{**PLAIN, "iterations": 0, "dtype": "float64", **parameters})
    return model.fit(sp.csr_array(R), user_factors=P, item_factors=Q)
