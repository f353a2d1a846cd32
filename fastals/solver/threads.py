"""The one door to Numba's threads: their number, a lock around every parallel launch, and safety after a fork."""

import contextlib
import itertools
import operator
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numba
import numpy as np

from fastals.kernels import forks
from fastals.kernels.launch import run_in_parallel

LAUNCH_FLOPS = 2e10  # of a launch: one to two tenths of a second on two cores, after which an interrupt is heard

# Numba's workqueue layer aborts the process when two Python threads launch parallel loops at once.
_lock = threading.RLock()
_launchers: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
_forking = threading.local()  # .lock: the lock, where this thread holds it for a fork; .beside_launchers
_watching = threading.Lock()  # taken once, and kept
_inherited: str | None = None  # what a fork has left unusable in this process


def _watch_forks() -> None:
    """Have every later fork of this process wait for launches; does nothing but the first time.

    A launch may compile but no compilation launches: so a fork waits for launches first, which its hooks do that are
    registered last.
    """
    forks.watch()
    if hasattr(os, "register_at_fork") and _watching.acquire(blocking=False):
        os.register_at_fork(
            before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
        )


def _before_fork() -> None:
    """Wait for the launch that another thread is at, but no longer than ``forks.FORK_PATIENCE``."""
    _forking.lock = _lock if _lock.acquire(timeout=forks.FORK_PATIENCE) else None
    _forking.beside_launchers = _forking.lock is None or any(
        thread.is_alive() for thread in _launchers if thread is not threading.current_thread()
    )


def _after_fork_in_parent() -> None:
    if getattr(_forking, "lock", None) is not None:
        _forking.lock.release()


def _after_fork_in_child() -> None:
    """Replace the lock, whose holder may not exist here, and note which threads the parent had started.

    Workqueue starts its threads anew in the child, and so do OpenMP libraries other than GNU's. TBB does if it could
    stop them for the fork, which it cannot where other Python threads live that have used it: then the child's loops
    hang now and then.
    """
    global _lock, _inherited
    _lock = threading.RLock()
    _launchers.clear()
    if _has_started():
        layer = numba.threading_layer()
        vendor = getattr(sys.modules.get("numba.np.ufunc.omppool"), "openmp_vendor", "GNU")
        if layer == "omp" and vendor == "GNU":
            _inherited = "GNU OpenMP threads, which do not survive a fork"
        elif layer == "tbb" and getattr(_forking, "beside_launchers", True):
            _inherited = "TBB threads for several Python threads, which do not survive a fork"


def _has_started() -> bool:
    """Whether Numba has started its threads, which asking it for their number would do."""
    try:
        numba.threading_layer()
    except ValueError:
        return False
    return True


def _check_usable_after_fork() -> None:
    """Refuse threads that a fork has left unusable: the next parallel loop would terminate the process, or hang."""
    if _inherited is not None:
        raise RuntimeError(
            f"fastals cannot run in this process: it was forked from one where Numba had started {_inherited}. "
            "Start worker processes with multiprocessing's 'spawn' or 'forkserver' method, or set the environment "
            "variable NUMBA_THREADING_LAYER to 'workqueue' before Python starts"
        )


def _check_num_threads(num_threads: int | None) -> None:
    if num_threads is None:
        return
    try:
        count = operator.index(num_threads)
    except TypeError:
        count = None
    if count is None or isinstance(num_threads, bool):
        raise TypeError(f"num_threads must be an integer or None, got {num_threads!r}")
    if count < 1:
        raise ValueError(f"num_threads must be at least 1, got {num_threads}")


def effective_num_threads(num_threads: int | None) -> int:
    """Number of threads that ``parallel`` will use, see there; starts none."""
    _check_num_threads(num_threads)
    if num_threads is None:
        return int(numba.get_num_threads() if _has_started() else numba.config.NUMBA_NUM_THREADS)
    return min(operator.index(num_threads), int(numba.config.NUMBA_NUM_THREADS))


def launches(pieces: int, work: float, num_threads: int | None, each: int = 1) -> Iterator[slice]:
    """Slices of ``pieces`` of ``work`` floating-point operations in all, one for each launch.

    Between launches an interrupt is heard: one takes a fraction of a second, but has ``each`` pieces or more for each
    thread, so that their shares are even.
    """
    if pieces <= each:
        yield slice(0, pieces)
        return
    count = max(int(min(work / LAUNCH_FLOPS, pieces / (each * effective_num_threads(num_threads)))), 1)
    if count == 1:
        yield slice(0, pieces)
        return
    for first, last in itertools.pairwise(np.linspace(0, pieces, count + 1).astype(int).tolist()):
        yield slice(first, last)


def run_tasks(task: Any, num_threads: int | None, *arguments: Any) -> None:
    """Run the tasks of a kernel, one for each thread; one thread is the calling one, and no other is started.

    Parameters
    ----------
    task : kernel
        ``task(number, tasks, *arguments)`` is a serial one.
    num_threads : int or None
        As for ``parallel``.
    *arguments
        Of all tasks.

    Raises
    ------
    MemoryError
        Where a task has found none for its scratch; what the others have written stays.
    """
    if num_threads == 1:
        task(0, 1, *arguments)
        return
    with parallel(num_threads) as tasks:
        run_in_parallel(task, tasks, *arguments)


@contextlib.contextmanager
def parallel(num_threads: int | None) -> Iterator[int]:
    """Hold Numba's threads for one launch of compiled parallel code.

    One thread of the process is inside at a time (the same thread may enter again); others wait. The number of
    threads that was set before is restored on leaving, also after an error.

    Parameters
    ----------
    num_threads : int or None
        Threads to use, at least 1. None takes what Numba is set to, which is all cores unless ``NUMBA_NUM_THREADS`` or
        `numba.set_num_threads` say otherwise. A number above what Numba has available
        (``numba.config.NUMBA_NUM_THREADS``) is lowered to it, so that a setting made on a larger machine still runs;
        no result depends on the number.

    Yields
    ------
    int
        The number of threads in use.

    Raises
    ------
    TypeError, ValueError
        If `num_threads` is not an integer, or below 1.
    RuntimeError
        In a process forked after Numba had started GNU OpenMP, where a parallel loop would terminate the process, or
        TBB from several Python threads, where it might hang.

    Notes
    -----
    The lock knows of this library's launches alone. If other code of the process runs Numba's parallel functions in
    several Python threads, choose the threading layer ``omp`` or ``tbb``, which allow it.
    """
    count = effective_num_threads(num_threads)
    _check_usable_after_fork()
    _watch_forks()
    with _lock:
        before = numba.get_num_threads()
        _launchers.add(threading.current_thread())
        try:
            numba.set_num_threads(count)
            yield count
        finally:
            numba.set_num_threads(before)
