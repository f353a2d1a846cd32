"""Generated interactions have the traits that were asked for."""

import numpy as np
import pytest
from scipy import sparse, stats

from fastals.datasets import make_interactions, synthetic


def test_same_seed_same_data():
    first, second = (make_interactions(300, 200, mean_per_user=10, random_state=3) for _ in range(2))
    other = make_interactions(300, 200, mean_per_user=10, random_state=4)
    assert (first.user_items != second.user_items).nnz == 0
    np.testing.assert_array_equal(first.user_groups, second.user_groups)
    np.testing.assert_array_equal(first.item_groups, second.item_groups)
    assert (first.user_items != other.user_items).nnz > 0


def test_matrix_is_canonical_and_counts_are_as_asked():
    made = make_interactions(2000, 1000, mean_per_user=25, random_state=0)
    matrix = made.user_items
    assert sparse.csr_array((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape).has_canonical_format
    assert matrix.dtype == np.float32
    assert matrix.indices.dtype == np.int32
    per_user = np.diff(matrix.indptr)
    assert per_user.min() >= 1
    assert per_user.max() <= 500
    assert per_user.mean() == pytest.approx(25, rel=0.01)
    np.testing.assert_array_equal(matrix.data, np.floor(matrix.data))
    assert matrix.data.min() == 1
    assert made.interactions.user_items is matrix
    assert made.interactions.user_ids[-1] == 1999


def test_activity_is_log_normal_and_items_follow_a_power_law():
    matrix = make_interactions(
        20_000, 5_000, n_groups=1, mean_per_user=40, activity_sigma=0.7, popularity_exponent=0.6, random_state=0
    ).user_items
    assert np.log(np.diff(matrix.indptr)).std() == pytest.approx(0.7, abs=0.03)
    per_item = np.sort(np.bincount(matrix.indices, minlength=5_000))[::-1]
    ranks = np.arange(1, 5_001)
    middle = slice(50, 2_000)  # drawing without repetition flattens the very top
    slope = stats.linregress(np.log(ranks[middle]), np.log(per_item[middle])).slope
    assert slope == pytest.approx(-0.6, abs=0.05)


def test_play_counts_have_a_heavy_tail():
    values = make_interactions(3000, 1000, count_sigma=1.2, random_state=0).user_items.data
    assert values.max() > 100 * np.median(values)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_share_of_the_own_group(share):
    user_items, user_groups, item_groups = make_interactions(
        4000, 2000, n_groups=8, mean_per_user=8, own_group_share=share, random_state=1
    )
    users = np.repeat(np.arange(4000), np.diff(user_items.indptr))
    got = (user_groups[users] == item_groups[user_items.indices]).mean()
    # Other draws hit the own group by chance; repeats are drawn anew, more often where the group is small.
    assert got == pytest.approx(share + (1 - share) / 8, abs=0.03)
    assert np.unique(item_groups).size == 8


def test_pieces_are_all_of_the_users(monkeypatch):
    monkeypatch.setattr(synthetic, "_DRAWS_AT_A_TIME", 50)
    made = make_interactions(200, 100, n_groups=2, mean_per_user=10, random_state=0)
    assert np.diff(made.user_items.indptr).min() >= 1
    assert made.user_items.nnz == pytest.approx(2000, rel=0.05)


@pytest.mark.parametrize(("n_users", "n_items"), [(1, 1), (1, 5), (5, 1)])
def test_smallest_sizes(n_users, n_items):
    made = make_interactions(n_users, n_items, n_groups=1, mean_per_user=1)
    assert made.user_items.shape == (n_users, n_items)
    assert made.user_items.nnz >= n_users


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_users": 0}, ValueError, "n_users"),
        ({"n_items": 2.5}, TypeError, "n_items"),
        ({"n_groups": 11, "n_items": 10, "mean_per_user": 2}, ValueError, "n_groups must be at most n_items"),
        ({"mean_per_user": 0}, ValueError, "mean_per_user"),
        ({"mean_per_user": 1001, "n_items": 2000}, ValueError, "mean_per_user"),
        ({"own_group_share": 1.5}, ValueError, "own_group_share"),
        ({"popularity_exponent": np.nan}, ValueError, "popularity_exponent"),
        ({"activity_sigma": -1}, ValueError, "activity_sigma"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        make_interactions(**options)
