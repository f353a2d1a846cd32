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
@pytest.mark.parametrize("failing", range(4))
def test_a_task_without_memory_is_noticed_whatever_thread_it_ran_on(failing, capfd):
    @compiled
    def fill(task, tasks, failing, x):
        x[task] = np.empty(2**55 * x.size if task == failing else 1).size

    x = np.zeros(4)
    with pytest.raises(MemoryError, match="no memory for the scratch of fill"):
        run_in_parallel(fill, 4, failing, x)
    np.testing.assert_array_equal(x, np.arange(4) != failing)

    run_in_parallel(fill, 4, -1, x)
    np.testing.assert_array_equal(x, 1)
    assert capfd.readouterr() == ("", "")


def test_numbers_of_either_type_keep_their_value():
    @compiled
    def copy(task, tasks, numbers, flag, out):
        out[task, 0], out[task, 1], out[task, 2] = numbers[0], numbers[1], numbers[2]
        out[task, 3] = flag

    out = np.zeros((2, 4))
    for numbers in ((np.float32(0.1), -(2**40), 1e300), (np.inf, np.int32(-7), np.float32(-np.inf))):
        for flag in (True, np.bool_(False)):
            run_in_parallel(copy, 2, numbers, flag, out)
            np.testing.assert_array_equal(out, [[*map(float, numbers), flag]] * 2)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_many_dimensions(order):
    @compiled
    def total(task, tasks, x, out):
        out[task] = x.size + x.itemsize / 10
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                for m in range(x.shape[2]):
                    out[task] += 1000 * (i + 2 * j + 3 * m) * x[i, j, m]

    x, out = np.asarray(np.random.default_rng(0).random((2, 3, 4)), order=order), np.zeros(2)
    for given in (x, x[:, ::2], x[:0], x[:, :1, 1:2]):
        run_in_parallel(total, 2, given, out)
        places = np.indices(given.shape)
        expected = given.size + 0.8 + 1000 * ((places[0] + 2 * places[1] + 3 * places[2]) * given).sum()
        np.testing.assert_allclose(out, expected, rtol=1e-12)


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
    numba_functions = {"run_loop", "add_one"}  # Numba tells profilers of compiled functions, too
    sys.setprofile(lambda frame, event, _: called.append(frame.f_code.co_name) if event == "call" else None)
    try:
        run_in_parallel(add_one, 2, x)
    finally:
        sys.setprofile(None)

    assert not set(called) - numba_functions - {"run_in_parallel", "_address", "_kind", "_numbers"}
    np.testing.assert_array_equal(x, 2)
