from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_metrics import BruteForce, area_of_user, coverage, mean, metrics_of_user
from scipy.stats import mannwhitneyu

from fastals import ImplicitALS
from fastals.evaluation import (
    item_popularity,
    metrics_from_rankings,
    ranking_metrics_at_k,
    strong_generalization_split,
)

DATA = Path(__file__).parents[3] / "shared" / "data"


def problem(seed=0, n_users=25, n_items=18, levels=None):
    """Train and test matrix, partly overlapping, and a model; few `levels` of factors give tied scores."""
    rng = np.random.default_rng(seed)
    train, test = (sp.csr_array(sp.random(n_users, n_items, d, random_state=rng)) for d in (0.25, 0.2))
    draw = rng.standard_normal if levels is None else lambda shape: rng.integers(0, levels, shape).astype(float)
    return train, test, BruteForce(draw((n_users, 3)), draw((n_items, 3)))


def rows_of(matrix):
    return [set(matrix.indices[a:b].tolist()) for a, b in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)]


def naive(model, train, test, K, filter_train=True):
    """Every metric by the oracle, and the values of each user."""
    ids, _ = model.recommend(np.arange(train.shape[0]), train, N=K, filter_already_liked_items=filter_train)
    have, relevant = rows_of(train), rows_of(test)
    users = [u for u in range(train.shape[0]) if relevant[u]]
    n_active = sum(bool(items) for items in have)
    share = [max(1, sum(i in items for items in have)) / n_active for i in range(train.shape[1])]
    values = [metrics_of_user(ids[u].tolist(), relevant[u], K, share) for u in users]
    per_user = {name: [value[name] for value in values] for name in values[0]}
    scores = model.user_factors @ model.item_factors.T
    per_user["auc"] = [area_of_user(scores[u], relevant[u], have[u] if filter_train else set()) for u in users]
    means = {name: mean(value) for name, value in per_user.items()}
    means["coverage"] = coverage([ids[u].tolist() for u in users], K, train.shape[1])
    return means, per_user


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    K=st.integers(1, 25),
    filter_train=st.booleans(),
    levels=st.sampled_from([None, 2, 3]),
    batch_size=st.integers(1, 30),
)
def test_equals_naive(seed, K, filter_train, levels, batch_size):
    train, test, model = problem(seed, levels=levels)
    got = ranking_metrics_at_k(model, train, test, K, filter_train=filter_train, auc=True, batch_size=batch_size)
    expected, expected_per_user = naive(model, train, test, K, filter_train)
    assert dict(got) == pytest.approx(expected, rel=1e-12, nan_ok=True)
    assert set(got.per_user) == set(expected_per_user)
    for name, values in expected_per_user.items():
        np.testing.assert_allclose(got.per_user[name], values, rtol=1e-12)
    assert got.n_users + got.n_skipped == train.shape[0]
    np.testing.assert_array_equal(got.n_test, np.diff(test.indptr)[got.users])


def test_hand_computed():
    # Ranks 1..4 hold items 2, 0, 3, 4; relevant are 0, 4 and the never shown 5: hits at ranks 2 and 4, T = 3.
    test = sp.csr_array([[1, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]])
    share = np.array([1, 1, 1 / 2, 1 / 4, 1 / 8, 1])
    got = metrics_from_rankings([[2, 0, 3, 4], [0, 1, 2, 3]], test, item_popularity=share)
    expected = {
        "precision": 2 / 4,
        "recall": 2 / 3,
        "recall_truncated": 2 / 3,
        "hit_rate": 1.0,
        "map": (1 / 2 + 2 / 4) / 3,
        "map_cut": (1 / 2 + 2 / 4) / 3,
        "ndcg": (1 / np.log2(3) + 1 / np.log2(5)) / (1 + 1 / np.log2(3) + 1 / 2),
        "mrr": 1 / 2,
        "novelty": (1 + 0 + 2 + 3) / 4,
        "coverage": 4 / 6,
    }
    assert dict(got) == pytest.approx(expected)
    assert (got.n_users, got.n_skipped) == (1, 1)
    # Cut at K = 2 the denominators part: one hit at rank 2, min(K, T) = 2.
    got = metrics_from_rankings([[2, 0, 3, 4], [0, 1, 2, 3]], test, K=2)
    assert (got["recall"], got["recall_truncated"]) == pytest.approx((1 / 3, 1 / 2))
    assert (got["map"], got["map_cut"]) == pytest.approx((1 / 4, 1 / 6))
    assert "novelty" not in got


def test_perfect_ranking_is_one():
    test = sp.csr_array(np.eye(4, 9, k=2) + np.eye(4, 9, k=4))
    ids = np.array([[u + 4, u + 2, 0] for u in range(4)])
    got = metrics_from_rankings(ids, test, K=3)
    for name in ("recall", "recall_truncated", "hit_rate", "map", "map_cut", "ndcg", "mrr"):
        assert got[name] == pytest.approx(1.0)
    assert got["precision"] == pytest.approx(2 / 3)


def test_rankings_of_chosen_users_and_short_rows():
    _, test, _ = problem(3)
    rng = np.random.default_rng(0)
    users = rng.permutation(25)[:10]
    ids = np.array([rng.permutation(18)[:5] for _ in users])
    ids[2, 3:] = -1
    got = metrics_from_rankings(ids, test, K=8, users=users)
    relevant = rows_of(test)
    expected = [metrics_of_user(row.tolist(), relevant[u], 8) for u, row in zip(users, ids, strict=True) if relevant[u]]
    for name in expected[0]:
        np.testing.assert_allclose(got.per_user[name], [e[name] for e in expected], rtol=1e-12)
    np.testing.assert_array_equal(got.users, [u for u in users if relevant[u]])


def test_dislikes_are_not_relevant():
    _, test, _ = problem(1)
    disliked = test.copy()
    disliked.data[::3] *= -1
    ids = np.tile(np.arange(18), (25, 1))
    got = metrics_from_rankings(ids, disliked, 6)
    expected = metrics_from_rankings(ids, sp.csr_array(np.maximum(test.toarray() * (disliked.toarray() > 0), 0)), 6)
    assert dict(got) == dict(expected)
    assert got["recall"] != metrics_from_rankings(ids, test, 6)["recall"]


def test_subset_of_users_equals_slices():
    train, test, model = problem(2)
    whole = ranking_metrics_at_k(model, train, test, 5, auc=True)
    chosen = whole.users[::-2]
    got = ranking_metrics_at_k(model, train, test, 5, users=chosen, auc=True)
    np.testing.assert_array_equal(got.users, chosen)
    for name, values in got.per_user.items():
        np.testing.assert_array_equal(values, whole.per_user[name][::-2])


def test_inputs_left_alone():
    train, test, model = problem(0)
    test.data[0] = -1
    expected = [a.copy() for m in (train, test) for a in (m.data, m.indices, m.indptr)]
    factors = model.user_factors.copy(), model.item_factors.copy()
    ranking_metrics_at_k(model, train, test, 5, auc=True)
    got = [a for m in (train, test) for a in (m.data, m.indices, m.indptr)]
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(model.user_factors, factors[0])
    np.testing.assert_array_equal(model.item_factors, factors[1])


def test_folded_in_users():
    train, test, model = problem(4)
    got = ranking_metrics_at_k(model, train, test, 5, recalculate_user=True, auc=True)
    folded = BruteForce(train @ model.item_factors, model.item_factors)
    assert dict(got) == pytest.approx(dict(ranking_metrics_at_k(folded, train, test, 5, auc=True)))


@pytest.mark.parametrize("filter_train", [True, False])
def test_real_model(filter_train):
    train, test, _ = problem(7)
    model = ImplicitALS(4, iterations=3, random_state=0).fit(train)
    arguments = {"filter_train": filter_train, "auc": True}
    got = ranking_metrics_at_k(model, train, test, 5, **arguments)
    expected = ranking_metrics_at_k(BruteForce(model.user_factors, model.item_factors), train, test, 5, **arguments)
    assert dict(got) == dict(expected)


def test_real_model_on_held_out_users():
    _, fold_in, test, users = split = strong_generalization_split(problem(8)[0], random_state=0)
    model = ImplicitALS(4, iterations=3, random_state=0).fit(split.train)
    got = ranking_metrics_at_k(model, fold_in, test, 5, recalculate_user=True, auc=True)
    folded = np.zeros((25, 4))
    folded[users] = model.recalculate_user(users, fold_in[users])
    expected = ranking_metrics_at_k(BruteForce(folded, model.item_factors), fold_in, test, 5, auc=True)
    np.testing.assert_array_equal(got.users, users)
    assert dict(got) == pytest.approx(dict(expected))


class LikeImplicit(BruteForce):
    """Takes SciPy's matrix class alone, and pads with filtered items at the lowest float, as implicit 0.7.3 does."""

    def recommend(self, userid, user_items, N=10, filter_already_liked_items=True, recalculate_user=False):
        if not isinstance(user_items, sp.csr_matrix):
            raise ValueError("user_items needs to be a CSR sparse matrix")
        ids, scores = super().recommend(userid, user_items, N, filter_already_liked_items)
        scores = np.where(ids < 0, np.finfo(np.float32).min, scores).astype(np.float32)
        for row, known in zip(ids, rows_of(sp.csr_array(user_items)), strict=True):
            row[row < 0] = sorted(known)[: int((row < 0).sum())]
        return ids, scores

    def recalculate_user(self, userid, user_items):
        if not isinstance(user_items, sp.csr_matrix):
            raise ValueError("user_items needs to be a CSR sparse matrix")
        return self.user_factors[userid]


@pytest.mark.parametrize("recalculate_user", [False, True])
def test_models_of_implicit(recalculate_user):
    """They get the matrix class they insist on, and what they pad short lists with is no recommendation."""
    train, test, model = problem(3)
    n_seen = np.diff(train.indptr).max()
    K = train.shape[1] - n_seen + 2  # the fullest user has fewer left
    got = ranking_metrics_at_k(
        LikeImplicit(model.user_factors, model.item_factors), train, test, K, auc=True,
        recalculate_user=recalculate_user,
    )  # fmt: skip
    expected = ranking_metrics_at_k(model, train, test, K, auc=True)
    assert dict(got) == dict(expected)


def test_novelty_from_given_popularity():
    train, test, model = problem(5)
    share = np.linspace(0.1, 1, 18)
    got = ranking_metrics_at_k(model, train, test, 5, item_popularity=share)
    ids, _ = model.recommend(np.arange(25), train, N=5)
    assert got["novelty"] == pytest.approx(np.mean(-np.log2(share[ids[got.users]])))


def test_item_popularity():
    matrix = sp.csr_array([[1, 2, 0], [3, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(item_popularity(matrix), [1, 1 / 2, 1 / 2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threads", [1, 2])
def test_auc_is_mann_whitney(dtype, threads):
    rng = np.random.default_rng(0)
    relevant = rng.random((70, 900)) < 0.3
    model = BruteForce(rng.integers(-3, 4, (70, 2)).astype(dtype), rng.integers(-9, 9, (900, 2)).astype(dtype))
    train = sp.csr_array(~relevant & (rng.random((70, 900)) < 0.1))
    got = ranking_metrics_at_k(model, train, sp.csr_array(relevant), auc=True, num_threads=threads).per_user["auc"]
    scores = model.user_factors @ model.item_factors.T
    have = train.toarray()
    for u in range(70):
        positive, negative = scores[u, relevant[u]], scores[u, ~relevant[u] & ~have[u]]
        won = mannwhitneyu(positive.astype(float), negative.astype(float)).statistic
        expected = won / (len(positive) * len(negative))
        assert got[u] == pytest.approx(expected, rel=1e-12)


def test_constant_model_has_auc_one_half():
    train, test, _ = problem(0)
    model = BruteForce(np.ones((25, 2)), np.ones((18, 2)))
    got = ranking_metrics_at_k(model, train, test, auc=True).per_user["auc"]
    assert (got[~np.isnan(got)] == 0.5).all()


def peer_problem():
    """A fixed problem from closed formulas, so that the figures of a peer can be recorded for it."""
    users, items = np.meshgrid(np.arange(40), np.arange(60), indexing="ij")
    code = (7 * users * users + 13 * items * items + 5 * users * items + users // 3) % 23
    train = sp.csr_array(((code < 4) & (users != 5)).astype(np.float32))
    test = sp.csr_array(((code >= 4) & (code < 6 + users % 7) & (users % 6 != 4)).astype(np.float32))
    user_factors = np.sin(np.arange(200) * 1.7).reshape(40, 5).astype(np.float32)
    item_factors = np.cos(np.arange(300) * 0.9 + 0.3 * np.arange(300) % 7).reshape(60, 5).astype(np.float32)
    return train, test, BruteForce(user_factors, item_factors)


# implicit 0.7.3, implicit.evaluation.ranking_metrics_at_k(model, train, test, K, show_progress=False, num_threads=1)
# on `peer_problem`, the factors assigned to an implicit.cpu.als.AlternatingLeastSquares(factors=5).
IMPLICIT = {
    3: {"precision": 0.2755102040816326, "map": 0.17508417508417504, "ndcg": 0.2690034819421523},
    10: {"precision": 0.2968197879858657, "map": 0.1294276094276094, "ndcg": 0.2737323208154653},
}


@pytest.mark.parametrize("K", [3, 10])
def test_figures_of_implicit(K):
    train, test, model = peer_problem()
    got = ranking_metrics_at_k(model, train, test, K)
    assert got["map"] == pytest.approx(IMPLICIT[K]["map"], rel=1e-9)
    assert got["ndcg"] == pytest.approx(IMPLICIT[K]["ndcg"], rel=1e-9)
    # Its "precision" is a ratio of sums over all users: hits over reachable hits.
    hits = got.per_user["precision"] * K
    assert hits.sum() / np.minimum(K, got.n_test).sum() == pytest.approx(IMPLICIT[K]["precision"], rel=1e-9)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"K": 0}, "K must"),
        ({"K": True}, "K must"),
        ({"batch_size": 0}, "batch_size"),
        ({"users": [0, 25]}, r"users must lie in 0 \.\. 24"),
        ({"users": [3, 3]}, "twice"),
        ({"users": [0.5]}, "users must be an integer"),
        ({"test_user_items": sp.csr_array((25, 17))}, "test_user_items has shape"),
        ({"item_popularity": np.zeros(18)}, "item_popularity"),
        ({"model": BruteForce(np.full((25, 1), np.inf), np.ones((18, 1))), "auc": True}, "finite"),
        ({"item_popularity": np.ones(17)}, "item_popularity"),
    ],
)
def test_bad_arguments(change, match):
    train, test, model = problem(0)
    arguments = {"model": model, "train_user_items": train, "test_user_items": test, **change}
    with pytest.raises((ValueError, TypeError), match=match):
        ranking_metrics_at_k(**arguments)


def test_no_relevant_item():
    train, test, model = problem(0)
    with pytest.raises(ValueError, match="no relevant item"):
        ranking_metrics_at_k(model, train, -abs(test))


@pytest.mark.parametrize(
    ("ids", "match"),
    [
        (np.zeros((25, 2), dtype=int), "twice"),
        (np.full((25, 1), 18), "below the number of items"),
        (np.zeros((24, 1), dtype=int), "24 rows"),
        (np.zeros((25, 1)), "integer"),
        (np.zeros(25, dtype=int), "2-d"),
    ],
)
def test_bad_rankings(ids, match):
    with pytest.raises(ValueError, match=match):
        metrics_from_rankings(ids, problem(0)[1])
