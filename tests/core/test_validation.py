# ruff: noqa: E501 (tables of one case a line)
"""The door: what does not fit is refused by name, with what came and what was wanted, before anything is computed."""

import re
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from fastals import ImplicitALS
from fastals.core.parameters import NotFittedError
from fastals.core.validation import (
    check_factors,
    check_ids,
    check_interactions,
    check_products,
    check_rows,
    describe,
    largest_factor,
    read_only,
)

GOOD = sp.csr_array(np.array([[5.0, 0, 1, 0], [0, 2, 0, 0], [1, 1, 0, 3]]))


def changed(value: float) -> sp.csr_array:
    matrix = GOOD.copy()
    matrix.data[2] = value
    return matrix


def of_type(dtype: Any) -> sp.csr_array:
    """A matrix whose values are of a type that SciPy itself may not support."""
    matrix = GOOD.copy()
    matrix.data = matrix.data.astype(dtype)
    return matrix


def without_shape(axis: int) -> sp.csr_array:
    return sp.csr_array((0, 4) if axis == 0 else (3, 0))


# Parameters of the model: (parameter, value, error, message).
BAD_PARAMETERS = [
    ("factors", 0, ValueError, "factors must be >= 1; got 0"),
    ("factors", -3, ValueError, "factors must be >= 1; got -3"),
    ("factors", 2.5, TypeError, "factors must be an integer >= 1; got float 2.5"),
    ("factors", "64", TypeError, "factors must be an integer >= 1; got str '64'"),
    ("factors", True, TypeError, "factors must be an integer >= 1; got bool True"),
    ("factors", None, TypeError, "factors must be an integer >= 1; got NoneType None"),
    ("regularization", -1.0, ValueError, "regularization must be finite and >= 0; got -1.0"),
    ("regularization", float("nan"), ValueError, "regularization must be finite and >= 0; got nan"),
    ("regularization", "10", TypeError, "regularization must be a real number; got str '10'"),
    (
        "regularization",
        (1, 2, 3),
        ValueError,
        r"regularization must be one number or (users, items); got tuple (1, 2, 3)",
    ),
    ("regularization", (1, -2), ValueError, "regularization must be finite and >= 0; got -2"),
    ("regularization", np.array(3.0), TypeError, "regularization must be a real number; got ndarray of shape ()"),
    ("regularization_exponent", -0.5, ValueError, "regularization_exponent must be finite and >= 0; got -0.5"),
    (
        "regularization_exponent",
        2000,
        ValueError,
        "regularization_exponent must leave regularization * 7^regularization_exponent finite; got 2000",
    ),
    ("alpha", -40, ValueError, "alpha must be finite and >= 0; got -40"),
    ("alpha", np.inf, ValueError, "alpha must be finite and >= 0; got inf"),
    ("alpha", 10**400, ValueError, "alpha must be finite and >= 0"),
    ("alpha", [1, 2], TypeError, "alpha must be a real number; got list [1, 2]"),
    ("unobserved_weight", -1, ValueError, "unobserved_weight must be finite and >= 0; got -1"),
    ("epsilon", 0, ValueError, "epsilon must be finite and > 0; got 0"),
    ("iterations", -1, ValueError, "iterations must be >= 0; got -1"),
    ("iterations", 1.0, TypeError, "iterations must be an integer >= 0; got float 1.0"),
    ("confidence", "square", ValueError, "confidence must be one of 'auto', 'linear', 'log', 'raw'; got str 'square'"),
    ("objective", "bpr", ValueError, "objective must be one of 'hu', 'rendle'; got str 'bpr'"),
    ("solver", "lu", ValueError, "solver must be one of 'cg', 'cholesky'; got str 'lu'"),
    ("solver", None, ValueError, "solver must be one of 'cg', 'cholesky'; got NoneType None"),
    ("tol", -1e-3, ValueError, "tol must be finite and >= 0; got -0.001"),
    ("max_cg_steps", 0, ValueError, "max_cg_steps must be >= 1; got 0"),
    ("dtype", "float16", ValueError, "dtype must be float32 or float64; got str 'float16'"),
    ("dtype", "number", ValueError, "dtype must be float32 or float64; got str 'number'"),
    ("dtype", "f4,(", ValueError, "dtype must be float32 or float64; got str 'f4,('"),
    ("dtype", None, ValueError, "dtype must be float32 or float64; got NoneType None"),
    ("dtype", int, ValueError, "dtype must be float32 or float64; got type <class 'int'>"),
    ("num_threads", 0, ValueError, "num_threads must be >= 1; got 0"),
    ("num_threads", "all", TypeError, "num_threads must be an integer >= 1; got str 'all'"),
    ("random_state", "seed", TypeError, "random_state must be an integer >= 0; got str 'seed'"),
    ("random_state", -1, ValueError, "random_state must be >= 0; got -1"),
]

# Arguments of fit: (arguments, error, message).
BAD_DATA = [
    ({"user_items": GOOD.toarray()}, TypeError, "user_items must be a SciPy sparse matrix or array; got ndarray of shape (3, 4)"),
    ({"user_items": [[1, 0], [0, 1]]}, TypeError, "user_items must be a SciPy sparse matrix or array; got list"),
    ({"user_items": None}, TypeError, "user_items must be a SciPy sparse matrix or array; got NoneType None"),
    ({"user_items": "ratings.csv"}, TypeError, "user_items must be a SciPy sparse matrix or array; got str 'ratings.csv'"),
    ({"user_items": of_type(object)}, TypeError, "user_items must hold real numbers; got dtype object"),
    ({"user_items": of_type(complex)}, TypeError, "user_items must hold real numbers; got dtype complex128"),
    ({"user_items": changed(np.nan)}, ValueError, "user_items must be finite; got NaN at row 1, column 1"),
    ({"user_items": changed(np.inf)}, ValueError, "user_items must be finite; got inf at row"),
    ({"user_items": changed(-np.inf)}, ValueError, "user_items must be finite; got -inf at row"),
    ({"user_items": changed(1e25)}, ValueError, "alpha times the values of user_items must stay below 1.84e+19 in float32"),
    ({"user_items": without_shape(0)}, ValueError, "user_items must have at least one row and one column; got shape (0, 4)"),
    ({"user_items": without_shape(1)}, ValueError, "user_items must have at least one row and one column; got shape (3, 0)"),
    ({"user_items": sp.csr_array((3, 4))}, ValueError, "user_items must have at least one stored value that is not zero; got none"),
    ({"user_items": GOOD * 0}, ValueError, "user_items must have at least one stored value that is not zero; got none"),
    ({"preference": GOOD.toarray()}, TypeError, "preference must be a SciPy sparse matrix or array; got ndarray"),
    ({"preference": GOOD[:2]}, ValueError, "preference must have shape (3, 4); got (2, 4)"),
    ({"preference": GOOD[[1, 0, 2]]}, ValueError, "preference must have the stored pattern of user_items: 6 against 6 entries"),
    ({"preference": changed(np.nan)}, ValueError, "preference must be finite; got NaN at row"),
    ({"preference": changed(1e300)}, ValueError, "preference has values beyond the range of float32: 1e+300"),
    ({"user_factors": np.zeros((4, 2))}, ValueError, "user_factors must have shape (3, 2); got (4, 2)"),
    ({"user_factors": np.zeros((3, 5))}, ValueError, "user_factors must have shape (3, 2); got (3, 5)"),
    ({"item_factors": np.zeros(4)}, ValueError, "item_factors must have shape (4, 2); got (4,)"),
    ({"user_factors": np.full((3, 2), np.nan)}, ValueError, "user_factors must be finite in float32; got values that are not"),
    ({"user_factors": np.full((3, 2), 1e300)}, ValueError, "user_factors must be finite in float32; got values that are not"),
    ({"item_factors": "random"}, TypeError, "item_factors must hold real numbers; got str 'random'"),
    ({"user_factors": np.zeros((3, 2), complex)}, TypeError, "user_factors must hold real numbers; got ndarray of shape (3, 2)"),
    ({"callback": "print"}, TypeError, "callback must be callable; got str 'print'"),
]  # fmt: skip

# Calls of a model fitted to 3 users and 4 items: (method, arguments, error, message).
BAD_CALLS = [
    ("loss", {"user_items": GOOD.T}, ValueError, "user_items must have shape (3, 4); got (4, 3); it looks transposed"),
    ("loss", {"user_items": GOOD[:2]}, ValueError, "user_items must have shape (3, 4); got (2, 4)"),
    ("predict", {"user": 3, "item": 0}, ValueError, "user must lie in 0 .. 2; got 3"),
    ("predict", {"user": -1, "item": 0}, ValueError, "user must lie in 0 .. 2; got -1"),
    ("predict", {"user": 0, "item": [0, 4]}, ValueError, "item must lie in 0 .. 3; got 4"),
    ("predict", {"user": 0.0, "item": 0}, TypeError, "user must be an integer or an array of integers; got float 0.0"),
    ("predict", {"user": "ann", "item": 0}, TypeError, "user must be an integer or an array of integers; got str 'ann'"),
    ("predict", {"user": [[0]], "item": 0}, ValueError, "user must be a scalar or one-dimensional; got shape (1, 1)"),
    ("predict", {"user": [0, 1, 2], "item": [0, 1]}, ValueError, "user and item must have equal lengths; got 3 and 2"),
    ("recommend", {"userid": 3}, ValueError, "userid must lie in 0 .. 2; got 3"),
    ("recommend", {"userid": [0, -1]}, ValueError, "userid must lie in 0 .. 2; got -1"),
    ("recommend", {"userid": "ann"}, TypeError, "userid must be an integer or an array of integers; got str 'ann'"),
    ("recommend", {"userid": True}, TypeError, "userid must be an integer or an array of integers; got bool True"),
    ("recommend", {"userid": [0, 1, 2], "user_items": GOOD.T}, ValueError, "user_items must have one row for each of the 3 ids"),
    ("recommend", {"userid": 0, "user_items": GOOD}, ValueError, "pass user_items[ids] instead of the whole matrix"),
    ("recommend", {"userid": 0, "user_items": sp.csr_array((1, 3))}, ValueError, "user_items must have shape (1, 4); got (1, 3)"),
    ("recommend", {"userid": [0, 1, 2, 0], "user_items": GOOD.T}, ValueError, "user_items must have shape (4, 4); got (4, 3)"),
    ("recommend", {"userid": 0, "user_items": GOOD[:1].toarray()}, TypeError, "user_items must be a SciPy sparse matrix or array"),
    ("recommend", {"userid": 0, "N": 0}, ValueError, "N must be >= 1; got 0"),
    ("recommend", {"userid": 0, "N": 2.5}, TypeError, "N must be an integer >= 1; got float 2.5"),
    ("recommend", {"userid": 0, "filter_items": [9]}, ValueError, "filter_items must lie in 0 .. 3; got 9"),
    ("recommend", {"userid": 0, "items": ["a"]}, TypeError, "items must be an integer or an array of integers"),
    ("similar_items", {"itemid": 4}, ValueError, "itemid must lie in 0 .. 3; got 4"),
    ("similar_users", {"userid": 3}, ValueError, "userid must lie in 0 .. 2; got 3"),
    ("explain", {"userid": 0, "itemid": 4}, ValueError, "itemid must lie in 0 .. 3; got 4"),
    ("recalculate_user", {"userid": 0, "user_items": GOOD.T[:1]}, ValueError, "user_items must have shape (1, 4); got (1, 3)"),
    ("partial_fit_users", {"userids": [0, 0], "user_items": GOOD[:2]}, ValueError, "userids must be distinct"),
    ("partial_fit_items", {"itemids": [0], "item_users": GOOD[:1]}, ValueError, "item_users must have shape (1, 3); got (1, 4)"),
]  # fmt: skip


def model(**parameters: Any) -> ImplicitALS:
    return ImplicitALS(**{"factors": 2, "alpha": 1.0, "iterations": 1, "random_state": 0, **parameters})


def names(cases: list[tuple]) -> list[str]:
    return [
        f"{index}-{case[0] if isinstance(case[0], str) else next(iter(case[0]))}" for index, case in enumerate(cases)
    ]


@pytest.mark.parametrize(("name", "value", "error", "message"), BAD_PARAMETERS, ids=names(BAD_PARAMETERS))
def test_parameter_is_refused(name, value, error, message):
    bad = model(confidence="log") if name == "epsilon" else model()
    if name == "regularization_exponent":
        bad.regularization = 1.0

    with pytest.raises(error, match=re.escape(message)):
        bad.set_params(**{name: value}).fit(GOOD)

    assert not hasattr(bad, "user_factors")


@pytest.mark.parametrize(("arguments", "error", "message"), BAD_DATA, ids=names(BAD_DATA))
def test_argument_of_fit_is_refused(arguments, error, message):
    bad = model()

    with pytest.raises(error, match=re.escape(message)):
        bad.fit(**{"user_items": GOOD, **arguments})

    assert not hasattr(bad, "user_factors")


def test_one_dimensional_array_is_refused():
    flat = sp.coo_array(np.arange(5.0))
    if flat.ndim == 2:
        pytest.skip("SciPy before 1.13 has no one-dimensional arrays")

    with pytest.raises(ValueError, match=re.escape("must have two dimensions, users and items; got shape (5,)")):
        model().fit(flat)


@pytest.fixture(scope="module")
def fitted() -> ImplicitALS:
    return model().fit(GOOD)


@pytest.mark.parametrize(("method", "arguments", "error", "message"), BAD_CALLS, ids=names(BAD_CALLS))
def test_call_of_a_fitted_model_is_refused(fitted, method, arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        getattr(fitted, method)(**arguments)


@pytest.mark.parametrize("name", ["user_factors", "item_factors"])
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.zeros(4), ValueError, "{} must have two dimensions; got shape (4,)"),
        (np.full((3, 2), np.inf), ValueError, "{} must be finite in float32"),
        ([["a"]], TypeError, "{} must hold real numbers; got list"),
    ],
)
def test_assigned_factors_are_checked(name, value, error, message):
    with pytest.raises(error, match=re.escape(message.format(name))):
        setattr(model(), name, value)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("loss", (GOOD,)),
        ("predict", (0, 0)),
        ("recommend", (0,)),
        ("similar_items", (0,)),
        ("similar_users", (0,)),
        ("explain", (0, None, 0)),
        ("recalculate_user", (0, GOOD[:1])),
        ("recalculate_item", (0, GOOD.T[:1])),
        ("partial_fit_users", ([0], GOOD[:1])),
        ("partial_fit_items", ([0], GOOD.T[:1])),
        ("save", ("never-written.fastals",)),
    ],
)
def test_use_before_fit(method, arguments):
    with pytest.raises(NotFittedError, match="this ImplicitALS is not fitted yet: call fit first"):
        getattr(model(), method)(*arguments)


def test_canonical_rows():
    matrix = sp.csr_array(([1.0, 2.0, 0.0, 4.0, -4.0, 3.0], [2, 0, 1, 3, 3, 1], [0, 3, 5, 6]), (3, 4))

    rows, phi = check_rows(matrix, "user_items")

    assert phi is None
    assert rows.indptr.tolist() == [0, 2, 2, 3]
    assert rows.indices.tolist() == [0, 2, 1]
    assert rows.data.tolist() == [2, 1, 3]
    assert (rows.indptr.dtype, rows.indices.dtype, rows.data.dtype) == (np.int64, np.int32, np.float64)
    assert rows.counts.tolist() == [2, 0, 1]
    assert matrix.nnz == 6


def test_equal_values_are_one():
    rows, _ = check_rows(GOOD.astype(bool), "user_items")

    assert rows.data.tolist() == [1]
    assert check_interactions(GOOD.astype(bool)).toarray().tolist() == (GOOD != 0).toarray().astype(float).tolist()


def test_preference_follows_its_entries():
    """Entries without an observation are dropped from both; a preference of zero is one."""
    values = sp.csr_array(([1.0, 0.0, 2.0], [2, 1, 0], [0, 3]), (1, 3))
    preference = sp.csr_array(([0.0, 7.0, -1.0], [2, 1, 0], [0, 3]), (1, 3))

    rows, phi = check_rows(values, "user_items", preference=preference)

    assert rows.indices.tolist() == [0, 2]
    assert phi.tolist() == [-1, 0]


def test_check_interactions_copies():
    got = check_interactions(GOOD, dtype=np.float64)

    for name in ("data", "indices", "indptr"):
        assert not np.shares_memory(getattr(got, name), getattr(GOOD, name))
    np.testing.assert_array_equal(got.toarray(), GOOD.toarray())
    with pytest.raises(ValueError, match="user_items has values beyond the range of float32: 1e\\+60; use dtype"):
        check_interactions(changed(1e60))


def test_check_ids():
    assert check_ids(np.uint8(3), "id", 4).dtype == np.int64
    assert check_ids([], "id", 4).shape == (0,)
    assert check_ids(range(4), "id", 4).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"id must lie in 0 .. 3; got 18446744073709551615"):
        check_ids(np.array([1, 2**64 - 1], np.uint64), "id", 4)


def test_check_factors_copies():
    given = np.ones((2, 3), order="F")

    got = check_factors(given, "user_factors", (2, 3), np.dtype(np.float64))

    assert got.flags.c_contiguous
    assert not np.shares_memory(got, given)


def test_describe_is_short():
    assert describe("x" * 1000).endswith("...")
    assert len(describe("x" * 1000)) < 70
    assert describe(np.zeros((2, 3))) == "ndarray of shape (2, 3) and dtype float64"


class Frame:
    """Something like a table of pandas or polars."""

    shape = (3, 3)
    columns = ("user", "item", "value")


class Table:
    user_items = GOOD


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (GOOD.toarray(), "ndarray of shape (3, 4) and dtype float64; wrap it in scipy.sparse.csr_array"),
        (Frame(), "Frame of shape (3, 3); fastals.interactions.Interactions.from_dataframe makes one"),
        (Table(), "pass its attribute user_items"),
    ],
)
def test_what_is_no_sparse_matrix_is_refused_with_the_way_to_one(given, hint):
    with pytest.raises(TypeError, match=re.escape(hint)):
        check_rows(given, "user_items")


def test_names_in_the_place_of_ids_are_refused_with_the_way_to_numbers():
    with pytest.raises(TypeError, match=r"got str 'ann'; Interactions\.user_index and item_index"):
        check_ids("ann", "userid", 3)
    with pytest.raises(TypeError, match=r"got float 1\.5$"):
        check_ids(1.5, "userid", 3)


def test_long_descriptions_stay_on_one_line():
    class Long:
        def __repr__(self):
            return "first line\n   second line"

    assert describe(Long()) == "Long first line second line"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(("size", "fine"), [(0.99, True), (1.01, False), (1e-15, True), (np.nan, False), (1e15, False)])
def test_products_that_overflow_are_told_of_one_row_as_of_many(dtype, count, size, fine):
    factors = np.zeros((count, 4), dtype)
    factors[-1, 2] = -size * largest_factor((4,), np.dtype(dtype))

    if fine:
        check_products(factors, "factors")
    else:
        with pytest.raises(FloatingPointError, match="factors have grown beyond"):
            check_products(factors, "factors")


def test_read_only_is_a_view_or_what_is_read_only_already():
    array = np.arange(3.0)

    got = read_only(array)

    assert got is not array
    assert np.shares_memory(got, array)
    assert array.flags.writeable
    assert not got.flags.writeable
    assert read_only(got) is got
