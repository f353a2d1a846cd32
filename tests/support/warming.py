"""Compile what most tests call, so that the test processes that follow only load it.

Two workers that both start from an empty cache compile everything twice, at a peak of 1.5 GB each; loading takes
neither the time nor the memory. ``python warming.py float32`` (or ``float64``) does it for factors of one type, in a
process that then ends; ``warm`` runs both beside each other. What it leaves out is compiled by the tests themselves.
"""

import itertools
import os
import subprocess
import sys

TYPES = ("float32", "float64")


def warm() -> None:
    """Run this file once for each type of factors, and wait for them."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    started = [subprocess.Popen([sys.executable, __file__, dtype], env=environment) for dtype in TYPES]
    assert [process.wait() for process in started] == [0, 0]


def compile_all(dtype: str) -> None:
    """Fit and serve every kind of model with factors of a type."""
    import numpy as np
    import scipy.sparse as sp

    from fastals import ImplicitALS
    from fastals.evaluation import ranking_metrics_at_k

    random = np.random.default_rng(0)
    dense = random.integers(-1, 6, (60, 50)) * (random.random((60, 50)) < 0.2)
    dense[0] = 2
    values = sp.csr_array(dense, dtype=np.float64)
    ones = sp.csr_array(dense != 0, dtype=np.float32)
    preference = values.copy()
    preference.data = random.random(values.nnz)
    for matrix, solver, given in itertools.product((values, ones), ("cg", "cholesky"), (False, True)):
        phi = {"preference": preference.astype(matrix.dtype)} if given else {}
        model = ImplicitALS(20, iterations=3, solver=solver, dtype=dtype, confidence="log", random_state=0)
        model.fit(matrix, **phi)
        model.loss(matrix, **phi)
    everyone = np.arange(60)
    for users, rows in ((0, ones[[0]]), (everyone, ones)):
        model.recommend(users, rows, recalculate_user=True)
        model.recommend(users, items=[1, 2, 3])
        model.similar_users(users, N=3)
    model.similar_items(0)
    model.similar_items(np.arange(50))
    model.explain(0, ones, 1)
    model.recalculate_item(0)
    model.partial_fit_users([70], ones[[0]])
    model.predict([0], [1])
    ranking_metrics_at_k(model, sp.csr_array(model.user_items_.shape), model.user_items_, auc=True)


if __name__ == "__main__":
    compile_all(sys.argv[1])
