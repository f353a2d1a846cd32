"""Forks beside a compilation of another thread: bounded waits, and children that say what they cannot do."""

import pytest
from layers import needs_fork, run_under_layer

pytestmark = [needs_fork, pytest.mark.slow]

NO_HOOKS = """
import os, sys
callers = []
register = os.register_at_fork
def record(**hooks):
    callers.append(sys._getframe(1).f_globals["__name__"])
    register(**hooks)
os.register_at_fork = record
import numpy as np
import fastals, fastals.cli, fastals.evaluation, fastals.tuning, fastals.export
def ours():
    return sorted({name for name in callers if name.startswith("fastals")})
print("imported", *ours())
from fastals.kernels.rows.row import *
from fastals.kernels.dense.memory import aligned_empty
aligned_empty(1, 1, np.zeros(1))
print("compiled", *ours())
many = __import__("scipy.sparse").sparse.random(2000, 1000, 0.05, "csr", random_state=0)  # for one thread
fastals.ImplicitALS(2, iterations=1).fit(many)
print("launched", *ours())
"""


def test_hooks_are_installed_at_first_use():
    assert run_under_layer("workqueue", "-c", NO_HOOKS) == [
        "imported",
        "compiled fastals.kernels.forks",
        "launched fastals.kernels.forks fastals.solver.blas fastals.solver.threads",
    ]


# A child that hangs is ended by its alarm, which the status tells.
FORK = """
import gc, os, signal, threading, time
import numba, numpy as np
from fastals.kernels import forks
from fastals.kernels.dense.memory import aligned_empty
from numba.core.compiler_lock import global_compiler_lock

like = np.zeros(1)
aligned_empty(1, 1, like)
@numba.njit
def new(x):
    return x + 1

def forked(work):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            work()
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]

def work(deeper=True):
    print("runs", aligned_empty(2, 3, like).shape, flush=True)
    try:
        print(new(1), aligned_empty(2, 3, np.zeros(1, np.float32)).shape, flush=True)
    except RuntimeError as error:
        print(str(error)[:45], flush=True)
    gc.collect()
    if deeper:
        print("grandchild", forked(lambda: work(False)), flush=True)
    os._exit(0)

entered, leave = threading.Event(), threading.Event()
"""
BESIDE_THE_LOCK = """
def hold():
    with global_compiler_lock:
        entered.set()
        leave.wait()
holder = threading.Thread(target=hold)
holder.start()
entered.wait()
forks.FORK_PATIENCE = 0.2
print("status", forked(work), flush=True)
leave.set()
holder.join()
forks.FORK_PATIENCE = 60
print("status", forked(work), new(1))
"""
REFUSED = ["runs (2, 3)", "Numba cannot compile or load code in this pro"]
ALLOWED = ["runs (2, 3)", "2 (2, 3)"]


def test_fork_goes_on_beside_a_compilation_that_takes_too_long():
    got = run_under_layer("workqueue", "-c", FORK + BESIDE_THE_LOCK)

    assert got == [*REFUSED, *REFUSED, "grandchild 0", "status 0", *ALLOWED, *ALLOWED, "grandchild 0", "status 0 2"]


IN_A_PAUSE = """
def collects():
    print("collects", gc.isenabled(), flush=True)
    os._exit(0)

forks.watch()
for before in (gc.enable, gc.disable):
    before()
    with forks.without_collections():
        print("paused", not gc.isenabled(), flush=True)
        forked(collects)
    print("after", gc.isenabled(), flush=True)
"""


def test_a_child_forked_during_a_compilation_collects_garbage_as_its_parent_did_before():
    got = run_under_layer("workqueue", "-c", FORK + IN_A_PAUSE)

    assert got == ["paused True", "collects True", "after True", "paused True", "collects False", "after False"]


BESIDE_COMPILATIONS = """
def compile():
    number = 0
    while not leave.is_set():
        number += 1
        @numba.njit
        def long(x):
            total = 0.0
            for i in range(x.shape[0]):
                for j in range(x.shape[1]):
                    total += np.sin(x[i, j]) * number
            return total + np.linalg.norm(x[0]) + np.sort(x[0])[0] + np.median(x[1])
        long(np.ones((3, 3)))
        entered.set()
compiler = threading.Thread(target=compile)
compiler.start()
entered.wait()
forks.FORK_PATIENCE = 0.0
for attempt in range(8):
    time.sleep(0.06)
    print("status", forked(work), flush=True)
leave.set()
compiler.join()
print(new(1))
"""


def test_forks_in_the_midst_of_compilations():
    got = run_under_layer("workqueue", "-c", FORK + BESIDE_COMPILATIONS)

    assert got.count("status 0") == got.count("grandchild 0") == 8
    assert got.count("runs (2, 3)") == 16
    assert set(got) <= {*REFUSED, *ALLOWED, "grandchild 0", "status 0", "2"}
    assert REFUSED[1] in got
    assert got[-1] == "2"
