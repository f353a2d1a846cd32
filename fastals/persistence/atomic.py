"""Files that appear complete or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # not on Windows, where a file that is open cannot be removed
    fcntl = None  # type: ignore[assignment]

ABANDONED_AFTER = 60.0  # seconds since the last write


@contextlib.contextmanager
def atomic_writer(
    path: str | os.PathLike[str], verify: Callable[[IO[bytes]], None] | None = None
) -> Iterator[IO[bytes]]:
    """Open a temporary file that takes the place of ``path`` once it is safely on the disk, and else vanishes.

    ``verify`` is given the finished file and raises where it must not take that place. A symbolic link is followed;
    ValueError for what exists and is not a regular file.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise ValueError(f"cannot write {os.fspath(path)!r}: it exists and is not a regular file")
    _remove_abandoned(target)
    temporary = target.parent / f".{target.name[:100]}.{uuid.uuid4().hex}.tmp"
    try:
        with _new_file(temporary) as file:
            if fcntl is not None:
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.flock(file, fcntl.LOCK_EX)
            yield file
            file.flush()
            os.fsync(file.fileno())
            if verify is not None:
                file.seek(0)
                verify(file)
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno and error.filename in (None, os.fspath(temporary)):
            error.filename = os.fspath(path)  # that people know
        raise
    if os.name == "posix":
        # The rename itself; some file systems cannot sync a folder, and the data are safe by now.
        with contextlib.suppress(OSError):
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file for writing and reading; an interrupt meanwhile leaves no object whose collection would warn."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        with open(descriptor, "r+b", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def _remove_abandoned(target: Path) -> None:
    """Remove temporary files of the same target whose writers were killed: old ones that nobody holds a lock on."""
    with contextlib.suppress(OSError):
        for found in target.parent.iterdir():
            if not (found.name.startswith(f".{target.name[:100]}.") and found.name.endswith(".tmp")):
                continue
            with contextlib.suppress(OSError), open(found, "rb") as file:
                if time.time() - os.fstat(file.fileno()).st_mtime < ABANDONED_AFTER:
                    continue
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.unlink()
