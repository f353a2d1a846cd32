"""Tuning against tuning: `fastals.tuning.tune` and irspack's own, with equal trials on equal data.

    python asv_benchmarks/tuning_race.py [--datasets lastfm-2k ...] [--trials 20] [--seeds 3] [--values] [--publish]

needs irspack in the environment (0.5.2 was measured). Each searches as it comes, with the number of factors given, for
NDCG@20 on the validation pairs; its best is fitted to training and validation pairs together, and its lists are judged
on the test pairs by the same metrics. Data and parts are those of ``defaults.py``; pairs count 1 unless ``--values``
keeps stars, play counts and quantities. "trials" is the time of the search.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from defaults import DATASETS, parts
from published import publish

from fastals.evaluation import RankingMetrics, metrics_from_rankings, ranking_metrics_at_k
from fastals.tuning import tune

K = 20
BLOCK = 1024  # users scored at a time


def main() -> None:
    options = parsed()
    rows = []
    print(f"{'':20}{'seed':>5}  {'tuned by':10}{'NDCG@20':>9}{'Recall@20':>10}{'valid':>8}{'trials':>9}   parameters")
    for name in options.datasets:
        with np.load(options.data / f"{name}.npz") as file:
            train, validation, test = parts({key: file[key] for key in file.files})
        if not options.values:
            for matrix in (train, validation, test):
                matrix.data[:] = 1
        found: dict[str, list[tuple[float, float]]] = {}
        for seed in range(options.seeds):
            for library, search in (("fastals", by_fastals), ("irspack", by_irspack)):
                start = time.perf_counter()
                parameters, value, judge = search(train, validation, options, seed)
                seconds = time.perf_counter() - start
                metrics = judge(sp.csr_array(train + validation), test)
                found.setdefault(library, []).append((metrics["ndcg"], metrics["recall"]))
                print(
                    f"{name:20}{seed:5}  {library:10}{metrics['ndcg']:9.4f}{metrics['recall']:10.4f}{value:8.4f}"
                    f"{seconds:7.0f} s   {shown(parameters)}",
                    flush=True,
                )
        for library, values in found.items():
            ndcg, recall = np.mean(values, axis=0)
            print(f"{name:20}{'mean':>5}  {library:10}{ndcg:9.4f}{recall:10.4f}", flush=True)
            rows.append([name, library, f"{ndcg:.4f}", f"{recall:.4f}"])
    if options.publish:
        title = f"Tuned with {options.trials} trials each, {options.factors} factors, mean of {options.seeds} searches"
        command = f"python asv_benchmarks/tuning_race.py --trials {options.trials} --seeds {options.seeds}"
        publish("tuning", title, command, ["data", "tuned by", "NDCG@20", "Recall@20"], rows)


def by_fastals(train: sp.csr_array, validation: sp.csr_array, options: argparse.Namespace, seed: int) -> Any:
    """Parameters, their value on validation data, and a function that fits and judges them."""
    from fastals import ImplicitALS

    result = tune(train, validation, n_trials=options.trials, factors=options.factors, K=K, random_state=seed)

    def judge(known: sp.csr_array, unknown: sp.csr_array) -> RankingMetrics:
        return ranking_metrics_at_k(ImplicitALS(**result.best_params).fit(known), known, unknown, K)

    return result.best_params, result.best_value, judge


def by_irspack(train: sp.csr_array, validation: sp.csr_array, options: argparse.Namespace, seed: int) -> Any:
    """The same with irspack's own search."""
    from irspack import Evaluator, IALSRecommender

    logging.disable(logging.INFO)
    evaluator = Evaluator(sp.csr_matrix(validation), cutoff=K, target_metric="ndcg")
    with contextlib.redirect_stdout(io.StringIO()):  # bars of progress
        parameters, history = IALSRecommender.tune(
            sp.csr_matrix(train), evaluator, n_trials=options.trials, tuning_random_seed=seed,
            n_components=options.factors,
        )  # fmt: skip

    def judge(known: sp.csr_array, unknown: sp.csr_array) -> RankingMetrics:
        with contextlib.redirect_stdout(io.StringIO()):
            model = IALSRecommender(sp.csr_matrix(known), n_components=options.factors, **parameters).learn()
        lists = [best(model, first, min(first + BLOCK, known.shape[0])) for first in range(0, known.shape[0], BLOCK)]
        return metrics_from_rankings(np.vstack(lists), unknown, K)

    return parameters, float(history["ndcg@20"].max()), judge


def best(model: Any, first: int, last: int) -> np.ndarray:
    """The best K items of some users of an irspack model, without those they have."""
    scores = model.get_score_remove_seen_block(first, last)
    ids = np.argpartition(-scores, K, axis=1)[:, :K]
    return np.take_along_axis(ids, np.argsort(-np.take_along_axis(scores, ids, axis=1), axis=1), axis=1)


def shown(parameters: dict[str, Any]) -> str:
    """What was searched."""
    searched = ("objective", "unobserved_weight", "regularization", "regularization_exponent", "iterations")
    names = searched if "objective" in parameters else sorted(parameters)
    return ", ".join(f"{n} {parameters[n]:.3g}" if n != "objective" else parameters[n] for n in names)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=["lastfm-2k", "ml-100k", "online-retail"], choices=DATASETS)
    parser.add_argument("--trials", type=int, default=20, help="of each search")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds of the searches, counted from 0")
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--values", action="store_true", help="use the values as they are instead of 1")
    parser.add_argument("--publish", action="store_true", help="write the means as a table of the site")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    return parser.parse_args()


if __name__ == "__main__":
    main()
