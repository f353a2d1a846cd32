"""Map over shards and reduce in their order, on worker processes."""

import operator

import numpy as np
import pytest

import fastals.distributed.executor
from fastals.distributed.executor import DaskExecutor

distributed = pytest.importorskip("distributed")


def joined(left, right):
    return f"({left}{right})"


@pytest.mark.parametrize(
    ("count", "expected"), [(1, "0"), (4, "((01)(23))"), (5, "(((01)(23))4)"), (7, "(((01)(23))((45)6))")]
)
@pytest.mark.slow
def test_sums_are_of_neighbours_first(client, count, expected):
    executor = DaskExecutor(client, count)
    assert executor.total("sum", joined, str, list(range(count))) == expected
    with executor.placed():
        assert executor.total("sum", joined, str, list(range(count))) == expected


def test_maps_and_shared_values(client):
    executor = DaskExecutor(client, 3)
    shared = executor.share("shared", np.arange(4))
    found = executor.map("multiply", operator.mul, shared, [1, 2, 3])
    np.testing.assert_array_equal(executor.gather(found), np.outer([1, 2, 3], np.arange(4)))
    again = executor.map("add", operator.add, found, 1)
    np.testing.assert_array_equal(executor.gather(again)[2], [1, 4, 7, 10])


def test_neighbours_are_loaded_on_one_worker(client):
    executor = DaskExecutor(client, 8)
    with executor.placed():
        found = executor.map("load", operator.neg, list(range(8)))
        assert executor.total("sum", operator.add, operator.pos, found) == -28
    assert executor.gather(found) == [-s for s in range(8)]
    places = [client.who_has([future])[future.key][0] for future in found]
    assert len(set(places)) == 2
    assert places == sorted(places, key=places.index)


@pytest.mark.parametrize("few", [0, 2])
def test_sums_are_made_where_their_parts_are(client, few, monkeypatch):
    """What a half-sweep's formula counts on: each worker sends one sum, to another or to the client."""
    monkeypatch.setattr(fastals.distributed.executor, "FEW", few)
    count, size = 8, 2_000_000
    executor = DaskExecutor(client, count)
    with executor.placed():
        found = executor.map("load", np.full, [size // 8] * count, [float(s) for s in range(count)])
        executor.gather(executor.map("made", np.size, found))
        before = executor.bytes_moved()
        total = executor.total("sum", np.add, np.positive, found)
        moved = executor.bytes_moved() - before
    np.testing.assert_array_equal(total, count * (count - 1) / 2)
    assert 2 * size <= moved < 2.2 * size


def test_bytes_and_seconds_are_counted(client):
    executor = DaskExecutor(client, 2)
    before = executor.bytes_moved()
    with executor.phase("step"):
        total = executor.total("sum", np.add, np.full, [1000, 1000], 2.0)
    assert total[0] == 4.0
    assert executor.bytes_moved() - before >= 8000
    assert executor.seconds["step"] > 0


def late(number):
    raise TimeoutError(f"disk {number}")


def test_errors_of_tasks_come_back(client):
    executor = DaskExecutor(client, 2)
    with pytest.raises(ZeroDivisionError):
        executor.total("fail", np.add, operator.truediv, [1, 1], [1, 0])
    with executor.placed(), pytest.raises(TimeoutError, match=r"disk [01]"):
        executor.total("late", np.add, late, [0, 1])
