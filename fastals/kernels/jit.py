"""How kernels are compiled: the options, and machine code that stands alone.

A kernel's code must do the same in the process that compiled it and in one that loads it from the cache, to the last
bit. Numba's does not: a callee that was not inlined is in the engine as compiled by itself, and once more, optimised
again, beside the code of each caller. All copies have one name, and the copy that came first serves every caller: in
the process that compiles that is the callee's own, in one that loads it is a caller's, and which caller's depends on
the order of calls. Copies may round differently: under ``NUMBA_CPU_NAME=generic`` the two did. So here every library
gives its callees' copies names of their own and calls no others.

What a kernel calls is compiled apart from what Python calls under the same name: without wrappers, not optimised, and
never turned into machine code but as part of its callers. Numba does all that for each function on each level, which
took four tenths of a first fit (measured). What row kernels call is inlined: a call passes some forty fields of arrays
on the stack, which took two fifths of the time of a row with sixteen entries (measured).

Numba promises its decorators, types, intrinsics and ``pipeline_class``. What is used of its insides besides:

- here, ``Compiler.compile_extra`` and the library it compiles into, with its ``_optimize_functions``,
  ``_optimize_final_module``, ``_finalize_final_module``, ``_final_module`` and ``_codegen``, and a dispatcher's
  ``get_call_template`` and ``get_overload``. Where they are not as expected, kernels are compiled as Numba does, and
  not cached;
- in ``launch``, a dispatcher's ``get_compile_result``, the lock of the compiler, how a library is made and tells where
  a function is, ``call_conv``, and that it passes tuples and arrays as their fields, one by one: needed;
- here, the options ``_nrt`` and ``forceinline``: without them, kernels count references, call, and are slower;
- in ``machine_code``, a dispatcher's ``_cache``, ``CompileResult``'s ``_reduce`` and ``_rebuild``: without, no cache;
- in ``forks``, the locks of its compiler and of llvmlite: without, a fork waits for no compilation;
- in ``dense.emitter``, ``codegen().magic_tuple()``, which names the target, and ``cgutils``: needed.
"""

import contextlib
import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

import llvmlite.binding
import numba
import numba.extending
from numba import config

from fastals.kernels.forks import without_collections
from fastals.kernels.machine_code import MachineCodeCache, NoCache, is_cachable

Function = TypeVar("Function", bound=Callable[..., Any])

# No "nnan" and "ninf": kernels test for NaN and infinity, which fastmath=True would let the compiler remove.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"nsz", "arcp", "contract", "afn", "reassoc"},
}
_FORMULA_OPTIONS = dict(_OPTIONS)
_LINKAGES_OF_COPIES = ("linkonce_any", "linkonce_odr", "weak_any", "weak_odr")
# Those that shrink unoptimised code the most, in this order.
_FIRST_PASSES = ("simplify_cfg", "sroa", "refprune", "instruction_combine", "simplify_cfg", "dead_code_elimination")
_WITHOUT_REFCOUNTS: dict[str, Any] = {}
_CALLEE_OPTIONS: dict[str, Any] = {}
_INLINED: dict[str, Any] = {}
_STANDS_ALONE = False
with contextlib.suppress(ImportError):
    from numba.core.options import DefaultOptions

    if hasattr(DefaultOptions, "_nrt"):
        _WITHOUT_REFCOUNTS = {"_nrt": False}
    if hasattr(DefaultOptions, "forceinline"):
        _INLINED = {"forceinline": True}
with contextlib.suppress(ImportError):
    from numba.core.codegen import JITCodeLibrary
    from numba.core.compiler import Compiler
    from numba.core.dispatcher import Dispatcher

    _STANDS_ALONE = (
        hasattr(llvmlite.binding, "create_pipeline_tuning_options")
        and all(hasattr(llvmlite.binding.ModulePassManager, f"add_{name}_pass") for name in _FIRST_PASSES)
        and all(hasattr(JITCodeLibrary, name) for name in ("_optimize_final_module", "_finalize_final_module"))
        and hasattr(Compiler, "compile_extra")
        and all(hasattr(Dispatcher, name) for name in ("get_call_template", "get_overload"))
    )

if _STANDS_ALONE:

    class _LightLibrary(JITCodeLibrary):  # type: ignore[misc]
        """Has little done to what it is emitted, before all that calls each other is optimised together.

        Numba sets up a long pipeline for each function anew. A few passes, set up once for a module, spare a twentieth
        of a first fit, and kernels are as fast (measured). Without any what is linked is larger, and nothing is spared.
        """

        def _optimize_functions(self, ll_module: Any) -> None:
            ll_module.data_layout = self._codegen._data_layout
            passes = llvmlite.binding.ModulePassManager()
            for name in _FIRST_PASSES:
                getattr(passes, f"add_{name}_pass")()
            options = llvmlite.binding.create_pipeline_tuning_options(int(config.OPT))
            passes.run(ll_module, llvmlite.binding.create_pass_builder(self._codegen._tm, options))

    class _Library(_LightLibrary):
        """Calls its own copies of the functions that are linked into it."""

        def _optimize_final_module(self) -> None:
            functions = [function for function in self._final_module.functions if not function.is_declaration]
            own = sorted(function.name for function in functions if function.linkage.name == "external")
            suffix = hashlib.sha256(repr(own).encode()).hexdigest()[:12]
            for function in functions:
                if function.linkage.name in _LINKAGES_OF_COPIES:
                    function.name = f"{function.name}.{suffix}"
            self._run_passes()

        def _run_passes(self) -> None:
            """Optimise without unrolling loops, and once: Numba does it twice, at first to find more to do.

            A fourteenth of a first fit, and kernels are as fast (measured): loops of vectors are as long as they should
            be, and LLVM interleaves those that it vectorises itself.
            """
            options = llvmlite.binding.create_pipeline_tuning_options(int(config.OPT))
            options.loop_vectorization, options.slp_vectorization = config.LOOP_VECTORIZE, config.SLP_VECTORIZE
            options.loop_unrolling = False
            builder = llvmlite.binding.create_pass_builder(self._codegen._tm, options)
            passes = builder.getModulePassManager()
            passes.add_refprune_pass()
            passes.run(self._final_module, builder)

    class _WithoutEngine:
        """A code generator for a library whose functions are never at an address."""

        def __init__(self, codegen: Any) -> None:
            self._codegen = codegen

        def __getattr__(self, name: str) -> Any:
            return getattr(self._codegen, name)

        def set_env(self, name: str, environment: Any) -> None:
            """Nothing runs that would look for it."""

    class _CalleeLibrary(_LightLibrary):
        """Is linked into its callers, and optimised and turned into machine code with them alone."""

        @property
        def codegen(self) -> Any:
            return _WithoutEngine(self._codegen)

        def _optimize_final_module(self) -> None:
            """Leave it to the callers: what they optimise together comes out the same, bit for bit (measured)."""

        def _finalize_final_module(self) -> None:
            self._finalize_dynamic_globals()
            self._finalized = True

    class _PlainLibrary(JITCodeLibrary):  # type: ignore[misc]
        """Is turned into machine code as it was emitted."""

        def _optimize_functions(self, ll_module: Any) -> None:
            """Each pass is set up anew for each function, which takes longer than what it would do to a few calls."""
            ll_module.data_layout = self._codegen._data_layout

        def _optimize_final_module(self) -> None:
            """Leave it as it is."""

    class _Compiler(Compiler):  # type: ignore[misc]
        """Numba's, into such libraries, without collections of garbage meanwhile."""

        library: type[JITCodeLibrary] = _Library

        def compile_extra(self, func: Any) -> Any:
            if self.state.library is None:
                self.state.library = self.library(self.state.targetctx.codegen(), func.__qualname__)
                self.state.library.enable_object_caching()
            with without_collections():
                return super().compile_extra(func)

    class _CalleeCompiler(_Compiler):
        library = _CalleeLibrary

    _OPTIONS["pipeline_class"] = _Compiler
    _CALLEE_OPTIONS = {"pipeline_class": _CalleeCompiler, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def compiled(function: Function) -> Function:
    """Compile a kernel on its first call: no GIL, NumPy's division, fast maths that respects NaN, cached."""
    return _kernel(function, _OPTIONS)


def compiled_without_refcounts(function: Function) -> Function:
    """Compile like `compiled`, for row kernels that allocate nothing: inlined, and without reference counts on arrays.

    A view of a row costs two atomic operations otherwise, half the time of a short row's direct solution (measured).
    """
    return _kernel(function, {**_WITHOUT_REFCOUNTS, **_OPTIONS}, _INLINED)


def compiled_with_gil(function: Function) -> Function:
    """Compile like `compiled`, for some microseconds of a request, without giving up the GIL.

    Where it is given up, other threads go first: sixteen of them got an eighth fewer lists in a second (measured).
    """
    return _kernel(function, {**_OPTIONS, "nogil": False})


def compiled_parallel(function: Function) -> Function:
    """Compile like `compiled`, with ``numba.prange`` loops run by Numba's threads."""
    return _kernel(function, {"parallel": True, **_OPTIONS})


def shared(function: Function) -> Function:
    """Leave a formula as it is for Python, on arrays too, and let kernels call it: compiled as they are, inlined."""
    return numba.extending.register_jitable(**_FORMULA_OPTIONS)(function)


def library_as_it_is(codegen: Any, name: str) -> Any:
    """A library of a code generator for a few instructions that need no optimisation."""
    return _PlainLibrary(codegen, name) if _STANDS_ALONE else codegen.create_library(name)


def _kernel(function: Function, options: dict[str, Any], as_callee: dict[str, Any] | None = None) -> Any:
    """Make a lazily compiling dispatcher, with a version for other kernels, which has options ``as_callee`` besides."""
    dispatcher = numba.njit(**options)(function)
    # Under NUMBA_DISABLE_JIT the dispatcher is the plain function.
    if _STANDS_ALONE and hasattr(dispatcher, "_cache"):
        callee = numba.njit(**{**options, **_CALLEE_OPTIONS, **(as_callee or {})})(function)
        callee._cache = NoCache()
        dispatcher.get_call_template, dispatcher.get_overload = callee.get_call_template, callee.get_overload
        if is_cachable(function):
            dispatcher._cache = MachineCodeCache(function)
    return dispatcher
