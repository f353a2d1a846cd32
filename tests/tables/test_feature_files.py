"""Columns of files of every format, and what they look like."""

import gzip

import pytest

from fastals.tables.feature_files import column_kinds, read_columns

pytest.importorskip("duckdb")


def test_delimited_text_has_a_header(tmp_path):
    text = 'item;name;year\r\n1;"Tea; green";1990\r\n2;Pot;\r\n'
    expected = {"item": ["1", "2"], "name": ["Tea; green", "Pot"], "year": ["1990", None]}
    (tmp_path / "plain.csv").write_text(text)
    (tmp_path / "packed.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "other.csv").write_text(text.replace("Pot", "Pöt"), encoding="cp1252")
    assert read_columns(tmp_path / "plain.csv") == read_columns(tmp_path / "packed.csv.gz") == expected
    assert read_columns(tmp_path / "other.csv", "cp1252")["name"] == ["Tea; green", "Pöt"]
    with pytest.raises(ValueError, match=r"other\.csv, line 3: this is not UTF-8 text"):
        read_columns(tmp_path / "other.csv")


def test_a_header_of_words_over_words_is_one(tmp_path):
    (tmp_path / "x.tsv").write_text("artist\tgenre\tplace\nabba\tpop|dance\tse\nblur\trock|pop\tgb\n")
    assert read_columns(tmp_path / "x.tsv")["genre"] == ["pop|dance", "rock|pop"]


def test_json_lines_and_parquet_keep_their_types(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"item": 1, "tags": ["a", "b"], "n": 1.5}\n{"item": 2, "tags": []}\n')
    expected = {"item": [1, 2], "tags": [["a", "b"], []], "n": [1.5, None]}
    assert read_columns(tmp_path / "x.jsonl") == expected
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(expected), tmp_path / "x.parquet")
    assert read_columns(tmp_path / "x.parquet") == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("item,a\n", "no rows"),
        ("item,a,a\n1,2,3\n", "comes more than once"),
        ("item,a\n1,2\n3,4,5\n", "line 3: 3 fields where the first line has 2"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, text, words):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_columns(tmp_path / "x.csv")


def test_columns_are_told_by_their_cells():
    columns = {
        "price": ["1", "2.5", None, "-3e2"] * 5,
        "count": [1, 2, 3, 4] * 5,
        "flag": [True, False] * 10,
        "kind": ["a", "b", "c", None] * 5,
        "tags": ["a|b", "c", None, "d"] * 5,
        "lists": [["a"], [], None, ["b", "c"]] * 5,
        "title": [f"night {number}" for number in range(20)],
        "mixed": ["1", "n/a", "2", "3"] * 5,
        "odd": ["nan", "inf", "1", "2"] * 5,
        "decimal comma": ["1,5", "2,5", "3,5", "4,5"] * 5,
        "empty": [None, "", " ", float("nan")] * 5,
    }
    assert column_kinds(columns, "|") == {
        "numbers": ["price", "count"],
        "categories": ["flag", "kind", "mixed", "odd", "decimal comma"],
        "lists": ["tags", "lists"],
        "text": ["title"],
    }
