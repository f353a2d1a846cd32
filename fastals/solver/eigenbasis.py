"""The fixed side of a half-sweep: its Gramian, the Gramian's eigenbasis, and its factors rotated into it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fastals.kernels.dense.memory import CACHE_LINE, aligned_empty
from fastals.kernels.dense.rotation import CHUNK, PANEL
from fastals.kernels.dense.tiles import PAD, TILE_ROWS
from fastals.kernels.factors import BLOCK, gramian_parts, rotate
from fastals.solver.blas import single_threaded_blas
from fastals.solver.sides import even_bounds
from fastals.solver.threads import launches, parallel

GRAMIANS = 2**23  # elements of the ranges' Gramians together: more, and their memory costs more than their sums


@dataclass(frozen=True)
class Basis:
    """Fixed factors in the eigenbasis of their Gramian.

    ``rotated`` (n, width) is Y V, zeros past ``factors``; ``spectrum`` (width,) float64 is c0 s, ones past
    ``factors``; ``into`` and ``rotation`` (panels, width, PANEL) are V and V', see ``in_panels``; ``penalty`` is
    sum_i lambda_i |y_i|^2.
    """

    rotated: np.ndarray
    spectrum: np.ndarray
    into: np.ndarray
    rotation: np.ndarray
    penalty: float


def gramian(X: np.ndarray, weights: np.ndarray, num_threads: int | None) -> tuple[np.ndarray, float]:
    """X'X as (factors, factors) float64, and sum_u weights_u |x_u|^2; the same for any number of threads."""
    factors = X.shape[1]
    width = -(-factors // PAD) * PAD
    bounds = even_bounds(X.shape[0], min(16, max(4, GRAMIANS // width**2)))
    ranges = bounds.size - 1
    parts, squares, blocks = np.empty((ranges, width, width)), np.empty(ranges), np.empty((ranges, BLOCK, width))
    for part in launches(ranges, float(X.shape[0]) * width * width, num_threads):
        with parallel(num_threads):
            gramian_parts(X, bounds[part.start : part.stop + 1], weights, blocks[part], parts[part], squares[part])
    with np.errstate(over="ignore", invalid="ignore"):  # callers look for what has overflowed
        upper = np.triu(parts.sum(axis=0)[:factors, :factors])
        return upper + np.triu(upper, 1).T, float(squares.sum())


def aligned_factors(Y: np.ndarray) -> np.ndarray:
    """Uninitialised array for factors as the row kernels read them: (n, factors rounded up to PAD), aligned.

    From NumPy, which asks for huge pages where Numba does not: rows of large factors are read in no order, and a page
    walk for each would cost more than the row.
    """
    width = -(-Y.shape[1] // PAD) * PAD
    spare = CACHE_LINE // Y.itemsize
    memory = np.empty(Y.shape[0] * width + spare, Y.dtype)
    first = -memory.ctypes.data % CACHE_LINE // Y.itemsize
    return memory[first : first + Y.shape[0] * width].reshape(Y.shape[0], width)


def in_panels(B: np.ndarray, width: int, like: np.ndarray) -> np.ndarray:
    """Square matrix in panels of columns, (panels, width, PANEL), zero past its own; see ``kernels.rotation``."""
    count = -(-width // PANEL)
    padded = np.zeros((width, count * PANEL), like.dtype)
    padded[: len(B), : len(B)] = B
    panels = aligned_empty(count * width, PANEL, like).reshape(count, width, PANEL)
    panels[:] = padded.reshape(width, count, PANEL).transpose(1, 0, 2)
    return panels


def multiply(Y: np.ndarray, panels: np.ndarray, num_threads: int | None, out: np.ndarray) -> None:
    """Write Y B to ``out``, which may be Y, in place, but for columns it lacks; ``panels`` is B, see ``in_panels``."""
    bounds, width = even_bounds(Y.shape[0]), panels.shape[1]
    ranges = bounds.size - 1
    chunks = np.zeros((ranges, CHUNK, width), Y.dtype)
    tiles = aligned_empty(ranges * TILE_ROWS, PANEL, Y).reshape(ranges, TILE_ROWS, PANEL)
    for part in launches(ranges, 2.0 * Y.shape[0] * width * width, num_threads):
        with parallel(num_threads):
            rotate(Y, bounds[part.start : part.stop + 1], panels, chunks[part], tiles[part], out)


def eigenbasis(
    Y: np.ndarray,
    regularization: np.ndarray,
    unobserved_weight: float,
    num_threads: int | None,
    rotated: np.ndarray | None = None,
) -> Basis:
    """Rotate the fixed side's factors Y (n, factors) into the eigenbasis of their Gramian.

    ``rotated`` is written in place if it is given: fresh memory costs a page fault every 4 KiB.
    """
    factors = Y.shape[1]
    rotated = aligned_factors(Y) if rotated is None else rotated
    width = rotated.shape[1]
    G, penalty = gramian(Y, regularization, num_threads)
    spectrum = np.ones(width)
    if np.isfinite(G).all():
        with single_threaded_blas():
            eigenvalues, V = np.linalg.eigh(G)
        spectrum[:factors] = unobserved_weight * np.maximum(eigenvalues, 0)
    # The row kernels hold the spectrum in the type of the factors.
    if not np.isfinite(G).all() or not spectrum.max() < np.finfo(Y.dtype).max:
        raise FloatingPointError(
            f"the factors have overflowed {Y.dtype}; scale user_items or given factors down, or raise regularization"
        )
    into = in_panels(V, width, Y)
    multiply(Y, into, num_threads, rotated)
    return Basis(rotated, spectrum, into, in_panels(V.T, width, Y), penalty)


def determined(basis: Basis, factors: int, least: float) -> Basis:
    """Basis without the directions that are rounding errors, where ``least`` regularization does not outweigh them.

    Factors of a lower rank than their number have directions of which only errors are left, of the size of the type's
    epsilon relative to the largest: solved for, these would be blown up. Without them the solution is the one of least
    norm. Returns the basis itself where there are none.
    """
    spectrum, eps = basis.spectrum[:factors], np.finfo(basis.rotated.dtype).eps
    relative = factors * max(factors * float(eps) ** 2, np.finfo(np.float64).eps)
    errors = np.flatnonzero(spectrum + least < relative * spectrum.max())
    if not errors.size:
        return basis
    basis = replace(basis, rotated=basis.rotated.copy(), spectrum=basis.spectrum.copy())
    basis.rotated[:, errors] = 0
    basis.spectrum[errors] = spectrum.max()
    return basis
