"""A fit that is broken off goes on from its file as if nothing had happened, bit for bit."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp

from fastals import ImplicitALS
from fastals.datasets import make_interactions
from fastals.persistence.checkpoint import Checkpoint, read_state, write_state
from fastals.persistence.model_file import read_model_file, write_model_file
from fastals.solver.sweeps import Training, TrainingState

SETTINGS = {"objective": "hu", "regularization": 2.0, "regularization_exponent": 0.0, "alpha": 5.0, "random_state": 0}


@pytest.fixture(scope="module")
def plays() -> sp.csr_array:
    return make_interactions(300, 200, mean_per_user=12, random_state=3).user_items


def unfitted(**parameters) -> ImplicitALS:
    return ImplicitALS(**{"factors": 8, "iterations": 12, **SETTINGS, **parameters})


class BreakError(Exception):
    pass


def break_after(sweeps):
    def callback(model, sweep, loss):
        if sweep + 1 == sweeps:
            raise BreakError

    return callback


def assert_same(got: ImplicitALS, expected: ImplicitALS) -> None:
    np.testing.assert_array_equal(got.user_factors, expected.user_factors)
    np.testing.assert_array_equal(got.item_factors, expected.item_factors)
    assert got.loss_history == expected.loss_history
    assert got.solver_report_ == expected.solver_report_


class TestResumption:
    @pytest.mark.parametrize("acceleration", [True, False])
    @pytest.mark.parametrize(("solver", "dtype"), [("cg", "float32"), ("cholesky", "float64")])
    @pytest.mark.parametrize(("every", "sweeps"), [(1, 1), (1, 2), (1, 7), (3, 7), (5, 12)])
    def test_equals_a_fit_without_a_break(self, plays, tmp_path, acceleration, solver, dtype, every, sweeps):
        parameters = {"acceleration": acceleration, "solver": solver, "dtype": dtype}
        checkpoint = Checkpoint(tmp_path / "state", every=every)
        with pytest.raises(BreakError):
            checkpoint.fit(unfitted(**parameters), plays, callback=break_after(sweeps))
        assert len(checkpoint.load().loss_history) == sweeps // every * every
        seen = []

        got = Checkpoint(tmp_path / "state").fit(
            unfitted(**parameters, random_state=77), plays, callback=lambda model, sweep, loss: seen.append(sweep)
        )

        assert_same(got, unfitted(**parameters).fit(plays))
        assert seen == list(range(sweeps // every * every, 12))

    def test_after_an_extrapolation_was_taken_back(self, plays, tmp_path, monkeypatch):
        """The sequence starts anew somewhere on the way, and the break is just there."""
        usual = Training._next_momentum

        def too_far_once(training):
            momentum = usual(training)
            return 1000.0 if len(training.loss_history) == 5 else momentum

        monkeypatch.setattr(Training, "_next_momentum", too_far_once)
        sequence = []
        whole = unfitted().fit(plays, callback=lambda model, *_: sequence.append(model.training_state().sequence))
        assert [sweep for sweep in range(1, 12) if sequence[sweep] < sequence[sweep - 1]] == [5]
        for sweeps in (5, 6, 7):
            checkpoint = Checkpoint(tmp_path / "state")
            with pytest.raises(BreakError):
                checkpoint.fit(unfitted(), plays, callback=break_after(sweeps))
            assert_same(checkpoint.fit(unfitted(), plays), whole)

    def test_many_breaks(self, plays, tmp_path):
        checkpoint = Checkpoint(tmp_path / "state")
        for sweeps in (2, 3, 5, 9):
            with pytest.raises(BreakError):
                checkpoint.fit(unfitted(), plays, callback=break_after(sweeps))
        assert_same(checkpoint.fit(unfitted(), plays), unfitted().fit(plays))

    def test_given_start_and_preferences(self, plays, tmp_path):
        random = np.random.default_rng(1)
        start = random.normal(size=(200, 8))
        phi = sp.csr_array((random.random(plays.nnz), plays.indices, plays.indptr), plays.shape)
        options, checkpoint = {"item_factors": start, "preference": phi}, Checkpoint(tmp_path / "state")
        with pytest.raises(BreakError):
            checkpoint.fit(unfitted(), plays, callback=break_after(4), **options)
        assert not checkpoint.load().accelerated, "given factors are followed by plain sweeps"
        assert_same(checkpoint.fit(unfitted(), plays, **options), unfitted().fit(plays, **options))

    def test_as_a_plain_callback(self, plays, tmp_path):
        checkpoint = Checkpoint(tmp_path / "state", every=5)
        unfitted().fit(plays, callback=checkpoint)
        assert len(checkpoint.load().loss_history) == 10
        assert_same(unfitted().fit(plays, resume_from=checkpoint.load()), unfitted().fit(plays))

    def test_in_memory(self, plays):
        states = []

        def keep(model, sweep, loss):
            if sweep == 3:
                states.append(pickle.loads(pickle.dumps(model.training_state())))

        expected = unfitted().fit(plays, callback=keep)
        for _ in range(2):  # a state is not used up
            assert_same(unfitted().fit(plays, resume_from=states[0]), expected)

    def test_more_sweeps_than_there_were_to_be(self, plays, tmp_path):
        checkpoint = Checkpoint(tmp_path / "state", every=4)
        unfitted(iterations=8).fit(plays, callback=checkpoint)
        assert_same(checkpoint.fit(unfitted(iterations=12), plays), unfitted(iterations=12).fit(plays))

    def test_with_no_sweep_left(self, plays, tmp_path):
        checkpoint = Checkpoint(tmp_path / "state", every=4)
        unfitted().fit(plays, callback=checkpoint)
        got = unfitted().fit(plays, resume_from=checkpoint.load())
        assert_same(got, unfitted().fit(plays))

    def test_threads_make_no_difference(self, plays, tmp_path):
        checkpoint = Checkpoint(tmp_path / "state")
        with pytest.raises(BreakError):
            checkpoint.fit(unfitted(num_threads=2), plays, callback=break_after(5))
        assert_same(checkpoint.fit(unfitted(num_threads=1), plays), unfitted().fit(plays))


KILLED = """
import os, sys
from fastals import ImplicitALS
from fastals.persistence.checkpoint import Checkpoint
from fastals.datasets import make_interactions

plays = make_interactions(300, 200, mean_per_user=12, random_state=3).user_items
settings = {"objective": "hu", "regularization": 2.0, "regularization_exponent": 0.0, "alpha": 5.0, "random_state": 0}
model = ImplicitALS(factors=8, iterations=12, **settings)

def die(model, sweep, loss):
    if sweep == 6:
        os._exit(9)

Checkpoint(sys.argv[1], every=2).fit(model, plays, callback=die)
"""


@pytest.mark.slow
def test_killed_process(plays, tmp_path):
    path = tmp_path / "state"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 9, done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["state"]

    checkpoint = Checkpoint(path, every=2)
    assert len(checkpoint.load().loss_history) == 6
    assert_same(checkpoint.fit(unfitted(), plays), unfitted().fit(plays))


class TestFile:
    def test_is_removed_in_the_end(self, plays, tmp_path):
        checkpoint = Checkpoint(str(tmp_path / "state"), every=2)
        exists = []
        checkpoint.fit(unfitted(), plays, callback=lambda *_: exists.append((tmp_path / "state").exists()))
        assert exists == [False] + [True] * 11
        assert list(tmp_path.iterdir()) == []

    def test_is_removed_where_a_callback_stops(self, plays, tmp_path):
        model = Checkpoint(tmp_path / "state").fit(unfitted(), plays, callback=lambda model, sweep, loss: sweep == 4)
        assert len(model.loss_history) == 5
        assert list(tmp_path.iterdir()) == []

    def test_survives_an_interrupt(self, plays, tmp_path):
        def interrupt(model, sweep, loss):
            if sweep == 4:
                raise KeyboardInterrupt

        checkpoint = Checkpoint(tmp_path / "state")
        with pytest.raises(KeyboardInterrupt):
            checkpoint.fit(unfitted(), plays, callback=interrupt)
        assert len(checkpoint.load().loss_history) == 5

    def test_a_failed_write_leaves_the_one_before(self, plays, tmp_path, monkeypatch):
        checkpoint = Checkpoint(tmp_path / "state")

        def full(model, sweep, loss):
            if sweep == 3:
                monkeypatch.setattr(os, "fsync", lambda number: (_ for _ in ()).throw(OSError("no space left")))

        with pytest.raises(OSError, match="no space left"):
            checkpoint.fit(unfitted(), plays, callback=full)
        monkeypatch.undo()
        assert len(checkpoint.load().loss_history) == 4
        assert len(list(tmp_path.iterdir())) == 1
        assert_same(checkpoint.fit(unfitted(), plays), unfitted().fit(plays))

    def test_holds_the_whole_state(self, plays, tmp_path):
        states = []
        unfitted(iterations=5).fit(plays, callback=lambda model, *_: states.append(model.training_state()))
        write_state(tmp_path / "state", states[-1])
        got = read_state(tmp_path / "state")
        assert len(states[-1].previous_items) == 1
        for name, expected in states[-1]._asdict().items():
            np.testing.assert_equal(getattr(got, name), expected, err_msg=name)

    def test_holds_all_earlier_solutions(self, tmp_path):
        """Of plain sweeps of long rows, to a small tolerance."""
        likes = sp.random(60, 40, density=0.7, random_state=0, format="csr")
        likes.data[:] = 1
        states, path = [], tmp_path / "state"
        model = unfitted(iterations=7, acceleration=False, tol=1e-6, alpha=40.0)
        model.fit(likes, callback=lambda model, *_: states.append(model.training_state()))
        for state in states:
            write_state(path, state)
            for name, expected in state._asdict().items():
                np.testing.assert_equal(getattr(read_state(path), name), expected, err_msg=name)
        assert [len(state.previous_users) for state in states] == [0, 0, 1, 2, 3, 3, 3]
        header, arrays = read_model_file(path)
        del arrays["previous_users_2"]
        write_model_file(path, header, arrays)
        assert len(read_state(path).previous_users) == 1
        write_model_file(path, header, {**arrays, "previous_users_3": np.full((60, 8), np.nan, np.float32)})
        with pytest.raises(ValueError, match="previous_users_3"):
            read_state(path)

    def test_none(self, tmp_path):
        assert Checkpoint(tmp_path / "state").load() is None

    def test_another_kind(self, plays, tmp_path):
        model = unfitted(iterations=1).fit(plays)
        model.save(tmp_path / "state")
        with pytest.raises(ValueError, match="no valid training state"):
            Checkpoint(tmp_path / "state").fit(unfitted(), plays)
        assert (tmp_path / "state").exists()

    def test_is_no_model(self, plays, tmp_path):
        unfitted(iterations=1).fit(plays, callback=Checkpoint(tmp_path / "state"))
        with pytest.raises(ValueError, match="no valid model"):
            ImplicitALS.load(tmp_path / "state")

    @pytest.mark.parametrize("name", ["reports", "user_factors", "loss_history", "previous_items"])
    @pytest.mark.parametrize("value", [np.zeros((3, 1)), np.full((300, 8), np.nan, np.float32), np.array("text")])
    def test_arrays_that_do_not_fit(self, plays, tmp_path, name, value):
        path = tmp_path / "state"
        unfitted(iterations=4).fit(plays, callback=Checkpoint(path))
        header, arrays = read_model_file(path)
        write_model_file(path, header, {**arrays, name: value})
        with pytest.raises((ValueError, TypeError), match=name):
            Checkpoint(path).fit(unfitted(), plays)

    @pytest.mark.parametrize(
        ("part", "value", "message"),
        [
            ("accelerated", "yes", "accelerated must be true or false"),
            ("sequence", -1.0, "sequence must be finite and > 0"),
            ("sequence", None, "sequence must be a real number"),
            ("problem", 3, "not iterable"),
            ("kind", "other", "its kind is 'other'"),
            ("kind", None, "its kind is 'None'"),
            ("reports", lambda a: a - 1e9, "reports must hold finite counts"),
            ("reports", lambda a: a * np.inf, "reports must hold finite counts"),
            ("loss_history", lambda a: a * np.nan, "loss_history must be a finite"),
            ("user_factors", lambda a: a * np.float32("nan"), "user_factors must be finite"),
            ("item_factors", lambda a: a * np.float32("inf"), "item_factors must be finite"),
            ("previous_items", lambda a: a[0], "previous_items must be a matrix of floats"),
            ("item_factors", None, "it lacks 'item_factors'"),
        ],
    )
    def test_parts_that_do_not_fit_name_the_file(self, plays, tmp_path, part, value, message):
        path = tmp_path / "state"
        unfitted(iterations=4).fit(plays, callback=Checkpoint(path))
        header, arrays = read_model_file(path)
        if part in header:
            header[part] = value
        elif value is None:
            del arrays[part]
        else:
            with np.errstate(invalid="ignore"):
                arrays[part] = value(arrays[part])
        write_model_file(path, header, arrays)
        with pytest.raises(ValueError, match=rf"cannot read '.*state': no valid training state: .*{message}"):
            read_state(path)

    @pytest.mark.parametrize("content", [b"", b"PK", b"not a state"])
    def test_damaged(self, plays, tmp_path, content):
        (tmp_path / "state").write_bytes(content)
        with pytest.raises(ValueError, match="cannot read"):
            Checkpoint(tmp_path / "state").fit(unfitted(), plays)


def test_fewer_iterations_leave_the_file(plays, tmp_path):
    checkpoint = Checkpoint(tmp_path / "state")
    with pytest.raises(BreakError):
        checkpoint.fit(unfitted(), plays, callback=break_after(7))
    with pytest.raises(ValueError, match="iterations must be at least the 7 sweeps of resume_from; got 3"):
        checkpoint.fit(unfitted(iterations=3), plays)
    assert_same(checkpoint.fit(unfitted(), plays), unfitted().fit(plays))


class TestAnotherProblem:
    @pytest.mark.parametrize(
        ("parameters", "part"),
        [
            ({"factors": 9}, "factors"),
            ({"dtype": "float64"}, "factors"),
            ({"alpha": 6.0}, "weights"),
            ({"unobserved_weight": 0.5}, "weights"),
            ({"objective": "rendle"}, "weights"),
            ({"regularization": 2.5}, "regularization"),
            ({"regularization": (2.0, 2.5)}, "regularization"),
            ({"tol": 1e-2}, "solver"),
            ({"solver": "cholesky"}, "solver"),
        ],
    )
    def test_other_parameters(self, plays, tmp_path, parameters, part):
        unfitted(iterations=2).fit(plays, callback=Checkpoint(tmp_path / "state"))
        model = unfitted().fit(plays)
        before = model.user_factors
        model.set_params(**parameters)
        with pytest.raises(ValueError, match=f"state is of another fit, remove .* from a fit of the same {part}"):
            Checkpoint(tmp_path / "state").fit(model, plays)
        assert model.user_factors is before
        assert (tmp_path / "state").exists()

    def test_other_data(self, plays, tmp_path):
        unfitted(iterations=2).fit(plays, callback=Checkpoint(tmp_path / "state"))
        other = plays.copy()
        other.data = other.data.copy()
        other.data[5] += 1
        with pytest.raises(ValueError, match="of the same weights"):
            Checkpoint(tmp_path / "state").fit(unfitted(), other)
        with pytest.raises(ValueError, match="of the same user_items"):
            Checkpoint(tmp_path / "state").fit(unfitted(), sp.csr_array(plays[::-1]))
        phi = sp.csr_array((np.full(plays.nnz, 0.5), plays.indices, plays.indptr), plays.shape)
        with pytest.raises(ValueError, match="of the same weights"):
            Checkpoint(tmp_path / "state").fit(unfitted(), plays, preference=phi)

    @pytest.mark.parametrize("value", [{}, "state", 3])
    def test_no_state_at_all(self, plays, value):
        with pytest.raises(TypeError, match="resume_from must be a TrainingState"):
            unfitted().fit(plays, resume_from=value)


class TestStateOfTheModel:
    def test_is_there_in_callbacks_alone(self, plays):
        states = []
        model = unfitted(iterations=2)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="no fit is running"):
                model.training_state()
            model.fit(plays, callback=lambda model, *_: states.append(model.training_state()))
        assert all(isinstance(state, TrainingState) for state in states)

    def test_is_not_kept_after_errors(self, plays):
        model = unfitted().fit(plays)
        with pytest.raises(BreakError):
            model.fit(plays, callback=break_after(2))
        with pytest.raises(RuntimeError, match="no fit is running"):
            model.training_state()

    def test_does_not_travel(self, plays):
        copies = []
        unfitted(iterations=1).fit(plays, callback=lambda model, *_: copies.append(pickle.dumps(model)))
        assert b"Training" not in copies[0]
        with pytest.raises(RuntimeError, match="no fit is running"):
            pickle.loads(copies[0]).training_state()

    @pytest.mark.parametrize("every", [0, 1.5, True])
    def test_every(self, tmp_path, every):
        with pytest.raises((ValueError, TypeError), match="every must be"):
            Checkpoint(tmp_path / "state", every=every)
