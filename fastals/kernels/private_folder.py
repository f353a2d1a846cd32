"""Files that nobody but trusted users can have written.

An entry of the machine-code cache is a pickle: who writes it runs code in every process that reads it. So on POSIX

- folder and entry must belong to this process's user, to root or to the owner of this package, whose code runs anyway;
- neither may be writable by group or others: whoever could put a file there could also link one of another's;
- neither may be a symbolic link, which could lead to files made for another purpose.

All three are looked up on the opened files, and the entry is opened below the opened folder. So it does not matter who
may write to the folders above, a shared or even world-writable ``NUMBA_CACHE_DIR`` included: what others put in the
place of a folder is refused, and nothing is written below it. New folders are made with mode 0700 and new entries with
0600, less what the umask takes. An administrator who wants others to read a folder makes it readable, not writable.

On Windows neither owners nor permissions are looked up: whoever may write to the folder is trusted. Those that are
chosen by default inherit the access lists of the package and of the user's profile.

An entry holds a checksum of its folder's and its own name and of its content: it is read in its own place only.
"""

import contextlib
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

_POSIX = os.name == "posix"
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_CHECKSUM_BYTES = 32


def _checksum(folder: Path, name: str, content: bytes) -> bytes:
    return hashlib.sha256(f"{folder.name}/{name}\n".encode() + content).digest()


def _check_trusted(descriptor: int) -> None:
    """Raise PermissionError if others than trusted users may have written an open file or folder."""
    if _POSIX:
        status = os.fstat(descriptor)
        if status.st_uid not in (0, os.geteuid(), os.stat(__file__).st_uid) or status.st_mode & 0o022:
            raise PermissionError("written, or writable, by others")


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int | None]:
    """Descriptor of a trusted folder, None on Windows, which has none; OSError for any other folder, and for links."""
    if not _POSIX:
        yield None
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _FLAGS)
    try:
        _check_trusted(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def read_file(path: Path) -> bytes:
    """Content of a file; an interrupt meanwhile leaves no object whose collection would warn.

    Raises
    ------
    OSError
        Where it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        return b"".join(iter(lambda: os.read(descriptor, 2**20), b""))
    finally:
        os.close(descriptor)


def read_entry(folder: Path, name: str) -> bytes | None:
    """Content of an entry, None if it is absent or damaged or others may have written it."""
    try:
        with _opened(folder) as below:
            descriptor = os.open(folder / name if below is None else name, os.O_RDONLY | _FLAGS, dir_fd=below)
            with open(descriptor, "rb") as file:
                _check_trusted(descriptor)
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    return None
                checksum, content = file.read(_CHECKSUM_BYTES), file.read()
    except OSError:
        return None
    return content if checksum == _checksum(folder, name, content) else None


def write_entry(folder: Path, name: str, content: bytes) -> None:
    """Write an entry under a temporary name and rename it, making the folder where there is none.

    Raises
    ------
    OSError
        Where the folder cannot be written, or others may write to it.
    """
    _make(folder)
    with _opened(folder) as below:
        temporary = f"{uuid.uuid4().hex}.tmp"
        source, target = (folder / part if below is None else part for part in (temporary, name))
        descriptor = os.open(source, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600, dir_fd=below)
        try:
            with open(descriptor, "wb") as file:
                file.write(_checksum(folder, name, content) + content)
            os.replace(source, target, src_dir_fd=below, dst_dir_fd=below)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(source, dir_fd=below)
            raise


def _make(folder: Path) -> None:
    """Make a folder for this user alone; folders above it, if they are missing, others may read but not write."""
    for parent in reversed(folder.parents):
        if not parent.is_dir():
            parent.mkdir(0o755, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(0o700)


def remove_oldest(folders: list[Path], kept: int) -> None:
    """Remove this user's own among the folders but for the ``kept`` last written to; others' are left alone."""
    own = []
    for folder in folders:
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if stat.S_ISDIR(status.st_mode) and (not _POSIX or status.st_uid == os.geteuid()):
                own.append((status.st_mtime, folder))
    for _, folder in sorted(own, reverse=True)[kept:]:
        shutil.rmtree(folder, ignore_errors=True)
