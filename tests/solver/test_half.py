"""Buffers of one side: what is in use or lent is never handed out to be written."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastals.core.validation import check_rows
from fastals.objective import Objective
from fastals.solver.half import Half, extrapolate
from fastals.solver.sides import build_sides


@pytest.fixture(params=[16, 12], ids=["padded length", "shorter rows"])
def half(request):
    objective = Objective.checked(
        objective="hu", confidence="linear", alpha=1.0, epsilon=1.0, unobserved_weight=1.0, regularization=1.0,
        regularization_exponent=0.0,
    )  # fmt: skip
    rows, _ = check_rows(sp.csr_array(np.eye(6)), "user_items")
    return Half(build_sides(objective, rows, None, np.dtype(np.float32))[0], np.zeros((6, request.param), np.float32))


def same(got, expected):
    return len(got) == len(expected) and all(one is other for one, other in zip(got, expected, strict=True))


def test_solutions_move_on(half):
    first = half.factors
    for keep in (True, True, False, True, False):
        earlier, current = list(half.earlier), half.factors
        solved = half.buffer()
        assert not any(solved is array for array in (current, *earlier))
        half.advance(solved, keep)
        assert half.factors is solved
        assert same(half.earlier, [current, *earlier] if keep else earlier)
    assert half.factors is not first


def test_what_is_forgotten_is_written_again(half):
    for _ in range(4):
        half.advance(half.buffer(), keep=True)
    latest, *others = half.earlier

    half.forget(1)

    assert same(half.earlier, [latest])
    if half.factors.shape[1] == 16:  # the first factors may start anywhere in a cache line
        buffers = [half.buffer() for _ in others]
        assert sum(any(array is buffer for buffer in buffers) for array in others) >= len(others) - 1


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extrapolation_follows_up_to_three_changes(count, dtype):
    random = np.random.default_rng(3)
    weights, arrays = random.normal(size=count), random.normal(size=(count + 1, 50, 8)).astype(dtype)
    changes = arrays[:-1].astype(float) - arrays[1:]
    expected = arrays[0] + np.tensordot(weights, changes, 1)
    given, out = arrays.copy(), np.empty_like(arrays[0])

    extrapolate(arrays[0], weights, list(arrays[1:]), out, 2)

    np.testing.assert_allclose(out, expected, rtol=0, atol=20 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(arrays, given)


def test_two_or_three_arrays_serve_for_ever(half):
    seen = set()
    for _ in range(20):
        solved = half.buffer()
        seen.add(id(solved))
        half.advance(solved, keep=False)
        rotated = half.rotated_buffer()
        half.release(rotated)
    assert len(seen) <= 3


def test_lent_arrays_are_never_written_again(half):
    lent = []
    for _ in range(5):
        lent.append(half.lend_factors())
        solved = half.buffer()
        assert not any(np.shares_memory(solved, array) for array in lent)
        rotated = half.rotated_buffer()
        assert not any(np.shares_memory(rotated, array) for array in lent)
        half.release(rotated)
        half.advance(solved, keep=False)
    assert len(half._lent) <= 1, "what has left the half is not held for ever"


def test_what_is_in_use_is_not_released(half):
    half.release(half.factors)
    half.release(None)
    assert half.buffer() is not half.factors
