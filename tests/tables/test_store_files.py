"""The format of stores, and every kind of damage."""

import json

import numpy as np
import pytest

pytest.importorskip("duckdb")

from numpy.testing import assert_array_equal

from fastals import InteractionStore
from fastals.tables.store_files import (
    ArraySpec,
    ArrayWriter,
    SideWriter,
    check_sum,
    map_array,
    read_header,
    write_array,
    write_header,
)


@pytest.fixture
def store(tmp_path):
    random = np.random.default_rng(0)
    pairs = random.integers(0, 30, 300), random.integers(0, 20, 300), random.random(300), random.integers(0, 9, 300)
    return InteractionStore.build([pairs], tmp_path / "store")


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32, np.float64, "<U7"])
def test_arrays_come_back(tmp_path, dtype):
    pieces = [np.arange(5).astype(dtype), np.arange(0).astype(dtype), np.arange(100, 107).astype(dtype)]
    spec = write_array(tmp_path / "array.npy", dtype, pieces)
    expected = np.concatenate(pieces)
    for got in (map_array(tmp_path / "array.npy", spec), np.load(tmp_path / "array.npy", allow_pickle=False)):
        assert_array_equal(got, expected)
        assert got.dtype == expected.dtype
    check_sum(tmp_path / "array.npy", spec)


def test_a_writer_closes_its_file_when_it_fails(tmp_path):
    def pieces():
        yield np.arange(3)
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        write_array(tmp_path / "array.npy", np.int64, pieces())
    with pytest.raises(FileExistsError):
        ArrayWriter(tmp_path / "array.npy", np.int64)


def test_equal_values_become_one(tmp_path):
    with SideWriter(tmp_path / "by_user", np.float32, False) as writer:
        for _ in range(2):
            writer.append(np.array([1, 2]), np.array([0, 0, 1]), np.full(3, 2.5), None)
        specs = writer.finish()
    assert specs["by_user/values"].length == 1
    assert map_array(tmp_path / "by_user" / "values.npy", specs["by_user/values"]).tolist() == [2.5]
    assert map_array(tmp_path / "by_user" / "indptr.npy", specs["by_user/indptr"]).tolist() == [0, 1, 3, 4, 6]


def test_the_header_comes_back(store, tmp_path):
    header = read_header(store.path)
    (tmp_path / "copy").mkdir()
    write_header(tmp_path / "copy", header)
    assert read_header(tmp_path / "copy") == header


FILES = [f"{side}/{name}" for side in ("by_user", "by_item") for name in ("indptr", "indices", "values")]
FILES += ["by_user/times", "user_ids", "item_ids"]


@pytest.mark.parametrize("name", FILES)
def test_any_file_that_is_shorter_longer_changed_or_gone_is_named(store, name):
    path = store.path / "000001" / f"{name}.npy"
    good = path.read_bytes()
    for bad in (good[:-1], good + b"\0", good[:100], b"", good[:8] + b"\x01" + good[9:]):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=rf"{name}\.npy: this file of a store is damaged"):
            InteractionStore.open(store.path)
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(ValueError, match=rf"{name}\.npy: this file of a store is damaged"):
        InteractionStore.open(store.path, verify=True)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{path.name}"):
        InteractionStore.open(store.path)


def changed(content, *path, value):
    """The header with one thing changed."""
    *way, last = path
    inner = content
    for step in way:
        inner = inner[step]
    inner[last] = value
    return content


PART = ("parts", 0)
HEADERS = [
    (("format",), "something", "its header is of something else"),
    (("format_version",), 2, "it is of format version 2; this fastals reads up to 1"),
    (("format_version",), "1", "format version 1"),
    (("duplicates",), 3, "duplicates and source must be text"),
    (("duplicates",), "most", "duplicates must be one of"),
    (("parts",), [], "it must have parts"),
    (("parts",), 5, "no fastals store"),
    ((*PART, "folder"), "../x", "a part in folder"),
    ((*PART, "folder"), 5, "no fastals store"),
    ((*PART, "shape"), [30, 2**31], "has shape"),
    ((*PART, "shape"), [30], "shape and its number of pairs must be integers"),
    ((*PART, "shape"), [29, 20], "has length"),
    ((*PART, "stored"), -1, "must be integers"),
    ((*PART, "stored"), 1.5, "must be integers"),
    ((*PART, "arrays"), {}, "a part has arrays"),
    ((*PART, "arrays", "by_user/indices"), ["<i8", 1, 2], "is of type"),
    ((*PART, "arrays", "by_user/indices"), ["|O", 1, 2], "is of type"),
    ((*PART, "arrays", "by_user/indices"), ["<i4", True, 2], "has length"),
    ((*PART, "arrays", "by_user/indices"), ["<i4", 1], "no fastals store"),
    ((*PART, "arrays", "user_ids"), ["<U999999999999", 30, 2], "is of type"),
]


@pytest.mark.parametrize(("path", "value", "message"), HEADERS, ids=[f"{one[0][-1]}={one[1]}"[:40] for one in HEADERS])
@pytest.mark.slow
def test_a_header_that_is_not_ours_is_refused(store, path, value, message):
    file = store.path / "header.json"
    file.write_text(json.dumps(changed(json.loads(file.read_text()), *path, value=value)))
    with pytest.raises(ValueError, match=message):
        InteractionStore.open(store.path)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 10**5, b"{}" + b" " * 2**22])
def test_a_header_that_is_no_header(store, content):
    (store.path / "header.json").write_bytes(content)
    with pytest.raises(ValueError, match="this is no fastals store"):
        InteractionStore.open(store.path)


def test_a_size_of_petabytes_is_refused_before_anything_is_allocated(tmp_path):
    (tmp_path / "array.npy").write_bytes(b"\0" * 200)
    with pytest.raises(ValueError, match="damaged: 200 bytes, wanted"):
        map_array(tmp_path / "array.npy", ArraySpec("<f8", 2**52, 0))
