"""How kernels are compiled: the options, and machine code that stands alone.

A kernel's code must do the same in the process that compiled it and in one that loads it from the cache, to the last
bit. Numba's does not: a callee that was not inlined is in the engine as compiled by itself, and once more, optimised
again, beside the code of each caller. All copies have one name, and the copy that came first serves every caller: in
the process that compiles that is the callee's own, in one that loads it is a caller's, and which caller's depends on
the order of calls. Copies may round differently: under ``NUMBA_CPU_NAME=generic`` the two did. So here every library
gives its callees' copies names of their own and calls no others.

Numba promises its decorators, types, intrinsics and ``pipeline_class``. What is used of its insides besides:

- here, ``Compiler.compile_extra`` and the library it compiles into, with its ``_optimize_final_module`` and
  ``_final_module``. Where they are not as expected, kernels are compiled as Numba does, and not cached;
- here, ``CompileResultWAP`` and ``_numba_type_``, by which a kernel is an argument of another: needed;
- here, the option ``_nrt``: without it, kernels count references and are slower;
- in ``machine_code``, a dispatcher's ``_cache``, ``CompileResult``'s ``_reduce`` and ``_rebuild``: without, no cache;
- in ``forks``, the locks of its compiler and of llvmlite: without, a fork waits for no compilation;
- in ``dense.emitter``, ``codegen().magic_tuple()``, which names the target, and ``cgutils``: needed.
"""

import contextlib
import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numba.extending
import numpy as np
from numba import types

from fastals.kernels.machine_code import MachineCodeCache, is_cachable

Function = TypeVar("Function", bound=Callable[..., Any])

# No "nnan" and "ninf": kernels test for NaN and infinity, which fastmath=True would let the compiler remove.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"nsz", "arcp", "contract", "afn", "reassoc"},
}
_FORMULA_OPTIONS = dict(_OPTIONS)
_LINKAGES_OF_COPIES = ("linkonce_any", "linkonce_odr", "weak_any", "weak_odr")
_WITHOUT_REFCOUNTS: dict[str, Any] = {}
_STANDS_ALONE = False
with contextlib.suppress(ImportError):
    from numba.core.options import DefaultOptions

    if hasattr(DefaultOptions, "_nrt"):
        _WITHOUT_REFCOUNTS = {"_nrt": False}
with contextlib.suppress(ImportError):
    from numba.core.codegen import JITCodeLibrary
    from numba.core.compiler import Compiler

    _STANDS_ALONE = hasattr(JITCodeLibrary, "_optimize_final_module") and hasattr(Compiler, "compile_extra")

if _STANDS_ALONE:

    class _Library(JITCodeLibrary):  # type: ignore[misc]
        """Calls its own copies of the functions that are linked into it."""

        def _optimize_final_module(self) -> None:
            functions = [function for function in self._final_module.functions if not function.is_declaration]
            own = sorted(function.name for function in functions if function.linkage.name == "external")
            suffix = hashlib.sha256(repr(own).encode()).hexdigest()[:12]
            for function in functions:
                if function.linkage.name in _LINKAGES_OF_COPIES:
                    function.name = f"{function.name}.{suffix}"
            super()._optimize_final_module()

    class _Compiler(Compiler):  # type: ignore[misc]
        """Numba's, into such a library."""

        def compile_extra(self, func: Any) -> Any:
            if self.state.library is None:
                self.state.library = _Library(self.state.targetctx.codegen(), func.__qualname__)
                self.state.library.enable_object_caching()
            return super().compile_extra(func)

    _OPTIONS["pipeline_class"] = _Compiler


def compiled(function: Function) -> Function:
    """Compile a kernel on its first call: no GIL, NumPy's division, fast maths that respects NaN, cached."""
    return _with_cache(numba.njit(**_OPTIONS)(function), function)


def compiled_without_refcounts(function: Function) -> Function:
    """Compile like `compiled`, for row kernels that allocate nothing: without reference counts on their arrays.

    A view of a row costs two atomic operations otherwise, half the time of a short row's direct solution (measured).
    """
    return _with_cache(numba.njit(**_WITHOUT_REFCOUNTS, **_OPTIONS)(function), function)


def compiled_parallel(function: Function) -> Function:
    """Compile like `compiled`, with ``numba.prange`` loops run by Numba's threads."""
    return _with_cache(numba.njit(parallel=True, **_OPTIONS)(function), function)


def shared(function: Function) -> Function:
    """Leave a formula as it is for Python, on arrays too, and let kernels call it: compiled as they are, inlined."""
    return numba.extending.register_jitable(**_FORMULA_OPTIONS)(function)


class _Argument:
    """A compiled kernel as an argument, by Numba's wrapper address protocol; its type is at hand, which saves 80 us."""

    def __init__(self, result: Any) -> None:
        self._numba_type_ = types.FunctionType(result.signature)
        self._result = types.CompileResultWAP(result)

    def signature(self) -> Any:
        return self._result.signature()

    def __wrapper_address__(self) -> int:
        return int(self._result.__wrapper_address__())


_arguments: dict[tuple[Any, ...], _Argument] = {}


def as_argument(kernel: Any, *arguments: Any) -> Any:
    """Return a kernel that returns nothing, compiled for these arguments, as what other kernels take for an argument.

    They call its machine code where it is. A kernel that is called by its name is linked in and optimised once more,
    three times in all by a loop that runs in parallel: a third of the time of compiling everything (measured).

    An exception of the kernel does not reach its caller.
    """
    if not hasattr(kernel, "get_compile_result"):  # NUMBA_DISABLE_JIT
        return kernel
    key = (kernel.py_func, _kind(arguments))
    if key not in _arguments:  # typing takes .2 ms
        signature = types.none(*map(numba.typeof, arguments))
        _arguments[key] = _Argument(kernel.get_compile_result(signature))
    return _arguments[key]


def _kind(value: Any) -> Any:
    """What a value's type for Numba follows from."""
    if isinstance(value, np.ndarray):
        return value.dtype, value.ndim, value.flags.num
    return (type(value), *map(_kind, value)) if isinstance(value, tuple) else type(value)


def _with_cache(dispatcher: Any, function: Function) -> Any:
    """Give a lazily compiling dispatcher of this package the cache; leave any other function as it is."""
    # Under NUMBA_DISABLE_JIT the dispatcher is the plain function.
    if _STANDS_ALONE and hasattr(dispatcher, "_cache") and is_cachable(function):
        dispatcher._cache = MachineCodeCache(function)
    return dispatcher
