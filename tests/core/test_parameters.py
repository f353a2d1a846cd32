"""Parameters as scikit-learn has them, and docstrings of methods that delegate."""

import inspect

import pytest

from fastals import ImplicitALS
from fastals.core.parameters import Parameters, documented_by


class Estimator(Parameters):
    def __init__(self, size=3, *, name="a"):
        self.size, self.name = size, name


def test_parameters_come_from_the_constructor():
    estimator = Estimator(4)
    assert estimator.get_params() == {"size": 4, "name": "a"}
    assert estimator.set_params(name="b") is estimator
    assert repr(estimator) == "Estimator(size=4, name='b')"


def test_unknown_names_set_nothing():
    estimator = Estimator()
    with pytest.raises(ValueError, match="'depth' is not a parameter of Estimator; valid parameters are size, name"):
        estimator.set_params(size=9, depth=1)
    assert estimator.size == 3


def test_documented_by():
    def function(fitted, x):
        """What the function does.

        Parameters
        ----------
        x : int
        """

    @documented_by(function)
    def method(self, x):
        """What the method does."""

    assert inspect.getdoc(method) == "What the method does.\n\nParameters\n----------\nx : int"


@pytest.mark.parametrize(
    ("axis", "expected"),
    [(0, "userids : (n,) array\nrows : matrix (n, n_items), or None\n    See `user`."),
     (1, "itemids : (n,) array\nrows : matrix (n, n_users), or None\n    See `item`.")],
)  # fmt: skip
def test_documented_by_a_function_for_both_sides(axis, expected):
    def function(fitted, ids, rows):
        """What the function does.

        userids (or itemids) : (n,) array
        rows : matrix (n, n_items) (or (n, n_users)), or None
            See `user` (or `item`).
        """

    @documented_by(function, axis)
    def method(self, ids, rows):
        """What the method does."""

    assert inspect.getdoc(method) == f"What the method does.\n\n{expected}"


@pytest.mark.parametrize("name", [name for name in vars(ImplicitALS) if not name.startswith("_")])
def test_every_public_method_says_what_it_takes_and_raises(name):
    member = inspect.getattr_static(ImplicitALS, name)
    if isinstance(member, property):
        assert member.__doc__
        return
    function = getattr(ImplicitALS, name)
    parameters = [p for p in inspect.signature(function).parameters if p != "self"]
    assert not parameters or "Parameters\n----------" in inspect.getdoc(function)
    assert "Raises\n------" in inspect.getdoc(function)
