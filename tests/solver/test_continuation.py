"""Dense data: iterations start where the sweeps before them lead, and end where they would from zero."""

import naive
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from problems import problems

from fastals import ImplicitALS
from fastals.core.state import State
from fastals.core.validation import check_rows
from fastals.kernels.rows.cg_rows import cg_scratch_for, iterate_rows
from fastals.kernels.rows.conjugate_gradient import Stop
from fastals.kernels.rows.row import REPORTS, STEPS, Ranges, System
from fastals.objective import Objective
from fastals.persistence.checkpoint import Checkpoint, read_state
from fastals.solver.continuation import change_weights, continued, most_terms
from fastals.solver.eigenbasis import aligned_factors, eigenbasis
from fastals.solver.fitting import Given, prepare, run
from fastals.solver.half import Half
from fastals.solver.half_sweep import Settings, solve_side
from fastals.solver.sides import build_sides
from fastals.solver.sweeps import LOOSEST, Training

N_USERS, N_ITEMS, FACTORS = 130, 75, 12
PLAIN = {"acceleration": False, "tol": 1e-5}  # three changes are followed
PARAMETERS = {"objective": "hu", "confidence": "linear", "alpha": 10.0, "unobserved_weight": 1.0, "epsilon": 1.0}


@pytest.fixture(scope="module")
def likes() -> sp.csr_array:
    """Two of three pairs of most users, and some users with no item or one alone."""
    random = np.random.default_rng(0)
    scores = random.normal(size=(N_USERS, 5)) @ random.normal(size=(5, N_ITEMS)) + random.normal(size=N_ITEMS)
    dense = (scores > -1).astype(np.float32)
    dense[::17] = 0
    dense[1::17, 3:] = 0
    return sp.csr_array(dense)


def unfitted(**parameters) -> ImplicitALS:
    settings = {**PARAMETERS, "regularization": 1.0, "regularization_exponent": 0.0, "iterations": 9, "random_state": 0}
    return ImplicitALS(FACTORS, **{**settings, **parameters})


def from_zero(monkeypatch) -> None:
    monkeypatch.setattr(Training, "_guessed", lambda training, half: False)


def accurately(monkeypatch) -> None:
    """Every sweep is solved to the tolerance asked for, so that sweeps can be compared digit by digit."""
    monkeypatch.setattr(Training, "_paying_tolerance", lambda training: training.settings.tolerance)


@pytest.mark.parametrize("acceleration", [True, False])
def test_fewer_steps(likes, monkeypatch, acceleration):
    got = unfitted(acceleration=acceleration, iterations=20).fit(likes).solver_report_["cg_steps"]
    from_zero(monkeypatch)
    expected = unfitted(acceleration=acceleration, iterations=20).fit(likes).solver_report_["cg_steps"]

    assert got < 0.8 * expected


@pytest.mark.parametrize("acceleration", [True, False])
def test_the_same_factors(likes, monkeypatch, acceleration):
    accurately(monkeypatch)
    parameters = {"acceleration": acceleration, "dtype": "float64", "tol": 1e-9}
    got = unfitted(**parameters).fit(likes)
    from_zero(monkeypatch)
    expected = unfitted(**parameters).fit(likes)

    np.testing.assert_allclose(got.item_factors, expected.item_factors, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(got.user_factors, expected.user_factors, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(got.loss_history, expected.loss_history, rtol=1e-9)


def test_plain_sweeps_are_those_of_the_dense_oracle(likes):
    R = likes.toarray()
    terms = naive.terms(R, c0=1.0, preference=None, objective="hu", confidence="linear", alpha=10.0, epsilon=1.0)
    P = np.random.default_rng(2).normal(size=(N_USERS, FACTORS))
    losses = []
    model = unfitted(dtype="float64", tol=1e-10).fit(likes, user_factors=P)
    for _ in range(9):
        Q = naive.half_sweep(naive.transpose(terms), P, np.ones(N_ITEMS))
        P = naive.half_sweep(terms, Q, np.ones(N_USERS))
        losses.append(naive.loss(terms, P, Q, np.ones(N_USERS), np.ones(N_ITEMS)))

    np.testing.assert_allclose(model.item_factors, Q, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(model.user_factors, P, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(model.loss_history, losses, rtol=1e-9)


@pytest.mark.parametrize("acceleration", [True, False])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
def test_error_keeps_to_the_tolerance(likes, acceleration, tolerance):
    terms = naive.terms(
        likes.toarray(), c0=1.0, preference=None, objective="hu", confidence="linear", alpha=10.0, epsilon=1.0
    )
    errors = []

    def measure(model, sweep, loss):
        if sweep >= 2:
            errors.append(naive.energy_errors(terms, model.user_factors, model.item_factors, np.ones(N_USERS)).max())

    model = unfitted(acceleration=acceleration, tol=tolerance).fit(likes, callback=measure)

    assert 0 < max(errors) < (LOOSEST if acceleration else tolerance)
    assert len(errors) == 7
    measure(model, 9, model.loss_history[-1])
    assert 0 < errors[-1] < tolerance


@given(problems(), st.booleans(), st.sampled_from([1e-2, 1e-6]))
def test_error_keeps_to_the_tolerance_whatever_the_problem(problem, acceleration, tolerance):
    """Where every row starts from a guess, worth it or not."""
    residuals, errors = [], []
    users, _ = problem.regularizations

    def measure(model, sweep, loss):
        P, Q = model.user_factors, model.item_factors
        residuals.append(naive.residuals(problem.terms, P, Q, users, problem.missing).max())
        errors.append(naive.energy_errors(problem.terms, P, Q, users).max())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastals.solver.continuation.GUESS_COST", -1.0)
        patch.setattr("fastals.solver.half_sweep.GUESSED_FROM", 1000)
        model = problem.model(iterations=6, tol=tolerance, acceleration=acceleration, random_state=0, max_cg_steps=200)
        model.fit(**problem.data, callback=measure)
    measure(model, 6, model.loss_history[-1])

    assert max(residuals) <= 1.01 * (LOOSEST if acceleration else tolerance)
    assert residuals[-1] <= 1.01 * tolerance
    if problem.parameters["confidence"] != "raw":  # no negative weights
        assert max(errors) <= 1.01 * (LOOSEST if acceleration else tolerance)
        assert errors[-1] <= 1.01 * tolerance
    if problem.preference is None:
        np.testing.assert_array_equal(model.recalculate_user(np.arange(len(users))), model.user_factors)


@pytest.mark.parametrize("acceleration", [True, False])
@pytest.mark.parametrize("stop", [None, 4])
def test_fold_in_gives_the_trained_users_bit_for_bit(likes, acceleration, stop):
    seen = []

    def callback(model, sweep, loss):
        seen.append(model.user_factors.copy())
        return sweep == stop

    model = unfitted(acceleration=acceleration).fit(likes, callback=callback)

    np.testing.assert_array_equal(model.recalculate_user(np.arange(N_USERS)), model.user_factors)
    assert not np.array_equal(model.user_factors, seen[-1]), "the last sweep's users had no guess"
    np.testing.assert_allclose(model.user_factors, seen[-1], atol=1e-2)
    assert model.loss_history[-1] == pytest.approx(model.loss(likes), rel=1e-5)  # float32 of sum c phi^2


@pytest.mark.parametrize("name", ["user_factors", "item_factors"])
def test_factors_that_a_callback_puts_in_stay(likes, name):
    def put_in(model, sweep, loss):
        if sweep == 8:
            setattr(model, name, np.full(getattr(model, name).shape, 3, np.float32))

    assert (getattr(unfitted().fit(likes, callback=put_in), name) == 3).all()


def test_threads_make_no_difference(likes):
    one, two = (unfitted(num_threads=n).fit(likes) for n in (1, 2))

    np.testing.assert_array_equal(one.user_factors, two.user_factors)
    np.testing.assert_array_equal(one.item_factors, two.item_factors)


class BreakError(Exception):
    pass


@pytest.mark.parametrize("parameters", [{"acceleration": True}, {"acceleration": False}, PLAIN], ids=str)
@pytest.mark.parametrize("sweeps", [1, 2, 3, 4, 5, 6, 9])
def test_resumption_equals_a_fit_without_a_break(likes, tmp_path, parameters, sweeps):
    whole = unfitted(**parameters).fit(likes)

    def break_there(model, sweep, loss):
        if sweep + 1 == sweeps:
            raise BreakError

    checkpoint = Checkpoint(tmp_path / "state")
    with pytest.raises(BreakError):
        checkpoint.fit(unfitted(**parameters), likes, callback=break_there)
    state = read_state(checkpoint.path)
    assert (state.previous_users == ()) == (sweeps < 3)
    got = checkpoint.fit(unfitted(**parameters), likes)

    np.testing.assert_array_equal(got.user_factors, whole.user_factors)
    np.testing.assert_array_equal(got.item_factors, whole.item_factors)
    assert got.loss_history == whole.loss_history
    assert got.solver_report_ == whole.solver_report_


def test_an_extrapolation_that_goes_too_far_is_taken_back(likes, monkeypatch):
    accurately(monkeypatch)
    parameters = {"dtype": "float64", "tol": 1e-10}
    plain = unfitted(**parameters, acceleration=False).fit(likes)
    monkeypatch.setattr(Training, "_next_momentum", lambda training: 1000.0)

    got = unfitted(**parameters, acceleration=True).fit(likes)

    np.testing.assert_allclose(got.loss_history, plain.loss_history, rtol=1e-9)
    np.testing.assert_allclose(got.user_factors, plain.user_factors, rtol=1e-6, atol=1e-7)


def test_direct_solutions_and_sparse_data_go_without(likes, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a guess")

    monkeypatch.setattr(Training, "_continued", refuse)
    unfitted(solver="cholesky").fit(likes)
    unfitted().fit(sp.random(N_USERS, N_ITEMS, density=0.05, random_state=0, format="csr"))
    with pytest.raises(AssertionError, match="a guess"):
        unfitted().fit(likes)


@pytest.mark.parametrize("terms", [1, 2, 3])
@pytest.mark.parametrize("n", [4, 5, 20])
def test_the_next_change_of_a_series(terms, n):
    """Whatever its coefficients."""
    coefficients = np.random.default_rng(0).normal(size=terms)

    def change(m):
        return sum(c / np.prod(np.arange(m, m + j + 1.0)) for j, c in enumerate(coefficients, 1))

    got = np.dot(change_weights(n, terms), [change(n - i) for i in range(terms)])

    assert got == pytest.approx(change(n + 1), rel=1e-12)


def half_of(likes, earlier):
    """The users' half after so many solutions, of which all but the last are still there."""
    _, users, _ = items_side(likes, np.float32)
    half = Half(users, np.zeros((N_USERS, 16), np.float32))
    for n in range(earlier + 1):
        solved = half.buffer()
        solved[:] = np.random.default_rng(n).normal(size=solved.shape)
        half.advance(solved, keep=n > 0)
    return half


@pytest.mark.parametrize(
    ("n", "earlier", "most", "expected", "kept"),
    [
        (2, 1, 3, [], 1),  # no series yet
        (3, 2, 3, [3 / 5], 2),
        (4, 3, 3, [8 / 7, -2 / 7], 2),
        (9, 3, 3, [27 / 13, -18 / 13, 42 / 143], 2),
        (9, 2, 2, [18 / 12, -6 / 11], 1),
        (9, 1, 3, [9 / 11], 1),  # those before are not there
        (9, 1, 1, [9 / 11], 0),
        (9, 0, 3, [], 0),
    ],
)
def test_guess(likes, n, earlier, most, expected, kept):
    half = half_of(likes, earlier)
    solutions = [array.astype(float) for array in (half.factors, *half.earlier)]
    guess = solutions[0] + sum(w * (x - y) for w, x, y in zip(expected, solutions, solutions[1:], strict=False))

    got = continued(half, n, most, 1)

    np.testing.assert_allclose(got, guess, rtol=0, atol=1e-5)
    assert (got is half.factors) == (not expected)
    assert len(half.earlier) == kept
    assert all(np.array_equal(a, b) for a, b in zip(half.earlier, solutions[1:], strict=False))


@pytest.mark.parametrize(
    ("accelerated", "n", "tolerance", "expected"),
    [(True, 5, 1e-6, 1), (False, 8, 1e-3, 3), (False, 9, 1e-3, 2), (False, 18, 1e-4, 3), (False, 19, 1e-4, 2)],
)
def test_more_changes_are_followed_where_solutions_are_accurate(accelerated, n, tolerance, expected):
    assert most_terms(accelerated, n, tolerance) == expected


def test_more_changes_spare_steps(likes, monkeypatch):
    def steps():
        training, rows = prepare(unfitted(**PLAIN), State(), Given(likes))
        run(training, rows, 16, None, False)
        return sum(half.steps for sweep in training.reports for half in sweep)

    got = [steps()]
    for terms in (2, 1):
        monkeypatch.setattr("fastals.solver.sweeps.most_terms", lambda *state, terms=terms: terms)
        got.append(steps())

    assert got[0] < 0.95 * got[1] < 0.95**2 * got[2]


def test_states_of_all_sweeps_stay_as_they_were(likes):
    """Whatever later sweeps write, and where."""
    training, _ = prepare(unfitted(**PLAIN), State(), Given(likes))
    kept, copies = [], []

    for sweep in range(12):
        training.sweep()
        if sweep % 6 != 5:  # factors of the sweeps before are lent as earlier ones alone
            continue
        state = training.state()
        kept += [state.user_factors, state.item_factors, *state.previous_items, *state.previous_users]
        copies += [np.array(array) for array in kept[len(copies) :]]

    assert len(state.previous_items) == len(state.previous_users) == 3
    for got, expected in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_no_more_arrays_than_are_needed(likes):
    """A side's factors, two solutions before them, the guess and what is solved; one of them is rotated later."""
    training, rows = prepare(ImplicitALS(16, **{**PARAMETERS, **PLAIN, "random_state": 0}), State(), Given(likes))
    run(training, rows, 12, None, False)

    for half in (training.users, training.items):
        assert len(half.earlier) == 3
        assert 1 + len(half.earlier) + len(half._free) == 5


def items_side(likes, dtype):
    """Users' side, and the basis of random items."""
    objective = Objective.checked(**PARAMETERS, regularization=1.0, regularization_exponent=0.0)
    users, _ = build_sides(objective, *check_rows(likes, "user_items"), np.dtype(dtype))
    Y = np.random.default_rng(3).normal(size=(N_ITEMS, FACTORS)).astype(dtype)
    return objective, users, eigenbasis(Y, np.ones(N_ITEMS), 1.0, 1, aligned_factors(Y))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_guesses_that_are_worse_than_zero_are_dropped(likes, dtype, value):
    objective, users, basis = items_side(likes, dtype)
    settings = Settings("cg", 1e-4, 100, 1)
    expected, got = np.zeros((2, N_USERS, FACTORS), dtype)
    report = solve_side(users, basis, expected, objective, settings)
    current = np.full((N_USERS, FACTORS), value, dtype)

    got_report = solve_side(users, basis, got, objective, settings, current)

    np.testing.assert_array_equal(got, expected)
    assert got_report == report


def test_the_guess_may_lie_where_the_solutions_will(likes):
    objective, users, basis = items_side(likes, np.float32)
    settings = Settings("cg", 1e-4, 100, 1)
    expected = np.zeros((N_USERS, FACTORS), np.float32)
    steps = solve_side(users, basis, expected, objective, settings).steps
    guess = (expected * (1 + 0.01 * np.random.default_rng(4).normal(size=(N_USERS, 1)))).astype(np.float32)
    apart, there, given = np.zeros_like(expected), guess.copy(), guess.copy()

    report = solve_side(users, basis, apart, objective, settings, guess)
    again = solve_side(users, basis, there, objective, settings, there)

    np.testing.assert_array_equal(there, apart)
    np.testing.assert_array_equal(guess, given)
    assert report == again
    assert report.steps < steps
    np.testing.assert_allclose(apart, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("least", [1, 2, 40, 60])
def test_each_row_starts_from_its_own_guess(likes, least):
    """From its solution a row needs one step, wherever the rows beside it start."""
    _, users, basis = items_side(likes, np.float64)
    system = System(basis.rotated, basis.spectrum, users.regularization, basis.back, 1.0, basis.rotated[:0])
    whole = Ranges(np.array([0, N_USERS]), N_ITEMS, np.empty((1, REPORTS)))
    scratch = cg_scratch_for(whole, users.entries, basis.rotated)
    status, report = np.zeros(N_USERS, np.uint8), np.zeros(REPORTS)
    counts = np.diff(users.indptr)

    def iterate(first, last, X, tolerance, warm_from):
        stop = Stop(tolerance, 100, warm_from)
        iterate_rows(first, last, users.entries, system, stop, X, status, scratch, report)
        assert not status.any()

    exact = np.zeros((N_USERS, FACTORS))
    iterate(0, N_USERS, exact, 1e-13, N_ITEMS + 1)
    width = basis.rotated.shape[1]
    V = basis.back.elements.transpose(1, 0, 2).reshape(width, -1)[:FACTORS, :FACTORS].T
    rotated = exact @ V
    X = rotated.copy()
    iterate(0, N_USERS, X, 1e-9, least)
    alone = np.zeros(N_USERS)
    for u in np.flatnonzero(counts):
        iterate(u, u + 1, rotated.copy(), 1e-9, least)
        alone[u] = report[STEPS]

    assert (alone[counts >= least] == 1).all()
    assert (alone[(counts > 1) & (counts < least)] > 1).all()
    assert (counts >= least).any()
    np.testing.assert_allclose(X, exact, rtol=1e-6, atol=1e-8)
