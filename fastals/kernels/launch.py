"""The loop that runs tasks in parallel: those of all kernels, called where their machine code is.

Numba takes a third to half of a second for each loop that runs in parallel, however short, with arrays among its
arguments (measured). And a kernel that the loop called by its name would be linked into it and optimised with it, three
times. So the loop is compiled once, for numbers alone: the address of a function of C, how many tasks there are, and a
place in memory. The function, a few instructions for each kernel and each kind of arguments, reads the arguments at
that place, calls the kernel, and notes there if the kernel has failed.

A place is 8 bytes for each number: the note, which is 0 at first, and the arguments one after another. A tuple is its
elements; an array is its address and its shape, and its strides where they do not follow from the shape.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

from fastals.kernels.jit import compiled_parallel, library_as_it_is

_INTEGER, _NULL = ir.IntType(64), ir.Constant(ir.IntType(8).as_pointer(), None)
_TASK = ir.FunctionType(ir.VoidType(), [_INTEGER] * 3)


def _pointer(builder: Any, address: Any, kind: Any) -> Any:
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


def _leaves(kinds: Iterable[Any]) -> Iterator[Any]:
    """The types of arguments, those of a tuple's elements in its place."""
    for kind in kinds:
        if isinstance(kind, types.BaseTuple):
            yield from _leaves(kind)
        else:
            yield kind


def _layout(kind: Any) -> str:
    """Layout of a value at a place, as ``struct`` understands it."""
    if isinstance(kind, types.Array):
        return "q" * (1 + kind.ndim * (1 if kind.layout == "C" else 2))
    if kind == types.boolean:
        return "?7x"
    return {types.float32: "f4x", types.float64: "d"}.get(kind, "q")


def _numbers(values: Iterable[Any], numbers: list[Any]) -> list[Any]:
    """Append the numbers of arguments at a place; return them all."""
    for value in values:
        if isinstance(value, np.ndarray):
            numbers.append(_address(value))
            numbers += value.shape
            if not value.flags.c_contiguous:
                numbers += value.strides
        elif isinstance(value, tuple):
            _numbers(value, numbers)
        else:
            numbers.append(value)
    return numbers


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])  # array.ctypes.data would call Python


class _Reader:
    """Emits what reads the arguments at a place, in turn."""

    def __init__(self, context: Any, builder: Any, place: Any) -> None:
        self._context, self._builder, self._next = context, builder, builder.add(place, _INTEGER(8))

    def passed(self, kind: Any) -> list[tuple[Any, Any]]:
        """The next argument as Numba's calling convention passes it: types and values.

        An array here owns no memory, so nobody counts its references.
        """
        if not isinstance(kind, types.Array):
            return [(kind, self._number(kind))]
        data, shape = self._number(types.voidptr), [self._number(types.int64) for _ in range(kind.ndim)]
        itemsize = _INTEGER(self._context.get_abi_sizeof(self._context.get_data_type(kind.dtype)))
        sizes = [_INTEGER(1)]  # of the last axes, in elements
        for length in reversed(shape):
            sizes.append(self._builder.mul(sizes[-1], length))
        if kind.layout == "C":
            strides = [self._builder.mul(size, itemsize) for size in sizes[-2::-1]]
        else:
            strides = [self._number(types.int64) for _ in range(kind.ndim)]
        nothing, numbers = (types.voidptr, _NULL), (*shape, *strides)
        fields = (types.int64, sizes[-1]), (types.int64, itemsize), (types.voidptr, data)
        return [nothing, nothing, *fields, *((types.int64, number) for number in numbers)]

    def _number(self, kind: Any) -> Any:
        there = _pointer(self._builder, self._next, self._context.get_data_type(kind))
        self._next = self._builder.add(self._next, _INTEGER(8))
        return self._context.data_model_manager[kind].from_data(self._builder, self._builder.load(there))


class _Task(NamedTuple):
    """How the loop calls a kernel: by a function of C at an address, with a place of this layout."""

    address: int
    layout: struct.Struct
    libraries: tuple[Any, ...]  # whose code lives as long as they do


def _task_of(result: Any, kinds: tuple[Any, ...], name: str) -> _Task:
    """Emit the function that calls a compiled kernel, of which these are the types of the arguments."""
    context = result.target_context
    library = library_as_it_is(context.codegen(), name)
    module = library.create_ir_module(name)
    function = ir.Function(module, _TASK, name)
    builder = ir.IRBuilder(function.append_basic_block())
    task, tasks, place = function.args
    reader, leaves = _Reader(context, builder, place), tuple(_leaves(kinds))
    passed = [argument for kind in leaves for argument in reader.passed(kind)]
    of_kernel, values = zip((types.int64, task), (types.int64, tasks), *passed, strict=True)
    code = _INTEGER(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))
    kernel = _pointer(builder, code, context.call_conv.get_function_type(types.none, of_kernel))
    status, _ = context.call_conv.call_function(builder, kernel, types.none, of_kernel, values)
    with cgutils.if_unlikely(builder, status.is_error):
        builder.store(_INTEGER(1), _pointer(builder, place, _INTEGER))
    builder.ret_void()
    library.add_ir_module(module)
    library.finalize()
    layout = struct.Struct("=q" + "".join(map(_layout, leaves)))
    return _Task(library.get_pointer_to_function(name), layout, (library, result.library))


_by_kinds: dict[tuple[Any, ...], _Task] = {}
_by_types: dict[tuple[Any, ...], _Task] = {}


def _task_for(kernel: Any, arguments: tuple[Any, ...]) -> _Task:
    """The function that calls a kernel with such arguments; compiles both on the first call."""
    kinds = tuple(map(numba.typeof, arguments))
    key = kernel.py_func, kinds
    if key not in _by_types:  # a child that was forked during a compilation is refused the lock
        with global_compiler_lock:
            result = kernel.get_compile_result(types.none(types.int64, types.int64, *kinds))
            _by_types[key] = _task_of(result, kinds, f"fastals_task_{len(_by_types)}")
    return _by_types[key]


def run_in_parallel(kernel: Any, tasks: int, *arguments: Any) -> None:
    """Run kernel(task, tasks, *arguments), a serial kernel that returns nothing, for all tasks in parallel.

    Raises MemoryError where a task has found no memory, the one thing at which kernels fail; others may have run.
    """
    if not hasattr(kernel, "get_compile_result"):  # NUMBA_DISABLE_JIT
        for number in range(tasks):
            kernel(number, tasks, *arguments)
        return
    key = (kernel.py_func, _kind(arguments))
    if key not in _by_kinds:  # typing takes .2 ms
        _by_kinds[key] = _task_for(kernel, arguments)
    task = _by_kinds[key]
    place = np.empty(task.layout.size // 8, np.int64)
    task.layout.pack_into(place.data, 0, *_numbers(arguments, [0]))
    run_loop(task.address, tasks, _address(place))
    if place[0]:
        raise MemoryError(f"no memory for the scratch of {kernel.py_func.__name__}")


def _kind(value: Any) -> Any:
    """What a value's type for Numba follows from."""
    if isinstance(value, np.ndarray):
        return value.dtype, value.ndim, value.flags.num
    return (type(value), *map(_kind, value)) if isinstance(value, tuple) else type(value)
