"""Forks beside a compilation: waited for, but not for ever; then the child refuses to compile, and does not hang.

A forked child has only the thread that forked it. Numba's compiler lock, where another thread of the parent holds it,
is held in the child for ever, and what that thread was changing stays half-changed. Code compiled before still runs.

`watch` is called before the first compilation, so that importing this package changes nothing in a process.
"""

import contextlib
import gc
import os
import threading
from collections.abc import Iterator
from typing import Any

# Seconds that a fork waits for another thread's compilation, and for its launch of a parallel loop, before it goes on
# beside them. A launch takes a fraction of a second and a kernel one or two seconds to compile.
FORK_PATIENCE = 10.0

_forking = threading.local()  # .lock: the compiler's lock, where this thread holds it for a fork
_watching = threading.Lock()  # taken once, and kept


_collections_paused = False


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
    """Pause the collection of Python's cyclic garbage, which took a twelfth of a first fit (measured).

    For a compilation: it allocates millions of objects and leaves few to collect. One thread at a time compiles, as
    Numba has a lock around it. A child that is forked meanwhile collects again.
    """
    global _collections_paused
    if not gc.isenabled():
        yield
        return
    gc.disable()
    _collections_paused = True
    try:
        yield
    finally:
        _collections_paused = False
        gc.enable()


class _Refusal:
    """Takes the place of a lock whose holder does not exist."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        raise RuntimeError(
            "Numba cannot compile or load code in this process: it was forked while another thread was compiling. "
            "Compile before forking, by a first call, or start processes with multiprocessing's 'spawn' or "
            "'forkserver' method"
        )

    def release(self) -> None:
        """Nothing is held."""

    def _is_owned(self) -> bool:
        return False


def _compiler_lock() -> Any:
    """Numba's RLock, of which only a private attribute can be waited for with a limit; None where there is none."""
    try:
        from numba.core.compiler_lock import global_compiler_lock

        return global_compiler_lock._lock
    except (ImportError, AttributeError):
        return None


def _before_fork() -> None:
    lock = _compiler_lock()
    free = lock is not None and not isinstance(lock, _Refusal) and lock.acquire(timeout=FORK_PATIENCE)
    _forking.lock = lock if free else None


def _after_fork_in_parent() -> None:
    if getattr(_forking, "lock", None) is not None:
        _forking.lock.release()


def _after_fork_in_child() -> None:
    if _collections_paused:
        gc.enable()
    if getattr(_forking, "lock", None) is not None:
        _forking.lock.release()
    elif _compiler_lock() is not None:
        from numba.core.compiler_lock import global_compiler_lock

        global_compiler_lock._lock = _Refusal()
        # Collected garbage disposes of LLVM's objects, for which llvmlite takes a lock of its own.
        with contextlib.suppress(ImportError, AttributeError):
            from llvmlite.binding import ffi

            ffi.lib._lock._lock = threading.RLock()


def watch() -> None:
    """Have every later fork of this process wait for compilations; does nothing but the first time."""
    if hasattr(os, "register_at_fork") and _watching.acquire(blocking=False):
        os.register_at_fork(
            before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
        )
