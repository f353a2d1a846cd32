"""Ranking metrics of many users at once: those of a ranked list from its ids, the AUC from the factors."""

import numpy as np

from fastals.kernels.dense.blocks import multiply_block
from fastals.kernels.jit import compiled


@compiled
def _position(sorted_ids, start, stop, wanted):
    """Position of `wanted` in the increasing `sorted_ids[start:stop]`, or -1."""
    end = stop
    while start < stop:
        middle = (start + stop) // 2
        if sorted_ids[middle] < wanted:
            start = middle + 1
        else:
            stop = middle
    if start < end and sorted_ids[start] == wanted:
        return start
    return -1


@compiled
def ranking_values(ids, test_indptr, test_indices, discounts, ideal, information, values, recommended):
    """Fill `values` with the metrics of each row of `ids` and mark the items that occur in `recommended`.

    Serial, because it is nearly free: 8 ms for 30,000 users at K = 20.

    Parameters
    ----------
    ids : int64 array (n, K)
        Ranked items, best first; -1 stands for no item.
    test_indptr, test_indices : int64 arrays (n + 1,), (nnz,)
        The relevant items of each row, increasing; no row is empty.
    discounts, ideal : float64 arrays (K,)
        1 / log2(rank + 1) for rank = 1..K, and its running sum: ideal[t - 1] is the DCG of t leading hits.
    information : float64 array (n_items,)
        Self-information of each item in bits.
    values : float64 array (n, 9)
        Written: precision, recall, truncated recall, hit rate, average precision over min(K, n_test), average
        precision over n_test, NDCG, reciprocal rank, mean self-information of the items shown (NaN if none).
    recommended : bool array (n_items,)
        Written: True where an item occurs in `ids`; other entries stay as they are.
    """
    n, K = ids.shape
    for row in range(n):
        start, stop = test_indptr[row], test_indptr[row + 1]
        n_test = stop - start
        shortest = min(K, n_test)
        hits, shown = 0, 0
        gain, average, bits, reciprocal = 0.0, 0.0, 0.0, 0.0
        for t in range(K):
            item = ids[row, t]
            if item < 0:
                continue
            shown += 1
            recommended[item] = True
            bits += information[item]
            if _position(test_indices, start, stop, item) >= 0:
                hits += 1
                gain += discounts[t]
                average += hits / (t + 1)
                if hits == 1:
                    reciprocal = 1.0 / (t + 1)
        values[row, 0] = hits / K
        values[row, 1] = hits / n_test
        values[row, 2] = hits / shortest
        values[row, 3] = 1.0 if hits > 0 else 0.0
        values[row, 4] = average / shortest
        values[row, 5] = average / n_test
        values[row, 6] = gain / ideal[shortest - 1]
        values[row, 7] = reciprocal
        values[row, 8] = bits / shown if shown > 0 else np.nan


@compiled
def _area_of_user(scores, m, n_items, train_items, test_items, positive):
    """AUC of user m of a block; overwrites its `scores` and the first entries of `positive`."""
    width = scores.shape[2]
    # NaN is neither below, equal to nor above anything: it takes an item out of every count.
    for item in train_items:
        scores[item // width, m, item % width] = np.nan
    n_positive = 0
    for item in test_items:
        score = scores[item // width, m, item % width]
        if not np.isnan(score):
            positive[n_positive] = score
            n_positive += 1
        scores[item // width, m, item % width] = np.nan
    n_negative = n_items - train_items.shape[0] - n_positive
    if n_positive == 0 or n_negative == 0:
        return np.nan
    # 2 * #(negative below) + #(negative equal) = #(negative below) + #(negative below or equal)
    twice = 0
    for panel in range(scores.shape[0]):
        row, length = scores[panel, m], min(width, n_items - panel * width)
        for t in range(n_positive):
            threshold = positive[t]
            count = np.int32(0)
            for i in range(length):
                count = np.int32(count + np.int32(row[i] < threshold) + np.int32(row[i] <= threshold))
            twice += int(count)
    return twice / (2.0 * n_positive * n_negative)


@compiled
def areas_task(task, tasks, queries, catalogue, excluded, relevant, scores, positive, area):
    """Fill `area` with the exact area under the ROC curve of users, negatives being all items in neither matrix.

    Takes every ``tasks``-th group of users, from number ``task`` on.

    AUC = (#(negative below positive) + #(negative equal) / 2) / (#positive * #negative) over all pairs: the
    Mann-Whitney statistic. Each positive is counted against all items in one linear pass, which runs in vector
    registers (20 comparisons a nanosecond): sorting would pay off only for users with hundreds of test items.

    Parameters
    ----------
    queries : float array (n rounded up to a multiple of 8, factors)
        User factors, zero past the n users of `area`.
    catalogue : (panels, n_items)
        Item factors, transposed, float (n_panels, factors, width), `width` items a panel, a multiple of 16; zero past
        the last item; and how many items there are.
    excluded, relevant : (indptr, indices), int64
        Items left out of the ranking and relevant items of each user; an item in both counts as left out.
    scores : float array (tasks, n_blocks, n_panels, 8, width)
        Scratch: scores of 8 n_blocks users for each task.
    positive : float array (tasks, largest number of relevant items)
        Scratch.
    area : float64 array (n,)
        Written; NaN where a user has no positive or no negative left.
    """
    n, factors = queries.shape
    n_blocks, (panels, n_items) = scores.shape[1], catalogue
    group_size = 8 * n_blocks
    for start in range(task * group_size, n, tasks * group_size):
        # Panels outside, users inside: a panel of items is in a near cache for all users of the group.
        for panel in range(panels.shape[0]):
            for block in range(min(n_blocks, (n - start) // 8)):
                first, scored = start + 8 * block, scores[task, block, panel]
                multiply_block(queries, first, 0, factors, panels[panel], scored, 0)
        for row in range(start, min(start + group_size, area.shape[0])):
            area[row] = _area_of_user(
                scores[task, (row - start) // 8],
                (row - start) % 8,
                n_items,
                excluded[1][excluded[0][row] : excluded[0][row + 1]],
                relevant[1][relevant[0][row] : relevant[0][row + 1]],
                positive[task],
            )
