"""The exponent that suits the data: NDCG against a naive oracle, a search that climbs, and the same one everywhere."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import example, given
from hypothesis import strategies as st
from models import assert_same

from fastals import ImplicitALS
from fastals.core.rows import Rows
from fastals.core.validation import check_rows
from fastals.datasets import make_interactions
from fastals.evaluation import ranking_metrics_at_k, train_test_split
from fastals.solver import pilot
from fastals.solver.checked import AUTO_EXPONENT
from fastals.solver.pilot import Sample, every, exponents_for, ndcg_of, small_model, split, suited_exponent
from fastals.tables.store import InteractionStore

RANDOM = np.random.default_rng(0)
PLAYS = sp.csr_array((RANDOM.random((900, 70)) < 0.2) * RANDOM.integers(1, 10, (900, 70)).astype(float))


def rows_of(matrix):
    return check_rows(sp.csr_array(matrix), "user_items")[0]


def model(**parameters):
    return ImplicitALS(**{"factors": 4, "iterations": 2, "random_state": 0, **parameters})


def naive_ndcg(P, Q, known, held_out, users):
    found = []
    for user in users:
        scores = [float(np.float32(score)) for score in P[user] @ Q.T]
        rivals = [item for item in range(len(scores)) if not known[user, item]]
        wanted = [item for item in rivals if held_out[user, item]]
        gain = 0.0
        for item in wanted:
            rank = sum(scores[rival] >= scores[item] for rival in rivals)
            gain += 1 / math.log2(1 + rank) if rank <= 20 else 0
        found.append(gain / sum(1 / math.log2(1 + rank) for rank in range(1, min(len(wanted), 20) + 1)))
    return found


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 60),
    st.sampled_from([1, 900, 2**22]),
    st.sampled_from([1, 2, 8]),
    st.sampled_from([(-2, 2), (-50, 50), (0, 2), (0, 50)]),
    st.sampled_from([0, 0.3]),
)
@example(0, 20, 2**22, 1, (0, 50), 0)  # where the bound is the least score of the list
def test_ndcg_is_that_of_its_definition(seed, n_items, at_a_time, first, bounds, share):
    """Whatever part of the items is looked at first: with 20 groups it bounds the scores of so many items already."""
    random = np.random.default_rng(seed)
    kind = random.random((40, n_items))
    known, held_out = kind < share, kind > 0.5
    users = np.flatnonzero(held_out.any(axis=1))
    # Integers: equal scores are exactly equal, and many are where they are small.
    P, Q = (random.integers(*bounds, (count, 2), endpoint=True).astype(np.float32) for count in (40, n_items))

    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("SCORES", at_a_time), ("FIRST", first), ("GROUPS", pilot.LENGTH)):
            patch.setattr(pilot, name, value)
        got = ndcg_of(P, Q, rows_of(known.astype(float)), rows_of(held_out.astype(float)), users)

    np.testing.assert_allclose(got, naive_ndcg(P, Q, known, held_out, users), rtol=1e-12)


@pytest.mark.parametrize("separate", [False, True], ids=["values", "preferences"])
def test_a_split_divides_the_pairs_and_holds_out_what_is_liked(separate):
    random = np.random.default_rng(1)
    signs = random.choice([-1.0, 1.0], PLAYS.nnz, p=[0.3, 0.7])
    matrix = sp.csr_array((PLAYS.data * (1 if separate else signs), PLAYS.indices, PLAYS.indptr), shape=(900, 200))
    liked = sp.csr_array((signs > 0, PLAYS.indices, PLAYS.indptr), shape=matrix.shape).toarray()

    (train, phi), held_out = split(Sample(rows_of(matrix), np.maximum(signs, 0) if separate else None))

    columns = np.flatnonzero(matrix.toarray().any(axis=0))
    dense = matrix.toarray()[:, columns]
    parts = [part.as_csr(np.dtype(float)).toarray() for part in (train, held_out)]
    np.testing.assert_array_equal(parts[0] + parts[1], dense)
    assert not np.logical_and(*parts).any()
    out = parts[1] != 0
    assert liked[:, columns][out].all()
    few = liked.sum(axis=1) < pilot.LEAST
    assert few.any()
    assert not out[few].any()
    assert out[~few].sum() == pytest.approx(pilot.SHARE * liked[~few].sum(), rel=0.05)
    if separate:
        np.testing.assert_array_equal(phi > 0, liked[:, columns][parts[0] != 0])
    else:
        assert phi is None


def test_every_third_user_comes_with_preferences():
    phi = np.arange(PLAYS.nnz, dtype=float)
    rows, got = every(rows_of(PLAYS), phi, 2, 3)

    np.testing.assert_array_equal(rows.as_csr(np.dtype(float)).toarray(), PLAYS[2::3].toarray())
    entries = sp.csr_array((phi + 1, PLAYS.indices, PLAYS.indptr), shape=PLAYS.shape)[2::3]
    np.testing.assert_array_equal(got + 1, entries.data)


def test_most_items_are_never_scored(monkeypatch):
    random = np.random.default_rng(4)
    P = random.integers(0, 30, (20, 8)).astype(np.float32)
    Q = random.integers(0, np.linspace(30, 1, 2_000)[:, np.newaxis], (2_000, 8)).astype(np.float32)
    kind = random.random((20, 2_000))
    known, held_out = kind < 0.01, kind > 0.99
    scored = []

    def counted(P, Q, known, users):
        scored.append(users.size * Q.shape[0])
        return scores_of(P, Q, known, users)

    scores_of = pilot._scores
    monkeypatch.setattr(pilot, "_scores", counted)
    monkeypatch.setattr(pilot, "SCORES", 4_000)
    got = ndcg_of(P, Q, rows_of(known.astype(float)), rows_of(held_out.astype(float)), np.arange(20))

    np.testing.assert_allclose(got, naive_ndcg(P, Q, known, held_out, np.arange(20)), rtol=1e-12)
    assert got.any()
    assert sum(scored) < 0.5 * 20 * 2_000


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        (lambda exponent: 0.3 - (exponent - 0.28) ** 2, 0.28),
        (lambda exponent: 0.3 - 1e-6 * (exponent - 0.7) ** 2, 0.7),
        (lambda exponent: 0.3 - (exponent - 0.9) ** 2, 0.75),
        (lambda exponent: 0.3 - (exponent + 0.1) ** 2, 0),
        (lambda exponent: exponent**2 * (0.9 - exponent), 0.6),  # rises slowly and falls fast, as with many data
        (lambda exponent: (exponent - 0.3) ** 2, 0.75),  # lowest within the range: the better end
        (lambda exponent: 0.0, 0.5),  # models that have collapsed tell nothing
    ],
)
def test_the_highest_point_of_a_cubic_is_found_between_the_exponents_tried(curve, expected):
    """Users differ by much more than exponents do, but their mean is what counts."""
    users = np.tile([0.1, -0.1], 200)

    got = pilot._suited(lambda exponent: curve(exponent) + users)

    assert got == pytest.approx(expected, abs=1e-9)


def test_data_that_follow_popularity_alone_have_their_missing_pairs_weigh_alike():
    random = np.random.default_rng(2)
    alike = sp.csr_array((random.random((2_000, 60)) < np.linspace(0.02, 0.6, 60)).astype(float))
    assert model(iterations=15).fit(alike).unobserved_exponent_[1] <= 0.1


def test_generated_books_choose_what_ranks_them_best():
    """After four sweeps of the small models the order of the exponents was the reverse."""
    books, *_ = make_interactions(6_000, 1_500, n_groups=12, mean_per_user=20, random_state=0)
    train, test = train_test_split(books, test_size=0.2, random_state=0)

    def ndcg(exponent):
        fitted = ImplicitALS(32, unobserved_exponent=exponent, random_state=0).fit(train)
        return ranking_metrics_at_k(fitted, train, test, K=20)["ndcg"]

    assert ndcg("auto") > 0.98 * max(ndcg(exponent) for exponent in (0.0, 0.25, 0.5, 0.75))


def test_a_small_model_is_a_fit():
    rows = rows_of(PLAYS)
    P, Q = small_model(model(factors=8, tol=1e-4), Sample(rows), 0.25)
    expected = ImplicitALS(8, iterations=10, tol=1e-4, unobserved_exponent=0.25, random_state=0).fit(PLAYS)

    np.testing.assert_array_equal(P, expected.user_factors)
    np.testing.assert_array_equal(Q, expected.item_factors)
    assert small_model(model(factors=100), Sample(rows), 0.25)[0].shape == (900, pilot.FACTORS)


def test_the_choice_is_the_models_and_that_of_a_fit_with_it():
    found = suited_exponent(model(), Sample(rows_of(PLAYS)))
    got = model().fit(PLAYS)

    assert found != AUTO_EXPONENT
    assert got.unobserved_exponent_ == (0, found)
    assert_same(got, model(unobserved_exponent=found).fit(PLAYS))
    assert got.unobserved_exponent == "auto"


@pytest.mark.parametrize(
    "options",
    [{"num_threads": 1}, {"random_state": 5}, {"random_state": None}, {"iterations": 0}, {"iterations": 20}],
    ids=str,
)
def test_the_choice_is_the_datas(options):
    """Of few sweeps, too, or none: a fit that goes on, or that is given its factors, minimises the same function."""
    assert model(**options).fit(PLAYS).unobserved_exponent_ == model().fit(PLAYS).unobserved_exponent_


def test_it_advances_no_stream_of_random_numbers():
    streams = np.random.default_rng(3), np.random.default_rng(3)
    model(random_state=streams[0]).fit(PLAYS)
    model(random_state=streams[1], unobserved_exponent=0.25).fit(PLAYS)

    assert streams[0].random() == streams[1].random()


@pytest.mark.parametrize(
    ("parameters", "weights", "expected"),
    [
        ({"alpha": 1.0}, None, (0, 0)),
        ({"unobserved_exponent": (0.5, 0.25)}, None, (0.5, 0.25)),
        ({"unobserved_weight": 0.0}, None, (0, AUTO_EXPONENT)),
        ({}, (None, np.ones(70)), (0, AUTO_EXPONENT)),
    ],
    ids=str,
)
def test_nothing_is_searched_where_the_exponent_is_known_or_has_no_effect(parameters, weights, expected):
    def sample(step):
        raise AssertionError("a sample was asked for")

    assert exponents_for(model(**parameters), weights, PLAYS.nnz, sample) == expected


def test_few_users_keep_the_typical_exponent():
    assert suited_exponent(model(), every(rows_of(PLAYS), None, 0, 4)) == AUTO_EXPONENT
    assert model().fit(PLAYS[::4]).unobserved_exponent_ == (0, AUTO_EXPONENT)


def test_large_data_are_sampled():
    steps = []

    def sample(step):
        steps.append(step)
        return every(rows_of(PLAYS), None, 0, 1)

    for stored in (1, 200_000, 2_000_000, 10**11):
        exponents_for(model(), None, stored, sample)

    assert steps == [1, 1, 10, 500_000]


def test_what_small_fits_cannot_solve_is_left_to_the_fit():
    """Such rows may be among the sample's alone: their values overflow there, not among all."""
    huge = Rows(*rows_of(PLAYS)[:2], np.where(np.arange(PLAYS.nnz) < 5, np.inf, 1.0), PLAYS.shape)
    with np.errstate(all="ignore"):
        assert suited_exponent(model(), Sample(huge)) == AUTO_EXPONENT


def test_stores_preferences_resumed_fits_and_loaded_models_have_the_same_choice(tmp_path):
    expected = model(iterations=4).fit(PLAYS)
    store = InteractionStore.build(PLAYS, tmp_path / "store")
    assert_same(model(iterations=4).fit(store), expected)
    ones = sp.csr_array((np.ones(PLAYS.nnz), PLAYS.indices, PLAYS.indptr), shape=PLAYS.shape)
    assert_same(model(iterations=4).fit(PLAYS, preference=ones), expected)

    states = []
    model(iterations=2).fit(PLAYS, callback=lambda model, sweep, loss: states.append(model.training_state()))
    assert_same(model(iterations=4).fit(PLAYS, resume_from=states[-1]), expected)

    expected.save(tmp_path / "model.npz")
    loaded = ImplicitALS.load(tmp_path / "model.npz")
    assert loaded.unobserved_exponent_ == expected.unobserved_exponent_ != (0, AUTO_EXPONENT)
    assert model(alpha=1.0).fit(PLAYS).unobserved_exponent_ == (0, 0)
    given = model().fit(PLAYS, unobserved_weights=(None, np.linspace(0, 2, 70)))
    assert given.unobserved_exponent_ == (0, None)
