"""Vector code of the sketches against NumPy, and against its plain twin."""

import numpy as np
import pytest

from fastals.kernels.jit import compiled
from fastals.kernels.top_items.products import (
    PANEL,
    panel_products,
    plain_panel_products,
    plain_reaching,
    reaching,
)


@compiled
def products_of(codes, panel, first, last, query, products):
    panel_products(codes, panel, first, last, query, products)


@compiled
def mask_of(values, panel, limit):
    return reaching(values, panel, limit)


@pytest.mark.parametrize("pairs", [1, 16, 32])
def test_products_of_a_panel(pairs):
    random = np.random.default_rng(pairs)
    codes = random.integers(-127, 128, (3, pairs, PANEL, 2)).astype(np.int8)
    query = random.integers(-32767, 32768, 2 * pairs + 4).astype(np.int16)
    codes[1, :, 0], query[0] = 127, 32767  # the largest products
    rows = codes.transpose(0, 2, 1, 3).reshape(3, PANEL, -1).astype(np.int64)  # (panels, items, coordinates)
    for first, last in {(0, pairs), (0, 1 + pairs // 2), (pairs // 2, pairs), (pairs, pairs)}:
        part = slice(2 * first, 2 * last)
        expected = rows[:, :, part] @ query[part].astype(np.int64)
        for multiply in (products_of, plain_panel_products):
            for panel in range(3):
                got = np.full(PANEL, -1, np.int32)
                multiply(codes, panel, first, last, query, got)
                np.testing.assert_array_equal(got, expected[panel])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_not_below_a_limit(dtype):
    values = np.random.default_rng(0).normal(size=(2, PANEL)).astype(dtype)
    values[1, [3, 9, 63]] = np.inf, np.nan, -np.inf
    for limit in (dtype(0.3), values[1, 5], dtype(-np.inf), dtype(np.inf)):
        expected = ~(values[1] < limit)
        for found in (mask_of(values, 1, limit), plain_reaching(values, 1, limit)):
            got = [bool((int(found) >> j) & 1) for j in range(PANEL)]
            np.testing.assert_array_equal(got, expected)
