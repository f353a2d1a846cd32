import pickle
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from fastals.tables.ids import IdIndex, UnknownIdError, factorise
from fastals.tables.interactions import Interactions

QUICK = settings(max_examples=50, deadline=None)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=4)


def naive(users, items, values, rule):
    """Pairs of ids to merged value, by dictionaries."""
    groups: dict = {}
    for user, item, value in zip(users, items, values, strict=True):
        groups.setdefault((user, item), []).append(value)
    merge = {
        "sum": sum,
        "mean": lambda v: sum(v) / len(v),
        "max": max,
        "last": lambda v: v[-1],
        "count": len,
    }[rule]
    merged = {pair: merge(found) for pair, found in groups.items()}
    return {pair: value for pair, value in merged.items() if value != 0}


def stored(made):
    coo = made.user_items.tocoo()
    return {
        (made.user_ids[u].item(), made.item_ids[i].item()): v
        for u, i, v in zip(coo.row, coo.col, coo.data.tolist(), strict=True)
    }


@QUICK
@given(
    st.sampled_from([st.integers(-5, 10), st.integers(-(2**62), 2**62), TEXT]).flatmap(
        lambda ids: st.lists(st.tuples(ids, ids, st.integers(-3, 9)), min_size=1, max_size=30)
    ),
    st.sampled_from(["sum", "mean", "max", "last", "count"]),
)
def test_pairs_are_merged_as_by_dictionaries(rows, rule):
    users, items, values = (list(column) for column in zip(*rows, strict=True))
    made = Interactions.from_arrays(users, items, values, duplicates=rule)
    expected = naive(users, items, values, rule)
    got = stored(made)
    assert got.keys() == expected.keys()
    assert got == pytest.approx(expected, rel=1e-6)
    assert made.user_ids.tolist() == sorted(set(users))
    assert made.item_ids.tolist() == sorted(set(items))


@QUICK
@given(st.one_of(st.lists(st.integers(-9, 9), min_size=1), st.lists(TEXT, min_size=1)))
def test_factorise_equals_numpy_unique(values):
    got_ids, got_codes = factorise(values, "users")
    expected_ids, expected_codes = np.unique(np.array(values), return_inverse=True)
    np.testing.assert_array_equal(got_ids, expected_ids)
    np.testing.assert_array_equal(got_codes, expected_codes)


def test_matrix_is_canonical_float32_and_input_is_unchanged():
    users, items, values = np.array([2, 1, 2]), np.array([5, 4, 4]), np.array([1.5, 2.0, 3.0])
    before = [array.copy() for array in (users, items, values)]
    made = Interactions.from_arrays(users, items, values)
    fresh = sparse.csr_array((made.user_items.data, made.user_items.indices, made.user_items.indptr))
    assert fresh.has_canonical_format
    assert made.user_items.dtype == np.float32
    assert made.user_items.indices.dtype == np.int32
    assert made.user_items.toarray().tolist() == [[2, 0], [3, 1.5]]
    for array, expected in zip((users, items, values), before, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_without_values_rows_are_counted_or_one():
    users, items = ["a", "a", "b"], ["x", "x", "y"]
    assert Interactions.from_arrays(users, items).user_items.toarray().tolist() == [[2, 0], [0, 1]]
    made = Interactions.from_arrays(users, items, duplicates="last")
    assert made.user_items.toarray().tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    "users",
    [
        np.array([3, 1, 3], dtype=np.uint8),
        np.array([3, 1, 3], dtype=np.uint64),
        np.array([3.0, 1.0, 3.0]),
        np.array([3, 1, 3], dtype=object),
        (3, 1, 3),
    ],
    ids=["uint8", "uint64", "whole floats", "object integers", "tuple"],
)
def test_kinds_of_integer_ids(users):
    made = Interactions.from_arrays(users, users)
    assert made.user_ids.dtype == np.int64
    assert made.user_ids.tolist() == [1, 3]


@pytest.mark.parametrize(
    "users",
    [np.array(["b", "a"]), np.array([b"b", b"a"]), np.array(["b", "a"], dtype=object), ["b", "a"]],
    ids=["U", "S", "object", "list"],
)
def test_kinds_of_text_ids(users):
    made = Interactions.from_arrays(users, users)
    assert made.user_ids.dtype.kind == "U"
    assert made.user_ids.tolist() == ["a", "b"]


def test_ids_beyond_int64_are_kept():
    made = Interactions.from_arrays(np.array([2**64 - 1, 5], dtype=np.uint64), [1, 2])
    assert made.user_ids.tolist() == [5, 2**64 - 1]
    assert made.user_index(np.array([2**64 - 1], dtype=np.uint64)).tolist() == [1]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1, 2], [1]), ValueError, "equally long, got 2 and 1"),
        (([], []), ValueError, "no interactions"),
        (([[1]], [[1]]), ValueError, r"one-dimensional, got shape \(1, 1\)"),
        (([1.5], [1]), TypeError, "users must be integers or text, got 1.5 at position 0"),
        (([1.0, np.nan], [1, 2]), ValueError, r"users has a missing id \(nan\) at position 1"),
        ((["a", None], [1, 2]), TypeError, r"users must be integers or text, got None \(NoneType\) at position 1"),
        (([1, "a"], [1, 2]), TypeError, "users mixes integers and text"),
        (([True], [1]), TypeError, "users must be integers or text, got dtype bool"),
        ((["a"], [1j]), TypeError, "items must be integers or text, got dtype complex128"),
        (([1], [1], ["x"]), TypeError, "values must be numbers, got 'x' at position 0"),
        (([1] * 2, [1] * 2, [1, "many"]), TypeError, "values must be numbers, got 'many' at position 1"),
        (([1] * 2, [1] * 2, np.array([1, "many"], object)), TypeError, "got 'many' at position 1"),
        (([1], [1], np.array([1j])), TypeError, "values must be numbers, got 1j at position 0"),
        (([1], [1], [1, 2]), ValueError, r"one entry for each of the 1 rows, got shape \(2,\)"),
        (([1, 2], [1, 2], [1, np.inf]), ValueError, "values must be finite, got inf at position 1"),
        (([1], [1], [1e300]), ValueError, r"values must fit float32, got 1e\+300"),
        (([1, 1], [1, 1], [1e308, 1e308]), ValueError, "values must fit float32, got inf"),
        (([10**30], [1]), ValueError, "users must be integers of at most 64 bits, got 1000"),
        (([1e17], [1]), ValueError, r"users are floats, exact up to 2\^53 alone; got 1e\+17"),
        ((["a", "a\0"], [1, 2]), ValueError, "users: one ends in a NUL character"),
        ((["x" * 10**6, *map(str, range(999))], range(1000)), ValueError, "users: one of 1,000,000 characters among"),
    ],
)
def test_bad_columns(arguments, error, message):
    with pytest.raises(error, match=message):
        Interactions.from_arrays(*arguments)


def test_bad_rule_and_repeated_pairs():
    with pytest.raises(ValueError, match="duplicates must be one of"):
        Interactions.from_arrays([1], [1], duplicates="first")
    with pytest.raises(ValueError, match="user 'b' and item 7 meet more than once"):
        Interactions.from_arrays(["a", "b", "b"], [7, 7, 7], duplicates="error")
    assert Interactions.from_arrays(["a", "b"], [7, 7], duplicates="error").user_items.nnz == 2


def test_index_of_ids():
    made = Interactions.from_arrays([10, 20, 30], ["x", "y", "x"])
    assert made.user_index(20) == 1
    assert made.user_index([30, 10]).tolist() == [2, 0]
    assert made.item_index("y") == 1
    assert made.item_index(np.array(["y", "x", "y"])).tolist() == [1, 0, 1]
    assert made.user_index([]).tolist() == []
    assert made.user_index(np.array([30.0])).tolist() == [2]


@pytest.mark.parametrize(
    ("side", "wanted", "message"),
    [
        ("user", 99, r"unknown user id 99 \(3 user ids are known\)"),
        ("user", [10, 98, 99], r"unknown user ids 98, 99 \(3"),
        ("user", [1, 2, 3, 4], r"unknown user ids 1, 2, 3, \.\.\. \("),
        ("item", "z", r"unknown item id 'z' \(2 item ids are known\)"),
        ("item", 10, "unknown item id 10: the item ids are text, such as 'x'"),
        ("user", "x", "unknown user id 'x': the user ids are integers, such as 10"),
    ],
)
def test_unknown_ids_say_which_side(side, wanted, message):
    made = Interactions.from_arrays([10, 20, 30], ["x", "y", "x"])
    for kind in (KeyError, ValueError, UnknownIdError):
        with pytest.raises(kind, match=message):
            getattr(made, f"{side}_index")(wanted)


def test_ids_that_cannot_be_known():
    made = Interactions.from_arrays([10, 20], ["a", "b"])
    with pytest.raises(ValueError, match="user ids must be integers of at most 64 bits, got 1000"):
        made.user_index(10**30)
    with pytest.raises(ValueError, match="item ids: one ends in a NUL character"):
        made.item_index("a\0")
    with pytest.raises(UnknownIdError) as caught:
        made.item_index("y" * 10**5)
    assert len(str(caught.value)) < 400


def test_swapped_sides_are_recognised():
    made = Interactions.from_arrays([10, 20], [7, 8])
    with pytest.raises(UnknownIdError, match=r"unknown user id 7; known as item id: are users and items swapped\?"):
        made.user_index(7)
    with pytest.raises(UnknownIdError, match=r"unknown item ids 10, 20; known as user ids"):
        made.item_index([10, 20])


def test_matrix_with_ids_in_any_order():
    matrix = sparse.coo_array(([1, 2, 4], ([0, 1, 1], [0, 2, 2])), shape=(2, 3))
    made = Interactions(matrix, ["zoe", "ann"], [30, 10, 20])
    assert made.user_items.toarray().tolist() == [[1, 0, 0], [0, 0, 6]]
    assert made.user_index(["ann", "zoe"]).tolist() == [1, 0]
    assert made.item_index([10, 20, 30]).tolist() == [1, 2, 0]
    assert made.user_items.indices.dtype == np.int32
    assert Interactions(matrix).item_ids.tolist() == [0, 1, 2]
    assert (made.n_users, made.n_items) == (2, 3)
    assert repr(made) == "<Interactions: 2 users x 3 items, 2 stored>"


def test_matrix_with_wrong_ids():
    matrix = sparse.csr_array(np.eye(2))
    with pytest.raises(ValueError, match="user_ids has 3 entries for 2 users"):
        Interactions(matrix, [1, 2, 3])
    with pytest.raises(ValueError, match="item_ids holds 'a' more than once"):
        Interactions(matrix, None, ["a", "a"])
    with pytest.raises(TypeError):
        Interactions(np.eye(2))
    with pytest.raises(ValueError, match="one-dimensional"):
        IdIndex([[1]], "user")


@pytest.mark.parametrize("users", [["b", "a", "ä"], [3, -1, 2**40]])
def test_round_trip_through_plain_arrays(users):
    made = Interactions.from_arrays(users, [1, 2, 1], [1.5, -2, 3])
    arrays = made.to_arrays()
    assert all(array.dtype.kind in "iufU" for array in arrays.values())
    again = Interactions.from_saved(arrays)
    assert stored(again) == stored(made)
    assert stored(pickle.loads(pickle.dumps(made))) == stored(made)


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("indices", np.array([0, 9, 0], np.int32)),
        ("indices", np.array([0, -1, 0], np.int32)),
        ("indices", np.array([1, 0, 0], np.int32)),
        ("indices", np.array([0, 0, 0], np.int32)),
        ("indptr", np.array([0, 3, 2, 3], np.int32)),
        ("indptr", np.array([0, 2, 3], np.int32)),
        ("indptr", np.array([0, 2, 3, 4], np.int32)),
        ("data", np.array([1, np.nan, 1], np.float32)),
        ("data", np.array([1, 2], np.float32)),
        ("data", np.array([1, 2, 3], np.float64)),
    ],
)
def test_damaged_arrays_are_refused(name, broken):
    arrays = Interactions.from_arrays([1, 1, 2, 3], [1, 2, 1, 1], [1, 1, 1, 0]).to_arrays()
    assert Interactions.from_saved(arrays).user_items.nnz == 3
    with pytest.raises(ValueError, match="saved interactions are damaged"):
        Interactions.from_saved({**arrays, name: broken})


def test_saved_arrays_that_are_missing():
    with pytest.raises(ValueError, match=re.escape("saved interactions lack user_ids, item_ids, indptr")):
        Interactions.from_saved({})


def frames():
    table = {"who": ["b", "a", "b"], "what": [2, 1, 2], "plays": [1.0, 2.0, 5.0], "gap": ["x", None, "y"]}
    return {
        "pandas": lambda: pytest.importorskip("pandas").DataFrame(table),
        "polars": lambda: pytest.importorskip("polars").DataFrame(table),
        "pyarrow": lambda: pytest.importorskip("pyarrow").table(table),
    }


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
def test_from_dataframe(kind):
    pytest.importorskip("narwhals")
    frame = frames()[kind]()
    made = Interactions.from_dataframe(frame, user="who", item="what", value="plays")
    assert stored(made) == {("a", 1): 2.0, ("b", 2): 6.0}
    made = Interactions.from_dataframe(frame, user="who", item="what")
    assert stored(made) == {("a", 1): 1.0, ("b", 2): 2.0}
    with pytest.raises(ValueError, match="user: no column 'person'; the table has 'who', 'what', 'plays', 'gap'"):
        Interactions.from_dataframe(frame, user="person", item="what")
    with pytest.raises(ValueError, match="item: column 'gap' has a missing entry in row 1"):
        Interactions.from_dataframe(frame, user="who", item="gap")


def test_categories_of_dataframes():
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("narwhals")
    frame = pandas.DataFrame({"u": pandas.Categorical(["b", "a"]), "i": pandas.array([1, 2], dtype="Int64")})
    made = Interactions.from_dataframe(frame, user="u", item="i")
    assert stored(made) == {("b", 1): 1.0, ("a", 2): 1.0}


def test_what_is_no_dataframe_is_refused():
    pytest.importorskip("narwhals")
    with pytest.raises(TypeError, match="frame must be a pandas, polars or pyarrow table in memory, got builtins list"):
        Interactions.from_dataframe([1, 2], user="u", item="i")


def test_lazy_frames_are_to_be_collected():
    polars = pytest.importorskip("polars")
    pytest.importorskip("narwhals")
    frame = polars.LazyFrame({"u": ["a"], "i": [1]})
    with pytest.raises(TypeError, match=r"in memory, got polars LazyFrame; call its collect\(\) first"):
        Interactions.from_dataframe(frame, user="u", item="i")
    assert Interactions.from_dataframe(frame.collect(), user="u", item="i").n_users == 1


def test_more_ids_are_rows_and_columns_without_pairs():
    table = Interactions.from_arrays(["ann", "bob", "ann"], [3, 5, 5], [1, 2, 4], times=[7, 8, 9])
    table.source = "plays.csv"

    more = table.with_ids(["Zoe", "carol"], ["11"])

    assert more.user_ids.tolist() == ["ann", "bob", "Zoe", "carol"]
    assert more.item_ids.tolist() == [3, 5, 11]
    np.testing.assert_array_equal(more.user_items.toarray(), [[1, 4, 0], [0, 2, 0], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(more.times.toarray(), [[7, 9, 0], [0, 8, 0], [0, 0, 0], [0, 0, 0]])
    assert more.user_index("carol") == 3
    assert more.source == "plays.csv"
    assert table.user_items.shape == (2, 2)
    for wrong in (["ann"], ["eve", "eve"]):
        with pytest.raises(ValueError, match=r"user_ids holds '.*' more than once"):
            table.with_ids(wrong)
    with pytest.raises(ValueError, match="item_ids are integers, such as 3"):
        table.with_ids(item_ids=["tea"])
