"""Arrays of an ``.npz`` file from outside, by `numpy.load`: no pickles, and no size on a header's word alone."""

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

# What zipfile, its decompressors and NumPy raise on a damaged, encrypted or unknown archive.
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, LookupError, OverflowError),
    *(TypeError, ValueError, SyntaxError),
)
_PARTS = {
    **dict.fromkeys(("csr", "csc", "bsr"), ("indices", "indptr")),
    "coo": ("row", "col"),
    "dia": ("offsets",),
}
# What NumPy writes of a plain array: it would parse anything else as Python's literals, and trust what it says.
_HEADER = re.compile(
    rb"\{\s*'descr'\s*:\s*'([<>=|]?[biufcSU][0-9]{1,9})'\s*,\s*'fortran_order'\s*:\s*(?:True|False)\s*,"
    rb"\s*'shape'\s*:\s*\(([0-9, ]*)\)\s*,?\s*\}\s*"
)
_LONGEST_HEADER = 10_000


class PlainArchive:
    """The arrays of an open archive."""

    def __init__(self, path: Path, archive: Any) -> None:
        self._path, self._archive = path, archive
        self.names: list[str] = list(archive.files)
        self.has_arrays = any(info.filename.endswith(".npy") for info in archive.zip.infolist())
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"{path}: it holds two arrays of one name")

    def read(self, name: str) -> np.ndarray:
        """An array; ValueError unless it is plain and just as large as its header says."""
        if name not in self.names:
            raise ValueError(f"{self._path}: there is no array {brief(name)!r}")
        info = self._archive.zip.getinfo(f"{name}.npy")
        with self._archive.zip.open(info) as member:
            header = _HEADER.fullmatch(_read_header(member))
            if header is None:
                raise ValueError(
                    f"{self._path}: this is not an .npz file of plain arrays (see the header of {brief(name)!r})"
                )
            dtype = np.dtype(header[1].decode("ascii"))
            shape = tuple(int(length) for length in header[2].split(b",") if length.strip())
            if member.tell() + math.prod(shape) * dtype.itemsize != info.file_size:
                raise ValueError(
                    f"{self._path}: array {brief(name)!r} does not have the size that it claims, {brief(shape)} in "
                    f"{info.file_size:,} bytes"
                )
        array: np.ndarray = self._archive[name]
        if not values_are_sound(np.ascontiguousarray(array)):
            raise ValueError(f"{self._path}: array {brief(name)!r} holds values that {dtype} does not have")
        return array

    def read_sparse(self) -> Any:
        """A matrix that ``scipy.sparse.save_npz`` wrote; its structure is not checked, but for whole indices."""
        form, shape = self.read("format"), self.read("shape")
        kind = str(form.astype(np.str_)) if form.shape == () and form.dtype.kind in "SU" else ""
        if kind not in _PARTS or shape.dtype.kind not in "iu" or shape.shape != (2,):
            raise ValueError(
                f"{self._path}: this is not a sparse matrix of two dimensions and a form of {', '.join(_PARTS)}"
            )
        size = int(shape[0]), int(shape[1])
        data, *parts = (self.read(name) for name in ("data", *_PARTS[kind]))
        if any(part.dtype.kind not in "iu" for part in parts):
            raise ValueError(f"{self._path}: its {' and '.join(_PARTS[kind])} must be integers")
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
            file.seek(0)
            with np.load(file, allow_pickle=False) as loaded:
                yield PlainArchive(path, loaded)
        except DAMAGE as error:
            if isinstance(error, ValueError) and str(path) in str(error):
                raise
            raise ValueError(f"{path}: this is not a readable .npz file ({brief(error)})") from None


def _read_header(member: IO[bytes]) -> bytes:
    """The text in which a member in NumPy's format says what it is; empty where there is none."""
    start = member.read(8)
    width = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4}.get(start)
    if width is None:
        return b""
    length = int.from_bytes(member.read(width), "little")
    return member.read(length) if length <= _LONGEST_HEADER else b""
