"""A kernel that is passed to another runs as if it were called by its name."""

import sys

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


@pytest.mark.slow
@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="kernels are Python functions")
def test_no_python_runs_in_a_launch():
    """Numba takes an interrupt there for an error of its own, and it is lost (seen once: TypeError)."""

    @compiled
    def inner(x):
        x[0] += 1

    @compiled
    def outer(kernel, x):
        kernel(x)

    x, called = np.zeros(1), []
    argument = as_argument(inner, x)
    outer(argument, x)
    sys.setprofile(lambda frame, event, _: called.append(frame.f_code.co_name) if event == "call" else None)
    try:
        outer(argument, x)
    finally:
        sys.setprofile(None)

    assert not set(called) - {"outer"}  # Numba tells profilers of compiled functions, too
    assert x[0] == 2
