"""Whole fits as other processors run them: with shorter vectors and fewer instructions, the oracle's answers still.

``kernels/dense/test_tiled.py`` and ``serving/test_top_items.py`` do the same for the parts.
"""

import os
import subprocess
import sys
from pathlib import Path

import llvmlite.binding
import naive
import numpy as np
import pytest
import scipy.sparse as sp

from fastals import ImplicitALS

FACTORS = 20
AVX2 = "+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2,+f16c"


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


def run(settings: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import test_hosts; test_hosts.main()"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]), **settings},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
def test_this_host(solver):
    check(solver)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "features", "threads"),
    [("generic", "", "1"), ("haswell", AVX2, "2")],
    ids=["SSE2", "AVX2"],
)
def test_other_hosts(name, features, threads):
    host = llvmlite.binding.get_host_cpu_features()
    if not all(host.get(feature[1:], False) for feature in features.split(",") if feature):
        pytest.skip(f"this machine does not run {features}")

    got = run({"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features, "NUMBA_NUM_THREADS": threads})

    assert got.split() == [name, *([features] if features else [])]
