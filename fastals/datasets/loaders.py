"""Loaders of public data sets, from files at hand or downloaded ones."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from fastals.core.parameters import documented_by
from fastals.core.safe_open import brief, check_unpacked, open_bytes, open_regular, text_errors
from fastals.core.validation import check_choice
from fastals.datasets.download import SOURCES, fetch
from fastals.tables.ids import text_array
from fastals.tables.interactions import Interactions
from fastals.tables.npz import DAMAGE
from fastals.tables.readers import read_interactions

_LONGEST_ROW = 2**24  # bytes of an adjacency list's line: some two million items of one user


class Dataset(NamedTuple):
    """Interactions of a public data set and what is known of their items.

    Attributes
    ----------
    interactions : Interactions
    item_names : ndarray of text
        Title or name of each column; empty where the data has none.
    timestamps : int64 csr_array or None
        Seconds since 1970 of each stored pair, on the same pattern; None if the data has no times.
    licence : str
    """

    interactions: Interactions
    item_names: np.ndarray
    timestamps: sparse.csr_array | None
    licence: str


class SplitDataset(NamedTuple):
    """Interactions that come split.

    Attributes
    ----------
    train, test : Interactions
        With the same ids.
    licence : str
    """

    train: Interactions
    test: Interactions
    licence: str


class _Names(NamedTuple):
    """A table of items: its file, encoding, separator, and the heading of the names (None: no headings, column 2)."""

    file: str
    encoding: str
    separator: str
    title: str | None


class _Table(NamedTuple):
    """A data set: what people call it, where it comes from, its file of interactions and how to read it, its names."""

    title: str
    source: str
    file: str
    options: dict[str, Any]
    names: _Names


_BY_POSITION = {"user_column": 0, "item_column": 1, "value_column": 2, "duplicates": "error"}
_TIMED = {**_BY_POSITION, "time_column": 3}
_STARS = {**_TIMED, "separator": ",", "header": True}
_MOVIES = _Names("movies.csv", "utf-8", ",", "title")
_TABLES = {
    "100k": _Table(
        "MovieLens 100k", "ml-100k", "u.data", {**_TIMED, "separator": "\t", "header": False},
        _Names("u.item", "latin-1", "|", None),
    ),
    "1m": _Table(
        "MovieLens 1m", "ml-1m", "ratings.dat", {**_TIMED, "separator": "::", "header": False},
        _Names("movies.dat", "latin-1", "::", None),
    ),
    **{name: _Table(f"MovieLens {name}", f"ml-{name}", "ratings.csv", _STARS, _MOVIES)
       for name in ("latest-small", "20m", "25m")},
    "lastfm": _Table(
        "Last.fm 2k (HetRec 2011)", "lastfm-2k", "user_artists.dat",
        {"separator": "\t", "header": True, "value_column": "weight", "duplicates": "error"},
        _Names("artists.dat", "utf-8", "\t", "name"),
    ),
    **{kind: _Table(
        f"goodbooks-10k, {kind}", "goodbooks-10k", f"{kind}.csv",
        {"separator": ",", "header": True, "duplicates": "last"}, _Names("books.csv", "utf-8", ",", "title"),
    ) for kind in ("to_read", "ratings")},
}  # fmt: skip


def load_movielens(
    variant: str = "latest-small", *, path: str | Path | None = None, data_home: str | Path | None = None
) -> Dataset:
    """Load MovieLens ratings, the values being stars.

    Parameters
    ----------
    variant : {"latest-small", "100k", "1m", "20m", "25m"}
    path : path, optional
        The archive, or the folder it was unpacked to. Default: download it (extra ``datasets``).
    data_home : path, optional
        Where downloads are kept. Default: the environment variable ``FASTALS_DATA``, else the user's cache folder.

    Returns
    -------
    Dataset
        With titles and timestamps.

    Raises
    ------
    ImportError, OSError, ValueError
        Without pooch; for a file that cannot be downloaded; and for one that is not what it should be.

    References
    ----------
    .. [1] F. M. Harper, J. A. Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015.
    """
    return _load(check_choice("variant", variant, ("latest-small", "100k", "1m", "20m", "25m")), path, data_home)


def load_lastfm(*, path: str | Path | None = None, data_home: str | Path | None = None) -> Dataset:
    """Load the play counts of artists by 1,892 users of Last.fm (HetRec 2011).

    Parameters
    ----------
    path : path, optional
        ``hetrec2011-lastfm-2k.zip``, or the folder it was unpacked to. Default: download it (extra ``datasets``).
    data_home : path, optional
        Where downloads are kept. Default: the environment variable ``FASTALS_DATA``, else the user's cache folder.

    Returns
    -------
    Dataset
        With the names of the artists; without timestamps.

    Raises
    ------
    ImportError, OSError, ValueError
        Without pooch; for a file that cannot be downloaded; and for one that is not what it should be.

    References
    ----------
    I. Cantador, P. Brusilovsky, T. Kuflik, "2nd Workshop on Information Heterogeneity and Fusion in Recommender
    Systems", RecSys 2011.
    """
    return _load("lastfm", path, data_home)


def load_goodbooks(
    kind: str = "to_read", *, path: str | Path | None = None, data_home: str | Path | None = None
) -> Dataset:
    """Load goodbooks-10k: books that users of Goodreads marked "to read", or rated.

    Parameters
    ----------
    kind : {"to_read", "ratings"}
        Marks (all of value 1), or stars.
    path : path, optional
        ``goodbooks-10k.zip``, or the folder it was unpacked to. Default: download it (extra ``datasets``).
    data_home : path, optional
        Where downloads are kept. Default: the environment variable ``FASTALS_DATA``, else the user's cache folder.

    Returns
    -------
    Dataset
        With the titles of the books; without timestamps. Repeated pairs, which some releases have, count once.

    Raises
    ------
    ImportError, OSError, ValueError
        Without pooch; for a file that cannot be downloaded; and for one that is not what it should be.
    """
    return _load(check_choice("kind", kind, ("to_read", "ratings")), path, data_home)


def load_gowalla(*, path: str | Path | None = None, data_home: str | Path | None = None) -> SplitDataset:
    """Load the Gowalla check-ins as NGCF and LightGCN split them (29,858 users, 40,981 places).

    Parameters
    ----------
    path : path, optional
        A folder with ``train.txt`` and ``test.txt``. Default: download them (extra ``datasets``).
    data_home : path, optional
        Where downloads are kept. Default: the environment variable ``FASTALS_DATA``, else the user's cache folder.

    Returns
    -------
    SplitDataset

    Raises
    ------
    ImportError, OSError, ValueError
        Without pooch; for a file that cannot be downloaded; and for one that is not what it should be.

    References
    ----------
    .. [1] X. He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation", SIGIR 2020.
    """
    return _load_split("gowalla", path, data_home)


@documented_by(load_gowalla)
def load_yelp2018(*, path: str | Path | None = None, data_home: str | Path | None = None) -> SplitDataset:
    """Load the Yelp 2018 reviews as NGCF and LightGCN split them (31,668 users, 38,048 businesses)."""
    return _load_split("yelp2018", path, data_home)


def read_adjacency_list(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read lines of ``user item item ...``, all integers, plain or gzip.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    users, items : ndarray of int64
        One entry for each pair, in the order of the file; a user without items has none.

    Raises
    ------
    ValueError
        Naming the file and the line.
    """
    path = Path(path)
    rows = []
    with text_errors(path), open_bytes(path, _LONGEST_ROW) as file:
        for number, line in enumerate(file, start=1):
            try:
                rows.append(np.array([*map(int, line.replace(b"_", b"?").split())], np.int64))
            except (ValueError, OverflowError):
                raise ValueError(f"{path}, line {number}: {line[:40]!r} is not a list of 64-bit integers") from None
        rows = [row for row in rows if row.size > 1]
        if not rows:
            raise ValueError(f"{path}: the file has no pairs")
        users = np.repeat([row[0] for row in rows], [row.size - 1 for row in rows])
        return users, np.concatenate([row[1:] for row in rows])


def _load(name: str, path: str | Path | None, data_home: str | Path | None) -> Dataset:
    table = _TABLES[name]
    with _unpacked(path or fetch(table.source, data_home), (table.file, table.names.file)) as folder:
        interactions = read_interactions(folder / table.file, **table.options)
        names = _read_names(folder / table.names.file, interactions, table.names)
    interactions.source = table.title
    return Dataset(interactions, names, interactions.times, SOURCES[table.source].licence)


def _load_split(name: str, path: str | Path | None, data_home: str | Path | None) -> SplitDataset:
    files = [Path(path) / f"{part}.txt" if path else fetch(f"{name}-{part}", data_home) for part in ("train", "test")]
    (train_users, train_items), (test_users, test_items) = map(read_adjacency_list, files)
    user_ids, user_codes = np.unique(np.concatenate((train_users, test_users)), return_inverse=True)
    item_ids, item_codes = np.unique(np.concatenate((train_items, test_items)), return_inverse=True)
    parts = []
    for file, part in zip(files, (slice(train_users.size), slice(train_users.size, None)), strict=True):
        with _naming(file, file):
            parts.append(
                Interactions._from_codes(user_codes[part], item_codes[part], None, user_ids, item_ids, "error")
            )
    train, test = parts
    train.source, test.source = f"{name}, LightGCN's train part", f"{name}, LightGCN's test part"
    return SplitDataset(train, test, SOURCES[f"{name}-train"].licence)


@contextlib.contextmanager
def _naming(path: Path, folder: Path) -> Iterator[None]:
    """Let errors name the path that the caller gave, instead of a temporary folder."""
    try:
        yield
    except ValueError as error:
        text = str(error).replace(str(folder), str(path))
        raise ValueError(text if str(path) in text else f"{path}: {text}") from None


@contextlib.contextmanager
def _unpacked(path: str | Path, members: tuple[str, ...]) -> Iterator[Path]:
    """A folder with the files asked for: the given one, its only subfolder that has them, or out of an archive."""
    path = Path(path)
    if path.is_dir():
        for folder in (path, *sorted(child for child in path.iterdir() if child.is_dir())):
            if all((folder / member).exists() for member in members):
                with _naming(path, path):
                    yield folder
                return
        raise FileNotFoundError(f"{path}: there is no {' and '.join(members)} in this folder")
    with tempfile.TemporaryDirectory() as folder_name:
        _unpack(path, members, Path(folder_name))
        with _naming(path, Path(folder_name)):
            yield Path(folder_name)


def _unpack(path: Path, members: tuple[str, ...], folder: Path) -> None:
    """Copy members of a zip archive, in whatever folder they are in there, into a folder."""
    with open_regular(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                for member in members:
                    found = [info for info in archive.infolist() if _is_member(info, member)]
                    if len(found) != 1:
                        there = "is no" if not found else "is more than one"
                        raise ValueError(f"{path}: there {there} {member} in this archive")
                    check_unpacked(path, found[0].file_size, os.fstat(file.fileno()).st_size)
                    with archive.open(found[0]) as packed, open(folder / member, "wb") as content:
                        shutil.copyfileobj(packed, content)
        except DAMAGE as error:
            if str(path) in str(error) or getattr(error, "errno", None) == errno.ENOSPC:
                raise
            raise ValueError(f"{path}: this is not a zip archive, or it is damaged ({brief(error)})") from None


def _is_member(info: zipfile.ZipInfo, name: str) -> bool:
    return Path(info.filename).name == name and not info.is_dir() and "__MACOSX" not in info.filename


def _read_names(path: Path, interactions: Interactions, table: _Names) -> np.ndarray:
    """Names of the items, in their order, from a table whose first column is the id."""
    names: dict[str, str] = {}
    with text_errors(path), io.TextIOWrapper(open_bytes(path), table.encoding, errors="replace", newline="") as file:
        rows: Iterator[list[str]]
        if table.separator == ",":
            rows = csv.reader(file)
        else:
            rows = (line.rstrip("\r\n").split(table.separator) for line in file)
        heading = next(rows, []) if table.title else ["id", "name"]
        title = table.title or "name"
        if title not in heading:
            raise ValueError(f"{path}: no column {title!r}; the file has {brief(', '.join(map(repr, heading)))}")
        position = heading.index(title)
        for row in rows:
            if len(row) > position:
                names[row[0]] = row[position].replace("\0", "")
    found = [names.get(str(one), "") for one in interactions.item_ids.tolist()]
    return text_array(found, f"{path}, names")
