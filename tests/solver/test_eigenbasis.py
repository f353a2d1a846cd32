"""Gramian, rotation and eigenbasis equal NumPy's, and are the same for any number of threads, the caller's included."""

import numpy as np
import pytest
import scipy.sparse as sp
from layers import LAYERS, needs_fork, run_under_layer

from fastals import ImplicitALS
from fastals.kernels import factors as kernels
from fastals.solver import eigenbasis as module
from fastals.solver.eigenbasis import (
    PARTIAL_SUMS,
    basis_of,
    cholesky,
    eigenbasis,
    gramian,
    in_panels,
    rotate,
    tiling,
)

SHAPES = [(1, 1), (5, 3), (700, 20), (3000, 64), (900, 130), (700, 300), (500, 400), (300, 700)]


@pytest.fixture(params=["small", "large"])
def work(request, monkeypatch):
    """Whether there is so little work that one thread does it all."""
    if request.param == "large":
        monkeypatch.setattr(module, "SERIAL_FLOPS", 0.0)
        monkeypatch.setattr(module, "SERIAL_SUMS", 0)


def random_factors(count: int, factors: int, dtype: type) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, factors)).astype(dtype)


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("count", "factors"), SHAPES)
def test_gramian(count, factors, dtype):
    X, weights = random_factors(count, factors, dtype), np.random.default_rng(1).random(count)
    exact = X.astype(np.float64)

    G, penalty = gramian(X, weights, 2)

    np.testing.assert_allclose(G, exact.T @ exact, rtol=0, atol=1e-13 * count)
    np.testing.assert_allclose(penalty, weights @ (exact**2).sum(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(G, G.T)


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("count", "factors"), SHAPES)
@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_same_bits_on_the_calling_thread_and_on_others(shared, count, factors, dtype):
    Y, regularization = random_factors(count, factors, dtype), np.full(count, 0.5)

    expected, *others = (eigenbasis(Y, regularization, 0.3, threads, shared=shared) for threads in (1, 2, None))

    for got in others:
        np.testing.assert_array_equal(got.rotated, expected.rotated)
        np.testing.assert_array_equal(got.spectrum, expected.spectrum)
        assert got.penalty == expected.penalty


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("count", [1, 63, 64, 65, 1000])
def test_rotation_may_be_in_place(count, threads):
    X, B = random_factors(count, 32, np.float32), random_factors(32, 32, np.float32)
    expected = X.astype(np.float64) @ B

    rotate(X, in_panels(B, 32, X), threads, X)

    np.testing.assert_allclose(X, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("factors", [1, 20, 64, 130])
def test_whitened_factors(factors, dtype):
    """In z = L'x the system c0 G + lambda I is the identity: A becomes Y T (Y T)', T = L'^-1, beside it."""
    Y, eps = random_factors(300, factors, dtype), np.finfo(dtype).eps
    P = 0.3 * Y.T.astype(np.float64) @ Y + 2.0 * np.eye(factors)

    basis = eigenbasis(Y, np.full(300, 0.5), 0.3, 2, shared=2.0)

    assert basis.whitened
    assert (basis.spectrum == 1).all()
    got, padding = np.split(basis.rotated.astype(np.float64), [factors], axis=1)
    np.testing.assert_allclose(got @ got.T, Y @ np.linalg.solve(P, Y.T.astype(np.float64)), rtol=0, atol=100 * eps)
    assert not padding.any()
    assert basis.penalty == pytest.approx(0.5 * (Y.astype(np.float64) ** 2).sum(), rel=1e-6)
    X = random_factors(50, factors, dtype)
    z, again = np.zeros((50, basis.spectrum.size), dtype), np.empty_like(X)
    rotate(X, basis.into, 1, z)
    rotate(z, basis.back, 1, again)
    lengths = np.einsum("uk,kl,ul->u", X, P, X)
    np.testing.assert_allclose((z.astype(np.float64) ** 2).sum(axis=1), lengths, rtol=100 * eps)
    np.testing.assert_allclose(again, X, rtol=0, atol=100 * eps)


def test_rows_of_the_other_side_are_whitened_by_the_gramian_that_is_given():
    G, chosen = np.array([[5.0, 2.0], [2.0, 1.0]]), np.array([[1.0, 0.0], [0.0, 3.0]])

    basis = basis_of(chosen, G, 7.0, 0.5, 1, shared=0.25)

    got = basis.rotated[:, :2]
    np.testing.assert_allclose(got @ got.T, chosen @ np.linalg.inv(0.5 * G + 0.25 * np.eye(2)) @ chosen.T, rtol=1e-12)
    assert basis.penalty == 7.0


@pytest.mark.parametrize(
    ("G", "shared"),
    [
        (np.diag([1.0, 2.0]), 0.0),
        (np.diag([1.0, 2.0]), 1e-40),
        (np.diag([1.0, 2.0]), 1e40),
        (np.diag([1.0, 2.0]), 1e-14),  # no more than the rounding errors of float32
        (np.diag([1.0, 1e31]), 1e29),
        (np.diag([1.0, -0.9]), 0.1),  # a sum of changes may end like this
        (np.zeros((2, 2)), 0.0),
    ],
)
def test_the_eigenbasis_stays_where_whitening_would_not_do(G, shared):
    basis = basis_of(np.eye(2, dtype=np.float32), G, 0.0, 1.0, 1, shared=shared)

    assert not basis.whitened
    np.testing.assert_allclose(basis.spectrum[:2], np.sort(np.maximum(np.diag(G), 0)))


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
@pytest.mark.parametrize("weights", [(0.0, 0.0), (0.0, 0.5)])
def test_whitened_fits_are_those_of_the_eigenbasis(ratings, monkeypatch, solver, weights):
    options = {"factors": 8, "alpha": 2.0, "regularization": 0.5, "regularization_exponent": 0.0, "iterations": 6}
    options |= {"unobserved_exponent": weights, "solver": solver, "tol": 1e-11, "max_cg_steps": 200}
    fitted = [ImplicitALS(**options, dtype="float64", random_state=0).fit(ratings)]
    monkeypatch.setattr(module, "WHITENED", (1.0, 0.0))
    fitted.append(ImplicitALS(**options, dtype="float64", random_state=0).fit(ratings))

    got, expected = fitted
    np.testing.assert_allclose(got.loss_history, expected.loss_history, rtol=1e-9)
    np.testing.assert_allclose(got.user_factors, expected.user_factors, rtol=0, atol=1e-7)
    np.testing.assert_allclose(got.item_factors, expected.item_factors, rtol=0, atol=1e-7)
    assert (got.user_factors != expected.user_factors).any()


@pytest.mark.parametrize(("value", "c0"), [(1e300, 1.0), (1.5e308, 1.0), (np.inf, 1.0), (np.inf, 0.0), (np.nan, 1.0)])
def test_factors_that_have_overflowed_are_told(value, c0):
    """Without warnings of NumPy's on the way."""
    with pytest.raises(FloatingPointError, match="the factors have overflowed float32"):
        basis_of(np.eye(2, dtype=np.float32), np.diag([value, value]), 0.0, c0, 1, shared=1.0)


@pytest.mark.parametrize("size", [1, 31, 32, 33, 64, 129, 256])
def test_cholesky(size):
    X = np.random.default_rng(0).standard_normal((size + 20, size))
    P = X.T @ X

    L, inverse = cholesky(P)

    np.testing.assert_allclose(L, np.linalg.cholesky(P), rtol=0, atol=1e-12 * size)
    np.testing.assert_allclose(inverse @ L, np.eye(size), rtol=0, atol=1e-12)
    assert not np.triu(inverse, 1).any()


@pytest.mark.parametrize("place", [0, 40, 99])
def test_cholesky_of_what_is_not_positive_definite(place):
    P = np.eye(100)
    P[place, place] = -1e-3

    with pytest.raises(np.linalg.LinAlgError):
        cholesky(P)


def test_overflow_is_told_by_what_is_not_finite():
    X = np.full((40, 3), 1e200)

    for threads in (1, 2):
        G, penalty = gramian(X, np.ones(40), threads)
        assert not np.isfinite(G).any()
        assert penalty == np.inf


@pytest.mark.parametrize(
    ("count", "factors", "least"),
    [
        (41_000, 64, 64),
        (41_000, 256, 20),
        (6_000, 256, 20),
        (1_000_000, 64, 256),
        (1_000_000, 256, 128),
        (30_000, 2048, 128),
    ],
)
def test_there_are_tasks_for_many_threads_and_memory_is_bounded(count, factors, least):
    edge, places, bounds = tiling(count, factors)
    ranges = bounds.size - 1

    assert ranges * len(places) >= least
    assert ranges * len(places) * edge**2 <= max(PARTIAL_SUMS, 4 * factors**2)
    assert bounds[[0, -1]].tolist() == [0, count]


def test_the_calling_thread_runs_the_overloads_of_the_others(monkeypatch):
    """Else one row's fold-in would wait for a compilation of its own."""
    monkeypatch.setattr(module, "SERIAL_FLOPS", 0.0)
    monkeypatch.setattr(module, "SERIAL_SUMS", 0)
    serial = (kernels.gramian_task, kernels.sum_task, kernels.rotate_task)
    if not hasattr(kernels.rotate_task, "signatures"):
        pytest.skip("nothing is compiled")
    X, frozen = random_factors(400, 300, np.float32), random_factors(400, 300, np.float32)
    frozen.flags.writeable = False
    eigenbasis(X, np.ones(400), 1.0, 2)
    before = [len(kernel.signatures) for kernel in serial]

    eigenbasis(X, np.ones(400), 1.0, 1)
    eigenbasis(frozen, np.ones(400), 1.0, 1)

    assert [len(kernel.signatures) for kernel in serial] == before


FORK = """
import os, signal
import numba, numpy as np
from fastals.solver.eigenbasis import eigenbasis

Y = np.random.default_rng(0).standard_normal((9000, 64)).astype(np.float32)
expected = eigenbasis(Y, np.ones(9000), 1.0, 1)
try:
    print(numba.threading_layer())
except ValueError:
    print("not started", flush=True)
child = os.fork()
if child == 0:
    signal.alarm(60)
    for threads in (1, 2):
        got = eigenbasis(Y, np.ones(9000), 1.0, threads)
        print(np.array_equal(got.rotated, expected.rotated), flush=True)
    os._exit(0)
print("status", os.waitpid(child, 0)[1])
"""


@needs_fork
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.slow
def test_one_thread_starts_none_so_that_children_can(layer):
    assert run_under_layer(layer, "-c", FORK) == ["not started", "True", "True", "status 0"]


@pytest.mark.filterwarnings("ignore:.* rows are underdetermined:RuntimeWarning")
@pytest.mark.parametrize("solver", ["cg", "cholesky"])
@pytest.mark.parametrize("weight", [0.0, 1e-30])
def test_directions_of_items_whose_missing_pairs_weigh_nothing_stay(solver, weight):
    """The Gramian lacks them, the rows that have such an item do not."""
    random = np.random.default_rng(0)
    Q, w = random.normal(size=(6, 6)), np.array([weight, 1, 1, 1, 1, 1])
    R = sp.csr_array(np.ones((4, 6)))
    model = ImplicitALS(
        6, alpha=40.0, regularization=0.0, objective="rendle", dtype="float64", iterations=0, solver=solver, tol=1e-12
    ).fit(R, item_factors=Q, user_factors=np.ones((4, 6)), unobserved_weights=(None, w))

    got = model.recalculate_user(np.arange(4))

    A = (Q.T * (40 + w)) @ Q
    np.testing.assert_allclose(got @ A, np.tile(40 * Q.sum(axis=0), (4, 1)), rtol=1e-7)
