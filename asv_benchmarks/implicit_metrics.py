"""The models of the installed library implicit under fastals' metrics, and fastals' model under implicit's.

    python asv_benchmarks/implicit_metrics.py [--peers-env FOLDER]

fits models of implicit to generated data in the peers' environment (as ``race.py``, which sets it up; Numba is added),
and holds ``fastals.evaluation.ranking_metrics_at_k`` against ``implicit.evaluation``: MAP, NDCG, and precision, which
implicit takes as hits over reachable hits. It fails where they differ.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from race import HERE, environment, peers_python

from fastals import ImplicitALS
from fastals.datasets import make_interactions
from fastals.evaluation import RankingMetrics, ranking_metrics_at_k, train_test_split

TOLERANCE = 1e-12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-env", type=Path, default=HERE.parent / ".peers-venv", help="environment of the peers")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        compare()
        return
    python = peers_python(options.peers_env)
    if subprocess.run([python, "-c", "import numba"], capture_output=True).returncode:
        subprocess.run([python, "-m", "pip", "install", "--quiet", "numba"], check=True)
    sys.exit(subprocess.run([python, __file__, "--inside"], env=environment(1)).returncode)


def compare() -> None:
    """Print the figures of both libraries for every model; SystemExit where they differ."""
    import implicit
    from implicit.evaluation import ranking_metrics_at_k as of_implicit

    plays, *_ = make_interactions(900, 400, n_groups=8, mean_per_user=20, random_state=0)
    train, test = map(short_indices, train_test_split(plays, random_state=0))
    print(f"implicit {implicit.__version__}, {train.nnz:,} pairs to train, {test.nnz:,} to judge")
    differ = []
    for name, model in models(train):
        for K in (5, 20):
            got = ours(ranking_metrics_at_k(model, train, test, K))
            expected = of_implicit(model, train, test, K, show_progress=False, num_threads=1)
            worst = max(abs(got[metric] / expected[metric] - 1) for metric in got)
            print(f"{name:28} at {K:2}: " + ", ".join(f"{metric} {got[metric]:.6f}" for metric in got), f"{worst:.0e}")
            if not worst < TOLERANCE:
                differ.append(f"{name} at {K}: {got} here, {dict(expected)} by implicit")
    if differ:
        raise SystemExit("\n".join(differ))


def short_indices(part: sp.csr_array) -> sp.csr_matrix:
    """The matrix as implicit wants it: of SciPy's old class, with indices of 32 bits."""
    indices, indptr = part.indices.astype(np.int32), part.indptr.astype(np.int32)
    return sp.csr_matrix((part.data.astype(np.float32), indices, indptr), shape=part.shape)


def models(train: sp.csr_matrix) -> Iterator[tuple[str, Any]]:
    """Fitted models of both libraries by name."""
    from implicit.cpu.als import AlternatingLeastSquares
    from implicit.cpu.bpr import BayesianPersonalizedRanking
    from implicit.cpu.lmf import LogisticMatrixFactorization
    from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender

    settings = {"random_state": 0, "num_threads": 1}
    for model in (
        AlternatingLeastSquares(16, **settings),
        BayesianPersonalizedRanking(16, **settings),
        LogisticMatrixFactorization(16, **settings),
        CosineRecommender(K=30, num_threads=1),
        TFIDFRecommender(K=30, num_threads=1),
        BM25Recommender(K=30, num_threads=1),
    ):
        model.fit(train, show_progress=False)
        yield type(model).__name__, model
    yield "fastals.ImplicitALS", ImplicitALS(16, random_state=0).fit(train)


def ours(metrics: RankingMetrics) -> dict[str, float]:
    """Metrics by the names and definitions of implicit."""
    hits = metrics.per_user["precision"].sum() * metrics.K
    precision = float(hits / np.minimum(metrics.K, metrics.n_test).sum())
    return {"precision": precision, "map": metrics["map"], "ndcg": metrics["ndcg"]}


if __name__ == "__main__":
    main()
