"""Data sets and the loss of the race: NumPy and SciPy alone, so that every contender's interpreter can import it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import scipy.sparse as sp

REAL = ("ml-1m-ncf", "gowalla", "yelp2018", "goodbooks-to-read")
GENERATED = ("generated-dense", "generated-sparse")

# users, items, mean stored a user: the shapes of ml-1m and of gowalla.
_SHAPES = {"generated-dense": (6_000, 3_700, 165), "generated-sparse": (30_000, 41_000, 27)}

# Pairs scored at a time: two float64 blocks of 2048 x 256 take 8 MiB, small beside every contender's own memory.
_CHUNK = 2048


def load(name: str, folder: Path) -> sp.csr_matrix:
    """The binary training matrix of a data set, users in rows: float32 ones, int32 indices, sorted, no duplicates."""
    if name in _SHAPES:
        user, item = generate(*_SHAPES[name])
    else:
        with np.load(folder / f"{name}.npz") as arrays:
            prefix = "train_" if "train_user" in arrays else ""
            user, item = arrays[prefix + "user"], arrays[prefix + "item"]
    matrix = sp.csr_matrix((np.ones(user.size, np.float32), (user, item)))
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def generate(n_users: int, n_items: int, mean: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """User and item of each draw: log-normal activity, power-law popularity, half of them of the user's taste."""
    rng = np.random.default_rng(seed)
    activity = rng.lognormal(0.0, 1.0, n_users)
    counts = np.maximum(rng.poisson(activity / activity.mean() * mean), 1)
    user = np.repeat(np.arange(n_users, dtype=np.int32), counts)
    popularity = np.cumsum(1.0 / np.arange(10, n_items + 10))
    item = np.searchsorted(popularity, rng.random(user.size) * popularity[-1])
    # An item belongs to the taste of its index modulo 32; half of a user's draws move to the nearest item of his taste.
    taste = rng.integers(0, 32, n_users)[user]
    own = rng.random(user.size) < 0.5
    item[own] = np.minimum(item[own] // 32 * 32 + taste[own], n_items - 1)
    return user, item.astype(np.int32)


def hu_loss(
    matrix: sp.csr_matrix, users: np.ndarray, items: np.ndarray, alpha: float, regularization: float, threads: int
) -> float:
    """Hu, Koren and Volinsky's loss of binary data in float64, without visiting the pairs that are not stored.

    sum over ALL c (phi - x)^2 = sum_stored [(1 + alpha) (1 - x)^2 - x^2]  +  tr(P'P Q'Q), and lambda (|P|^2 + |Q|^2).
    """
    row = np.repeat(np.arange(matrix.shape[0], dtype=np.int32), np.diff(matrix.indptr))

    def stored(begin: int) -> float:
        part = slice(begin, begin + _CHUNK)
        p, q = users[row[part]].astype(np.float64), items[matrix.indices[part]].astype(np.float64)
        x = np.einsum("tk,tk->t", p, q)
        return float(((1.0 + alpha) * (1.0 - x) ** 2 - x**2).sum())

    with ThreadPoolExecutor(threads) as pool:
        fit = sum(pool.map(stored, range(0, matrix.nnz, _CHUNK)))
    p_gramian, q_gramian = _gramian(users), _gramian(items)
    ridge = np.trace(p_gramian) + np.trace(q_gramian)
    return float(fit + (p_gramian * q_gramian).sum() + regularization * ridge)


def _gramian(factors: np.ndarray) -> np.ndarray:
    total = np.zeros((factors.shape[1], factors.shape[1]))
    for begin in range(0, len(factors), _CHUNK):
        block = factors[begin : begin + _CHUNK].astype(np.float64)
        total += block.T @ block
    return total


def dense_half_sweep(matrix: sp.csr_matrix, fixed: np.ndarray, alpha: float, regularization: float) -> np.ndarray:
    """Exact rows given the other side's factors, by dense normal equations: the oracle of the check."""
    seen, fixed = matrix.toarray() != 0, fixed.astype(np.float64)
    solved = np.zeros((seen.shape[0], fixed.shape[1]))
    for u, phi in enumerate(seen):
        c = 1.0 + alpha * phi
        A = fixed.T @ (c[:, None] * fixed) + regularization * np.eye(fixed.shape[1])
        solved[u] = np.linalg.solve(A, fixed.T @ (c * phi))
    return solved


def dense_loss(
    matrix: sp.csr_matrix, users: np.ndarray, items: np.ndarray, alpha: float, regularization: float
) -> float:
    """The same loss summed over every pair."""
    phi = (matrix.toarray() != 0).astype(np.float64)
    p, q = users.astype(np.float64), items.astype(np.float64)
    return float(((1.0 + alpha * phi) * (phi - p @ q.T) ** 2).sum() + regularization * ((p**2).sum() + (q**2).sum()))
