"""Thread counts are checked and restored; the lock keeps launches apart; a fork is safe or refused."""

import sys
import threading

import numba
import numpy as np
import pytest
from layers import LAYERS, needs_fork, run_under_layer

from fastals.kernels.jit import compiled
from fastals.solver import threads as threads_module
from fastals.solver.threads import parallel, run_tasks

# A parallel sum launched only through `parallel`.
SUM = """
import os, sys, threading
import numba, numpy as np
from fastals.solver.threads import parallel

@numba.njit(parallel=True)
def total(values):
    result = 0.0
    for t in numba.prange(values.size):
        result += values[t]
    return result

def run(values=np.ones(1000)):
    with parallel(2):
        return total(values)
"""


def run_script(script: str, layer: str) -> list[str]:
    return run_under_layer(layer, "-c", SUM + script)


@pytest.fixture
def two_threads():
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("needs two threads")
    before = numba.get_num_threads()
    numba.set_num_threads(2)
    yield
    numba.set_num_threads(before)


@compiled
def note(task, tasks, x, out):
    for n in range(task, x.size, tasks):
        out[n] = 10 * tasks + x[n]


@pytest.mark.parametrize(("threads", "tasks"), [(1, 1), (2, min(2, numba.config.NUMBA_NUM_THREADS))])
def test_every_task_is_run(threads, tasks):
    x, out = np.arange(5.0), np.zeros(5)

    run_tasks(note, threads, x, out)

    np.testing.assert_array_equal(out, 10 * tasks + x)


def test_one_task_is_run_by_the_calling_thread(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("in parallel")

    monkeypatch.setattr(threads_module, "run_in_parallel", refuse)
    run_tasks(note, 1, np.zeros(3), np.zeros(3))
    with pytest.raises(AssertionError, match="in parallel"):
        run_tasks(note, 2, np.zeros(3), np.zeros(3))


@pytest.mark.usefixtures("two_threads")
def test_count_is_set_and_restored():
    with parallel(1) as outer:
        inside = numba.get_num_threads()
        with parallel(np.int64(2)) as inner, parallel(None) as innermost:
            nested = numba.get_num_threads()
        after_nested = numba.get_num_threads()

    assert (outer, inside, inner, innermost, nested, after_nested) == (1, 1, 2, 2, 2, 1)
    assert numba.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_count_is_restored_after_an_error_and_the_lock_is_free():
    with pytest.raises(ZeroDivisionError), parallel(1):
        raise ZeroDivisionError

    assert numba.get_num_threads() == 2
    entered = []

    def enter():
        with parallel(1) as count:
            entered.append(count)

    other = threading.Thread(target=enter)
    other.start()
    other.join(timeout=60)
    assert entered == [1]


def test_more_than_available_is_lowered():
    with parallel(10**6) as got:
        assert got == numba.config.NUMBA_NUM_THREADS == numba.get_num_threads()


@pytest.mark.parametrize("value", [0, -1, np.int32(0)])
def test_count_below_one_is_refused(value):
    with pytest.raises(ValueError, match="num_threads must be at least 1"), parallel(value):
        pass


@pytest.mark.parametrize("value", [1.0, "2", True, [1]])
def test_count_that_is_no_integer_is_refused(value):
    with pytest.raises(TypeError, match="num_threads must be an integer or None"), parallel(value):
        pass


@pytest.mark.slow
def test_asking_for_the_number_starts_no_threads():
    script = """
from fastals.solver.threads import effective_num_threads
print(effective_num_threads(None), effective_num_threads(1), effective_num_threads(5))
try:
    numba.threading_layer()
except ValueError:
    print("not started")
run()
numba.set_num_threads(1)
print(effective_num_threads(None), numba.threading_layer())
"""
    assert run_script(script, "workqueue") == ["2 1 2", "not started", "1 workqueue"]


def test_one_thread_at_a_time():
    inside, most = 0, 0

    def enter():
        nonlocal inside, most
        for _ in range(50):
            with parallel(1):
                inside += 1
                most = max(most, inside)
                threading.Event().wait(0.0002)
                inside -= 1

    workers = [threading.Thread(target=enter) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)

    assert (inside, most) == (0, 1)


@pytest.mark.slow
@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing launches a layer")
@pytest.mark.parametrize("layer", LAYERS)
def test_many_python_threads_under_each_layer(layer):
    script = """
sums = []
workers = [threading.Thread(target=lambda: sums.extend(run() for _ in range(200))) for _ in range(8)]
for worker in workers: worker.start()
for worker in workers: worker.join()
print(numba.threading_layer(), len(sums), set(sums))
"""
    assert run_script(script, layer) == [f"{layer} 1600 {{1000.0}}"]


# Another thread may hold the lock while this one forks, and then does so for longer than a fork waits for it.
FORK = """
from fastals.kernels import forks
forks.FORK_PATIENCE = 0.1
run()
entered, leave = threading.Event(), threading.Event()
def hold():
    with parallel(1):
        entered.set()
        leave.wait()
holder = threading.Thread(target=hold)
if HELD:
    holder.start()
    entered.wait()
child = os.fork()
if child == 0:
    try:
        print("child", run(), flush=True)
    except RuntimeError as error:
        print("refused", error, flush=True)
    os._exit(0)
if HELD:
    leave.set()
    holder.join()
print("status", os.waitpid(child, 0)[1], run())
"""


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize(("layer", "held"), [("workqueue", False), ("workqueue", True), ("tbb", False)])
def test_fork_after_use(layer, held):
    assert run_script(f"HELD = {held}\n{FORK}", layer) == ["child 1000.0", "status 0 1000.0"]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Numba uses GNU OpenMP on Linux only")
@pytest.mark.parametrize(("layer", "held"), [("omp", False), ("omp", True), ("tbb", True)])
def test_fork_after_use_is_refused(layer, held):
    refused, status = run_script(f"HELD = {held}\n{FORK}", layer)

    assert refused.startswith("refused fastals cannot run in this process: it was forked")
    assert "'spawn'" in refused
    assert status == "status 0 1000.0"


# TBB cannot stop its threads for a fork while Python threads live that have used it.
FORK_BESIDE_THREAD = """
finish = threading.Event()
def use():
    try:
        run()
    finally:
        used.set()
    if STAYS:
        finish.wait()
used = threading.Event()
user = threading.Thread(target=use)
user.start()
used.wait()
if not STAYS:
    user.join()
child = os.fork()
if child == 0:
    try:
        print("child", run(), flush=True)
    except RuntimeError as error:
        print("refused", flush=True)
    os._exit(0)
print("status", os.waitpid(child, 0)[1], run())
finish.set()
"""


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize(
    ("layer", "stays", "expected"),
    [("workqueue", True, "child 1000.0"), ("tbb", True, "refused"), ("tbb", False, "child 1000.0")],
)
def test_fork_beside_a_thread_that_has_used_numba(layer, stays, expected):
    got = run_script(f"STAYS = {stays}\n{FORK_BESIDE_THREAD}", layer)

    assert got == [expected, "status 0 1000.0"]


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize("layer", LAYERS)
def test_fork_before_use(layer):
    script = """
child = os.fork()
if child == 0:
    print("child", run(), flush=True)
    os._exit(0)
print("status", os.waitpid(child, 0)[1], run())
"""
    assert run_script(script, layer) == ["child 1000.0", "status 0 1000.0"]


@needs_fork
@pytest.mark.slow
def test_fork_inside_leaves_both_sides_balanced():
    script = """
with parallel(1):
    child = os.fork()
    got = total(np.ones(10))
if child == 0:
    print("child", got, run(), flush=True)
    os._exit(0)
print("status", os.waitpid(child, 0)[1], got, run())
"""
    assert run_script(script, "workqueue") == ["child 10.0 1000.0", "status 0 10.0 1000.0"]
