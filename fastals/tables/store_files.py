"""The files of a store: arrays written as a stream, and mapped again once header and sizes agree.

Layout of format version 1
--------------------------
- ``header.json``: "format", "format_version", "duplicates" (what repeated pairs become), "source" (for people) and
  "parts". It alone says what belongs to the store, and is replaced as a whole: whatever else is in the folder has been
  left by a process that was killed.
- a folder for each part, the first with what was there at first and the others with what was appended, each of the
  shape that the store then had. Its files, NumPy's format 1.0 with a header of 128 bytes:

  - ``by_user/indptr.npy`` int64 (n_users + 1,), ``by_user/indices.npy`` int32 (stored,), sorted in each row,
    ``by_user/values.npy`` float32 or float64 (stored,), or (1,) where all are equal, and perhaps ``by_user/times.npy``
    int64 (stored,); ``by_item/`` alike, without times, is the transpose.
  - ``user_ids.npy``, ``item_ids.npy``: ids of the rows and columns that the part has added, int64, uint64 or text.

- ``lock``, an empty file, which whoever changes the store holds a lock on.

The header holds length, type and CRC-32 of each array. Nothing of it is parsed as Python.
"""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastals.core.atomic_folder import replace_file
from fastals.core.safe_open import brief, open_regular, values_are_sound

FORMAT, FORMAT_VERSION = "fastals store", 1
HEADER_NAME = "header.json"
SIDES = ("by_user", "by_item")
CHUNK = 2**22  # elements read or written at a time
_HEADER_BYTES = 128
_LONGEST_HEADER = 2**22  # of the store
_FOLDER = re.compile(r"[0-9]{6}")
_TYPES = {
    "indptr": re.compile("<i8"),
    "indices": re.compile("<i4"),
    "values": re.compile("<f[48]"),
    "times": re.compile("<i8"),
    "ids": re.compile("<[iu]8|<U[1-9][0-9]{0,8}"),
}


class ArraySpec(NamedTuple):
    """An array as the header declares it: type, length, CRC-32 of its bytes."""

    dtype: str
    length: int
    crc32: int

    @property
    def npy_header(self) -> bytes:
        """The first bytes of its file."""
        text = f"{{'descr': '{self.dtype}', 'fortran_order': False, 'shape': ({self.length},), }}"
        size = _HEADER_BYTES - 10
        return b"\x93NUMPY\x01\x00" + size.to_bytes(2, "little") + text.ljust(size - 1).encode("ascii") + b"\n"


class PartSpec(NamedTuple):
    """A part as the header declares it: its folder, the store's shape with it, its pairs and its arrays by name."""

    folder: str
    shape: tuple[int, int]
    stored: int
    arrays: dict[str, ArraySpec]

    @property
    def timed(self) -> bool:
        """Whether it has times."""
        return "by_user/times" in self.arrays


class Header(NamedTuple):
    """What a store says of itself."""

    duplicates: str
    source: str
    parts: tuple[PartSpec, ...]


class ArrayWriter:
    """Writes an array of one dimension piece by piece."""

    def __init__(self, path: Path, dtype: Any) -> None:
        self._dtype, self._length, self._crc = np.dtype(dtype), 0, 0
        self._file = open(path, "xb")  # noqa: SIM115 - see close
        self._file.write(bytes(_HEADER_BYTES))

    def append(self, values: np.ndarray) -> None:
        """Write more elements."""
        piece = np.ascontiguousarray(values, self._dtype).view(np.uint8).data
        self._file.write(piece)
        self._crc = zlib.crc32(piece, self._crc)
        self._length += len(values)

    def finish(self) -> ArraySpec:
        """Write the header and bring the file to the disk."""
        spec = ArraySpec(self._dtype.str, self._length, self._crc)
        self._file.seek(0)
        self._file.write(spec.npy_header)
        self._file.flush()
        os.fsync(self._file.fileno())
        self.close()
        return spec

    def close(self) -> None:
        """Close the file, complete or not."""
        self._file.close()


class SideWriter:
    """Writes the rows of one side, some after the others; a context that closes its files.

    Parameters
    ----------
    folder : path
        Made here.
    dtype : dtype
        Of the values.
    timed : bool
        Whether there are times.
    """

    def __init__(self, folder: Path, dtype: Any, timed: bool) -> None:
        folder.mkdir()
        self._folder, self._dtype, self.stored = folder, np.dtype(dtype), 0
        self._indptr = ArrayWriter(folder / "indptr.npy", np.int64)
        self._indices = ArrayWriter(folder / "indices.npy", np.int32)
        self._values = ArrayWriter(folder / "values.npy", dtype)
        self._times = ArrayWriter(folder / "times.npy", np.int64) if timed else None
        self._least: Any = None
        self._most: Any = None
        self._indptr.append(np.zeros(1, np.int64))

    def append(self, counts: np.ndarray, indices: np.ndarray, values: np.ndarray, times: np.ndarray | None) -> None:
        """Write the next rows: their numbers of entries, and the entries."""
        self._indptr.append(self.stored + np.cumsum(counts, dtype=np.int64))
        self._indices.append(indices)
        self._values.append(values)
        if self._times is not None and times is not None:
            self._times.append(times)
        self.stored += len(indices)
        if len(values):
            least, most = values.min(), values.max()
            self._least = least if self._least is None else min(self._least, least)
            self._most = most if self._most is None else max(self._most, most)

    def finish(self) -> dict[str, ArraySpec]:
        """Complete the files; equal values become one."""
        specs = {"indptr": self._indptr.finish(), "indices": self._indices.finish(), "values": self._values.finish()}
        if self._times is not None:
            specs["times"] = self._times.finish()
        if self._least is not None and self._least == self._most:
            (self._folder / "values.npy").unlink()
            specs["values"] = write_array(self._folder / "values.npy", self._dtype, [np.array([self._least])])
        return {f"{self._folder.name}/{name}": spec for name, spec in specs.items()}

    def __enter__(self) -> SideWriter:
        return self

    def __exit__(self, *_: object) -> None:
        for writer in (self._indptr, self._indices, self._values, self._times):
            if writer is not None:
                writer.close()


def write_array(path: Path, dtype: Any, pieces: Iterable[np.ndarray]) -> ArraySpec:
    """Write an array of pieces."""
    with contextlib.closing(ArrayWriter(path, dtype)) as writer:
        for piece in pieces:
            writer.append(piece)
        return writer.finish()


def write_header(folder: Path, header: Header) -> None:
    """Write the header, or replace it: from then on the store is what it says."""
    parts = [
        {"folder": part.folder, "shape": part.shape, "stored": part.stored, "arrays": part.arrays}
        for part in header.parts
    ]
    content = {"format": FORMAT, "format_version": FORMAT_VERSION, "duplicates": header.duplicates}
    text = json.dumps({**content, "source": header.source, "parts": parts}, indent=1)
    replace_file(folder / HEADER_NAME, text.encode())


def read_header(folder: Path) -> Header:
    """Read the header and hold it against itself.

    Raises
    ------
    ValueError
        That names the folder, for anything that ``write_header`` has not written.
    OSError
        Where there is no header.
    """
    try:
        with open_regular(folder / HEADER_NAME) as file:
            content = file.read(_LONGEST_HEADER + 1)
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "there is no interaction store", str(folder)) from None
    try:
        if len(content) > _LONGEST_HEADER:
            raise ValueError("its header is too long")
        found = json.loads(content.decode("utf-8"))
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise ValueError("its header is of something else")
        version = found["format_version"]
        if type(version) is not int or version < 1:
            raise ValueError(f"format version {brief(version)}")
        if version > FORMAT_VERSION:
            raise ValueError(f"it is of format version {version}; this fastals reads up to {FORMAT_VERSION}")
        if not all(isinstance(found[name], str) for name in ("duplicates", "source")):
            raise ValueError("duplicates and source must be text")
        parts: list[PartSpec] = []
        for part in found["parts"]:
            parts.append(_checked_part(part, parts[-1] if parts else None))
        if not parts or len({part.folder for part in parts}) < len(parts):
            raise ValueError("it must have parts in folders of their own")
        return Header(found["duplicates"], found["source"], tuple(parts))
    except KeyError as error:
        raise ValueError(f"{folder}: this is no fastals store: its header lacks {brief(error)}") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{folder}: this is no fastals store: {brief(error)}") from None


def _checked_part(content: dict[str, Any], before: PartSpec | None) -> PartSpec:
    """A part of the header, whose arrays have the types and lengths that its shape implies."""
    shape, stored = tuple(content["shape"]), content["stored"]
    if len(shape) != 2 or not all(type(number) is int and 0 <= number < 2**63 for number in (*shape, stored)):
        raise ValueError("a part's shape and its number of pairs must be integers")
    arrays = {str(name): ArraySpec(*spec) for name, spec in content["arrays"].items()}
    old = (0, 0) if before is None else before.shape
    if max(shape) >= 2**31 or shape[0] < old[0] or shape[1] < old[1] or not _FOLDER.fullmatch(content["folder"]):
        raise ValueError(f"a part in folder {brief(content['folder'])!r} has shape {shape} after {old}")
    lengths = {"user_ids": {shape[0] - old[0]}, "item_ids": {shape[1] - old[1]}}
    for side, count in zip(SIDES, shape, strict=True):
        lengths |= {f"{side}/indptr": {count + 1}, f"{side}/indices": {stored}, f"{side}/values": {stored, 1}}
    if "by_user/times" in arrays:
        lengths["by_user/times"] = {stored}
    if arrays.keys() != lengths.keys():
        raise ValueError(f"a part has arrays {brief(', '.join(sorted(arrays)))}")
    for name, spec in arrays.items():
        kind = name.rpartition("/")[2].rpartition("_")[2]
        if not isinstance(spec.dtype, str) or not _TYPES[kind].fullmatch(spec.dtype):
            raise ValueError(f"{name} is of type {brief(spec.dtype)!r}")
        if type(spec.length) is not int or spec.length not in lengths[name] or type(spec.crc32) is not int:
            raise ValueError(f"{name} has length {brief(spec.length)}, wanted {sorted(lengths[name])}")
    if arrays["by_user/values"][:2] != arrays["by_item/values"][:2]:
        raise ValueError("the values of users and items are of two types or lengths")
    return PartSpec(content["folder"], (shape[0], shape[1]), stored, arrays)


def map_array(path: Path, spec: ArraySpec) -> np.ndarray:
    """Map an array into memory, read-only.

    Raises
    ------
    ValueError
        That names the file, where it has not the size or the type that the store's header says.
    OSError
        Where it cannot be opened.
    """
    dtype = np.dtype(spec.dtype)
    with open_regular(path) as file:
        size, wanted = os.fstat(file.fileno()).st_size, _HEADER_BYTES + spec.length * dtype.itemsize
        if size != wanted:
            raise ValueError(f"{path}: this file of a store is damaged: {size:,} bytes, wanted {wanted:,}")
        if file.read(_HEADER_BYTES) != spec.npy_header:
            raise ValueError(f"{path}: this file of a store is damaged: its own header is not the one wanted")
        content = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    array = np.frombuffer(content, dtype, spec.length, _HEADER_BYTES)
    if dtype.kind == "U" and not all(values_are_sound(array[at : at + CHUNK]) for at in range(0, len(array), CHUNK)):
        raise ValueError(f"{path}: this file of a store is damaged: it holds text that is none")
    return array


def check_sum(path: Path, spec: ArraySpec) -> None:
    """ValueError that names the file, where its content is not what was written."""
    content, crc = map_array(path, spec).view(np.uint8).data, 0
    for first in range(0, len(content), CHUNK):
        crc = zlib.crc32(content[first : first + CHUNK], crc)
    if crc != spec.crc32:
        raise ValueError(f"{path}: this file of a store is damaged: its checksum is not the one wanted")


def is_store(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder with the header of a store."""
    return (Path(path) / HEADER_NAME).is_file()
