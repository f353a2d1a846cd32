"""Kinds "tables" and "metrics": ids and their pairs, splits, and ranking metrics, against dictionaries and loops."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastals import ImplicitALS
from fastals.evaluation import leave_k_out_split, ranking_metrics_at_k, train_test_split
from fastals.interactions import Interactions

from .checks import Checks
from .choices import Choices
from .files import folder
from .limits import U64

DUPLICATES = {
    "sum": sum, "max": max, "last": lambda values: values[-1], "count": len,
    "mean": lambda values: sum(values) / len(values),
}  # fmt: skip


def check_tables(choices: Choices, checks: Checks) -> None:
    """Columns of ids and values become a matrix; a model carries the ids through its file."""
    random, rows = choices.generator("table"), choices.skewed("rows", 1, 80)
    users, items = draw_ids(choices, "users", rows), draw_ids(choices, "items", rows)
    values = random.integers(-3, 8, rows) / 2
    how = choices.pick("duplicates", tuple(DUPLICATES))
    checks.description = f"{rows} rows, ids {users.dtype} and {items.dtype}, {how}"
    with checks.unchanged("from_arrays leaves its arguments", users, items, values):
        table = Interactions.from_arrays(users, items, values, duplicates=how)
    pairs = defaultdict(list)
    for user, item, value in zip(users.tolist(), items.tolist(), values.tolist(), strict=True):
        pairs[user, item].append(value)
    expected = np.zeros((table.n_users, table.n_items), np.float32)
    for (user, item), held in pairs.items():
        expected[table.user_index(user), table.item_index(item)] = DUPLICATES[how](held)
    checks.same("tables: matrix", table.user_items.toarray(), expected)
    checks.true("tables: canonical", table.user_items.has_canonical_format and (table.user_items.data != 0).all())
    checks.same("tables: ids", [table.user_ids.tolist(), table.item_ids.tolist()], [
        sorted(set(users.tolist())), sorted(set(items.tolist()))
    ])  # fmt: skip
    if expected.any():
        check_ids_in_files(checks, table)


def draw_ids(choices: Choices, name: str, count: int) -> np.ndarray:
    """Ids of any kind, each likely to come more than once."""
    random, kind = choices.generator(name), choices.pick(f"kind of {name}", ("int", "text", "wide", "unsigned"))
    numbers = random.integers(0, choices.skewed(f"distinct {name}", 1, 20), count)
    if kind == "text":
        return np.array([f"{'é' if number % 2 else 'x'}{number}" for number in numbers])
    if kind == "wide":
        return numbers * 2**53 + 1 - 2**60
    return numbers.astype(np.uint16 if kind == "unsigned" else np.int32)


def check_ids_in_files(checks: Checks, table: Interactions) -> None:
    model = ImplicitALS(3, iterations=1, random_state=0).fit(table.user_items)
    with folder() as place:
        model.save(place / "model", interactions=table)
        kept = ImplicitALS.load(place / "model").interactions
    checks.same("tables: ids in files", [kept.user_ids, kept.item_ids], [table.user_ids, table.item_ids])
    checks.same("tables: matrix in files", kept.user_items.toarray(), table.user_items.toarray())


def check_metrics(choices: Choices, checks: Checks) -> None:
    """Splits that lose nothing, and the definitions of ``fastals.evaluation.metrics`` in loops."""
    random = choices.generator("data")
    shape = choices.skewed("users", 2, 40), choices.skewed("items", 3, 60)
    dense = random.integers(1, 6, shape) * (random.random(shape) < choices.pick("density", (0.1, 0.3, 0.7)))
    dense[0, :2] = 1
    matrix = sp.csr_array(dense.astype(np.float64))
    checks.description = f"{shape[0]} x {shape[1]}, {matrix.nnz} stored"
    train, test = check_splits(choices, checks, matrix)
    K = choices.pick("K", (1, 3, 10, 100))
    if not train.nnz or not test.nnz:
        return
    model = ImplicitALS(4, iterations=1, random_state=0).fit(train)
    with checks.unchanged("metrics leave their arguments", train, test):
        got = ranking_metrics_at_k(model, train, test, K=K)
    lists = model.recommend(np.arange(shape[0]), train, N=K)[0]
    for name, value in naive_metrics(lists, test.toarray() > 0, K).items():
        # A mean of at most as many terms as users, each a sum of K positive ones, of size up to 1.
        checks.at_most(f"metrics: {name}", got[name] - value, 4 * (shape[0] + 3 * K) * U64)


def check_splits(choices: Choices, checks: Checks, matrix: sp.csr_array) -> tuple[sp.csr_array, sp.csr_array]:
    """Both parts together are the whole, no pair is in both, and the seed decides."""
    leave = choices.chance("leave out", 0.5)
    split, options = (leave_k_out_split, {"K": 1}) if leave else (train_test_split, {"test_size": 0.3})
    with checks.unchanged("splits leave their arguments", matrix):
        train, test = split(matrix, **options, random_state=3)
    checks.same("splits: nothing is lost", (train + test).toarray().astype(np.float64), matrix.toarray())
    checks.true("splits: no pair twice", not ((train.toarray() != 0) & (test.toarray() != 0)).any())
    checks.same("splits: the seed decides", split(matrix, **options, random_state=3)[1].toarray(), test.toarray())
    return sp.csr_array(train), sp.csr_array(test)


def naive_metrics(lists: np.ndarray, relevant: np.ndarray, K: int) -> dict[str, Any]:
    """Means over the users with a relevant item."""
    values = defaultdict(list)
    for shown, liked in zip(lists, relevant, strict=True):
        T = int(liked.sum())
        if not T:
            continue
        hits = [bool(item >= 0 and liked[item]) for item in shown]
        ranks = [rank for rank, hit in enumerate(hits, 1) if hit]
        ideal = sum(1 / np.log2(rank + 1) for rank in range(1, min(K, T) + 1))
        values["precision"].append(len(ranks) / K)
        values["recall"].append(len(ranks) / T)
        values["hit_rate"].append(float(bool(ranks)))
        values["map"].append(sum(found / rank for found, rank in enumerate(ranks, 1)) / min(K, T))
        values["ndcg"].append(sum(1 / np.log2(rank + 1) for rank in ranks) / ideal)
        values["mrr"].append(1 / ranks[0] if ranks else 0.0)
    return {name: float(np.mean(held)) for name, held in values.items()}
