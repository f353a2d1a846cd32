"""The loop that runs tasks in parallel: those of all kernels, called where their machine code is.

Numba takes a third to half of a second for each loop that runs in parallel, however short, with arrays among its
arguments (measured). And a kernel that the loop called by its name would be linked into it and optimised with it, three
times. So the loop is compiled once, for numbers alone: the address of a function of C, how many tasks there are, and a
place in memory. The function reads the arguments of a kernel from that place and calls the kernel. What puts them there
takes a seventh of a second for each kind of arguments.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from fastals.kernels.jit import compiled, compiled_parallel

_INTEGER, _NOTHING = ir.IntType(64), ir.IntType(8).as_pointer()  # what functions of C that return None return
_TASK = ir.FunctionType(_NOTHING, [_INTEGER] * 3)


def _pointer(builder, address, kind):
    """Pointer to what is at an address, an integer."""
    return builder.inttoptr(address, kind.as_pointer())


@intrinsic
def _call(typingctx, function, task, tasks, place):
    """Call function(task, tasks, place) of C, of which the address is given."""

    def codegen(context, builder, signature, values):
        builder.call(_pointer(builder, values[0], _TASK), values[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


@compiled_parallel
def run_loop(function, tasks, place):
    """Call function(task, tasks, place), at an address, for all tasks in parallel; all arguments are int64."""
    for task in prange(tasks):
        _call(function, np.int64(task), tasks, place)


def _task_function(module, kinds):
    """Function of C that calls a kernel, the first of the values at a place, with the values that follow there."""
    function = ir.Function(module, _TASK, module.get_unique_name("fastals_task"))
    function.linkage = "internal"
    builder = ir.IRBuilder(function.append_basic_block())
    task, tasks, place = function.args
    packed = builder.load(_pointer(builder, place, ir.LiteralStructType([_INTEGER, *kinds])))
    kernel, *arguments = (builder.extract_value(packed, i) for i in range(1 + len(kinds)))
    called = _pointer(builder, kernel, ir.FunctionType(_NOTHING, [_INTEGER, _INTEGER, *kinds]))
    builder.ret(builder.call(called, [task, tasks, *arguments]))
    return function


@intrinsic
def _launch(typingctx, loop, kernel, tasks, arguments):
    """Run ``run_loop``, at an address, over the tasks of a kernel, at an address, with a tuple of arguments."""

    def codegen(context, builder, signature, values):
        kinds = [context.get_value_type(kind) for kind in arguments.types]
        packed = [values[1], *(builder.extract_value(values[3], i) for i in range(len(kinds)))]
        place = cgutils.alloca_once(builder, ir.LiteralStructType([_INTEGER, *kinds]))
        for i, value in enumerate(packed):
            builder.store(value, cgutils.gep_inbounds(builder, place, 0, i))
        function = _task_function(builder.module, kinds)
        numbers = builder.ptrtoint(function, _INTEGER), values[2], builder.ptrtoint(place, _INTEGER)
        builder.call(_pointer(builder, values[0], _TASK), numbers)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, arguments), codegen


@compiled
def _run(loop, kernel, tasks, *arguments):
    """Run the tasks of a kernel, at an address, by the loop at another; compiled for each kind of arguments."""
    _launch(loop, kernel, tasks, arguments)


_compiled: dict[tuple[Any, ...], tuple[int, Any]] = {}


def run_in_parallel(kernel: Any, tasks: int, *arguments: Any) -> None:
    """Run kernel(task, tasks, *arguments), a serial kernel that returns nothing, for all tasks in parallel.

    An exception of the kernel does not reach its caller.
    """
    if not hasattr(kernel, "get_compile_result"):  # NUMBA_DISABLE_JIT
        for task in range(tasks):
            kernel(task, tasks, *arguments)
        return
    _run(_address(run_loop, 0, tasks, 0), _address(kernel, 0, tasks, *arguments), tasks, *arguments)


def _address(kernel: Any, *arguments: Any) -> int:
    """Where the machine code of a kernel for these arguments is, as C calls it."""
    key = (kernel.py_func, _kind(arguments))
    if key not in _compiled:  # typing takes .2 ms
        result = kernel.get_compile_result(types.none(*map(numba.typeof, arguments)))
        _compiled[key] = int(types.CompileResultWAP(result).__wrapper_address__()), result  # which keeps the code
    return _compiled[key][0]


def _kind(value: Any) -> Any:
    """What a value's type for Numba follows from."""
    if isinstance(value, np.ndarray):
        return value.dtype, value.ndim, value.flags.num
    return (type(value), *map(_kind, value)) if isinstance(value, tuple) else type(value)
