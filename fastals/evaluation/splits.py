"""Splits of an interaction matrix into a part to learn from and a part to be judged on.

All of them leave the caller's matrix alone, are exact in their counts, repeat with the same `random_state`, and
return canonical CSR arrays of the shape of the input: every stored pair is in exactly one part, with its value.
Duplicates are summed and stored zeros dropped beforehand, as in `fit`. float32 values stay so, all others come back
as float64. An `InteractionStore` is taken like a matrix; its parts are in memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from fastals.core.validation import check_integer
from fastals.evaluation.parts import RandomState, as_time, canonical, count_of, pair_times, part


def train_test_split(
    user_items: Any, *, test_size: float | int = 0.2, random_state: RandomState = None
) -> tuple[sp.csr_array, sp.csr_array]:
    """Put a random part of all stored pairs into the test set.

    Parameters
    ----------
    user_items : sparse matrix or array (n_users, n_items)
        The interactions.
    test_size : float or int, default 0.2
        A float in (0, 1) is the share of the pairs that is tested (rounded to a whole number), an int >= 1 their
        number.
    random_state : int, numpy.random.Generator or None
        Seed.

    Returns
    -------
    train, test : csr_array (n_users, n_items)
        Exactly `test_size` pairs in `test`. A user may have none there: the metrics skip such users.

    Raises
    ------
    TypeError, ValueError
        For anything but a finite sparse matrix, or a size that leaves either part empty.
    """
    matrix = canonical(user_items)
    n_test = count_of(test_size, matrix.nnz, "test_size", "stored pairs")
    tested = np.zeros(matrix.nnz, dtype=bool)
    tested[np.random.default_rng(random_state).choice(matrix.nnz, n_test, replace=False, shuffle=False)] = True
    return part(matrix, ~tested), part(matrix, tested)


def leave_k_out_split(
    user_items: Any,
    K: int = 1,
    *,
    timestamps: Any = None,
    train_only_size: float = 0.0,
    random_state: RandomState = None,
) -> tuple[sp.csr_array, sp.csr_array]:
    """Test K pairs of every user who has more than K.

    Parameters
    ----------
    user_items : sparse matrix or array (n_users, n_items)
        The interactions.
    K : int, default 1
        Pairs tested per user. Users with K pairs or fewer stay whole in the training set.
    timestamps : sparse matrix or array (n_users, n_items), or array (n_stored,), optional
        Times of the pairs, as in `temporal_split`. If given, the latest K of each user are tested (leave-last-out,
        He et al. 2017); otherwise K random ones.
    train_only_size : float, default 0
        Share, in [0, 1), of the users with more than K pairs who are kept whole in the training set (rounded to a
        whole number of them, chosen at random).
    random_state : int, numpy.random.Generator or None
        Seed; with `timestamps` it decides between equal times.

    Returns
    -------
    train, test : csr_array (n_users, n_items)
        Rows of `test` have K pairs or none.

    Raises
    ------
    TypeError, ValueError
        For anything but a finite sparse matrix, `K` or `train_only_size` out of range, times that do not fit, or a
        matrix in which nobody has more than K pairs.
    """
    K = check_integer("K", K, 1)
    if not 0.0 <= train_only_size < 1.0:
        raise ValueError(f"train_only_size must be in [0, 1), got {train_only_size!r}")
    matrix = canonical(user_items)
    rng = np.random.default_rng(random_state)
    times = None if timestamps is None else pair_times(user_items, matrix, timestamps)
    n_stored = np.diff(matrix.indptr)
    eligible = np.flatnonzero(n_stored > K)
    if not len(eligible):
        raise ValueError(f"no user of user_items has more than K = {K} stored pairs")
    n_tested = np.zeros(matrix.shape[0], dtype=np.int64)
    n_tested[eligible] = K
    n_tested[rng.choice(eligible, round(train_only_size * len(eligible)), replace=False)] = 0
    tested = _last_of_each_row(matrix, n_tested, times, rng)
    return part(matrix, ~tested), part(matrix, tested)


def temporal_split(
    user_items: Any,
    timestamps: Any,
    *,
    test_size: float | int | None = None,
    cutoff: Any = None,
    random_state: RandomState = None,
) -> tuple[sp.csr_array, sp.csr_array]:
    """Learn from the past, test on what came later, with one point in time for all users.

    It is the split that cannot leak the future into training (Ji, Sun, Zhang, Li 2023, "A critical study on data
    leakage in recommender system offline evaluation"). For the latest pairs of each user see `leave_k_out_split`.

    Parameters
    ----------
    user_items : sparse matrix or array (n_users, n_items)
        The interactions.
    timestamps : sparse matrix or array (n_users, n_items), or array (n_stored,)
        Times in any unit, larger is later. Sparse: a time stored at every pair of `user_items`. Array: one for each
        stored entry of `user_items`, in the order of ``user_items.tocoo()``. A pair given twice has its latest time.
    test_size : float or int, optional
        A float in (0, 1) is the share of the pairs, an int >= 1 the number of pairs: the latest are tested. 0.2 if
        neither this nor `cutoff` is given.
    cutoff : number or date, optional
        Instead of `test_size`: pairs with a time >= cutoff are tested. A date is a datetime or a text such as
        "2023-09-01" (in UTC); of times that are numbers it is taken for seconds since 1970, as `Interactions` keeps
        them.
    random_state : int, numpy.random.Generator or None
        Seed; decides which of the pairs of equal time at the border are tested.

    Returns
    -------
    train, test : csr_array (n_users, n_items)

    Raises
    ------
    TypeError, ValueError
        For anything but a finite sparse matrix, times that do not fit, both `test_size` and `cutoff`, or a border that
        leaves either part empty.
    """
    if test_size is not None and cutoff is not None:
        raise ValueError("give test_size or cutoff, not both")
    matrix = canonical(user_items)
    times = pair_times(user_items, matrix, timestamps)
    if cutoff is not None:
        tested = times >= as_time(cutoff, times.dtype)
    else:
        n_test = count_of(0.2 if test_size is None else test_size, matrix.nnz, "test_size", "stored pairs")
        tie_breaker = np.random.default_rng(random_state).random(matrix.nnz)
        tested = np.zeros(matrix.nnz, dtype=bool)
        tested[np.lexsort((tie_breaker, times))[matrix.nnz - n_test :]] = True
    return part(matrix, ~tested), part(matrix, tested)


class StrongGeneralizationSplit(NamedTuple):
    """What `strong_generalization_split` returns.

    Attributes
    ----------
    train : csr_array (n_users, n_items)
        All pairs of the users who are not held out.
    fold_in, test : csr_array (n_users, n_items)
        What serves to fold the held-out users in, and what they are judged by.
    users : int64 array
        The held-out users, increasing.
    """

    train: sp.csr_array
    fold_in: sp.csr_array
    test: sp.csr_array
    users: np.ndarray


def strong_generalization_split(
    user_items: Any,
    *,
    test_users: float | int = 0.2,
    fold_in_size: float = 0.8,
    random_state: RandomState = None,
) -> StrongGeneralizationSplit:
    """Hold out whole users: a part of what they have serves to fold them in, the rest to judge.

    The model never sees the held-out users in training (Marlin 2004, "strong generalization"; with 80 % folded in
    the protocol of Liang et al. 2018). Judge with ``ranking_metrics_at_k(model, fold_in, test,
    recalculate_user=True)``. To have validation users too, split `train` again.

    Parameters
    ----------
    user_items : sparse matrix or array (n_users, n_items)
        The interactions.
    test_users : float or int, default 0.2
        A float in (0, 1) is the share, an int >= 1 the number, of the users with two pairs or more who are held out
        (a share is rounded to a whole number). Users with one pair stay in training.
    fold_in_size : float, default 0.8
        Share, in (0, 1), of a held-out user's pairs that is folded in: n pairs give round(fold_in_size * n), but at
        least 1 and at most n - 1.
    random_state : int, numpy.random.Generator or None
        Seed.

    Returns
    -------
    train, fold_in, test : csr_array (n_users, n_items)
        Rows of held-out users are empty in `train`, those of all others in `fold_in` and `test`.
    users : int64 array
        The held-out users, increasing.

    Raises
    ------
    TypeError, ValueError
        For anything but a finite sparse matrix, a `fold_in_size` out of range, or a `test_users` that leaves no user
        with two pairs or more on either side.
    """
    if not 0.0 < fold_in_size < 1.0:
        raise ValueError(f"fold_in_size must be in (0, 1), got {fold_in_size!r}")
    matrix = canonical(user_items)
    rng = np.random.default_rng(random_state)
    n_stored = np.diff(matrix.indptr)
    eligible = np.flatnonzero(n_stored > 1)
    n_held_out = count_of(test_users, len(eligible), "test_users", "users with two pairs or more")
    users = np.sort(rng.choice(eligible, n_held_out, replace=False))
    n_tested = np.zeros(matrix.shape[0], dtype=np.int64)
    n_folded = np.rint(fold_in_size * n_stored[users]).astype(np.int64)
    n_tested[users] = n_stored[users] - np.clip(n_folded, 1, n_stored[users] - 1)
    tested = _last_of_each_row(matrix, n_tested, None, rng)
    held_out = np.zeros(matrix.shape[0], dtype=bool)
    held_out[users] = True
    of_held_out = np.repeat(held_out, n_stored)
    return StrongGeneralizationSplit(
        part(matrix, ~of_held_out), part(matrix, of_held_out & ~tested), part(matrix, tested), users
    )


def _last_of_each_row(
    matrix: sp.csr_array, n_last: np.ndarray, times: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray:
    """Mask of the `n_last[u]` latest stored entries of each row u, in random order among equal or absent times."""
    n_stored = np.diff(matrix.indptr)
    rows = np.repeat(np.arange(matrix.shape[0]), n_stored)
    keys = (rng.random(matrix.nnz), rows) if times is None else (rng.random(matrix.nnz), times, rows)
    order = np.lexsort(keys)
    # Sorted by row first, entry t of the order belongs to rows[t] and has indptr[row + 1] - t - 1 later ones.
    later = np.repeat(matrix.indptr[1:], n_stored) - np.arange(matrix.nnz) - 1
    chosen = np.empty(matrix.nnz, dtype=bool)
    chosen[order] = later < np.repeat(n_last, n_stored)
    return chosen
