"""Run what the guide on vector search shows for hnswlib, RecTools and Cornac, beside these libraries.

    python .ci/frameworks.py

needs fastals, hnswlib, rectools and cornac in one environment.
"""

import contextlib
import re
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from fastals import ImplicitALS

GUIDE = Path(__file__).resolve().parents[1] / "notebooks" / "site" / "guides" / "vector_search.md"


def snippets() -> list[str]:
    """What the guide shows: its own cell, hnswlib, RecTools, Cornac."""
    found = re.findall(r"```(?:\{code-cell\} )?python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(found) == 4, f"the guide has {len(found)} snippets"
    return found


def vector_search(cell: str, snippet: str) -> None:
    """The index finds what ``recommend`` finds, nearly always."""
    names: dict = {}
    exec(cell, names)
    exec(snippet, names)
    expected, _ = names["model"].recommend(np.arange(5), N=10, filter_already_liked_items=False)
    recall = np.mean([np.isin(got, wanted).mean() for got, wanted in zip(names["ids"], expected, strict=True)])
    print(f"hnswlib: recall {recall:.2f}")
    assert recall >= 0.9


def plays() -> pd.DataFrame:
    """Pairs of users and items at random, each once."""
    random = np.random.default_rng(0)
    users, items = random.integers(0, 200, 5_000), random.integers(0, 80, 5_000)
    return pd.DataFrame({"user_id": users, "item_id": items}).drop_duplicates(ignore_index=True)


def rectools(snippet: str) -> None:
    """Its lists are those of ``recommend``."""
    from rectools import Columns
    from rectools.dataset import Dataset

    names: dict = {}
    exec(snippet, names)
    table = plays().assign(**{Columns.Weight: 1.0, Columns.Datetime: pd.Timestamp("2026-01-01")})
    dataset = Dataset.construct(table)
    model = names["FastALS"](ImplicitALS(8, random_state=0)).fit(dataset)
    users = dataset.user_id_map.external_ids[:20]
    got = model.recommend(users=users, dataset=dataset, k=5, filter_viewed=True)
    expected, _ = model.model.recommend(np.arange(20), N=5)
    lists = got.sort_values([Columns.User, Columns.Rank]).set_index(Columns.User)[Columns.Item]
    for user, wanted in zip(users, expected, strict=True):
        np.testing.assert_array_equal(lists[user], dataset.item_id_map.external_ids[wanted])
    print("RecTools: the lists of recommend")


def cornac(snippet: str) -> None:
    """An experiment measures it; on data with tastes it is better than popularity."""
    from cornac import Experiment
    from cornac.eval_methods import RatioSplit
    from cornac.metrics import NDCG
    from cornac.models import MostPop

    from fastals.datasets import make_interactions

    names: dict = {}
    exec(snippet, names)
    made = make_interactions(300, 120, random_state=0).user_items.tocoo()
    triples = [(f"u{u}", f"i{i}", 1.0) for u, i in zip(*made.coords, strict=True)]
    split = RatioSplit(triples, test_size=0.2, rating_threshold=0.5, exclude_unknowns=True, seed=0)
    models = [MostPop(), names["FastALS"](factors=16, random_state=0)]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # for its log
        experiment = Experiment(split, models, [NDCG(k=20)], user_based=True, verbose=False)
        experiment.run()
    popular, ours = (result.metric_avg_results["NDCG@20"] for result in experiment.result)
    print(f"Cornac: NDCG@20 {ours:.3f}, of MostPop {popular:.3f}")
    assert ours > 1.2 * popular


if __name__ == "__main__":
    cell, with_hnswlib, with_rectools, with_cornac = snippets()
    vector_search(cell, with_hnswlib)
    rectools(with_rectools)
    cornac(with_cornac)
