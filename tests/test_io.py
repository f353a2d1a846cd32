"""Model files: what is written comes back; what is damaged or hostile is refused before it can do harm."""

import gc
import io
import json
import math
import os
import pickle
import shutil
import struct
import tracemalloc
import zipfile
from pathlib import Path

import hypothesis
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st

import fastals.io
from fastals.io import read_model_file, write_model_file

HEADER = {"parameters": {"factors": 3, "alpha": 0.1}, "loss_history": [3.5, 1e-300], "note": "é\u2028", "none": None}
ARRAYS = {
    "user_factors": np.arange(12, dtype=np.float32).reshape(4, 3),
    "item_factors": np.linspace(0, 1, 200).reshape(20, 10),
    "user_ids": np.array(["ann", "bob", "Zoë", "\U0001f600"]),
    "seen": np.array([True, False]),
    "empty": np.zeros((0, 5), dtype=np.int64),
    "scalar": np.array(7, dtype=np.uint16),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "model.fastals"
    write_model_file(target, HEADER, ARRAYS)
    return target


def assert_same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(got) == list(expected)
    for name, array in expected.items():
        assert got[name].dtype == array.dtype.newbyteorder("=")
        assert got[name].shape == array.shape
        np.testing.assert_array_equal(got[name], array)


def npy(array: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def rewrite(path: Path, changes: dict[str, bytes | None] | None = None, declared=None, content=None, **options) -> None:
    """Build the archive anew with some members replaced (None drops one) or with other declarations."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    declaration = json.loads(members["header.json"])
    declaration.update(content or {})
    if declared is not None:
        declaration["arrays"] = declared
    members["header.json"] = json.dumps(declaration).encode()
    members.update(changes or {})
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in members.items():
            if data is not None:
                archive.writestr(name, data)


def refuse(path: Path, match: str) -> None:
    for mmap in (False, True):
        with pytest.raises(ValueError, match=match) as caught:
            read_model_file(path, mmap=mmap)
        assert str(caught.value).startswith(f"cannot read {os.fspath(path)!r}: ")


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
    monkeypatch.setattr(fastals.io, "_CHUNK", 64)
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
        monkeypatch.setattr(fastals.io, "_chunks", lambda array: (fail() if piece else b"1234" for piece in (0, 1)))
    else:
        monkeypatch.setattr(os, moment, fail)

    with pytest.raises(OSError, match="the disk is full"):
        write_model_file(path, {}, {"new": np.zeros(3)})

    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this platform")
def test_full_disk(path, monkeypatch):
    before = path.read_bytes()
    monkeypatch.setattr(fastals.io, "open", lambda name, mode: open("/dev/full", "wb"), raising=False)  # noqa: SIM115

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


def test_truncation_anywhere_is_refused(path):
    content = path.read_bytes()
    for length in {*range(0, len(content), len(content) // 50), *range(len(content) - 60, len(content))}:
        path.write_bytes(content[:length])
        refuse(path, "truncated or damaged|not a fastals model file")


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_flipped_bits_are_refused_or_harmless(path, bit):
    content = path.read_bytes()
    refused = 0
    for position in range(bit, len(content), 7):
        flipped = bytearray(content)
        flipped[position] ^= 1 << bit
        path.write_bytes(flipped)
        try:
            header, got = read_model_file(path)
        except ValueError as error:
            assert str(error).startswith(f"cannot read {os.fspath(path)!r}: ")  # noqa: PT017
            refused += 1
        else:
            assert header == HEADER
            assert_same(got, ARRAYS)
        try:
            got = read_model_file(path, mmap=True)[1]
        except ValueError:
            continue
        assert {name: (array.dtype, array.shape) for name, array in got.items()} == {
            name: (array.dtype, array.shape) for name, array in ARRAYS.items()
        }
    assert refused > 0.7 * len(content) / 7


@hypothesis.settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@hypothesis.given(st.data())
def test_overwritten_stretches_are_refused_or_harmless(path, data):
    content = path.read_bytes()
    start = data.draw(st.integers(0, len(content) - 1))
    damaged = path.with_name("damaged")
    piece = data.draw(st.binary(min_size=1, max_size=40))
    damaged.write_bytes(content[:start] + piece + content[start + len(piece) * data.draw(st.integers(0, 1)) :])

    try:
        got = read_model_file(damaged)
    except ValueError:
        return
    assert got[0] == HEADER
    assert_same(got[1], ARRAYS)


def test_checksum_of_the_data_is_verified(path):
    content = bytearray(path.read_bytes())
    content[content.index(ARRAYS["item_factors"].tobytes()) + 100] ^= 1
    path.write_bytes(content)

    with pytest.raises(ValueError, match=r"truncated or damaged \(Bad CRC-32 for file 'item_factors.npy'\)"):
        read_model_file(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"hello", b"PK\x05\x06" + bytes(18), pickle.dumps([1])])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "other"
    path.write_bytes(content)
    refuse(path, "not a fastals model file|truncated or damaged")


def test_npz_of_numpy_is_refused(tmp_path):
    np.savez(tmp_path / "plain.npz", user_factors=np.zeros((2, 2)))
    refuse(tmp_path / "plain.npz", "not a fastals model file")


class Malicious:
    """Leaves a trace when unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return open, (str(self.trace), "w")


def test_pickled_objects_are_refused_unopened(path, tmp_path):
    trace = tmp_path / "trace"
    bad = np.empty(1, dtype=object)
    bad[0] = Malicious(trace)

    rewrite(path, {"user_factors.npy": npy(bad, allow_pickle=True)})
    refuse(path, "does not hold an array <f4")
    for dtype in ("|O", "O", "object", "<M8[s]", "|S3", "|V4", "f4", "<f16", ">f4", "<U0", "<f4,<f4", ["<f4"], 4, None):
        rewrite(path, declared=[["user_factors", dtype, [1]]])
        refuse(path, "declares an array as")
    path.write_bytes(pickle.dumps(Malicious(trace)))
    refuse(path, "not a fastals model file")
    assert not trace.exists()


@pytest.mark.parametrize("shape", [[4, 10**15], [2**62, 4], [4, 4], [12], [4, 3, 0], [10**18] * 32, []])
def test_declared_shape_must_be_the_size_of_the_member(path, shape):
    rewrite(path, declared=[["user_factors", "<f4", shape], *declared_arrays(path)[1:]])
    refuse(path, "does not hold an array <f4 of shape")

    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(shape)}, }}".encode()
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n" + bytes(48)
    if math.prod(shape) != 12:
        rewrite(path, {"user_factors.npy": member})
        refuse(path, "holds 48 bytes of data, but <f4 of shape")


@pytest.mark.parametrize("shape", [[-1], [1.0], ["3"], [True], 3, None, [1] * 33, [2**63]])
def test_malformed_shapes_are_refused(path, shape):
    rewrite(path, declared=[["user_factors", "<f4", shape], *declared_arrays(path)[1:]])
    refuse(path, "declares an array as")


def declared_arrays(path: Path) -> list:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("header.json"))["arrays"]


def test_empty_array_of_huge_length_allocates_nothing(tmp_path):
    path = tmp_path / "model"
    write_model_file(path, {}, {"a": np.zeros((0, 3), dtype=np.float32)})
    member = npy(np.zeros((0, 3), dtype=np.float32)).replace(b"(0, 3), }", b"(0, %d), }" % 2**62)

    rewrite(path, {"a.npy": member[:128]}, declared=[["a", "<f4", [0, 2**62]]])

    with pytest.raises(ValueError, match="cannot read"):
        read_model_file(path)


def test_compressed_members_are_refused(path):
    rewrite(path, {"user_factors.npy": npy(np.zeros(10**7))}, compression=zipfile.ZIP_DEFLATED)

    tracemalloc.start()
    refuse(path, "compressed or encrypted")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 10**6


def test_members_that_claim_more_than_the_file_holds(path):
    content = path.read_bytes()
    entry = content.rindex(b"PK\x01\x02", 0, content.rindex(b"item_factors.npy"))
    sizes = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(content[: entry + 20] + sizes + content[entry + 28 :])

    tracemalloc.start()
    refuse(path, "larger than the file")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 10**6


@pytest.mark.parametrize("name", ["../user_factors.npy", "/etc/passwd", "a/b.npy", "user_factors.npy.npy", "x"])
def test_renamed_members_are_refused_and_write_nothing(path, name):
    rewrite(path, {name: npy(ARRAYS["user_factors"]), "user_factors.npy": None})
    refuse(path, "should hold the members")
    assert os.listdir(path.parent) == [path.name]

    rewrite(path, declared=[[name.removesuffix(".npy") + "/", "<f4", [4, 3]]])
    refuse(path, "declares an array as")


@pytest.mark.parametrize("member", ["user_factors.npy", "scalar.npy"])
def test_missing_members_are_refused(path, member):
    rewrite(path, {member: None})
    refuse(path, "should hold the members")


def test_swapped_arrays_are_refused(path):
    rewrite(path, declared=declared_arrays(path)[::-1])
    refuse(path, "should hold the members")


def test_duplicate_members_are_refused(path):
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("scalar.npy", npy(np.array(8, dtype=np.uint16)))
    refuse(path, "two members of one name")


def test_twice_declared_arrays_are_refused(path):
    declared = declared_arrays(path)
    rewrite(path, declared=[*declared, declared[-1]])
    refuse(path, "should hold the members")


@pytest.mark.parametrize(
    ("version", "match"),
    [
        (2, "newer than 1, .*upgrade"),
        (0, "is 0"),
        ("1", "is '1'"),
        (True, "is True"),
        (None, "is None"),
        (1.0, "is 1.0"),
    ],
)
def test_other_format_versions_are_refused(path, version, match):
    rewrite(path, content={"format_version": version})
    refuse(path, match)


@pytest.mark.parametrize(
    "content", [{"format": "other"}, {"format": None}, {"header": []}, {"arrays": {}}, {"arrays": [1]}]
)
def test_other_declarations_are_refused(path, content):
    rewrite(path, content=content)
    refuse(path, "not a fastals model file|lacks the header|declares an array")


@pytest.mark.parametrize("text", [b"", b"[", b"[" * 100_000, b"\xff", b"1" * 10_000, b'"\xc3\xa9"', b"[1]"])
def test_malformed_json_is_refused(path, text):
    rewrite(path, {"header.json": text})
    refuse(path, "truncated or damaged|not a fastals model file")


@pytest.mark.parametrize(
    ("name", "array"),
    [("user_ids", np.full(12, 0x110000, dtype="<u4").view("<U3")), ("seen", np.full(2, 2, dtype=np.uint8).view(bool))],
)
def test_values_outside_their_dtype_are_refused(path, name, array):
    write_model_file(path, {}, {name: array})
    refuse(path, "holds values that .* does not have")


def test_misplaced_data_are_not_mapped(path):
    rewrite(path, content={"header": {"one": 1}})  # the zip module places members at any offset

    assert_same(read_model_file(path)[1], ARRAYS)
    with pytest.raises(ValueError, match="does not lie where it can be mapped"):
        read_model_file(path, mmap=True)


def test_large_headers_are_refused_unparsed(path):
    rewrite(path, content={"header": {"note": "x" * 2**20}})
    refuse(path, "its members claim to be larger than the file")  # or than a header may be
    with pytest.raises(ValueError, match="header must take at most"):
        write_model_file(path, {"note": "x" * 2**20}, {})


def test_messages_do_not_quote_the_file(path):
    rewrite(path, declared=[[f"a{number}", "<f4", [1]] for number in range(1000)])
    with pytest.raises(ValueError, match="should hold the members") as caught:
        read_model_file(path)
    assert len(str(caught.value)) < 3000

    content = bytearray(path.read_bytes())
    content[26:28] = b"\xff\x0f"  # the length of the first name
    path.write_bytes(content)
    with pytest.raises(ValueError, match="truncated or damaged") as caught:
        read_model_file(path)
    assert len(str(caught.value)) < 500


def test_reading_leaves_no_open_file(path, tmp_path):
    read_model_file(path)
    shutil.copy(path, tmp_path / "copy")
    (tmp_path / "copy").write_bytes(path.read_bytes()[:-1])
    refuse(tmp_path / "copy", "truncated")

    gc.collect()  # a file left to the collector is a ResourceWarning, thus an error
