"""One script run with implicit and with ``fastals.compat.implicit``: what it prints must agree.

    python asv_benchmarks/compat_check.py

needs implicit in the same environment. Rows are solved directly (``use_cg=False``), so that the items agree up to
rounding. implicit leaves its users one half-sweep behind, so both solve them once more; then scores, lists without
ties, neighbours, explanations, weights of pairs are compared, and each library reads what the other has saved.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

HERE = Path(__file__).resolve().parent
ITERATIONS = 5


def data() -> sp.csr_matrix:
    from fastals.datasets import make_interactions

    return sp.csr_matrix(make_interactions(n_users=400, n_items=150, random_state=0)[0]).astype(np.float64)


def script(als: Any, bm25_weight: Any, tfidf_weight: Any) -> dict[str, Any]:
    """What a user of implicit does; only the imports differ."""
    matrix = data()
    weighted = bm25_weight(matrix, K1=100, B=0.8).tocsr()
    model = als(factors=8, regularization=0.5, alpha=2.0, iterations=ITERATIONS, use_cg=False, random_state=3,
                dtype=np.float64)  # fmt: skip
    model.fit(matrix, show_progress=False)
    found_items = np.array(model.item_factors)
    model.user_factors = model.recalculate_user(np.arange(matrix.shape[0]), matrix)
    users = np.arange(20)
    found: dict[str, Any] = {
        "bm25": weighted.toarray(),
        "tfidf": tfidf_weight(matrix).toarray(),
        "items": found_items,
        "scores": model.user_factors @ model.item_factors.T,
        "norms": model.item_norms,
    }
    found["ids"], found["list scores"] = model.recommend(users, matrix[users], N=5)
    found["one"] = model.recommend(3, matrix[3], N=5)[0]
    found["chosen"] = model.recommend(3, matrix[3], N=5, items=np.arange(40, 60))[0]
    found["fold-in"] = model.recommend(10_000, matrix[7], N=5, recalculate_user=True)[0]
    found["similar"] = model.similar_items(11, N=5)[1]
    found["users"] = model.similar_users(11, N=5)[1]
    found["explained"] = model.explain(5, matrix, 9)[0]
    model.partial_fit_users([401], matrix[[2]])
    found["grown"] = np.array(model.user_factors.shape)
    return found


def exchanged(reader: Any, writer: Any) -> None:
    """Let one library read what the other has saved."""
    matrix = data()
    model = writer(factors=4, iterations=2, random_state=1)
    model.fit(matrix, show_progress=False)
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model")
        other = reader.load(f"{folder}/model.npz")
    np.testing.assert_array_equal(other.item_factors, model.item_factors)
    np.testing.assert_array_equal(other.recommend(0, matrix[0], N=3)[0], model.recommend(0, matrix[0], N=3)[0])


def main() -> None:
    sys.path.insert(0, str(HERE.parent))
    warnings.simplefilter("ignore")
    from implicit.cpu.als import AlternatingLeastSquares as Theirs
    from implicit.nearest_neighbours import bm25_weight as their_bm25
    from implicit.nearest_neighbours import tfidf_weight as their_tfidf

    from fastals.compat.implicit import AlternatingLeastSquares, bm25_weight, tfidf_weight

    expected, got = script(Theirs, their_bm25, their_tfidf), script(AlternatingLeastSquares, bm25_weight, tfidf_weight)
    for name, value in expected.items():
        off = np.abs(np.asarray(got[name], float) - np.asarray(value, float)).max()
        print(f"{name}: largest difference {off:.2g}")
        np.testing.assert_allclose(got[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
    exchanged(Theirs, AlternatingLeastSquares)
    exchanged(AlternatingLeastSquares, Theirs)
    print("the same")


if __name__ == "__main__":
    main()
