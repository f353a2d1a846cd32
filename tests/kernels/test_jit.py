"""The options of the compiled kernels, and that their machine code stands alone."""

import gc
import re

import numba
import numba.extending
import numpy as np
import pytest

from fastals.kernels.jit import compiled, compiled_parallel, compiled_with_gil


def test_options_follow_numpy_and_respect_nan():
    @compiled
    def quotient(x, y):
        return x / y

    @compiled_parallel
    def has_nan(x):
        return np.isnan(x).any()

    got = (quotient(1.0, 0.0), has_nan(np.array([0.0, np.nan])), has_nan(np.zeros(2)))

    assert got == (np.inf, True, False)
    for function in (quotient, has_nan):
        assert function.targetoptions["nogil"]
        assert function.targetoptions["fastmath"] == {"nsz", "arcp", "contract", "afn", "reassoc"}
    assert has_nan.targetoptions["parallel"]


def test_what_takes_microseconds_keeps_the_gil():
    @compiled_with_gil
    def quotient(x, y):
        return x / y

    assert quotient(1.0, 0.0) == np.inf
    assert not quotient.targetoptions["nogil"]
    assert quotient.targetoptions["fastmath"] == {"nsz", "arcp", "contract", "afn", "reassoc"}


@pytest.mark.slow
def test_every_library_calls_its_own_copies_under_names_of_their_own():
    """Else the copy that came first would serve all: another in the process that compiles than in one that loads."""

    @compiled
    def inner(x):
        total = 0.0
        for value in np.sort(x):
            total += value * total
        return total

    @compiled_parallel
    def outer(x, out):
        for t in numba.prange(out.size):
            out[t] = inner(x[t:]) + inner(x)

    outer(np.ones(5), np.ones(3))
    outer(np.ones(5), np.ones(3, np.float32))

    copies = []
    for text in outer.inspect_llvm().values():
        found = re.findall(r'^define (?:linkonce|weak).*? @("[^"]+"|[^"(]+)\(', text, re.MULTILINE)
        assert len(found) > 2
        assert all(re.search(r"\.[0-9a-f]{12}\"?$", name) for name in found), found
        copies += found
    assert len(set(copies)) == len(copies)


def test_callees_are_compiled_with_their_callers_alone():
    """Wrappers, optimisation and machine code of each callee by itself took four tenths of a first fit."""

    @compiled
    def inner(x):
        total = 0.0
        for value in x:
            total += value * total + value
        return total

    @compiled
    def outer(x):
        return inner(x[1:]) + inner(x)

    x = np.array([1.0, 2.0])
    got = outer(x)

    assert got == 2.0 + 5.0
    assert inner.signatures == []
    (text,) = outer.inspect_llvm().values()
    defined = re.findall(r'^define .*? @("[^"]+"|[^"(]+)\(', text, re.MULTILINE)
    assert any("cpython" in name and "outer" in name for name in defined)
    assert not any("cpython" in name or "cfunc" in name for name in defined if "inner" in name)
    assert inner(x) == 5.0  # with code of its own, as Python calls it
    assert len(inner.signatures) == 1


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="kernels are Python functions")
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_collected_before_and_after_compilation_alone(enabled, fails):
    seen = []

    def marker(x):
        return x

    @numba.extending.overload(marker)
    def _marker(x):
        seen.append(gc.isenabled())
        return None if fails else lambda x: x

    @compiled
    def marked(x):
        return marker(x)

    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        if fails:
            with pytest.raises(numba.TypingError):
                marked(1)
        else:
            assert marked(1) == 1
        got = gc.isenabled()
    finally:
        (gc.enable if before else gc.disable)()

    assert got is enabled
    assert not any(seen)
    assert seen
