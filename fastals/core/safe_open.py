"""Open untrusted files: regular files only, bounded decompression, one clear error for damage."""

from __future__ import annotations

import csv
import gzip
import io
import os
import stat
import zlib
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

import numpy as np

__all__ = [
    *("brief", "check_proportion", "check_unpacked", "open_bytes", "open_regular", "open_text", "text_errors"),
    "values_are_sound",
]

# Tables of ids compress 3 to 30 times: what unpacks to more than this and to a large multiple of its size is none.
_UNPACKED = 2**26
_RATIO = 100
_LONGEST_LINE = 2**20  # bytes
_BLOCK = 2**17
# A file of a few bytes may declare a matrix that would fill the memory with empty rows and columns: there may be so
# many, and so many more for each stored entry.
_EMPTY_ROWS, _ROWS_AN_ENTRY = 10**7, 100


def brief(value: object, length: int = 200) -> str:
    """Text of an error or a list for a message: what others say of a damaged file may quote all of it."""
    text = str(value)
    return text if len(text) <= length else f"{text[: length - 3]}..."


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading, unless it is a pipe, which might block or cannot be read twice, or a device.

    Raises
    ------
    ValueError
        If it is not a regular file.
    OSError
        If it cannot be opened (``IsADirectoryError`` for a folder).
    """

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe without a writer would block

    file = open(path, "rb", opener=opener)  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError(f"{os.fspath(path)}: this is a pipe or a device, wanted a regular file")
    return file


def open_bytes(path: Path, longest_line: int = _LONGEST_LINE) -> BinaryIO:
    """Open a file, plain or gzip; reading raises ValueError where a line or the unpacked whole is out of bounds."""
    return cast(BinaryIO, io.BufferedReader(_Bounded(path, open_regular(path), longest_line), _BLOCK))


def open_text(path: Path) -> TextIO:
    """Open a text file, plain or gzip, as UTF-8, with the bounds of `open_bytes`."""
    return io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", newline="")


def check_unpacked(path: Path, n_bytes: int, packed: int) -> None:
    """Raise ValueError if `packed` bytes unpack to so many that they can only be meant to fill the memory."""
    if n_bytes > max(_UNPACKED, _RATIO * packed):
        raise ValueError(
            f"{path}: its {packed:,} bytes unpack to more than {max(_UNPACKED, _RATIO * packed):,}; if you trust it, "
            "unpack it by other means and pass what comes out"
        )


def check_proportion(path: Path, shape: tuple[int, ...], n_stored: int) -> None:
    """Raise ValueError for a matrix with far more rows and columns than entries that were in the file."""
    if sum(shape) > _EMPTY_ROWS + _ROWS_AN_ENTRY * n_stored:
        raise ValueError(f"{path}: a matrix of shape {tuple(shape)} is out of proportion to its {n_stored:,} entries")


def values_are_sound(array: np.ndarray) -> bool:
    """Whether the bytes of an array are values of its dtype: NumPy trusts a code point beyond Unicode, or a bool of 2.

    Takes contiguous arrays.
    """
    if array.dtype.kind not in "bU" or not array.size:
        return True
    unit, largest = (np.uint8, 1) if array.dtype.kind == "b" else (array.dtype.str[0] + "u4", 0x10FFFF)
    return bool(array.reshape(-1).view(unit).max() <= largest)


class text_errors:  # noqa: N801 - reads as a statement
    """Turn what can go wrong while reading bytes into one clear ValueError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UnicodeDecodeError):
            raise ValueError(
                f"{self.path}: this is not UTF-8 text (byte 0x{error.object[error.start]:02x}); wanted delimited text"
            ) from None
        if isinstance(error, (EOFError, gzip.BadGzipFile, zlib.error)):
            raise ValueError(f"{self.path}: the gzip file is damaged ({brief(error)})") from None
        if isinstance(error, csv.Error):
            raise ValueError(f"{self.path}: this is not delimited text ({brief(error)})") from None
        if isinstance(error, MemoryError):
            raise MemoryError(f"{self.path}: there is not enough memory to read it ({error})") from None


class _Bounded(io.RawIOBase):
    """The bytes of a file, unpacked, while its lines and the whole stay within bounds."""

    def __init__(self, path: Path, file: BinaryIO, longest_line: int) -> None:
        self._path, self._file, self._longest_line = path, file, longest_line
        self._packed = os.fstat(file.fileno()).st_size
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        self._content: Any = gzip.GzipFile(fileobj=file) if zipped else file
        self._read = self._line = 0  # bytes so far, of the whole and since the last end of a line

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._content.readinto(buffer)
        block = bytes(memoryview(buffer)[:count])
        last = max(block.rfind(b"\n"), block.rfind(b"\r"))
        self._line = self._line + count if last < 0 else count - last - 1
        self._read += count
        if self._line > self._longest_line:
            raise ValueError(f"{self._path}: a line is longer than {self._longest_line:,} bytes, wanted delimited text")
        if self._content is not self._file:
            check_unpacked(self._path, self._read, self._packed)
        return count

    def close(self) -> None:
        if not self.closed:
            self._content.close()
            self._file.close()
        super().close()
