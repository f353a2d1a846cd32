"""Generated interactions with the traits of real ones: popular items, busy users, groups of taste, play counts."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import sparse

from fastals.tables.interactions import Interactions

__all__ = ["SyntheticData", "make_interactions"]

_DRAWS_AT_A_TIME = 1 << 21  # bounds the memory beside the result to some 150 MB
_ROUNDS = 12  # times a user's repeated draws are drawn anew


class SyntheticData(NamedTuple):
    """What `make_interactions` returns; unpacks into its three arrays.

    Attributes
    ----------
    user_items : float32 csr_array (n_users, n_items)
    user_groups, item_groups : (n_users,) and (n_items,) int32 arrays
        The group of taste in which each user or item was planted.
    """

    user_items: sparse.csr_array
    user_groups: np.ndarray
    item_groups: np.ndarray

    @property
    def interactions(self) -> Interactions:
        """The matrix with positions as ids."""
        return Interactions._from_canonical(self.user_items)


def make_interactions(
    n_users: int = 5_000,
    n_items: int = 2_000,
    *,
    n_groups: int = 10,
    mean_per_user: float = 30.0,
    own_group_share: float = 0.8,
    popularity_exponent: float = 0.8,
    activity_sigma: float = 0.9,
    count_sigma: float = 1.2,
    random_state: int | np.random.Generator | None = 0,
) -> SyntheticData:
    """Draw a user-item matrix with planted taste groups.

    Each user and each item belongs to one group, uniformly. A user's number of items is log-normal; each is drawn
    without repetition, with probability `own_group_share` from the user's own group and otherwise from all items,
    in proportion to rank**-popularity_exponent (Zipf's law). Values are play counts: 1 + floor of a log-normal,
    whose median is four times as high inside the own group.

    Parameters
    ----------
    n_users, n_items : int
    n_groups : int
        At most n_items.
    mean_per_user : float
        Mean number of distinct items a user has, at most n_items / 2. A user has at least one and at most half of all
        items; one who has nearly exhausted the own group may end up with fewer than drawn.
    own_group_share : float in [0, 1]
        0 plants nothing, 1 makes the groups disjoint.
    popularity_exponent : float >= 0
    activity_sigma, count_sigma : float >= 0
        Standard deviations of the logarithm of a user's number of items and of a play count.
    random_state : int, numpy Generator or None
        The same seed gives the same data.

    Returns
    -------
    SyntheticData
        (user_items, user_groups, item_groups).

    Notes
    -----
    Time and memory are linear in the number of interactions, with nothing but the result itself held as a whole:
    1,000,000 x 200,000 with 100 million interactions fits in 2 GB.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range; the message names the argument and what it must be.

    Examples
    --------
    >>> from fastals.datasets import make_interactions
    >>> plays, user_groups, item_groups = make_interactions(1000, 500, n_groups=5, random_state=1)
    >>> plays.shape
    (1000, 500)
    """
    _check(n_users, n_items, n_groups, mean_per_user, own_group_share)
    for name, number in (
        ("popularity_exponent", popularity_exponent),
        ("activity_sigma", activity_sigma),
        ("count_sigma", count_sigma),
    ):
        if not (np.isfinite(number) and number >= 0):
            raise ValueError(f"{name} must be finite and at least 0, got {number!r}")
    rng = np.random.default_rng(random_state)
    user_groups = rng.integers(n_groups, size=n_users, dtype=np.int32)
    item_groups = np.resize(np.arange(n_groups, dtype=np.int32), n_items)  # no group is empty
    rng.shuffle(item_groups)
    taste = _Taste(item_groups, n_groups, own_group_share, popularity_exponent, rng)
    wanted = _activity(n_users, n_items, mean_per_user, activity_sigma, rng)

    indptr = np.zeros(n_users + 1, dtype=np.int64)
    indices = np.empty(wanted.sum(), dtype=np.int32)
    data = np.empty(indices.size, dtype=np.float32)
    # Users in pieces of about _DRAWS_AT_A_TIME draws.
    pieces = np.flatnonzero(np.diff(np.cumsum(wanted) // _DRAWS_AT_A_TIME, prepend=-1, append=np.iinfo(np.int64).max))
    filled = 0
    for start, stop in pairwise(pieces):
        users, items = _distinct_draws(taste, user_groups[start:stop], wanted[start:stop], n_items, rng)
        indptr[start + 1 : stop + 1] = np.bincount(users, minlength=stop - start)
        own = item_groups[items] == user_groups[start:stop][users]
        indices[filled : filled + items.size] = items
        data[filled : filled + items.size] = _play_counts(own, count_sigma, rng)
        filled += items.size
    np.cumsum(indptr, out=indptr)
    indptr = indptr.astype(np.int32 if filled < 2**31 else np.int64)  # SciPy gives indices the same type
    user_items = sparse.csr_array((data[:filled], indices[:filled], indptr), shape=(n_users, n_items))
    user_items.has_canonical_format = True
    return SyntheticData(user_items, user_groups, item_groups)


def _check(n_users: int, n_items: int, n_groups: int, mean_per_user: float, own_group_share: float) -> None:
    for name, number in (("n_users", n_users), ("n_items", n_items), ("n_groups", n_groups)):
        if not isinstance(number, (int, np.integer)) or isinstance(number, bool):
            raise TypeError(f"{name} must be an integer, got {number!r}")
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    if n_groups > n_items:
        raise ValueError(f"n_groups must be at most n_items ({n_items}), got {n_groups}")
    if not 0 < mean_per_user <= max(1.0, n_items / 2):
        raise ValueError(f"mean_per_user must be positive and at most n_items / 2, got {mean_per_user!r}")
    if not 0 <= own_group_share <= 1:
        raise ValueError(f"own_group_share must be from 0 to 1, got {own_group_share!r}")


class _Taste:
    """Draws items for users of given groups, by inversion of the cumulative popularity of items sorted by group."""

    def __init__(
        self, item_groups: np.ndarray, n_groups: int, own_share: float, exponent: float, rng: np.random.Generator
    ) -> None:
        popularity = rng.permutation(np.arange(1.0, item_groups.size + 1) ** -exponent)
        self.order = np.argsort(item_groups, kind="stable").astype(np.int32)
        self.cumulative = np.concatenate(([0.0], np.cumsum(popularity[self.order])))
        ends = np.searchsorted(item_groups[self.order], np.arange(n_groups + 1))
        self.bounds = self.cumulative[ends]
        self.own_share = own_share

    def draw(self, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        own = rng.random(groups.size, dtype=np.float32) < self.own_share
        low = np.where(own, self.bounds[groups], 0.0)
        high = np.where(own, self.bounds[groups + 1], self.cumulative[-1])
        place = np.searchsorted(self.cumulative, low + rng.random(groups.size) * (high - low), side="right") - 1
        return self.order[np.minimum(place, self.order.size - 1)]


def _activity(n_users: int, n_items: int, mean: float, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Number of items each user draws: log-normal, at least 1 and at most half of all items, with the given mean."""
    raw = rng.lognormal(0.0, sigma, n_users)
    ceiling = max(1, n_items // 2)
    scale = mean / raw.mean()
    for _ in range(20):  # the bounds shift the mean; a few corrections bring it back
        wanted = np.clip(np.rint(raw * scale), 1, ceiling).astype(np.int64)
        scale *= mean / wanted.mean()
    return wanted


def _distinct_draws(
    taste: _Taste, groups: np.ndarray, wanted: np.ndarray, n_items: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Users (numbered from 0) and items of a piece, sorted, without repetition."""
    pairs = np.empty(0, dtype=np.int64)
    missing = wanted
    for _ in range(_ROUNDS):
        users = np.repeat(np.arange(wanted.size), missing)
        pairs = np.concatenate((pairs, users * n_items + taste.draw(groups[users], rng)))
        pairs.sort()
        pairs = pairs[np.concatenate(([True], pairs[1:] != pairs[:-1]))]
        missing = wanted - np.bincount(pairs // n_items, minlength=wanted.size)
        if not missing.any():
            break
    return pairs // n_items, pairs % n_items


def _play_counts(own: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    counts = rng.standard_normal(own.size, dtype=np.float32)
    counts *= np.float32(sigma)
    counts += np.where(own, np.float32(np.log(8.0)), np.float32(np.log(2.0)))
    return 1 + np.floor(np.exp(counts))
