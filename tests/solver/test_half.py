"""Buffers of one side: what is in use or lent is never handed out to be written."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastals.core.validation import check_rows
from fastals.objective import Objective
from fastals.solver.half import Half
from fastals.solver.sides import build_sides


@pytest.fixture(params=[16, 12], ids=["padded length", "shorter rows"])
def half(request):
    objective = Objective.checked(
        objective="hu", confidence="linear", alpha=1.0, epsilon=1.0, unobserved_weight=1.0, regularization=1.0,
        regularization_exponent=0.0,
    )  # fmt: skip
    rows, _ = check_rows(sp.csr_array(np.eye(6)), "user_items")
    return Half(build_sides(objective, rows, None, np.dtype(np.float32))[0], np.zeros((6, request.param), np.float32))


def test_solutions_move_on(half):
    first = half.factors
    for keep in (True, True, False, True, False):
        before, current = half.before, half.factors
        solved = half.buffer()
        assert solved is not current
        assert solved is not before
        half.advance(solved, keep)
        assert half.factors is solved
        assert half.before is (current if keep else before)
    assert half.factors is not first


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
