"""How far from exact a solved row may be: limits that follow from roundoff, condition, ``tol`` and the sizes involved.

Notation: u is the unit roundoff of the factors' type, k their number, n the entries of a row; |.| are 2-norms of
vectors and spectral norms of matrices. A row's system is A = M + sum extra_t y_t y_t', M = c0 Y'Y + lambda I, with the
right-hand side b = sum target_t y_t. With the exact eigenvectors V of Y'Y, M is the diagonal m_j = c0 s_j + lambda, and

    S_A = |M| + sum |extra_t| |y_t|^2       S_b = sum |target_t| |y_t|       trace = sum |extra_t| |y_t|^2_{M^-1}

are the sizes of what is added up. All counts below are worst cases of every rounding (Higham 2002, chapter 3: a sum of
n products errs by n u times the sum of their sizes): nothing is fitted to what the package does. First-order terms
only; the next ones are smaller by another n u.

The residual r = b - A x of a returned x is, component by component in the eigenbasis,

    |r_j| <= beta + m_j^1/2 alpha

beta, errors that are small in the ordinary norm. y_t V is rounded: V itself by u, sums of k products by k u, so each
    component by (k + 1) u |y_t| and the vector by k^1/2 (k + 1) u |y_t|; so is x = V x~. They enter b once, y_t y_t' x
    twice, and A x (through x) once; besides, weights are rounded (3 u), n entries are added (n u) and their inner
    products have k terms. The Gramian and its eigenvectors are float64, with an error of 8 k u64 |Y'Y| (LAPACK's bound
    has a modest polynomial of k):
        beta = u [(k + n + 6) S_b + (2 k^1/2 (k + 1) + 2 k + n + 10) S_A |x|] + u64 (10 k + 2 n + 10) (S_b + S_A |x|)
        the last term being the oracle's own roundings, too. What is below the type's smallest number t is rounded to a
    multiple of it: t k (sum |target_t| + S_A (1 + |x|)) besides.
alpha, errors that are small in the norm of M^-1, in which rows are solved (in M^1/2 x the diagonal is 1, and since M is
    diagonal there, roundings are those of a system of condition 1 + trace):
    - the stopping rule of "cg": tol min(|b|_{M^-1}, |x|_A), the second only where no weight is below c0; |x|_A^2 is
      what the loss falls by, x.(b + r);
    - x~ is kept in the factors' type: u (1 + trace) |x|_M;
    - cg: a step's product errs by (k + n + 6) u (1 + trace) |p| for a direction of length p, the update of x by
      u (1 + trace) |x|. Directions are A-orthogonal, so that the lengths of s steps add up to s^1/2 |x|_A at most
      (Pythagoras, Cauchy-Schwarz), and iterates from zero do not outgrow the solution (Steihaug 1983); from a guess no
      worse than zero they stay below 2 |x|_A:  3 u [s^1/2 (k + n + 6) + 2 s] (1 + trace) |x|_A;
    - directly, primal: forming adds n u trace, Cholesky and two triangular solutions (3 k + 8) u (k + trace) (Higham
      2002, theorem 10.3, |R'||R| <= trace of A):  u (4 k + n + 8) (k + trace) |x|_M;
    - directly, dual, z = (I + Z Z')^-1 s with s_t = target_t / extra_t^1/2: the n x n system as before with z <= |s|,
      and Z' carries its error back:  u (5 n + k + 8) (n + trace) trace^1/2 |s|. This is not backward stable: it loses
      the condition. float32 may go so far as 1e4, and float64 takes over; there pivots below 1e-7 of the diagonal send
      the row to the primal form.

Where A itself is singular in float64 (a pivot below 1e-14 of S_A, and the roundings of the pivots), the row may have
been given a ridge of 1e-12 of S_A: README says so. And directions of Y'Y that are rounding errors (relative to the
largest, k max(k eps^2, eps64)) may have been left out: then r_j there is what the row has in them, up to k eps |Y|.

The loss that comes with the solution is K - b.x - x.r for the constant K = sum c phi^2, in which every term errs as its
parts do:  3 u K + beta |x| + alpha' |x|_M, with alpha' as above but for the stopping rule, which the term x.r accounts
for (directly solved rows leave it out: there alpha' = alpha, and for them tol is not in alpha). The row's loss exceeds
its minimum by |r|^2_{A^-1} <= sum_j (beta / m_j^1/2 + alpha)^2 / w with w = min(1, c / c0), for A >= w M.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .oracle import Terms, normal_equations
from .problem import ROUNDOFF, Problem

U64 = ROUNDOFF["float64"]
HEAVY = 1e3  # c / c0 beyond which "cg" solves a row directly
DUAL_CONDITION = {"float32": 1e4, "float64": 1e7}
RIDGE, PIVOT = 1e-12, 1e-14
SMALLEST = {"float32": 2.0**-149, "float64": 2.0**-1074}


class Method(NamedTuple):
    """How rows are solved, as the parameters say."""

    solver: str
    tol: float
    max_steps: int
    dtype: str

    @classmethod
    def of(cls, problem: Problem) -> Method:
        p = problem.parameters
        return cls(p["solver"], float(p["tol"]), p["max_cg_steps"], p["dtype"])


@dataclass
class Solved:
    """Rows held against their normal equations: residuals in the eigenbasis and their limits (rows, k), and by row."""

    residuals: np.ndarray
    limits: np.ndarray
    loss_error: np.ndarray  # of the loss that comes with the solution
    excess: np.ndarray  # above the row's minimum, at most
    solution_error: np.ndarray  # |x - exact x|, at most
    solution: np.ndarray  # exact x (rows, k), where A is not singular


@dataclass
class _Sizes:
    """Sums of sizes of every row (rows,), or of its eigendirections (rows, k)."""

    M: np.ndarray
    ridge: np.ndarray
    system: np.ndarray  # S_A
    target: np.ndarray  # S_b
    targets: np.ndarray  # sum |target|
    trace: np.ndarray
    x: np.ndarray  # |x|
    x_in_M: np.ndarray
    x_in_A: np.ndarray
    b_in_M: np.ndarray
    sources: np.ndarray  # |s| of the dual form
    counts: np.ndarray
    left_out: np.ndarray  # r_j where the direction has been left out


def solved_rows(terms: Terms, X: np.ndarray, Y: np.ndarray, lambdas: np.ndarray, method: Method) -> Solved:
    """Hold the factors X (rows, k), solved from Y (columns, k), against the normal equations of all rows."""
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    A, b = normal_equations(terms, Y, lambdas)
    residuals = b - (A @ X[:, :, None])[:, :, 0]
    spectrum, V = np.linalg.eigh(Y.T @ Y)
    energy = (X * (b + residuals)).sum(axis=1)
    sizes = _sizes(terms, X, Y, b, energy, lambdas, np.maximum(spectrum, 0), V, method)
    k = X.shape[1]
    beta, alpha, rounding = _beta(sizes, k, method), *_alpha(terms, sizes, k, method)
    root = np.sqrt(sizes.M)
    limits = root * alpha[:, None] + beta[:, None] + sizes.left_out
    with np.errstate(divide="ignore", invalid="ignore"):
        lowest = np.where(terms.stored & (terms.weight < terms.c0), terms.weight / terms.c0, 1.0).min(axis=1)
        excess = ((limits / root) ** 2).sum(axis=1) / lowest
    loss_error = 3 * ROUNDOFF[method.dtype] * terms.constants + beta * sizes.x + rounding * sizes.x_in_M
    eigenvalues = np.linalg.eigvalsh(A)[:, 0]
    regular = eigenvalues > PIVOT * sizes.system
    solution = np.full(X.shape, np.nan)
    solution[regular] = np.linalg.solve(A[regular], b[regular][:, :, None])[:, :, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        solution_error = np.sqrt((limits**2).sum(axis=1)) / eigenvalues
    return Solved(residuals @ V, limits, loss_error, excess, solution_error, solution)


def _sizes(
    terms: Terms, X: np.ndarray, Y: np.ndarray, b: np.ndarray, energy: np.ndarray, lambdas: np.ndarray,
    spectrum: np.ndarray, V: np.ndarray, method: Method,
) -> _Sizes:  # fmt: skip
    k, eps = X.shape[1], 2 * ROUNDOFF[method.dtype]
    extra, target, counts = np.abs(terms.extra), np.abs(terms.target), terms.stored.sum(axis=1)
    squares, rotated, x = (Y**2).sum(axis=1), Y @ V, X @ V
    lengths = np.sqrt(squares)
    stored = extra @ squares
    M = terms.c0 * spectrum + lambdas[:, None]
    system = M.max(axis=1) + stored
    singular = M.min(axis=1) < (PIVOT + (4 * k + counts) * U64) * system
    ridge = np.where(singular, RIDGE * system, 0.0)
    M = np.maximum(M + ridge[:, None], np.finfo(np.float64).tiny)
    with np.errstate(divide="ignore", invalid="ignore"):
        sources = np.sqrt(np.where(terms.extra > 0, target**2 / extra, 0.0).sum(axis=1))
    noise = terms.c0 * spectrum + lambdas.min() < 2 * k * max(k * eps**2, 2 * U64) * terms.c0 * spectrum.max()
    x_length = np.sqrt((x**2).sum(axis=1))
    in_noise = (target.sum(axis=1) + (extra @ lengths) * x_length) * k * eps * np.sqrt(spectrum.max())
    return _Sizes(
        M, ridge, system, target @ lengths, target.sum(axis=1), ((extra @ rotated**2) / M).sum(axis=1), x_length,
        np.sqrt((M * x**2).sum(axis=1)), np.sqrt(np.maximum(energy, 0)), np.sqrt(((b @ V) ** 2 / M).sum(axis=1)),
        sources, counts, np.where(noise, in_noise[:, None], 0.0),
    )  # fmt: skip


def _beta(sizes: _Sizes, k: int, method: Method) -> np.ndarray:
    u, n = ROUNDOFF[method.dtype], sizes.counts
    system = sizes.system * sizes.x
    rounded = (k + n + 6) * sizes.target + (2 * np.sqrt(k) * (k + 1) + 2 * k + n + 10) * system
    oracle = U64 * (10 * k + 2 * n + 10) * (sizes.target + system)
    underflow = SMALLEST[method.dtype] * k * (sizes.targets + sizes.system * (1 + sizes.x))
    return u * rounded + oracle + underflow + sizes.ridge * sizes.x


def _alpha(terms: Terms, sizes: _Sizes, k: int, method: Method) -> tuple[np.ndarray, np.ndarray]:
    """Alpha of every row, and what of it are roundings, (rows,) each."""
    u, n, trace = ROUNDOFF[method.dtype], sizes.counts, sizes.trace
    primal = (4 * k + n + 8) * (k + trace) * sizes.x_in_M
    condition = DUAL_CONDITION[method.dtype]
    roots = np.sqrt(trace) * sizes.sources
    dual = np.where(n <= k, (5 * n + k + 8) * np.minimum(n + trace, n * condition) * roots, 0.0)
    kept = u * (1 + trace) * sizes.x_in_M
    # Beyond its condition float32 hands a row over to float64.
    single = u * np.where(trace <= condition, np.maximum(primal, dual), 0.0)
    wide = np.minimum(n + trace, n * DUAL_CONDITION["float64"])
    double = U64 * np.maximum(primal, np.where(n <= k, (5 * n + k + 8) * wide * roots, 0.0))
    direct = kept + np.maximum(single, double)
    if method.solver == "cholesky":
        return direct, direct
    s = method.max_steps
    iterated = 3 * u * (np.sqrt(s) * (k + n + 6) + 2 * s) * (1 + trace) * sizes.x_in_A
    heavy = (terms.extra > HEAVY * terms.c0 * (1 - 1e-6)).any(axis=1)
    rounding = np.where(heavy, direct, kept + np.maximum(iterated, double))
    lighter = (terms.extra < 0).any(axis=1)
    size = np.where(lighter, sizes.b_in_M, np.minimum(sizes.b_in_M, sizes.x_in_A))
    return rounding + np.where(heavy, 0.0, method.tol * size), rounding
