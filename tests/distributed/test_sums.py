"""Trees of shards and the order of their sums."""

import pytest

from fastals.distributed.sums import shards_of, sum_of, sums_of, tree_of, trees_by_place
from fastals.distributed.transport import Sent


@pytest.mark.parametrize(
    ("count", "expected"), [(1, 0), (2, (0, 1)), (5, (((0, 1), (2, 3)), 4)), (7, (((0, 1), (2, 3)), ((4, 5), 6)))]
)
def test_trees_of_neighbours(count, expected):
    tree = tree_of(count)
    assert tree == expected
    assert shards_of(tree) == list(range(count))


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ("aaaa", {"a": [((0, 1), (2, 3))]}),
        ("aabb", {"a": [(0, 1)], "b": [(2, 3)]}),
        ("abbb", {"a": [0], "b": [1, (2, 3)]}),
        ("abca", {"a": [0, 3], "b": [1], "c": [2]}),
        ("a", {"a": [0]}),
    ],
)
def test_the_largest_trees_at_one_place(places, expected):
    assert trees_by_place(tree_of(len(places)), places) == expected


@pytest.mark.parametrize("count", range(1, 12))
def test_parts_known_beforehand_do_not_change_the_order(count):
    def add(left, right):
        return f"({left}{right})"

    def shard(node):
        return str(node) if isinstance(node, int) else None

    tree = tree_of(count)
    expected = sum_of(tree, add, shard)
    for first in range(count + 1):
        places = "a" * first + "b" * (count - first)
        known = {
            repr(part): sum_of(part, add, shard) for parts in trees_by_place(tree, places).values() for part in parts
        }
        assert sum_of(tree, add, lambda node, known=known: known.get(repr(node))) == expected


def test_sums_of_what_a_function_returns_for_each_shard():
    got = sums_of(lambda a, b: f"({a}{b})", "{}{}".format, [((2, 3), 4), 5], {s: s for s in range(6)}, Sent("x"))
    assert got == ["((2x3x)4x)", "5x"]
