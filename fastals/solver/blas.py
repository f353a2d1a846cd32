"""One BLAS thread for the small eigenproblem.

OpenBLAS's worker threads spin for about 16 ms after each threaded call, on the cores that the row kernels need next:
at 64 factors that made the basis of a half-sweep 8 ms instead of 1.1 ms on two cores (measured). And the eigenvectors
differ in their last bits with the number of threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import threading
from collections.abc import Iterator
from typing import Any

# Held as long as the number is lowered: of two Python threads the one that is done first would restore it under the
# other's calculation.
_lock = threading.RLock()
_lowered: tuple[int, int] | None = None  # thread that has lowered the number, and from what
_watching = threading.Lock()  # taken once, and kept

# As exported by the wheels of NumPy 2, of NumPy 1, and by a system's OpenBLAS.
_NAMES = ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_", "openblas_{}_num_threads")


@functools.cache
def _openblas() -> tuple[Any, Any] | None:
    """OpenBLAS's getter and setter as NumPy's linear algebra sees them, None for another BLAS."""
    try:
        from numpy.linalg import _umath_linalg

        library = ctypes.CDLL(_umath_linalg.__file__)
    except (ImportError, OSError, AttributeError):
        return None
    for name in _NAMES:
        getter, setter = (getattr(library, name.format(verb), None) for verb in ("get", "set"))
        if getter is not None and setter is not None:
            getter.restype, getter.argtypes, setter.restype, setter.argtypes = ctypes.c_int, [], None, [ctypes.c_int]
            return getter, setter
    return None


def _after_fork_in_child() -> None:
    """Replace the lock, whose holder may not exist here, and restore what such a holder has lowered."""
    global _lock, _lowered
    _lock = threading.RLock()
    functions = _openblas()
    if functions is not None and _lowered is not None and _lowered[0] != threading.get_ident():
        functions[1](_lowered[1])
        _lowered = None


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Run NumPy's OpenBLAS on the calling thread alone; the number of threads is restored on leaving.

    A fork by another thread meanwhile is not delayed: it restores the number in the child.
    """
    global _lowered
    functions = _openblas()
    if functions is None:
        yield
        return
    if hasattr(os, "register_at_fork") and _watching.acquire(blocking=False):
        os.register_at_fork(after_in_child=_after_fork_in_child)
    with _lock:
        before = functions[0]()
        if before <= 1:
            yield
            return
        _lowered = threading.get_ident(), before
        functions[1](1)
        try:
            yield
        finally:
            functions[1](before)
            _lowered = None
