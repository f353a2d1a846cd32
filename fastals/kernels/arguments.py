"""Compiled kernels as arguments of others, which call their machine code where it is."""

from typing import Any

import numba
import numpy as np
from numba import types


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
