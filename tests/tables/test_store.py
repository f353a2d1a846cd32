"""Stores: the same matrix as in memory from every source, and the same factors."""

import gzip
import json
import pickle
import shutil

import numpy as np
import pytest
import scipy.sparse as sp

pytest.importorskip("duckdb")

from numpy.testing import assert_array_equal

from fastals import InteractionStore
from fastals.core.rows import transposed
from fastals.core.validation import UnknownIdError
from fastals.tables.interactions import Interactions
from fastals.tables.readers import read_interactions
from fastals.tables.store_files import is_store

RULES = ("sum", "mean", "max", "last", "count")


def table(rows=3000, users=80, items=40, seed=0, text=True):
    """Columns with repeated pairs, among them some whose sum is zero."""
    random = np.random.default_rng(seed)
    user, item = random.integers(0, users, rows), random.integers(0, items, rows)
    value = random.choice([-1.0, 1.0, 0.1, 0.2, 3.7], rows)
    names = np.array([f"é{number}" if text else number for number in range(items)], object if text else int)
    return {"user": user * 3, "item": names[item], "plays": value, "when": random.integers(0, 10**9, rows)}


def write_csv(path, columns):
    lines = [",".join(columns)] + [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def csv(tmp_path):
    return write_csv(tmp_path / "plays.csv", table())


def assert_same(store, interactions):
    """The store holds the interactions, in both orders, to the last bit."""
    store.verify()
    expected = interactions.user_items
    assert store.shape == expected.shape
    assert store.nnz == expected.nnz
    for rows, matrix in ((store.rows, expected), (transposed(store.rows), sp.csr_array(expected.T.tocsr()))):
        assert_array_equal(rows.indptr, matrix.indptr)
        assert_array_equal(rows.indices, matrix.indices)
        assert_array_equal(np.broadcast_to(rows.data, rows.indices.shape), matrix.data)
        assert rows.data.dtype == np.float32
    assert_array_equal(store.user_ids, interactions.user_ids)
    assert_array_equal(store.item_ids, interactions.item_ids)
    if interactions.times is not None:
        assert_array_equal(store.times, interactions.times.data)


@pytest.mark.parametrize("duplicates", RULES)
def test_a_store_of_a_file_holds_what_is_read_into_memory(csv, tmp_path, duplicates):
    store = InteractionStore.build(csv, tmp_path / "store", duplicates=duplicates, time="when")
    assert_same(store, read_interactions(csv, duplicates=duplicates, time_column="when"))
    assert store.duplicates == duplicates
    assert "values 'plays'" in store.source


def test_repeated_pairs_may_be_refused(csv, tmp_path):
    with pytest.raises(ValueError, match=r"user \d+ and item 'é\d+' meet more than once"):
        InteractionStore.build(csv, tmp_path / "store", duplicates="error")
    assert [path.name for path in tmp_path.iterdir()] == ["plays.csv"]


def files(tmp_path):
    """The same table in every form of file."""
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    columns = table()
    written = {"csv": write_csv(tmp_path / "plays.csv", columns)}
    frame = pyarrow.table({name: pyarrow.array(column.tolist()) for name, column in columns.items()})
    written["parquet"] = tmp_path / "plays.parquet"
    pyarrow.parquet.write_table(frame, written["parquet"])
    written["json"] = tmp_path / "plays.json"
    written["json"].write_text("\n".join(json.dumps(row) for row in frame.to_pylist()))
    written["gzip"] = tmp_path / "plays.csv.gz"
    written["gzip"].write_bytes(gzip.compress(written["csv"].read_bytes()))
    written["zstd"] = tmp_path / "plays.csv.zst"
    with pyarrow.output_stream(written["zstd"], compression="zstd") as stream:
        stream.write(written["csv"].read_bytes())
    return written


@pytest.mark.parametrize("form", ["csv", "parquet", "json", "gzip", "zstd"])
def test_every_form_of_file(tmp_path, form):
    pytest.importorskip("pyarrow")
    path = files(tmp_path)[form]
    store = InteractionStore.build(path, tmp_path / "store", time="when", value="plays")
    assert_same(store, read_interactions(path, time_column="when", value_column="plays"))


def test_many_files_by_a_pattern_or_a_list_are_one_table(tmp_path):
    whole = table(3000)
    parts = []
    for number in range(3):
        part = {name: column[number * 1000 : (number + 1) * 1000] for name, column in whole.items()}
        parts.append(write_csv(tmp_path / f"day{number}.csv", part))
    expected = read_interactions(write_csv(tmp_path / "whole.csv", whole), duplicates="last")
    for source in (tmp_path / "day*.csv", [str(part) for part in parts]):
        assert_same(InteractionStore.build(source, tmp_path / "store", duplicates="last"), expected)
        shutil.rmtree(tmp_path / "store")


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "mapping", "tuples", "record batches"])
def test_frames_and_batches(tmp_path, library):
    columns = table()
    expected = Interactions.from_arrays(
        columns["user"], columns["item"], columns["plays"], times=columns["when"], duplicates="last"
    )
    if library == "mapping":
        source = columns
    elif library == "tuples":
        source = (tuple(column[at : at + 700] for column in columns.values()) for at in range(0, 3000, 700))
    else:
        module = pytest.importorskip({"record batches": "pyarrow"}.get(library, library))
        made = {"pandas": "DataFrame", "polars": "DataFrame"}.get(library, "table")
        source = getattr(module, made)({name: column.tolist() for name, column in columns.items()})
        if library == "record batches":
            source = iter(source.to_batches(max_chunksize=700))
    store = InteractionStore.build(
        source, tmp_path / "store", user="user", item="item", value="plays", time="when", duplicates="last"
    )
    assert_same(store, expected)


def test_matrices_keep_their_shape_and_every_digit(ratings, tmp_path):
    ratings.data[:] = np.random.default_rng(0).random(ratings.nnz)
    store = InteractionStore.build(ratings, tmp_path / "store")
    assert store.shape == ratings.shape
    assert store.dtype == np.float64
    assert_array_equal(store.to_matrix().toarray(), ratings.toarray())
    assert_array_equal(transposed(store.rows).as_csr(np.dtype(np.float64)).toarray(), ratings.toarray().T)
    assert_array_equal(store.user_ids, np.arange(30))


def test_files_of_matrices(ratings, tmp_path):
    sp.save_npz(tmp_path / "plays.npz", sp.csr_matrix(ratings))
    assert_same(InteractionStore.build(tmp_path / "plays.npz", tmp_path / "store"), Interactions(ratings))


def test_equal_values_are_kept_as_one(tmp_path):
    store = InteractionStore.build({"user": [1, 2, 2], "item": [5, 5, 6]}, tmp_path / "store")
    assert store.rows.data.tolist() == [1.0]
    assert (tmp_path / "store" / "000001" / "by_item" / "values.npy").stat().st_size == 128 + 4
    assert_array_equal(store.to_matrix().toarray(), [[1, 0], [1, 1]])


def test_plain_arrays_for_everybody(csv, tmp_path):
    """Whoever has NumPy alone can read them."""
    store = InteractionStore.build(csv, tmp_path / "store")
    for name in ("by_user/indptr", "by_user/indices", "by_item/values"):
        array = np.load(tmp_path / "store" / "000001" / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        side, kind = name.split("/")
        rows = store.rows if side == "by_user" else transposed(store.rows)
        assert_array_equal(array, rows.data if kind == "values" else getattr(rows, kind))


def test_rows_are_read_only(csv, tmp_path):
    rows = InteractionStore.build(csv, tmp_path / "store").rows
    for array in (rows.indptr, rows.indices, rows.data, transposed(rows).indices):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_ids(csv, tmp_path):
    store = InteractionStore.build(csv, tmp_path / "store")
    expected = read_interactions(csv)
    assert store.user_index(6) == expected.user_index(6)
    assert_array_equal(store.item_index(["é3", "é1"]), expected.item_index(["é3", "é1"]))
    with pytest.raises(UnknownIdError, match="unknown item id 'nobody'"):
        store.item_index("nobody")


def test_unsigned_ids_beyond_63_bits(tmp_path):
    users = np.array([2**64 - 1, 2**63, 2**64 - 1], np.uint64)
    store = InteractionStore.build([(users, [1, 1, 2])], tmp_path / "store")
    assert_same(store, Interactions.from_arrays(users, [1, 1, 2]))


def test_a_store_in_memory_is_the_interactions(csv, tmp_path):
    got = InteractionStore.build(csv, tmp_path / "store", time="when").to_interactions()
    expected = read_interactions(csv, time_column="when")
    assert (got.user_items != expected.user_items).nnz == 0
    assert (got.times != expected.times).nnz == 0
    assert_array_equal(got.item_ids, expected.item_ids)


def test_pickles_hold_the_path_alone(csv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = InteractionStore.build(csv, "store")
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    monkeypatch.chdir("/")
    assert_array_equal(pickle.loads(sent).rows.indices, store.rows.indices)


def test_a_store_is_told_from_other_folders(csv, tmp_path):
    InteractionStore.build(csv, tmp_path / "store")
    assert is_store(tmp_path / "store")
    assert not is_store(tmp_path)
    assert not is_store(csv)
    with pytest.raises(FileNotFoundError):
        InteractionStore.open(tmp_path)


WRONG = [
    ({"duplicates": "most"}, ValueError, "duplicates must be one of"),
    ({"memory_limit": "much"}, TypeError, "memory_limit must be a number of bytes"),
    ({"memory_limit": 10**6}, ValueError, "memory_limit must be at least"),
    ({"memory_limit": True}, TypeError, "memory_limit must be"),
    ({"user": "nobody"}, ValueError, r"plays.csv: no user column 'nobody'; the file has 'user', 'item'"),
    ({"temporary_folder": "/nowhere"}, ValueError, "temporary_folder must be a folder"),
    ({"seperator": ","}, TypeError, "unknown options seperator; known are separator, header"),
]


@pytest.mark.parametrize(("options", "error", "message"), WRONG, ids=[str(list(one[0])) for one in WRONG])
def test_wrong_arguments(csv, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        InteractionStore.build(csv, tmp_path / "store", **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plays.csv"]


SOURCES = [
    (42, TypeError, "source must be a path"),
    ([], ValueError, "there are no interactions"),
    ([{"user": [1], "item": [2]}, 3], TypeError, "a batch must be"),
    ([([1], [2, 3])], ValueError, "users and items must be equally long"),
    ([([1], [2], [np.nan])], ValueError, "values must be finite"),
    ([([1], [2], None, [3]), ([1], [2])], ValueError, "has no times, which others have"),
    ([([-1], [2]), (np.array([2**63], np.uint64), [2])], ValueError, "some user ids are beyond 2"),
    ("nothing*.csv", FileNotFoundError, "no file 'nothing"),
    ({"user": [1, 1], "item": [2, 2], "value": [1, -1]}, None, ""),
]


@pytest.mark.parametrize(("source", "error", "message"), SOURCES, ids=[str(one[0])[:30] for one in SOURCES])
def test_wrong_sources(tmp_path, source, error, message):
    if error is None:  # no pair is left, but a store is
        store = InteractionStore.build(source, tmp_path / "store")
        assert store.shape == (1, 1)
        assert store.nnz == 0
        return
    with pytest.raises(error, match=message):
        InteractionStore.build(source, tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_a_bad_row_is_named_by_its_line(csv, tmp_path):
    with open(csv, "a") as file:
        file.write("7,é1,many,5\n")
    with pytest.raises(ValueError, match=r"plays.csv, line 3002: column 'plays' has 'many'"):
        InteractionStore.build(csv, tmp_path / "store")
    store = InteractionStore.build(csv, tmp_path / "store", skip_bad=True)
    assert_same(store, read_interactions(csv, skip_bad=True))
    assert "1 bad row was dropped" in store.source


def test_nothing_is_overwritten(csv, tmp_path):
    (tmp_path / "store").mkdir()
    with pytest.raises(FileExistsError, match="exists already"):
        InteractionStore.build(csv, tmp_path / "store")


def test_progress_is_shown(csv, tmp_path, capsys):
    InteractionStore.build(csv, tmp_path / "store", show_progress=True)
    shown = capsys.readouterr().err
    assert all(stage in shown for stage in ("reading", "sorting by user", "writing by item"))
