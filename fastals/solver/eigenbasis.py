"""The fixed side of a half-sweep: its Gramian, the basis in which that is diagonal, and its factors in that basis."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fastals.core.unobserved import ALIKE
from fastals.core.validation import read_only
from fastals.kernels.dense.memory import CACHE_LINE, aligned
from fastals.kernels.dense.rotation import CHUNK, PANEL, Panels
from fastals.kernels.dense.tiles import PAD, TILE_ROWS
from fastals.kernels.factors import (
    BLOCK,
    Tiles,
    gramian_task,
    rotate_task,
    sum_task,
)
from fastals.solver.blas import single_threaded_blas
from fastals.solver.eigenproblem import eigenvectors
from fastals.solver.sides import even_bounds
from fastals.solver.threads import effective_num_threads, launches, run_tasks

# The Gramian's rows go to tiles of about TILE columns, and X's to ranges: tasks enough for 64 threads where there is
# work for them. How many there are follows from the shape alone, and so do the sums.
TILE = 256  # a tile of float64 and the rows that it is made from stay in a second-level cache of 1 MiB
SMALL_TILE = 128  # of few rows: up to a seventh more time on one thread (measured), but tasks for many
FEW_TASKS = 16
RANGES = 256
LEAST_ROWS = 6  # of a range, for each column of a tile: partial sums cost writing and reading
PARTIAL_SUMS = 2**23  # elements of all, or four ranges of them: more, and their memory costs more than the sums
ROTATED_RANGES = 256  # or more
SERIAL_FLOPS = 2.0**22  # up to so many, one thread is done before others have woken up
SERIAL_SUMS = 2**19  # and up to so many additions
WHITENED = 1e-30, 1e30  # lambda and c0 tr G between which float32 holds the elements of L and its inverse
SMALL = 32  # of more rows, matrices are factorised by halves


@dataclass(frozen=True)
class Basis:
    """Fixed factors in a basis in which c0 G + lambda I is diagonal, with G their Gramian.

    The eigenbasis of G = V diag(s) V' is one for all lambda. Where all rows have the same, the Cholesky factor of
    c0 G + lambda I = L L' does as well: in coordinates z = L'x it is I, and so is the preconditioner. Conjugate
    gradients take the same steps, but L and its inverse take a fifth of the time of the eigenvectors, which is one
    thread's, and half of a product with a triangular matrix is zero.

    Attributes
    ----------
    rotated : (n, width) array
        Y V, zeros past ``factors``; whitened: Y L'^-1.
    spectrum : (width,) float64 array
        c0 s in rising order, ones past ``factors``; whitened: ones.
    into, back : Panels
        What takes rows of solutions to this basis, and back: V and V'; whitened: L and L^-1.
    penalty : float
        sum_i lambda_i |y_i|^2.
    whitened : bool
        Whether lambda is in the spectrum.
    """

    rotated: np.ndarray
    spectrum: np.ndarray
    into: Panels
    back: Panels
    penalty: float
    whitened: bool = False

    def __sizeof__(self) -> int:
        """Bytes of the arrays, which those who move a basis ask for."""
        return sum(array.nbytes for array in (self.rotated, self.spectrum, *self.into, *self.back))


def gramian(
    X: np.ndarray, weights: np.ndarray, num_threads: int | None, missing: np.ndarray = ALIKE
) -> tuple[np.ndarray, float]:
    """X' diag(missing) X as (factors, factors) float64, and sum_u weights_u |x_u|^2.

    ``missing`` is (n,), or ALIKE. The result is the same for any number of threads. One thread is the calling one: it
    starts none and waits for none. What has overflowed is infinite or NaN.
    """
    X, G, scales = read_only(X), np.empty((X.shape[1], X.shape[1])), (np.sqrt(missing), weights)
    edge, places, bounds = tiling(*X.shape)
    ranges, work = bounds.size - 1, float(X.shape[0]) * X.shape[1] ** 2
    chosen = np.arange(ranges * len(places))
    threads = 1 if work <= SERIAL_FLOPS else min(effective_num_threads(num_threads), chosen.size)
    # Rows a power of two apart would push one another out of the first-level cache.
    blocks = np.empty((threads, 2, BLOCK, edge + CACHE_LINE // 8))
    tiles = Tiles(bounds, places, blocks, np.empty((ranges, len(places), edge, edge)), np.empty(ranges))
    for part in launches(chosen.size, work, threads):
        run_tasks(gramian_task, threads, chosen[part], X, scales, tiles)
    parts = tiles.parts
    run_tasks(sum_task, 1 if parts.size <= SERIAL_SUMS else threads, places, parts, G)
    with np.errstate(over="ignore", invalid="ignore"):
        return G, float(tiles.squares.sum())


def tiling(count: int, factors: int) -> tuple[int, np.ndarray, np.ndarray]:
    """How the Gramian of (count, factors) is divided: edge of a tile, places of the upper tiles, bounds of rows."""
    whole = _tiling(count, factors, TILE)
    return whole if len(whole[1]) * (whole[2].size - 1) >= FEW_TASKS else _tiling(count, factors, SMALL_TILE)


def _tiling(count: int, factors: int, tile: int) -> tuple[int, np.ndarray, np.ndarray]:
    """The same with tiles of about so many columns."""
    width = -(-factors // PAD) * PAD
    across = max(round(width / tile), 1)
    edge = -(-width // (across * PAD)) * PAD
    starts = range(0, width, edge)
    places = np.array([(i, j) for i in starts for j in starts if j >= i])
    most = max(PARTIAL_SUMS // (len(places) * edge**2), 4)
    return edge, places, even_bounds(count, min(RANGES, most, max(count // (LEAST_ROWS * edge), 1)))


def aligned_factors(Y: np.ndarray) -> np.ndarray:
    """Uninitialised array for factors as the row kernels read them: (n, factors rounded up to PAD), aligned."""
    return aligned(Y.dtype, Y.shape[0], -(-Y.shape[1] // PAD) * PAD)


def in_panels(B: np.ndarray, width: int, like: np.ndarray, triangle: str = "") -> Panels:
    """Square matrix in panels of columns, of the type of ``like``, zero past its own; see ``kernels.rotation``.

    Of a ``triangle``, "lower" or "upper", what lies on the other side is left out of products.
    """
    size, count = len(B), -(-width // PANEL)
    elements, spans = aligned(like.dtype, count, width, PANEL), np.empty((count, 2), np.int64)
    padded = B
    if size < count * PANEL:
        padded = np.zeros((width, count * PANEL))
        padded[:size, :size] = B
    elements[:] = padded.reshape(width, count, PANEL).transpose(1, 0, 2)
    first = np.arange(0, width, PANEL)
    spans[:, 0] = first if triangle == "lower" else 0
    spans[:, 1] = np.minimum(first + PANEL, size) if triangle == "upper" else size
    return Panels(elements, spans)


def rotate(Y: np.ndarray, panels: Panels, num_threads: int | None, out: np.ndarray) -> None:
    """Write Y B to ``out``, which may be Y, in place, but for columns it lacks; ``panels`` is B, see ``in_panels``.

    One thread is the calling one, as in ``gramian``.
    """
    Y, width = read_only(Y), panels.elements.shape[1]
    step = max(Y.shape[0] // (CHUNK * ROTATED_RANGES), 1) * CHUNK  # whole chunks: a few rows cost as much as one
    bounds = np.append(np.arange(0, Y.shape[0], step), Y.shape[0])
    work = 2.0 * Y.shape[0] * width * width
    threads = 1 if work <= SERIAL_FLOPS else min(effective_num_threads(num_threads), bounds.size - 1)
    chunks = np.zeros((threads, CHUNK, width), Y.dtype)
    tiles = aligned(Y.dtype, threads, TILE_ROWS, PANEL)
    for part in launches(bounds.size - 1, work, threads):
        ranges = bounds[part.start : part.stop + 1]
        run_tasks(rotate_task, threads, ranges, Y, panels, chunks, tiles, out)


def eigenbasis(
    Y: np.ndarray,
    regularization: np.ndarray,
    unobserved_weight: float,
    num_threads: int | None,
    rotated: np.ndarray | None = None,
    missing: np.ndarray = ALIKE,
    shared: float = 0.0,
) -> Basis:
    """Rotate the fixed side's factors Y (n, factors) into the eigenbasis of their Gramian Y' diag(missing) Y.

    ``rotated`` is written in place if it is given: fresh memory costs a page fault every 4 KiB. ``shared`` is lambda of
    the rows to be solved, see ``basis_of``.
    """
    G, penalty = gramian(Y, regularization, num_threads, missing)
    return basis_of(Y, G, penalty, unobserved_weight, num_threads, rotated, shared)


def basis_of(
    Y: np.ndarray,
    G: np.ndarray,
    penalty: float,
    unobserved_weight: float,
    num_threads: int | None,
    rotated: np.ndarray | None = None,
    shared: float = 0.0,
) -> Basis:
    """Rotate rows Y (n, factors) into the eigenbasis of a Gramian G, which may be that of more rows than these.

    ``shared`` is lambda of the rows to be solved, if all have the same and their missing pairs weigh 1; else 0. Where
    it suffices, Y is whitened instead, see ``Basis``.
    """
    rotated = aligned_factors(Y) if rotated is None else rotated
    width, spectrum = rotated.shape[1], np.ones(rotated.shape[1])
    found = _whitening(G, unobserved_weight, shared, Y.dtype)
    if found is not None:
        L, inverse = found
        rotate(Y, in_panels(inverse.T, width, Y, "upper"), num_threads, rotated)
        into, back = in_panels(L, width, Y, "lower"), in_panels(inverse, width, Y, "lower")
        return Basis(rotated, spectrum, into, back, penalty, whitened=True)
    spectrum[: len(G)], V = _spectrum(G, unobserved_weight, Y.dtype, num_threads)
    into = in_panels(V, width, Y)
    rotate(Y, into, num_threads, rotated)
    return Basis(rotated, spectrum, into, in_panels(V.T, width, Y), penalty)


def _whitening(
    G: np.ndarray, unobserved_weight: float, shared: float, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray] | None:
    """L and L^-1, with c0 G + shared I = L L'; None where ``shared`` does not outweigh the rounding errors.

    These are those of the Gramian of factors of a type, see ``determined``.
    """
    least, most = WHITENED
    if not least < shared < most:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        largest = float(unobserved_weight * np.trace(G))
    if not largest < min(most, shared / _rounding(len(G), dtype)):  # nor NaN
        return None
    with single_threaded_blas(), contextlib.suppress(np.linalg.LinAlgError):
        return cholesky(unobserved_weight * G + shared * np.eye(len(G)))
    return None


def _spectrum(
    G: np.ndarray, unobserved_weight: float, dtype: np.dtype, num_threads: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Spectrum c0 s and eigenvectors V of a Gramian of factors of a type, whose row kernels hold the spectrum in it."""
    if np.isfinite(G).all():
        eigenvalues, V = eigenvectors(G, dtype, num_threads)
        spectrum = unobserved_weight * np.maximum(eigenvalues, 0)
        if spectrum.max() < np.finfo(dtype).max:
            return spectrum, V
    raise FloatingPointError(
        f"the factors have overflowed {dtype}; scale user_items or given factors down, or raise regularization"
    )


def cholesky(P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """L with P = L L' and L^-1, by halves; LinAlgError where P is not positive definite.

        L = (L_1 0; B W_1' L_2),    L^-1 = (W_1 0; -W_2 (B W_1') W_1 W_2),    P = (P_1 B'; B P_2), W = L^-1

    and L_2 that of P_2 less the square of B W_1'. LAPACK's factor and an inverse of it take a fifth longer.
    """
    size = len(P)
    if size <= SMALL:
        L = np.linalg.cholesky(P)
        return L, np.linalg.inv(L.T).T
    L, W, half = np.zeros_like(P), np.zeros_like(P), size // 2
    first, last = slice(0, half), slice(half, size)
    L[first, first], W[first, first] = cholesky(P[first, first])
    beside = P[last, first] @ W[first, first].T
    L[last, last], W[last, last] = cholesky(P[last, last] - beside @ beside.T)
    L[last, first], W[last, first] = beside, -W[last, last] @ (beside @ W[first, first])
    return L, W


def determined(basis: Basis, factors: int, least: float, alike: bool = True) -> Basis:
    """Basis without the directions that are rounding errors, where ``least`` regularization does not outweigh them.

    Factors of a lower rank than their number have directions of which only errors are left, of the size of the type's
    epsilon relative to the largest: solved for, these would be blown up. Without them the solution is the one of least
    norm. Returns the basis itself where there are none.

    Unless all missing pairs weigh ``alike``, rows of the fixed side may have directions of their own that the Gramian
    has not, as their weight is next to nothing. Those stay, with nothing in the spectrum.
    """

    def squares() -> np.ndarray:
        summed: np.ndarray = np.square(basis.rotated[:, :factors], dtype=np.float64).sum(axis=0)
        return summed

    spectrum, errors = left_out(basis, factors, least, None if alike else squares)
    if spectrum is basis.spectrum:
        return basis
    basis = replace(basis, spectrum=spectrum)
    if errors.size:
        basis = replace(basis, rotated=basis.rotated.copy())
        basis.rotated[:, errors] = 0
    return basis


def left_out(
    basis: Basis, factors: int, least: float, squares: Callable[[], np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Spectrum of the ``determined`` basis, and the directions that it leaves out; of its rotated factors the type.

    ``squares()`` are the sums of squares (factors,) of their columns, None where all missing pairs weigh alike. The
    spectrum is that of the basis itself where nothing is to be done.
    """
    given, relative = basis.spectrum[:factors], _rounding(factors, basis.rotated.dtype)
    if given[0] + least >= relative * given[-1]:
        return basis.spectrum, np.empty(0, np.int64)
    errors = np.flatnonzero(given + least < relative * given[-1])
    spectrum = basis.spectrum.copy()
    if squares is not None:
        spectrum[errors] = 0
        found = squares()
        errors = errors[found[errors] < relative * found.max()]
    spectrum[errors] = given.max()
    return spectrum, errors


@functools.lru_cache(maxsize=64)
def _rounding(factors: int, dtype: np.dtype) -> float:
    """What of the largest eigenvalue the errors of a Gramian of factors of a type are."""
    eps = float(np.finfo(dtype).eps)
    return factors * max(factors * eps**2, float(np.finfo(np.float64).eps))
