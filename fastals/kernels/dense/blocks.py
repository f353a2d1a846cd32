"""Chooses the implementation of the dense building blocks, in one place, for every kernel that uses them.

``tiled`` needs a compiler; with ``NUMBA_DISABLE_JIT`` the same functions run as the plain loops of ``plain``.
"""

from typing import Any

from numba import config

from fastals.kernels.dense import plain, tiled

active: Any = plain if config.DISABLE_JIT else tiled

add_gramian = active.add_gramian
add_product = active.add_product
add_products = active.add_products
add_rows = active.add_rows
add_system = active.add_system
back_substitute = active.back_substitute
factorise = active.factorise
multiply_block = active.multiply_block
prefetch = active.prefetch
row_gramian = active.row_gramian
subtract_rank_two = active.subtract_rank_two
