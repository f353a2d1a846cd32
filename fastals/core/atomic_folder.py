"""Folders that appear complete or not at all, and temporary ones that the next process removes if theirs was killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # not on Windows, where a file that is open cannot be removed
    fcntl = None  # type: ignore[assignment]

UNLOCKED_FOR = 60.0  # seconds that a folder may be there before its lock is


@contextlib.contextmanager
def temporary_folder(parent: Path, name: str) -> Iterator[Path]:
    """A folder ``.name.*.tmp`` in ``parent``, removed in the end; those of killed processes are removed at the start.

    Raises
    ------
    OSError
        Where the parent is not there or cannot be written.
    """
    _remove_abandoned(parent, name)
    folder = parent / f".{name[:100]}.{uuid.uuid4().hex}.tmp"
    folder.mkdir()
    try:
        with locked(folder / "lock"):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[IO[bytes]]:
    """Hold the lock on a file, which is made if there is none; ends with the process that holds it.

    Raises
    ------
    BlockingIOError
        Where another process holds it.
    """
    with open(path, "a+b") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise
            except OSError:  # a file system without locks
                pass
        yield file


def publish(folder: Path, target: Path) -> None:
    """Rename a folder whose files are on the disk, to a name that is free."""
    for found in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        sync_folder(found)
    if os.path.lexists(target):
        raise FileExistsError(f"{target}: this exists already")
    os.rename(folder, target)
    sync_folder(target.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file, which takes the place of an earlier one complete or not at all."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):  # some file systems cannot sync a folder, and the data are safe by now
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _remove_abandoned(parent: Path, name: str) -> None:
    """Remove temporary folders of the same name whose locks nobody holds."""
    with contextlib.suppress(OSError):
        for found in parent.iterdir():
            if not (found.name.startswith(f".{name[:100]}.") and found.name.endswith(".tmp") and found.is_dir()):
                continue
            lock = found / "lock"
            with contextlib.suppress(OSError):
                if lock.exists():
                    with locked(lock):
                        pass
                elif time.time() - found.stat().st_mtime < UNLOCKED_FOR:
                    continue
                shutil.rmtree(found)
