"""How a delimited text file of user, item[, value] is laid out."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from fastals.core.safe_open import brief, open_text, text_errors

__all__ = ["TextLayout", "is_number", "match_name", "sniff_layout", "split_lines"]

# Spellings under which tables in the wild keep the three columns (compared without case, spaces, "_" and "-").
USER_NAMES = ("user", "userid", "uid", "customer", "customerid", "visitorid", "profile", "profileid", "listener")
ITEM_NAMES = (
    *("item", "itemid", "iid", "movie", "movieid", "artist", "artistid", "book", "bookid", "isbn", "asin", "product"),
    *("productid", "stockcode", "article", "articleid", "track", "trackid", "song", "songid", "business", "businessid"),
)
VALUE_NAMES = (
    *("value", "rating", "bookrating", "weight", "count", "plays", "playcount", "listens", "quantity", "score"),
    *("stars", "clicks", "purchases", "times", "confidence", "strength"),
)
TIME_NAMES = ("timestamp", "time", "date", "ts", "datetime", "unixtime", "year")

_SEPARATORS = ("\t", "::", "|", ";", ",", " ")
_SAMPLE_LINES = 50
_MARKUP = re.compile(r'\s*(\{\s*"[^"]*"\s*:|\[\s*[\[{]|[\[{]\s*$|<(!doctype|html|\?xml)\b)', re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"\s*-?[0-9]+,[0-9]+\s*")


@dataclass(frozen=True)
class TextLayout:
    """How a delimited text file is laid out.

    Attributes
    ----------
    separator : str
        A space stands for any run of white space.
    names : tuple of str, or None
        The header, if there is one.
    width : int
        Fields a line.
    user, item : int
        Positions of the id columns.
    value : int or None
        Position of the value column, if there is one.
    skipped : int
        Comment lines (starting with ``#`` or ``%``) before the first line.
    """

    separator: str
    names: tuple[str, ...] | None
    width: int
    user: int
    item: int
    value: int | None
    skipped: int

    def column(self, position: int) -> str:
        """Name a column to people: its header, or its number counted from 1."""
        return brief(repr(self.names[position])) if self.names else f"number {position + 1}"

    def __str__(self) -> str:
        value = "no values (each row counts 1)" if self.value is None else f"values {self.column(self.value)}"
        return f"user column {self.column(self.user)}, item column {self.column(self.item)}, {value}"


def match_name(names: Iterable[str], known: tuple[str, ...]) -> int | None:
    """Position of the first name with one of the known spellings."""
    for position, name in enumerate(names):
        if re.sub(r"[\s_\-]", "", name).lower() in known:
            return position
    return None


def sniff_layout(
    path: str | Path,
    *,
    user_column: str | int | None = None,
    item_column: str | int | None = None,
    value_column: str | int | None = None,
    separator: str | None = None,
    header: bool | None = None,
) -> TextLayout:
    """Find out how a delimited text file is laid out.

    Parameters
    ----------
    path : path
        Text in UTF-8, plain or gzip.
    user_column, item_column, value_column : str or int, optional
        Name in the header, or position counted from 0. Default: columns with a usual name (``user_id``, ``movieId``,
        ``rating``, ``plays``, ...), else the first, the second, and the third if it holds numbers that are no
        timestamps.
    separator : str, optional
        Default: the one of tab, ``::``, ``|``, ``;``, ``,`` and white space that cuts all lines alike.
    header : bool, optional
        Whether the first line names the columns. Default: it does if a column is asked for by name, if it holds a
        usual name, or if it has text over a column of numbers.

    Raises
    ------
    ValueError
        If the file is empty, is no text, has fewer than two columns or lacks a column asked for.
    """
    path = Path(path)
    with text_errors(path), open_text(path) as file:
        lines, skipped = _sample(file)
    if not lines:
        raise ValueError(f"{path}: the file is empty")
    if any("\0" in line for line in lines):
        raise ValueError(f"{path}: this is binary data, wanted delimited text (or .npz or .mtx)")
    if _MARKUP.match(lines[0]):
        raise ValueError(f"{path}: this is JSON or markup, wanted delimited text: {lines[0].strip()[:60]!r}")
    with text_errors(path):
        separator = separator or _sniff_separator(lines)
        rows = list(split_lines(lines, separator))
    width = len(rows[0])
    if width < 2:
        raise ValueError(f"{path}: the first line has one field, wanted at least a user and an item: {lines[0][:60]!r}")
    wanted = (user_column, item_column, value_column)
    if header is None:
        header = any(isinstance(column, str) for column in wanted) or _looks_like_header(rows)
    names = tuple(name.strip().strip('"') for name in rows[0]) if header else None
    user, item, value = (
        _position(path, kind, column, names, width)
        for kind, column in zip(("user", "item", "value"), wanted, strict=True)
    )
    taken = {position for position in (user, item, value) if position is not None}
    user = _named(names, USER_NAMES, taken) if user is None else user
    item = _named(names, ITEM_NAMES, taken) if item is None else item
    taken |= {position for position in (user, item) if position is not None}
    free = (position for position in range(width) if position not in taken)
    user = next(free, 0) if user is None else user
    item = next(free, 0) if item is None else item
    if user == item:
        raise ValueError(f"{path}: the user and the item column are the same one, number {user + 1}")
    if value is None:
        value = _value_column(rows[1:] if header else rows, names, (user, item), width)
    return TextLayout(separator, names, width, user, item, value, skipped)


def _sample(file: TextIO) -> tuple[list[str], int]:
    """The first lines that are not blank, and the number of comment lines before them."""
    lines: list[str] = []
    skipped = 0
    for line in file:
        if not lines and line.startswith(("#", "%")):
            skipped += 1
        elif line.strip():
            lines.append(line[:100_000])
        elif not lines:
            skipped += 1
        if len(lines) == _SAMPLE_LINES:
            break
    return lines, skipped


def split_lines(lines: Iterable[str], separator: str) -> Iterator[list[str]]:
    """Fields of each line; a blank line gives an empty list. Quotes count in comma and semicolon files only."""
    if separator in (",", ";"):
        return csv.reader(lines, delimiter=separator, skipinitialspace=True)
    if separator == " ":
        return (line.split() for line in lines)
    return (line.split(separator) if line else [] for line in (line.rstrip("\r\n") for line in lines))


def _sniff_separator(lines: list[str]) -> str:
    """The first separator that cuts every sample line into the same number of fields, two or more."""
    for separator in _SEPARATORS:
        widths = {len(row) for row in split_lines(lines, separator)}
        if len(widths) == 1 and widths.pop() >= 2:
            return separator
    return next((separator for separator in _SEPARATORS if separator in lines[0].strip()), ",")


def is_number(text: str) -> bool:
    """Whether `float` understands the text, other than with underscores between digits."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _is_meant_as_number(text: str) -> bool:
    """Whether the text is a number, or one with a decimal comma, of which reading will tell that it cannot be read."""
    return is_number(text) or _DECIMAL_COMMA.fullmatch(text) is not None


def _looks_like_header(rows: list[list[str]]) -> bool:
    if any(match_name(rows[0], known) is not None for known in (USER_NAMES, ITEM_NAMES, VALUE_NAMES, TIME_NAMES)):
        return True
    body = [row for row in rows[1:] if len(row) == len(rows[0])]
    return bool(body) and any(
        not _is_meant_as_number(head) and all(_is_meant_as_number(row[position]) for row in body)
        for position, head in enumerate(rows[0])
    )


def _position(path: Path, kind: str, column: str | int | None, names: tuple[str, ...] | None, width: int) -> int | None:
    """Position of a column that was asked for."""
    if column is None:
        return None
    if isinstance(column, str):
        if names is not None and column in names:
            return names.index(column)
        there = brief(", ".join(map(repr, names)), 1000) if names else f"no header, only columns 1 to {width}"
        raise ValueError(f"{path}: no {kind} column {column!r}; the file has {there}")
    if not 0 <= column < width:
        raise ValueError(f"{path}: no {kind} column number {column + 1}; the file has columns 1 to {width}")
    return column


def _named(names: tuple[str, ...] | None, known: tuple[str, ...], taken: set[int]) -> int | None:
    """Column with a usual name that is not taken."""
    named = match_name(names, known) if names else None
    return None if named in taken else named


def _value_column(body: list[list[str]], names: tuple[str, ...] | None, ids: tuple[int, int], width: int) -> int | None:
    """Column with a usual name for values, else the third if it holds numbers that are no times."""
    named = _named(names, VALUE_NAMES, set(ids))
    if named is not None:
        return named
    if width < 3 or sorted(ids) != [0, 1] or (names and match_name([names[2]], TIME_NAMES) is not None):
        return None
    cells = [row[2] for row in body if len(row) == width]
    if not cells or not all(map(_is_meant_as_number, cells)):
        return None
    # Seconds since 1970 for any date since 1973; whoever has such play counts can name the column.
    return None if all(is_number(cell) and float(cell) >= 1e8 for cell in cells) else 2
