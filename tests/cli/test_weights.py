import numpy as np
import pytest
import scipy.sparse as sp

pytest.importorskip("typer")

from fastals import weighting
from fastals.cli.weights import check_weights, weighed
from fastals.interactions import Interactions

DAY = 86_400


@pytest.fixture
def plays():
    users, items = np.divmod(np.arange(0, 60, 3), 10)
    times = 10**9 + DAY * np.random.default_rng(0).integers(0, 400, users.size)
    return Interactions.from_arrays(users, items, 1 + np.arange(users.size) % 4, times=times)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90d", 90 * DAY), ("2w", 14 * DAY), ("12h", DAY / 2), (".5y", 365.25 * DAY / 2), ("3600s", 3600), ("77", 77)],
)
def test_half_life_of_all_pairs(plays, text, seconds):
    got = weighed(plays.user_items, plays, None, text)
    expected = weighting.recency(plays.user_items, plays.times, half_life=seconds)
    np.testing.assert_array_equal(got.toarray(), expected.toarray())


def test_half_life_of_a_part_counts_from_its_own_latest_time(plays):
    part = plays.user_items.copy()
    part.data[plays.times.data > np.median(plays.times.data)] = 0
    part.eliminate_zeros()
    got = weighed(part, plays, None, "30d").toarray()
    values, times = plays.user_items.toarray(), plays.times.toarray()
    known = part.toarray() != 0
    expected = np.where(known, values * 2.0 ** (-(times[known].max() - times) / (30 * DAY)), 0)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["bm25", "tfidf", "popularity"])
def test_names_are_those_of_the_functions(plays, name):
    got = weighed(plays.user_items, plays, name, None)
    np.testing.assert_array_equal(got.toarray(), getattr(weighting, name)(plays.user_items).toarray())


def test_nothing_asked_for_leaves_the_pairs(plays):
    part = sp.csr_array(plays.user_items)
    assert weighed(part, plays, None, None) is part


@pytest.mark.parametrize(
    ("name", "half_life", "timed", "message"),
    [
        ("bm", None, False, "weighting must be one of 'bm25', 'tfidf', 'popularity'"),
        (None, "90d", False, "--half-life needs --time-column"),
        (None, "0d", True, "--half-life must be a positive number"),
        (None, "-3", True, "--half-life must be a positive number"),
        (None, "3m", True, "--half-life must be a positive number"),
        (None, "soon", True, "--half-life must be a positive number"),
    ],
)
def test_what_makes_no_sense_is_refused(name, half_life, timed, message):
    with pytest.raises(ValueError, match=message):
        check_weights(name, half_life, timed)
    check_weights("bm25", "90d", True)
    check_weights(None, None, False)
