"""Chooses the implementation of the dense building blocks, in one place, for every kernel that uses them.

``linear_algebra`` needs a compiler; with ``NUMBA_DISABLE_JIT`` the same functions run as the plain loops of ``plain``.
"""

from numba import config

if config.DISABLE_JIT:
    from fastals.kernels.dense.plain import (
        add_gramian,
        add_products,
        add_rows,
        add_system,
        back_substitute,
        factorise,
        multiply_block,
        prefetch,
        row_gramian,
    )
else:
    from fastals.kernels.dense.tiled import (
        add_gramian,
        add_products,
        add_rows,
        add_system,
        back_substitute,
        factorise,
        multiply_block,
        prefetch,
        row_gramian,
    )

__all__ = [
    "add_gramian",
    "add_products",
    "add_rows",
    "add_system",
    "back_substitute",
    "factorise",
    "multiply_block",
    "prefetch",
    "row_gramian",
]
