"""How kernels are compiled, and a cache of their machine code that never runs a stale one.

Numba's ``cache=True`` compares only the file of the function itself: code inlined from another, since edited file
stays in use. It also raises at import where no folder is writable. The cache here
- lies in a folder named by a digest of every file of this package, of the interpreter, Numba, llvmlite and NumPy, and
  of the host's CPU, so an edit or an upgrade of any of them starts an empty folder;
- is left alone as soon as the files on disk are no longer those the process started with, and not written to where
  Python itself runs stale bytecode;
- keeps one checksummed file per function and signature, put in place by a rename, so processes may fill it at once;
- is tried in ``NUMBA_CACHE_DIR``, in this package's ``__pycache__`` and in the user's cache folder; where none can be
  read or written, or Numba's internals are not as expected, functions are compiled anew in each process.

Module constants that a kernel uses must follow from the sources, the host's CPU and Numba's settings alone.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import platform
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, TypeVar

import llvmlite
import llvmlite.binding
import numba
import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

# No "nnan" and "ninf": kernels test for NaN and infinity, which fastmath=True would let the compiler remove.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"nsz", "arcp", "contract", "afn", "reassoc"},
}
_PACKAGE = Path(__file__).resolve().parent
_FOLDER_PREFIX = "machine-code-"
_FOLDERS_KEPT = 8
# Settings that alter the machine code and may change within a process.
_SETTINGS = (
    *("OPT", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "LOOP_VECTORIZE", "SLP_VECTORIZE"),
    *("USING_SVML", "ENABLE_AVX", "CPU_NAME", "CPU_FEATURES"),
)


def compiled(function: Function) -> Function:
    """Compile a kernel on its first call: no GIL, NumPy's division, fast maths that respects NaN, cached."""
    return _with_cache(numba.njit(**_OPTIONS)(function), function)


def compiled_bare(function: Function) -> Function:
    """Compile like `compiled`, for row kernels that allocate nothing: without reference counts on their arrays.

    A view of a row costs two atomic operations otherwise, half the time of a short row's direct solution (measured).
    """
    return _with_cache(numba.njit(_nrt=False, **_OPTIONS)(function), function)


def compiled_parallel(function: Function) -> Function:
    """Compile like `compiled`, with ``numba.prange`` loops run by Numba's threads."""
    return _with_cache(numba.njit(parallel=True, **_OPTIONS)(function), function)


def _with_cache(dispatcher: Any, function: Function) -> Any:
    """Give a lazily compiling dispatcher of this package the cache; leave any other function as it is."""
    in_package = _PACKAGE in Path(function.__code__.co_filename).resolve().parents
    # Under NUMBA_DISABLE_JIT the dispatcher is the plain function.
    if _STAMP is not None and in_package and hasattr(dispatcher, "_cache"):
        dispatcher._cache = _MachineCodeCache(function)
    return dispatcher


def _source_digest() -> str | None:
    """Digest of the names and contents of all files of this package, None where they cannot be read."""
    digest = hashlib.sha256()
    try:
        for path in sorted(_PACKAGE.rglob("*")):
            if "__pycache__" not in path.parts[len(_PACKAGE.parts) :] and path.suffix in (".py", ".pyc", ".so"):
                content = path.read_bytes()
                digest.update(f"{path.relative_to(_PACKAGE)} {len(content)}\n".encode() + content)
    except OSError:
        return None
    return digest.hexdigest() if _PACKAGE.is_dir() else None


def _stamp(source_digest: str | None) -> str | None:
    """Name of the cache folder: the sources and all that turns them into machine code."""
    if source_digest is None:
        return None
    versions = (sys.version, sys.flags.optimize, numba.__version__, llvmlite.__version__, np.__version__)
    host = (platform.machine(), llvmlite.binding.get_host_cpu_name(), llvmlite.binding.get_host_cpu_features())
    return _FOLDER_PREFIX + hashlib.sha256(repr((source_digest, versions, host)).encode()).hexdigest()[:24]


_SOURCE_DIGEST = _source_digest()
_STAMP = _stamp(_SOURCE_DIGEST)


@functools.cache
def _bytecode_is_current() -> bool:
    """Whether the modules of this package run what their files say: Python's own cache goes by time and size alone."""
    for name, module in list(sys.modules.items()):
        loader, path = getattr(module, "__loader__", None), getattr(module, "__file__", None)
        if not isinstance(loader, SourceFileLoader) or not path or _PACKAGE not in Path(path).resolve().parents:
            continue
        if loader.get_code(name) != loader.source_to_code(loader.get_data(path), path):
            return False
    return True


def _cache_roots() -> Iterator[Path]:
    """Folders that may hold the cache, in the order they are tried."""
    chosen = getattr(numba.config, "CACHE_DIR", "")
    if chosen:
        yield Path(chosen)
    yield _PACKAGE / "__pycache__"
    from numba.misc.appdirs import AppDirs

    user_folder = Path(AppDirs(appname="fastals", appauthor=False).user_cache_dir)
    if user_folder.is_absolute():
        yield user_folder


def _read_entry(path: Path) -> bytes | None:
    """Read an entry; None if it is absent, damaged or belongs to someone whom this process need not trust."""
    try:
        with open(path, "rb") as file:
            if os.name == "posix":
                owner = os.fstat(file.fileno()).st_uid
                if owner not in (0, os.geteuid(), os.stat(__file__).st_uid):
                    return None
            checksum, payload = file.read(32), file.read()
    except OSError:
        return None
    return payload if checksum == hashlib.sha256(payload).digest() else None


def _write_entry(root: Path, name: str, payload: bytes) -> None:
    """Write an entry under a temporary name and rename it; OSError where the folder cannot be written."""
    folder = root / str(_STAMP)
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # another process may be at it too
            _remove_oldest_folders(root)
    temporary = folder / f"{uuid.uuid4().hex}.tmp"
    try:
        temporary.write_bytes(hashlib.sha256(payload).digest() + payload)
        os.replace(temporary, folder / name)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _remove_oldest_folders(root: Path) -> None:
    """Keep the folders last written to, for these may serve another interpreter or machine."""
    folders = sorted(root.glob(f"{_FOLDER_PREFIX}*"), key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in folders[_FOLDERS_KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)


class _MachineCodeCache:
    """What Numba's dispatcher asks of a cache.

    Any failure means "not cached": the call that wanted the machine code must not suffer from it.
    """

    cache_path = None  # no single folder: see _cache_roots

    def __init__(self, function: Callable[..., Any]) -> None:
        code = function.__code__
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        # Other closed-over objects have no stable name across processes.
        self._enabled = all(type(cell) in (bool, int, float, str) for cell in cells)
        self._function = (function.__module__, function.__qualname__, code.co_firstlineno, code.co_code, cells)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return the stored compile result for a signature, None if there is none."""
        if not self._enabled or _source_digest() != _SOURCE_DIGEST:
            return None
        try:
            from numba.core.compiler import CompileResult

            target_context.refresh()
            name = self._entry_name(signature, target_context)
            for root in _cache_roots():
                payload = _read_entry(root / str(_STAMP) / name)
                if payload is not None:
                    return CompileResult._rebuild(target_context, *pickle.loads(payload))
        except Exception:
            return None
        return None

    def save_overload(self, signature: Any, compile_result: Any) -> None:
        """Store a compile result in the first folder that takes it."""
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
            for root in _cache_roots():
                try:
                    return _write_entry(root, name, payload)
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
