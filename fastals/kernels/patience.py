"""Tells whoever waits at a terminal that kernels are being compiled: once in a process, if it takes long.

The first kernel that is compiled is followed to its end, with all that it calls; each of them is a moment at which the
clock is read. So nothing waits, and no thread is started.
"""

import sys
import time
from typing import NamedTuple

LONG = 1.0  # seconds
MESSAGE = "fastals: compiling kernels, once"


class _Compilation(NamedTuple):
    kernel: object
    since: float


_outermost: _Compilation | None = None
_told = False


def compilation_begins(kernel: object) -> None:
    """Note that a kernel is about to be compiled."""
    global _outermost
    if _outermost is None:
        _outermost = _Compilation(kernel, time.monotonic())
    _tell(_outermost)


def compilation_ends(kernel: object) -> None:
    """Note that a kernel has been compiled."""
    global _outermost
    if _outermost is None:
        return
    _tell(_outermost)
    if _outermost.kernel is kernel:
        _outermost = None


def _tell(outermost: _Compilation) -> None:
    global _told
    if _told or time.monotonic() - outermost.since <= LONG:
        return
    _told = True
    if sys.stderr is not None and sys.stderr.isatty():
        print(MESSAGE, file=sys.stderr)
