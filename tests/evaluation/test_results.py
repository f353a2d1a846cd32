"""The result of an evaluation: a mapping of means, and what is told of the values behind them."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastals.evaluation import RankingMetrics, metrics_from_rankings


@pytest.fixture
def got() -> RankingMetrics:
    random = np.random.default_rng(6)
    test = sp.csr_array(sp.random(25, 18, 0.2, random_state=random))
    ids = random.permuted(np.tile(np.arange(18), (25, 1)), axis=1)[:, :5]
    return metrics_from_rankings(ids, test, 5, item_popularity=np.linspace(0.1, 1, 18))


def test_mapping(got):
    assert " ".join(got) == "precision recall recall_truncated hit_rate map map_cut ndcg mrr novelty coverage"
    assert len(got) == 10
    assert all(isinstance(value, float) for value in got.values())


def test_missing_auc_says_how(got):
    with pytest.raises(KeyError, match="auc=True"):
        got["auc"]


def test_repr(got):
    text = repr(got)
    assert f"ndcg             {got['ndcg']:.4f} +- {got.stderr['ndcg']:.4f}" in text
    assert f"{got.n_users} users ({got.n_skipped} skipped)" in text
    assert "SAMPLED" not in text


def test_standard_error(got):
    values = got.per_user["ndcg"].tolist()
    centre = sum(values) / len(values)
    deviation = (sum((v - centre) ** 2 for v in values) / (len(values) - 1)) ** 0.5
    assert got.stderr["ndcg"] == pytest.approx(deviation / len(values) ** 0.5)


def test_one_user_has_no_standard_error():
    got = metrics_from_rankings([[0, 1]], sp.csr_array([[1.0, 0, 0]]))
    assert np.isnan(got.stderr["ndcg"])


def test_confidence_interval():
    values = np.random.default_rng(0).random(400) < 0.3
    got = metrics_from_rankings(np.where(values, 0, 1)[:, None], sp.csr_array(np.tile([1.0, 0], (400, 1))))
    low, high = got.confidence_interval("hit_rate", 0.9, n_resamples=4000, random_state=1)
    # Normal approximation of the bootstrap of a mean: mean +- 1.645 standard errors.
    half = 1.645 * got.stderr["hit_rate"]
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)
    assert (low, high) == got.confidence_interval("hit_rate", 0.9, n_resamples=4000, random_state=1)


def test_confidence_interval_bad_arguments(got):
    with pytest.raises(KeyError, match="coverage"):
        got.confidence_interval("coverage")
    with pytest.raises(ValueError, match="confidence_level"):
        got.confidence_interval("ndcg", 95)
    with pytest.raises(ValueError, match="n_resamples"):
        got.confidence_interval("ndcg", n_resamples=0)
