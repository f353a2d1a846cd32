"""Model files: what is written comes back, and a write that fails leaves what was there."""

import json
import os
import zipfile
from pathlib import Path

import hypothesis
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from model_files import ARRAYS, HEADER, assert_same

import fastals.persistence.atomic
from fastals.persistence.model_file import read_model_file, write_model_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "model.fastals"
    write_model_file(target, HEADER, ARRAYS)
    return target


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("convert", [Path, str])
def test_round_trip(path, convert, mmap):
    header, got = read_model_file(convert(path), mmap=mmap)

    assert header == HEADER
    assert_same(got, ARRAYS)


numeric = st.one_of(
    *(kind(endianness="?") for kind in (hnp.integer_dtypes, hnp.unsigned_integer_dtypes, hnp.floating_dtypes)),
    hnp.complex_number_dtypes(endianness="?", sizes=(64, 128)),
    hnp.boolean_dtypes(),
    hnp.unicode_string_dtypes(endianness="?", min_len=1, max_len=5),
)
arrays = hnp.arrays(numeric, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))


@hypothesis.settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@hypothesis.given(
    st.dictionaries(st.from_regex(r"[A-Za-z0-9_]{1,100}", fullmatch=True), arrays, max_size=4), st.booleans()
)
def test_round_trip_of_any_arrays(tmp_path, contents, transpose):
    target = tmp_path / "any.fastals"
    contents = {name: array.T if transpose else array for name, array in contents.items()}

    write_model_file(target, {}, contents)

    for mmap in (False, True):
        assert_same(read_model_file(target, mmap=mmap)[1], contents)
    with np.load(target, allow_pickle=False) as plain:
        for name, array in contents.items():
            np.testing.assert_array_equal(plain[name], array)
    target.unlink()


def test_mapped_arrays_are_aligned_and_read_only(path):
    got = read_model_file(path, mmap=True)[1]

    for name in ("user_factors", "item_factors", "scalar"):
        assert isinstance(got[name], np.memmap)
        assert got[name].offset % 64 == 0
        assert got[name].ctypes.data % 64 == 0
        with pytest.raises(ValueError, match="read-only"):
            got[name][...] = 0
    assert not isinstance(got["user_ids"], np.memmap)


def test_mapped_arrays_outlive_a_replaced_file(path):
    got = read_model_file(path, mmap=True)[1]

    write_model_file(path, {}, {"other": np.zeros(3)})

    np.testing.assert_array_equal(got["item_factors"], ARRAYS["item_factors"])
    assert list(read_model_file(path)[1]) == ["other"]


def test_large_members_use_zip64(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    monkeypatch.setattr(fastals.persistence.model_file, "_CHUNK", 64)
    target = tmp_path / "big"
    write_model_file(target, HEADER, ARRAYS)

    for mmap in (False, True):
        assert_same(read_model_file(target, mmap=mmap)[1], ARRAYS)


def test_equal_content_gives_equal_bytes(path, tmp_path):
    write_model_file(tmp_path / "second", HEADER, dict(ARRAYS))

    assert path.read_bytes() == (tmp_path / "second").read_bytes()


def test_numpy_opens_it(path):
    with np.load(path, allow_pickle=False) as plain:
        got = {name: plain[name] for name in ARRAYS}
        header = json.loads(plain["header.json"])

    assert_same(got, ARRAYS)
    assert header["header"] == HEADER


@pytest.mark.parametrize(
    ("array", "error"),
    [
        (np.array([None, 1]), TypeError),
        (np.zeros(2, dtype=[("a", "f4")]), TypeError),
        (np.array(["2020-01-01"], dtype="M8[D]"), TypeError),
        (np.array([b"bytes"]), TypeError),
        (np.ma.masked_array([1, 2], mask=[True, False]), TypeError),
        ([1, 2], TypeError),
    ],
)
def test_unfit_arrays_are_refused_before_writing(path, array, error):
    before = path.read_bytes()

    with pytest.raises(error, match="'bad' must be"):
        write_model_file(path, {}, {"bad": array})

    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a.b", "ä", "x" * 101, "a\n", 3])
def test_unfit_names_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="array names must consist"):
        write_model_file(tmp_path / "model", {}, {name: np.zeros(1)})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("header", "error"), [({"a": {1, 2}}, TypeError), ({"a": float("nan")}, ValueError), ([1], TypeError)]
)
def test_unfit_headers_are_refused(tmp_path, header, error):
    with pytest.raises(error, match="header must"):
        write_model_file(tmp_path / "model", header, {})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_failure_leaves_the_old_file_and_nothing_else(path, monkeypatch, moment):
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError("the disk is full")

    if moment == "write":
        # The first piece is written, the second fails.
        monkeypatch.setattr(
            fastals.persistence.model_file, "_chunks", lambda array: (fail() if piece else b"1234" for piece in (0, 1))
        )
    else:
        monkeypatch.setattr(os, moment, fail)

    with pytest.raises(OSError, match="the disk is full"):
        write_model_file(path, {}, {"new": np.zeros(3)})

    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this platform")
def test_full_disk(path, monkeypatch):
    before = path.read_bytes()

    def full(descriptor, mode, closefd):
        return open("/dev/full", "wb")

    monkeypatch.setattr(fastals.persistence.atomic, "open", full, raising=False)

    with pytest.raises(OSError, match="No space left"):
        write_model_file(path, {}, {"new": np.zeros(10**6)})

    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(os.name != "posix", reason="permission bits of POSIX")
def test_permissions_and_links_are_kept(path, tmp_path):
    path.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(path)

    write_model_file(link, {}, {})

    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert read_model_file(path) == ({}, {})


def test_path_that_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="not a regular file"):
        write_model_file(tmp_path, {}, {})
    with pytest.raises(FileNotFoundError):
        read_model_file(tmp_path / "absent")
    with pytest.raises(FileNotFoundError):
        write_model_file(tmp_path / "absent" / "model", {}, {})
