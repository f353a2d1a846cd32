"""Fault hunt over a model's life: any methods in any order, any arguments; the property stands in ``hunting``."""

import copy
import os
import pickle
from typing import Any

import hunting
import numpy as np
import pytest
import scipy.sparse as sp
from hunting import COUNTS, JUNK, LONG, PARAMETERS, attempt, check_finite, check_lists, matrices, more, state
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fastals import ImplicitALS

USERS, ITEMS = 6, 9  # at first
INTEGERS = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]


@st.composite
def ids(draw: Any, size: int, distinct: bool = False) -> tuple[Any, bool]:
    """One id or several, of any type and layout, and whether they are to be accepted."""
    if not draw(st.integers(0, 6)):
        return draw(st.sampled_from([*JUNK, size, [size], [0, -1], np.array([0.0]), np.array([[0]]), range(2)])), False
    if draw(st.booleans()):
        one = draw(st.integers(0, size - 1))
        return draw(st.sampled_from([one, np.dtype(draw(st.sampled_from(INTEGERS))).type(one), np.array(one)])), True
    some = draw(st.lists(st.integers(0, size - 1), max_size=8, unique=distinct))
    array = np.array(some, draw(st.sampled_from(INTEGERS)))
    change = draw(st.sampled_from([None, list, *hunting.LAYOUTS.values()]))
    return (some if change is list else array if change is None else change(array)), True


def options(draw: Any, size: int, names: tuple[str, ...]) -> tuple[dict[str, Any], bool]:
    """N, and perhaps ids to leave out and to choose from, under these names."""
    N = draw(st.sampled_from([1, 2, 3, 20, np.int16(5), 10**9, 0, -1, 2.0, None, "3", 10**30]))
    chosen, good = {"N": N}, isinstance(N, (int, np.int16)) and 0 < N < 2**31
    for name in names:
        if draw(st.booleans()):
            chosen[name], accepted = draw(ids(size))
            good = good and accepted
    return chosen, good


def allowed_by(chosen: dict[str, Any], size: int, names: tuple[str, ...]) -> np.ndarray:
    """Boolean array of the ids that are left by what to leave out and what to choose from."""
    left_out, among = (chosen.get(name) for name in names)
    allowed = np.full(size, among is None)
    for part, value in ((among, True), (left_out, False)):
        if part is not None and np.size(part):
            allowed[np.asarray(part, np.int64)] = value
    return allowed


class Life(RuleBasedStateMachine):
    """A model, and what it must be like: its shape, and nothing changed by what only reads or what fails."""

    @initialize(dtype=st.sampled_from(["float32", "float64"]), solver=st.sampled_from(["cg", "cholesky"]))
    def begin(self, dtype, solver):
        self.model = ImplicitALS(3, iterations=1, dtype=dtype, solver=solver, random_state=0, num_threads=1)
        self.fitted = False

    def reads(self, kind: str, call: Any, *arguments: Any, good: bool = False, **named: Any) -> Any:
        """Result of a call that changes nothing, None after an error."""
        before = state(self.model)
        got, error = attempt(kind, call, *arguments, **named)
        assert state(self.model) == before
        assert error is None or not good or not self.usable, error
        return got

    @property
    def usable(self) -> bool:
        """Whether parameters and factors are such that every good call succeeds."""
        return self.fitted and self.sound and self.model.user_factors.shape[1] == self.model.item_factors.shape[1]

    @property
    def sound(self) -> bool:
        bare = ImplicitALS(**{**self.model.get_params(), "warm_start": False, "iterations": 0, "alpha": 1.0})
        _, error = attempt("fit of nothing", bare.fit, sp.csr_array(np.eye(2)))
        return error is None and not isinstance(self.model.alpha, (bytes, list))

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.model.user_factors), len(self.model.item_factors)

    @property
    def consistent(self) -> bool:
        """Whether the training matrix has the shape of the factors, which may have been assigned."""
        return self.model.user_items_.shape == self.shape

    @rule(data=st.data(), warm=st.booleans())
    def fit(self, data, warm):
        shape = (USERS, ITEMS) if not self.fitted or data.draw(st.integers(0, 3)) else self.shape
        matrix, dense, good = data.draw(matrices(shape, plain=data.draw(st.booleans())))
        self.model.warm_start = warm and self.fitted
        before = state(self.model)
        _, error = attempt("fit", self.model.fit, matrix)
        if error is not None:
            assert state(self.model) == before
            assert not good or self.model.warm_start or not self.sound or "stay below" in str(error), error
            return
        self.fitted = True
        assert self.shape == dense.shape
        assert self.consistent

    @rule(name=st.sampled_from([name for name in PARAMETERS if name != "factors"]), data=st.data())
    def set_params(self, name, data):
        value = data.draw(st.sampled_from(PARAMETERS[name]))
        self.model.set_params(**{name: value})
        _, error = attempt("set_params", self.model.set_params, **{name: value, "no such": 1})
        assert error is not None

    @rule(name=st.sampled_from([name for name in PARAMETERS if name not in ("iterations", "factors")]), data=st.data())
    def set_junk(self, name, data):
        """For one call, so that the next ones get further."""
        earlier = getattr(self.model, name)
        self.model.set_params(**{name: data.draw(st.sampled_from(JUNK))})
        if self.fitted:
            self.reads("recommend", self.model.recommend, 0, filter_already_liked_items=False)
            self.reads("recalculate", self.model.recalculate_user, 0)
            self.reads("explain", self.model.explain, 0, itemid=1)
            self.reads("loss", self.model.loss, self.model_matrix())
        else:
            self.reads("fit", self.model.fit, JUNK[-1])
        self.model.set_params(**{name: earlier})

    def model_matrix(self) -> sp.csr_array:
        return sp.csr_array(self.shape)

    @precondition(lambda self: self.fitted)
    @rule(name=st.sampled_from(["user_factors", "item_factors"]), data=st.data())
    def assign(self, name, data):
        factors = getattr(self.model, name)
        random = np.random.default_rng(data.draw(st.integers(0, 99)))
        rows, columns = np.array(factors.shape) + data.draw(st.sampled_from([(0, 0)] * 6 + [(1, 0), (-1, 0), (0, 1)]))
        value = random.normal(size=(max(rows, 0), columns)) * data.draw(st.sampled_from([1, 1, 1, 1e-30, 1e30, 1e200]))
        value = data.draw(st.sampled_from([value, value, value, np.asfortranarray(value), *JUNK]))
        before = state(self.model)
        _, error = attempt("assign", setattr, self.model, name, value)
        if error is not None:
            assert state(self.model) == before

    @precondition(lambda self: self.fitted)
    @rule(data=st.data(), recalculate=st.booleans(), liked=st.sampled_from([True, True, False, 1, None]))
    def recommend(self, data, recalculate, liked):
        (users, items), names = self.shape, ("filter_items", "items")
        who, good = data.draw(ids(max(users, 1)))
        chosen, good_options = options(data.draw, max(items, 1), names)
        rows, dense = None, None
        if data.draw(st.booleans()):
            count = np.size(who) if good else data.draw(st.integers(1, 3))
            rows, dense, good_rows = data.draw(matrices((count, items), plain=True)) if count and items else (None,) * 3
            good = bool(good and (rows is None or good_rows or not dense.any()))
        if chosen["N"] == 10**9 and not (good and np.ndim(who) == 0):
            chosen["N"] = 20  # a list of that length for each would not fit into memory
        got = self.reads(
            "recommend", self.model.recommend, who, rows, filter_already_liked_items=liked,
            recalculate_user=recalculate, good=good and good_options and self.consistent and not recalculate,
            **chosen,
        )  # fmt: skip
        if got is None:
            return
        who = np.atleast_1d(np.asarray(who, np.int64))
        if dense is None and (liked or recalculate):
            dense = self.model.user_items_.toarray()[who]
        if recalculate:
            P = np.atleast_2d(self.model.recalculate_user(who, sp.csr_array(dense)))
        else:
            P = self.model.user_factors[who]
        allowed = np.tile(allowed_by(chosen, items, names), (len(who), 1))
        allowed &= (dense == 0) if liked else True
        check_lists(
            got, P.astype(float) @ self.model.item_factors.T.astype(float), allowed, chosen["N"], got[0].ndim == 1
        )

    @precondition(lambda self: self.fitted)
    @rule(data=st.data(), axis=st.sampled_from([0, 1]))
    def similar(self, data, axis):
        size, names = max(self.shape[axis], 1), (("filter_users", "users"), ("filter_items", "items"))[axis]
        who, good = data.draw(ids(size))
        chosen, good_options = options(data.draw, size, names)
        if chosen["N"] == 10**9 and not (good and np.ndim(who) == 0):
            chosen["N"] = 20
        call = (self.model.similar_users, self.model.similar_items)[axis]
        got = self.reads("similar", call, who, good=good and good_options, **chosen)
        if got is None:
            return
        factors = (self.model.user_factors, self.model.item_factors)[axis].astype(np.longdouble)
        norms = np.linalg.norm(factors, axis=1, keepdims=True)
        unit = (factors / np.where(norms > 0, norms, 1)).astype(float)
        queries = unit[np.atleast_1d(np.asarray(who, np.int64))]
        allowed = np.tile(allowed_by(chosen, size, names), (len(queries), 1))
        check_lists(got, queries @ unit.T, allowed, chosen["N"], got[0].ndim == 1)

    @precondition(lambda self: self.fitted)
    @rule(data=st.data())
    def explain(self, data):
        who, _good = data.draw(ids(max(self.shape[0], 1)))
        item, _good_item = data.draw(ids(max(self.shape[1], 1)))
        weights = data.draw(st.sampled_from([None, None, None, *JUNK]))
        N = data.draw(st.sampled_from([1, 5, 10**30, 0, "x"]))
        got = self.reads("explain", self.model.explain, who, itemid=item, user_weights=weights, N=N)
        if got is None:
            return
        total, best, _ = got
        assert np.isfinite(total)
        assert np.isfinite([value for _, value in best]).all()

    @precondition(lambda self: self.fitted)
    @rule(data=st.data(), axis=st.sampled_from([0, 1]))
    def recalculate(self, data, axis):
        who, good = data.draw(ids(max(self.shape[axis], 1)))
        count, other = max(np.size(who), 1) if good else 1, self.shape[1 - axis]
        rows = data.draw(matrices((count, other)))[0] if other and data.draw(st.booleans()) else None
        call = (self.model.recalculate_user, self.model.recalculate_item)[axis]
        got = self.reads("recalculate", call, who, rows)
        assert got is None or np.isfinite(got).all()

    @precondition(lambda self: self.fitted)
    @rule(data=st.data(), axis=st.sampled_from([0, 1]))
    def partial_fit(self, data, axis):
        size, other = self.shape[axis], self.shape[1 - axis]
        who, good = data.draw(ids(min(size + 2, 12), distinct=True))
        if not other or (isinstance(who, (int, np.integer)) and who > 100):
            return
        count = max(np.size(who), 1) if good else 1
        rows, dense, _good_rows = data.draw(matrices((count, other)))
        before = state(self.model)
        call = (self.model.partial_fit_users, self.model.partial_fit_items)[axis]
        _, error = attempt("partial_fit", call, who, rows)
        if error is not None:
            assert state(self.model) == before
            return
        who = np.atleast_1d(np.asarray(who, np.int64))
        if who.size:
            assert self.shape[axis] == max(size, who.max() + 1)
            matrix = self.model.user_items_ if axis == 0 else self.model.user_items_.T.tocsr()
            np.testing.assert_allclose(matrix[who].toarray(), dense, rtol=1e-6, atol=1e-44)

    @precondition(lambda self: self.fitted)
    @rule(
        data=st.data(), how=st.sampled_from(["sum", "replace", "decay", "mean"]), sweeps=st.sampled_from([0, 0, 2, -1])
    )
    def update(self, data, how, sweeps):
        shape = tuple(size + data.draw(st.sampled_from([0, 0, 1, -1])) for size in self.shape)
        if min(shape) < 1:
            return
        matrix, dense, good = data.draw(matrices(shape))
        fade = {"half_life": 2.0, "elapsed": data.draw(st.sampled_from([0, 2, 4.0]))} if how == "decay" else {}
        old, before = self.model.user_items_.toarray().astype(float), state(self.model)
        good = good and how != "mean" and sweeps >= 0
        _, error = attempt("update", self.model.update, matrix, rule=how, sweeps=sweeps, **fade)
        if error is not None:
            assert state(self.model) == before
            assert not good or not self.usable or not self.consistent or "stay below" in str(error), error
            return
        expected = np.zeros(np.maximum(shape, old.shape))
        expected[: old.shape[0], : old.shape[1]] = old * 0.5 ** (fade.get("elapsed", 0) / 2)
        new = np.zeros_like(expected)
        new[: shape[0], : shape[1]] = dense
        expected = np.where(new != 0, new, expected) if how == "replace" else expected + new
        assert self.shape == expected.shape
        np.testing.assert_allclose(self.model.user_items_.toarray(), expected, rtol=1e-6, atol=1e-44)

    @precondition(lambda self: self.fitted)
    @rule(data=st.data())
    def predict(self, data):
        (user, good), (item, good_item) = data.draw(ids(max(self.shape[0], 1))), data.draw(ids(max(self.shape[1], 1)))
        good = good and good_item and (np.size(user) == np.size(item) or not np.ndim(user) or not np.ndim(item))
        got = self.reads("predict", self.model.predict, user, item, good=bool(good and min(self.shape)))
        if got is None:
            return
        P, Q = (factors.astype(float) for factors in (self.model.user_factors, self.model.item_factors))
        expected = (P @ Q.T)[np.asarray(user, np.int64), np.asarray(item, np.int64)]
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(P @ Q.T).max(initial=0) + 1e-37)

    @precondition(lambda self: self.fitted)
    @rule(data=st.data())
    def loss(self, data):
        if min(self.shape):
            got = self.reads("loss", self.model.loss, data.draw(matrices(self.shape))[0])
            assert got is None or np.isfinite(got)

    @precondition(lambda self: self.fitted and self.consistent)
    @rule(way=st.sampled_from(["pickle", "deepcopy", "save", "map"]))
    def move(self, way):
        before = state(self.model)
        if way == "pickle":
            self.model = pickle.loads(pickle.dumps(self.model))
        elif way == "deepcopy":
            self.model = copy.deepcopy(self.model)
        else:
            path = os.path.join(hunting.FOLDER.name, f"model-{os.getpid()}.fastals")
            _, error = attempt("save", self.model.save, path)
            if error is not None:
                return
            moved, error = attempt("load", ImplicitALS.load, path, mmap=way == "map")
            if error is not None:
                return
            for name in ("user_factors", "item_factors"):
                np.testing.assert_array_equal(getattr(moved, name), getattr(self.model, name))
            np.testing.assert_array_equal(moved.user_items_.toarray(), self.model.user_items_.toarray())
            assert moved.loss_history == self.model.loss_history
            self.model = moved
            COUNTS["moves: fine"] += 1
            return
        assert str(state(self.model).keys()) == str(before.keys())
        COUNTS["moves: fine"] += 1

    @invariant()
    def whole(self):
        if getattr(self, "fitted", False):
            check_finite(self.model)
            factors = self.model.user_factors, self.model.item_factors
            assert all(part.flags.c_contiguous and part.dtype in (np.float32, np.float64) for part in factors)


TestLife = pytest.mark.slow(Life.TestCase)
TestLife.settings = settings(more, stateful_step_count=40 if LONG else 20)
