"""Damaged and malicious files: a sound result or one clear error that names the file; no code run, no memory filled.

Good files of every format are cut, flipped and spliced, outside and inside (within zip and gzip, with the checksums
made right again). ``FASTALS_HUNT=1`` runs thousands of each.
"""

import gzip
import io
import json
import os
import pickle
import re
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from hunting import COUNTS
from hypothesis import given
from hypothesis import strategies as st

from fastals import ImplicitALS
from fastals.datasets import load_goodbooks, load_gowalla, load_lastfm, load_movielens, read_adjacency_list
from fastals.persistence.checkpoint import Checkpoint, read_state
from fastals.persistence.model_file import read_model_file, write_model_file
from fastals.solver.sweeps import TrainingState
from fastals.tables.interactions import Interactions
from fastals.tables.layout import Columns
from fastals.tables.numbering import read_table
from fastals.tables.readers import read_interactions
from fastals.tables.scans import Options

TABLE = [(1, "ann", 3.0), (1, "bob", 1.0), (20, "ann", 2.5), (3, "zoë", 1.0), (20, "eve", 4.0)]
MATRIX = sp.csr_array(np.array([[1.0, 0, 2], [0, 3, 0], [4, 0, 5], [0, 0, 1]]))
FITS = {"factors": 2, "iterations": 2, "random_state": 0, "num_threads": 1}


# --- good files ---


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=compression)
    return content.getvalue()


def unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def saved(save: Any, *arguments: Any, **named: Any) -> bytes:
    content = io.BytesIO()
    save(content, *arguments, **named)
    return content.getvalue()


def text(separator: str, quote: str = "") -> bytes:
    rows = [("user", "item", "rating"), *TABLE]
    return "".join(separator.join(f"{quote}{cell}{quote}" for cell in row) + "\n" for row in rows).encode()


JSON = b"".join(json.dumps({"user": u, "item": i, "rating": v}).encode() + b"\n" for u, i, v in TABLE)


def write_parquet(file: Any, columns: dict[str, np.ndarray]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(columns), file)


class GoodFiles(dict):
    def __repr__(self) -> str:  # hypothesis shows the arguments of tests
        return "good files"


def good_files(folder: Path) -> dict[str, tuple[bytes, Any]]:
    """A file of each format, and what reads it."""
    table = Interactions(MATRIX, ["a", "b", "c", "d"], [10, 20, 30])
    ImplicitALS(**FITS).fit(table.user_items, callback=Checkpoint(folder / "state"))
    ImplicitALS(**FITS).fit(table.user_items).save(folder / "model", interactions=table)
    users, items, values = (np.array(column) for column in zip(*TABLE, strict=True))
    movielens = {
        "ml-100k/u.data": b"19\t2\t3\t881250949\n18\t3\t5\t891717742\n",
        "ml-100k/u.item": b"2|Kolya|x\n3|L|x\n",
    }
    small = {
        "ratings.csv": b"userId,movieId,rating,timestamp\r\n19,2,3.0,881250949\r\n18,3,1.0,881250950\r\n",
        "movies.csv": b'movieId,title,genres\r\n2,K,C\r\n3,"A, The",D\r\n',
    }
    lastfm = {
        "user_artists.dat": b"userID\tartistID\tweight\n2\t51\t13\n3\t51\t2\n",
        "artists.dat": b"id\tname\n51\tX\n",
    }
    books = {"to_read.csv": b"user_id,book_id\n9,8\n1,398\n", "books.csv": b'id,x,title\n8,5,"N, S"\n398,1,"A"\n'}
    return {
        "model": ((folder / "model").read_bytes(), ImplicitALS.load),
        "mapped": ((folder / "model").read_bytes(), lambda path: ImplicitALS.load(path, mmap=True)),
        "checkpoint": ((folder / "state").read_bytes(), read_state),
        "csv": (text(","), read_interactions),
        "quoted": (text(";", '"'), read_interactions),
        "tab": (text("\t"), read_interactions),
        "space": (text(" "), read_interactions),
        "gzip": (gzip.compress(text("::")), read_interactions),
        "json": (JSON, read_interactions),
        "parquet": (saved(write_parquet, {"user": users, "item": items, "rating": values}), read_interactions),
        "npz": (saved(np.savez, user=users, item=items, value=values), read_interactions),
        "packed": (saved(np.savez_compressed, user_id=items, item_id=users), read_interactions),
        **{
            form: (saved(sp.save_npz, MATRIX.asformat(form)), read_interactions)
            for form in ("csr", "csc", "coo", "bsr", "dia")
        },
        "market": (saved(scipy.io.mmwrite, MATRIX.tocoo()), read_interactions),
        "market.gz": (gzip.compress(saved(scipy.io.mmwrite, MATRIX.tocoo())), read_interactions),
        "list": (b"0 0 1 2\n1 2\n3\n5 1 4\n", read_adjacency_list),
        "ml-100k": (zipped(movielens), lambda path: load_movielens("100k", path=path)),
        "ml-small": (zipped(small), lambda path: load_movielens(path=path)),
        "lastfm": (zipped(lastfm), lambda path: load_lastfm(path=path)),
        "goodbooks": (zipped(books), lambda path: load_goodbooks(path=path)),
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, tuple[bytes, Any]]:
    return GoodFiles(good_files(tmp_path_factory.mktemp("good")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("hostile")


# --- damage ---

TOKENS = [
    *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\n", b"\r", b"\r\n", b'"', b"'", b",", b"\t", b" ", b";", b"_"),
    *(b"nan", b"inf", b"-1", b"1e999", b"1e39", b"0", b"2147483648", b"9" * 19, b"9" * 40, b"-9223372036854775809"),
    *(
        b"{",
        b"[",
        b"(" * 50,
        b"}",
        b":",
        b"null",
        b"true",
        b"NaN",
        b"O",
        b"<U9",
        b"|O8",
        b"\x1f\x8b\x08",
        b"PK\x05\x06",
    ),
    *(b"%", b"#", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\xc0\x7f", b"\x7f\x80", b"\xed\xa0\x80", "１".encode()),
]
edits = st.lists(
    st.tuples(
        st.sampled_from(["cut", "flip", "insert", "overwrite", "delete", "copy", "replace", "double"]),
        st.integers(0, 2**16),
        st.integers(0, 2**16),
        st.one_of(st.sampled_from(TOKENS), st.binary(max_size=6)),
    ),
    min_size=1,
    max_size=3,
)


def damaged(content: bytes, changes: list[tuple[str, int, int, bytes]]) -> bytes:
    for kind, where, other, piece in changes:
        at, to = where % (len(content) + 1), other % (len(content) + 1)
        first, last = sorted((at, to))
        if kind == "cut":
            content = content[:at]
        elif kind == "flip" and at < len(content):
            content = content[:at] + bytes([content[at] ^ (1 << other % 8)]) + content[at + 1 :]
        elif kind == "insert":
            content = content[:at] + piece + content[at:]
        elif kind == "overwrite":
            content = content[:at] + piece + content[at + len(piece) :]
        elif kind == "delete":
            content = content[:at] + content[at + other % 9 :]
        elif kind == "copy":
            content = content[:at] + content[to : to + 40] + content[at + 40 * (where % 2) :]
        elif kind == "double":
            content = content[:last] + content[first:]
        elif kind == "replace":  # a number or a word by another
            words = [match for match in content.replace(b",", b" ").replace(b"\t", b" ").split() if match.isalnum()]
            content = content.replace(words[where % len(words)], piece, 1 + other % 2) if words else piece
    return content


def damaged_inside(content: bytes, which: int, changes: list[tuple[str, int, int, bytes]]) -> bytes:
    """The same within a gzip or zip file, whose checksums and sizes then fit again."""
    if content[:2] == b"\x1f\x8b":
        return gzip.compress(damaged(gzip.decompress(content), changes))
    if content[:2] != b"PK":
        return damaged(content, changes)
    members = unzipped(content)
    name = list(members)[which % len(members)]
    return zipped({**members, name: damaged(members[name], changes)}, zipfile.ZIP_STORED)


# --- what may come of it ---

WATCHED = {
    "pickle.find_class",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "subprocess.Popen",
    "os.fork",
    "socket.connect",
}
seen: list[str] = []
sys.addaudithook(lambda event, arguments: seen.append(event) if event in WATCHED else None)


def is_sound(got: Any) -> bool:
    """Whether what was read can be relied on: finite, in range, canonical, of matching sizes."""
    if isinstance(got, Interactions):
        matrix = got.user_items
        fresh = sp.csr_array((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape)
        fresh.check_format(full_check=True)
        ids = got.user_ids, got.item_ids
        return (
            fresh.has_canonical_format
            and bool(np.isfinite(matrix.data).all())
            and all(np.unique(one).size == size for one, size in zip(ids, matrix.shape, strict=True))
            and got.item_index(got.item_ids).tolist() == list(range(got.n_items))
        )
    if isinstance(got, ImplicitALS):
        items, scores = got.recommend(np.arange(got.user_factors.shape[0]), N=2)
        found = np.isfinite(got.user_factors).all() and np.isfinite(got.item_factors).all()
        return bool(found and np.isfinite(scores[items >= 0]).all() and np.isfinite(got.loss_history).all())
    if isinstance(got, TrainingState):
        factors = [got.user_factors, got.item_factors, *got.previous_items, *got.previous_users]
        return all(one is None or bool(np.isfinite(one).all()) for one in factors)
    if isinstance(got[1], Interactions):  # a split one
        return is_sound(got[0]) and is_sound(got[1]) and np.array_equal(got[0].item_ids, got[1].item_ids)
    if isinstance(got[0], Interactions):  # a data set
        return is_sound(got[0]) and got.item_names.shape == (got[0].n_items,)
    return got[0].shape == got[1].shape and got[0].dtype == got[1].dtype == np.int64


def judge(kind: str, path: Path, read: Any) -> bool:
    """Whether the file was read; fails on unsound results, other errors, warnings, and code that ran."""
    seen.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            got = read(path)
        except (ValueError, OSError) as error:
            got, message = None, f"{getattr(error, 'filename', None) or ''} {error}"
    assert not seen, "code was run"
    assert got is None or is_sound(got)
    assert got is not None or (str(path) in message and len(message) < 5000), f"no message for people: {message}"
    COUNTS[f"file {kind}: {'refused' if got is None else 'read'}"] += 1
    return got is not None


def test_good_files_are_read(files, folder):
    for kind, (content, read) in files.items():
        (folder / f"{kind}.good").write_bytes(content)
        assert judge("good", folder / f"{kind}.good", read), kind
        if kind != "mapped":  # which also wants its arrays aligned
            (folder / f"{kind}.good").write_bytes(damaged_inside(content, 0, []))
            assert judge("good", folder / f"{kind}.good", read), kind


KINDS = [
    *(
        "model",
        "mapped",
        "checkpoint",
        "csv",
        "quoted",
        "tab",
        "space",
        "gzip",
        "json",
        "parquet",
        "npz",
        "packed",
        "csr",
        "csc",
        "coo",
    ),
    *("bsr", "dia", "market", "market.gz", "list", "ml-100k", "ml-small", "lastfm", "goodbooks"),
]


@pytest.mark.parametrize("kind", KINDS)
@given(changes=edits, inside=st.booleans(), which=st.integers(0, 20))
@pytest.mark.slow
def test_damage(files, folder, kind, changes, inside, which):
    content, read = files[kind]
    path = folder / f"{kind}.damaged"
    path.write_bytes(damaged_inside(content, which, changes) if inside else damaged(content, changes))
    judge(kind, path, read)


@pytest.mark.parametrize("kind", ["csv", "tab"])
@given(changes=edits)
def test_no_row_is_lost(files, folder, kind, changes):
    content = damaged(files[kind][0], changes)
    path = folder / f"{kind}.counted"
    path.write_bytes(content)
    if judge(f"{kind} counted", path, read_interactions) and b'"' not in content:
        layout = read_table(path, Columns(), Options()).layout
        lines = re.split("\r\n|\r|\n", content.decode("utf-8-sig"))[layout.skipped + (layout.names is not None) :]
        assert read_interactions(path, duplicates="count").user_items.sum() == sum(line != "" for line in lines)


@given(changes=edits, part=st.sampled_from(["train.txt", "test.txt"]))
def test_damage_to_split_files(folder, changes, part):
    (folder / "train.txt").write_bytes(b"0 0 1 2\n1 2\n3 0\n")
    (folder / "test.txt").write_bytes(b"0 4\n1 \n2 0\n")
    (folder / part).write_bytes(damaged((folder / part).read_bytes(), changes))
    judge("split", folder, lambda path: load_gowalla(path=path)[:2])


values = st.one_of(
    *(st.none(), st.booleans(), st.integers(-3, 5), st.integers(), st.floats(), st.text(max_size=3), st.just(10**400)),
    st.lists(st.integers(-1, 5), max_size=3),
    st.dictionaries(st.text(max_size=2), st.none(), max_size=1),
    st.sampled_from(["float64", "f4,(", "O", "cholesky", "rendle", "auto", [1, 2]]),
)


@pytest.mark.parametrize("kind", ["model", "checkpoint"])
@given(data=st.data())
def test_headers_that_say_something_else(files, folder, kind, data):
    """A well-formed header with another value somewhere."""
    content, read = files[kind]
    members = unzipped(content)
    header = json.loads(members["header.json"])
    place = header["header"]
    name = data.draw(st.sampled_from(sorted(place)))
    if isinstance(place[name], dict) and place[name] and data.draw(st.booleans()):
        place, name = place[name], data.draw(st.sampled_from(sorted(place[name])))
    place[name] = data.draw(values)
    path = folder / f"{kind}.header"
    path.write_bytes(zipped({**members, "header.json": json.dumps(header).encode()}, zipfile.ZIP_STORED))
    judge(f"{kind} header", path, read)


arrays = st.builds(
    lambda shape, dtype, fill: np.full(shape, fill).astype(dtype),
    st.lists(st.integers(0, 5), max_size=3),
    st.sampled_from(["<f4", "<f8", "<i4", "<i8", "<U3", "|b1", "<c8", "<u2"]),
    st.integers(-2, 5),
)


@pytest.mark.parametrize("kind", ["model", "mapped", "checkpoint"])
@given(data=st.data())
def test_arrays_that_hold_something_else(files, folder, kind, data):
    """A well-formed file with another array in one place, or with wild values in the right one."""
    path = folder / f"{kind}.arrays"
    path.write_bytes(files[kind][0])
    header, held = read_model_file(path)
    name = data.draw(st.sampled_from(sorted(held)))
    array = data.draw(st.one_of(st.none(), arrays))
    if array is None and held[name].size:
        array = held[name].copy()
        wild = st.sampled_from([-1, 0, 1, 4, 100, 2**31 - 1, -(2**31), np.nan, np.inf, 1e38])
        value = data.draw(wild.filter(lambda one: array.dtype.kind == "f" or (np.isfinite(one) and abs(one) < 2**32)))
        array.flat[data.draw(st.integers(0, array.size - 1))] = value
    write_model_file(path, header, {**held, name: held[name] if array is None else array})
    judge(f"{kind} arrays", path, files[kind][1])


# --- files that nobody finds by chance: see also test_file_bombs.py ---


class Malicious:
    def __reduce__(self):
        return os.system, ("exit 0",)


@pytest.mark.parametrize("name", ["a.npz", "a.csv", "a.zip", "a.fastals"])
def test_pickles_are_not_run(tmp_path, name):
    path = tmp_path / name
    evil = np.array([Malicious()], dtype=object)
    packed = saved(np.savez, user=evil, item=[1], format=evil, shape=[1, 1])
    for content in (pickle.dumps(Malicious()), saved(np.save, evil), packed):
        path.write_bytes(content)
        for read in (
            read_interactions,
            ImplicitALS.load,
            read_state,
            read_adjacency_list,
            lambda p: load_lastfm(path=p),
        ):
            assert not judge("pickle", path, read)
