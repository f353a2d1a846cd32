"""Products of factors with a square matrix, from panels of its columns.

Where the matrix is larger than the caches, eight rows at a time would read all of it from memory again and again, and
the elements of a column of tiles, a power of two apart, would push one another out. So the matrix lies in panels of 32
columns, each in one piece, and a panel serves 64 rows while it is in the caches. Of a triangular matrix each panel says
which of its rows are zero, and almost half of the work is left out.
"""

from typing import Any, NamedTuple

import numpy as np

from fastals.kernels.dense.blocks import multiply_block
from fastals.kernels.dense.memory import aligned_empty
from fastals.kernels.dense.tiles import TILE_ROWS
from fastals.kernels.jit import compiled, compiled_without_refcounts

PANEL = 32  # columns: the width of a register tile
CHUNK = 64  # rows


class Panels(NamedTuple):
    """A square matrix in panels of columns.

    elements : (panels, width, PANEL) array
        The columns, zeros past the last one.
    spans : (panels, 2) int64 array
        First row of each panel that is not zero, and the one after the last.
    """

    elements: Any
    spans: Any


class Chunk(NamedTuple):
    """Scratch for the solutions of a chunk of rows.

    solved, rotated : (rows, width) arrays, before and after the rotation
    tile : (TILE_ROWS, PANEL) array
    """

    solved: Any
    rotated: Any
    tile: Any


@compiled
def chunk_for(bounds, width, like):
    """Scratch of a thread for ranges of rows, of the type of ``like``.

    No larger than the ranges are: a single row would wait longer for fresh memory than for its solution (measured).
    ``multiply_chunk`` reads rows past the last one, and discards what they give: they begin as zeros, not as whatever
    memory holds, of which Python in the place of compiled code would warn.
    """
    # A constant is a type of its own to Numba, and so would be the compilations of what it is passed to.
    rows, panel, most = np.int64(TILE_ROWS), np.int64(PANEL), np.int64(0)
    for c in range(bounds.shape[0] - 1):
        most = max(most, bounds[c + 1] - bounds[c])
    chunk = min(-(-most // rows) * rows, np.int64(CHUNK))
    solved, rotated = aligned_empty(chunk, width, like), aligned_empty(chunk, width, like)
    solved[:] = 0
    return Chunk(solved, rotated, aligned_empty(rows, panel, like))


@compiled_without_refcounts
def multiply_chunk(X, count, panels, tile, first, out):
    """Write X[:count] B to out[first : first + count] in place, but for columns that ``out`` does not have.

    ``X`` (CHUNK, width) is read up to a multiple of eight rows; ``panels`` (Panels) is B; ``tile`` (TILE_ROWS, PANEL)
    is scratch.
    """
    for panel in range(panels.spans.shape[0]):
        begin = panel * PANEL
        end = min(begin + PANEL, out.shape[1])
        B, above, below = panels.elements[panel], panels.spans[panel, 0], panels.spans[panel, 1]
        for t in range(0, count, TILE_ROWS):
            # Whole blocks go straight to ``out``: by way of the tile 64 factors took a quarter longer (measured).
            if t + TILE_ROWS <= count and end - begin == PANEL:
                multiply_block(X, t, above, below, B, out, (first + t) * out.shape[1] + begin)
                continue
            multiply_block(X, t, above, below, B, tile, np.int64(0))
            for m in range(t, min(t + TILE_ROWS, count)):
                row, line = out[first + m, begin:end], tile[m - t]  # an index from begin on would make the loop scatter
                for j in range(row.shape[0]):
                    row[j] = line[j]
