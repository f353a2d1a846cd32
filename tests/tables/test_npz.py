import io
import struct
import zipfile

import numpy as np
import pytest

from fastals.tables.npz import open_npz


def member(header: bytes, data: bytes = b"", start: bytes = b"\x93NUMPY\x01\x00") -> bytes:
    return start + struct.pack("<H" if start[6] == 1 else "<I", len(header)) + header + data


def plain(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, array, version=version)
    return content.getvalue()


def archive(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as made:
        for name, data in members:
            made.writestr(name, data)
    return path


ARRAYS = {
    "integers": np.arange(-2, 3),
    "bytes": np.array([b"a", b"bc"]),
    "text": np.array(["ä", "\U0001f600"]),
    "turned": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.array([1.5], ">f4"),
    "scalar": np.array(True),
    "empty": np.zeros((0, 3), np.uint8),
}


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_plain_arrays(tmp_path, version, compression):
    members = [(f"{name}.npy", plain(array, version)) for name, array in ARRAYS.items()]
    with open_npz(archive(tmp_path / "a.npz", members, compression)) as opened:
        assert opened.names == list(ARRAYS)
        for name, array in ARRAYS.items():
            got = opened.read(name)
            assert got.dtype == array.dtype
            np.testing.assert_array_equal(got, array)


def test_other_spellings_of_the_header(tmp_path):
    header = b"{ 'descr':'<i4','fortran_order' : False,'shape':(2 , ) }"
    with open_npz(archive(tmp_path / "a.npz", [("a.npy", member(header, struct.pack("<ii", 3, 4)))])) as opened:
        assert opened.read("a").tolist() == [3, 4]


def claim(shape: str, dtype: str = "<i8") -> bytes:
    return f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (member(claim("(1000000000000000,)")), "does not have the size that it claims"),
        (member(claim("(2,)"), bytes(15)), "does not have the size that it claims"),
        (member(claim("(2,)"), bytes(17)), "does not have the size that it claims"),
        (member(claim("(1,)", "<U400000000")), "does not have the size that it claims"),
        (member(claim("(0, 4611686018427387904)")), "not a readable .npz file"),
        (member(claim(f"({2**70},)")), "does not have the size that it claims"),
        (member(claim("(-1,)")), "not an .npz file of plain arrays"),
        (member(claim("(1,)", "|O")), "not an .npz file of plain arrays"),
        (member(claim("(1,)", "<M8[s]")), "not an .npz file of plain arrays"),
        (member(claim("(1,)", "<f3")), "not a readable .npz file"),
        (member(b"{'descr': [('a', '<i8')], 'fortran_order': False, 'shape': (1,), }", bytes(8)), "of plain arrays"),
        (member(b"(" * 5000), "not an .npz file of plain arrays"),
        (member(b"-" * 9000 + b"1"), "not an .npz file of plain arrays"),
        (member(b"'''"), "not an .npz file of plain arrays"),
        (member(b"  x\n y\n"), "not an .npz file of plain arrays"),
        (member(b" " * 20_000), "not an .npz file of plain arrays"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", "not an .npz file of plain arrays"),
        (member(claim("(1,)"), bytes(8), b"\x93NUMPY\x03\x00"), "not an .npz file of plain arrays"),
        (b"", "not an .npz file of plain arrays"),
        (plain(np.full(3, 0x110000, "<u4").view("<U3")), "holds values that <U3 does not have"),
        (plain(np.full(2, 2, np.uint8).view(bool)), "holds values that bool does not have"),
    ],
)
def test_other_members_are_refused(tmp_path, content, message):
    path = archive(tmp_path / "a.npz", [("a.npy", content)])
    with pytest.raises(ValueError, match=message) as caught, open_npz(path) as opened:
        opened.read("a")
    assert str(caught.value).startswith(str(path))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["a.npy", "a"])
def test_two_arrays_of_one_name(tmp_path, second):
    path = archive(tmp_path / "a.npz", [("a.npy", plain(np.arange(2))), (second, plain(np.arange(3)))])
    with pytest.raises(ValueError, match="it holds two arrays of one name"), open_npz(path) as opened:
        opened.read("a")


def test_less_data_than_the_archive_says(tmp_path):
    """Deflated to less, with the checksum of what is there: the rest must not be taken from free memory."""
    whole = plain(np.arange(100))
    path = archive(tmp_path / "a.npz", [("a.npy", whole[:-80])], zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    for at in (22, content.index(b"PK\x01\x02") + 24):
        assert content[at : at + 4] == struct.pack("<I", len(whole) - 80)
        content[at : at + 4] = struct.pack("<I", len(whole))
    path.write_bytes(content)
    with (
        pytest.raises(ValueError, match=r"not a readable \.npz file .EOF: reading array data"),
        open_npz(path) as opened,
    ):
        opened.read("a")


def test_encrypted(tmp_path):
    path = archive(tmp_path / "a.npz", [("a.npy", plain(np.arange(2)))])
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is encrypted") as caught, open_npz(path) as opened:
        opened.read("a")
    assert str(path) in str(caught.value)
