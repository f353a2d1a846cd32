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
from typing import NamedTuple

import numpy as np
from scipy import sparse

from fastals.core.safe_open import brief, check_unpacked, open_bytes, open_regular, text_errors
from fastals.core.validation import check_choice
from fastals.datasets.download import SOURCES, fetch
from fastals.tables.delimited import read_coded
from fastals.tables.ids import text_array
from fastals.tables.interactions import Interactions
from fastals.tables.npz import DAMAGE
from fastals.tables.readers import read_interactions
from fastals.tables.text_layout import TextLayout

_LONGEST_ROW = 2**24  # bytes of an adjacency list's line: some two million items of one user


class Dataset(NamedTuple):
    """Interactions of a public data set and what is known of their items."""

    interactions: Interactions
    item_names: np.ndarray
    """Title or name of each column, text; empty where the data has none."""
    timestamps: sparse.csr_array | None
    """Seconds since 1970 of each stored pair, int64, on the same pattern; None if the data has no times."""
    licence: str


class SplitDataset(NamedTuple):
    """Interactions that come split; both parts have the same ids."""

    train: Interactions
    test: Interactions
    licence: str


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
        Where downloads are kept, see `fastals.datasets.download.fetch`.

    Returns
    -------
    Dataset
        With titles and timestamps.

    Raises
    ------
    ImportError, OSError, ValueError
        As `fastals.datasets.download.fetch`, and for files that are not what they should be.

    References
    ----------
    F. M. Harper, J. A. Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015.
    """
    check_choice("variant", variant, ("latest-small", "100k", "1m", "20m", "25m"))
    if variant == "100k":
        ratings, movies = "u.data", "u.item"
        layout = TextLayout("\t", None, 4, user=0, item=1, value=2, skipped=0)
    elif variant == "1m":
        ratings, movies = "ratings.dat", "movies.dat"
        layout = TextLayout("::", None, 4, user=0, item=1, value=2, skipped=0)
    else:
        ratings, movies = "ratings.csv", "movies.csv"
        layout = TextLayout(",", ("userId", "movieId", "rating", "timestamp"), 4, user=0, item=1, value=2, skipped=0)
    source = f"ml-{variant}"
    with _unpacked(path or fetch(source, data_home), (ratings, movies)) as folder:
        table = read_coded(folder / ratings, layout, also=(3,))
        interactions = table.interactions(table.numbers[2], "error")
        seconds = table.numbers[3]
        if np.abs(seconds).max() >= 2**53:
            raise ValueError(f"{folder / ratings}: a timestamp is {np.abs(seconds).max():g} seconds since 1970")
        kept = table.numbers[2].astype(np.float32) != 0  # on the pattern of the interactions, which drop zeros
        times = sparse.csr_array(
            (seconds[kept].astype(np.int64), (table.user_codes[kept], table.item_codes[kept])),
            shape=interactions.user_items.shape,
        )
        encoding = "latin-1" if variant in ("100k", "1m") else "utf-8"
        separator = {"100k": "|", "1m": "::"}.get(variant, ",")
        names = _read_names(folder / movies, interactions, encoding, separator, header=separator == ",")
    interactions.source = f"MovieLens {variant}"
    return Dataset(interactions, names, times, SOURCES[source].licence)


def load_lastfm(*, path: str | Path | None = None, data_home: str | Path | None = None) -> Dataset:
    """Load the play counts of artists by 1,892 users of Last.fm (HetRec 2011).

    Parameters
    ----------
    path : path, optional
        ``hetrec2011-lastfm-2k.zip``, or the folder it was unpacked to. Default: download it (extra ``datasets``).
    data_home : path, optional
        Where downloads are kept, see `fastals.datasets.download.fetch`.

    Returns
    -------
    Dataset
        With the names of the artists; without timestamps.

    Raises
    ------
    ImportError, OSError, ValueError
        As `fastals.datasets.download.fetch`, and for files that are not what they should be.

    References
    ----------
    I. Cantador, P. Brusilovsky, T. Kuflik, "2nd Workshop on Information Heterogeneity and Fusion in Recommender
    Systems", RecSys 2011.
    """
    with _unpacked(path or fetch("lastfm-2k", data_home), ("user_artists.dat", "artists.dat")) as folder:
        interactions = read_interactions(
            folder / "user_artists.dat", separator="\t", header=True, value_column="weight", duplicates="error"
        )
        names = _read_names(folder / "artists.dat", interactions, "utf-8", "\t", header=True)
    interactions.source = "Last.fm 2k (HetRec 2011)"
    return Dataset(interactions, names, None, SOURCES["lastfm-2k"].licence)


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
        Where downloads are kept, see `fastals.datasets.download.fetch`.

    Returns
    -------
    Dataset
        With the titles of the books; without timestamps. Repeated pairs, which some releases have, count once.

    Raises
    ------
    ImportError, OSError, ValueError
        As `fastals.datasets.download.fetch`, and for files that are not what they should be.
    """
    check_choice("kind", kind, ("to_read", "ratings"))
    with _unpacked(path or fetch("goodbooks-10k", data_home), (f"{kind}.csv", "books.csv")) as folder:
        interactions = read_interactions(folder / f"{kind}.csv", separator=",", header=True, duplicates="last")
        # Whichever release: the first column of books.csv is the id that the other files use.
        names = _read_names(folder / "books.csv", interactions, "utf-8", ",", header=True, title="title")
    interactions.source = f"goodbooks-10k, {kind}"
    return Dataset(interactions, names, None, SOURCES["goodbooks-10k"].licence)


def load_gowalla(*, path: str | Path | None = None, data_home: str | Path | None = None) -> SplitDataset:
    """Load the Gowalla check-ins as NGCF and LightGCN split them (29,858 users, 40,981 places).

    Parameters
    ----------
    path : path, optional
        A folder with ``train.txt`` and ``test.txt``. Default: download them (extra ``datasets``).
    data_home : path, optional
        Where downloads are kept, see `fastals.datasets.download.fetch`.

    Returns
    -------
    SplitDataset

    Raises
    ------
    ImportError, OSError, ValueError
        As `fastals.datasets.download.fetch`, and for files that are not what they should be.

    References
    ----------
    X. He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation", SIGIR 2020.
    """
    return _load_split("gowalla", path, data_home)


def load_yelp2018(*, path: str | Path | None = None, data_home: str | Path | None = None) -> SplitDataset:
    """Load the Yelp 2018 reviews as NGCF and LightGCN split them (31,668 users, 38,048 businesses).

    Parameters, result, errors and reference are those of `load_gowalla`.
    """
    return _load_split("yelp2018", path, data_home)


def read_adjacency_list(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read lines of ``user item item ...``, all integers, plain or gzip.

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
                raise ValueError(f"{path}, line {number}: {line[:40]!r} is no list of integers of 64 bits") from None
        rows = [row for row in rows if row.size > 1]
        if not rows:
            raise ValueError(f"{path}: the file has no pairs")
        users = np.repeat([row[0] for row in rows], [row.size - 1 for row in rows])
        return users, np.concatenate([row[1:] for row in rows])


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
            raise ValueError(f"{path}: this is no zip archive, or it is damaged ({brief(error)})") from None


def _is_member(info: zipfile.ZipInfo, name: str) -> bool:
    return Path(info.filename).name == name and not info.is_dir() and "__MACOSX" not in info.filename


def _read_names(
    path: Path, interactions: Interactions, encoding: str, separator: str, header: bool, title: str | None = None
) -> np.ndarray:
    """Names of the items, in their order, from a table whose first column is the id and whose second is the name.

    With `title`, the name is in the column with that heading.
    """
    names: dict[str, str] = {}
    with text_errors(path), io.TextIOWrapper(open_bytes(path), encoding, errors="replace", newline="") as file:
        rows: Iterator[list[str]]
        if separator == ",":
            rows = csv.reader(file)
        else:
            rows = (line.rstrip("\r\n").split(separator) for line in file)
        heading = next(rows, []) if header else []
        if title is not None and title not in heading:
            raise ValueError(f"{path}: no column {title!r}; the file has {brief(', '.join(map(repr, heading)))}")
        position = heading.index(title) if title else 1
        for row in rows:
            if len(row) > position:
                names[row[0]] = row[position].replace("\0", "")
    found = [names.get(str(one), "") for one in interactions.item_ids.tolist()]
    return text_array(found, f"{path}, names")
