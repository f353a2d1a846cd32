"""That speed is not bought with accuracy: loss, residual and recall at a fixed seed."""

from itertools import product

import numpy as np
import scipy.sparse as sp

from fastals import ImplicitALS

from .frozen_data import REGIMES, binary, interactions

SWEEPS = 5
LIST_LENGTH = 20


def fitted(train: sp.csr_array, regime: str, solver: str, factors: int, dtype: str) -> ImplicitALS:
    """Model after five sweeps of binary data, whose systems can be written down in a few lines."""
    settings = {"solver": solver, "dtype": dtype, "confidence": "linear", **REGIMES[regime]}
    return ImplicitALS(factors, iterations=SWEEPS, random_state=0, **settings).fit(train)


def residual(model: ImplicitALS, train: sp.csr_array, regime: str) -> float:
    """Largest |x - x*| / |x*| over some 200 users, x* solved densely in float64 from the same item factors."""
    settings, Y = REGIMES[regime], model.item_factors.astype(np.float64)
    c0, alpha = settings["unobserved_weight"], settings["alpha"]
    target = alpha + (c0 if regime == "hu" else 0)  # c phi of a stored pair, whose c - c0 is alpha
    gramian, worst = c0 * Y.T @ Y, 0.0
    for u in np.flatnonzero(np.diff(train.indptr))[:: train.shape[0] // 200]:
        stored = Y[train.indices[train.indptr[u] : train.indptr[u + 1]]]
        frequency = len(stored) + c0 * train.shape[1]
        ridge = settings["regularization"] * frequency ** settings["regularization_exponent"]
        A = gramian + alpha * stored.T @ stored + ridge * np.eye(Y.shape[1])
        expected = np.linalg.solve(A, target * stored.sum(axis=0))
        worst = max(worst, np.linalg.norm(model.user_factors[u] - expected) / np.linalg.norm(expected))
    return worst


def recall(model: ImplicitALS, test: sp.csr_array) -> float:
    """Share of a user's held-out items among the top 20, mean over the users who have any."""
    users = np.flatnonzero(np.diff(test.indptr))
    ids, _ = model.recommend(users, N=LIST_LENGTH)
    held_out = test[users].tocoo()
    hits = (ids[held_out.row] == held_out.col[:, None]).any(axis=1)
    return float((np.bincount(held_out.row, hits) / np.bincount(held_out.row)).mean())


class Quality:
    """Everything is measured by ``setup_cache`` in one process; the ``track_`` methods look it up."""

    params = (["films", "places"], ["hu", "rendle"], ["cg", "cholesky"], [64], ["float32"])
    param_names = ("shape", "regime", "solver", "factors", "dtype")

    def setup_cache(self) -> dict[tuple, dict[str, float]]:
        return measured(*Quality.params)

    def track_loss(self, found, *setting) -> float:
        return found[setting]["loss per stored pair"]

    def track_residual(self, found, *setting) -> float:
        return found[setting]["residual"]

    def track_recall(self, found, *setting) -> float:
        return found[setting]["recall"]


class QualitySmall(Quality):
    """Every combination, on little data."""

    params = (["small"], ["hu", "rendle"], ["cg", "cholesky"], [32, 64], ["float32", "float64"])

    def setup_cache(self) -> dict[tuple, dict[str, float]]:
        return measured(*QualitySmall.params)


def measured(shapes, regimes, solvers, factors, dtypes) -> dict[tuple, dict[str, float]]:
    """The three figures of every combination."""
    found = {}
    for shape in shapes:
        train, test = map(binary, interactions(shape))
        for regime, *rest in product(regimes, solvers, factors, dtypes):
            model = fitted(train, regime, *rest)
            found[(shape, regime, *rest)] = {
                "loss per stored pair": model.loss(train) / train.nnz,
                "residual": residual(model, train, regime),
                "recall": recall(model, test),
            }
    return found
