"""How far from exact a solved row may be: limits that follow from roundoff, condition, ``tol`` and the sizes involved.

Notation: u is the unit roundoff of the factors' type, k their number, n the entries of a row; |.| are 2-norms of
vectors and spectral norms of matrices, |v|_A = (v'A v)^1/2. A row's system is A = M + sum extra_t y_t y_t' with
M = c0 v Y' diag(w) Y + lambda I, and its right-hand side b = sum target_t y_t. With the exact eigenvectors V of
Y' diag(w) Y, M is the diagonal m_j = c0 v s_j + lambda, and

    S_A = |M| + sum |extra_t| |y_t|^2       S_b = sum |target_t| |y_t|       trace = sum |extra_t| |y_t|^2_{M^-1}

are the sizes of what is added up. (An extra is a difference of c and c0 v w_i: where v w_i is not 1, it errs by u times
the larger of them, so |extra| + c0 v w_i stands for |extra| here.) All counts below are worst cases of every rounding
(Higham 2002, chapter 3: a sum of n products errs by n u times the sum of their sizes), to first order: nothing is
fitted to what the package does. Errors are of three sorts, and the residual r = b - A x of a returned x is their sum:

beta, small in the ordinary norm. y_t V is rounded: V itself by u, sums of k products by k u, so each component by
    (k + 1) u |y_t| and the vector by k^1/2 (k + 1) u |y_t|; so is x = V x~. They enter b once, y_t y_t' x twice, and
    A x (through x) once; besides, weights are rounded (3 u), n entries are added (n u) and their inner products have k
    terms. The Gramian and its eigenvectors are float64, with an error of 8 k u64 |Y'Y| (LAPACK's bound has a modest
    polynomial of k):
        beta = u [(k + n + 6) S_b + (2 k^1/2 (k + 1) + 2 k + n + 10) S_A |x|] + u64 (10 k + 2 n + 10) (S_b + S_A |x|)
    the last term being the oracle's own roundings, too. What is below the type's smallest number t is rounded to a
    multiple of it: t (k + n) (unit + sum |target_t| + S_A (1 + |x|)) besides. Weights and lambda are
    divided by the unit before rows are solved; it is 1, and where the larger of c0 and alpha is beyond 2^20 or below
    2^-20, at most twice that.
alpha, small in the norm of M^-1, in which rows are solved (of M^1/2 x the diagonal is 1, and since M is diagonal there,
    roundings are those of a system of condition 1 + trace):
    - x~ is kept in the factors' type: u (1 + trace) |x|_M;
    - cg: a step's product errs by (k + n + 6) u (1 + trace) |p| for a direction of length p, the update of x by
      u (1 + trace) |x|. Directions are A-orthogonal, so that the lengths of s steps add up to s^1/2 |x|_A at most
      (Pythagoras, Cauchy-Schwarz), and iterates from zero do not outgrow the solution (Steihaug 1983); from a guess no
      worse than zero they stay below 2 |x|_A:  3 u [s^1/2 (k + n + 6) + 2 s] (1 + trace) |x|_A;
    - directly, primal: forming adds n u trace, Cholesky and two triangular solutions (3 k + 8) u (k + trace) (Higham
      2002, theorem 10.3, |R'||R| <= trace of A):  u (4 k + n + 8) (k + trace) |x|_M;
    - directly, dual, which is for rows of no more entries than factors: z = (I + Z Z')^-1 s with
      s_t = target_t / extra_t^1/2, an n x n system as before with |z| <= |s|, and Z' carries its error back:
      u (5 n + k + 8) (n + trace) trace^1/2 |s|. This is not backward stable, it loses the condition, and so float32 may
      go no further than a trace of 1e4, from which float64 takes over; there pivots below 1e-7 of the diagonal send the
      row to the primal form;
    - squares below t are zero or t: what is no longer than (k t unit)^1/2 may pass for zero.
z, what features predict, comes in float64, with an error of U (d + 4) u64 for the length U of its sums of sizes; it is
    rounded and rotated, (k + 2) u |z|. So S_b has lambda |z| besides, and beta lambda (d + 4) u64 U. The dual form
    solves for x - x0 with x0 = M^-1 lambda z: its sources are |s_t| + extra_t^1/2 |y_t| |x0|, and x0 takes part in
    S_A |x| and |x|_M as x does.
tol, the error at which "cg" stops, e'A e <= tol^2 x'A x (README). With A e = r that is
    |r_j| <= (v_j'A v_j)^1/2 tol |x|_A.

So, component by component in the eigenbasis,  |r_j| <= beta + m_j^1/2 alpha + (v_j'A v_j)^1/2 tol |x|_A,  and in the
norm of the loss, with A >= w M for w = min(1, c / (c0 v w_i)),

    |x - A^-1 b|_A <= tol |x|_A + w^-1/2 (alpha + beta (sum_j 1 / m_j)^1/2),

the square of which is what the row's loss may exceed its minimum by.

Where A itself is singular in float64 (a pivot below 1e-14 of S_A, and the roundings of the pivots), the row may have
been given a ridge of 1e-12 of S_A: README says so. And directions of Y'Y that are rounding errors (relative to the
largest, k max(k eps^2, eps64)) may have been left out: then r_j there is what the row has in them, and |Y v_j|^2 is
the eigenvalue, up to 8 k u64 of the largest.

The loss that comes with the solution is K - b.x - x.r for the constant K = sum c phi^2 + lambda |z|^2, in which every
term errs as its parts do:  3 u K + 2 (k + 2) u lambda |z|^2 + beta |x| + alpha |x|_M.

The effects A of features solve H A = F' diag(lambda) X with H = F' diag(lambda) F + strength I in float64, by Cholesky:
residuals are  (n + 4) u64 (|F|' diag(lambda) |F| |A| + |F|' diag(lambda) |X|) + (3 d + 8) d u64 |H| |A|  (Higham 2002,
theorem 10.3), and as much again for the oracle; what they may lose against their minimum is |residual|^2 / strength.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .oracle import Prior, Terms, normal_equations
from .problem import ROUNDOFF, Problem

U64 = ROUNDOFF["float64"]
HEAVY = 1e3  # c / c0 beyond which "cg" solves a row directly
DUAL_CONDITION = {"float32": 1e4, "float64": 1e7}
RIDGE, PIVOT = 1e-12, 1e-14
LARGEST_D = 12  # features that are drawn
SMALLEST = {"float32": 2.0**-149, "float64": 2.0**-1074}


class Method(NamedTuple):
    """How rows are solved, as the parameters say."""

    solver: str
    tol: float
    max_steps: int
    dtype: str
    unit: float = 1.0  # at most

    @classmethod
    def of(cls, problem: Problem) -> Method:
        p = problem.parameters
        largest = max(p["unobserved_weight"], problem.alpha)
        unit = 1.0 if 2.0**-20 < largest < 2.0**20 or not largest else 2 * largest
        return cls(p["solver"], float(p["tol"]), p["max_cg_steps"], p["dtype"], unit)


@dataclass
class Solved:
    """Rows held against their normal equations: residuals in the eigenbasis (rows, k), all else (rows,), and limits.

    Rows of singular systems have no ``solution`` (NaN), and so no ``errors`` (zero).
    """

    residuals: np.ndarray
    residual_limits: np.ndarray
    errors: np.ndarray  # |x - solution|_A
    error_limits: np.ndarray
    loss_limits: np.ndarray  # of the loss that comes with the solution
    solution: np.ndarray

    @property
    def excess(self) -> float:
        """What all rows together may lose against their minimum."""
        return float((self.error_limits**2).sum())


@dataclass
class _Sizes:
    """What errors are proportional to, of every row (rows,), or of its eigendirections (rows, k)."""

    M: np.ndarray  # m_j, the ridge among them
    least: np.ndarray  # of m_j, without
    ridge: np.ndarray
    system: np.ndarray  # S_A
    target: np.ndarray  # S_b
    targets: np.ndarray  # sum |target|
    trace: np.ndarray
    x: np.ndarray  # |x| + |x0|
    x_in_m: np.ndarray  # |x|_M + |x0|_M
    prior: np.ndarray  # lambda U
    ridges: np.ndarray  # lambda
    sources: np.ndarray  # |s| of the dual form
    counts: np.ndarray
    left_out: np.ndarray  # r_j where the direction has been left out
    x_in_a: np.ndarray = field(init=False)  # |x|_A


def solved_rows(
    terms: Terms, X: np.ndarray, Y: np.ndarray, lambdas: np.ndarray, method: Method, prior: Prior | None = None
) -> Solved:
    """Hold the factors X (rows, k), solved from Y (columns, k), against the normal equations of all rows."""
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    prior = prior or Prior.of(None, None, *X.shape)
    A, b = normal_equations(terms, Y, lambdas)
    b += lambdas[:, None] * prior.z
    residuals = b - (A @ X[:, :, None])[:, :, 0]
    spectrum, V = np.linalg.eigh((terms.w * Y.T) @ Y)
    sizes = _sizes(terms, X, Y, (lambdas, prior), (np.maximum(spectrum, 0), V), method)
    with np.errstate(divide="ignore", invalid="ignore"):
        below = terms.stored & (terms.weight < terms.missing)
        lowest = np.where(below, terms.weight / terms.missing, 1.0).min(axis=1)
    solution = _solutions(A, b, sizes.system, lowest * sizes.least)
    regular = ~np.isnan(solution[:, 0])
    # x'A x of the exact solution is b.x; of the returned one where there is no other.
    sizes.x_in_a = np.sqrt(np.maximum((b * np.where(regular[:, None], solution, X)).sum(axis=1), 0))
    errors = np.where(regular[:, None], X - solution, 0.0)
    k = X.shape[1]
    beta, alpha, tolerance = _beta(sizes, k, method), _alpha(terms, sizes, k, method), _tolerance(terms, sizes, method)
    with np.errstate(divide="ignore", invalid="ignore"):
        in_a = alpha + np.sqrt(((beta[:, None] + sizes.left_out) ** 2 / sizes.M).sum(axis=1))
    # Negative ones are roundings of zero.
    diagonal = np.maximum(((A @ V) * V).sum(axis=1), 0)
    limits = beta[:, None] + np.sqrt(sizes.M) * alpha[:, None] + np.sqrt(diagonal) * tolerance[:, None] + sizes.left_out
    return Solved(
        residuals @ V, limits, np.sqrt(np.maximum((errors * (A @ errors[:, :, None])[:, :, 0]).sum(axis=1), 0)),
        tolerance + in_a / np.sqrt(lowest),
        ROUNDOFF[method.dtype] * (3 * terms.constants + (2 * k + 7) * lambdas * prior.size**2)
        + beta * sizes.x + alpha * sizes.x_in_m,
        solution,
    )  # fmt: skip


def effects_limits(F: np.ndarray, lambdas: np.ndarray, strength: float, X: np.ndarray, A: np.ndarray) -> np.ndarray:
    """Of the residuals F' diag(lambda) X - H A, (d, k)."""
    (n, d), weighed = F.shape, np.abs(F.T) * lambdas
    lengths = np.sqrt((A**2).sum(axis=0))
    H = np.abs(F.T * lambdas @ F).sum(axis=1).max() + strength
    formed = weighed @ (np.abs(F) @ np.abs(A) + np.abs(X)) + strength * np.abs(A)
    return 2 * U64 * ((n + 4) * formed + (3 * d + 8) * d * H * lengths)


def _solutions(A: np.ndarray, b: np.ndarray, size: np.ndarray, least: np.ndarray) -> np.ndarray:
    """A^-1 b of every row, NaN where A is singular; ``least`` is what the smallest eigenvalue is no less than."""
    regular = least > PIVOT * size
    unknown = np.flatnonzero(~regular)
    regular[unknown] = np.linalg.eigvalsh(A[unknown])[:, 0] > PIVOT * size[unknown]
    solution = np.full(b.shape, np.nan)
    solution[regular] = np.linalg.solve(A[regular], b[regular][:, :, None])[:, :, 0]
    return solution


def _sizes(
    terms: Terms,
    X: np.ndarray,
    Y: np.ndarray,
    penalty: tuple[np.ndarray, Prior],
    eigen: tuple[np.ndarray, np.ndarray],
    method: Method,
) -> _Sizes:
    (lambdas, prior), (spectrum, V) = penalty, eigen
    k, eps = X.shape[1], 2 * ROUNDOFF[method.dtype]
    extra, target, counts = _sizes_of_extra(terms), np.abs(terms.target), terms.stored.sum(axis=1)
    squares, rotated, x = (Y**2).sum(axis=1), Y @ V, X @ V
    lengths = np.sqrt(squares)
    M = terms.c0 * terms.v[:, None] * spectrum + lambdas[:, None]
    system = M.max(axis=1) + extra @ squares
    least = M.min(axis=1)
    singular = least < (PIVOT + (4 * k + counts) * U64) * system
    ridge = np.where(singular, RIDGE * system, 0.0)
    M = np.maximum(M + ridge[:, None], np.finfo(np.float64).tiny)
    x0 = lambdas[:, None] * (prior.z @ V) / M
    from_x0 = np.sqrt((x0**2).sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        roots = np.sqrt(np.maximum(terms.extra, 0))
        s = np.where(terms.extra > 0, target / roots, 0.0) + roots * lengths * from_x0[:, None]
        sources = np.sqrt((s**2).sum(axis=1))
    least_weight, largest_weight = terms.c0 * terms.v.min(), terms.c0 * terms.v.max()
    noise = least_weight * spectrum + lambdas.min() < 2 * k * max(k * eps**2, 2 * U64) * largest_weight * spectrum.max()
    x_length = np.sqrt((x**2).sum(axis=1)) + from_x0
    in_noise = np.outer(
        target.sum(axis=1) + (extra @ lengths) * x_length, np.sqrt(spectrum + 8 * k * U64 * spectrum.max())
    )
    return _Sizes(
        M=M,
        least=least,
        ridge=ridge,
        system=system,
        target=target @ lengths + lambdas * np.sqrt((prior.z**2).sum(axis=1)),
        targets=target.sum(axis=1),
        trace=((extra @ rotated**2) / M).sum(axis=1),
        x=x_length,
        x_in_m=np.sqrt((M * x**2).sum(axis=1)) + np.sqrt((M * x0**2).sum(axis=1)),
        prior=lambdas * prior.size,
        ridges=lambdas,
        sources=sources,
        counts=counts,
        left_out=np.where(noise, in_noise, 0.0),
    )


def _beta(sizes: _Sizes, k: int, method: Method) -> np.ndarray:
    u, n = ROUNDOFF[method.dtype], sizes.counts
    system = sizes.system * sizes.x
    rounded = (k + n + 6) * sizes.target + (2 * np.sqrt(k) * (k + 1) + 2 * k + n + 10) * system
    oracle = U64 * ((10 * k + 2 * n + 10) * (sizes.target + system) + 2 * (LARGEST_D + 4) * sizes.prior)
    smallest = SMALLEST[method.dtype]
    underflow = smallest * (
        (k + n) * (method.unit + sizes.targets + sizes.system * (1 + sizes.x)) + (k + 2) * sizes.ridges
    )
    return u * rounded + oracle + underflow + sizes.ridge * sizes.x


def _sizes_of_extra(terms: Terms) -> np.ndarray:
    """|extra|, and where missing pairs do not weigh alike what it is a difference of."""
    alike = (terms.v == 1).all() and (terms.w == 1).all()
    return np.abs(terms.extra) + (0 if alike else np.where(terms.stored, terms.missing, 0.0))


def _heavy(terms: Terms, rounding: float) -> np.ndarray:
    """Rows that "cg" solves directly, the border moved by so much; rows at the border may be solved either way."""
    return (terms.extra > HEAVY * terms.missing * (1 + rounding)).any(axis=1)


def _tolerance(terms: Terms, sizes: _Sizes, method: Method) -> np.ndarray:
    exact = _heavy(terms, 1e-6) | (method.solver == "cholesky")
    return np.where(exact, 0.0, method.tol * sizes.x_in_a)


def may_be_dual(n: np.ndarray, k: int) -> np.ndarray:
    """Rows for which the dual form is meant: those of no more entries than factors."""
    return n <= k


def _alpha(terms: Terms, sizes: _Sizes, k: int, method: Method) -> np.ndarray:
    u, n, trace = ROUNDOFF[method.dtype], sizes.counts, sizes.trace
    primal = (4 * k + n + 8) * (k + trace) * sizes.x_in_m
    condition = DUAL_CONDITION[method.dtype]
    carried = np.where(may_be_dual(n, k), (5 * n + k + 8) * np.sqrt(trace) * sizes.sources, 0.0)
    # Beyond its condition float32 hands a row over to float64.
    single = u * np.where(trace <= condition, np.maximum(primal, carried * np.minimum(n + trace, n * condition)), 0.0)
    double = U64 * np.maximum(primal, carried * np.minimum(n + trace, n * DUAL_CONDITION["float64"]))
    kept = u * (1 + trace) * sizes.x_in_m + np.sqrt(k * SMALLEST[method.dtype] * method.unit)
    direct = kept + np.maximum(single, double)
    if method.solver == "cholesky":
        return direct
    s = method.max_steps
    iterated = 3 * u * (np.sqrt(s) * (k + n + 6) + 2 * s) * (1 + trace) * sizes.x_in_a
    return np.where(_heavy(terms, -1e-6), direct, kept + np.maximum(iterated, double))
