"""A cache of the kernels' machine code that never runs a stale one.

Numba's ``cache=True`` compares only the file of the function itself: code inlined from another, since edited file
stays in use. It also raises at import where no folder is writable. The cache here

- lies in a folder named by a digest of every file of the kernels, of the interpreter, Numba, llvmlite and NumPy, and
  of the host's CPU, so an edit or an upgrade of any of them starts an empty folder;
- is left alone as soon as the files on disk are no longer those the process started with, and not written to where
  Python itself runs stale bytecode;
- keeps one checksummed file per function and signature, put in place by a rename, so processes may fill it at once;
- is tried in ``NUMBA_CACHE_DIR``, in this package's ``__pycache__`` and in the user's cache folder; where none can be
  read or written, or Numba's internals are not as expected, functions are compiled anew in each process;
- reads and writes only what no untrusted user can have written: ``private_folder`` says who is trusted.

The files are digested when this module is imported, before any kernel is: of a file edited between its import and a
later digest nobody could tell. It takes .6 ms of the .4 s that importing Numba and SciPy takes (measured).

Module constants that a kernel uses must follow from the sources, the host's CPU and Numba's settings alone.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import platform
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding
import numba
import numpy as np

from fastals.kernels import forks, patience
from fastals.kernels.private_folder import read_entry, read_file, remove_oldest, write_entry

_PACKAGE = Path(__file__).resolve().parent
_FOLDER_PREFIX = "fastals-machine-code-"
_FOLDERS_KEPT = 8
# Settings that alter the machine code and may change within a process.
_SETTINGS = (
    *("OPT", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "LOOP_VECTORIZE", "SLP_VECTORIZE"),
    *("USING_SVML", "ENABLE_AVX", "CPU_NAME", "CPU_FEATURES"),
)


def _source_files(folder: Path) -> list[Path]:
    """Files below a folder that make machine code.

    Not by ``rglob``: an interrupt meanwhile leaves an iterator whose collection warns.
    """
    found = []
    for path in (folder / name for name in os.listdir(folder)):
        if path.suffix in (".py", ".pyc", ".so"):
            found.append(path)
        elif path.name != "__pycache__" and path.is_dir() and not path.is_symlink():
            found += _source_files(path)
    return found


def _source_digest() -> str | None:
    """Digest of the names and contents of all files of the kernels, None where they cannot be read."""
    digest = hashlib.sha256()
    try:
        for path in sorted(_source_files(_PACKAGE)):
            content = read_file(path)
            digest.update(f"{path.relative_to(_PACKAGE)} {len(content)}\n".encode() + content)
    except OSError:
        return None
    return digest.hexdigest() if _PACKAGE.is_dir() else None


def _folder_name(source_digest: str | None) -> str | None:
    """Name of the cache folder: the sources and all that turns them into machine code."""
    if source_digest is None:
        return None
    versions = (sys.version, sys.flags.optimize, numba.__version__, llvmlite.__version__, np.__version__)
    host = (platform.machine(), llvmlite.binding.get_host_cpu_name(), llvmlite.binding.get_host_cpu_features())
    return _FOLDER_PREFIX + hashlib.sha256(repr((source_digest, versions, host)).encode()).hexdigest()[:24]


_SOURCE_DIGEST = _source_digest()
_FOLDER = _folder_name(_SOURCE_DIGEST)


@functools.cache
def _bytecode_is_current() -> bool:
    """Whether the modules of the kernels run what their files say: Python's own cache goes by time and size alone."""
    for name, module in list(sys.modules.items()):
        loader, path = getattr(module, "__loader__", None), getattr(module, "__file__", None)
        if not isinstance(loader, SourceFileLoader) or not path or _PACKAGE not in Path(path).resolve().parents:
            continue
        if loader.get_code(name) != loader.source_to_code(loader.get_data(path), path):
            return False
    return True


def _roots() -> Iterator[Path]:
    """Folders that may hold the cache's folder, in the order they are tried."""
    chosen = getattr(numba.config, "CACHE_DIR", "")
    if chosen:
        yield Path(chosen)
    yield _PACKAGE / "__pycache__"
    from numba.misc.appdirs import AppDirs

    user_folder = Path(AppDirs(appname="fastals", appauthor=False).user_cache_dir)
    if user_folder.is_absolute():
        yield user_folder


def _write(root: Path, name: str, payload: bytes) -> None:
    """Write an entry; of the folders in ``root`` those stay that were last written to.

    They may serve another interpreter or machine.
    """
    folder = root / str(_FOLDER)
    is_new = not folder.is_dir()
    write_entry(folder, name, payload)
    if is_new:
        with contextlib.suppress(OSError):  # another process may be at it too
            remove_oldest([root / name for name in os.listdir(root) if name.startswith(_FOLDER_PREFIX)], _FOLDERS_KEPT)


def is_cachable(function: Callable[..., Any]) -> bool:
    """Whether a function is one of this package's kernels, and the package's files can be read."""
    return _FOLDER is not None and _PACKAGE in Path(function.__code__.co_filename).resolve().parents


class NoCache:
    """What Numba's dispatcher asks of a cache, for functions that have no machine code."""

    cache_path = None

    def load_overload(self, signature: Any, target_context: Any) -> None:
        """Nothing is stored."""
        patience.compilation_begins(self)

    def save_overload(self, signature: Any, compile_result: Any) -> None:
        """Store nothing."""
        patience.compilation_ends(self)

    def flush(self) -> None:
        """There is nothing to forget."""


class MachineCodeCache:
    """What Numba's dispatcher asks of a cache.

    Any failure means "not cached": the call that wanted the machine code must not suffer from it.
    """

    cache_path = None  # no single folder: see _roots

    def __init__(self, function: Callable[..., Any]) -> None:
        code = function.__code__
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        # Other closed-over objects have no stable name across processes.
        self._enabled = all(type(cell) in (bool, int, float, str) for cell in cells)
        self._function = (function.__module__, function.__qualname__, code.co_firstlineno, code.co_code, cells)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return the stored compile result for a signature, None if there is none."""
        forks.watch()
        found = self._load(signature, target_context)
        if found is None:
            patience.compilation_begins(self)
        return found

    def _load(self, signature: Any, target_context: Any) -> Any:
        if not self._enabled or _source_digest() != _SOURCE_DIGEST:
            return None
        try:
            from numba.core.compiler import CompileResult

            target_context.refresh()
            name = self._entry_name(signature, target_context)
            for root in _roots():
                payload = read_entry(root / str(_FOLDER), name)
                if payload is not None:
                    return CompileResult._rebuild(target_context, *pickle.loads(payload))
        except Exception:
            return None
        return None

    def save_overload(self, signature: Any, compile_result: Any) -> None:
        """Store a compile result in the first folder that takes it."""
        patience.compilation_ends(self)
        if not self._enabled or _source_digest() != _SOURCE_DIGEST:
            return
        try:
            from numba.core.serialize import dumps

            # Machine code that holds addresses of this process is of no use to another.
            library = compile_result.library
            if compile_result.lifted or library.has_dynamic_globals or not _bytecode_is_current():
                return
            name = self._entry_name(signature, compile_result.target_context)
            payload = dumps(compile_result._reduce())
            for root in _roots():
                try:
                    return _write(root, name, payload)
                except OSError:
                    continue
        except Exception:
            return

    def _entry_name(self, signature: Any, target_context: Any) -> str:
        settings = [str(getattr(numba.config, name, None)) for name in _SETTINGS]
        key = repr((self._function, str(signature), target_context.codegen().magic_tuple(), settings))
        return f"{self._function[1]}-{hashlib.sha256(key.encode()).hexdigest()[:32]}.bin"

    def flush(self) -> None:
        """Cache no longer: the dispatcher has been told to compile everything anew."""
        self._enabled = False
