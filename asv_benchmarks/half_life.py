"""Should old pairs count less? Half-lives of pairs, judged by the pairs that came later.

    python asv_benchmarks/half_life.py [--datasets ml-100k ...] [--factors 64] [--publish]

The latest tenth of all pairs is the test, the tenth before it chooses the half-life, by NDCG@20: both go by one point
in time for all users. A pair counts 1, from when it was last; what a user had before is not asked for again. The model
has the constructor's parameters.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from published import publish

from fastals import ImplicitALS
from fastals.evaluation import ranking_metrics_at_k
from fastals.weighting import recency

K = 20
DATASETS = ("ml-100k", "online-retail")
DAY = 86_400.0
HALF_LIVES = (None, 365, 180, 90, 45, 20, 7, 3, 1)  # days
Figures = tuple[float, float]  # NDCG@20 and Recall@20


class Problem(NamedTuple):
    """What is known by some time, with the times of its pairs, and what came next; (n_users, n_items)."""

    known: sp.csr_array
    times: sp.csr_array
    later: sp.csr_array


def main() -> None:
    options = parsed()
    rows = []
    for name in options.datasets:
        with np.load(options.data / f"{name}.npz") as file:
            arrays = {key: file[key] for key in ("user", "item", "value", "timestamp")}
        reached = {}
        for label, begin in (("validation", 0.8), ("test", 0.9)):
            problem = divided(arrays, begin)
            reached[label] = {days: judged(problem, days, options.factors) for days in HALF_LIVES}
            for days, (ndcg, recall) in reached[label].items():
                print(f"{name:16}{label:12}{said(days):>8}  NDCG@{K} {ndcg:.4f}  Recall@{K} {recall:.4f}", flush=True)
        best = max(HALF_LIVES, key=lambda days: reached["validation"][days][0])
        rows += [[name, said(days), *(f"{one:.4f}" for one in reached["test"][days])] for days in (None, best)]
    if options.publish:
        title = f"Half-lives chosen by earlier pairs, judged by later ones, {options.factors} factors"
        columns = ["data", "half-life", f"NDCG@{K}", f"Recall@{K}"]
        publish("half-life", title, "python asv_benchmarks/half_life.py", columns, rows)


def divided(arrays: dict[str, np.ndarray], begin: float) -> Problem:
    """What was known before a share ``begin`` of all events, and the tenth of them that followed; without returns.

    By events, not by pairs as in ``temporal_split``: what somebody buys again later was known before.
    """
    kept = np.flatnonzero(arrays["value"] > 0)
    kept = kept[np.argsort(arrays["timestamp"][kept], kind="stable")]
    user, item, time = (arrays[name][kept] for name in ("user", "item", "timestamp"))
    shape, middle, end = (user.max() + 1, item.max() + 1), int(begin * kept.size), int((begin + 0.1) * kept.size)
    # Of equal pairs the latest, which is the first in reversed order.
    _, first = np.unique((user[:middle].astype(np.int64) * shape[1] + item[:middle])[::-1], return_index=True)
    last = middle - 1 - first
    known, times = (
        sp.csr_array((values, (user[last], item[last])), shape=shape)
        for values in (np.ones(last.size), time[last].astype(np.float64))
    )
    later = sp.coo_array((np.ones(end - middle), (user[middle:end], item[middle:end])), shape=shape).tocsr()
    later = sp.csr_array(later - later.multiply(known))
    later.eliminate_zeros()
    return Problem(known, times, later)


def judged(problem: Problem, days: float | None, factors: int) -> Figures:
    """What a model reaches whose pairs halve in so many days."""
    pairs = problem.known if days is None else recency(problem.known, problem.times, half_life=days * DAY)
    model = ImplicitALS(factors, random_state=0).fit(pairs)
    metrics = ranking_metrics_at_k(model, problem.known, problem.later, K)
    return metrics["ndcg"], metrics["recall"]


def said(days: float | None) -> str:
    return "none" if days is None else f"{days} day{'' if days == 1 else 's'}"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS), choices=DATASETS, metavar="NAME")
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--publish", action="store_true", help="write the table that the site shows")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    return parser.parse_args()


if __name__ == "__main__":
    main()
