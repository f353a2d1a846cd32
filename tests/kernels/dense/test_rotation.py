"""Products of a chunk of rows with a matrix in panels equal NumPy's."""

import numpy as np
import pytest

from fastals.kernels.dense.rotation import CHUNK, PANEL, chunk_for, multiply_chunk
from fastals.kernels.dense.tiles import TILE_ROWS
from fastals.solver.eigenbasis import in_panels


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 8, 37, CHUNK])
@pytest.mark.parametrize(("factors", "width"), [(1, 16), (16, 16), (33, 48), (64, 64), (80, 80)])
def test_multiply_chunk(factors, width, count, dtype):
    random = np.random.default_rng(0)
    X, B = np.full((CHUNK, width), np.nan, dtype), random.normal(size=(factors, factors))
    X[:count] = 0
    X[:count, :factors] = random.normal(size=(count, factors))
    tile, out = np.full((TILE_ROWS, PANEL), np.nan, dtype), np.full((count + 5, factors), 7, dtype)

    multiply_chunk(X, count, in_panels(B, width, X), tile, 2, out)

    expected = X[:count, :factors].astype(np.float64) @ B
    np.testing.assert_allclose(out[2 : 2 + count], expected, rtol=0, atol=1e3 * np.finfo(dtype).eps)
    assert (out[:2] == 7).all()
    assert (out[2 + count :] == 7).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("factors", "width"), [(1, 16), (33, 48), (64, 64), (80, 80)])
@pytest.mark.parametrize("triangle", ["lower", "upper"])
def test_the_zeros_of_a_triangle_are_left_out(triangle, factors, width, dtype):
    """Columns of X that only meet zeros of a panel are not read for it."""
    random = np.random.default_rng(0)
    X, B = np.zeros((CHUNK, width), dtype), random.normal(size=(factors, factors))
    B = np.tril(B) if triangle == "lower" else np.triu(B)
    X[:, :factors] = random.normal(size=(CHUNK, factors))
    tile, out = np.full((TILE_ROWS, PANEL), np.nan, dtype), np.full((CHUNK, factors), np.nan, dtype)
    panels = in_panels(B, width, X, triangle)

    multiply_chunk(X, CHUNK, panels, tile, 0, out)

    expected = X[:, :factors].astype(np.float64) @ B
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e3 * np.finfo(dtype).eps)
    for panel, first in enumerate(range(0, factors, PANEL)):
        own = slice(first, min(first + PANEL, factors))
        unread = slice(0, first) if triangle == "lower" else slice(first + PANEL, width)
        holed = X.copy()
        holed[:, unread] = np.nan
        multiply_chunk(holed, CHUNK, panels, tile, 0, out)
        np.testing.assert_allclose(out[:, own], expected[:, own], rtol=0, atol=1e3 * np.finfo(dtype).eps)
        begin, end = panels.spans[panel]
        assert (begin, end) == ((first, factors) if triangle == "lower" else (0, own.stop))


@pytest.mark.parametrize("rows", [1, 20, 200])
def test_rows_that_no_solution_fills_are_zero(rows):
    """Whatever the memory held before: here as much of it as the scratch takes, just given back."""
    like = np.empty((1, 64), np.float32)
    for _ in range(50):
        garbage = [np.full(size, np.nan, np.float32) for size in range(64, 64 * CHUNK + 128, 64)]
        del garbage
        solved = chunk_for(np.array([0, rows]), 64, like).solved
        assert solved.shape[0] == min(-(-rows // TILE_ROWS) * TILE_ROWS, CHUNK)
        assert not solved.any()
