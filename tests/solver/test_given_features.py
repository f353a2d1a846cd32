"""Features that a fit is given: checked against the shape, and the strengths of their effects."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastals import ImplicitALS
from fastals.core.state import Chosen
from fastals.solver.given_features import checked_feature_strengths, checked_features, strengths_for

USERS = sp.csr_array([[1.0, 0, 2], [0, 3, 0]])


def test_each_side_has_its_own_shape():
    users, items = checked_features(USERS, np.ones((3, 1)), (2, 3))
    np.testing.assert_array_equal(users.as_csr(np.dtype(float)).toarray(), USERS.toarray())
    assert items.shape == (3, 1)
    assert checked_features(None, None, (2, 3)) == (None, None)
    with pytest.raises(ValueError, match="item_features must have shape"):
        checked_features(None, np.ones((2, 1)), (2, 3))
    with pytest.raises(TypeError, match="user_features must hold real numbers"):
        checked_features([["a"], ["b"]], None, (2, 3))


def test_strengths_that_are_given():
    assert checked_feature_strengths(ImplicitALS(feature_regularization=3)) == (3.0, 3.0)
    assert checked_feature_strengths(ImplicitALS(feature_regularization=(3, 0.5))) == (3.0, 0.5)
    assert checked_feature_strengths(ImplicitALS()) == (1.0, 1.0)
    assert checked_feature_strengths(ImplicitALS(), Chosen(feature_regularization=(2.0, 4.0))) == (2.0, 4.0)
    for wrong, error in ((0, ValueError), (-1.0, ValueError), ("much", TypeError), ((1, 2, 3), ValueError)):
        with pytest.raises(error, match="feature_regularization"):
            checked_feature_strengths(ImplicitALS(feature_regularization=wrong))


def test_the_automatic_strength_is_the_mean_diagonal():
    """Of F' diag(lambda) F, in units of the objective."""
    rows, _ = checked_features(USERS, None, (2, 3))
    lam = np.array([0.5, 2.0])
    expected = 4.0 * np.diag(USERS.toarray().T @ np.diag(lam) @ USERS.toarray()).mean()
    assert strengths_for(ImplicitALS(), 4.0, (rows, None), (lam, lam)) == (pytest.approx(expected, rel=1e-12), 1.0)
    given = ImplicitALS(feature_regularization=(3, 5))
    assert strengths_for(given, 4.0, (rows, None), (lam, lam)) == (3.0, 5.0)
