"""Products of factors with a square matrix, from panels of its columns.

Where the matrix is larger than the caches, eight rows at a time would read all of it from memory again and again, and
the elements of a column of tiles, a power of two apart, would push one another out. So the matrix lies in panels of 32
columns, each in one piece, and a panel serves 64 rows while it is in the caches.
"""

from fastals.kernels.dense.blocks import multiply_block
from fastals.kernels.dense.tiles import TILE_ROWS
from fastals.kernels.jit import compiled_bare

PANEL = 32  # columns: the width of a register tile
CHUNK = 64  # rows


@compiled_bare
def multiply_chunk(X, count, panels, tile, first, out):
    """Write X[:count] B to out[first : first + count] in place, but for columns that ``out`` does not have.

    ``X`` (CHUNK, width) is read up to a multiple of eight rows; ``panels`` (panels, width, PANEL) is B, zeros past its
    last column; ``tile`` (TILE_ROWS, PANEL) is scratch.
    """
    for panel in range(panels.shape[0]):
        begin = panel * PANEL
        end = min(begin + PANEL, out.shape[1])
        for t in range(0, count, TILE_ROWS):
            multiply_block(X, t, panels.shape[1], panels[panel], tile)
            for m in range(t, min(t + TILE_ROWS, count)):
                for j in range(begin, end):
                    out[first + m, j] = tile[m - t, j - begin]
