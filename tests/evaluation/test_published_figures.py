"""Metrics of the most popular items on real data equal the published figures."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from naive_metrics import BruteForce

from fastals.evaluation import metrics_from_rankings, sampled_metrics_at_k

DATA = Path(__file__).parents[3] / "shared" / "data"


class Popularity(BruteForce):
    def __init__(self, train):
        counts = np.bincount(sp.csr_array(train).indices, minlength=train.shape[1])
        super().__init__(np.ones((train.shape[0], 1)), counts[:, None].astype(np.float64))


def load(name):
    if not (DATA / f"{name}.npz").exists():
        pytest.skip(f"{name} is not at hand")
    return np.load(DATA / f"{name}.npz"), json.loads((DATA / f"{name}.json").read_text())


@pytest.mark.parametrize(("name", "recall", "ndcg"), [("gowalla", 0.04163, 0.03169), ("yelp2018", 0.01245, 0.01011)])
@pytest.mark.slow
def test_popularity_figures_full_ranking(name, recall, ndcg):
    data, notes = load(name)
    shape = notes["counts"]["users"], notes["counts"]["items"]
    train, test = (
        sp.csr_array((np.ones(len(data[f"{part}_user"])), (data[f"{part}_user"], data[f"{part}_item"])), shape=shape)
        for part in ("train", "test")
    )
    # A short list of the most popular items serves everybody: of its head K remain after filtering.
    order = np.argsort(-np.bincount(train.indices, minlength=shape[1]), kind="stable")
    rank = np.empty(shape[1], dtype=np.int64)
    rank[order] = np.arange(shape[1])
    ids = np.full((shape[0], 20), -1)
    for user in range(shape[0]):
        have = np.sort(rank[train.indices[train.indptr[user] : train.indptr[user + 1]]])
        head = np.setdiff1d(np.arange(20 + np.searchsorted(have, 20 + len(have))), have, assume_unique=True)[:20]
        ids[user] = order[head]
    got = metrics_from_rankings(ids, test)
    # Ties in popularity decide the fifth digit.
    assert got["recall"] == pytest.approx(recall, abs=2e-5)
    assert got["ndcg"] == pytest.approx(ndcg, abs=2e-5)


def test_popularity_figures_sampled():
    data, _ = load("ml-1m-ncf")
    shape = 6040, int(max(data["train_item"].max(), data["test_negatives"].max(), data["test_item"].max())) + 1
    train = sp.csr_array((data["train_value"], (data["train_user"], data["train_item"])), shape=shape)
    arguments = Popularity(train), data["test_user"], data["test_item"], data["test_negatives"]
    assert (data["test_negatives"] == data["test_item"][:, None]).any(axis=1).sum() == 156
    worst, best = (sampled_metrics_at_k(*arguments, K=10, ties=ties) for ties in ("worst", "best"))
    assert (worst["hit_rate"], best["hit_rate"]) == pytest.approx((0.45315, 0.45381), abs=6e-6)
    assert (worst["ndcg"], best["ndcg"]) == pytest.approx((0.25409, 0.25446), abs=6e-6)
    # The published TopPop: .4531 and .2542 (its ties fall in between).
    assert worst["ndcg"] <= 0.2542 <= best["ndcg"]
