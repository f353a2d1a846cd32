"""Binary file objects in the place of paths: whole files pass through a temporary one, which can be sought."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Any

from fastals.core.validation import describe

CHUNK = 2**20


def is_path(value: Any) -> bool:
    """Whether a value is a path."""
    return isinstance(value, (str, os.PathLike))


def checked_target(value: Any, method: str) -> Any:
    """A path, or a file object with the method that is needed; TypeError for anything else."""
    if not is_path(value) and not callable(getattr(value, method, None)):
        raise TypeError(f"path must be a path or a binary file object with a method {method}; got {describe(value)}")
    return value


def file_name(value: Any) -> str:
    """What to call a path or a file object in an error."""
    return repr(os.fspath(value)) if is_path(value) else "the file object"


@contextlib.contextmanager
def stream_writer(target: IO[bytes], verify: Callable[[IO[bytes]], None]) -> Iterator[IO[bytes]]:
    """Open a temporary file whose content, once complete and verified, is written to ``target`` where that stands."""
    with tempfile.TemporaryFile() as file:
        yield file
        file.flush()
        file.seek(0)
        verify(file)
        file.seek(0)
        while chunk := file.read(CHUNK):
            written = target.write(chunk)
            if written is not None and written != len(chunk):
                raise OSError(f"the file object took {written} of {len(chunk)} bytes")


@contextlib.contextmanager
def stream_reader(source: IO[bytes]) -> Iterator[IO[bytes]]:
    """Open a temporary file with what ``source`` holds from where it stands to its end.

    Raises
    ------
    TypeError
        For a file object of text.
    """
    with tempfile.TemporaryFile() as file:
        while chunk := source.read(CHUNK):
            if not isinstance(chunk, (bytes, bytearray, memoryview)):
                raise TypeError(f"path must be a binary file object; its read gave {describe(chunk)}")
            file.write(chunk)
        file.seek(0)
        yield file
