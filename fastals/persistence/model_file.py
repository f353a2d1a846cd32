"""Model files: one uncompressed zip of ``.npy`` members and a JSON header, without pickle, written atomically.

Layout of format version 1
--------------------------
- ``header.json``: an object of "format" ("fastals"), "format_version" (1), "header" (the caller's) and "arrays", a list
  of [name, dtype, shape].
- ``<name>.npy`` for each array in that order: NumPy format 1.0, little-endian, C order. Its header is padded so that
  the data start at a multiple of 64 bytes in the file and can be mapped into memory.

Nothing else may be in the file. All that is read is checked against the length of the file before it is allocated, and
the text of each ``.npy`` header must be the one that ``header.json`` implies, so no member is ever parsed as Python.
"""

import contextlib
import errno
import json
import math
import os
import re
import struct
import zipfile
from collections.abc import Collection, Iterator
from typing import IO, Any, NamedTuple

import numpy as np

from fastals.core.safe_open import brief, open_regular, values_are_sound
from fastals.persistence.atomic import atomic_writer
from fastals.persistence.streams import checked_target, file_name, is_path, stream_reader, stream_writer

FORMAT = "fastals"
FORMAT_VERSION = 1
_HEADER_NAME = "header.json"
_HEADER_LIMIT = 2**20  # parsed JSON takes up to 25 times its text
_ALIGNMENT = 64
_CHUNK = 16 * 2**20
_ARRAY_NAME = re.compile(r"[A-Za-z0-9_]{1,100}")
_DTYPE = re.compile(r"\|[biu]1|<[iu][248]|<f[248]|<c(8|16)|<U[1-9][0-9]{0,8}")
_NPY_MAGIC = b"\x93NUMPY\x01\x00"
# What zipfile and json raise on a damaged archive, depending on where the damage is.
_DAMAGE = (zipfile.BadZipFile, struct.error, EOFError, RuntimeError, LookupError, OverflowError, ValueError, TypeError)


class _ModelFileError(ValueError):
    """A refusal whose message says it all."""


class _ArraySpec(NamedTuple):
    """An array as ``header.json`` declares it."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def member(self) -> str:
        return f"{self.name}.npy"

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def npy_header(self) -> bytes:
        text = f"{{'descr': '{self.dtype.str}', 'fortran_order': False, 'shape': {self.shape!r}, }}"
        return text.encode("ascii")


def write_model_file(
    path: str | os.PathLike[str] | IO[bytes], header: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
    """Write a header and named arrays into one file, which appears complete and sound or not at all.

    The file is written under a temporary name in the same folder, flushed to the disk, read back and renamed; whatever
    goes wrong (a full disk, an array that changes meanwhile) leaves an earlier file of that name as it was. A symbolic
    link is followed. Equal content gives equal bytes.

    Parameters
    ----------
    path : str, path-like or binary file object
        File to create or replace; a file object is written to where it stands, once everything is complete.
    header : dict
        What JSON can hold: dict with str keys, list, str, int, finite float, bool, None. A tuple comes back as a list.
    arrays : dict of str to numpy.ndarray
        Arrays of bool, integer, float (16 to 64 bits), complex (64, 128 bits) or text (``U``) of any shape and strides.
        Names consist of ASCII letters, digits and underscores.

    Raises
    ------
    TypeError
        For an array of another dtype (object arrays would need pickle), or a header that JSON cannot hold.
    ValueError
        For an unusable array name, a NaN or infinity in the header, or a path that is not a regular file.
    OSError
        If the file cannot be written, or what was written does not read back.
    """
    prepared = {name: _prepare_array(name, array) for name, array in arrays.items()}
    header_bytes = _encode_header(header, prepared)
    target = checked_target(path, "write")
    writer = atomic_writer(target, _verify) if is_path(target) else stream_writer(target, _verify)
    with writer as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        with archive.open(_member_info(_HEADER_NAME, len(header_bytes)), "w") as member:
            member.write(header_bytes)
        for name, array in prepared.items():
            spec = _ArraySpec(name, array.dtype, array.shape)
            with archive.open(_member_info(spec.member, spec.n_bytes), "w") as member:
                member.write(_padded_npy_header(spec, file.tell()))
                for chunk in _chunks(array):
                    member.write(chunk)


def read_model_file(
    path: str | os.PathLike[str] | IO[bytes], *, mmap: bool = False, unverified: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a file of `write_model_file`; never runs code from it, nor allocates more than the file is long.

    Parameters
    ----------
    path : str, path-like or binary file object
        File to read; a file object from where it stands to its end.
    mmap : bool, default False
        Map numeric arrays into memory, read-only, instead of reading them: they are shared between processes. Text,
        bool and empty arrays are read as usual. While arrays are mapped the file may be replaced (by renaming, as
        `write_model_file` does) but must not be shortened or changed in place.
    unverified : collection of str, optional
        Arrays that take no time to open when they are mapped: their place, dtype and shape are checked, but not the
        checksum of their content, for which it has to be read.

    Returns
    -------
    header : dict
        The header that was given to `write_model_file`.
    arrays : dict of str to numpy.ndarray
        The arrays in the order they were written, in native byte order; `numpy.memmap` where mapped.

    Raises
    ------
    ValueError
        If the file is not a model file, not a regular file, is truncated or damaged (a checksum differs), declares
        what it does not hold, or is of a newer format version. The message names the file and the reason.
    OSError
        If the file cannot be opened or read.
    """
    name = file_name(path)
    source = checked_target(path, "read")
    if mmap and not is_path(source):
        raise ValueError("mmap=True takes a path; got a file object")
    with open_regular(source) if is_path(source) else stream_reader(source) as file:
        try:
            return _read(file, mmap, unverified)
        except _ModelFileError as error:
            raise ValueError(f"cannot read {name}: {error}") from None
        except _DAMAGE as error:
            raise ValueError(f"cannot read {name}: it is truncated or damaged ({brief(error)})") from error
        except OSError as error:
            if error.errno == errno.EINVAL:  # a seek to an offset that makes no sense
                raise ValueError(f"cannot read {name}: it is truncated or damaged ({brief(error)})") from error
            raise


def _prepare_array(name: str, array: np.ndarray) -> np.ndarray:
    """Little-endian, C-ordered form of an array, after checking that the format can hold it."""
    if not isinstance(name, str) or not _ARRAY_NAME.fullmatch(name):
        raise ValueError(f"array names must consist of ASCII letters, digits and underscores, got {name!r}")
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"array {name!r} must be a numpy.ndarray, got {type(array).__name__}")
    dtype = array.dtype.newbyteorder("<")
    if not _DTYPE.fullmatch(dtype.str):
        raise TypeError(f"array {name!r} must be of bool, integer, float, complex or text dtype, got {array.dtype}")
    return np.asarray(array, dtype=dtype.str, order="C")


def _encode_header(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    if not isinstance(header, dict):
        raise TypeError(f"header must be a dict, got {type(header).__name__}")
    declared = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    content = {"format": FORMAT, "format_version": FORMAT_VERSION, "header": header, "arrays": declared}
    try:
        encoded = json.dumps(content, allow_nan=False).encode("ascii")
    except (TypeError, ValueError) as error:
        raise type(error)(f"header must hold what JSON can: {error}") from None
    if len(encoded) > _HEADER_LIMIT:
        raise ValueError(f"header must take at most {_HEADER_LIMIT} bytes as JSON, got {len(encoded)}")
    return encoded


def _member_info(name: str, n_bytes: int) -> zipfile.ZipInfo:
    """Entry without the time and system of writing, so that equal content gives equal files."""
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.file_size = n_bytes  # decides whether the entry has room for sizes of 64 bits
    return info


def _padded_npy_header(spec: _ArraySpec, position: int) -> bytes:
    """Header of the ``.npy`` format that ends at a multiple of the alignment when written at ``position``."""
    length = len(spec.npy_header) + 1
    length += -(position + len(_NPY_MAGIC) + 2 + length) % _ALIGNMENT
    return _NPY_MAGIC + struct.pack("<H", length) + spec.npy_header.ljust(length - 1) + b"\n"


def _chunks(array: np.ndarray) -> Iterator[memoryview]:
    """Bytes of a C-ordered array, piece by piece and without a copy."""
    flat = array.reshape(-1).view(np.uint8).data
    for start in range(0, len(flat), _CHUNK):
        yield flat[start : start + _CHUNK]


def _read(file: IO[bytes], mmap: bool, unverified: Collection[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with _archive(file) as (archive, header, members):
        arrays = {}
        for spec, info in members:
            with archive.open(info) as member:
                header_length = _check_npy_header(member, info, spec)
                if mmap and spec.dtype.kind in "iufc" and spec.n_bytes > 0:
                    if spec.name not in unverified:
                        _read_on(member)
                    array = _map_array(file, info, header_length, spec)
                else:
                    array = _read_array(member, spec)
            arrays[spec.name] = array.astype(spec.dtype.newbyteorder("="), copy=False)
    return header, arrays


def _verify(file: IO[bytes]) -> None:
    """Read a file that has been written, checksums included, without keeping it; OSError where it is not sound."""
    try:
        with _archive(file) as (archive, _, members):
            for spec, info in members:
                with archive.open(info) as member:
                    _check_npy_header(member, info, spec)
                    _read_on(member)
    except _DAMAGE as error:
        raise OSError(f"what was written does not read back, so an earlier file stays: {brief(error)}") from error


@contextlib.contextmanager
def _archive(
    file: IO[bytes],
) -> Iterator[tuple[zipfile.ZipFile, dict[str, Any], list[tuple[_ArraySpec, zipfile.ZipInfo]]]]:
    """Open a model file: the archive, the caller's header, and the arrays it declares with their members."""
    if file.read(2) != b"PK":
        raise _ModelFileError("it is not a fastals model file")
    with zipfile.ZipFile(file) as archive:
        members = _check_members(archive.infolist(), os.fstat(file.fileno()).st_size)
        header, specs = _decode_header(archive.read(_HEADER_NAME))
        expected = [_HEADER_NAME, *(spec.member for spec in specs)]
        if list(members) != expected:
            raise _ModelFileError(
                f"it should hold the members {brief(expected, 1000)}, and holds {brief(list(members), 1000)}"
            )
        yield archive, header, [(spec, members[spec.member]) for spec in specs]


def _check_members(infos: list[zipfile.ZipInfo], file_size: int) -> dict[str, zipfile.ZipInfo]:
    """Members by name, all of them stored as they are and together no longer than the file."""
    members = {info.filename: info for info in infos}
    if _HEADER_NAME not in members:
        raise _ModelFileError(f"it is not a fastals model file (no {_HEADER_NAME} in it)")
    if len(members) < len(infos):
        raise _ModelFileError("it holds two members of one name")
    for info in infos:
        # Flag bits stand for encryption, patches and the like, none of which the format uses.
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits:
            raise _ModelFileError(f"member {brief(info.filename)!r} is compressed or encrypted")
    if sum(info.file_size for info in infos) > file_size or members[_HEADER_NAME].file_size > _HEADER_LIMIT:
        raise _ModelFileError("its members claim to be larger than the file")
    return members


def _decode_header(encoded: bytes) -> tuple[dict[str, Any], list[_ArraySpec]]:
    content = json.loads(encoded.decode("ascii"))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _ModelFileError(f"it is not a fastals model file ({_HEADER_NAME} does not say so)")
    version = content.get("format_version")
    if type(version) is not int or version < 1:
        raise _ModelFileError(f"its format version is {brief(repr(version))}")
    if version > FORMAT_VERSION:
        raise _ModelFileError(
            f"it has format version {brief(version)}, newer than {FORMAT_VERSION}, which this fastals reads: "
            "upgrade fastals"
        )
    header, declared = content.get("header"), content.get("arrays")
    if not isinstance(header, dict) or not isinstance(declared, list):
        raise _ModelFileError(f"{_HEADER_NAME} lacks the header or the list of arrays")
    return header, [_decode_spec(entry) for entry in declared]


def _decode_spec(entry: Any) -> _ArraySpec:
    if isinstance(entry, list) and len(entry) == 3:
        name, dtype, shape = entry
        if (
            isinstance(name, str)
            and _ARRAY_NAME.fullmatch(name)
            and isinstance(dtype, str)
            and _DTYPE.fullmatch(dtype)
            and isinstance(shape, list)
            and len(shape) <= 32
            and all(type(length) is int and 0 <= length < 2**63 for length in shape)
        ):
            return _ArraySpec(name, np.dtype(dtype), tuple(shape))
    raise _ModelFileError(f"{_HEADER_NAME} declares an array as {brief(entry)}")


def _check_npy_header(member: IO[bytes], info: zipfile.ZipInfo, spec: _ArraySpec) -> int:
    """Length of the ``.npy`` header, which must be the declared one and leave just the room the data need."""
    magic = member.read(len(_NPY_MAGIC))
    (length,) = struct.unpack("<H", member.read(2))
    text = member.read(length)
    if magic != _NPY_MAGIC or text != spec.npy_header.ljust(length - 1) + b"\n":
        raise _ModelFileError(f"member {info.filename!r} does not hold an array {spec.dtype.str} of shape {spec.shape}")
    header_length = len(magic) + 2 + length
    if header_length + spec.n_bytes != info.file_size:
        raise _ModelFileError(
            f"member {info.filename!r} holds {info.file_size - header_length} bytes of data, "
            f"but {spec.dtype.str} of shape {spec.shape} takes {spec.n_bytes}"
        )
    return int(header_length)


def _read_array(member: IO[bytes], spec: _ArraySpec) -> np.ndarray:
    """Read the data; zipfile compares the checksum with the last byte."""
    array = np.empty(spec.shape, spec.dtype)
    for chunk in _chunks(array):
        if member.readinto(chunk) != len(chunk):  # type: ignore[attr-defined]
            raise EOFError(f"member {spec.member!r} ends early")
    if not values_are_sound(array):
        raise _ModelFileError(f"member {spec.member!r} holds values that {spec.dtype.str} does not have")
    return array


def _read_on(member: IO[bytes]) -> None:
    """Read the rest of a member, without keeping it; zipfile compares the checksum with the last byte."""
    while member.read(_CHUNK):
        pass


def _map_array(file: IO[bytes], info: zipfile.ZipInfo, header_length: int, spec: _ArraySpec) -> np.ndarray:
    # Local file header of zip: 30 bytes, of which the last four are the lengths of the name and the extra field.
    file.seek(info.header_offset + 26)
    name_length, extra_length = struct.unpack("<HH", file.read(4))
    offset = info.header_offset + 30 + name_length + extra_length + header_length
    if offset % _ALIGNMENT or offset + spec.n_bytes > os.fstat(file.fileno()).st_size:
        raise _ModelFileError(f"member {spec.member!r} does not lie where it can be mapped into memory")
    return np.memmap(file, dtype=spec.dtype, mode="r", offset=offset, shape=spec.shape)
