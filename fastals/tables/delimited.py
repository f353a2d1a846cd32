"""Delimited text of user, item[, value], read in bounded memory once its layout is known."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, count
from operator import methodcaller
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from fastals.core.safe_open import brief, open_text, text_errors
from fastals.tables.ids import text_array
from fastals.tables.interactions import Duplicates, Interactions
from fastals.tables.text_layout import TextLayout, is_number, split_lines

__all__ = ["CodedTable", "read_coded", "read_delimited"]

_CHUNK = 1 << 21  # characters turned into arrays at a time: some 30 MB of Python strings, 100 where rows are short
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")  # an integer that survives text -> int64 -> text


def read_delimited(path: str | Path, layout: TextLayout, *, duplicates: Duplicates = "sum") -> Interactions:
    """Read delimited text whose layout is known.

    Ids become integers if every id of the column is one in plain form (``007`` is not), text otherwise. Blank lines
    are skipped.

    Raises
    ------
    ValueError
        Naming the file, the line and the column: a line with another number of fields, a value that is no finite
        number, an empty id, undecodable text, a damaged gzip file, or no rows at all.
    """
    table = read_coded(path, layout)
    numbers = None if layout.value is None else table.numbers[layout.value]
    try:
        made = table.interactions(numbers, duplicates)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    made.source = f"{Path(path).name}: {layout}"
    return made


class CodedTable(NamedTuple):
    """A table whose ids are numbered: row t holds ``user_ids[user_codes[t]]`` and ``item_ids[item_codes[t]]``."""

    user_ids: np.ndarray
    item_ids: np.ndarray
    user_codes: np.ndarray
    item_codes: np.ndarray
    numbers: dict[int, np.ndarray]
    """Further columns as float64, by position."""

    def interactions(self, numbers: np.ndarray | None, duplicates: Duplicates = "sum") -> Interactions:
        """Interactions with the given values."""
        return Interactions._from_codes(
            self.user_codes, self.item_codes, numbers, self.user_ids, self.item_ids, duplicates
        )


def read_coded(path: str | Path, layout: TextLayout, also: tuple[int, ...] = ()) -> CodedTable:
    """Read the columns of a layout, and further columns of numbers at the positions `also`."""
    path = Path(path)
    users, items = _Column(layout, layout.user), _Column(layout, layout.item)
    wanted = also if layout.value is None else (layout.value, *also)
    numbers: dict[int, list[np.ndarray]] = {position: [] for position in wanted}
    with text_errors(path), open_text(path) as file:
        head = layout.skipped + (layout.names is not None)
        for _ in range(head):
            file.readline()
        for columns, lines in _chunks(path, file, layout, head + 1):
            for ids in (users, items):
                ids.add(columns[ids.position], lines, path)
            for position, pieces in numbers.items():
                pieces.append(_numbers(columns[position], lines, path, layout.column(position)))
    if not users.codes:
        raise ValueError(f"{path}: the file has {'a header and ' if layout.names else ''}no rows")
    user_ids, user_codes = users.finish(path)
    item_ids, item_codes = items.finish(path)
    joined = {position: np.concatenate(pieces) for position, pieces in numbers.items()}
    return CodedTable(user_ids, item_ids, user_codes, item_codes, joined)


class _Column:
    """A column of ids, numbered while it is read, so that only distinct ids are kept as text."""

    def __init__(self, layout: TextLayout, position: int) -> None:
        self.name = layout.column(position)
        self.position = position
        self.codes: list[np.ndarray] = []
        self.number: defaultdict[str, int] = defaultdict()
        self.number.default_factory = self.number.__len__  # an id not seen yet gets the next number

    def add(self, ids: Sequence[str], lines: Sequence[int], path: Path) -> None:
        self.codes.append(np.fromiter(map(self.number.__getitem__, ids), np.int64, len(ids)))
        if "" in self.number:
            raise ValueError(f"{path}, line {lines[ids.index('')]}: the id in column {self.name} is empty")

    def finish(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """The sorted distinct ids and the code of each row among them."""
        names = list(self.number)
        if all(map(_WHOLE.fullmatch, names)):
            ids = np.array([int(name) for name in names])
        elif "\0" in "".join(names):
            raise ValueError(f"{path}: an id in column {self.name} holds a NUL character, as binary data would")
        else:
            ids = text_array(names, f"{path}: column {self.name}")
        order = np.argsort(ids, kind="stable")
        rank = np.empty(order.size, np.int64)
        rank[order] = np.arange(order.size)
        return ids[order], rank[np.concatenate(self.codes)]


def _chunks(
    path: Path, file: TextIO, layout: TextLayout, line: int
) -> Iterator[tuple[list[Sequence[str]], Sequence[int]]]:
    """Columns of text and the line number of each row, for one piece of the file after another."""
    while lines := file.readlines(_CHUNK):
        even = _cut_evenly(lines, layout)
        if even is not None:
            yield even, range(line, line + len(lines))
            line += len(lines)
            continue
        rows, numbers, read = [], [], 0
        try:
            for row, read in _cut(lines, file, layout.separator):
                if row and len(row) != layout.width:
                    raise ValueError(
                        f"{path}, line {line + read - 1}: {len(row)} fields where the first line has {layout.width}"
                    )
                if row:
                    rows.append(row)
                    numbers.append(line + read - 1)
        except csv.Error as error:
            raise ValueError(f"{path}, line {line + read}: {error}") from None
        line += read
        if rows:
            yield list(zip(*rows, strict=True)), numbers


def _cut_evenly(lines: list[str], layout: TextLayout) -> list[Sequence[str]] | None:
    """Columns of lines that all hold the same number of bare fields, else None: five times as fast as row by row."""
    separator, width = layout.separator, layout.width
    if separator == " " or set(map(methodcaller("count", separator), lines)) != {width - 1}:
        return None
    text = "".join(lines)
    if '"' in text or (separator in (",", ";") and f"{separator} " in text):
        return None
    text = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
    fields = text.replace("\n", separator).split(separator)
    return [fields[position::width] for position in range(width)]


def _cut(lines: list[str], file: Iterator[str], separator: str) -> Iterator[tuple[list[str], int]]:
    """Rows with the number of lines read so far; a quoted field may run on into lines still in the file."""
    if separator not in (",", ";"):
        yield from zip(split_lines(lines, separator), count(1))
        return
    reader = csv.reader(chain(lines, _rest(file)), delimiter=separator, skipinitialspace=True)
    for row in reader:
        yield row, reader.line_num
        if reader.line_num >= len(lines):
            return


def _rest(file: Iterator[str]) -> Iterator[str]:
    """The lines that follow, of which only an open quote asks for more than there are."""
    yield from file
    raise csv.Error('a quote (") is opened and never closed')


def _numbers(cells: Sequence[str], lines: Sequence[int], path: Path, column: str) -> np.ndarray:
    """A column of values as float64."""
    try:
        numbers = np.fromiter(map(float, cells), np.float64, len(cells))
        if np.isfinite(numbers).all() and "_" not in "".join(cells):
            return numbers
    except ValueError:
        pass
    bad = next(at for at, cell in enumerate(cells) if not (is_number(cell) and np.isfinite(float(cell))))
    hint = ": decimals take a point, thousands nothing" if "," in cells[bad] else ""
    raise ValueError(
        f"{path}, line {lines[bad]}: column {column} has {brief(cells[bad])!r}, wanted a finite number{hint}"
    )
