"""Lists filled up as implicit fills them: what was filtered at the end, and behind all there is id 0 with score 0."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastals.core.types import Array


def padded(
    ids: Array, scores: Array, chosen: Any, size: int, scalar: bool, filtered_score: float
) -> tuple[Array, Array]:
    """Lists (n, N) whose tails are id -1, as implicit gives them.

    Parameters
    ----------
    ids, scores : (n, N) arrays
    chosen : array of int or None
        The ids to choose from; of those the lists are no longer than there are, and of int64.
    size : int
        Number of ids there are.
    scalar : bool
        Whether the only list is wanted.
    filtered_score : float
        Score of what was filtered.
    """
    ids, scores = ids.copy(), scores.copy()
    candidates = np.arange(size) if chosen is None else np.unique(chosen)
    for row in np.flatnonzero(ids[:, -1] < 0):
        found = int(np.count_nonzero(ids[row] >= 0))
        filtered = np.setdiff1d(candidates, ids[row, :found])[::-1][: ids.shape[1] - found]
        ids[row, found:], scores[row, found:] = 0, 0
        ids[row, found : found + filtered.size], scores[row, found : found + filtered.size] = filtered, filtered_score
    if chosen is not None:
        ids, scores = ids[:, : candidates.size].astype(np.int64), scores[:, : candidates.size]
    return (ids[0], scores[0]) if scalar else (ids, scores)
