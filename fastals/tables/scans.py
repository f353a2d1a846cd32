"""Tables in files brought into the database: delimited text, Parquet and JSON.

Each scan fills one table, ``source (u, i, v, t, v_text, t_text)``, in the order of the file: ids as text (or, of
Parquet, as integers), values and times as numbers (NULL where they are not), and the text that these came from where
they are none, for messages. A table ``integers (u, i)`` says whether the ids are integers; of delimited text, once the
bad rows are gone.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from fastals.core.safe_open import brief
from fastals.tables.database import SAMPLE_LINES, csv_scan, json_compression, not_utf8, quoted
from fastals.tables.layout import Columns, Layout, layout_of_columns


class Options(NamedTuple):
    """How text is to be read; see ``read_interactions``."""

    separator: str | None = None
    header: bool | None = None
    encoding: str = "utf-8"
    decimal: str = "."
    skip_bad: bool = False


class Bad(NamedTuple):
    """A row that cannot be read: its number from 1 (a line, where ``is_line``), and what is wrong with it."""

    place: int
    is_line: bool
    problem: str


def scan_text(con: Any, path: Path, compression: str, layout: Layout, options: Options) -> list[Bad]:
    """Fill the source from delimited text; returns the lines that are not rows of the table."""
    head = layout.skipped + (layout.names is not None)
    # Rejects are stored only where rows may be dropped: with them DuckDB's time and memory grow with the square of the
    # text behind a quote that is never closed (3.6 GB for 20 MB).
    more = f", skip={head}" + (", store_rejects=true" if options.skip_bad else "")
    cells = [f"c{position}" for position in range(layout.width)]
    if layout.separator == " ":  # any run of white space
        cells = [f"p[{position + 1}]" for position in range(layout.width)]
        one = csv_scan(path, compression, "\x1f", "", 1, more)
        scan = f"(select string_split_regex(trim(c0, chr(32) || chr(9) || chr(13)), '\\s+') as p from {one})"
    else:
        quote = '"' if layout.separator in (",", ";") else ""
        scan = csv_scan(path, compression, layout.separator, quote, layout.width, more)
    try:
        _fill(con, scan, cells, layout, options)
    except Exception as error:  # of DuckDB, whose module only the connection knows
        found = re.match(r"Invalid Input Error: CSV Error on Line: (\d+)", str(error))
        if found:
            raise ValueError(f"line {found[1]}: {rejection(str(error))}") from None
        if "invalid state" not in str(error) or layout.separator == " ":
            raise
        _fill(con, scan[:-1] + ", strict_mode=false)", cells, layout, options)  # line ends of several kinds
    bad = []
    if options.skip_bad:
        rejected = con.execute("select line, min(error_message) from reject_errors group by line").fetchall()
        bad = [Bad(line, True, rejection(message)) for line, message in rejected]
    if layout.separator == " ":
        uneven = "select row, len(p) from (select row_number() over () as row, p from {}) where len(p) <> {}"
        for row, width in con.execute(uneven.format(scan, layout.width)).fetchall():
            bad.append(Bad(row + head, True, f"{width} fields where the first line has {layout.width}"))
    return bad


def rejection(message: str) -> str:
    """What is wrong with a line, of DuckDB's message."""
    counts = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message)
    if counts:
        return f"{counts[2]} fields where the first line has {counts[1]}"
    if "unterminated quote" in message:
        return 'a quote (") is opened and never closed, or text follows a closed one'
    if "not utf-8" in message:
        return not_utf8("byte sequence mismatch")
    size = re.search(r"Maximum line size of \d+ bytes exceeded", message)
    return size[0] if size else brief(message)


def _fill(con: Any, scan: str, cells: list[str], layout: Layout, options: Options) -> None:
    value = "NULL" if layout.value is None else cells[layout.value]
    time = "NULL" if layout.time is None else cells[layout.time]
    number = f"replace({value}, ',', '.')" if options.decimal == "," else value
    con.execute("drop table if exists reject_errors; drop table if exists reject_scans")
    exact = f"if(contains({value}, '_'), NULL, try_cast({number} as double))"
    _fill_source(con, scan, f"{cells[layout.user]} as u, {cells[layout.item]} as i", exact, value, time)


def _fill_source(con: Any, scan: str, ids: str, number: str, value: str, time: str) -> None:
    """Fill the source, given the ids, the value as a number and as text, and the time as text, in SQL.

    The texts of good numbers are not kept: nobody reads them, and they may be most of the table.
    """
    seconds = _SECONDS.format(time)
    con.execute(
        f"create or replace table source as select {ids}, {number} as v, "
        f"{seconds} as t, if(isfinite({number}), NULL, {value}) as v_text, if({seconds} is null, {time}, NULL) as "
        f"t_text from {scan}"
    )


# Numbers as they come; dates and times in seconds since 1970.
_SECONDS = (
    "coalesce(try_cast({0} as bigint), try_cast(floor(try_cast({0} as double)) as bigint), "
    "try_cast(floor(epoch(try_cast({0} as timestamp))) as bigint))"
)


def scan_parquet(con: Any, path: Path, columns: Columns) -> tuple[Layout, list[Bad]]:
    """Fill the source from Parquet; ids are integers or text, as their columns are."""
    scan = f"read_parquet({quoted(str(path))})"
    described = con.execute(f"describe select * from {scan}").fetchall()
    names = tuple(row[0] for row in described)
    layout = layout_of_columns(columns, names, len(names), _texts(con, scan))
    cells = ['"' + name.replace('"', '""') + '"' for name in names]
    kinds, ids = {}, []
    for position, kind in ((layout.user, "u"), (layout.item, "i")):
        found = described[position][1]
        if not re.fullmatch(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|VARCHAR|ENUM.*", found):
            raise ValueError(f"column {layout.column(position)} holds {found}, wanted ids of integers or text")
        kinds[kind] = "INT" in found
        ids.append(f"cast({cells[position]} as {'bigint' if kinds[kind] else 'varchar'}) as {kind}")
    value = "NULL" if layout.value is None else cells[layout.value]
    time = "NULL" if layout.time is None else cells[layout.time]
    number, text = f"try_cast({value} as double)", f"cast({value} as varchar)"
    _fill_source(con, scan, ", ".join(ids), number, text, f"cast({time} as varchar)")
    con.execute(f"create or replace table integers as select {kinds['u']} as u, {kinds['i']} as i")
    return layout, []


def _texts(con: Any, scan: str) -> list[list[str]]:
    """The first rows as text."""
    rows = con.execute(f"select * from {scan} limit {SAMPLE_LINES}").fetchall()
    return [["" if cell is None else str(cell) for cell in row] for row in rows]


def scan_json(con: Any, path: Path, compression: str, lines: list[str], columns: Columns) -> tuple[Layout, list[Bad]]:
    """Fill the source from objects, one a line or in one array; an id is an integer only where all are."""
    shape = "array" if lines[0].lstrip().startswith("[") else "newline_delimited"
    first = "".join(lines).lstrip().lstrip("[").lstrip()
    try:
        sample, _ = json.JSONDecoder().raw_decode(first)
    except ValueError as error:
        raise ValueError(f"line 1: this is not JSON ({error})") from None
    if not isinstance(sample, dict):
        raise ValueError(f"line 1: {first[:60]!r} is not a JSON object, wanted one a row")
    names = tuple(sample)
    layout = layout_of_columns(columns, names, len(names), [[str(cell) for cell in sample.values()]])
    listed = ", ".join(f"{quoted(name)}: 'JSON'" for name in names)
    packed = json_compression(compression)
    scan = f"read_json({quoted(str(path))}, format='{shape}', compression='{packed}', columns={{{listed}}})"
    cells = ['"' + name.replace('"', '""') + '"' for name in names]
    value = "NULL" if layout.value is None else f"({cells[layout.value]} ->> '$')"
    time = "NULL" if layout.time is None else f"({cells[layout.time]} ->> '$')"
    kinds = ", ".join(
        f"json_type({cells[position]}) in ('UBIGINT', 'BIGINT') as {name}_whole, "
        f"if(json_type({cells[position]}) in ('VARCHAR', 'UBIGINT', 'BIGINT'), {cells[position]} ->> '$', NULL) "
        f"as {name}"
        for position, name in ((layout.user, "u"), (layout.item, "i"))
    )
    _fill_source(con, scan, kinds, f"try_cast({value} as double)", value, time)
    whole = "bool_and(u_whole) as u, bool_and(i_whole) as i"
    con.execute(f"create or replace table integers as select {whole} from source")
    return layout, []
