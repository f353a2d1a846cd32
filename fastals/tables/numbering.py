"""Ids of a table numbered by the database, and its bad rows refused or dropped."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastals.core.safe_open import brief, open_regular, text_errors
from fastals.tables.database import (
    check_lines,
    connection,
    errors_name,
    first_lines,
    line_of,
    not_utf8,
    transcoded,
    without_wildcards,
)
from fastals.tables.ids import text_array
from fastals.tables.layout import Columns, Layout, layout_of_text
from fastals.tables.scans import Bad, Options, scan_json, scan_parquet, scan_text

INTEGER = "(0|-?[1-9][0-9]{0,17})"  # one that survives text -> int64 -> text: 007 does not
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd"}
_EXAMPLES = 3
_MARKUP = re.compile(r"\s*<(!doctype|html|\?xml)\b", re.IGNORECASE)


class Table(NamedTuple):
    """A table whose ids are numbered: row t is of ``user_ids[user_codes[t]]`` and ``item_ids[item_codes[t]]``."""

    user_ids: np.ndarray
    item_ids: np.ndarray
    user_codes: np.ndarray
    item_codes: np.ndarray
    values: np.ndarray | None
    times: np.ndarray | None
    layout: Layout
    dropped: str


def read_table(path: Path, columns: Columns, options: Options) -> Table:
    """Read a file of any of the formats; ValueError names the file and, where it can, the line and the column."""
    with errors_name(path), connection() as con, tempfile.TemporaryDirectory() as folder:
        layout, dropped = scan_file(con, path, columns, options, Path(folder))
        return _numbered(con, layout, dropped)


def compression_of(start: bytes) -> str:
    """How a file with these first bytes is compressed, as DuckDB calls it."""
    return _MAGIC.get(start[:2], "none")


def scan_file(con: Any, path: Path, columns: Columns, options: Options, folder: Path) -> tuple[Layout, str]:
    """Fill the tables ``source`` and ``integers`` from a file of any of the formats; see ``fastals.tables.scans``.

    Returns its layout, and a sentence on bad rows that were dropped; ``folder`` is for temporary files.

    Raises
    ------
    ValueError
        That names the line and the column, where it can.
    """
    with open_regular(path) as file:
        start = file.read(4)
    compression = compression_of(start)
    with text_errors(path):
        named = without_wildcards(path, folder)
        if start == b"PAR1":
            layout, bad = scan_parquet(con, named, columns)
            return layout, _settled(con, layout, bad, options)
        if options.encoding.lower().replace("_", "-") not in ("utf-8", "utf8"):
            named = transcoded(named, compression, options.encoding, folder)
            compression = "none"
        lines, skipped = first_lines(con, named, compression)
        if not lines:
            raise ValueError("the file is empty")
        for number, line in enumerate(lines, start=skipped + 1):
            undecoded = [one for one in line if "\udc80" <= one <= "\udcff"]
            if undecoded:
                raise ValueError(f"line {number}: {not_utf8(f'byte 0x{ord(undecoded[0]) - 0xDC00:02x}')}")
        if any("\0" in line for line in lines):
            raise ValueError("this is binary data, wanted delimited text, JSON lines, Parquet, .npz or .mtx")
        if _MARKUP.match(lines[0]):
            raise ValueError(f"this is markup, wanted a table: {lines[0].strip()[:60]!r}")
        check_lines(named, compression)
        if lines[0].lstrip().startswith(("{", "[")):
            layout, bad = scan_json(con, named, compression, lines, columns)
            return layout, _settled(con, layout, bad, options)
        layout = layout_of_text(lines, skipped, columns, options.separator, options.header)
        bad = scan_text(con, named, compression, layout, options)
        dropped = _settled(con, layout, bad, options, lambda row: line_of(named, compression, layout, row))
        whole = (f"bool_and(regexp_full_match(trim({name}), '{INTEGER}')) as {name}" for name in ("u", "i"))
        con.execute(f"create or replace table integers as select {', '.join(whole)} from source")
        return layout, dropped


def _settled(
    con: Any,
    layout: Layout,
    bad: list[Bad],
    options: Options,
    find_line: Callable[[int], int | None] | None = None,
) -> str:
    """Drop or refuse bad rows of the source; returns a sentence on those dropped."""
    bad = sorted(bad + _bad_cells(con, layout, find_line), key=lambda one: (not one.problem, one.place))
    if bad and not options.skip_bad:
        first = bad[0]
        where = f"{'line' if first.is_line else 'row'} {first.place}"
        raise ValueError(f"{where}: {first.problem}; skip_bad=True (--skip-bad) drops such rows")
    con.execute(f"delete from source where {_wrong(con, layout)}")
    if not con.execute("select count(*) from source").fetchone()[0]:
        raise ValueError(f"the file has {'a header and ' if layout.names else ''}no rows" + _dropped(bad))
    return _dropped(bad)


def id_key(con: Any, name: str) -> tuple[str, bool]:
    """What the ids in a column of the source are in SQL, and whether they are integers."""
    whole = bool(con.execute(f"select {name} from integers").fetchone()[0])
    return f"cast(trim({name}) as bigint)" if whole and _is_text(con, name) else name, whole


def _numbered(con: Any, layout: Layout, dropped: str) -> Table:
    """Number the ids of the source."""
    ids, joins = [], []
    for name, position in (("u", layout.user), ("i", layout.item)):
        key, whole = id_key(con, name)
        con.execute(
            f"create table {name}_ids as select {name}, {key} as id, dense_rank() over (order by {key}) - 1 as "
            f"code from (select distinct {name} from source)"
        )
        found = con.execute(f"select distinct id, code from {name}_ids order by code").fetchnumpy()["id"]
        ids.append(np.asarray(found, np.int64) if whole else text_ids(found.tolist(), layout.column(position)))
        joins.append(f"join {name}_ids on source.{name} = {name}_ids.{name}")
    got = con.execute(
        f"select u_ids.code as user, i_ids.code as item, v, t from source {' '.join(joins)} order by source.rowid"
    ).fetchnumpy()
    values, times = (
        None if position is None else np.asarray(got[name])
        for position, name in ((layout.value, "v"), (layout.time, "t"))
    )
    user_codes, item_codes = (np.asarray(got[name], np.int64) for name in ("user", "item"))
    return Table(ids[0], ids[1], user_codes, item_codes, values, times, layout, dropped)


def _wrong(con: Any, layout: Layout) -> str:
    """What is true of rows that cannot be read, in SQL."""
    tests = [f"{name} is null" + (f" or {name} = ''" if _is_text(con, name) else "") for name in ("u", "i")]
    if layout.value is not None:
        tests.append("v is null or not isfinite(v)")
    if layout.time is not None:
        tests.append("t is null")
    return " or ".join(tests)


def _is_text(con: Any, name: str) -> bool:
    """Whether a column of ids of the source holds text, be it of integers."""
    kinds = dict(row[:2] for row in con.execute("describe source").fetchall())
    return bool(kinds[name] == "VARCHAR")


def _bad_cells(con: Any, layout: Layout, find_line: Callable[[int], int | None] | None) -> list[Bad]:
    """Rows with an empty id, or a value or time that is not a number; the first ones are described."""
    found = con.execute(
        f"select rowid + 1, u, i, v, v_text, t_text from source where {_wrong(con, layout)} order by rowid"
    ).fetchall()
    bad: list[Bad] = []
    for row, user, item, value, value_text, time_text in found:
        if len(bad) >= _EXAMPLES:
            bad.append(Bad(row, False, ""))
            continue
        if user in (None, "") or item in (None, ""):
            empty = layout.user if user in (None, "") else layout.item
            problem = f"the id in column {layout.column(empty)} is empty"
        elif layout.value is not None and (value is None or not np.isfinite(value)):
            hint = (
                "; name the decimal comma by decimal=',' (--decimal ,)"
                if value_text and re.fullmatch(r"\s*-?\d+,\d+\s*", value_text)
                else ""
            )
            shown = repr(brief(value_text or ""))
            problem = f"column {layout.column(layout.value)} has {shown}, wanted a finite number{hint}"
        else:
            problem = f"column {layout.column(layout.time or 0)} has {brief(time_text or '')!r}, wanted a time"
        line = find_line(row) if find_line else None
        bad.append(Bad(row if line is None else line, line is not None, problem))
    return bad


def _dropped(bad: list[Bad]) -> str:
    """Sentence on what was dropped, empty if nothing was."""
    if not bad:
        return ""
    examples = [f"{'line' if one.is_line else 'row'} {one.place}: {one.problem}" for one in bad if one.problem]
    return (
        f"; {len(bad):,} bad {'row was' if len(bad) == 1 else 'rows were'} dropped ({'; '.join(examples[:_EXAMPLES])})"
    )


def text_ids(texts: list[str], column: str) -> np.ndarray:
    """Fixed-width text of ids of a column; ValueError for what cannot be an id."""
    if any("\0" in text for text in texts):
        raise ValueError(f"an id in column {column} holds a NUL character, as binary data would")
    return text_array(texts, f"column {column}")
