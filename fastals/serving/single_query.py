"""The exact top-N list of a single query, from items that are kept sketched: see `fastals.kernels.top_items.single`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastals.core.validation import largest_factor, read_only
from fastals.kernels.dense.memory import aligned
from fastals.kernels.top_items import single as kernels
from fastals.kernels.top_items.cones import ALIKE, measure_cones, order_by_direction
from fastals.kernels.top_items.products import PANEL
from fastals.kernels.top_items.sketch import (
    CHUNK,
    LENGTHS,
    Sketches,
    leading_of,
    levels_of,
    pack_panels,
    sketch_rows,
    width_of,
)
from fastals.kernels.top_items.walk import row_norms
from fastals.solver.blas import single_threaded_blas
from fastals.solver.eigenbasis import gramian

Array = np.ndarray[Any, np.dtype[Any]]

_EMPTY_PLACES = read_only(np.zeros(0, np.int32))
_EMPTY_IDS = read_only(np.zeros(0, np.int32))
_ALL_ALLOWED = read_only(np.zeros(0, np.bool_))


class SketchIndex(NamedTuple):
    """Items prepared for single queries.

    Beside float32 factors it takes 176 bytes an item, 304 from 65 factors and 436 from 129 factors on, and two to four
    more where all are of one length.

    Attributes
    ----------
    items : Sketched
        Factors and sketches as the kernel takes them.
    """

    items: kernels.Sketched

    @classmethod
    def build(cls, items: Array, ceiling: float = np.inf) -> SketchIndex:
        """Sketch item factors.

        Parameters
        ----------
        items : ndarray of shape (n_items, factors), float32 or float64
            Finite; kept, and not to be changed.
        ceiling : float, optional
            What larger scores are taken for.

        Raises
        ------
        ValueError
            Where factors are so large that scores overflow.
        """
        items = read_only(np.require(items, None, ["C_CONTIGUOUS", "ALIGNED"]))
        limit, largest = largest_factor(items.shape, items.dtype), max(items.max(initial=0), -items.min(initial=0))
        if not largest < limit:
            raise ValueError(f"items must be finite and below {limit:.3g}; got {largest:.3g}")
        norms = np.empty(items.shape[0])
        row_norms(items, norms)
        order = np.argsort(-norms, kind="stable").astype(np.int32)
        present = np.count_nonzero(norms)
        least, largest = (norms[order[present - 1]], norms[order[0]]) if present else (0.0, 0.0)
        alike = least > ALIKE * largest and least >= np.finfo(np.float64).tiny
        if alike:
            order_by_direction(items, order[:present])
        places = np.empty_like(order)
        places[order] = np.arange(order.size, dtype=np.int32)
        rotation = _rotation(items)
        centres, cones = _cones(items, order if alike else order[:0], norms[order])
        following = _sketched(centres, np.arange(len(cones), dtype=np.int32), rotation)
        sketches = _sketched(items, order, rotation, following)
        return cls(kernels.Sketched(items, order, places, norms[order], sketches, cones, items.dtype.type(ceiling)))


def _cones(items: Array, order: Array, norms: Array) -> tuple[Array, Array]:
    """Centres and angles of the panels of items of one length, in an order."""
    n_panels = -(-order.size // PANEL)
    centres, cones = np.empty((n_panels, items.shape[1]), items.dtype), np.empty((n_panels, 3))
    if n_panels:  # or a first request waits for its compilation
        measure_cones(items, order, norms, centres, cones)
    return read_only(centres), cones


def _sketched(items: Array, order: Array, rotation: Array, following: Sketches | None = None) -> Sketches:
    """Sketches of the items in an order, and behind their panels those of the following ones."""
    chunks, code = rotation.shape[1] // CHUNK, np.dtype(np.int8)
    own = -(-order.size // PANEL)
    n_panels = own + (0 if following is None else len(following.panels))
    sketches = Sketches(
        aligned(code, order.size, chunks, CHUNK),
        aligned(items.dtype, order.size, LENGTHS + levels_of(chunks)),
        aligned(code, n_panels, min(chunks, 2) * CHUNK // 2, PANEL, 2),
        leading_of(rotation.shape[1]) // 2,
        aligned(items.dtype, n_panels, LENGTHS + 1, PANEL),
        rotation,
    )
    sketch_rows(items, order, rotation, sketches)
    pack_panels(sketches)
    if following is not None:
        sketches.panels[own:], sketches.panel_lengths[own:] = following.panels, following.panel_lengths
    return sketches


def _rotation(items: Array) -> Array:
    """R of shape (factors, width): the strongest directions of the items, each block of them mixed evenly.

    Hadamard's matrix spreads an item over the coordinates of a block, which have one unit: rounding is smaller so.
    """
    factors = items.shape[1]
    width = width_of(factors)
    G, _ = gramian(items, np.zeros(items.shape[0]), 1)
    if not np.isfinite(G).all():  # of float64: any directions serve
        G = np.eye(factors)
    rotation = np.zeros((factors, width))
    with single_threaded_blas():
        directions = np.linalg.eigh(G)[1][:, ::-1]
        first, last = 0, CHUNK // 2
        while first < min(width, factors):
            block = directions[:, first:last]
            rotation[:, first:last] = block @ _hadamard(last - first)[: block.shape[1]]
            first, last = last, 2 * last
    return rotation


def _hadamard(size: int) -> Array:
    """Orthogonal matrix whose elements are all of one size, for a power of two."""
    H = np.ones((1, 1))
    while len(H) < size:
        H = np.block([[H, H], [H, -H]])
    return H / np.sqrt(size)


def top_of_one(
    query: Array,
    index: SketchIndex,
    n: int,
    seen: Array | None = None,
    excluded: Array | None = None,
    candidates: Array | None = None,
) -> tuple[Array, Array]:
    """The n items of largest inner product with one query, as `top_items.top_items` gives them, to the last bit.

    Parameters
    ----------
    query : ndarray of shape (factors,)
        Finite, of the type of the items.
    index : SketchIndex
    n : int
        Length of the list.
    seen, excluded : ndarray of int, optional
        Ids that may not be returned; ``seen`` sorted.
    candidates : ndarray of int, optional
        Ids to choose from, in any order, repeated or not; all if None.

    Returns
    -------
    ids : ndarray of shape (m,), int32
        Best first; m is n or, where fewer items remain, their number.
    scores : ndarray of shape (m,)
    """
    n_items = index.items.places.size
    query = _contiguous(query, query.dtype)
    hidden = _EMPTY_IDS if seen is None else _ids(seen)
    places, allowed, available = _EMPTY_PLACES, _ALL_ALLOWED, n_items
    if candidates is not None:
        places = np.empty(candidates.size, np.int32)
        out = _EMPTY_IDS if excluded is None else _ids(excluded)
        available = kernels.chosen_places(_ids(candidates), out, hidden, index.items.places, places)
        places, hidden = places[:available], _EMPTY_IDS
    elif excluded is not None:
        mask = np.ones(n_items, np.bool_)
        mask[excluded] = False
        allowed, available = read_only(mask), int(np.count_nonzero(mask))
    length = min(n, available)
    ids, scores = np.empty(length, np.int32), np.empty(length, query.dtype)
    if length:
        kernels.rank_single(query, index.items, read_only(places), allowed, hidden, scores, ids)
    if not length or ids[-1] >= 0:  # unfilled places are the last
        return ids, scores
    found = int(np.count_nonzero(ids >= 0))
    return ids[:found], scores[:found]


def _ids(ids: Array) -> Array:
    """Ids as the kernels take them."""
    return _contiguous(ids, np.dtype(np.int32))


def _contiguous(array: Array, dtype: np.dtype[Any]) -> Array:
    """Read-only array of a type as the kernels take it; itself or a view where it is one, told faster than NumPy's."""
    flags = array.flags
    if array.dtype == dtype and flags.c_contiguous and flags.aligned:
        return read_only(array)
    return read_only(np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED"]))
