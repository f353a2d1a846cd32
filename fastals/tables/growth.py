"""Where the ids of a new table stand among known ones, the unknown ones behind them."""

from __future__ import annotations

import numpy as np

from fastals.core.rows import Rows
from fastals.tables.ids import IdIndex
from fastals.tables.interactions import Interactions


def positions_in(known: np.ndarray, new: np.ndarray, noun: str) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the ids ``new`` among ``known``, and all ids: the known ones, then those that are not among them.

    Raises
    ------
    TypeError
        Where the ones are text and the others integers.
    """
    if (known.dtype.kind == "U") != (new.dtype.kind == "U"):
        kinds = ["text" if ids.dtype.kind == "U" else "integers" for ids in (known, new)]
        raise TypeError(f"user_items must have {noun} ids that are {kinds[0]}, as the model's; got {kinds[1]}")
    places, found = IdIndex(known, noun).find(new)
    places[~found] = known.size + np.arange(np.count_nonzero(~found))
    return places, np.concatenate((known, new[~found]))


def grown(known: Interactions, table: Interactions) -> tuple[Rows, np.ndarray, np.ndarray]:
    """Rows of a table in the numbering of known ids, canonical, and the ids of users and items, grown by its own."""
    user_places, user_ids = positions_in(known.user_ids, table.user_ids, "user")
    item_places, item_ids = positions_in(known.item_ids, table.item_ids, "item")
    matrix = table.user_items.tocoo()
    order = np.lexsort((item_places[matrix.col], user_places[matrix.row]))
    users, items = user_places[matrix.row][order], item_places[matrix.col][order].astype(np.int32)
    indptr = np.concatenate(([0], np.cumsum(np.bincount(users, minlength=user_ids.size)))).astype(np.int64)
    shape = (user_ids.size, item_ids.size)
    return Rows(indptr, items, matrix.data[order], shape).compact(), user_ids, item_ids


def renumbered(rows: Rows, user_ids: np.ndarray, item_ids: np.ndarray) -> Interactions:
    """Interactions of canonical rows with the ids of their users and items."""
    return Interactions(rows.as_csr(np.dtype(np.float32)), user_ids, item_ids)
