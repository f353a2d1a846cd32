"""Files that are not delimited text: npz, MatrixMarket, Parquet, JSON lines."""

import gzip
import zipfile

import numpy as np
import pytest
from scipy import io, sparse
from table_files import table, write

from fastals.tables.readers import read_interactions


def test_npz_of_arrays(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, user=["b", "a"], item=[3, 4], value=[1.0, 2.0], title=["x", "y"])
    assert table(read_interactions(path)) == [("a", 4, 2.0), ("b", 3, 1.0)]
    np.savez(path, train_user=[1, 2], train_item=[3, 4])
    got = read_interactions(path, user_column="train_user", item_column="train_item")
    assert table(got) == [(1, 3, 1.0), (2, 4, 1.0)]
    with pytest.raises(ValueError, match="no user array; the file has 'train_user', 'train_item'"):
        read_interactions(path)
    with pytest.raises(ValueError, match="no item array 'x'; the file has"):
        read_interactions(path, user_column="train_user", item_column="x")


def test_npz_never_runs_pickles(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, user=np.array(["a", object()], dtype=object), item=[1, 2])
    with pytest.raises(ValueError, match=r"not an \.npz file of plain arrays"):
        read_interactions(path)


def test_npy_under_the_name_of_npz(tmp_path):
    path = tmp_path / "a.npz"
    with open(path, "wb") as file:
        np.save(file, np.eye(2))
    with pytest.raises(ValueError, match=r"not a readable \.npz file"):
        read_interactions(path)


def test_npz_with_bad_values_names_the_file(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, user=[1], item=[1], value=[np.nan])
    with pytest.raises(ValueError, match=r"a\.npz: values must be finite"):
        read_interactions(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"user": [1e300], "item": [1]}, "users are floats, exact up to 2.53 alone; got 1e.300"),
        ({"user": [1, 2], "item": [1]}, "must be equally long"),
        ({"user": 5, "item": [1]}, "must be one-dimensional"),
        ({"user": [b"\xff"], "item": [1]}, "can't decode byte 0xff"),
        (
            {"user": [1], "item": [1], "value": np.array([1e300], np.longdouble)},
            r"values must fit float32, got 1e\+300",
        ),
        ({"user": [1, 1], "item": [1, 1], "value": [1e308, 1e308]}, "values must fit float32, got inf"),
        ({"format": b"csr", "shape": [2, 2], "indptr": [0, 9, 2], "indices": [0, 1], "data": [1.0, 2]}, "rise from 0"),
        ({"format": b"csc", "shape": [2, 2], "indptr": [0, 1, 2], "indices": [0, 10**8], "data": [1.0, 2]}, "outside"),
        ({"format": b"csr", "shape": [2, 2], "indptr": [0, 1, 2], "indices": [0, 1], "data": [1.0, np.nan]}, "finite"),
        ({"format": b"csr", "shape": [2, 2], "indptr": [0, 1, 2], "indices": [0, 1]}, "there is no array 'data'"),
        ({"format": b"lil", "shape": [2, 2]}, "a form of csr, csc, bsr, coo, dia"),
        ({"format": [b"csr"], "shape": [2, 2]}, "not a sparse matrix"),
        ({"format": b"csr", "shape": [2, 2, 2]}, "not a sparse matrix of two dimensions"),
        ({"format": b"csr", "shape": [2.0, 2.0]}, "not a sparse matrix"),
        ({"format": b"csr", "shape": [-2, 2], "indptr": [0], "indices": [0], "data": [1.0]}, "negative"),
        ({"format": b"coo", "shape": [2, 2], "row": [5], "col": [0], "data": [1.0]}, "exceeds matrix dimension"),
        ({"format": b"coo", "shape": [10**9, 2], "row": [0], "col": [0], "data": [1.0]}, "out of proportion"),
        ({"format": b"csr", "shape": [1, 10**9], "indptr": [0, 1], "indices": [0], "data": [1.0]}, "out of proportion"),
    ],
)
def test_npz_of_arrays_that_do_not_fit(tmp_path, arrays, message):
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        read_interactions(path)
    assert str(caught.value).startswith(str(path))


def test_zip_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("ratings.csv", "1,2\n")
    with pytest.raises(ValueError, match=r"zip archive without arrays, of 'ratings\.csv'; unpack it"):
        read_interactions(tmp_path / "a.zip")


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr", "dia"])
def test_npz_of_a_sparse_matrix(tmp_path, kind):
    matrix = sparse.csr_array(sparse.random(5, 7, 0.4, random_state=0)).asformat(kind)
    path = tmp_path / "a.npz"
    sparse.save_npz(path, matrix)
    made = read_interactions(path)
    np.testing.assert_array_equal(made.user_items.toarray(), matrix.toarray().astype(np.float32))
    assert made.item_ids.tolist() == list(range(7))


@pytest.mark.parametrize("suffix", [".mtx", ".mtx.gz"])
def test_matrix_market(tmp_path, suffix):
    matrix = sparse.coo_array(sparse.random(5, 7, 0.4, random_state=1))
    plain = tmp_path / "a.mtx"
    io.mmwrite(plain, matrix)
    path = tmp_path / f"b{suffix}"
    path.write_bytes(gzip.compress(plain.read_bytes()) if suffix.endswith("gz") else plain.read_bytes())
    made = read_interactions(path)
    np.testing.assert_allclose(made.user_items.toarray(), matrix.toarray(), rtol=1e-6)
    assert "MatrixMarket" in made.source


class TestParquet:
    def test_ids_keep_their_type(self, tmp_path):
        pyarrow, path = pytest.importorskip("pyarrow"), tmp_path / "a.parquet"
        pytest.importorskip("pyarrow.parquet")
        columns = {"user": ["007", "8", "007"], "item": [3, 1, 1], "rating": [1.5, 2.0, 4.0], "date": [5, 6, 7]}
        pyarrow.parquet.write_table(pyarrow.table(columns), path)

        made = read_interactions(path, time_column="date")

        assert table(made) == [("007", 1, 4.0), ("007", 3, 1.5), ("8", 1, 2.0)]
        assert made.times.toarray().tolist() == [[7, 5], [6, 0]]
        assert made.item_ids.dtype == np.int64

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"user": [1.5], "item": [1]}, "column 'user' holds DOUBLE, wanted ids of integers or text"),
            ({"user": [1, None], "item": [1, 2]}, "row 2: the id in column 'user' is empty"),
            ({"user": [1], "item": [1], "value": [float("nan")]}, "row 1: column 'value' has 'nan'"),
        ],
    )
    def test_bad(self, tmp_path, columns, message):
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet")
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
        with pytest.raises(ValueError, match=message) as caught:
            read_interactions(tmp_path / "a.parquet")
        assert str(caught.value).startswith(str(tmp_path / "a.parquet"))


class TestJson:
    LINES = '{"user": "007", "item": 3, "n": 2.5, "when": "2023-09-01T10:00:00Z"}\n{"item": 4, "user": "8", "n": 1}\n'

    def test_ids_keep_their_type(self, tmp_path):
        made = read_interactions(write(tmp_path, self.LINES), value_column="n")
        assert table(made) == [("007", 3, 2.5), ("8", 4, 1.0)]

    def test_text_of_digits_stays_text(self, tmp_path):
        made = read_interactions(write(tmp_path, '{"user": "1", "item": "2"}\n'))
        assert table(made) == [("1", "2", 1.0)]

    def test_an_array_of_objects_and_gzip(self, tmp_path):
        path = tmp_path / "a.json.gz"
        path.write_bytes(gzip.compress(b'[{"user": 1, "item": 2}, {"user": 3, "item": 4}]'))
        assert table(read_interactions(path)) == [(1, 2, 1.0), (3, 4, 1.0)]

    def test_bad_rows(self, tmp_path):
        path = write(tmp_path, self.LINES)
        with pytest.raises(ValueError, match="row 2: column 'when' has '', wanted a time"):
            read_interactions(path, time_column="when")
        made = read_interactions(path, time_column="when", skip_bad=True)
        assert made.times.data.tolist() == [1693562400]
