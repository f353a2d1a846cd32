"""Model files that are damaged or hostile are refused before they can do harm."""

import gc
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
import numpy as np
import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from model_files import ARRAYS, HEADER, assert_same, npy, refuse, rewrite

from fastals.persistence.model_file import read_model_file, write_model_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "model.fastals"
    write_model_file(target, HEADER, ARRAYS)
    return target


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
