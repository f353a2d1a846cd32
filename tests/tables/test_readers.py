import gzip
import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_files import table, write

from fastals.tables.interactions import Interactions
from fastals.tables.readers import read_interactions

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


TEXTS = st.text(st.sampled_from('ab ,;"é\n0'), min_size=1, max_size=5).filter(lambda text: text == text.strip())


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(-3, 12), TEXTS, st.floats(-1e6, 1e6, width=32).filter(bool)), min_size=1, max_size=12
    ),
    blanks=st.booleans(),
    packed=st.booleans(),
)
@pytest.mark.slow
def test_what_the_csv_module_wrote_comes_back(tmp_path_factory, rows, blanks, packed):
    """Separators, quotes, line ends and leading zeros inside of ids."""
    import csv

    path = tmp_path_factory.mktemp("csv") / "data.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("user", "item", "value"))
        for row in rows:
            writer.writerow(row)
            file.write("\n" * blanks)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    ids = [item for _, item, _ in rows]
    whole = all(re.fullmatch("0|-?[1-9][0-9]*", one) for one in ids)
    expected = Interactions.from_arrays(
        [user for user, _, _ in rows], [int(one) for one in ids] if whole else ids, [v for _, _, v in rows],
        duplicates="last",
    )  # fmt: skip

    got = read_interactions(path, separator=",", duplicates="last")

    assert table(got) == table(expected)
    assert got.item_ids.tolist() == expected.item_ids.tolist()


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
        ("user,item,rating\n1,2,1_0\n", {}, "column 'rating' has '1_0', wanted a finite number; skip_bad"),
        (
            "kunde;ware;menge\n1;2;2,5\n",
            {},
            "line 2: column 'menge' has '2,5', wanted a finite number; name the decimal comma",
        ),
        ("user,item,rating\n1,2," + "9x" * 5000, {}, r"has '9x9x.{180,200}\.\.\.', wanted a finite number"),
        ("a,b\n" + "1," + "2" * 2**22, {}, "line 2: Maximum line size of 2000000 bytes exceeded"),
        ("".join(f"{n}a,1\n" for n in range(5000)) + "y" * 100_000 + ",1\n", {}, "one of 100,000 characters among"),
        ('{"user": 1, "item": 2}\n{"user": 2}\n', {}, "row 2: the id in column 'item' is empty"),
        ('{"user": 1, "item": 2\n', {}, "line 1: this is not JSON"),
        ("[1, 2]\n", {}, "line 1: .* is not a JSON object"),
        ('{"who": 1, "item": 2}\n', {"user_column": "user"}, "no user column 'user'; the file has 'who', 'item'"),
        ("<!DOCTYPE html>\n<p>Not, found", {}, "this is markup"),
    ],
)
@pytest.mark.slow
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
        ("a.csv", gzip.compress(b"1,2\n" * 1000, mtime=0)[:-20], "gzip file is damaged"),
        ("a.csv", gzip.compress(b"1,2\n" * 1000, mtime=0)[:10] + b"\xff" * 50, "gzip file is damaged"),
        ("a.csv", gzip.compress(b"1,2\n", mtime=0)[:10], "gzip file is damaged"),
        ("a.csv", gzip.compress(b"1,2\n", mtime=0) + b"more", "gzip file is damaged"),
        ("a.csv", b"\x1f\x8b\x08", "gzip file is damaged"),
        ("a.csv", gzip.compress(b"", mtime=0), "the file is empty"),
        ("a.csv", "user,item\n1,2\n".encode("utf-16"), "line 1: this is not UTF-8 text .byte 0xff"),
        ("a.csv", b"PAR1\0\0", "too small to be a Parquet file"),
        ("a.npz", b"nothing", "not a readable .npz file"),
        ("a.npz", b"", "not a readable .npz file"),
        ("a.csv", b"PK\x03\x04junk", "not a readable .npz file"),
        ("a.mtx", b"%%MatrixMarket matrix coordinate real general\n2 2 1\n3 1 5\n", "not a usable MatrixMarket file"),
        ("a.mtx", b"%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 5\n", "not a usable MatrixMarket file"),
        ("a.mtx", b"%%MatrixMarket matrix array real general\n1 1\n5\n", "a dense array, wanted coordinates"),
        ("a.mtx", b"%%MatrixMarket matrix coordinate complex general\n1 1 1\n1 1 5 2\n", "not a usable MatrixMarket"),
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


def test_the_source_says_what_was_taken_and_what_was_not(tmp_path):
    made = read_interactions(write(tmp_path, "user;artist;qty;shop\n1;2;3;x\n"))
    assert made.source == "data.txt: user column 'user', item column 'artist', values 'qty', unused: 'shop'"
    assert table(made) == [(1, 2, 3.0)]


def test_zstd(tmp_path):
    import duckdb

    path = tmp_path / "a.csv.zst"
    duckdb.sql("select 'ann' as user, 'x' as item union all select 'bob', 'y'").write_csv(
        str(path), header=True, compression="zstd"
    )
    assert table(read_interactions(path)) == [("ann", "x", 1.0), ("bob", "y", 1.0)]


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-16", "utf-8-sig"])
@pytest.mark.parametrize("packed", [False, True])
def test_encodings(tmp_path, encoding, packed):
    content = "user;item\nann;Größe\nbob;Café\n".encode(encoding)
    path = tmp_path / "a.csv"
    path.write_bytes(gzip.compress(content) if packed else content)
    assert table(read_interactions(path, encoding=encoding)) == [("ann", "Größe", 1.0), ("bob", "Café", 1.0)]


def test_encodings_that_are_not(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\xff\xfe\n1,2\n")
    with pytest.raises(ValueError, match="name its encoding, such as cp1252, latin-1 or utf-16"):
        read_interactions(path)
    with pytest.raises(ValueError, match="encoding 'utf-9' is not known to Python"):
        read_interactions(path, encoding="utf-9")
    with pytest.raises(ValueError, match="this is not utf-16 text"):
        read_interactions(path, encoding="utf-16")
    late = write(tmp_path, "1,2\n" * 99, "late.csv")
    late.write_bytes(late.read_bytes() + b"3,\xff\n")
    with pytest.raises(ValueError, match=r"late\.csv, line 100: this is not UTF-8 text"):
        read_interactions(late)


def test_decimal_comma(tmp_path):
    path = write(tmp_path, 'kunde;ware;menge\n1;2;2,5\n1;3;"1,25"\n')
    assert table(read_interactions(path, decimal=",", value_column="menge")) == [(1, 2, 2.5), (1, 3, 1.25)]
    with pytest.raises(ValueError, match="decimal must be one of"):
        read_interactions(path, decimal=";")


def test_bad_rows_are_dropped_and_counted_where_that_is_asked_for(tmp_path):
    path = write(tmp_path, "user,item,n\na,1,2\n,2,3\nb,2\nc,3,x\nd,4,5\ne,5,6,7\nf,,1\n")
    with pytest.raises(ValueError, match="line 4: 2 fields where the first line has 3"):
        read_interactions(path, value_column="n")

    made = read_interactions(path, value_column="n", skip_bad=True)

    assert table(made) == [("a", 1, 2.0), ("d", 4, 5.0)]
    assert "; 5 bad rows were dropped (line 3: the id in column 'user' is empty; line 4: 2 fields" in made.source
    with pytest.raises(ValueError, match="no rows; 1 bad row was dropped"):
        read_interactions(write(tmp_path, "user,item\n,1\n"), skip_bad=True)


def test_runs_of_white_space(tmp_path):
    path = write(tmp_path, "1  10   3\n2 \t 20 4\n")
    assert table(read_interactions(path, separator=" ")) == [(1, 10, 3.0), (2, 20, 4.0)]
    with pytest.raises(ValueError, match="line 3: 2 fields where the first line has 3"):
        read_interactions(write(tmp_path, "1  10   3\n2 20 4\n5 6\n"))


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [("1693526400", 1693526400), ("2023-09-01", 1693526400), ("2023-09-01 10:00:00", 1693562400), ("-5", -5)],
)
def test_times(tmp_path, cell, seconds):
    made = read_interactions(write(tmp_path, f"user,item,date\na,x,{cell}\na,x,0\n"), time_column="date")
    assert made.times.toarray().tolist() == [[max(seconds, 0)]]
    assert "times 'date'" in made.source
    with pytest.raises(ValueError, match="line 2: column 'date' has 'soon', wanted a time"):
        read_interactions(write(tmp_path, "user,item,date\na,x,soon\n"), time_column="date")


@pytest.mark.parametrize("name", ["a*.csv", "[ab].csv", "a?.csv", "it's; drop table source; --.csv", "{a,b}.csv"])
def test_names_are_neither_patterns_nor_commands(tmp_path, name):
    for other in ("a1.csv", "ab.csv", "a.csv", "b.csv"):
        write(tmp_path, "9,9\n", other)
    assert table(read_interactions(write(tmp_path, "1,2\n3,4\n", name))) == [(1, 2, 1.0), (3, 4, 1.0)]


def test_columns_are_not_commands(tmp_path):
    path = write(tmp_path, '{"a\\"; drop table x; --": 1, "it\'s": 2}\n')
    assert table(read_interactions(path)) == [(1, 2, 1.0)]


def test_without_duckdb_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ImportError, match=r"needs DuckDB: pip install 'fastals\[tables\]'"):
        read_interactions(write(tmp_path, "1,2\n"))
