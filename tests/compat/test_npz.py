"""implicit's files: names, endings, and no pickles."""

import io

import numpy as np
import pytest

from fastals.compat.npz import read_npz, write_npz


def test_what_is_written_is_read(tmp_path):
    values = {"user_factors": np.eye(2), "alpha": 2.5, "use_cg": True, "dtype": "float32", "random_state": None}
    write_npz(tmp_path / "one", values)
    got = read_npz(tmp_path / "one")
    assert got.pop("user_factors").tolist() == [[1, 0], [0, 1]]
    assert got == {"alpha": 2.5, "use_cg": True, "dtype": "float32"}


def test_objects_are_refused(tmp_path):
    np.savez(tmp_path / "bad.npz", user_factors=np.array([{}], object))
    with pytest.raises(ValueError, match="plain arrays"):
        read_npz(tmp_path / "bad.npz")


def test_what_is_no_file_of_the_kind():
    with pytest.raises(ValueError, match="not a readable"):
        read_npz(io.BytesIO(b"text"))
    with pytest.raises(TypeError, match="path must be"):
        write_npz(3, {})
