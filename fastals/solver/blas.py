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
# other's calculation. It is held during a fork too, so that no child inherits the lowered number.
_lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)

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


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Run NumPy's OpenBLAS on the calling thread alone; the number of threads is restored on leaving."""
    functions = _openblas()
    with _lock:
        before = functions[0]() if functions else 1
        if functions is None or before <= 1:
            yield
            return
        functions[1](1)
        try:
            yield
        finally:
            functions[1](before)
