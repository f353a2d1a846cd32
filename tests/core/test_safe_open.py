"""Files from outside: what is no regular file, what unpacks to too much, and values that are none, is refused."""

import os

import numpy as np
import pytest

from fastals.core.safe_open import brief, check_proportion, check_unpacked, open_regular, values_are_sound


def test_regular_files_are_opened(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"content")
    (tmp_path / "link").symlink_to(path)

    for name in (path, str(path), tmp_path / "link"):
        with open_regular(name) as file:
            assert file.read() == b"content"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this platform")
def test_pipes_and_devices_are_refused_without_waiting_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", os.devnull):
        with pytest.raises(ValueError, match="this is a pipe or a device, wanted a regular file") as caught:
            open_regular(path)
        assert str(path) in str(caught.value)


def test_folders_and_missing_files_are_told_by_the_system(tmp_path):
    with pytest.raises(OSError, match=str(tmp_path)):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


def test_small_files_may_unpack_to_64_mb_and_large_ones_a_hundredfold(tmp_path):
    check_unpacked(tmp_path, 2**26, 1)
    check_unpacked(tmp_path, 10**9, 10**7)
    for size, packed in ((2**26 + 1, 1), (10**9 + 1, 10**7)):
        with pytest.raises(ValueError, match=f"its {packed:,} bytes unpack to more than {size - 1:,}"):
            check_unpacked(tmp_path, size, packed)


def test_shapes_are_in_proportion_to_entries(tmp_path):
    check_proportion(tmp_path, (10**7, 100), 1)
    with pytest.raises(ValueError, match=r"a matrix of shape \(10000000, 101\) is out of proportion to its 1 entries"):
        check_proportion(tmp_path, (10**7, 101), 1)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([0, 1], np.uint8).view(bool), True),
        (np.array([0, 2], np.uint8).view(bool), False),
        (np.array([0x10FFFF], "<u4").view("<U1"), True),
        (np.array([0x110000], "<u4").view("<U1"), False),
        (np.array([0x110000], ">u4").view(">U1"), False),
        (np.array([2.0, np.nan]), True),
        (np.array([], "<U4"), True),
    ],
)
def test_bytes_that_are_no_values_of_their_type(array, expected):
    assert values_are_sound(array) is expected


def test_long_texts_are_cut():
    assert brief("x" * 200) == "x" * 200
    assert brief("x" * 201) == "x" * 197 + "..."
    assert brief([1, 2]) == "[1, 2]"
