"""Augmented factors: nearest by distance or by angle is best by inner product."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastals import ImplicitALS
from fastals.serving.vector_search import augmented_item_factors, augmented_queries


def random_factors(seed, dtype=np.float64, users=12, items=60, factors=7):
    """Items of very different norms, so that inner product and angle disagree."""
    random = np.random.default_rng(seed)
    Q = random.normal(size=(items, factors)) * random.lognormal(sigma=1.5, size=(items, 1))
    return random.normal(size=(users, factors)).astype(dtype), Q.astype(dtype)


@given(st.integers(0, 10_000))
def test_orders_are_equal(seed):
    P, Q = random_factors(seed)
    queries, items = augmented_queries(P), augmented_item_factors(Q)
    expected = np.argsort(-(P @ Q.T), axis=1)

    distances = np.linalg.norm(queries[:, None] - items, axis=2)
    cosines = queries @ items.T / np.outer(np.linalg.norm(queries, axis=1), np.linalg.norm(items, axis=1))

    assert (np.argsort(-(P @ Q.T) / np.linalg.norm(Q, axis=1), axis=1) != expected).any()
    np.testing.assert_array_equal(np.argsort(distances, axis=1), expected)
    np.testing.assert_array_equal(np.argsort(-cosines, axis=1), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_formulas(dtype):
    P, Q = random_factors(0, dtype)
    queries, items = augmented_queries(P), augmented_item_factors(Q)
    largest, eps = np.linalg.norm(Q, axis=1).max(), np.finfo(dtype).eps

    assert queries.dtype == items.dtype == dtype
    assert (queries.shape, items.shape) == ((12, 8), (60, 8))
    np.testing.assert_array_equal(queries[:, :7], P)
    np.testing.assert_array_equal(queries[:, 7], 0)
    np.testing.assert_array_equal(items[:, :7], Q)
    np.testing.assert_allclose(np.linalg.norm(items, axis=1), largest, rtol=10 * eps)
    squares = ((queries[:, None].astype(np.float64) - items) ** 2).sum(axis=2)
    expected = (P.astype(np.float64) ** 2).sum(axis=1)[:, None] + largest**2 - 2 * P.astype(np.float64) @ Q.T
    np.testing.assert_allclose(squares, expected, rtol=100 * eps)


def test_ranks_of_a_fitted_model(ratings):
    model = ImplicitALS(6, iterations=3, dtype="float64", random_state=0).fit(ratings)
    items, queries = augmented_item_factors(model.item_factors), augmented_queries(model.user_factors)

    for user in range(30):
        ids, scores = model.recommend(user, N=10, filter_already_liked_items=False)
        distances = np.linalg.norm(items - queries[user], axis=1)
        if model.user_factors[user].any():
            np.testing.assert_array_equal(np.argsort(distances)[: ids.size], ids)
        back = ((queries[user] ** 2).sum() + (items[0] ** 2).sum() - distances[ids] ** 2) / 2
        np.testing.assert_allclose(back, scores, atol=1e-12)


def test_items_that_come_later():
    P, Q = random_factors(1)
    norm = 2 * np.linalg.norm(Q, axis=1).max()

    both = augmented_item_factors(Q, max_norm=norm)

    for got in (augmented_item_factors(Q[:5], max_norm=norm), [augmented_item_factors(q, norm) for q in Q[:5]]):
        np.testing.assert_array_equal(got, both[:5])
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), norm)
    np.testing.assert_array_equal(augmented_queries(P[0]), augmented_queries(P)[0])


def test_largest_norm_may_be_given_as_it_was_computed():
    for seed in range(50):
        _, Q = random_factors(seed, np.float32)
        items = augmented_item_factors(Q, max_norm=float(np.linalg.norm(Q, axis=1).max()))
        np.testing.assert_allclose(items, augmented_item_factors(Q), atol=1e-3 * np.abs(Q).max())


def test_nothing():
    assert augmented_item_factors(np.zeros((0, 4))).shape == (0, 5)
    np.testing.assert_array_equal(augmented_item_factors(np.zeros((2, 4))), np.zeros((2, 5)))


@pytest.mark.parametrize(
    ("function", "arguments", "error", "message"),
    [
        (augmented_item_factors, (np.full((2, 2), np.nan),), ValueError, "item_factors must be finite"),
        (augmented_item_factors, (np.ones((2, 2), int),), ValueError, "dtype must be float32 or float64"),
        (augmented_item_factors, (np.ones((2, 2, 2)),), ValueError, r"item_factors must have shape \(rows, factors\)"),
        (augmented_item_factors, (np.ones((2, 0)),), ValueError, r"item_factors must have shape"),
        (augmented_item_factors, (np.ones((2, 4)), 1.9), ValueError, "max_norm must be at least the largest norm, 2.0"),
        (augmented_item_factors, (np.ones((2, 4)), np.inf), ValueError, "max_norm must be finite"),
        (augmented_item_factors, (np.ones((2, 4)), "2"), TypeError, "max_norm must be a real number"),
        (augmented_queries, (np.full((2, 2), np.inf),), ValueError, "factors must be finite"),
        (augmented_queries, (1.0,), ValueError, "factors must have shape"),
    ],
)
def test_errors_name_the_argument(function, arguments, error, message):
    with pytest.raises(error, match=message):
        function(*arguments)
