"""The one door to Numba's threads: their number, a lock around every parallel launch, and safety after a fork."""

import contextlib
import operator
import os
import sys
import threading
from collections.abc import Iterator

import numba

# Numba's workqueue layer aborts the process when two Python threads launch parallel loops at once.
_lock = threading.RLock()
_inherited_layer: str | None = None


def _after_fork_in_child() -> None:
    """Replace the lock, whose holder may not exist here, and note which threading layer the parent had started."""
    global _lock, _inherited_layer
    _lock = threading.RLock()
    with contextlib.suppress(ValueError):  # not started yet
        _inherited_layer = numba.threading_layer()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _check_usable_after_fork() -> None:
    """Refuse GNU OpenMP started before a fork: its next parallel loop terminates the process.

    Workqueue and TBB start their threads anew in the child, and so do other vendors' OpenMP.
    """
    if _inherited_layer != "omp":
        return
    if getattr(sys.modules.get("numba.np.ufunc.omppool"), "openmp_vendor", "GNU") == "GNU":
        raise RuntimeError(
            "fastals cannot run in this process: it was forked from one where Numba had started GNU OpenMP threads, "
            "which do not survive a fork. Start worker processes with multiprocessing's 'spawn' or 'forkserver' "
            "method, or set the environment variable NUMBA_THREADING_LAYER to 'workqueue' or 'tbb' before Python starts"
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
        In a process forked after Numba had started GNU OpenMP, where a parallel loop would terminate the process.

    Notes
    -----
    The lock knows of this library's launches alone. If other code of the process runs Numba's parallel functions in
    several Python threads, choose the threading layer ``omp`` or ``tbb``, which allow it.
    """
    _check_num_threads(num_threads)
    _check_usable_after_fork()
    with _lock:
        before = numba.get_num_threads()
        available = numba.config.NUMBA_NUM_THREADS
        count = before if num_threads is None else min(operator.index(num_threads), available)
        numba.set_num_threads(count)
        try:
            yield count
        finally:
            numba.set_num_threads(before)
