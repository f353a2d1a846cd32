"""Changes to a store: each is written beside it and then comes into force at once, or never happened."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from fastals.core.atomic_folder import locked, publish, temporary_folder
from fastals.core.progress import stage_bar
from fastals.core.validation import describe
from fastals.tables.layout import Columns
from fastals.tables.scans import Options
from fastals.tables.store_build import Work, check_appendable, matrix_part, merged_part, staged_part
from fastals.tables.store_files import Header, PartSpec, read_header, write_header
from fastals.tables.store_merge import RepeatedPairError
from fastals.tables.store_parts import Part, all_ids
from fastals.tables.store_sources import Stage, as_matrix

IDS = ("user_ids", "item_ids")


class Manner(NamedTuple):
    """How a source is read and where the work is done; see ``InteractionStore.build``."""

    columns: Columns
    options: Options | None
    memory_limit: int
    temporary_folder: str | os.PathLike[str] | None
    show_progress: bool


def build(target: Path, source: Any, duplicates: str, manner: Manner) -> None:
    """Build a store at a path where there is nothing; see ``InteractionStore.build``."""
    if os.path.lexists(target):
        raise FileExistsError(f"{target}: this exists already; remove it first, or append to it")
    with _working(target.parent, target.name, manner.temporary_folder, manner.show_progress) as (folder, spill, stage):
        new = folder / "store"
        new.mkdir()
        matrix = as_matrix(source)
        if matrix is not None:
            header = Header("sum", matrix.source, (matrix_part(new / "000001", matrix, stage),))
        else:
            work = Work(duplicates, manner.memory_limit, spill, stage)
            part, told = staged_part(new / "000001", source, manner.columns, manner.options, work)
            header = Header(duplicates, told, (part,))
        write_header(new, header)
        publish(new, target)


def append(path: Path, source: Any, manner: Manner, compact: bool) -> None:
    """Add pairs to a store; see ``InteractionStore.append``."""
    with (
        _changing(path) as header,
        _working(path, "append", manner.temporary_folder, manner.show_progress) as (folder, spill, stage),
    ):
        rule = check_appendable(header.duplicates)
        parts = [Part(path, part) for part in header.parts]
        known = all_ids(parts, "user_ids"), all_ids(parts, "item_ids")
        place = folder / _next_name(header)
        work = Work(header.duplicates, manner.memory_limit, spill, stage)
        timed = header.parts[0].timed
        part, told = staged_part(place, source, manner.columns, manner.options, work, known, timed)
        source_text = f"{header.source}; {told}"
        if compact or rule == "error":  # a pair that is there already is found by merging alone
            merged = _merged(folder, [*parts, Part(folder, part)], header, stage)
            _put_into_force(path, folder, header, Header(header.duplicates, source_text, (merged,)))
        else:
            _put_into_force(path, folder, header, Header(header.duplicates, source_text, (*header.parts, part)))


def compact(path: Path, temporary: str | os.PathLike[str] | None, show_progress: bool) -> None:
    """Merge all parts of a store into one; see ``InteractionStore.compact``."""
    with _changing(path) as header, _working(path, "append", temporary, show_progress) as (folder, _, stage):
        if len(header.parts) > 1:
            merged = _merged(folder, [Part(path, part) for part in header.parts], header, stage)
            _put_into_force(path, folder, header, header._replace(parts=(merged,)))


def _merged(folder: Path, parts: Sequence[Part], header: Header, stage: Stage) -> PartSpec:
    """One part of all, in a folder beside."""
    times = [part.times for part in parts if part.times is not None] or None
    ids = {name: all_ids(parts, name) for name in IDS}
    work = Work(check_appendable(header.duplicates), 0, folder, stage)
    place = folder / f"{int(_next_name(header)) + 1:06}"
    try:
        return merged_part(place, [part.rows for part in parts], times, ids, work)
    except RepeatedPairError as error:
        user, item = (repr(ids[name][code].item()) for name, code in zip(IDS, error.place, strict=True))
        raise ValueError(f"user {user} and item {item} meet more than once") from None


def _next_name(header: Header) -> str:
    """Name of a folder that no part has."""
    return f"{max(int(part.folder) for part in header.parts) + 1:06}"


def _put_into_force(path: Path, folder: Path, before: Header, after: Header) -> None:
    """Move the new part into the store and have the header say so; then what it has replaced is removed."""
    publish(folder / after.parts[-1].folder, path / after.parts[-1].folder)
    write_header(path, after)
    _remove_outdated(path, after)


@contextmanager
def _changing(path: Path) -> Iterator[Header]:
    """Hold a store for a change, as it is now on the disk and without what killed changes have left."""
    try:
        with locked(path / "lock"):
            header = read_header(path)
            _remove_outdated(path, header)
            yield header
    except BlockingIOError:
        raise BlockingIOError(f"{path}: another process is changing this store") from None


def _remove_outdated(path: Path, header: Header) -> None:
    """Remove folders of parts that the header does not name. Whoever has mapped their files keeps them."""
    named = {part.folder for part in header.parts}
    for found in path.iterdir():
        if found.is_dir() and found.name.isdecimal() and found.name not in named:
            shutil.rmtree(found, ignore_errors=True)


@contextmanager
def _working(
    parent: Path, name: str, spill: str | os.PathLike[str] | None, show_progress: bool
) -> Iterator[tuple[Path, Path, Stage]]:
    """A temporary folder beside the store, one for the database, and who is told of the progress."""
    if spill is not None and not Path(spill).is_dir():
        raise ValueError(f"temporary_folder must be a folder; got {describe(spill)}")
    with temporary_folder(parent, name) as folder, stage_bar(show_progress) as stage:
        if spill is None:
            yield folder, folder, stage
            return
        with temporary_folder(Path(spill), "fastals-store") as apart:
            yield folder, apart, stage
