"""Weights of pairs in a search: what is drawn, and the matrix that is fitted then."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastals import weighting as functions
from fastals.tuning.pair_weights import RANGES, check_weighting, span_of, suggested, weighed

DATA = sp.csr_array(np.array([[1, 0, 3], [2, 5, 0], [0, 1, -1], [4, 0, 0]], np.int64))


class Drawn:
    """A trial that takes the middle of every range, and the last of every choice; keeps what it was asked."""

    def __init__(self):
        self.asked = {}

    def suggest_float(self, name, low, high, *, log):
        self.asked[name] = (low, high, log)
        return (low + high) / 2

    def suggest_categorical(self, name, choices):
        self.asked[name] = tuple(choices)
        return choices[-1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, ()), ("popularity", ("popularity",)), (["none", "bm25"], ("none", "bm25")), (("tfidf",), ("tfidf",))],
)
def test_names(value, expected):
    assert check_weighting(value) == expected


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("age", ValueError, "weighting must be one of 'none', 'popularity', 'bm25', 'tfidf', 'recency'; got str 'age'"),
        (("bm25", "bm25"), ValueError, "weighting must be a name or several different ones"),
        ((), ValueError, "weighting must be a name or several different ones"),
        (3, TypeError, "weighting must be a name or several; got int 3"),
    ],
)
def test_wrong_names(value, error, message):
    with pytest.raises(error, match=message):
        check_weighting(value)


def test_nothing_is_drawn_without_names():
    trial = Drawn()
    assert suggested(trial, ()) is None
    assert trial.asked == {}


@pytest.mark.parametrize("names", [("popularity",), ("none", "popularity"), ("none", "bm25"), ("bm25", "none")])
def test_only_options_of_the_chosen_one_are_drawn(names):
    trial = Drawn()

    got = suggested(trial, names)

    expected = {f"{names[-1]}_{option}": bounds for option, bounds in RANGES[names[-1]].items()}
    if len(names) > 1:
        expected["weighting"] = names
    assert trial.asked == expected
    assert got == {"name": names[-1], **{option: (b[0] + b[1]) / 2 for option, b in RANGES[names[-1]].items()}}


@pytest.mark.parametrize(
    ("weighting", "expected"),
    [
        (None, lambda X: X),
        ({"name": "none"}, lambda X: X),
        ({"name": "tfidf"}, functions.tfidf),
        ({"name": "bm25", "k1": 7.0, "b": 0.3}, lambda X: functions.bm25(X, k1=7.0, b=0.3)),
        ({"name": "popularity", "item_exponent": -0.4}, lambda X: functions.popularity(X, item_exponent=-0.4)),
    ],
)
@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64])
def test_weighed_as_by_the_function_in_double_precision(weighting, expected, dtype):
    got = weighed(DATA.astype(dtype), weighting)

    assert got.dtype == np.float64
    np.testing.assert_array_equal(got.toarray(), expected(DATA.astype(np.float64)).toarray())


def test_half_lives_are_drawn_in_units_of_the_time_that_passed():
    times = sp.csr_array(np.array([[10, 0, 12], [13, 14, 99], [0, 16, 17], [50, 0, 0]]))

    span = span_of(("none", "recency"), DATA, times)
    got = suggested(Drawn(), ("none", "recency"), span)

    assert span == 40
    assert got == {"name": "recency", "half_life": 40 * 1.505}
    expected = functions.recency(DATA.astype(np.float64), functions.times_of(DATA, times), half_life=60.2)
    np.testing.assert_allclose(weighed(DATA, got, times).toarray(), expected.toarray(), rtol=1e-15)
    assert weighed(DATA, got, times)[0, 0] == pytest.approx(2 ** (-40 / 60.2))


@pytest.mark.parametrize(
    ("names", "times", "message"),
    [
        (("recency",), None, "weighting='recency' needs times"),
        (("bm25",), DATA, "times are for weighting='recency'"),
        (
            ("recency",),
            sp.csr_array(DATA > 1, dtype=np.int64),
            "times must be stored for every pair of user_items; 3 have none",
        ),
        (("recency",), DATA * np.nan, "times must be finite numbers; got csr_array"),
        (("recency",), DATA * (1 + 1j), "times must be finite numbers; got csr_array"),
        (("recency",), "2026-11-28", "times must be a sparse matrix or a two-dimensional array; got str"),
        (("recency",), DATA[:, :2], r"times must have the shape of user_items, \(4, 3\); got"),
        (("recency",), 7 * (DATA != 0), "times must differ for weighting='recency'; all are 7"),
    ],
)
def test_times_that_do_not_fit(names, times, message):
    with pytest.raises((TypeError, ValueError), match=message):
        span_of(names, DATA, times)


def test_weights_by_age_need_times():
    with pytest.raises(ValueError, match="times must be given, for pairs are weighed by their age"):
        weighed(DATA, {"name": "recency", "half_life": 3.0})


def test_the_matrix_is_left_alone():
    given = DATA.astype(np.float64)
    weighed(given, {"name": "popularity", "item_exponent": -0.4}).data[:] = 7
    weighed(given, None).data[:] = 7
    np.testing.assert_array_equal(given.toarray(), DATA.toarray())
