"""Lists for users and items against those of the library implicit, and against brute force for any filters."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from models import with_factors


def test_equals_implicit():
    """What the library implicit 0.7.3 returns for the same factors; of filtered tails, to which it gives seen items at
    the lowest float, what the contract has."""
    random = np.random.RandomState(7)
    P, Q = np.round(random.randn(5, 3), 2), np.round(random.randn(8, 3), 2)
    R = np.zeros((5, 8))
    R[0, 5:7], R[1, 2:7], R[4, [0, 2]] = 1, 1, 1
    model, users = with_factors(R, P, Q), np.arange(5)

    ids, scores = model.recommend(users, N=4)
    np.testing.assert_array_equal(ids, [[1, 3, 2, 7], [1, 0, 7, -1], [1, 6, 2, 3], [6, 3, 1, 2], [6, 3, 1, 5]])
    expected = [
        [1.2249, 0.5847, 0.4977, -2.6611],
        [1.3194, -1.029, -1.6454, np.nan],
        [4.3605, 2.9318, 2.7531, 2.1193],
        [1.734, 0.9532, 0.8454, -0.0094],
        [0.9694, 0.4499, 0.1395, -0.2596],
    ]
    np.testing.assert_allclose(scores, expected, rtol=1e-12)
    ids, _ = model.recommend(users, N=3, filter_already_liked_items=False)
    np.testing.assert_array_equal(ids, [[6, 1, 3], [6, 1, 3], [1, 6, 2], [6, 3, 1], [6, 3, 1]])
    ids, _ = model.recommend(users, N=3, filter_items=[0, 5, 5])
    np.testing.assert_array_equal(ids, [[1, 3, 2], [1, 7, -1], [1, 6, 2], [6, 3, 1], [6, 3, 1]])
    ids, _ = model.recommend(users, N=3, items=[1, 2, 6])
    np.testing.assert_array_equal(ids, [[1, 2, -1], [1, -1, -1], [1, 6, 2], [6, 1, 2], [6, 1, -1]])
    ids, scores = model.similar_items([0, 4], N=4)
    np.testing.assert_array_equal(ids, [[0, 4, 7, 5], [4, 0, 5, 7]])
    expected = [[1, 0.9685284639094317, 0.6841441509831598, 0.4477891173238555],
                [1, 0.9685284639094318, 0.6542657040410564, 0.5349360153823102]]  # fmt: skip
    np.testing.assert_allclose(scores, expected, rtol=1e-12)
    ids, scores = model.similar_users([0, 4], N=3)
    np.testing.assert_array_equal(ids, [[0, 4, 3], [4, 3, 0]])
    expected = [[1, 0.8970638427890486, 0.8391261330685644], [1, 0.9279515333337567, 0.8970638427890486]]
    np.testing.assert_allclose(scores, expected, rtol=1e-12)


@st.composite
def requests(draw):
    """Factors of small integers, whose products are exact in any type and often tie, and any filters."""
    n_users, n_items, factors = draw(st.integers(1, 5)), draw(st.integers(1, 70)), draw(st.integers(1, 5))
    random = np.random.default_rng(draw(st.integers(0, 999)))
    P, Q = (random.integers(-2, 3, (n, factors)).astype(float) for n in (n_users, n_items))
    R = (random.random((n_users, n_items)) < draw(st.sampled_from([0.1, 0.5, 1]))).astype(float)
    R[0, 0] = 1  # a matrix without any entry is refused
    subset = st.none() | st.lists(st.integers(0, n_items - 1), max_size=n_items)
    options = {
        "N": draw(st.integers(1, n_items + 2)),
        "filter_already_liked_items": draw(st.booleans()),
        "filter_items": draw(subset),
        "items": draw(subset),
    }
    return R, P, Q, options, draw(st.sampled_from(["float32", "float64"]))


def brute_force(scores, seen, N, filter_already_liked_items, filter_items, items):
    """Ids and scores of one user, best first, equal ones by the lower id; shorter where fewer remain."""
    left = set(range(scores.size)) if items is None else set(items)
    left -= set(filter_items or ())
    if filter_already_liked_items:
        left -= set(seen)
    best = sorted(left, key=lambda item: (-scores[item], item))[:N]
    return best, scores[best]


@given(requests())
def test_recommend_equals_brute_force(request):
    R, P, Q, options, dtype = request
    model = with_factors(R, P, Q, dtype=dtype)
    all_ids, all_scores = model.recommend(np.arange(P.shape[0]), **options)
    for user in range(P.shape[0]):
        expected_ids, expected_scores = brute_force(P[user] @ Q.T, np.flatnonzero(R[user]), **options)
        ids, scores = model.recommend(user, **options)
        tail = options["N"] - len(expected_ids)
        assert ids.tolist() == expected_ids
        assert scores.tolist() == expected_scores.tolist()
        assert all_ids[user].tolist() == [*expected_ids, *[-1] * tail]
        np.testing.assert_array_equal(all_scores[user], [*expected_scores, *[np.nan] * tail])


@given(requests())
def test_similar_items_equal_brute_force(request):
    R, P, Q, options, _ = request
    del options["filter_already_liked_items"]
    model = with_factors(R, P, Q)
    cosines = (Q @ Q[0]) / np.maximum(np.linalg.norm(Q, axis=1) * np.linalg.norm(Q[0]), 1e-300)

    ids, scores = model.similar_items(0, **options)

    expected_ids, expected = brute_force(cosines, (), filter_already_liked_items=False, **options)
    assert ids.size == len(expected_ids)
    np.testing.assert_allclose(scores, expected, atol=1e-14)
    np.testing.assert_allclose(scores, cosines[ids], atol=1e-14)
    assert len(set(ids)) == ids.size
