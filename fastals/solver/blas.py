"""One BLAS thread for the small eigenproblem.

OpenBLAS's worker threads spin for about 16 ms after each threaded call, on the cores that the row kernels need next:
at 64 factors that made the basis of a half-sweep 8 ms instead of 1.1 ms on two cores (measured). And the eigenvectors
differ in their last bits with the number of threads, MKL's from 128 factors on (seen).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import threading
from collections.abc import Iterator
from typing import Any

from fastals.kernels import forks

# Held as long as the number is lowered: of two Python threads the one that is done first would restore it under the
# other's calculation.
_lock = threading.RLock()
_lowered: tuple[int, int] | None = None  # thread that has lowered the number, and from what
_watching = threading.Lock()  # taken once, and kept
# Held around OpenBLAS's setter, which may start its threads under a lock of its own, and by forks: a child that
# inherits that lock with a holder that does not exist waits for ever. It is held for microseconds.
_setting = threading.Lock()
_forking = threading.local()  # .lock: the lock above, where this thread holds it for a fork

# As exported by the wheels of NumPy 2, of NumPy 1, and by a system's OpenBLAS.
_NAMES = ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_", "openblas_{}_num_threads")


def _library() -> Any:
    """NumPy's linear algebra with the BLAS that it is linked with, None where it cannot be opened."""
    try:
        from numpy.linalg import _umath_linalg

        return ctypes.CDLL(_umath_linalg.__file__)
    except (ImportError, OSError, AttributeError):
        return None


@functools.cache
def _mkl() -> Any:
    """MKL's setter of the calling thread's own number, which returns the one before (0: the process's); or None."""
    setter = getattr(_library(), "MKL_Set_Num_Threads_Local", None)
    if setter is not None:
        setter.restype, setter.argtypes = ctypes.c_int, [ctypes.c_int]
    return setter


@functools.cache
def _openblas() -> tuple[Any, Any] | None:
    """OpenBLAS's getter and setter as NumPy's linear algebra sees them, None for another BLAS."""
    library = _library()
    for name in _NAMES:
        getter, setter = (getattr(library, name.format(verb), None) for verb in ("get", "set"))
        if getter is not None and setter is not None:
            getter.restype, getter.argtypes, setter.restype, setter.argtypes = ctypes.c_int, [], None, [ctypes.c_int]
            return getter, setter
    return None


def _set(number: int) -> None:
    functions = _openblas()
    assert functions is not None
    with _setting:
        functions[1](number)


def _before_fork() -> None:
    _forking.lock = _setting if _setting.acquire(timeout=forks.FORK_PATIENCE) else None


def _after_fork_in_parent() -> None:
    if getattr(_forking, "lock", None) is not None:
        _forking.lock.release()


def _after_fork_in_child() -> None:
    """Replace the locks, whose holders may not exist here, and restore what such a holder has lowered."""
    global _lock, _lowered, _setting
    _lock, _setting = threading.RLock(), threading.Lock()
    if _lowered is not None and _lowered[0] != threading.get_ident():
        _set(_lowered[1])
        _lowered = None


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Run NumPy's BLAS on the calling thread alone; the number of threads is restored on leaving.

    OpenBLAS's number is the process's. A fork by another thread meanwhile does not wait for the calculation: it
    restores the number in the child. MKL has a number for each thread. Another BLAS is left alone.
    """
    global _lowered
    own = _mkl()
    if own is not None:
        before = own(1)
        try:
            yield
        finally:
            own(before)
        return
    functions = _openblas()
    if functions is None:
        yield
        return
    if hasattr(os, "register_at_fork") and _watching.acquire(blocking=False):
        os.register_at_fork(
            before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
        )
    with _lock:
        before = functions[0]()
        if before <= 1:
            yield
            return
        _lowered = threading.get_ident(), before
        _set(1)
        try:
            yield
        finally:
            _set(before)
            _lowered = None
