"""A model file, and what is done to it, for the tests of what is written and of what is damaged or hostile."""

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fastals.persistence.model_file import read_model_file

HEADER = {"parameters": {"factors": 3, "alpha": 0.1}, "loss_history": [3.5, 1e-300], "note": "é\u2028", "none": None}
ARRAYS = {
    "user_factors": np.arange(12, dtype=np.float32).reshape(4, 3),
    "item_factors": np.linspace(0, 1, 200).reshape(20, 10),
    "user_ids": np.array(["ann", "bob", "Zoë", "\U0001f600"]),
    "seen": np.array([True, False]),
    "empty": np.zeros((0, 5), dtype=np.int64),
    "scalar": np.array(7, dtype=np.uint16),
}


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
