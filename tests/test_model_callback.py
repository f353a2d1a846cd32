"""What a fit under way shows: to its callback, to others, and after errors and interrupts."""

import numpy as np
import pytest
from models import assert_same, small

from fastals.core.parameters import NotFittedError


class TestCallback:
    def test_sees_every_sweep(self, ratings):
        seen = []

        model = small().fit(ratings, callback=lambda m, sweep, loss: seen.append((sweep, loss, m.user_factors.copy())))

        assert [sweep for sweep, _, _ in seen] == [0, 1, 2]
        assert [loss for _, loss, _ in seen] == model.loss_history
        np.testing.assert_array_equal(seen[0][2], small(iterations=1).fit(ratings).user_factors)
        np.testing.assert_array_equal(seen[2][2], model.user_factors)

    @pytest.mark.parametrize("true", [True, np.True_, np.array(True)], ids=["bool", "NumPy", "array"])
    def test_stops_on_true(self, ratings, true):
        stopped = small(iterations=9).fit(ratings, callback=lambda model, sweep, loss: true if sweep == 1 else None)

        assert_same(stopped, small(iterations=2).fit(ratings))

    @pytest.mark.parametrize("false", [False, np.False_, np.array(False), None], ids=["bool", "NumPy", "array", "None"])
    def test_goes_on_otherwise(self, ratings, false):
        assert len(small().fit(ratings, callback=lambda model, sweep, loss: false).loss_history) == 3

    @pytest.mark.parametrize("other", ["stop", 1, 0.0, np.array([True]), []], ids=repr)
    def test_refuses_to_guess(self, ratings, other):
        model, untouched = small().fit(ratings), small().fit(ratings)

        with pytest.raises(TypeError, match="what callback returns must be True, False or None; got "):
            model.fit(ratings, callback=lambda model, sweep, loss: other)
        assert_same(model, untouched)

    def test_may_use_the_model(self, ratings):
        losses = []

        model = small(dtype="float64").fit(ratings, callback=lambda m, sweep, loss: losses.append(m.loss(ratings)))

        np.testing.assert_allclose(losses, model.loss_history, rtol=1e-10)

    def test_model_itself_keeps_the_earlier_fit_meanwhile(self, ratings):
        model, untouched = small().fit(ratings), small().fit(ratings)
        handed = []

        def look(current, sweep, loss):
            assert_same(model, untouched)
            handed.append(current)

        model.fit(ratings[::-1], callback=look)

        assert len(handed) == 3
        assert all(current is not model for current in handed)

    def test_factors_that_were_read_do_not_change(self, ratings):
        read, copies = [], []

        def look(current, sweep, loss):
            state = current.training_state()
            arrays = [current.user_factors, current.item_factors, *(part for part in state if hasattr(part, "shape"))]
            read.extend(arrays)
            copies.extend(array.copy() for array in arrays)

        for acceleration in (False, True):
            small(iterations=8, acceleration=acceleration).fit(ratings, callback=look)

        assert len(read) > 60
        for got, expected in zip(read, copies, strict=True):
            np.testing.assert_array_equal(got, expected)

    def test_model_of_a_sweep_that_is_over_says_so(self, ratings):
        handed = []
        small().fit(ratings, callback=lambda current, sweep, loss: handed.append(current))

        for ask in (lambda m: m.user_factors, lambda m: m.recommend(0), lambda m: m.training_state()):
            with pytest.raises(RuntimeError, match="training has gone on"):
                ask(handed[0])

    def test_error_leaves_the_earlier_fit(self, ratings):
        def fail(model, sweep, loss):
            if sweep == 1:
                raise ZeroDivisionError("of the callback's own")

        model, untouched = small().fit(ratings), small().fit(ratings)
        model.alpha = 77

        with pytest.raises(ZeroDivisionError, match="of the callback's own"):
            model.fit(ratings[:, ::-1], callback=fail)

        assert_same(model, untouched)
        np.testing.assert_array_equal(model.user_items_.toarray(), ratings.toarray())
        assert model.alpha == 77

    def test_error_in_the_first_fit_leaves_the_model_unfitted(self, ratings):
        def fail(model, sweep, loss):
            raise ZeroDivisionError

        model = small()

        with pytest.raises(ZeroDivisionError):
            model.fit(ratings, callback=fail)

        with pytest.raises(NotFittedError, match="call fit first"):
            model.item_factors  # noqa: B018

    def test_interrupt_leaves_a_usable_model(self, ratings):
        def interrupt(model, sweep, loss):
            if sweep == 1:
                raise KeyboardInterrupt

        model = small(iterations=9)

        with pytest.raises(KeyboardInterrupt):
            model.fit(ratings, callback=interrupt)

        assert_same(model, small(iterations=2).fit(ratings))
        ids, scores = model.recommend(0, N=3)
        assert np.isfinite(scores).all()
        assert ids.size == 3

    def test_interrupt_between_half_sweeps_keeps_the_finished_one(self, ratings, monkeypatch):
        from fastals.solver import sweeps as training

        whole = small(iterations=2, dtype="float64").fit(ratings)
        calls = []
        solve_side = training.solve_side

        def interrupted(*arguments):
            calls.append(arguments)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return solve_side(*arguments)

        monkeypatch.setattr(training, "solve_side", interrupted)
        model = small(iterations=9, dtype="float64")

        with pytest.raises(KeyboardInterrupt):
            model.fit(ratings)

        np.testing.assert_array_equal(model.item_factors, whole.item_factors)
        before = small(iterations=1, dtype="float64").fit(ratings)
        np.testing.assert_array_equal(model.user_factors, before.user_factors)

    def test_bad_input_leaves_the_earlier_fit(self, ratings):
        model, untouched = small().fit(ratings), small().fit(ratings)
        bad = ratings.copy()
        bad.data[5] = np.nan

        with pytest.raises(ValueError, match="user_items must be finite"):
            model.fit(bad)
        with pytest.raises(ValueError, match="factors must be >= 1"):
            model.set_params(factors=0).fit(ratings)

        assert_same(model, untouched)
