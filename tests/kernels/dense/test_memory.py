"""Memory that starts at a cache line."""

import numpy as np
import pytest

from fastals.kernels.dense.memory import CACHE_LINE, aligned, aligned_empty


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 16), (3, 48), (0, 16), (7, 5)])
def test_aligned_empty(dtype, shape):
    for _ in range(8):
        got = aligned_empty(*shape, np.empty(1, dtype))
        assert (got.shape, got.dtype, got.flags.c_contiguous) == (shape, dtype, True)
        assert got.size == 0 or got.ctypes.data % CACHE_LINE == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(0, 16), (3, 5), (2, 7, 32)])
def test_arrays_start_a_cache_line(dtype, shape):
    for _ in range(20):  # of memory that NumPy may have anywhere
        got = aligned(np.dtype(dtype), *shape)
        assert (got.dtype, got.shape) == (dtype, shape)
        assert got.size == 0 or got.ctypes.data % CACHE_LINE == 0
        assert got.flags.c_contiguous
        assert got.flags.writeable
