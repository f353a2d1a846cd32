"""Cold-start splits against what they promise, metrics of warm and cold items against plain Python."""

import naive_metrics
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from fastals import ImplicitALS
from fastals.evaluation import (
    Popularity,
    RandomOrder,
    cold_item_split,
    cold_user_split,
    growing_catalogue_split,
    metrics_by_warmth,
    ranking_metrics_at_k,
    temporal_split,
    train_test_split,
)

SHAPE = (30, 20)


def interactions(seed=0, density=0.3):
    """Distinct values; item 4 and user 7 have none."""
    values = sp.csr_array(sp.random(*SHAPE, density, random_state=np.random.default_rng(seed))).tolil()
    values[:, 4], values[7] = 0, 0
    values = values.tocsr()
    values.data = np.arange(1.0, values.nnz + 1)
    return values


def pairs(matrix):
    """{(user, item): value} of what is stored."""
    coo = matrix.tocoo()
    return dict(zip(zip(coo.row.tolist(), coo.col.tolist(), strict=True), coo.data.tolist(), strict=True))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 15), axis=st.integers(0, 1))
def test_all_pairs_of_the_cold_are_tested_and_no_others(seed, count, axis):
    matrix = interactions(seed)
    sizes = ({"test_users": count}, {"test_items": count})
    train, test, cold = (cold_user_split, cold_item_split)[axis](matrix, random_state=seed, **sizes[axis])

    assert cold.dtype == np.int64
    assert len(set(cold.tolist())) == count
    assert cold.tolist() == sorted(cold)
    assert train.shape == test.shape == matrix.shape
    held_out = {pair: value for pair, value in pairs(matrix).items() if pair[axis] in cold}
    assert pairs(test) == held_out
    assert pairs(train) == {pair: value for pair, value in pairs(matrix).items() if pair not in held_out}
    assert {pair[axis] for pair in held_out} == set(cold.tolist())  # whoever has no pair is not held out


@pytest.mark.parametrize("split", [cold_item_split, cold_user_split])
def test_splits_are_seeded_and_leave_the_input_alone(split):
    matrix = interactions()
    before = matrix.copy()
    first, again, other = (split(matrix, random_state=seed) for seed in (3, 3, 4))
    first.train.data[:] = -1

    assert first.cold.tolist() == again.cold.tolist() != other.cold.tolist()
    np.testing.assert_array_equal(matrix.toarray(), before.toarray())


def test_a_share_is_one_of_those_with_pairs():
    matrix = interactions()
    assert cold_item_split(matrix, test_items=0.5).cold.size == round(0.5 * (SHAPE[1] - 1))
    assert cold_user_split(matrix, test_users=0.5).cold.size == round(0.5 * (SHAPE[0] - 1))


def test_items_are_held_out_equally_often():
    matrix = interactions(density=0.6)
    counts = np.zeros(SHAPE[1])
    for seed in range(400):
        counts[cold_item_split(matrix, test_items=5, random_state=seed).cold] += 1
    present = np.flatnonzero(np.bincount(matrix.indices, minlength=SHAPE[1]))
    # Binomial(400, 5 / 19): 105 +- 8.8; five deviations either side.
    assert (abs(counts[present] - 400 * 5 / present.size) < 44).all()
    assert counts[4] == 0


@pytest.mark.parametrize("options", [{"cutoff": 60}, {"test_size": 0.4}, {}])
def test_a_growing_catalogue_is_split_by_time_and_names_what_was_new(options):
    matrix = interactions(density=0.15)
    times = matrix.copy()
    times.data = np.random.default_rng(1).permutation(matrix.nnz) + 1.0
    train, test, cold = growing_catalogue_split(matrix, times, random_state=0, **options)
    expected = temporal_split(matrix, times, random_state=0, **options)

    for got, wanted in zip((train, test), expected, strict=True):
        np.testing.assert_array_equal(got.toarray(), wanted.toarray())
    first_seen = {}
    for (_, item), time in pairs(times).items():
        first_seen[item] = min(first_seen.get(item, np.inf), time)
    border = min(pairs(times)[pair] for pair in pairs(test))
    assert cold.tolist() == sorted(item for item, time in first_seen.items() if time >= border)
    assert cold.dtype == np.int64


def test_the_catalogue_may_not_have_grown():
    matrix = sp.csr_array(np.ones((4, 2)))
    split = growing_catalogue_split(matrix, np.arange(8), cutoff=6)
    assert split.cold.tolist() == []


class Candidates(naive_metrics.BruteForce):
    """The brute-force model, which chooses from ``items``."""

    def recommend(self, userid, user_items, N=10, filter_already_liked_items=True, items=None):
        items = np.arange(len(self.item_factors)) if items is None else np.asarray(items)
        everything = super().recommend(userid, user_items, len(self.item_factors), filter_already_liked_items)
        ids, scores = np.full((len(userid), N), -1), np.full((len(userid), N), np.nan)
        for row, (ranking, values) in enumerate(zip(*everything, strict=True)):
            kept = [t for t, item in enumerate(ranking) if item in items][:N]
            ids[row, : len(kept)], scores[row, : len(kept)] = ranking[kept], values[kept]
        return ids, scores


def problem(seed=0):
    """A model, and a split with warm and cold items, and a few dislikes, in the test part."""
    rng = np.random.default_rng(seed)
    split = cold_item_split(interactions(seed), test_items=6, random_state=seed)
    train, test = train_test_split(split.train, test_size=0.3, random_state=seed)
    test = (test + split.test).tocsr()
    test.data[rng.random(test.nnz) < 0.1] *= -1
    return Candidates(rng.normal(size=(SHAPE[0], 3)), rng.normal(size=(SHAPE[1], 3))), train, test


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("K", [1, 4, 25])
def test_warm_and_cold_against_plain_python(seed, K):
    model, train, test = problem(seed)
    got = metrics_by_warmth(model, train, test, K)

    known, relevant = pairs(train), {pair for pair, value in pairs(test).items() if value > 0}
    warm = {item for _, item in known}
    cold = set(range(SHAPE[1])) - warm
    everything = warm | cold
    kinds = [(everything, everything), (warm, everything), (cold, everything), (warm, warm), (cold, cold)]
    for result, (wanted, candidates) in zip(got, kinds, strict=True):
        expected = {}
        for user in range(SHAPE[0]):
            scores = model.user_factors[user] @ model.item_factors.T
            left = [item for item in sorted(candidates) if (user, item) not in known]
            ranking = sorted(left, key=lambda item: -scores[item])
            of_user = {item for item in wanted if (user, item) in relevant}
            if of_user:
                expected[user] = naive_metrics.metrics_of_user(ranking, of_user, K)
        assert result.users.tolist() == list(expected)
        for name in ("recall", "ndcg", "mrr", "precision"):
            np.testing.assert_allclose(result.per_user[name], [one[name] for one in expected.values()])


def test_coverage_of_chosen_items_is_their_share():
    model, train, test = problem()
    items = np.array([3, 5, 9, 2])
    got = ranking_metrics_at_k(model, train, test, K=4, items=items, filter_train=False)
    assert got["coverage"] == 1


def test_area_under_the_curve_among_chosen_items():
    model, train, test = problem()
    items = np.arange(0, SHAPE[1], 2)
    got = ranking_metrics_at_k(model, train, test, K=4, items=items, auc=True)
    known = pairs(train)
    for user, area in zip(got.users, got.per_user["auc"], strict=True):
        scores = model.user_factors[user] @ model.item_factors.T
        excluded = {item for item in range(SHAPE[1]) if (user, item) in known or item not in items}
        relevant = {item for item in items if pairs(test).get((user, item), 0) > 0}
        assert area == pytest.approx(naive_metrics.area_of_user(scores, relevant, excluded), nan_ok=True)


def test_without_cold_pairs_there_are_no_cold_metrics():
    train, test = sp.csr_array([[1, 0], [1, 1]]), sp.csr_array([[0, 1], [0, 0]])
    got = metrics_by_warmth(Popularity(train), train, test, 1)
    assert got.cold is None
    assert got.cold_alone is None
    assert got.warm["recall"] == got.all["recall"] == 1
    everyone_else = metrics_by_warmth(RandomOrder(2), train[:, [0]] @ sp.csr_array([[1, 0]]), test, 1, users=[0, 1])
    assert everyone_else.warm is None
    assert everyone_else.cold_alone["recall"] == 1


def test_a_model_with_features_ranks_cold_items_of_planted_groups():
    """Users of four groups who like the items of their own: half of each group's items are cold."""
    groups = np.arange(40) % 4
    likes = np.arange(80)[:, None] % 4 == groups
    matrix = sp.csr_array((likes & (np.random.default_rng(0).random(likes.shape) < 0.8)).astype(float))
    split = cold_item_split(matrix, test_items=0.5, random_state=0)
    model = ImplicitALS(4, random_state=0).fit(split.train, item_features=np.eye(4)[groups])

    K = int(np.bincount(groups[split.cold], minlength=4).max())
    got = metrics_by_warmth(model, split.train, split.test, K)
    chance = metrics_by_warmth(RandomOrder(40), split.train, split.test, K)

    assert got.cold_alone["recall"] > 0.99
    assert chance.cold_alone["recall"] == pytest.approx(K / split.cold.size, abs=0.1)
    assert got.warm is None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: cold_item_split(m, test_items=1.5), "test_items as a float"),
        (lambda m: cold_item_split(m, test_items=19), "test_items gives 19 of 19 items with a pair"),
        (lambda m: cold_user_split(m, test_users=0), "test_users gives 0"),
        (lambda m: growing_catalogue_split(m, np.ones(3)), "timestamps has shape"),
        (lambda m: ranking_metrics_at_k(Popularity(m), m, m, items=[20]), "items"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(interactions())
