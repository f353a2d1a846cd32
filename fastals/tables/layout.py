"""How a table is laid out: which of its columns hold users, items, values and times."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fastals.core.safe_open import brief

# Spellings under which tables in the wild keep the four columns (compared without case, spaces, "_" and "-").
KNOWN = {
    "user": ("user", "userid", "uid", "customer", "customerid", "visitorid", "profile", "profileid", "listener"),
    "item": (
        *("item", "itemid", "iid", "movie", "movieid", "artist", "artistid", "book", "bookid", "isbn", "asin"),
        *("product", "productid", "stockcode", "article", "articleid", "track", "trackid", "song", "songid"),
        *("business", "businessid"),
    ),
    "value": (
        *("value", "rating", "bookrating", "weight", "count", "plays", "playcount", "listens", "quantity", "qty"),
        *("score", "stars", "clicks", "purchases", "times", "confidence", "strength"),
    ),
    "time": ("timestamp", "time", "date", "ts", "datetime", "unixtime", "year"),
}
SEPARATORS = ("\t", "::", "|", ";", ",", " ")
_DECIMAL_COMMA = re.compile(r"\s*-?[0-9]+,[0-9]+\s*")


@dataclass(frozen=True)
class Columns:
    """What was asked for: a column's name, its position counted from 0, or None to find it."""

    user: str | int | None = None
    item: str | int | None = None
    value: str | int | None = None
    time: str | int | None = None


@dataclass(frozen=True)
class Layout:
    """How a table is laid out.

    Attributes
    ----------
    separator : str
        Of delimited text; a space stands for any run of white space.
    names : tuple of str, or None
        The header, if there is one.
    width : int
        Number of columns.
    user, item : int
        Positions of the id columns.
    value, time : int or None
        Positions of these columns, if there are any; times are read only where they are asked for.
    skipped : int
        Lines before the first line of the table: comments (starting with ``#`` or ``%``) and blank ones.
    """

    separator: str
    names: tuple[str, ...] | None
    width: int
    user: int
    item: int
    value: int | None
    time: int | None
    skipped: int

    def column(self, position: int) -> str:
        """Name a column to people: its header, or its number counted from 1."""
        return brief(repr(self.names[position])) if self.names else f"number {position + 1}"

    def __str__(self) -> str:
        parts = [f"user column {self.column(self.user)}", f"item column {self.column(self.item)}"]
        parts.append("no values (each row counts 1)" if self.value is None else f"values {self.column(self.value)}")
        if self.time is not None:
            parts.append(f"times {self.column(self.time)}")
        taken = {self.user, self.item, self.value, self.time}
        unused = [self.column(position) for position in range(self.width) if position not in taken]
        if unused and self.names:
            parts.append(f"unused: {brief(', '.join(unused))}")
        if not self.names:
            parts.append("no header")
        return ", ".join(parts)


def match_name(names: Iterable[str], kind: str) -> int | None:
    """Position of the first name with a known spelling of "user", "item", "value" or "time"."""
    for position, name in enumerate(names):
        if re.sub(r"[\s_\-]", "", name).lower() in KNOWN[kind]:
            return position
    return None


def layout_of_text(
    lines: list[str], skipped: int, columns: Columns, separator: str | None, header: bool | None
) -> Layout:
    """Layout of delimited text, from its first lines that are neither blank nor comments.

    The separator is the one that cuts all lines alike. The first line names the columns if a column is asked for by
    name, if it holds a usual name, or if it has text over a column of numbers.

    Raises
    ------
    ValueError
        If there are fewer than two columns, or a column asked for is not there.
    """
    separator = separator or _separator(lines)
    rows = list(split_lines(lines, separator))
    width = len(rows[0])
    if width < 2:
        raise ValueError(f"the first line has one field, wanted at least a user and an item: {lines[0][:60]!r}")
    wanted = (columns.user, columns.item, columns.value, columns.time)
    if header is None:
        header = any(isinstance(column, str) for column in wanted) or _looks_like_header(rows)
    names = tuple(name.strip().strip('"') for name in rows[0]) if header else None
    body = rows[1:] if header else rows
    return layout_of_columns(columns, names, width, [row for row in body if len(row) == width], separator, skipped)


def layout_of_columns(
    columns: Columns,
    names: tuple[str, ...] | None,
    width: int,
    sample: Sequence[Sequence[str]] = (),
    separator: str = "",
    skipped: int = 0,
) -> Layout:
    """Layout of a table whose columns are known.

    Columns that are not asked for are those with a usual name, else the first for the user, the second for the item,
    and the third for the value if the ``sample`` holds numbers there that are not times.

    Raises
    ------
    ValueError
        If a column asked for is not there, or user and item are the same.
    """
    found = {kind: _asked_for(kind, getattr(columns, kind), names, width) for kind in KNOWN}
    for kind in ("user", "item"):
        if found[kind] is None:
            named = match_name(names, kind) if names else None
            found[kind] = None if named in found.values() else named
    taken = [found["user"], found["item"], found["value"]]
    free = (position for position in range(width) if position not in taken)
    user = next(free, 0) if found["user"] is None else found["user"]
    item = next(free, 0) if found["item"] is None else found["item"]
    if user == item:
        raise ValueError(f"the user and the item column are the same one, number {user + 1}")
    value = _value_column(sample, names, (user, item), width) if found["value"] is None else found["value"]
    return Layout(separator, names, width, user, item, value, found["time"], skipped)


def split_lines(lines: Iterable[str], separator: str) -> Iterator[list[str]]:
    """Fields of each line; a blank line gives an empty list. Quotes count in comma and semicolon files only."""
    if separator in (",", ";"):
        return csv.reader(lines, delimiter=separator, skipinitialspace=True)
    if separator == " ":
        return (line.split() for line in lines)
    return (line.split(separator) if line else [] for line in (line.rstrip("\r\n") for line in lines))


def _separator(lines: list[str]) -> str:
    """The first separator that cuts every line into the same number of fields, two or more."""
    for separator in SEPARATORS:
        widths = {len(row) for row in split_lines(lines, separator)}
        if len(widths) == 1 and widths.pop() >= 2:
            return separator
    return next((separator for separator in SEPARATORS if separator in lines[0].strip()), ",")


def is_number(text: str) -> bool:
    """Whether a text is a number, with a decimal comma or point."""
    try:
        float(text)
    except ValueError:
        return _DECIMAL_COMMA.fullmatch(text) is not None
    return "_" not in text


def _looks_like_header(rows: list[list[str]]) -> bool:
    if any(match_name(rows[0], kind) is not None for kind in KNOWN):
        return True
    body = [row for row in rows[1:] if len(row) == len(rows[0])]
    return bool(body) and any(
        not is_number(head) and all(is_number(row[position]) for row in body) for position, head in enumerate(rows[0])
    )


def _asked_for(kind: str, column: str | int | None, names: tuple[str, ...] | None, width: int) -> int | None:
    """Position of a column that was asked for."""
    if column is None:
        return None
    if isinstance(column, str):
        if names is not None and column in names:
            return names.index(column)
        there = brief(", ".join(map(repr, names)), 1000) if names else f"no header, only columns 1 to {width}"
        raise ValueError(f"no {kind} column {column!r}; the file has {there}")
    if not 0 <= column < width:
        raise ValueError(f"no {kind} column number {column + 1}; the file has columns 1 to {width}")
    return column


def _value_column(
    sample: Sequence[Sequence[str]], names: tuple[str, ...] | None, ids: tuple[int, int], width: int
) -> int | None:
    named = match_name(names, "value") if names else None
    if named is not None and named not in ids:
        return named
    if width < 3 or sorted(ids) != [0, 1] or (names and match_name([names[2]], "time") is not None):
        return None
    cells = [row[2] for row in sample]
    if not cells or not all(map(is_number, cells)):
        return None
    # Seconds since 1970 for any date since 1973; whoever has such play counts can name the column.
    return None if all("," not in cell and float(cell) >= 1e8 for cell in cells) else 2
