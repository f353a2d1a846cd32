"""That speed is not bought with accuracy: loss, residual and recall at a fixed seed."""

import numpy as np

from fastals import ImplicitALS

from .frozen_data import interactions

# name: (parameters, c0 and lambda of a row of n pairs among n_items)
REGIMES = {
    "hu": {"objective": "hu", "alpha": 10.0, "unobserved_weight": 1.0, "regularization": 10.0,
           "regularization_exponent": 0.0},
    "rendle": {"objective": "rendle", "alpha": 1.0, "unobserved_weight": 0.1, "regularization": 0.01,
               "regularization_exponent": 1.0},
}  # fmt: skip
SWEEPS = 5
LIST_LENGTH = 20


class Quality:
    """Of the model after five sweeps. Binary data, so that the systems can be written down in a few lines."""

    params = (["small", "films", "places"], ["hu", "rendle"], ["cg", "cholesky"], [32, 64], ["float32", "float64"])
    param_names = ("shape", "regime", "solver", "factors", "dtype")

    def setup(self, shape: str, regime: str, solver: str, factors: int, dtype: str) -> None:
        if shape != "small" and (factors, dtype) != (64, "float32"):
            raise NotImplementedError  # asv's way to leave a combination out
        self.train, self.test = (matrix.astype(bool).astype(np.float32) for matrix in interactions(shape))
        self.model = ImplicitALS(
            factors, solver=solver, dtype=dtype, iterations=SWEEPS, random_state=0, confidence="linear",
            **REGIMES[regime],
        ).fit(self.train)  # fmt: skip

    def track_loss(self, *_) -> float:
        """The objective per stored pair."""
        return self.model.loss(self.train) / self.train.nnz

    def track_residual(self, shape: str, regime: str, *_) -> float:
        """Largest |x - x*| / |x*| over 200 users, x* solved densely in float64 from the same item factors."""
        settings, Y = REGIMES[regime], self.model.item_factors.astype(np.float64)
        c0, alpha = settings["unobserved_weight"], settings["alpha"]
        target = alpha + (c0 if regime == "hu" else 0)  # c phi of a stored pair, whose c - c0 is alpha
        gramian, worst = c0 * Y.T @ Y, 0.0
        for u in np.flatnonzero(np.diff(self.train.indptr))[:: self.train.shape[0] // 200]:
            stored = Y[self.train.indices[self.train.indptr[u] : self.train.indptr[u + 1]]]
            frequency = len(stored) + c0 * self.train.shape[1]
            ridge = settings["regularization"] * frequency ** settings["regularization_exponent"]
            A = gramian + alpha * stored.T @ stored + ridge * np.eye(Y.shape[1])
            expected = np.linalg.solve(A, target * stored.sum(axis=0))
            worst = max(worst, np.linalg.norm(self.model.user_factors[u] - expected) / np.linalg.norm(expected))
        return worst

    def track_recall(self, *_) -> float:
        """Share of a user's held-out items among the top 20, mean over the users who have any."""
        users = np.flatnonzero(np.diff(self.test.indptr))
        ids, _ = self.model.recommend(users, N=LIST_LENGTH)
        held_out = self.test[users].tocoo()
        hits = (ids[held_out.row] == held_out.col[:, None]).any(axis=1)
        return (np.bincount(held_out.row, hits) / np.bincount(held_out.row)).mean()
