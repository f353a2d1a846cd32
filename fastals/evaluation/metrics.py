"""Ranking metrics at K over all items, computed from the recommendations of a model or of anything else.

Definitions
-----------
For a user with T > 0 relevant items (stored test values > 0; a negative value is a dislike and not relevant), let
h_k be 1 where the item at rank k = 1..K is relevant and 0 elsewhere, and H the sum of h_k. Every metric is the mean
of the user's value over the users with T > 0; users without a relevant item are skipped and counted.

precision
    H / K, even where fewer than K items were shown or relevant (Herlocker et al. 2004). (``implicit`` calls
    "precision" the sum of H over the sum of min(K, T), both over all users.)
recall
    H / T (NGCF, Wang et al. 2019; LightGCN, He et al. 2020, "Recall@20").
recall_truncated
    H / min(K, T), which a perfect ranking brings to 1 (Liang et al. 2018, "Recall@R").
hit_rate
    1 if H > 0, else 0 (Deshpande and Karypis 2004, "HR").
map
    Mean average precision: sum_k h_k (sum_{j<=k} h_j) / k, over min(K, T) (``implicit``; Kaggle's MAP@K).
map_cut
    The same sum over T, as trec_eval's ``map_cut_K``.
ndcg
    sum_k h_k / log2(k + 1), over the same sum for min(K, T) leading hits: binary gain and truncated ideal (Jarvelin
    and Kekalainen 2002; the form of LightGCN and of ``implicit``).
mrr
    1 / rank of the first hit, 0 if there is none within K (Voorhees 1999).
novelty
    Mean of -log2(share of the users who have the item) over the items shown, in bits (Zhou et al. 2010, mean
    self-information). An item nobody has counts as if one user had it. It says nothing about relevance.
coverage
    Share of all items (or of those to choose from) that are shown to at least one evaluated user (catalogue coverage,
    Ge et al. 2010).
auc
    Probability that a relevant item scores above one that is not, ties counting one half, over all items the user
    does not have in training (Rendle et al. 2009): exact, and not cut at K.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from fastals.core.validation import check_ids, check_integer, check_interactions
from fastals.evaluation.parts import part
from fastals.evaluation.results import RankingMetrics
from fastals.kernels.metrics import areas_task, ranking_values
from fastals.solver.threads import effective_num_threads, launches, run_tasks

# The columns that `ranking_values` fills, in its order.
_COLUMNS = ("precision", "recall", "recall_truncated", "hit_rate", "map", "map_cut", "ndcg", "mrr", "novelty")
_LOWEST = np.finfo(np.float32).min
# Items scored together for the AUC: 64 to 512 factors of so many fit into a core's second-level cache.
_PANEL_WIDTH = 512
# Bytes of scores that each thread may hold for the AUC, where 8 users do not need more.
_SCORE_BYTES = 1 << 23


def ranking_metrics_at_k(
    model: Any,
    train_user_items: Any,
    test_user_items: Any,
    K: int = 10,
    *,
    users: Any = None,
    items: Any = None,
    filter_train: bool = True,
    auc: bool = False,
    recalculate_user: bool = False,
    item_popularity: Any = None,
    batch_size: int = 16384,
    num_threads: int | None = None,
) -> RankingMetrics:
    """Evaluate a model on held-out interactions, ranking all items for every user.

    For the definitions of all metrics, with their sources, see ``help(fastals.evaluation.metrics)``.

    Parameters
    ----------
    model : fitted model
        Anything with ``recommend(userids, user_items, N=, filter_already_liked_items=)`` returning 2-d ids and scores
        (where fewer than N are left id -1, or a score of NaN or the lowest float32), like `fastals.ImplicitALS` or a
        model of ``implicit``; it is given a ``scipy.sparse.csr_matrix``. `auc` also reads `user_factors` and
        `item_factors`.
    train_user_items : sparse matrix or array (n_users, n_items)
        What the users are known to have: left out of the ranking if `filter_train`, and passed to ``recommend``.
    test_user_items : sparse matrix or array (n_users, n_items)
        The held-out interactions; values > 0 are relevant. An item that a user also has in training counts as
        relevant and, if `filter_train`, as missed; the AUC leaves it out.
    K : int, default 10
        Length of the rankings.
    users : int array, optional
        Rows to evaluate, without repetition; all by default.
    items : int array, optional
        Items to rank, all by default; no other counts as relevant. The model must take the argument in ``recommend``.
    filter_train : bool, default True
        Whether training items are left out of the ranking (and of the AUC).
    auc : bool, default False
        Whether to compute the AUC too. It needs the scores of all items, of which the recommendations skip most, and
        so takes several times as long.
    recalculate_user : bool, default False
        Fold the users in from their row of `train_user_items` instead of using their trained factors: the way to
        judge held-out users (see `strong_generalization_split`). The model must take the argument in ``recommend``
        and, for the AUC, have ``recalculate_user(userids, user_items)``.
    item_popularity : float array (n_items,), optional
        Share of the users who have each item, for the novelty; by default that of `train_user_items`.
    batch_size : int, default 16384
        Users recommended to at a time.
    num_threads : int, optional
        Threads of the AUC; the recommendations use the model's own setting.

    Returns
    -------
    RankingMetrics
        Mapping from metric to mean, with `per_user` values, `stderr` and `confidence_interval`.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit: if the shapes differ, `users` is out of range or holds a user twice, no user has
        a relevant item, or the model's rankings are of another shape or hold an item twice.
    """
    train = check_interactions(train_user_items, "train_user_items", np.float64)
    test = _relevant(test_user_items)
    if train.shape != test.shape:
        raise ValueError(f"test_user_items has shape {test.shape}, train_user_items {train.shape}")
    K, batch_size = check_integer("K", K, 1), check_integer("batch_size", batch_size, 1)
    options: dict[str, Any] = {"recalculate_user": True} if recalculate_user else {}
    if items is not None:
        items = options["items"] = np.unique(check_ids(items, "items", test.shape[1]))
        test = part(test, np.isin(test.indices, items))
    evaluated, n_skipped = _evaluated_users(test, users)
    ids = np.empty((len(evaluated), K), dtype=np.int64)
    for start in range(0, len(evaluated), batch_size):
        block = evaluated[start : start + batch_size]
        got = model.recommend(block, _rows(train, block), N=K, filter_already_liked_items=filter_train, **options)
        ids[start : start + len(block)] = _padded(_recommended(*got), len(block), K)
    if item_popularity is None:
        item_popularity = _popularity(train)
    metrics = _metrics(ids, test[evaluated], evaluated, n_skipped, item_popularity, items)
    if not auc:
        return metrics
    if recalculate_user:
        queries = model.recalculate_user(evaluated, _rows(train, evaluated))
    else:
        queries = model.user_factors[evaluated]
    excluded = train[evaluated] if filter_train else sp.csr_array((len(evaluated), test.shape[1]))
    chosen = slice(None) if items is None else items
    area = _areas(queries, model.item_factors[chosen], excluded[:, chosen], test[evaluated][:, chosen], num_threads)
    return RankingMetrics(
        K,
        {**metrics.per_user, "auc": area},
        evaluated,
        metrics.n_test,
        n_skipped=n_skipped,
        coverage=metrics["coverage"],
    )


def metrics_from_rankings(
    ids: Any, test_user_items: Any, K: int | None = None, *, users: Any = None, item_popularity: Any = None
) -> RankingMetrics:
    """Evaluate rankings made by any library.

    Parameters
    ----------
    ids : int array (n_users, at least K)
        Row t ranks items, best first, for user ``users[t]``; a negative id stands for no item. No item may come twice
        in a row.
    test_user_items : sparse matrix or array (n_users, n_items)
        The relevant items (values > 0).
    K : int, optional
        Ranks looked at: all columns of `ids` by default. If `ids` has fewer columns, the missing ranks hold no item.
    users : int array, optional
        The user of each row of `ids`, without repetition; by default row t belongs to user t.
    item_popularity : float array (n_items,), optional
        Share of the users who have each item (see `item_popularity`). Without it there is no novelty.

    Returns
    -------
    RankingMetrics
        All metrics but the AUC, as `ranking_metrics_at_k` has them.

    Raises
    ------
    TypeError, ValueError
        If `ids` are not integers, too large or twice in a row, there is not one row for each user, `users` is out of
        range, no user has a relevant item, or `item_popularity` is not a positive share of each item.
    """
    ids = np.asarray(ids)
    if ids.ndim != 2 or ids.dtype.kind not in "iu":
        raise ValueError(f"ids must be a 2-d integer array, got shape {ids.shape} and dtype {ids.dtype}")
    K = check_integer("K", ids.shape[1] if K is None else K, 1)
    test = _relevant(test_user_items)
    users = np.arange(test.shape[0]) if users is None else _check_users(users, test.shape[0])
    if len(ids) != len(users):
        raise ValueError(f"ids has {len(ids)} rows, expected {len(users)}, one for each user")
    kept = np.diff(test.indptr)[users] > 0
    evaluated, n_skipped = _evaluated_users(test, users)
    return _metrics(_padded(ids[kept], len(evaluated), K), test[evaluated], evaluated, n_skipped, item_popularity)


def item_popularity(user_items: Any) -> np.ndarray:
    """Share of the users who have each item.

    Parameters
    ----------
    user_items : sparse matrix or array (n_users, n_items)
        The interactions, normally those of training.

    Returns
    -------
    float64 array (n_items,)
        Number of users who have the item over the number of users who have any; an item nobody has counts as if one
        user had it, so that its self-information is finite.

    Raises
    ------
    TypeError, ValueError
        For anything but a finite sparse matrix.
    """
    return _popularity(check_interactions(user_items, "user_items", np.float64))


def _rows(matrix: sp.csr_array, users: np.ndarray) -> sp.csr_matrix:
    """Rows of some users, of the class that implicit insists on."""
    return sp.csr_matrix(matrix[users])


def _recommended(ids: Any, scores: Any) -> np.ndarray:
    """Ids of a model's lists, -1 in the place of what implicit pads them with: filtered items at the lowest float."""
    return np.where(np.asarray(scores) > _LOWEST, ids, -1)


def _popularity(matrix: sp.csr_array) -> np.ndarray:
    n_users = max(1, np.count_nonzero(np.diff(matrix.indptr)))
    return np.maximum(np.bincount(matrix.indices, minlength=matrix.shape[1]), 1) / n_users


def _relevant(test_user_items: Any) -> sp.csr_array:
    """Canonical test matrix with the relevant items alone."""
    test = check_interactions(test_user_items, "test_user_items", np.float64)
    test.data[test.data < 0] = 0
    test.eliminate_zeros()
    return test


def _check_users(users: Any, n_users: int) -> np.ndarray:
    users = np.atleast_1d(check_ids(users, "users", n_users))
    if len(np.unique(users)) != len(users):
        raise ValueError("users must not hold a user twice")
    return users


def _evaluated_users(test: sp.csr_array, users: Any) -> tuple[np.ndarray, int]:
    """The users with a relevant item, and how many of those asked for have none."""
    asked = np.arange(test.shape[0]) if users is None else _check_users(users, test.shape[0])
    evaluated = asked[np.diff(test.indptr)[asked] > 0]
    if not len(evaluated):
        raise ValueError("test_user_items has no relevant item (a value > 0) for any of the users")
    return evaluated, len(asked) - len(evaluated)


def _padded(ids: Any, n: int, K: int) -> np.ndarray:
    """The first K columns of `ids` as int64, with -1 where there is no item."""
    ids = np.asarray(ids)
    if ids.ndim != 2 or len(ids) != n:
        raise ValueError(f"rankings of {n} users must have shape ({n}, K), got {ids.shape}")
    padded = np.full((n, K), -1, dtype=np.int64)
    padded[:, : ids.shape[1]] = ids[:, :K]
    return padded


def _metrics(
    ids: np.ndarray, test: sp.csr_array, users: np.ndarray, n_skipped: int, item_popularity: Any, items: Any = None
) -> RankingMetrics:
    """Metrics of `ids`, row t of which answers to row t of `test`; `items` are those to choose from, if not all."""
    n, K = ids.shape
    n_items = test.shape[1]
    if ids.max() >= n_items:
        raise ValueError(f"ids must be below the number of items, {n_items}, got {ids.max()}")
    in_order = np.sort(ids, axis=1)
    twice = (in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] >= 0)
    if twice.any():
        row = int(np.flatnonzero(twice.any(axis=1))[0])
        raise ValueError(f"ids must not rank an item twice for a user, but does so for user {users[row]}")
    information = np.zeros(n_items)
    if item_popularity is not None:
        share = np.asarray(item_popularity, dtype=np.float64)
        if share.shape != (n_items,) or not (share > 0).all():
            raise ValueError(f"item_popularity must be {n_items} positive shares, got shape {share.shape}")
        information = -np.log2(share)
    discounts = 1 / np.log2(np.arange(2, K + 2))
    values = np.empty((n, len(_COLUMNS)))
    recommended = np.zeros(n_items, dtype=bool)
    test_indptr, test_indices = test.indptr.astype(np.int64), test.indices.astype(np.int64)
    ranking_values(ids, test_indptr, test_indices, discounts, discounts.cumsum(), information, values, recommended)
    per_user = dict(zip(_COLUMNS, np.ascontiguousarray(values.T), strict=True))
    if item_popularity is None:
        del per_user["novelty"]
    covered = float(recommended.mean() if items is None else recommended[items].mean())
    return RankingMetrics(K, per_user, users, np.diff(test_indptr), n_skipped=n_skipped, coverage=covered)


def _areas(
    user_factors: Any, item_factors: Any, excluded: sp.csr_array, test: sp.csr_array, num_threads: int | None
) -> np.ndarray:
    """AUC of each row of `test`, scored by the inner products of the factors."""
    P, Q = np.asarray(user_factors), np.asarray(item_factors)
    n_users, n_items = test.shape
    if len(P) != n_users or len(Q) != n_items or P.shape[1:] != Q.shape[1:]:
        raise ValueError(f"factors of shapes {P.shape} and {Q.shape} do not fit {n_users} users and {n_items} items")
    dtype = np.result_type(P, Q, np.float32)
    queries = np.zeros((-(-n_users // 8) * 8, P.shape[1]), dtype)
    queries[:n_users] = P
    n_panels = -(-n_items // _PANEL_WIDTH)
    transposed = np.zeros((Q.shape[1], n_panels * _PANEL_WIDTH), dtype)
    transposed[:, :n_items] = Q.T
    if not (np.isfinite(queries).all() and np.isfinite(transposed).all()):
        raise ValueError("the factors of the model must be finite")
    panels = np.ascontiguousarray(transposed.reshape(-1, n_panels, _PANEL_WIDTH).swapaxes(0, 1))
    area = np.empty(n_users)
    n_blocks = min(4, max(1, _SCORE_BYTES // (8 * n_panels * _PANEL_WIDTH * dtype.itemsize)))
    threads = effective_num_threads(num_threads)  # there are as many tasks, or fewer
    scores = np.empty((threads, n_blocks, n_panels, 8, _PANEL_WIDTH), dtype)
    positive = np.empty((threads, int(np.diff(test.indptr).max())), dtype)
    (out_indptr, out_indices), (in_indptr, in_indices) = (
        (matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64)) for matrix in (excluded, test)
    )
    groups = -(-n_users // (8 * n_blocks))
    for launch in launches(groups, 2.0 * n_users * panels.size, threads):
        first, last = 8 * n_blocks * launch.start, min(8 * n_blocks * launch.stop, n_users)
        run_tasks(
            areas_task,
            threads,
            queries[first : 8 * -(-last // 8)],
            (panels, n_items),
            (out_indptr[first : last + 1], out_indices),
            (in_indptr[first : last + 1], in_indices),
            scores,
            positive,
            area[first:last],
        )
    return area
