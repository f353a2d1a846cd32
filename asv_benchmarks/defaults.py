"""Is the constructor good untouched? Popularity, the defaults and tuned parameters, on seven data sets.

    python asv_benchmarks/defaults.py [--datasets gowalla ...] [--trials 40] [--factors 64]

All models have the same number of factors. Tuned means: the best of ``--trials`` trials of ``fastals.tuning`` over
regularization, its exponent and alpha, in Hu's objective and as many in Rendle's with its unobserved weight, on
validation data taken from the training part; then fitted to all of it. The values are used as they are: stars, play
counts, quantities. Test parts are the published ones where the data have one, else a fifth of each user's pairs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastals import ImplicitALS
from fastals.evaluation import Popularity, ranking_metrics_at_k, train_test_split
from fastals.tuning import tune

DATASETS = ("ml-100k", "ml-1m-ncf", "lastfm-2k", "online-retail", "goodbooks-to-read", "gowalla", "yelp2018")
METRIC = "recall"


def main() -> None:
    options = parsed()
    print(f"{'':20}{'popularity':>12}{'default':>10}{'tuned':>10}{'default/tuned':>15}   tuned parameters", flush=True)
    for name in options.datasets:
        path = options.data / f"{name}.npz"
        if not path.is_file():
            print(f"{name:20}skipped: there is no {path}")
            continue
        with np.load(path) as file:
            train, validation, test = parts({key: file[key] for key in file.files})
        everything = sp.csr_array(train + validation)

        def recall(model: Any, known: sp.csr_array = everything, unknown: sp.csr_array = test) -> float:
            return ranking_metrics_at_k(model, known, unknown, K=20)[METRIC]

        default = recall(ImplicitALS(factors=options.factors, random_state=0).fit(everything))
        found = tuned(train, validation, options)
        best = recall(ImplicitALS(**{**found, "random_state": 0}).fit(everything))
        least = recall(Popularity(everything))
        searched = ("objective", "regularization", "regularization_exponent", "alpha", "unobserved_weight")
        chosen = ", ".join(f"{found[key]:.3g}" if key != "objective" else found[key] for key in searched)
        print(f"{name:20}{least:12.4f}{default:10.4f}{best:10.4f}{default / best:15.3f}   {chosen}", flush=True)


def tuned(train: sp.csr_array, validation: sp.csr_array, options: argparse.Namespace) -> dict[str, Any]:
    """The parameters that do best on the validation data, of both objectives."""
    results = [
        tune(
            train, validation, n_trials=options.trials, metric=METRIC, K=20, factors=options.factors, patience=None,
            model=ImplicitALS(objective=objective, alpha=1.0),
        )
        for objective in ("hu", "rendle")
    ]  # fmt: skip
    return max(results, key=lambda result: result.best_value).best_params


def parts(arrays: dict[str, np.ndarray]) -> tuple[sp.csr_array, sp.csr_array, sp.csr_array]:
    """Training, validation and test part of a data set, of one shape."""
    if "test_negatives" in arrays or "train_user" not in arrays:  # one pair a user, or none, is no test for recall
        prefix = "train_" if "train_user" in arrays else ""
        user, item = arrays[f"{prefix}user"], arrays[f"{prefix}item"]
        value = arrays.get(f"{prefix}value", np.ones(user.size))
        bought = value > 0  # returned goods are negative quantities
        matrix = sp.coo_array((value[bought].astype(np.float64), (user[bought], item[bought]))).tocsr()
        train, test = train_test_split(matrix, test_size=0.2, random_state=0)
    else:
        pairs = [(arrays[f"{part}_user"], arrays[f"{part}_item"]) for part in ("train", "test")]
        shape = tuple(1 + max(at.max() for at in side) for side in zip(*pairs, strict=True))
        train, test = (sp.csr_array((np.ones(pair[0].size), pair), shape=shape) for pair in pairs)
    return *train_test_split(train, test_size=0.15, random_state=1), test


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS), choices=DATASETS, metavar="NAME")
    parser.add_argument("--trials", type=int, default=40, help="of each objective")
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    return parser.parse_args()


if __name__ == "__main__":
    main()
