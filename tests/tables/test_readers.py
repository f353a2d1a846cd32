import gzip
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import io, sparse

from fastals.tables import delimited
from fastals.tables.interactions import Interactions
from fastals.tables.readers import read_interactions
from fastals.tables.text_layout import sniff_layout


def write(tmp_path, text, name="data.txt"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def table(made):
    coo = made.user_items.tocoo()
    return sorted(
        (made.user_ids[u].item(), made.item_ids[i].item(), v)
        for u, i, v in zip(coo.row, coo.col, coo.data.tolist(), strict=True)
    )


PAIRS = [(1, 10, 3.0), (1, 20, 1.0), (2, 10, 4.5)]


@pytest.mark.parametrize("separator", ["\t", ",", "::", ";", "|", " ", "   "])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_separators_headers_and_line_ends(tmp_path, separator, header, newline):
    rows = [("user_id", "item_id", "rating")] if header else []
    rows += [tuple(map(str, row)) for row in PAIRS]
    path = write(tmp_path, "".join(separator.join(row) + newline for row in rows))
    made = read_interactions(path)
    assert table(made) == PAIRS
    assert ("'rating'" if header else "number 3") in made.source


def test_gzip_is_known_by_its_content(tmp_path):
    path = tmp_path / "plain.csv"
    path.write_bytes(gzip.compress(b"user,item\na,x\nb,y\n"))
    assert table(read_interactions(path)) == [("a", "x", 1.0), ("b", "y", 1.0)]


def test_usual_names_are_found_in_any_order(tmp_path):
    path = write(tmp_path, "timestamp,movieId,Rating,user-ID\n5,7,2,1\n6,8,3,1\n")
    assert table(read_interactions(path)) == [(1, 7, 2.0), (1, 8, 3.0)]
    path = write(tmp_path, "item,who,n\n7,a,2\n8,b,3\n")
    assert table(read_interactions(path, value_column="n")) == [("a", 7, 2.0), ("b", 8, 3.0)]


def test_columns_by_name_and_position(tmp_path):
    path = write(tmp_path, "a,b,c,d\n1,2,3,4\n5,6,7,8\n")
    got = read_interactions(path, user_column="d", item_column="a", value_column="b")
    assert table(got) == [(4, 1, 2.0), (8, 5, 6.0)]
    got = read_interactions(path, user_column=3, item_column=0, value_column=2)
    assert table(got) == [(4, 1, 3.0), (8, 5, 7.0)]


def test_timestamps_are_no_values(tmp_path):
    path = write(tmp_path, "1\t2\t881250949\n1\t3\t891717742\n")
    assert table(read_interactions(path)) == [(1, 2, 1.0), (1, 3, 1.0)]
    assert table(read_interactions(path, value_column=2))[0][2] == pytest.approx(881250949)
    path = write(tmp_path, "user,item,time\n1,2,3\n")
    assert table(read_interactions(path)) == [(1, 2, 1.0)]
    path = write(tmp_path, "196\t242\t3\t881250949\n186\t302\t3\t891717742\n", "u.data")
    assert table(read_interactions(path)) == [(186, 302, 3.0), (196, 242, 3.0)]


def test_third_column_of_text_is_no_value(tmp_path):
    path = write(tmp_path, "1\ta\tAbba\t5\n2\tb\tBlur\t6\n")
    assert table(read_interactions(path)) == [(1, "a", 1.0), (2, "b", 1.0)]
    assert table(read_interactions(path, value_column=3)) == [(1, "a", 5.0), (2, "b", 6.0)]


def test_header_is_recognised_by_text_over_numbers(tmp_path):
    path = write(tmp_path, "leser,buch\n1,2\n3,4\n")
    assert table(read_interactions(path)) == [(1, 2, 1.0), (3, 4, 1.0)]
    path = write(tmp_path, "ann,dune\nbob,emma\n")
    assert table(read_interactions(path)) == [("ann", "dune", 1.0), ("bob", "emma", 1.0)]
    assert table(read_interactions(path, header=True)) == [("bob", "emma", 1.0)]


def test_ids_are_integers_only_if_all_are_in_plain_form(tmp_path):
    made = read_interactions(write(tmp_path, "1,007\n2,7\n-3,8\n"))
    assert made.user_ids.tolist() == [-3, 1, 2]
    assert made.item_ids.tolist() == ["007", "7", "8"]


def test_quotes_comments_blank_lines_and_byte_order_mark(tmp_path):
    text = '\ufeff% a comment\n# another\n\nuser,item,count\n"Smith, J.","say ""hi""", 2\n\nann,"two\nlines",3\n'
    made = read_interactions(write(tmp_path, text))
    assert table(made) == [("Smith, J.", 'say "hi"', 2.0), ("ann", "two\nlines", 3.0)]


def test_mixed_line_ends(tmp_path):
    path = write(tmp_path, '1,2\r3,4\n5,6\r\n"7",8')
    assert table(read_interactions(path)) == [(1, 2, 1.0), (3, 4, 1.0), (5, 6, 1.0), (7, 8, 1.0)]


def test_ids_of_any_size(tmp_path):
    made = read_interactions(write(tmp_path, f"-3000000000,{10**18 - 1}\n4,-7\n"))
    assert made.user_ids.tolist() == [-3000000000, 4]
    assert made.item_ids.tolist() == [-7, 10**18 - 1]
    assert read_interactions(write(tmp_path, f"{10**30},1\n4,1\n")).user_ids.tolist() == [str(10**30), "4"]


def test_quotes_are_letters_in_tab_separated_files(tmp_path):
    made = read_interactions(write(tmp_path, '1\t12" mix\t3\n2\tx\t4\n'))
    assert table(made) == [(1, '12" mix', 3.0), (2, "x", 4.0)]


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(-3, 12),
            st.text(st.sampled_from('ab ,;"é'), min_size=1, max_size=5).filter(lambda text: text == text.strip()),
            st.floats(-1e6, 1e6, width=32).filter(bool),
        ),
        min_size=1,
        max_size=12,
    ),
    size=st.integers(1, 40),
    blanks=st.booleans(),
)
def test_pieces_of_any_size_give_what_the_csv_module_wrote(tmp_path_factory, rows, size, blanks):
    import csv

    path = tmp_path_factory.mktemp("csv") / "data.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("user", "item", "value"))
        for row in rows:
            writer.writerow(row)
            file.write("\n" * blanks)
    expected = Interactions.from_arrays(*zip(*rows, strict=True), duplicates="last")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "_CHUNK", size)
        got = read_interactions(path, separator=",", duplicates="last")
    assert table(got) == [(u, str(i), v) for u, i, v in table(expected)]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "the file is empty"),
        ("\n \n", {}, "the file is empty"),
        ("user,item\n", {}, "the file has a header and no rows"),
        ("ab\ncd\n", {}, "the first line has one field, wanted at least a user and an item: 'ab"),
        ("1,2\n3,4,5\n6,7\n", {}, "line 2: 3 fields where the first line has 2"),
        ("user,item\n1,2\n\n3\n", {}, "line 4: 1 fields where the first line has 2"),
        ("user,item,rating\n1,2,3\n1,3,nan\n", {}, "line 3: column 'rating' has 'nan', wanted a finite number"),
        ("1,2,3\n1,3,-inf\n", {}, "line 2: column number 3 has '-inf'"),
        ("user,item,rating\n1,2,3\n\n1,3,many\n", {}, "line 4: column 'rating' has 'many'"),
        ('user,item,rating\n"1","a\nb",3\n1,3,\n', {}, "line 4: column 'rating' has ''"),
        ("user,item\n1,2\n,3\n", {}, "line 3: the id in column 'user' is empty"),
        ("user,item\n1,2\n", {"item_column": "book"}, "no item column 'book'; the file has 'user', 'item'"),
        ("1,2\n", {"user_column": "user"}, "no user column 'user'; the file has '1', '2'"),
        ("1,2\n", {"user_column": "user", "header": False}, "no header, only columns 1 to 2"),
        ("1,2\n", {"value_column": 2}, "no value column number 3; the file has columns 1 to 2"),
        ("1,2\n", {"user_column": 1, "item_column": 1}, "the user and the item column are the same one, number 2"),
        ("1,2\n1,2\n", {"duplicates": "error"}, "user 1 and item 2 meet more than once"),
        ("a\0b,c\n", {}, "this is binary data"),
        ("1,2\n" * 99 + "3,\0\n", {}, "an id in column number 2 holds a NUL character"),
        ("user\titem\n" + "1\t2\n" * 99 + "3\tx\0\n", {}, "an id in column 'item' holds a NUL character"),
        ('1,2\n3,"4\n5,6\n', {}, r'line 2: a quote \("\) is opened and never closed'),
        ("1,2\n" * 99 + '3,"4"\n5,"6\n7,8\n', {}, r'line 101: a quote \("\) is opened and never closed'),
        ('1,2\n"' + "x\n" * 70_000 + '",3\n', {}, "line 2: field larger than field limit"),
        ('"' + ("x" * 90_000 + "\n") * 3 + '",3\n', {}, "this is not delimited text .field larger than field limit"),
        ("user,item,rating\n1,2,1_0\n", {}, "column 'rating' has '1_0', wanted a finite number$"),
        ("kunde;ware;menge\n1;2;2,5\n", {}, "line 2: column 'menge' has '2,5', .*: decimals take a point"),
        ("user,item,rating\n1,2," + "9x" * 5000, {}, r"has '9x9x.{180,200}\.\.\.', wanted a finite number"),
        ("a,b\n" + "1," + "2" * 2**20, {}, "a line is longer than 1,048,576 bytes"),
        ("".join(f"{n}a,1\n" for n in range(5000)) + "y" * 100_000 + ",1\n", {}, "one of 100,000 characters among"),
        ('{"user": 1, "item": 2}\n{"user": 2, "item": 2}\n', {}, "this is JSON or markup"),
        ('[{"user": 1, "item": 2}]\n', {}, "this is JSON or markup"),
        ("<!DOCTYPE html>\n<p>Not, found", {}, "this is JSON or markup"),
    ],
)
def test_bad_text(tmp_path, text, options, message):
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        read_interactions(path, **options)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"\x89PNG\r\n\x1a\n\0\xff", "not UTF-8 text|binary data"),
        ("a.csv", "1,Größe\n".encode("latin-1"), "not UTF-8 text"),
        ("a.csv", gzip.compress(b"1,2\n" * 1000)[:-20], "gzip file is damaged"),
        ("a.csv", gzip.compress(b"1,2\n" * 1000)[:10] + b"\xff" * 50, "gzip file is damaged"),
        ("a.csv", gzip.compress(b"1,2\n")[:10], "gzip file is damaged"),
        ("a.csv", gzip.compress(b"1,2\n") + b"more", "gzip file is damaged"),
        ("a.csv", b"\x1f\x8b\x08", "gzip file is damaged"),
        ("a.csv", gzip.compress(b""), "the file is empty"),
        ("a.csv", "user,item\n1,2\n".encode("utf-16"), "not UTF-8 text"),
        ("a.csv", b"PAR1\0\0", "Parquet is not read directly"),
        ("a.npz", b"nothing", "no readable .npz file|no .npz file"),
        ("a.npz", b"", "no readable .npz file|no .npz file"),
        ("a.csv", b"PK\x03\x04junk", "no readable .npz file"),
        ("a.mtx", b"%%MatrixMarket matrix coordinate real general\n2 2 1\n3 1 5\n", "no usable MatrixMarket file"),
        ("a.mtx", b"%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 5\n", "no usable MatrixMarket file"),
        ("a.mtx", b"%%MatrixMarket matrix array real general\n1 1\n5\n", "a dense array, wanted coordinates"),
        ("a.mtx", b"%%MatrixMarket matrix coordinate complex general\n1 1 1\n1 1 5 2\n", "no usable MatrixMarket"),
    ],
)
def test_bad_bytes(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_interactions(path)
    assert str(path) in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_interactions(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="this is a folder"):
        read_interactions(tmp_path)


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
    with pytest.raises(ValueError, match=r"no \.npz file of plain arrays"):
        read_interactions(path)


def test_npy_under_the_name_of_npz(tmp_path):
    path = tmp_path / "a.npz"
    with open(path, "wb") as file:
        np.save(file, np.eye(2))
    with pytest.raises(ValueError, match=r"no readable \.npz file"):
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
        ({"format": [b"csr"], "shape": [2, 2]}, "no sparse matrix"),
        ({"format": b"csr", "shape": [2, 2, 2]}, "no sparse matrix of two dimensions"),
        ({"format": b"csr", "shape": [2.0, 2.0]}, "no sparse matrix"),
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


def test_layout_describes_itself(tmp_path):
    layout = sniff_layout(write(tmp_path, "user;artist\n1;2\n"))
    assert (layout.separator, layout.width, layout.value) == (";", 2, None)
    assert str(layout) == "user column 'user', item column 'artist', no values (each row counts 1)"
