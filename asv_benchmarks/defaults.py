"""Is the constructor good untouched? Popularity, the defaults and tuned parameters, on seven data sets.

    python asv_benchmarks/defaults.py [--datasets gowalla ...] [--trials 40] [--factors 64]
    python asv_benchmarks/defaults.py --leave-one-out

All models have the same number of factors. Tuned means: the best of ``--trials`` trials of ``fastals.tuning`` over
regularization, its exponent, and weight and exponent of missing pairs, in Hu's objective and as many in Rendle's, on
validation data taken from the training part; then fitted to all of it. The values are used as they are: stars, play
counts, quantities. Test parts are the published ones where the data have one, else a fifth of each user's pairs.

``--leave-one-out`` judges settings that nobody tuned on a set: for each set the setting of ``candidates`` that does
best on the others, by the worst of its ratios to the best of all candidates in NDCG@20 and Recall@20 on test data, and
what it and the constructor's defaults reach on the set left out. Candidates are the constructor, which finds the
exponent of missing pairs on the training data, what stands around it, Hu's form with a constant lambda, and Rendle's
form, each with popular items' missing pairs weighing as others or more: 229 fits a set, 121 of a set whose values are
all equal.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from published import publish

from fastals import ImplicitALS
from fastals.evaluation import Popularity, ranking_metrics_at_k, train_test_split
from fastals.tuning import comparable_regularization, tune

DATASETS = ("ml-100k", "ml-1m-ncf", "lastfm-2k", "online-retail", "goodbooks-to-read", "gowalla", "yelp2018")
METRIC = "recall"
DEFAULT = "the constructor"
# Of the items, among the candidates of --leave-one-out: finer steps differ by less than the test users' noise.
UNOBSERVED_EXPONENTS = (0.0, 0.25, 0.5, 0.75)


def main() -> None:
    options = parsed()
    if options.leave_one_out:
        leave_one_out(options)
        return
    print(f"{'':20}{'popularity':>12}{'default':>10}{'tuned':>10}{'default/tuned':>15}   tuned parameters", flush=True)
    rows = []
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
        searched = (
            "objective",
            "regularization",
            "regularization_exponent",
            "unobserved_weight",
            "unobserved_exponent",
        )
        chosen = ", ".join(f"{found[key]:.3g}" if key != "objective" else found[key] for key in searched)
        print(f"{name:20}{least:12.4f}{default:10.4f}{best:10.4f}{default / best:15.3f}   {chosen}", flush=True)
        rows.append([name, *(f"{one:.4f}".lstrip("0") for one in (least, default, best)), f"{default / best:.2f}"])
    if options.publish:
        columns = ["data", "popularity", "default", "tuned", "default / tuned"]
        command = f"python asv_benchmarks/defaults.py --trials {options.trials}"
        publish("defaults", "The constructor untouched, Recall@20", command, columns, rows)


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


def leave_one_out(options: argparse.Namespace) -> None:
    """Print the table of ``--leave-one-out``."""
    ratios: dict[str, dict[str, np.ndarray]] = {}
    for name in options.datasets:
        with np.load(options.data / f"{name}.npz") as file:
            train, validation, test = parts({key: file[key] for key in file.files})
        known = sp.csr_array(train + validation)
        values: dict[str, np.ndarray] = {}
        for label, arguments in candidates(known).items():
            values[label] = judged(known, test, arguments, options.factors)
            print(f"{name:20}{label:60}{values[label][0]:8.4f}{values[label][1]:8.4f}", flush=True)
        # Weights of equal values are the same, whatever the confidence: both are scaled to the mean 1.
        if np.ptp(known.data) == 0:
            values |= {label.replace("linear", "log"): value for label, value in values.items()}
        best = np.max(list(values.values()), axis=0)
        ratios[name] = {label: value / best for label, value in values.items()}
    heads = "".join(f"{f'{which}: NDCG, recall':>26}" for which in ("default", "chosen"))
    print(f"\n{'left out':20}{heads}   chosen on the others")
    rows = []
    everywhere = set.intersection(*(set(own) for own in ratios.values()))
    for name, own in ratios.items():
        others = [other for other in ratios if other != name]
        chosen = max(sorted(everywhere), key=lambda label: min(ratios[other][label].min() for other in others))
        values = [value for label in (DEFAULT, chosen) for value in own[label]]
        print(f"{name:20}{''.join(f'{value:13.3f}' for value in values)}   {chosen}")
        rows.append([name, *(f"{value:.3f}" for value in values), chosen])
    if options.publish:
        kinds = ("default", "chosen on the others")
        columns = ["data", *(f"{kind}: {metric}" for kind in kinds for metric in ("NDCG", "Recall")), "chosen"]
        command = "python asv_benchmarks/defaults.py --leave-one-out"
        publish("leave-one-out", "Share of the best of all settings, on test pairs of a set", command, columns, rows)


def judged(known: sp.csr_array, test: sp.csr_array, arguments: dict[str, Any], factors: int) -> np.ndarray:
    """NDCG@20 and Recall@20 on test pairs of a model with these arguments."""
    model = ImplicitALS(factors=factors, random_state=0, **arguments).fit(known)
    metrics = ranking_metrics_at_k(model, known, test, K=20)
    return np.array([metrics["ndcg"], metrics["recall"]])


def candidates(known: sp.csr_array) -> dict[str, dict[str, Any]]:
    """Settings by name, the defaults among them.

    Those that the defaults stand among: lambda by the automatic rule, times a factor. Hu's with a constant lambda at
    the exponent 1/2. Rendle's: the mean stored pair weighs 1, c0 is fixed or follows the density of the data, and the
    regularization is given by its strength at exponent 1, so that it compares across exponents and weights (see
    ``fastals.tuning.comparable_regularization``).
    """
    users, items = np.diff(known.indptr), np.bincount(known.indices, minlength=known.shape[1])
    density = known.nnz / (np.count_nonzero(users) * np.count_nonzero(items))
    found: dict[str, dict[str, Any]] = {DEFAULT: {}}
    for unobserved, strength in itertools.product(UNOBSERVED_EXPONENTS, (0.25, 0.5, 1)):
        found[f"linear, lambda {strength}, 0.5, missing pairs {unobserved}"] = {
            "confidence": "linear",
            "unobserved_exponent": unobserved,
            "regularization": strength,
            "regularization_exponent": 0.5,
        }
    sizes = {"linear": known.data.mean()}
    if np.ptp(known.data):
        sizes["log"] = np.log1p(known.data).mean()
    for confidence, unobserved in itertools.product(sizes, UNOBSERVED_EXPONENTS):
        arguments: dict[str, Any] = {"confidence": confidence, "unobserved_exponent": unobserved}
        automatic = ImplicitALS(factors=1, iterations=0, **arguments).fit(known).regularization_
        for strength in (0.5, 1, 1.5):
            regularization = tuple(strength * one for one in automatic)
            label = f"{confidence}, automatic lambda x {strength}, missing pairs {unobserved}"
            found[label] = {**arguments, "regularization": regularization}
    grid = itertools.product(
        sizes.items(),
        {"density^.5": density**0.5, "density^.5 / 3": density**0.5 / 3, ".03": 0.03, ".1": 0.1}.items(),
        (0.003, 0.01, 0.03),
        (0.5, 1.0),
        UNOBSERVED_EXPONENTS,
    )
    for (confidence, size), (rule, weight), strength, exponent, unobserved in grid:
        arguments = {
            "objective": "rendle",
            "confidence": confidence,
            "alpha": 1 / size,
            "unobserved_weight": weight,
            "unobserved_exponent": unobserved,
            "regularization_exponent": exponent,
        }
        arguments["regularization"] = comparable_regularization(strength, ImplicitALS(**arguments), known)
        found[f"{confidence}, c0 {rule}, lambda {strength}, {exponent}, missing pairs {unobserved}"] = arguments
    return found


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
    parser.add_argument("--publish", action="store_true", help="write the table that the site shows")
    parser.add_argument("--leave-one-out", action="store_true", help="judge settings chosen on the other sets")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    options = parser.parse_args()
    if options.leave_one_out and len(options.datasets) < 2:
        parser.error("--leave-one-out needs two data sets or more")
    return options


if __name__ == "__main__":
    main()
