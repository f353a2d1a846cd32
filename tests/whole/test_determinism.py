"""One problem has one answer: whatever the order of users and items, which side is called users, the run or the form.

Other processors are in test_hosts.py, numbers of threads within a process in test_model.py, batches and threads of the
serving methods in test_serving.py.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from elsewhere import run_elsewhere
from hypothesis import given
from hypothesis import strategies as st
from problems import problems

import fastals
from fastals import ImplicitALS

FIT_ELSEWHERE = """
import hashlib, numpy as np, scipy.sparse as sp
from fastals import ImplicitALS
R = sp.random(300, 200, 0.05, "csr", random_state=np.random.default_rng(1))
for options in ({}, {"solver": "cholesky"}):
    model = ImplicitALS(20, iterations=3, random_state=0, **options).fit(R)
    parts = model.user_factors, model.item_factors, np.array(model.loss_history), *model.recommend(np.arange(300))
    print(hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest())
"""


@given(problems(), st.sampled_from(["cg", "cholesky"]), st.randoms(use_true_random=False))
def test_permuted_users_and_items_have_permuted_factors(problem, solver, random):
    """To rounding, from a permuted start."""
    users, items = (np.array(random.sample(range(size), size), int) for size in problem.R.shape)
    P, _ = problem.start()
    options = {"solver": solver, "tol": 1e-12, "iterations": 2}
    regularization = np.min(problem.parameters["regularization"])

    expected = problem.model(**options).fit(**problem.data, user_factors=P)
    problem.R, problem.preference = (
        part if part is None else part[users][:, items] for part in (problem.R, problem.preference)
    )
    if problem.unobserved_weights is not None:
        v, w = problem.unobserved_weights
        problem.unobserved_weights = v[users], w[items]
    got = problem.model(**options).fit(**problem.data, user_factors=P[users])

    scale = np.abs(expected.user_factors).max() + np.abs(expected.item_factors).max()
    error = 1e-7 * max(1, 1 / regularization) * scale
    np.testing.assert_allclose(got.user_factors, expected.user_factors[users], atol=error)
    np.testing.assert_allclose(got.item_factors, expected.item_factors[items], atol=error)
    np.testing.assert_allclose(got.loss_history, expected.loss_history, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["cg", "cholesky"])
@pytest.mark.parametrize("objective", ["hu", "rendle"])
def test_the_transpose_has_the_mirrored_model(ratings, dtype, solver, objective):
    """Bit for bit. From P_0 a sweep solves Q_1, P_1; on the transpose it solves P_1, Q_2, after Q_1 from the start."""
    options = {"factors": 20, "solver": solver, "dtype": dtype, "objective": objective, "confidence": "log"}
    mirrored_weights = {**options, "unobserved_exponent": (0.5, 0.3)}
    options["unobserved_exponent"] = (0.3, 0.5)
    P = np.random.default_rng(0).normal(size=(30, 20))

    plain, longer = (
        ImplicitALS(iterations=sweeps, regularization=(0.03, 0.2), **options).fit(ratings, user_factors=P)
        for sweeps in (3, 4)
    )
    mirrored = ImplicitALS(iterations=3, regularization=(0.2, 0.03), **mirrored_weights).fit(ratings.T, item_factors=P)

    np.testing.assert_array_equal(mirrored.item_factors, plain.user_factors)
    np.testing.assert_array_equal(mirrored.user_factors, longer.item_factors)
    assert mirrored.loss_history[-1] < plain.loss_history[-1]


@pytest.mark.slow
def test_every_process_and_number_of_threads_gives_the_same_bytes(tmp_path):
    """The first process compiles, the others load what it has left beside a copy of the package."""
    package = Path(fastals.__file__).parent
    shutil.copytree(package, tmp_path / "fastals", ignore=shutil.ignore_patterns("__pycache__"))
    found = {
        run_elsewhere(FIT_ELSEWHERE, tmp_path, NUMBA_NUM_THREADS=threads, PYTHONHASHSEED=threads)
        for threads in ("2", "1", "4")
    }

    assert any(tmp_path.rglob("*.bin"))
    assert len(found) == 1
    assert len(found.pop().split()) == 2


@pytest.mark.parametrize("alpha", ["auto", 3.0])
@pytest.mark.parametrize("confidence", ["linear", "log"])
def test_values_of_either_width_give_the_same_model(alpha, confidence):
    """float32 values, and the same numbers in float64, in any format; sums over them must not round differently."""
    R = sp.random(60, 50, 0.2, "csr", random_state=np.random.default_rng(2), dtype=np.float32)
    options = {"factors": 5, "iterations": 2, "random_state": 0, "alpha": alpha, "confidence": confidence}

    expected = ImplicitALS(**options).fit(R)

    for form in ("csr", "csc", "coo", "lil", "dok", "bsr"):
        got = ImplicitALS(**options).fit(R.astype(np.float64).asformat(form))
        assert got.alpha_ == expected.alpha_
        np.testing.assert_array_equal(got.user_factors, expected.user_factors)
        np.testing.assert_array_equal(got.item_factors, expected.item_factors)
        assert got.loss_history == expected.loss_history


@pytest.mark.parametrize("seed", [0, 1])
def test_order_of_the_entries_makes_no_difference(seed):
    """Coordinates in any order, with every value in three parts, whose float64 sum depends on their order."""
    random = np.random.default_rng(seed)
    R = sp.random(40, 30, 0.2, "coo", random_state=random, dtype=np.float64)
    parts = [(R.data * share).round(12) for share in (0.3, 0.5, 0.2)]
    row, column, data = np.tile(R.row, 3), np.tile(R.col, 3), np.concatenate(parts)

    models = []
    for _ in range(2):
        order = random.permutation(data.size)
        shuffled = sp.coo_array((data[order], (row[order], column[order])), R.shape)
        models.append(ImplicitALS(4, dtype="float64", iterations=2, random_state=0).fit(shuffled))

    np.testing.assert_allclose(models[0].user_factors, models[1].user_factors, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(models[0].item_factors, models[1].item_factors, rtol=1e-9, atol=1e-12)
