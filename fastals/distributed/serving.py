"""What is asked of a fitted distributed model, where its users are."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastals.core.atomic_folder import replace_file
from fastals.core.overlay import Factors, History
from fastals.core.rows import Rows
from fastals.core.state import Chosen, State
from fastals.distributed.executor import DaskExecutor, Reference
from fastals.distributed.shards import Shard, Solved, users_of
from fastals.model import ImplicitALS
from fastals.serving import recommend as lists
from fastals.serving.fitted import Fitted


class Query(NamedTuple):
    """Arguments of ``recommend``, and the parameters of the model with what the fit chose."""

    parameters: dict[str, Any]
    chosen: Chosen
    N: int
    filtered: bool
    excluded: Any
    candidates: Any


def factors_of(solved: Solved) -> np.ndarray:
    """A shard's users' factors."""
    return solved.X


def recommend_shard(shard: Shard, solved: Solved, item_factors: np.ndarray, query: Query) -> tuple[Any, Any]:
    """Lists for all users of a shard."""
    entries = users_of(shard).entries
    n_users, n_items = entries.indptr.size - 1, item_factors.shape[0]
    rows = Rows(entries.indptr, entries.indices, np.ones(1, np.float32), (n_users, n_items))
    state = State(Factors(solved.X), Factors(item_factors), History(rows), query.chosen)
    fitted = Fitted(ImplicitALS(**query.parameters), state)
    return lists.recommend(
        fitted, np.arange(n_users), None, query.N, query.filtered, query.excluded, False, query.candidates
    )


def recommend_all(
    executor: DaskExecutor, shards: list[Reference], users: list[Reference], item_factors: np.ndarray, query: Query,
    bounds: np.ndarray,
) -> tuple[Any, Any]:  # fmt: skip
    """Lists for all users as two dask arrays, of a chunk for each shard."""
    import dask
    import dask.array as da

    items = executor.share("recommend-items", item_factors)
    ids, scores = [], []
    for s, (shard, solved) in enumerate(zip(shards, users, strict=True)):
        found = dask.delayed(recommend_shard, pure=False)(
            shard, solved, items, query, dask_key_name=executor.key(f"recommend-{s}")
        )
        shape = int(bounds[s + 1] - bounds[s]), query.N
        ids.append(da.from_delayed(found[0], shape, np.int32))
        scores.append(da.from_delayed(found[1], shape, item_factors.dtype))
    return da.concatenate(ids), da.concatenate(scores)


def write_users(solved: Solved, folder: str, first: int, end: int) -> str:
    """Write a shard's users' factors to a file of their numbers; returns its path."""
    os.makedirs(folder, exist_ok=True)
    path = Path(folder, f"users-{first:012d}-{end:012d}.npy")
    content = io.BytesIO()
    np.save(content, solved.X, allow_pickle=False)
    replace_file(path, content.getvalue())
    return str(path)
