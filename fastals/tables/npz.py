"""Arrays of an ``.npz`` file from outside: sizes are held against the archive before anything is allocated.

`numpy.load` believes the header of a member, which may claim 10^15 elements, and reads it as Python's literals;
`scipy.sparse.load_npz` builds on it. Here a header must be one that NumPy writes for a plain array, and leave just the
room its data need.
"""

from __future__ import annotations

import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from scipy import sparse

from fastals.core.safe_open import brief, check_proportion, check_unpacked, open_regular, values_are_sound

__all__ = ["DAMAGE", "PlainArchive", "open_npz"]

# What zipfile and its decompressors raise on a damaged, encrypted or unknown archive.
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, LookupError, OverflowError),
    *(TypeError, ValueError, AttributeError),
)
_PARTS = {
    **dict.fromkeys(("csr", "csc", "bsr"), ("indices", "indptr")),
    "coo": ("row", "col"),
    "dia": ("offsets",),
}
_CHUNK = 2**24
_ORDERS: dict[bytes, Any] = {b"True": "F", b"False": "C"}
_HEADER = re.compile(
    rb"\{\s*'descr'\s*:\s*'([<>=|]?[biufcSU][0-9]{1,9})'\s*,\s*'fortran_order'\s*:\s*(True|False)\s*,"
    rb"\s*'shape'\s*:\s*\(([0-9, ]*)\)\s*,?\s*\}\s*"
)
_LONGEST_HEADER = 10_000


class PlainArchive:
    """The arrays of an open archive."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path, self._archive = path, archive
        self.has_arrays = any(info.filename.endswith(".npy") for info in archive.infolist())
        self.names = [info.filename.removesuffix(".npy") for info in archive.infolist()]
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"{path}: it holds two arrays of one name")

    def read(self, name: str) -> np.ndarray:
        """An array; ValueError unless it is plain and just as large as its header says."""
        if f"{name}.npy" not in self._archive.namelist():
            raise ValueError(f"{self._path}: there is no array {brief(name)!r}")
        info = self._archive.getinfo(f"{name}.npy")
        with self._archive.open(info) as member:
            header = _HEADER.fullmatch(_read_header(member))
            if header is None:
                raise ValueError(
                    f"{self._path}: this is no .npz file of plain arrays (see the header of {brief(name)!r})"
                )
            dtype, order = np.dtype(header[1].decode("ascii")), _ORDERS[header[2]]
            shape = tuple(int(length) for length in header[3].split(b",") if length.strip())
            n_bytes = math.prod(shape) * dtype.itemsize
            if member.tell() + n_bytes != info.file_size:
                raise ValueError(
                    f"{self._path}: array {brief(name)!r} does not have the size that it claims, {brief(shape)} in "
                    f"{info.file_size:,} bytes"
                )
            content = np.empty(n_bytes, np.uint8)
            for start in range(0, n_bytes, _CHUNK):
                piece = content[start : start + _CHUNK].data
                if member.readinto(piece) != len(piece):  # type: ignore[attr-defined]
                    raise EOFError(f"array {brief(name)!r} ends early")
        array = content.view(dtype).reshape(shape, order=order)
        if not values_are_sound(content.view(dtype)):
            raise ValueError(f"{self._path}: array {brief(name)!r} holds values that {dtype} does not have")
        return array

    def read_sparse(self) -> Any:
        """A matrix that ``scipy.sparse.save_npz`` wrote; its structure is not checked."""
        form, shape = self.read("format"), self.read("shape")
        kind = str(form.astype(np.str_)) if form.shape == () and form.dtype.kind in "SU" else ""
        if kind not in _PARTS or shape.dtype.kind not in "iu" or shape.shape != (2,):
            raise ValueError(
                f"{self._path}: this is no sparse matrix of two dimensions and a form of {', '.join(_PARTS)}"
            )
        size = int(shape[0]), int(shape[1])
        data, *parts = (self.read(name) for name in ("data", *_PARTS[kind]))
        check_proportion(self._path, size, data.size)
        made = getattr(sparse, f"{kind}_array")
        return made((data, tuple(parts)) if kind == "coo" else (data, *parts), shape=size)


@contextmanager
def open_npz(path: Path) -> Iterator[PlainArchive]:
    """Open an archive whose members unpack within bounds.

    Raises
    ------
    ValueError
        Naming the file; within the context, too, for what a damaged archive makes zipfile or NumPy raise.
    """
    with open_regular(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                unpacked = sum(info.file_size for info in archive.infolist())
                check_unpacked(path, unpacked, os.fstat(file.fileno()).st_size)
                yield PlainArchive(path, archive)
        except DAMAGE as error:
            if isinstance(error, ValueError) and str(path) in str(error):
                raise
            raise ValueError(f"{path}: this is no readable .npz file ({brief(error)})") from None


def _read_header(member: IO[bytes]) -> bytes:
    """The text in which a member in NumPy's format says what it is; empty where there is none."""
    start = member.read(8)
    width = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4}.get(start)
    if width is None:
        return b""
    length = int.from_bytes(member.read(width), "little")
    return member.read(length) if length <= _LONGEST_HEADER else b""
