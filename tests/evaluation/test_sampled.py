"""Metrics against sampled negatives equal a naive ranking of the same candidates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_metrics import BruteForce, rank_among

from fastals.evaluation import sampled_metrics_at_k, sampled_metrics_from_scores


class TestSampled:
    @settings(max_examples=30, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1), K=st.integers(1, 12), ties=st.sampled_from(["worst", "best"]))
    def test_equals_naive(self, seed, K, ties):
        rng = np.random.default_rng(seed)
        P, Q = rng.integers(0, 3, (15, 2)).astype(float), rng.integers(0, 3, (20, 2)).astype(float)
        users, items = rng.permutation(15)[:12], rng.integers(0, 20, 12)
        negatives = rng.integers(-1, 20, (12, 10))
        got = sampled_metrics_at_k(BruteForce(P, Q), users, items, negatives, K, ties=ties)
        expected = {"hit_rate": [], "ndcg": [], "mrr": []}
        for user, item, row in zip(users, items, negatives, strict=True):
            scores = [P[user] @ Q[j] for j in row if j >= 0 and j != item]
            rank = rank_among(P[user] @ Q[item], scores, ties)
            expected["hit_rate"].append(float(rank <= K))
            expected["ndcg"].append(np.log(2) / np.log(rank + 1) if rank <= K else 0.0)
            expected["mrr"].append(1 / rank if rank <= K else 0.0)
        for name, values in expected.items():
            np.testing.assert_allclose(got.per_user[name], values, rtol=1e-12)
        np.testing.assert_array_equal(got.users, users)

    def test_marked(self):
        got = sampled_metrics_from_scores(np.ones(3), np.zeros((3, 99)))
        assert got.sampled == 99
        assert "SAMPLED, 99 negatives" in repr(got)

    def test_constant_model_gets_nothing(self):
        model = BruteForce(np.ones((4, 3)), np.full((200, 3), 0.1))
        negatives = np.arange(99) + np.zeros((4, 1), dtype=int)
        assert sampled_metrics_at_k(model, np.arange(4), np.full(4, 150), negatives)["hit_rate"] == 0

    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            (([0, 1], [0], [[1], [1]]), "shape"),
            (([9], [0], [[1]]), "test_user"),
            (([0], [-1], [[1]]), "test_item"),
            (([0], [0], [[7]]), "negatives"),
            (([0], [0], [[0.5]]), "negatives must be integers"),
            (([0], [0], [[1]], 0), "K must"),
        ],
    )
    def test_bad_arguments(self, arguments, match):
        with pytest.raises((ValueError, TypeError), match=match):
            sampled_metrics_at_k(BruteForce(np.ones((2, 1)), np.ones((5, 1))), *arguments)

    def test_bad_scores(self):
        with pytest.raises(ValueError, match="NaN"):
            sampled_metrics_from_scores([np.nan], [[1.0]])
        with pytest.raises(ValueError, match="shape"):
            sampled_metrics_from_scores([1.0], [1.0])
        with pytest.raises(ValueError, match="ties"):
            sampled_metrics_from_scores([1.0], [[1.0]], ties="mean")
