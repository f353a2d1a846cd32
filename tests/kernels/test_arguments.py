"""A kernel that is passed to another runs as if it were called by its name."""

import numba
import numpy as np
import pytest

from fastals.kernels.arguments import as_argument
from fastals.kernels.jit import compiled, compiled_parallel


@pytest.mark.slow
def test_a_kernel_as_an_argument_is_called_where_it_is():
    @compiled
    def inner(task, tasks, x, out):
        for t in range(task, x.size, tasks):
            out[t] = 2 * x[t]

    @compiled_parallel
    def outer(kernel, tasks, x, out):
        for task in numba.prange(tasks):
            kernel(np.int64(task), tasks, x, out)

    for dtype in (np.float32, np.float64):
        x = np.arange(7, dtype=dtype)
        for tasks in (1, 3):
            got = np.zeros(7, dtype)
            outer(as_argument(inner, 0, tasks, x, got), tasks, x, got)
            np.testing.assert_array_equal(got, 2 * x)

    if hasattr(inner, "signatures"):
        assert len(inner.signatures) == len(outer.signatures) == 2
        assert not any("inner" in text for text in outer.inspect_llvm().values())
