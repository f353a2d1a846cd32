"""Pairs of any ids in the database: taken in as they come, their ids numbered, and given out in either order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastals.core.validation import LARGEST_INT32
from fastals.tables.columns import check_times, check_values
from fastals.tables.database import errors_name
from fastals.tables.ids import id_array
from fastals.tables.layout import Columns
from fastals.tables.numbering import id_key, scan_file, text_ids
from fastals.tables.scans import Options
from fastals.tables.store_merge import Pairs, row_blocks

SIDES = ("u", "i")  # columns of the tables here
IDS = 2**20  # ids at a time
_LARGEST_TEXT, _TEXT_A_CHARACTER = 2**28, 128  # as ``fastals.tables.ids`` has it of ids in memory


class _Taken(NamedTuple):
    """A table of the database with columns u, i, v, t: the types of its ids, and what they are in SQL."""

    name: str
    types: tuple[str, str]
    keys: tuple[str, str] = SIDES


def _for_database(ids: np.ndarray | list[str]) -> np.ndarray:
    """Ids as DuckDB reads them: text as objects."""
    return np.array(ids, object) if isinstance(ids, list) else ids


class Staging:
    """Pairs on their way through the database.

    Parameters
    ----------
    con : connection
    folder : path
        For temporary files.

    Attributes
    ----------
    sources : list of str
        What was taken in, for people.
    has_values, has_times : bool
        Whether any pair came with a value, or a time.
    """

    def __init__(self, con: Any, folder: Path) -> None:
        self._con, self._folder = con, folder
        self._taken: list[_Taken] = []
        self._timeless: str | None = None  # the first source without times
        self.sources: list[str] = []
        self.has_values = self.has_times = False

    def take_file(self, path: Path, columns: Columns, options: Options) -> None:
        """Take in a file; ValueError names it and, where it can, the line and the column."""
        with errors_name(path):
            layout, dropped = scan_file(self._con, path, columns, options, self._folder)
            keys = [id_key(self._con, name) for name in SIDES]
            table = f"file_{len(self._taken)}"
            self._con.execute(f"alter table source rename to {table}")
        types = tuple("BIGINT" if whole else "VARCHAR" for _, whole in keys)
        self._taken.append(_Taken(table, (types[0], types[1]), (keys[0][0], keys[1][0])))
        self._note(layout.value is not None, layout.time is not None, path.name)
        self.sources.append(f"{path.name}: {layout}{dropped}")

    def take_batch(self, users: Any, items: Any, values: Any = None, times: Any = None) -> None:
        """Take in columns of ids, and perhaps of values and times; see ``Interactions.from_arrays``."""
        ids = [id_array(column, name) for column, name in ((users, "users"), (items, "items"))]
        if len(ids[0]) != len(ids[1]):
            raise ValueError(f"users and items must be equally long, got {len(ids[0])} and {len(ids[1])}")
        size = len(ids[0])
        if not size:
            return
        numbers, when = check_values(values, size), None if times is None else check_times(times, size)
        types = tuple("VARCHAR" if isinstance(one, list) else f"{'U' * (one.dtype.kind == 'u')}BIGINT" for one in ids)
        given = dict(zip(SIDES, map(_for_database, ids), strict=True))
        if numbers is not None:
            given["v"] = numbers.astype(np.float64)
        if when is not None:
            given["t"] = when
        last = self._taken[-1] if self._taken else None
        if last is None or not last.name.startswith("batch") or last.types != types:
            last = _Taken(f"batch_{len(self._taken)}", (types[0], types[1]))
            self._con.execute(f"create table {last.name} (u {types[0]}, i {types[1]}, v DOUBLE, t BIGINT)")
            self._taken.append(last)
        self._note(numbers is not None, when is not None, "a batch")
        self._con.register("given", given)
        self._con.execute(f"insert into {last.name} ({', '.join(given)}) select {', '.join(given)} from given")
        self._con.unregister("given")

    def _note(self, has_values: bool, has_times: bool, name: str) -> None:
        """Remember what a source had; ValueError where some have times and others have not."""
        self._timeless = self._timeless or (None if has_times else name)
        self.has_values |= has_values
        self.has_times |= has_times
        if self.has_times and self._timeless is not None:
            raise ValueError(f"{self._timeless} has no times, which others have")

    def number(self, known: tuple[np.ndarray, np.ndarray] | None = None) -> tuple[int, int]:
        """Number the ids: those that are known keep their places, new ones follow in sorted order.

        Returns the numbers of users and items, known and new.

        Raises
        ------
        ValueError
            Where there are no pairs, or ids are text in one place and integers in another.
        """
        if not self._taken:
            raise ValueError("there are no interactions")
        types = [self._type(side, None if known is None else known[side]) for side in (0, 1)]
        tables, first = [], 0
        for taken in self._taken:
            ids = (f"cast({key} as {kind}) as {name}" for key, kind, name in zip(taken.keys, types, SIDES, strict=True))
            tables.append(f"select {', '.join(ids)}, v, t, rowid + {first} as row from {taken.name}")
            first += self._con.execute(f"select max(rowid) + 1 from {taken.name}").fetchone()[0]
        self._con.execute(f"create view pairs as {' union all '.join(tables)}")
        counts = [self._number_side(side, types[side], None if known is None else known[side]) for side in (0, 1)]
        self._con.execute(
            "create table coded as select u_ids.code as u, i_ids.code as i, v, t, row from pairs "
            "join u_ids on pairs.u = u_ids.id join i_ids on pairs.i = i_ids.id"
        )
        self._con.execute("drop view pairs")
        for taken in self._taken:
            self._con.execute(f"drop table {taken.name}")
        return counts[0], counts[1]

    def _type(self, side: int, known: np.ndarray | None) -> str:
        """Type of all ids of a side: text, if any are text."""
        found = {taken.types[side] for taken in self._taken}
        noun = ("user", "item")[side]
        if known is not None:
            was = {"i": "BIGINT", "u": "UBIGINT", "U": "VARCHAR"}[known.dtype.kind]
            if "VARCHAR" in found and was != "VARCHAR":
                raise ValueError(f"the store's {noun} ids are integers; got text among the new ones")
            found.add(was)
        if "VARCHAR" in found:
            return "VARCHAR"
        if len(found) > 1:
            raise ValueError(f"some {noun} ids are beyond 2^63 and others may be negative: make them text first")
        return found.pop()

    def _number_side(self, side: int, kind: str, known: np.ndarray | None) -> int:
        """Make the tables of ids and codes of one side, of all and of the new ones; returns how many there are."""
        name, count = SIDES[side], 0 if known is None else len(known)
        self._con.execute(f"create table {name}_ids (id {kind}, code INTEGER)")
        if known is not None:
            for first in range(0, count, IDS):
                ids = known[first : first + IDS]
                self._con.register(
                    "given",
                    {"id": ids.astype(object) if kind == "VARCHAR" else ids, "code": np.arange(len(ids)) + first},
                )
                self._con.execute(f"insert into {name}_ids select id, code from given")
                self._con.unregister("given")
        self._con.execute(
            f"create table {name}_new as select id, {count} + row_number() over (order by id) - 1 as code from "
            f"(select distinct {name} as id from pairs) as found anti join {name}_ids using (id)"
        )
        count += self._con.execute(f"select count(*) from {name}_new").fetchone()[0]
        if count > LARGEST_INT32:
            raise ValueError(f"there are {count:,} {('users', 'items')[side]}, wanted fewer than 2^31")
        self._con.execute(f"insert into {name}_ids select id, code from {name}_new")
        return count

    def new_ids(self, side: int, first: int, last: int) -> tuple[np.dtype, Iterator[np.ndarray]]:
        """Type of the new ids of a side, which have the codes first .. last, and the ids in pieces."""
        name = f"{SIDES[side]}_new"
        kind = self._con.execute(f"select any_value(typeof(id)) from {name}").fetchone()[0]
        dtype = np.dtype(np.uint64 if kind == "UBIGINT" else np.int64)
        if kind == "VARCHAR":
            longest, characters = self._con.execute(f"select max(length(id)), sum(length(id)) from {name}").fetchone()
            if 4 * longest * (last - first) > max(_LARGEST_TEXT, _TEXT_A_CHARACTER * characters):
                shown = self._con.execute(f"select id from {name} where length(id) = {longest}").fetchone()[0][:40]
                raise ValueError(f"an id has {longest:,} characters ({shown!r}...), far more than the others")
            dtype = np.dtype(f"<U{max(longest, 1)}")

        def pieces() -> Iterator[np.ndarray]:
            for start in range(first, last, IDS):
                query = f"select id from {name} where code >= {start} and code < {start + IDS} order by code"
                found = self._con.execute(query).fetchnumpy()["id"]
                yield text_ids(found.tolist(), f"{('user', 'item')[side]} ids") if kind == "VARCHAR" else found

        return dtype, pieces()

    def name_of(self, side: int, code: int) -> str:
        """An id in words."""
        return repr(self._con.execute(f"select id from {SIDES[side]}_ids where code = {code}").fetchone()[0])

    def sorted_by(self, side: int, n_rows: int, in_order: bool) -> Iterator[Pairs]:
        """Pairs by rows of a side, and in each row by columns; repeated ones as they came, if it is ``in_order``."""
        major, minor = SIDES[side], SIDES[1 - side]
        columns = ["v"] * self.has_values + ["t"] * self.has_times
        value = "coalesce(v, 1) as v"
        chosen = ", ".join([f"{major} as r", f"{minor} as c", *(value if name == "v" else name for name in columns)])
        by = "r, c, row" if in_order else "r, c"
        self._con.execute(f"create or replace table sorted as select {chosen} from coded order by {by}")
        found = self._con.execute("select r, count(*) as n from sorted group by r").fetchnumpy()
        starts = np.zeros(n_rows + 1, np.int64)
        starts[np.asarray(found["r"]) + 1] = found["n"]
        np.cumsum(starts, out=starts)
        for first, last in row_blocks(starts):
            got = self._con.execute(f"select * from sorted where r >= {first} and r < {last}").fetchnumpy()
            rows, pair_columns = (np.asarray(got[name]) for name in ("r", "c"))
            values, times = (np.asarray(got[name]) if name in columns else None for name in ("v", "t"))
            yield Pairs(first, last, rows, pair_columns, values, times)
        self._con.execute("drop table sorted")
