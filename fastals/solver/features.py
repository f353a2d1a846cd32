"""Effects of features: the ridge regression of one side's factors X (n, k) on its features F (n, d).

With what the features predict, Z = F A, the penalty of a side is

    sum_u lambda_u |x_u - z_u|^2 + strength |A|^2,

and where it is least in A, for fixed X,

    (F' diag(lambda) F + strength I) A = F' diag(lambda) X.

lambda does not change during a fit. Where there are few features the d x d matrix is factorised once; where there are
many, conjugate gradients with its diagonal as the preconditioner solve all k columns at a time, from the effects of the
sweep before, with two products with F a step and no d x d matrix. Either way the loss falls, as each step of conjugate
gradients lowers the quadratic that it minimises; so a sweep need not find the effects much more accurately than its
rows. (A tenth of their tolerance: on Goodbooks, 5,787 features, the whole of it left NDCG and recall 5 % lower after
15 sweeps, and 1e-9 took five to twelve times as long for nothing.)

Of many features some are equal, as are rare words and pieces of words, which occur together or not at all. Equal
columns f of F have equal effects a; with b = g^1/2 a, g of them add  f g a = (g^1/2 f) b  to a prediction and
strength b^2  to the penalty, as one column g^1/2 f does. So conjugate gradients work on distinct columns alone, whose
diagonal also is the better preconditioner. (Pieces of titles, 127,347 of them: 58,363 are distinct, half the time.)
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from fastals.core.features import Features
from fastals.core.overlay import History
from fastals.core.rows import Rows, digest, transposed
from fastals.core.state import needed
from fastals.core.unobserved import ALIKE
from fastals.core.validation import check_factors, read_only
from fastals.kernels.block_steps import descend_task, turn_task
from fastals.kernels.sparse import multiply_task
from fastals.solver.blas import single_threaded_blas
from fastals.solver.eigenbasis import Basis, aligned_factors, gramian, rotate
from fastals.solver.sides import balanced_bounds, even_bounds
from fastals.solver.threads import run_tasks

DIRECT_FEATURES = 1024  # up to so many the d x d matrix is factorised
DENSE_SHARE = 0.1  # of the features' entries, from which on their Gramian is that of dense rows
DENSE_ROWS = 2**14  # at a time
RESIDUAL = 1e-9  # relative, at which conjugate gradients stop at the latest
LOOSEST = 0.01  # and at the earliest
LARGEST_STEPS = 500
ELEMENTS = 2**15  # of the predictions, (n, k), at a time: what is read twice of them stays in the cache
RANGES = 256  # of the effects, in a pass over them
SERIAL_WORK = 2**17  # entries times factors of a product, or elements of a pass, that the calling thread does itself


def product(rows: Rows, scales: np.ndarray, X: np.ndarray, out: np.ndarray, num_threads: int | None) -> np.ndarray:
    """Write R diag(scales) X to ``out`` in place, and return it; a row's result depends on the row alone.

    ``rows`` is R (n, m), ``scales`` (m,) or ALIKE, ``X`` (m, k), ``out`` (n, k or more).
    """
    # Of arrays that may be written and of others Numba would compile a variant each.
    entries = (*(read_only(array) for array in (rows.indptr, rows.indices, rows.data, scales, X)), out)
    threads = 1 if rows.indices.size * X.shape[1] <= SERIAL_WORK else num_threads
    run_tasks(multiply_task, threads, balanced_bounds(rows.indptr), *entries)
    return out


def mean_diagonal(features: Rows, regularization: np.ndarray) -> float:
    """Mean diagonal of F' diag(lambda) F (d, d), what a strength stands beside; ``regularization`` is lambda (n,)."""
    of_entries = np.repeat(regularization, features.counts)
    return float((of_entries * np.square(features.data.astype(np.float64))).sum()) / features.shape[1]


def predictions(features: Rows, effects: np.ndarray, basis: Basis, num_threads: int | None) -> np.ndarray:
    """Z = F A in an eigenbasis, (n, width) of the type of the factors."""
    Z = aligned_factors(np.empty((features.shape[0], effects.shape[1]), basis.rotated.dtype))
    product(features, ALIKE, effects, Z, num_threads)
    rotate(Z, basis.into, num_threads, Z)
    return Z


def distances_of(
    X: np.ndarray, regularization: np.ndarray, features: Features | None, num_threads: int | None
) -> float:
    """sum_u lambda_u |x_u - z_u|^2 of factors X (n, k), in float64; z is zero if it is unknown."""
    total = 0.0
    rows = None if features is None else features.rows.oriented(0)
    for first in range(0, X.shape[0], DENSE_ROWS):
        part = slice(first, min(first + DENSE_ROWS, X.shape[0]))
        Z = np.zeros((part.stop - first, X.shape[1]))
        if features is not None and rows is not None:
            product(rows.taken(np.arange(first, part.stop)), ALIKE, features.effects, Z, num_threads)
        total += float((regularization[part] * np.square(X[part] - Z).sum(axis=1)).sum())
    return total


def effects_penalty(effects: np.ndarray, strength: float) -> float:
    """strength |A|^2."""
    return strength * float(np.square(effects).sum())


class Distinct(NamedTuple):
    """Distinct columns of F, each g^1/2 times as large as the g columns that it stands for.

    columns, rows : Rows
        F' and F, (d', n) and (n, d').
    first : (d',) int64 array
        The first of the columns that each stands for.
    place : (d,) int64 array
        Which of them stands for each column of F.
    roots : (d', 1) float64 array
        g^1/2.
    """

    columns: Rows
    rows: Rows
    first: np.ndarray
    place: np.ndarray
    roots: np.ndarray

    @classmethod
    def of(cls, columns: Rows) -> Distinct:
        """Those of F' (d, n)."""
        known: dict[tuple[bytes, bytes], int] = {}
        place, data = np.empty(columns.shape[0], np.int64), np.broadcast_to(columns.data, columns.indices.shape)
        for column, (start, stop) in enumerate(itertools.pairwise(columns.indptr.tolist())):
            key = columns.indices[start:stop].tobytes(), data[start:stop].tobytes()
            place[column] = known.setdefault(key, len(known))
        _, first, counts = np.unique(place, return_index=True, return_counts=True)
        roots, kept = np.sqrt(counts), columns._replace(data=data).taken(first)
        kept = kept._replace(data=kept.data * np.repeat(roots, kept.counts))
        return cls(kept, transposed(kept), first, place, roots[:, None])


class Effects:
    """Features of one side in a training: their effects, what they predict, and what they cost.

    Parameters
    ----------
    rows : Rows
        F (n, d).
    regularization : (n,) array
        lambda, in the units of the objective.
    strength : float
        Of the effects' penalty, in the same units; positive.
    factors : int
        k.
    num_threads : int, optional

    Attributes
    ----------
    array : (d, k) float64 array
        A. Another array takes its place when the effects change; none is ever written.
    """

    def __init__(
        self, rows: Rows, regularization: np.ndarray, strength: float, factors: int, num_threads: int | None
    ) -> None:
        self.rows, self._columns = rows, transposed(rows)
        self._regularization, self._strength, self._threads = regularization, strength, num_threads
        self.array = np.zeros((rows.shape[1], factors))
        self._factorised: Any = None
        self._distinct: Distinct | None = None

    def fit(self, X: Any, residual: float = RESIDUAL) -> None:
        """Find the effects for factors X (n, k), to a relative ``residual`` where they are iterated."""
        right = product(self._columns, self._regularization, X, np.empty(self.array.shape), self._threads)
        self.solve(right, residual)

    def solve(self, right: np.ndarray, residual: float = RESIDUAL) -> None:
        """Find the effects for  F' diag(lambda) X  (d, k) of the factors X."""
        if self.rows.shape[1] <= DIRECT_FEATURES:
            self.array = self._solved_directly(right)
        else:
            self.array = self._iterated(right, self.array.copy(), min(max(residual, RESIDUAL), LOOSEST))

    def take(self, array: Any) -> None:
        """Go on from effects (d, k)."""
        self.array = check_factors(array, "effects", self.array.shape, np.dtype(np.float64))

    @property
    def digest(self) -> str:
        """Of all that the effects depend on besides the factors."""
        return f"{digest(self.rows.indptr, self.rows.indices, self.rows.data, self._regularization)} {self._strength}"

    def state(self) -> Features:
        """Features and their present effects."""
        return Features(History(self.rows), self.array)

    def rotated(self, basis: Basis) -> np.ndarray:
        """What the features predict, in an eigenbasis; see ``predictions``."""
        return predictions(self.rows, self.array, basis, self._threads)

    def own_penalty(self) -> float:
        """strength |A|^2."""
        return effects_penalty(self.array, self._strength)

    def penalty(self, X: np.ndarray) -> float:
        """Penalty of factors X (n, k) and of the effects."""
        return distances_of(X, self._regularization, self.state(), self._threads) + self.own_penalty()

    def _solved_directly(self, right: np.ndarray) -> np.ndarray:
        from scipy.linalg import cho_factor, cho_solve

        with single_threaded_blas():
            if self._factorised is None:
                matrix = self._gramian()
                matrix[np.diag_indices_from(matrix)] += self._strength
                self._factorised = cho_factor(matrix, overwrite_a=True)
            # LAPACK's columns, laid in rows: sums over them have the same digits after a file was read.
            return np.ascontiguousarray(cho_solve(self._factorised, right))

    def _gramian(self) -> np.ndarray:
        """F' diag(lambda) F, (d, d)."""
        n, d = self.rows.shape
        if self.rows.indices.size < DENSE_SHARE * n * d:
            F = self.rows.as_csr(np.dtype(np.float64))
            dense: np.ndarray = (F.T @ F.multiply(self._regularization[:, None]).tocsr()).toarray()
            return dense
        total = np.zeros((d, d))
        for first in range(0, n, DENSE_ROWS):
            ids = np.arange(first, min(first + DENSE_ROWS, n))
            block = self.rows.taken(ids).as_csr(np.dtype(np.float64)).toarray()
            total += gramian(block, np.zeros(ids.size), self._threads, self._regularization[ids])[0]
        return total

    def _iterated(self, right: np.ndarray, A: np.ndarray, residual: float) -> np.ndarray:
        """Effects by conjugate gradients for all columns of X at a time, from the effects A.

        The residual is relative to the right-hand side, in the norm of the inverse of the preconditioner.
        """
        if self._distinct is None:
            self._distinct = Distinct.of(self._columns)
        columns, _, first, place, roots = self._distinct
        squares = product(
            columns._replace(data=columns.data.astype(np.float64) ** 2), self._regularization,
            np.ones((columns.shape[1], 1)), np.empty((columns.shape[0], 1)), self._threads,
        )  # fmt: skip
        B = roots * A[first]
        self._iterate(roots * right[first], 1 / (squares + self._strength), B, residual)
        found: np.ndarray = (B / roots)[place]
        return found

    def _iterate(self, right: np.ndarray, inverse: np.ndarray, B: np.ndarray, residual: float) -> None:
        """Conjugate gradients for the distinct columns' effects B (input and output)."""
        R, P = np.empty(B.shape), np.zeros(B.shape)
        self._apply(B, R)
        np.subtract(right, R, out=R)
        R -= self._strength * B
        squared = np.einsum("ij,ij->j", R, inverse * R)
        enough = residual**2 * np.einsum("ij,ij->j", right, inverse * right)
        ratio, Q = np.zeros(B.shape[1]), np.empty(B.shape)
        for _ in range(LARGEST_STEPS):
            left = squared > enough
            if not left.any():
                break
            squares = self._in_ranges(turn_task, B.shape, ratio, inverse, R, P)
            curvature = self._apply(P, Q) + self._strength * squares
            length = np.where(left, squared / np.where(curvature > 0, curvature, np.inf), 0)
            after = self._in_ranges(descend_task, B.shape, length, self._strength, inverse, (P, Q, B, R))
            ratio = np.where(left, after / np.where(squared > 0, squared, 1), 0)
            squared = after

    def _in_ranges(self, task: Any, shape: tuple[int, ...], *arguments: Any) -> np.ndarray:
        """Run a pass of ``fastals.kernels.block_steps`` over all rows of vectors of a shape (d, k); its sums (k,)."""
        bounds = even_bounds(shape[0], RANGES)
        sums = np.empty((bounds.size - 1, shape[1]))
        run_tasks(task, 1 if math.prod(shape) <= SERIAL_WORK else self._threads, bounds, *arguments, sums)
        return sums.sum(axis=0)

    def _apply(self, P: np.ndarray, Q: np.ndarray) -> np.ndarray:
        """Write  Q = F' diag(lambda) Z  of  Z = F P  to Q (d', k) in place; return  P.Q = sum_u lambda_u z_u^2  (k,).

        F has the distinct columns.
        """
        columns, rows, *_ = needed(self._distinct)
        Z = product(rows, ALIKE, P, np.empty((rows.shape[0], P.shape[1])), self._threads)
        product(columns, self._regularization, Z, Q, self._threads)
        curvature, size = np.zeros(P.shape[1]), max(ELEMENTS // P.shape[1], 1)
        for first in range(0, Z.shape[0], size):
            z, scales = Z[first : first + size], self._regularization[first : first + size]
            curvature += np.einsum("i,ij->j", scales, np.square(z))
        return curvature
