"""Memory that starts at a cache line."""

import math

import numpy as np

from fastals.kernels.jit import compiled

CACHE_LINE = 64  # bytes


@compiled
def aligned_empty(rows, columns, like):
    """Uninitialised (rows, columns) array of the type of ``like`` whose first element starts a cache line.

    A 64-byte vector load that straddles two lines costs two accesses; NumPy's and Numba's own arrays start 16 or 32
    bytes into a line. Measured: up to 1.4 times faster conjugate gradients.
    """
    size = rows * columns
    spare = CACHE_LINE // like.itemsize
    memory = np.empty(size + spare, like.dtype)
    first = (-memory.ctypes.data) % CACHE_LINE // like.itemsize
    return memory[first : first + size].reshape(rows, columns)


def aligned(dtype: np.dtype, *shape: int) -> np.ndarray:
    """Uninitialised array whose first element starts a cache line, as `aligned_empty` for kernels.

    From NumPy, which asks for huge pages where Numba does not: rows of large factors are read in no order, and a page
    walk for each would cost more than the row.
    """
    size = math.prod(shape)
    memory = np.empty(size + CACHE_LINE // dtype.itemsize, dtype)
    first = -memory.ctypes.data % CACHE_LINE // dtype.itemsize
    return memory[first : first + size].reshape(shape)
