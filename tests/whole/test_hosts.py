"""Whole fits as other processors run them: with shorter vectors and fewer instructions, the oracle's answers still.

``kernels/dense/test_tiled.py`` and ``serving/test_top_items.py`` do the same for the parts.
"""

import itertools
import os
from pathlib import Path

import llvmlite.binding
import naive
import numpy as np
import pytest
import scipy.sparse as sp
from elsewhere import run_elsewhere

from fastals import ImplicitALS

FACTORS = 20
SSE = "+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt"
AVX2 = f"{SSE},+avx,+avx2,+fma,+bmi,+bmi2,+f16c"
AVX512 = f"{AVX2},+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl"
HOSTS = {
    "generic": "", "nehalem": SSE, "haswell": AVX2, "skylake-avx512": AVX512, "icelake-server": f"{AVX512},+avx512vbmi",
}  # fmt: skip
# Each compiles all kernels anew, for half a minute; the first is the farthest from any host, the long hunt takes all.
CASES = [("generic", "its own")]
DTYPES = ["float32"]
HUNTING = bool(os.environ.get("FASTALS_HUNT"))
if HUNTING:
    CASES += [case for case in itertools.product(HOSTS, ["its own", "the host's"]) if case not in CASES]
    DTYPES += ["float64"]
FIT_EVERY_WAY = """
import hashlib, numpy as np, scipy.sparse as sp
from fastals import ImplicitALS
R = sp.random(300, 200, 0.05, "csr", random_state=np.random.default_rng(1))
row = R[[0]]
ways = [(solver, dtype) for solver in ("cg", "cholesky") for dtype in DTYPES]
for solver, dtype in ways[:: STEP]:
    model = ImplicitALS(20, iterations=3, random_state=0, solver=solver, dtype=dtype).fit(R)
    parts = model.user_factors, model.item_factors, np.array(model.loss_history), *model.recommend(np.arange(300))
    parts += model.recalculate_user(0, row), model.loss(R)
    print(solver, dtype, hashlib.sha256(b"".join(np.asarray(part).tobytes() for part in parts)).hexdigest())
"""
CHECK = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_hosts; test_hosts.main()"


def ratings() -> np.ndarray:
    """Rows of every kind: empty, full (longer than the factors), short, with dislikes, with a huge value."""
    random = np.random.default_rng(0)
    R = random.integers(-1, 6, (60, 50)) * (random.random((60, 50)) < 0.2).astype(np.float64)
    R[0], R[1], R[:, 2] = random.integers(1, 6, 50), 0, 0
    R[3, 7] = 1e5
    return R


def start() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(60, FACTORS)).astype(np.float32)


def fitted(solver: str) -> ImplicitALS:
    options = {"alpha": 2.0, "regularization": 5.0, "regularization_exponent": 0.0, "tol": 1e-6, "iterations": 1}
    return ImplicitALS(FACTORS, solver=solver, **options).fit(sp.csr_array(ratings()), user_factors=start())


def check(solver: str) -> None:
    """One sweep in float32 against dense float64 solves, row by row, and the loss after it."""
    model = fitted(solver)
    terms = naive.terms(ratings(), alpha=2.0)
    users, items = naive.regularizations(ratings(), regularization=5.0)
    expected_items = naive.half_sweep(naive.transpose(terms), start(), items)
    expected_users = naive.half_sweep(terms, model.item_factors, users)

    for got, expected in ((model.item_factors, expected_items), (model.user_factors, expected_users)):
        errors = np.linalg.norm(got - expected, axis=1)
        assert (errors <= 2e-5 * np.linalg.norm(expected, axis=1)).all(), errors
    loss = naive.loss(terms, model.user_factors, model.item_factors, users, items)
    np.testing.assert_allclose(model.loss_history[-1], loss, rtol=1e-6)


def main() -> None:
    """Print what the code was compiled for, by itself a check that the settings arrived, and check both solvers."""
    from numba.core.registry import cpu_target

    check("cg")
    check("cholesky")
    print(*cpu_target.target_context.codegen().magic_tuple()[1:3])


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
def test_this_host(solver):
    check(solver)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "features"), CASES)
def test_other_hosts(tmp_path, name, features):
    """Compiled or loaded code, and whichever kernels came first: the same bytes, and the oracle's answers."""
    host = llvmlite.binding.get_host_cpu_features()
    if not all(host.get(feature[1:], False) for feature in HOSTS[name].split(",") if feature):
        pytest.skip(f"this machine does not run {HOSTS[name]}")
    settings = {"NUMBA_CPU_NAME": name} | ({"NUMBA_CPU_FEATURES": HOSTS[name]} if features == "its own" else {})
    every_way = FIT_EVERY_WAY.replace("DTYPES", repr(DTYPES))
    forwards, backwards, some = (every_way.replace("STEP", step) for step in ("1", "-1", "3"))

    fresh = run_elsewhere(forwards, tmp_path / "one", **settings).splitlines()
    loaded = run_elsewhere(backwards, tmp_path / "one", **settings).splitlines()

    assert any((tmp_path / "one").rglob("*.bin"))
    assert len(set(fresh)) == len(fresh) == 2 * len(DTYPES)
    assert loaded == fresh[::-1]
    for threads in ("1", "2"):
        compiled_for, *its_features = run_elsewhere(
            CHECK, tmp_path / "one", **settings, NUMBA_NUM_THREADS=threads
        ).split()
        assert compiled_for == name
        assert features == "the host's" or its_features == HOSTS[name].split()
    if HUNTING and name == "generic":  # in a cache that others have begun to fill
        assert run_elsewhere(some, tmp_path / "two", **settings).splitlines() == fresh[::3]
        assert run_elsewhere(backwards, tmp_path / "two", **settings).splitlines() == fresh[::-1]
