"""Tasks of a kernel that run in parallel do what they do one after another."""

import sys
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest

from fastals.core.validation import read_only
from fastals.kernels import launch
from fastals.kernels.jit import compiled
from fastals.kernels.launch import run_in_parallel


class Scaled(NamedTuple):
    x: Any
    factor: Any


@compiled
def scale(task, tasks, scaled, negate, out):
    for t in range(task, scaled.x.size, tasks):
        out[t] = (-1 if negate else 1) * scaled.factor * scaled.x[t]


@pytest.fixture(autouse=True)
def _threads():
    from fastals.solver.threads import parallel

    with parallel(None):
        yield


@pytest.mark.parametrize("tasks", [1, 3, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_tasks_run_with_arguments_of_any_kind(dtype, tasks):
    """Tuples with names, numbers, truth values; arrays, writable or not, with elements side by side or not."""
    x, wide = np.arange(7, dtype=dtype), np.zeros((7, 3), dtype)

    for given in (x, read_only(x), np.repeat(x, 2)[::2]):
        for factor in (2, dtype(2)):
            for negate in (False, True):
                for out in (np.zeros(7, dtype), wide[:, 1]):
                    run_in_parallel(scale, tasks, Scaled(given, factor), negate, out)
                    np.testing.assert_array_equal(out, (-2 if negate else 2) * x)

    assert not wide[:, [0, 2]].any()


def test_arguments_all_of_one_kind():
    @compiled
    def add(task, tasks, x, y, out):
        for t in range(task, x.size, tasks):
            out[t] = x[t] + y[t]

    x, out = np.arange(5.0), np.zeros(5)
    run_in_parallel(add, 2, x, 3 * x, out)
    np.testing.assert_array_equal(out, 4 * x)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="kernels are Python functions")
def test_one_loop_serves_all_kernels_and_links_none():
    @compiled
    def double(task, tasks, x):
        for t in range(task, x.size, tasks):
            x[t] *= 2

    for dtype in (np.float32, np.float64):
        x = np.ones(4, dtype)
        run_in_parallel(double, 2, x)
        np.testing.assert_array_equal(x, 2)

    assert len(double.signatures) == 2
    assert len(launch.run_loop.signatures) == 1


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="kernels are Python functions")
def test_no_python_runs_in_a_launch():
    """Numba takes an interrupt there for an error of its own, and it is lost (seen once: TypeError)."""

    @compiled
    def add_one(task, tasks, x):
        x[task] += 1

    x, called = np.zeros(2), []
    run_in_parallel(add_one, 2, x)
    numba_functions = {"_run", "run_loop", "add_one"}  # Numba tells profilers of compiled functions, too
    sys.setprofile(lambda frame, event, _: called.append(frame.f_code.co_name) if event == "call" else None)
    try:
        run_in_parallel(add_one, 2, x)
    finally:
        sys.setprofile(None)

    assert not set(called) - numba_functions - {"run_in_parallel", "_address", "_kind", "<genexpr>"}
    np.testing.assert_array_equal(x, 2)
