"""The vector code against the plain loops and NumPy, for every width and row count, on several kinds of machine.

Run as a script it checks a few shapes on whatever machine Numba is told to compile for.
"""

import os
import subprocess
import sys
from pathlib import Path

import llvmlite.binding
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp

from fastals import ImplicitALS
from fastals.kernels.dense import blocks, plain
from fastals.kernels.dense import tiled as linear_algebra

WIDTHS = range(16, 257, 16)
COUNTS = range(41)
DTYPES = [np.float32, np.float64]


def close(got, expected, scale=1.0):
    """Equal up to the rounding errors of sums of terms of size ``scale``."""
    eps = np.finfo(got.dtype).eps
    np.testing.assert_allclose(got, expected, rtol=50 * eps, atol=50 * eps * scale)


def gathered(random, count, width, dtype):
    """Factors, row numbers in any order and repeated, weights, and two vectors that are longer than a row.

    The rows are filled up to a multiple of four with some that weigh nothing.
    """
    fours = (count + 3) // 4 * 4
    Y = random.normal(size=(60, width)).astype(dtype)
    indices = random.integers(0, 60, fours).astype(np.int32)
    weights, p, q = (random.normal(size=n).astype(dtype) for n in (fours, width + 16, width + 16))
    weights[count:] = 0
    return Y, indices, weights, p, q


def check_add_products(module, random, count, width, dtype):
    Y, indices, weights, p, q = gathered(random, count, width, dtype)
    rows = Y[indices].astype(np.float64)
    expected = q.astype(np.float64)
    dots = rows @ p[:width]
    expected[:width] += rows.T @ (weights * dots)

    curvature = module.add_products(Y, indices, weights, p, q)

    close(q, expected, scale=10 * np.sqrt(width) * (count + 1))
    close(np.asarray(curvature, dtype), weights @ dots**2, scale=10 * width * (count + 1))


def check_add_rows(module, random, count, width, dtype):
    Y, indices, weights, _, q = gathered(random, count, width, dtype)
    expected = q.astype(np.float64)
    expected[:width] += Y[indices].astype(np.float64).T @ weights

    module.add_rows(Y, indices, weights, q)

    close(q, expected, scale=count + 1)


def check_add_system(module, random, count, width, dtype):
    Y, indices, weights, x, q = gathered(random, count, width, dtype)
    targets, b = (random.normal(size=n).astype(dtype) for n in (indices.size, width + 16))
    targets[count:] = 0
    rows = Y[indices].astype(np.float64)
    expected, expected_b = q.astype(np.float64), b.astype(np.float64)
    expected[:width] += rows.T @ (weights * (rows @ x[:width]))
    expected_b[:width] += rows.T @ targets

    module.add_system(Y, indices, weights, targets, x, q, b)

    close(q, expected, scale=10 * np.sqrt(width) * (count + 1))
    close(b, expected_b, scale=count + 1)


def check_multiply_block(module, random, count, width, dtype):
    """Any number of columns, count here, or a part of them; nothing beyond them is read."""
    X = random.normal(size=(11, count + 1)).astype(dtype)
    B = random.normal(size=(count, width)).astype(dtype)
    X[:, count] = np.nan
    out, part = np.full((8, width), np.nan, dtype), slice(count // 3, count - count // 4)

    module.multiply_block(X, 2, 0, count, B, out, 0)

    close(out, X[2:10, :count].astype(np.float64) @ B, scale=count + 1)

    X[:, : part.start] = X[:, part.stop :] = np.nan
    whole = np.full((11, width + 5), 7, dtype)
    module.multiply_block(X, 2, part.start, part.stop, B, whole, 2 * (width + 5) + 3)

    close(whole[2:10, 3:-2], X[2:10, part].astype(np.float64) @ B[part], scale=count + 1)
    whole[2:10, 3:-2] = 7
    assert (whole == 7).all()


def check_add_gramian(module, random, count, width, dtype):
    W, Z = (random.normal(size=(41, width)).astype(dtype) for _ in range(2))
    W[count:] = np.nan
    A = random.normal(size=(width, width + 32)).astype(dtype)
    right, expected = A[:, width:].copy(), A[:, :width] + W[:count].astype(np.float64).T @ Z[:count]

    module.add_gramian(W, Z, count, width, A)

    upper = np.triu_indices(width)
    close(A[:, :width][upper], expected[upper], scale=count + 1)
    np.testing.assert_array_equal(A[:, width:], right)


def check_row_gramian(module, random, count, width, dtype):
    count = count // 4 * 4
    Z = random.normal(size=(64, width)).astype(dtype)
    K = np.full((64, 64), 7, dtype)

    module.row_gramian(Z, count, width, K)

    upper = np.triu_indices(count)
    expected = Z[:count].astype(np.float64) @ Z[:count].T
    close(K[:count, :count][upper], expected[upper], scale=width)
    assert (K[count:] == 7).all()
    assert (K[:, count:] == 7).all()


def positive_definite(random, size, dtype):
    Z = random.normal(size=(2 * size, size))
    return (Z.T @ Z / size + np.eye(size)).astype(dtype)


def check_factorise(module, random, count, width, dtype):
    """U with the columns past it, and the solution; what lies below the diagonal has no influence."""
    size = width if count == 0 else width // 16 * 8 if count == 8 else max(count // 8 * 8, 8)
    padded = size // 16 * 16 + 16
    matrix = positive_definite(random, size, dtype)
    right = random.normal(size=size).astype(dtype)
    A = np.zeros((size, padded + 16), dtype)
    A[:, :size] = np.triu(matrix) + np.tril(np.full((size, size), 7, dtype), -1)
    A[:, size] = right
    diagonal, x = np.empty((size // 8, 8, 8), dtype), np.full((size + 15) // 16 * 16 + 8, np.nan, dtype)

    assert module.factorise(A, size, padded, dtype(0), diagonal)
    module.back_substitute(A, size, size, diagonal, x)

    U = np.linalg.cholesky(matrix.astype(np.float64)).T
    upper = np.triu_indices(size)
    close(A[:, :size][upper], U[upper], scale=10)
    close(A[:, size], scipy.linalg.solve_triangular(U, right, trans="T"), scale=20)
    close(x[:size], np.linalg.solve(matrix.astype(np.float64), right), scale=20)


def check_subtract_rank_two(module, random, count, width, dtype):
    size = min(count // 8 * 8, width)
    A, lines = np.zeros((width, width), dtype), random.normal(size=(4, width)).astype(dtype)
    A[:] = random.normal(size=(width, width))
    A += A.T.copy()
    v, w, x, products = lines
    for line in (v, w, x):
        line[size:] = 0
    wide = A.astype(np.float64) - np.outer(v.astype(np.float64), w) - np.outer(w.astype(np.float64), v)
    expected = products.astype(np.float64)
    expected[:size] += wide[:size, :size] @ x[:size]

    module.subtract_rank_two(A, size, v, w, x, products)

    lower = np.tril_indices(size)
    close(A[lower], wide[lower], scale=10)
    close(products, expected, scale=10 * (width + 1))


CHECKS = {
    check.__name__.removeprefix("check_"): check
    for check in (
        check_add_products,
        check_add_rows,
        check_add_system,
        check_multiply_block,
        check_add_gramian,
        check_row_gramian,
        check_factorise,
        check_subtract_rank_two,
    )
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CHECKS)
def test_vector_code_equals_numpy(name, dtype):
    random = np.random.default_rng(0)
    for width in WIDTHS:
        for count in COUNTS:
            # A factorisation of a given size has but five counts.
            if name != "factorise" or count % 8 == 0:
                CHECKS[name](linear_algebra, random, count, width, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CHECKS)
def test_plain_loops_equal_numpy(name, dtype):
    random = np.random.default_rng(0)
    for width in (16, 48, 256):
        for count in (0, 1, 8, 19, 40):
            CHECKS[name](plain, random, count, width, dtype)


@pytest.mark.parametrize("module", [linear_algebra, plain])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [0, 7, 8, 21, 31])
def test_factorise_refuses_what_is_not_positive_definite(module, dtype, bad):
    matrix = positive_definite(np.random.default_rng(0), 32, dtype)
    matrix[bad, bad] = -1
    A = np.zeros((32, 64), dtype)
    A[:, :32] = matrix

    assert not module.factorise(A, 32, 48, dtype(0), np.empty((4, 8, 8), dtype))


@pytest.mark.parametrize("module", [linear_algebra, plain])
def test_factorise_refuses_nan_and_small_pivots(module):
    for value, floor in ((np.nan, 0.0), (1e-3, 1e-2)):
        A = np.zeros((16, 32))
        A[:, :16] = np.eye(16)
        A[9, 9] = value

        assert not module.factorise(A, 16, 32, floor, np.empty((2, 8, 8)))


def test_64_bit_indices():
    """Beyond 2^31 columns; the row numbers themselves are as any others."""
    Y, indices, weights, p, q = gathered(np.random.default_rng(0), 13, 32, np.float64)
    expected = q.copy()
    expected[:32] += Y[indices].T @ (weights * (Y[indices] @ p[:32]))

    linear_algebra.add_products(Y, indices.astype(np.int64), weights, p, q)

    close(q, expected, scale=100)
    b = np.zeros(32)
    linear_algebra.add_system(Y, indices.astype(np.int64), weights, weights, p, q, b)

    close(b, Y[indices].T @ weights, scale=100)
    expected[:32] += Y[indices].T @ (weights * (Y[indices] @ p[:32]))
    close(q, expected, scale=100)


def run(script: str, **settings: str) -> str:
    """Standard output of a script in a process with other settings of Numba."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**os.environ, "PYTHONPATH": path, **settings},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


MACHINES = {"128 bits": "", "256 bits": "+sse3,+ssse3,+sse4.1,+sse4.2,+avx,+avx2,+fma"}


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_vector_code_of_other_machines(machine):
    """What is emitted for shorter vectors and fewer registers than this machine's gives the same answers."""
    features = MACHINES[machine]
    host = llvmlite.binding.get_host_cpu_features()
    if not all(host.get(feature[1:], False) for feature in features.split(",") if feature):
        pytest.skip(f"this machine does not run {features}")

    got = run("import test_tiled as t; t.main()", NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES=features)

    assert got.split() == [machine.split()[0], *CHECKS]


def main() -> None:
    """Check a few shapes and print the width of the vectors and the names of the functions."""
    from numba import config

    from fastals.kernels.dense.emitter import vector_bits

    print(vector_bits(config.CPU_FEATURES))
    for name, check in CHECKS.items():
        for dtype in DTYPES:
            for width in (16, 32, 80):
                for count in (0, 7, 15, 16, 40):
                    check(linear_algebra, np.random.default_rng(count), count, width, dtype)
        print(name)


def small_fit(solver: str) -> np.ndarray:
    """Factors and losses of a small fit in one array."""
    dense = sp.random(12, 9, 0.5, random_state=3).toarray()
    dense[2] = 0
    R = sp.csr_array(dense)
    options = {"alpha": 20.0, "regularization": 0.05, "iterations": 4, "dtype": "float64", "random_state": 0}
    model = ImplicitALS(5, solver=solver, tol=1e-12, **options).fit(R)
    losses = [model.loss_history[-1], model.loss(R)]
    return np.concatenate((model.user_factors.ravel(), model.item_factors.ravel(), losses))


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["cg", "cholesky"])
def test_whole_fit_without_compiler(solver, tmp_path):
    path = tmp_path / "got.npy"
    script = f"import numpy as np, test_tiled as t; np.save({str(path)!r}, t.small_fit({solver!r}))"

    run(script, NUMBA_DISABLE_JIT="1")

    np.testing.assert_allclose(np.load(path), small_fit(solver), rtol=1e-9, atol=1e-11)


def test_compiled_blocks_are_the_vector_code():
    assert blocks.add_products is linear_algebra.add_products
