"""scikit-learn's own checks of estimators, and what of them a model of users by items cannot meet."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from fastals import ImplicitALS

pytest.importorskip("sklearn", minversion="1.6")

from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import check_is_fitted


class AsScikitLearn(ImplicitALS, BaseEstimator):
    """The model as scikit-learn handles estimators: dense arrays become sparse, X alone is what predict is given.

    ``predict(X)`` folds the rows of X in and scores all items; nothing else is changed.
    """

    def fit(self, X, y=None):
        return super().fit(sparse(X))

    def predict(self, X):
        rows = sparse(X)
        return self.recalculate_user(np.arange(rows.shape[0]), rows) @ self.item_factors.T

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


def sparse(X):
    return X if sp.issparse(X) else sp.csr_array(np.asarray(X))


# What is not met: the error that the check ends with, and why.
EXPECTED_FAILURES = {
    "check_estimators_unfitted": (
        AssertionError,
        "NotFittedError",
        "our error has the bases of theirs, not their class",
    ),
    "check_n_features_in": (AssertionError, "^$", "columns are items, not features: the shape is that of the factors"),
    "check_n_features_in_after_fitting": (AssertionError, "n_features_in_", "as above"),
    "check_complex_data": (TypeError, "user_items must hold real numbers", "refused, in our words"),
    "check_dtype_object": (ValueError, "does not support dtype object", "SciPy has no such sparse matrix"),
    "check_estimators_empty_data_messages": (
        AssertionError,
        "at least one row and one column",
        "refused, in our words",
    ),
    "check_fit2d_predict1d": (AssertionError, "must have one row for each", "refused, in our words"),
    "check_estimator_sparse_array": (
        AssertionError,
        "doesn't seem to fail gracefully on sparse data",
        "a row is answered by the scores of all items, not by a number",
    ),
    "check_estimator_sparse_matrix": (AssertionError, "doesn't seem to fail gracefully on sparse data", "as above"),
}
MODEL = AsScikitLearn(factors=2, iterations=2, random_state=0)
PLAYS = sp.random(30, 20, 0.2, "csr", random_state=0)


def name_of(value):
    return getattr(value, "func", value).__name__ if callable(value) else type(value).__name__


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("model", "check"), list(estimator_checks_generator(MODEL)), ids=name_of)
def test_checks_of_scikit_learn(model, check):
    if (name := name_of(check)) not in EXPECTED_FAILURES:
        check(model)
        return
    error, message, _ = EXPECTED_FAILURES[name]
    with pytest.raises(error, match=message):
        check(model)


def test_expected_failures_are_of_checks_that_are_run():
    """A name that scikit-learn gives up would hide nothing, but stay here."""
    assert set(EXPECTED_FAILURES) <= {name_of(check) for _, check in estimator_checks_generator(MODEL)}


def test_the_model_itself_is_cloned_unfitted_with_its_parameters():
    model = ImplicitALS(factors=3, regularization=(0.1, 0.2), random_state=1).fit(PLAYS)

    got = clone(model)

    assert got.get_params() == model.get_params()
    check_is_fitted(model)
    with pytest.raises(NotFittedError):
        check_is_fitted(got)


@pytest.mark.parametrize("container", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
@pytest.mark.parametrize("kind", [sp.csr_array, sp.csr_matrix])
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float32", "float64"])
def test_any_form_and_type_of_the_data_gives_the_same_fit(container, kind, dtype):
    """What scikit-learn's checks of sparse data ask, for a matrix of users by items."""
    ones = (PLAYS > 0).astype("float32")
    expected = ImplicitALS(factors=2, iterations=2, random_state=0).fit(ones)

    got = ImplicitALS(factors=2, iterations=2, random_state=0).fit(kind(ones).astype(dtype).asformat(container))

    np.testing.assert_array_equal(got.user_factors, expected.user_factors)
    assert got.loss_history == expected.loss_history
