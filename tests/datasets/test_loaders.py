import sys
import zipfile
from pathlib import Path

import pytest

from fastals.datasets import (
    load_goodbooks,
    load_gowalla,
    load_lastfm,
    load_movielens,
    load_yelp2018,
    read_adjacency_list,
)

# A few lines of each data set in its true format: separators, headers, quotes and encodings as published.
MOVIELENS = {
    "100k": {
        "ml-100k/u.data": b"196\t242\t3\t881250949\n186\t302\t5\t891717742\n196\t302\t1\t881251000\n",
        "ml-100k/u.item": "242|Kolya (1996)|24-Jan-1997||http://x|0|0\n302|Les Mis\u00e9rables (1998)|x||y|0\n".encode(
            "latin-1"
        ),
    },
    "1m": {
        "ml-1m/ratings.dat": b"196::242::3::881250949\n186::302::5::891717742\n196::302::1::881251000\n",
        "ml-1m/movies.dat": "242::Kolya (1996)::Comedy\n302::Les Mis\u00e9rables (1998)::Drama|War\n".encode("latin-1"),
    },
    "latest-small": {
        "ml-latest-small/ratings.csv": b"userId,movieId,rating,timestamp\r\n196,242,3.0,881250949\r\n"
        b"186,302,5.0,891717742\r\n196,302,1.0,881251000\r\n",
        "ml-latest-small/movies.csv": "movieId,title,genres\r\n242,Kolya (1996),Comedy\r\n"
        '302,"Mis\u00e9rables, Les (1998)",Drama|War\r\n'.encode(),
    },
}
MOVIELENS["25m"] = MOVIELENS["latest-small"]


def unpack(files, folder):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def pack(files, path):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("variant", ["100k", "1m", "latest-small", "25m"])
@pytest.mark.parametrize("packed", [True, False])
def test_movielens_formats(tmp_path, variant, packed):
    files = MOVIELENS[variant]
    made = load_movielens(variant, path=pack(files, tmp_path / "a.zip") if packed else unpack(files, tmp_path))
    assert made.interactions.user_ids.tolist() == [186, 196]
    assert made.interactions.item_ids.tolist() == [242, 302]
    assert made.interactions.user_items.toarray().tolist() == [[0, 5], [3, 1]]
    assert made.timestamps.toarray().tolist() == [[0, 891717742], [881250949, 881251000]]
    assert made.item_names[0] == "Kolya (1996)"
    assert "Mis\u00e9rables" in made.item_names[1]
    assert "GroupLens" in made.licence


def test_lastfm_format(tmp_path):
    files = {
        "user_artists.dat": b"userID\tartistID\tweight\n2\t51\t13883\n2\t52\t11690\n3\t51\t228\n",
        "artists.dat": "id\tname\turl\tpictureURL\n51\tDuran Duran\thttp://x\ty\n52\tSigur R\u00f3s\thttp://x\n".encode(),
    }
    made = load_lastfm(path=pack(files, tmp_path / "a.zip"))
    assert made.interactions.user_items.toarray().tolist() == [[13883, 11690], [228, 0]]
    assert made.item_names.tolist() == ["Duran Duran", "Sigur R\u00f3s"]
    assert made.timestamps is None


@pytest.mark.parametrize("first", ["book_id,goodreads_book_id", "id,book_id"])
def test_goodbooks_formats(tmp_path, first):
    files = {
        "to_read.csv": b"user_id,book_id\n9,8\n15,398\n9,8\n",
        "ratings.csv": b"user_id,book_id,rating\n1,8,5\n2,398,4\n",
        "books.csv": f'{first},authors,title\n8,5107,J.D. Salinger,Nine Stories\n398,1,X,"A, B (C, #1)"\n'.encode(),
    }
    path = unpack(files, tmp_path)
    made = load_goodbooks(path=path)
    assert made.interactions.user_items.toarray().tolist() == [[1, 0], [0, 1]]
    assert made.item_names.tolist() == ["Nine Stories", "A, B (C, #1)"]
    assert load_goodbooks("ratings", path=path).interactions.user_items.toarray().tolist() == [[5, 0], [0, 4]]


@pytest.mark.parametrize("load", [load_gowalla, load_yelp2018])
def test_lightgcn_format(tmp_path, load):
    (tmp_path / "train.txt").write_text("0 0 1 2\n1 2\n")
    (tmp_path / "test.txt").write_text("0 4\n1 \n2 0\n")
    made = load(path=tmp_path)
    assert made.train.user_items.toarray().tolist() == [[1, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert made.test.user_items.toarray().tolist() == [[0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert made.test.item_ids.tolist() == [0, 1, 2, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1\n1 two\n", "line 2: .* is not a list of 64-bit integers"),
        (f"0 1\n1 {2**70}\n", "line 2: .* is not a list of 64-bit integers"),
        (f"{2**70} 1\n", "line 1: .* is not a list of 64-bit integers"),
        ("0 1_0\n", "line 1: .* is not a list of 64-bit integers"),
        ("0 1\0\n", "line 1: .* is not a list of 64-bit integers"),
        ("0 " + "1" * 2**24, "a line is longer than 16,777,216 bytes"),
    ],
    ids=range(6),
)
def test_adjacency_lists_of_something_else(tmp_path, text, message):
    (tmp_path / "train.txt").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_adjacency_list(tmp_path / "train.txt")
    assert str(caught.value).startswith(str(tmp_path / "train.txt"))


def test_repeated_pair_of_a_split_names_its_file(tmp_path):
    (tmp_path / "train.txt").write_text("0 1\n")
    (tmp_path / "test.txt").write_text("0 2\n0 2\n")
    with pytest.raises(ValueError, match=r"test\.txt: user 0 and item 2 meet more than once"):
        load_gowalla(path=tmp_path)


def damaged_in_the_middle(content):
    return content[:45] + bytes([content[45] ^ 0xFF]) + content[46:]


def encrypted(content):
    content = bytearray(content)
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


@pytest.mark.parametrize(
    ("change", "damage", "message"),
    [
        ({"ml-100k/u.data": b"196\t242\t3\n"}, bytes, "u.data: no time column number 4; the file has columns 1 to 3"),
        (
            {"ml-100k/u.data": b"1\t2\t3\t1e300\n"},
            bytes,
            r"u.data, line 1: column number 4 has '1e\+?300', wanted a time",
        ),
        ({"ml-100k/u.data": b"1\t2\t3\t4\n1\t2\t3\t4\n"}, bytes, "user 1 and item 2 meet more than once"),
        ({"copy/u.data": b"1\t2\t3\t4\n"}, bytes, "there is more than one u.data in this archive"),
        ({"ml-100k/u.item": b"242|" + b"x" * 2**20}, bytes, "a line is longer than 1,048,576 bytes"),
        ({}, damaged_in_the_middle, "not a zip archive, or it is damaged .Bad CRC-32"),
        ({}, encrypted, "is encrypted"),
        ({}, lambda content: content[:-30], "not a zip archive"),
    ],
)
def test_archives_of_something_else(tmp_path, change, damage, message):
    path = pack(MOVIELENS["100k"] | change, tmp_path / "a.zip")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=message) as caught:
        load_movielens("100k", path=path)
    assert str(caught.value).startswith(str(path)), "and not a temporary folder"


def test_members_that_would_leave_the_folder(tmp_path):
    files = {f"../../{Path(name).name}": content for name, content in MOVIELENS["100k"].items()}
    (tmp_path / "in").mkdir()
    made = load_movielens("100k", path=pack(files, tmp_path / "in" / "a.zip"))
    assert made.interactions.user_items.nnz == 3
    assert [one.name for one in tmp_path.rglob("*")] == ["in", "a.zip"]


def test_ratings_of_zero_have_no_time(tmp_path):
    files = MOVIELENS["100k"] | {"ml-100k/u.data": b"1\t242\t0\t7\n1\t302\t2\t8\n"}
    made = load_movielens("100k", path=pack(files, tmp_path / "a.zip"))
    assert made.timestamps.indices.tolist() == made.interactions.user_items.indices.tolist() == [1]
    assert made.timestamps.data.tolist() == [8]


def test_table_of_names_without_titles(tmp_path):
    unpack({"to_read.csv": b"user_id,book_id\n9,8\n", "books.csv": b"id,name\n8,x\n"}, tmp_path)
    with pytest.raises(ValueError, match=r"books\.csv: no column 'title'; the file has 'id', 'name'"):
        load_goodbooks(path=tmp_path)


def test_bad_adjacency_lists(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("0 1\n1 two\n")
    with pytest.raises(ValueError, match=r"train\.txt, line 2: .* is not a list of 64-bit integers"):
        read_adjacency_list(path)
    path.write_text("0\n")
    with pytest.raises(ValueError, match="no pairs"):
        read_adjacency_list(path)


def test_loaders_name_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match="variant must be one of"):
        load_movielens("10m")
    with pytest.raises(ValueError, match="kind must be one of"):
        load_goodbooks("tags")
    with pytest.raises(FileNotFoundError, match=r"there is no u\.data and u\.item in this folder"):
        load_movielens("100k", path=tmp_path)
    with pytest.raises(ValueError, match=r"there is no u\.item in this archive"):
        load_movielens("100k", path=pack({"u.data": b"1\t2\t3\t4\n"}, tmp_path / "a.zip"))
    (tmp_path / "b.zip").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a zip archive"):
        load_lastfm(path=tmp_path / "b.zip")


def test_download_is_checked_cached_and_its_licence_printed(serve, tmp_path, capsys, monkeypatch):
    served = serve("ml-100k", pack(MOVIELENS["100k"], tmp_path / "ml.zip").read_bytes())
    monkeypatch.setenv("FASTALS_DATA", str(tmp_path / "cache"))
    assert load_movielens("100k").interactions.user_items.nnz == 3
    assert "only for tests" in capsys.readouterr().err
    served.unlink()
    assert load_movielens("100k").interactions.user_items.nnz == 3
    assert "only for tests" not in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["ml-100k.zip"]


def test_missing_download_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"pip install 'fastals\[datasets\]'"):
        load_lastfm()
