"""Both sides of the data: weights, preferences and lambda against the dense terms, and ranges of about equal cost."""

import naive
import numpy as np
import pytest
import scipy.sparse as sp

from fastals.core.unobserved import Unobserved
from fastals.core.validation import check_rows
from fastals.objective import Objective
from fastals.solver import sides as module
from fastals.solver.sides import Missing, balanced_bounds, build_side, build_sides, even_bounds, loss_of_zero

PARAMETERS = {
    "objective": "hu", "confidence": "linear", "alpha": 2.0, "epsilon": 1.0, "unobserved_weight": 0.5,
    "regularization": (0.3, 2.0), "regularization_exponent": 0.7,
}  # fmt: skip
FLOAT64 = np.dtype(np.float64)


def dense(side, part: np.ndarray, n_columns: int) -> np.ndarray:
    """A part of the stored pairs, one number for each or one for all, as a dense matrix."""
    values = np.broadcast_to(part, side.indices.shape)
    return sp.csr_array((values, side.indices, side.indptr), (side.indptr.size - 1, n_columns)).toarray()


@pytest.mark.parametrize("objective", ["hu", "rendle"])
@pytest.mark.parametrize("kind", ["likes", "dislikes", "given preferences"])
def test_sides_are_the_dense_terms(ratings, objective, kind):
    if kind == "dislikes":
        ratings.data[::3] *= -1
    phi = ratings.copy() if kind == "given preferences" else None
    R, parameters = ratings.toarray(), {**PARAMETERS, "objective": objective}
    checked = Objective.checked(**parameters)
    rows, given = check_rows(ratings, "user_items", preference=phi)
    terms = naive.terms(R, objective=objective, alpha=2.0, c0=0.5, preference=None if phi is None else R)
    # Without what all pairs add: c - c0, and c phi.
    weights = terms[0][0] - (0.5 if objective == "hu" else 0)
    lambdas = naive.regularizations(R, regularization=(0.3, 2.0), exponent=0.7, c0=0.5)

    sides = build_sides(checked, rows, given, FLOAT64)

    for side, W, T, regularization in (
        (sides[0], weights, terms[0][1], lambdas[0]),
        (sides[1], weights.T, terms[0][1].T, lambdas[1]),
    ):
        np.testing.assert_allclose(dense(side, side.entries.weight, W.shape[1]), W, rtol=1e-14)
        np.testing.assert_allclose(dense(side, side.entries.preference, W.shape[1]), T, rtol=1e-14)
        np.testing.assert_allclose(side.regularization, regularization, rtol=1e-14)
        assert side.bounds[[0, -1]].tolist() == [0, W.shape[0]]


@pytest.mark.parametrize("objective", ["hu", "rendle"])
@pytest.mark.parametrize("confidence", ["linear", "raw"])
@pytest.mark.parametrize("values", ["equal", "mixed", "given preferences"])
def test_loss_of_zero_is_that_of_all_pairs(ratings, monkeypatch, objective, confidence, values):
    monkeypatch.setattr(module, "CHUNK", 7)
    if values == "equal":
        ratings.data[:] = 3
    phi = ratings.copy() if values == "given preferences" else None
    R, parameters = ratings.toarray(), {**PARAMETERS, "objective": objective, "confidence": confidence}
    checked = Objective.checked(**parameters)
    users, items = build_sides(checked, *check_rows(ratings, "user_items", preference=phi), FLOAT64)
    c = np.where(R != 0, 2.0 * R + (0.5 if objective == "hu" and confidence == "linear" else 0), 0.0)
    expected = (c * (R if phi is not None else R > 0) ** 2).sum()

    for side in (users, items):
        assert loss_of_zero(side, checked) == pytest.approx(expected, rel=1e-12)


def test_least_regularization_is_that_of_a_row_with_one_entry(ratings):
    rows, _ = check_rows(ratings, "user_items")

    users, items = build_sides(Objective.checked(**PARAMETERS), rows, None, FLOAT64)

    assert users.least_regularization == pytest.approx(0.3 * (1 + 0.5 * 22) ** 0.7)
    assert items.least_regularization == pytest.approx(2.0 * (1 + 0.5 * 30) ** 0.7)


@pytest.mark.parametrize(("alpha", "unit"), [(2.0, 1.0), (2.0**30, 2.0**30)])
@pytest.mark.parametrize(
    ("exponent", "weighed", "expected"), [(0.0, None, 0.3), (0.7, None, 0.0), (0.0, "rows", 0.0), (0.0, "columns", 0.3)]
)
def test_shared_regularization(ratings, exponent, weighed, expected, alpha, unit):
    """lambda of the users, where all have the same and their missing pairs weigh alike."""
    rows, _ = check_rows(ratings, "user_items")
    missing = {
        "rows": (Unobserved.given(np.linspace(1, 3, 30), "v", 30), None),
        "columns": (None, Unobserved.given(np.linspace(0, 2, 22), "w", 22)),
    }
    checked = Objective.checked(**{**PARAMETERS, "regularization_exponent": exponent, "alpha": alpha})

    users, _ = build_sides(checked, rows, None, FLOAT64, missing.get(weighed, (None, None)))

    assert users.shared_regularization == users.shared_with(None) == expected / unit
    assert users.shared_with("features") == 0
    if expected:
        np.testing.assert_array_equal(users.regularization, users.shared_regularization)


@pytest.mark.parametrize("axis", [0, 1])
def test_one_side_alone_is_that_of_both(ratings, axis):
    """What a fold-in builds of rows is what a fit builds, bit for bit."""
    objective = Objective.checked(**PARAMETERS)
    expected = build_sides(objective, check_rows(ratings, "user_items")[0], None, FLOAT64)[axis]
    rows, _ = check_rows(ratings if axis == 0 else ratings.T, "user_items")

    got = build_side(objective, rows, axis, FLOAT64)

    for name in ("regularization", "least_regularization", "bounds", "shared_regularization"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name), err_msg=name)
    for name, value in got.entries._asdict().items():
        np.testing.assert_array_equal(value, getattr(expected.entries, name), err_msg=name)


@pytest.mark.parametrize("axis", [0, 1])
def test_single_rows_are_those_of_all(ratings, axis):
    """lambda of a single row is kept from request to request, and is that of the fit, bit for bit."""
    objective = Objective.checked(**PARAMETERS)
    missing = Unobserved.given(np.linspace(0.01, 3, 30), "v", 30), Unobserved.given(np.linspace(0, 2, 22), "w", 22)
    expected = build_sides(objective, check_rows(ratings, "user_items")[0], None, FLOAT64, missing)[axis]
    rows, _ = check_rows(ratings if axis == 0 else ratings.T, "user_items")
    own, other = missing[axis], missing[1 - axis]

    for again in range(2):
        for row in range(rows.shape[0]):
            one = np.array([row])
            taken = rows.taken(one)
            weights = Missing.of(own, other, own.of_rows(one, taken.counts))

            got = build_side(objective, taken, axis, FLOAT64, weights)

            assert got.regularization.tolist() == [expected.regularization[row]], (again, row)
            assert got.least_regularization == expected.least_regularization


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 1.7])
@pytest.mark.parametrize("c0", [0.02, 0.5])
def test_least_regularization_over_the_weights_of_all_rows(ratings, exponent, c0):
    """lambda / v of a row with one entry, for the v between the smallest and the largest that makes it least."""
    v, w = np.linspace(0.01, 3, 30), np.linspace(0, 2, 22)
    missing = Unobserved.given(v, "v", 30), Unobserved.given(w, "w", 22)
    checked = Objective.checked(**{**PARAMETERS, "regularization_exponent": exponent, "unobserved_weight": c0})

    users, _ = build_sides(checked, check_rows(ratings, "user_items")[0], None, FLOAT64, missing)

    between = np.linspace(0.01, 3, 100_000)
    expected = (0.3 * (1 + c0 * between * w.sum()) ** exponent / between).min()
    assert users.least_regularization == pytest.approx(expected, rel=1e-6)
    lambdas = naive.regularizations(
        ratings.toarray(), regularization=(0.3, 2.0), exponent=exponent, c0=c0, missing=(v, w)
    )
    np.testing.assert_allclose(users.regularization, lambdas[0], rtol=1e-12)


def test_weights_that_overflow_are_refused(ratings):
    missing = Unobserved.given(np.full(30, 1e15), "v", 30), Unobserved.given(np.full(22, 1e15), "w", 22)
    rows = check_rows(ratings, "user_items")[0]
    with pytest.raises(ValueError, match=r"unobserved_weights times unobserved_weight must stay below"):
        build_sides(Objective.checked(**PARAMETERS), rows, None, np.dtype(np.float32), missing)


@pytest.mark.parametrize("counts", [[1], [0, 0, 0], [5] * 1000, [0] * 500 + [100000] + [1] * 500, [3, 0, 2]])
def test_ranges_cover_all_rows_in_order(counts):
    indptr = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)

    got = balanced_bounds(indptr)

    assert got[0] == 0
    assert got[-1] == len(counts)
    assert (np.diff(got) > 0).all()
    assert even_bounds(len(counts))[[0, -1]].tolist() == [0, len(counts)]


@pytest.mark.parametrize("count", [0, 1, 5, 1023, 1024, 1025, 10**10 + 1])
@pytest.mark.parametrize("ranges", [1, 77, 1024])
def test_even_ranges_differ_by_one_row_at_the_most(count, ranges):
    got = even_bounds(count, ranges)

    assert got.dtype == np.int64
    assert (got[0], got[-1], got.size) == (0, count, min(ranges, count) + 1)
    sizes = np.diff(got)
    assert not sizes.size or sizes.max() - sizes.min() <= 1


def test_ranges_have_about_equal_cost():
    counts = np.random.default_rng(0).zipf(1.5, 20000).clip(max=2000)
    indptr = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)

    bounds = balanced_bounds(indptr)

    cost = np.diff(indptr[bounds]) + 16 * np.diff(bounds)
    assert cost.max() <= cost.mean() + 2016 + 16
