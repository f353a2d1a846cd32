"""The dense building blocks, one core: what a half-sweep spends its time in."""

import numpy as np

from fastals.kernels.dense.blocks import add_gramian, add_products, add_system, factorise, row_gramian
from fastals.solver.eigenbasis import gramian, in_panels, rotate
from fastals.solver.eigenproblem import eigenvectors

PARAMETERS = ([64, 128], ["float32", "float64"])
NAMES = ["factors", "dtype"]


def normal(*shape: int, dtype: str) -> np.ndarray:
    """Normal numbers, always the same."""
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


class GatheredRows:
    """Conjugate gradients over the rows of 4096 stored pairs, among 2000 that fit in the L2 cache: step and start."""

    params, param_names = PARAMETERS, NAMES

    def setup(self, factors: int, dtype: str) -> None:
        self.Y = normal(2000, factors, dtype=dtype)
        self.indices = np.random.default_rng(0).integers(0, 2000, 4096).astype(np.int32)
        self.weights, self.p = normal(4096, dtype=dtype), normal(factors, dtype=dtype)
        self.q, self.b = np.zeros((2, factors), dtype)
        self.time_add_products(factors, dtype)
        self.time_add_system(factors, dtype)

    def time_add_products(self, factors: int, dtype: str) -> None:
        add_products(self.Y, self.indices, self.weights, self.p, self.q)

    def time_add_system(self, factors: int, dtype: str) -> None:
        add_system(self.Y, self.indices, self.weights, self.weights, self.p, self.q, self.b)


class NormalEquations:
    """Forming and factorising one row's system: primal (256 gathered rows), dual (64 rows), Cholesky."""

    params, param_names = PARAMETERS, NAMES

    def setup(self, factors: int, dtype: str) -> None:
        self.Z = normal(256, factors, dtype=dtype)
        self.A, self.K = np.zeros((factors, factors), dtype), np.zeros((64, 64), dtype)
        self.positive = self.Z.T @ self.Z + np.eye(factors, dtype=dtype)
        self.U, self.diagonal = self.positive.copy(), np.zeros((factors // 8, 8, 8), dtype)
        self.floor = np.dtype(dtype).type(0)
        self.time_add_gramian(factors, dtype)
        self.time_row_gramian(factors, dtype)
        self.time_factorise(factors, dtype)

    def time_add_gramian(self, factors: int, dtype: str) -> None:
        add_gramian(self.Z, self.Z, 256, factors, self.A)

    def time_row_gramian(self, factors: int, dtype: str) -> None:
        row_gramian(self.Z, 64, factors, self.K)

    def time_factorise(self, factors: int, dtype: str) -> None:
        self.U[:] = self.positive  # a copy, for it works in place
        factorise(self.U, factors, factors, self.floor, self.diagonal)


class WholeSide:
    """What a half-sweep does to all factors of the fixed side: Gramian in float64, rotation into its eigenbasis."""

    params, param_names = PARAMETERS, NAMES

    def setup(self, factors: int, dtype: str) -> None:
        self.Y, self.V = normal(40_000, factors, dtype=dtype), normal(factors, factors, dtype=dtype)
        self.weights, self.rotated = np.ones(40_000), np.empty_like(self.Y)
        self.panels = in_panels(self.V, factors, self.Y)
        self.time_gramian(factors, dtype)
        self.time_rotate(factors, dtype)

    def time_gramian(self, factors: int, dtype: str) -> None:
        gramian(self.Y, self.weights, 1)

    def time_rotate(self, factors: int, dtype: str) -> None:
        rotate(self.Y, self.panels, 1, self.rotated)


class Eigenproblem:
    """The eigenvectors of a Gramian: LAPACK's of a small one, by groups those of a large one."""

    params, param_names = [64, 256], ["factors"]

    def setup(self, factors: int) -> None:
        Y = normal(4 * factors, factors, dtype="float64")
        self.G = Y.T @ Y
        self.time_eigenvectors(factors)

    def time_eigenvectors(self, factors: int) -> None:
        eigenvectors(self.G, np.dtype(np.float32), 1)
