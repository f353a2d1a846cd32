import gzip
import io

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from fastals.tables.matrix_market import read_matrix_market

GENERAL = b"%%MatrixMarket matrix coordinate real general\n"


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["general", "symmetric", "skew-symmetric"]),
    st.sampled_from(["real", "integer", "pattern", "unsigned-integer"]),
    st.booleans(),
)
def test_reads_what_scipy_writes(tmp_path_factory, seed, symmetry, field, zipped):
    random = np.random.default_rng(seed)
    dense = random.integers(1, 9, (5, 5)) * (random.random((5, 5)) < 0.5)
    if symmetry == "skew-symmetric":
        field, dense = "real" if field != "integer" else field, np.tril(dense, -1) - np.tril(dense, -1).T
    elif symmetry == "symmetric":
        dense = np.tril(dense) + np.tril(dense, -1).T
    else:
        dense = dense[:3]
    content = io.BytesIO()
    scipy.io.mmwrite(content, sparse.coo_array(dense), comment="one\n two", field=field, symmetry=symmetry)
    path = tmp_path_factory.mktemp("market") / "a.mtx"
    path.write_bytes(gzip.compress(content.getvalue()) if zipped else content.getvalue())
    expected = (dense != 0).astype(float) if field == "pattern" else dense

    got = read_matrix_market(path)

    assert got.shape == expected.shape
    np.testing.assert_array_equal(got.toarray(), expected)


@pytest.mark.parametrize(
    "content",
    [
        GENERAL + b"2 3 2\n1 1 5\n2 3 1e0\n",
        GENERAL.upper() + b"2 3 2\r\n1 1 5\r\n2 3 1\r\n",
        GENERAL + b"% a comment\n%\n\n  % and another\n 2\t3  2 \n\n1 1 5.0\n% between\n\n 2 3 1",
        b"%%MatrixMarket matrix coordinate double general\n2 3 3\n1 1 2\n2 3 1\n1 1 3\n",
    ],
)
def test_liberties_of_the_format(tmp_path, content):
    (tmp_path / "a.mtx").write_bytes(content)
    assert read_matrix_market(tmp_path / "a.mtx").toarray().tolist() == [[5, 0, 0], [0, 0, 1]]


def test_without_entries(tmp_path):
    (tmp_path / "a.mtx").write_bytes(GENERAL + b"2 3 0\n")
    assert read_matrix_market(tmp_path / "a.mtx").toarray().tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"%%MatrixMarket", "it begins with"),
        (b"%%MatrixMarket vector coordinate real general\n2 1\n1 5\n", "wanted '%%MatrixMarket matrix"),
        (b"%%MatrixMarket matrix array real general\n1 1\n5\n", "a dense array, wanted coordinates"),
        (b"%%MatrixMarket matrix coordinate complex general\n1 1 1\n1 1 5 2\n", "it says .* complex general"),
        (b"%%MatrixMarket matrix coordinate real odd\n1 1 1\n1 1 5\n", "it says .* real odd"),
        (GENERAL, "line of sizes is ''"),
        (GENERAL + b"2 2\n1 1 5\n", "line of sizes is '2 2"),
        (GENERAL + b"-5 10 1\n1 1 5\n", "line of sizes is '-5"),
        (GENERAL + b"2 2 " + b"1" * 30 + b"\n1 1 5\n", "line of sizes"),
        (GENERAL + b"2 2 5\n1 1 5\n", "it has 1 lines of 3 numbers, wanted 5 of 3"),
        (GENERAL + b"2 2 0\n1 1 5\n", "wanted 0 of 3"),
        (GENERAL + b"2 2 2\n1 1 5\n1 2\n", "number of columns changed"),
        (GENERAL + b"2 2 1\n1 1\n", "1 lines of 2 numbers"),
        (GENERAL + b"2 2 1\n1 1 x\n", "could not convert string 'x'"),
        (GENERAL + b"2 2 1\n1 1 5\0\n", "could not convert"),
        (GENERAL + b"2 2 2\n1 1 1\n0 1 5\n", "entry 2 is in row 0 of 1 to 2"),
        (GENERAL + b"2 2 1\n-1 1 5\n", "in row -1 of 1 to 2"),
        (GENERAL + b"2 2 1\n1.5 1 5\n", r"in row 1\.5 of 1 to 2"),
        (GENERAL + b"2 2 1\nnan 1 5\n", "in row nan of 1 to 2"),
        (GENERAL + b"2 2 1\n1 9223372036854775809 5\n", r"in column 9\.22337e\+18 of 1 to 2"),
        (GENERAL.replace(b"general", b"symmetric") + b"3 2 1\n1 1 5\n", "of shape .* is not square"),
        (GENERAL + b"1000000000 9 1\n1 1 5\n", "out of proportion to its 1 entries"),
        (GENERAL + b"2 2 1\n1 1 \xff\n", "not UTF-8"),
        (gzip.compress(GENERAL + b"2 2 1\n1 1 5\n", mtime=0)[:-9], "gzip file is damaged"),
    ],
)
def test_what_is_refused(tmp_path, content, message):
    (tmp_path / "a.mtx").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_matrix_market(tmp_path / "a.mtx")
    assert str(tmp_path / "a.mtx") in str(caught.value)
