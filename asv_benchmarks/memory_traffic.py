"""How much of a half-sweep is the first touch of each row's factors, and whether an order of rows spares some of it.

    python asv_benchmarks/memory_traffic.py [--datasets gowalla yelp2018] [--factors 128 256]

A row reads its entries' factors once from far, from then on they are near. Measured, on factors after six sweeps, for
users and items: a half-sweep to ``--tolerance``; the same with a single step a row; and that with all entries moved to
64 rows of factors, which stay in the first-level cache. What the last two differ by is what far memory costs. Each with
users and items as they come, numbered by falling popularity, and shuffled. Milliseconds, medians of nine.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from race_data import load

from fastals import ImplicitALS
from fastals.core.state import State
from fastals.core.validation import read_only
from fastals.solver.eigenbasis import eigenbasis
from fastals.solver.fitting import Given, prepare
from fastals.solver.half_sweep import Settings, solve_rows
from fastals.solver.sides import Side

HERE = Path(__file__).resolve().parent
NEAR = 64  # rows of factors
REPEATS = 9


def orders(matrix: sp.csr_matrix) -> dict[str, sp.csr_matrix]:
    """The matrix in three orders of its rows and columns."""
    random = np.random.default_rng(0)
    by_popularity = [
        np.argsort(-counts, kind="stable")
        for counts in (np.diff(matrix.indptr), np.bincount(matrix.indices, minlength=matrix.shape[1]))
    ]
    shuffled = [random.permutation(size) for size in matrix.shape]
    given = {"by popularity": by_popularity, "shuffled": shuffled}
    return {
        "as they come": matrix,
        **{name: sp.csr_matrix(matrix[users][:, items]) for name, (users, items) in given.items()},
    }


def near(side: Side) -> Side:
    """The side with its entries in the first rows of the factors."""
    entries = side.entries._replace(indices=read_only((side.indices % NEAR).astype(np.int32)))
    return Side(entries, side.regularization, side.least_regularization, side.bounds)


def median(side: Side, other: Side, fixed: np.ndarray, c0: float, settings: Settings) -> float:
    """Milliseconds of a half-sweep without its basis."""
    basis = eigenbasis(fixed, other.regularization, c0, settings.num_threads, None, other.entries.row_weights)
    X, seconds = np.empty((side.indptr.size - 1, fixed.shape[1]), fixed.dtype), []
    for _ in range(REPEATS):
        since = time.perf_counter()
        solve_rows(side, basis, X, c0, settings)
        seconds.append(time.perf_counter() - since)
    return 1e3 * float(np.median(seconds))


def measure(matrix: sp.csr_matrix, factors: int, options: argparse.Namespace) -> list[list[float]]:
    """For users and items: to the tolerance, one step, one step near."""
    model = ImplicitALS(
        factors, alpha=10, regularization=10, regularization_exponent=0, random_state=0, iterations=6,
        num_threads=options.threads,
    )  # fmt: skip
    training, _ = prepare(model.fit(matrix), State(), Given(matrix))
    users, items, c0 = training.users.side, training.items.side, training.objective.c0
    whole, one = (
        Settings("cg", tolerance, steps, options.threads) for tolerance, steps in ((options.tolerance, 50), (1e9, 1))
    )
    found = []
    for side, other, fixed in ((users, items, model.item_factors), (items, users, model.user_factors)):
        rest = other, np.array(fixed), c0
        found.append([median(side, *rest, whole), median(side, *rest, one), median(near(side), *rest, one)])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=["gowalla", "yelp2018"], metavar="NAME")
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data", help="folder of .npz files")
    parser.add_argument("--factors", nargs="+", type=int, default=[128, 256], metavar="K")
    parser.add_argument("--tolerance", type=float, default=1e-2)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(f"{'':42}{'half-sweep':>12}{'one step':>10}{'near':>8}{'far share':>11}")
    for name in options.datasets:
        for order, matrix in orders(load(name, options.data)).items():
            for factors in options.factors:
                for side, (whole, one, close) in zip(
                    ("users", "items"), measure(matrix, factors, options), strict=True
                ):
                    label = f"{name}, {factors}, {order}, {side}"
                    print(f"{label:42}{whole:12.1f}{one:10.1f}{close:8.1f}{(one - close) / whole:11.2f}", flush=True)


if __name__ == "__main__":
    main()
