"""What compiled code relies on is checked before it sees it, whatever the checksums say."""

import zlib

import numpy as np
import pytest
import scipy.sparse as sp

pytest.importorskip("duckdb")

from fastals import ImplicitALS, InteractionStore
from fastals.tables.store_files import read_header, write_header


@pytest.fixture
def store(tmp_path):
    random = np.random.default_rng(0)
    return InteractionStore.build(
        [(random.integers(0, 30, 300), random.integers(0, 20, 300), random.random(300))], tmp_path / "store"
    )


def forge(store, name, place, value):
    """Change one element of an array, and its checksum in the header accordingly."""
    header = read_header(store.path)
    (part,) = header.parts
    spec = part.arrays[name]
    path = store.path / part.folder / f"{name}.npy"
    content = bytearray(path.read_bytes())
    array = np.frombuffer(content, spec.dtype, spec.length, 128)
    array[place] = value
    crc = zlib.crc32(array.tobytes())
    path.write_bytes(bytes(content))
    arrays = {**part.arrays, name: spec._replace(crc32=crc)}
    write_header(store.path, header._replace(parts=(part._replace(arrays=arrays),)))


WRONG = [
    ("by_user/indices", 0, -1, "it has indices outside of 0 .. 19"),
    ("by_user/indices", -1, 20, "it has indices outside of 0 .. 19"),
    ("by_item/indices", 5, 2**31 - 1, "it has indices outside of 0 .. 29"),
    ("by_item/indices", 1, 0, "its rows are not sorted"),
    ("by_user/indptr", 0, 1, "it does not rise from 0"),
    ("by_user/indptr", 3, 10**9, "it does not rise from 0"),
    ("by_item/indptr", -1, 7, "it does not rise from 0"),
    ("by_item/values", 4, np.nan, "it has values that are zero or not finite"),
    ("by_user/values", 4, 0, "it has values that are zero or not finite"),
]


@pytest.mark.parametrize(("name", "place", "value", "message"), WRONG)
def test_a_forged_store_is_refused(store, name, place, value, message):
    forge(store, name, place, value)
    with pytest.raises(ValueError, match=rf"{name}\.npy: this file of a store is damaged: {message}"):
        ImplicitALS(factors=2).fit(InteractionStore.open(store.path, verify="indptr" not in name))


def test_forged_code_points_are_refused(tmp_path):
    store = InteractionStore.build([(["a", "b"], ["x", "x"])], tmp_path / "store")
    path = store.path / "000001" / "user_ids.npy"
    path.write_bytes(path.read_bytes()[:-4] + b"\xff\xff\xff\x7f")
    with pytest.raises(ValueError, match="it holds text that is none"):
        InteractionStore.open(store.path)


def test_rows_of_some_users_are_checked_alone(tmp_path):
    R = sp.csr_array(np.array([[1.0, 2, 0], [0, 0, 0], [0, 3, 4], [5, 0, 6]]))
    store = InteractionStore.build(R, tmp_path / "store")
    for first, last in ((0, 4), (1, 3), (2, 2), (3, 4)):
        rows = store.whole.users_between(first, last)
        np.testing.assert_array_equal(rows.as_csr(np.dtype(np.float64)).toarray(), R.toarray()[first:last])
        assert rows.disk is None
    np.testing.assert_array_equal(store.whole.user_pointers, R.indptr)
    file = next(store.path.glob("*/by_user/indices.npy"))
    content = bytearray(file.read_bytes())
    content[-4:] = (7).to_bytes(4, "little")
    file.write_bytes(content)
    damaged = InteractionStore.open(store.path)
    assert damaged.whole.users_between(0, 3).shape == (3, 3)
    with pytest.raises(ValueError, match=r"indices\.npy: this file of a store is damaged"):
        damaged.whole.users_between(3, 4)
