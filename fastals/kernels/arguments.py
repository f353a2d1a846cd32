"""Compiled kernels as arguments of others, which call their machine code where it is."""

from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.experimental.function_type import FunctionModel
from numba.extending import NativeValue, register_model, unbox


class KernelType(types.FunctionType):  # type: ignore[misc]
    """A kernel by the address of its machine code, which Numba reads without running Python.

    For its own type of functions Numba calls Python at each launch, and takes an interrupt there for an error of its
    own: ``_get_wrapper_address() missing 1 required positional argument`` instead of KeyboardInterrupt.
    """


class _Argument:
    """A compiled kernel as an argument; its type is at hand, which saves 80 us."""

    def __init__(self, result: Any) -> None:
        self._numba_type_ = KernelType(result.signature)
        self.address = int(types.CompileResultWAP(result).__wrapper_address__())
        self._result = result  # keeps the machine code


_arguments: dict[tuple[Any, ...], _Argument] = {}


def as_argument(kernel: Any, *arguments: Any) -> Any:
    """Return a kernel that returns nothing, compiled for these arguments, as what other kernels take for an argument.

    They call its machine code where it is. A kernel that is called by its name is linked into its caller and optimised
    with it, three times where that is a loop that runs in parallel.

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


@unbox(KernelType)
def _unboxed(kind, argument, c):
    """Native value of an argument: its address, as Numba calls functions that have machine code for C alone."""
    native = cgutils.create_struct_proxy(kind)(c.context, c.builder)
    address = c.pyapi.object_getattr_string(argument, "address")
    native.c_addr = c.pyapi.long_as_voidptr(address)
    c.pyapi.decref(address)
    native.py_addr = c.builder.ptrtoint(argument, native.py_addr.type)
    native.jit_addr = cgutils.get_null_value(native.jit_addr.type)
    return NativeValue(native._getvalue())


register_model(KernelType)(FunctionModel)
