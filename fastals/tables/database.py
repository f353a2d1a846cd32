"""The database that reads tables: a connection without a network, and files as it wants them."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from fastals.core.safe_open import brief
from fastals.tables.layout import Layout, split_lines

SAMPLE_LINES = 50
_LONGEST_SAMPLE = 100_000
_LONGEST_LINE = 2**23  # a run of two such pieces without an end of line is refused; DuckDB's buffer has 32 MB


@contextlib.contextmanager
def connection(folder: Path | None = None, memory_limit: int | None = None) -> Iterator[Any]:
    """Connection to a database of its own, which spills to a temporary folder; ImportError without DuckDB.

    The database is in memory, or in a file in ``folder``, which is removed with it by whoever made the folder.
    ``memory_limit`` is in bytes; by default DuckDB's, a share of the machine's.
    """
    try:
        import duckdb
    except ModuleNotFoundError:
        raise ImportError("reading tables needs DuckDB: pip install 'fastals[tables]'") from None
    config = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    if memory_limit is not None:
        config["memory_limit"] = f"{memory_limit // 1000}KB"
    with tempfile.TemporaryDirectory(dir=folder) as spill:
        place = ":memory:" if folder is None else str(folder / "pairs.duckdb")
        con = duckdb.connect(place, config={**config, "temp_directory": spill})
        try:
            # It would write to standard output. Jupyter without ipywidgets has none, and refuses the setting.
            with contextlib.suppress(duckdb.InvalidInputException):
                con.execute("set enable_progress_bar = false")
            with _interrupted_by_signals(con):
                yield con
        except (duckdb.Error, RuntimeError) as error:
            if "interrupted" in str(error).lower():  # what DuckDB makes of Ctrl-C
                raise KeyboardInterrupt from None
            if not isinstance(error, duckdb.Error):
                raise
            raise ValueError(_reason(str(error))) from None
        finally:
            con.close()


@contextlib.contextmanager
def _interrupted_by_signals(con: Any) -> Iterator[None]:
    """Let Ctrl-C end the query that runs, whichever threads have its tasks.

    DuckDB looks for signals between the tasks of the calling thread alone: a query that others have all tasks of was
    seen to run to its end. Python writes each signal to the wakeup descriptor at once, on which a thread waits here. It
    is the process's own, so it is passed on to whoever had it, and given back.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    ours, written = socket.socketpair()
    written.setblocking(False)
    before = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)

    def listen() -> None:
        while signals := ours.recv(64):
            if signal.SIGINT in signals:
                con.interrupt()
            if before != -1:
                with contextlib.suppress(OSError):
                    os.write(before, signals)

    listener = threading.Thread(target=listen, name="fastals-interrupt", daemon=True)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        written.close()
        listener.join()
        ours.close()


def _reason(message: str) -> str:
    """What a message of DuckDB says, without its options and hints."""
    if "GZIP" in message:
        return f"the gzip file is damaged ({brief(message.splitlines()[0])})"
    return brief(message.split("\n\n")[0].replace("\n", " "))


@contextlib.contextmanager
def errors_name(path: Path) -> Iterator[None]:
    """Let every ValueError name the file."""
    try:
        yield
    except ValueError as error:
        if str(error).startswith(str(path)):
            raise
        found = re.match(r"(line|row) \d+", str(error))
        raise ValueError(f"{path}, {error}" if found else f"{path}: {error}") from None


def without_wildcards(path: Path, folder: Path) -> Path:
    """The same file under a name that DuckDB does not take for a pattern."""
    if not re.search(r"[*?\[\]{}]", str(path)):
        return path
    link = folder / f"file{''.join(one for one in path.suffix if one.isalnum() or one == '.')}"
    try:
        link.symlink_to(path.resolve())
    except OSError:  # Windows may not allow links
        shutil.copyfile(path, link)
    return link


def transcoded(path: Path, compression: str, encoding: str, folder: Path) -> Path:
    """A copy of a text file in UTF-8."""
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise ValueError(f"encoding {encoding!r} is not known to Python") from None
    copy = folder / "utf-8.txt"
    with (
        opened(path, compression) as file,
        io.TextIOWrapper(file, encoding, newline="") as text,
        open(copy, "w", encoding="utf-8", newline="") as out,
    ):
        try:
            shutil.copyfileobj(text, out)
        except UnicodeError as error:
            raise ValueError(f"this is not {encoding} text ({brief(error)})") from None
    return copy


def opened(path: Path, compression: str) -> IO[bytes]:
    """The bytes of a file, unpacked by Python."""
    if compression == "zstd":
        raise ValueError("zstd files must be UTF-8 text")
    return gzip.open(path, "rb") if compression == "gzip" else open(path, "rb")  # type: ignore[return-value]


def json_compression(compression: str) -> str:
    """What ``read_json`` calls a compression: DuckDB 1.3 does not know "none" there."""
    return "uncompressed" if compression == "none" else compression


def first_lines(con: Any, path: Path, compression: str) -> tuple[list[str], int]:
    """The first lines that are neither blank nor comments, and the number of lines before them."""
    if compression == "zstd":  # which Python does not read
        scan = csv_scan(path, compression, "\x1f", "", 1)
        return [row[0] for row in con.execute(f"select c0 from {scan} limit {SAMPLE_LINES}").fetchall() if row[0]], 0
    lines: list[str] = []
    skipped = 0
    try:
        with (
            opened(path, compression) as file,
            io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="") as text,
        ):
            while len(lines) < SAMPLE_LINES and (line := text.readline(_LONGEST_SAMPLE)):
                if line.strip() and (lines or not line.startswith(("#", "%"))):
                    lines.append(line)
                elif not lines:
                    skipped += 1
    except (EOFError, OSError, zlib.error) as error:
        if compression == "none":
            raise
        if not lines:
            raise ValueError(f"the gzip file is damaged ({brief(error)})") from None
    return lines, skipped


def check_lines(path: Path, compression: str) -> None:
    """ValueError for a line longer than DuckDB's buffer, which it drops without a word."""
    if compression == "zstd":
        return
    with opened(path, compression) as file:
        without_end = False
        while chunk := file.read(_LONGEST_LINE):
            if without_end and b"\n" not in chunk and b"\r" not in chunk and len(chunk) == _LONGEST_LINE:
                raise ValueError(f"a line is longer than {_LONGEST_LINE:,} bytes, wanted delimited text or JSON lines")
            without_end = b"\n" not in chunk and b"\r" not in chunk


def not_utf8(where: str) -> str:
    """Message for text in another encoding."""
    return f"this is not UTF-8 text ({where}); name its encoding, such as cp1252, latin-1 or utf-16"


def quoted(text: str) -> str:
    """Literal of a text in SQL."""
    return "'" + text.replace("'", "''") + "'"


def csv_scan(path: Path, compression: str, separator: str, quote: str, width: int, more: str = "") -> str:
    """Table function that reads delimited text as columns ``c0``, ``c1``, ... of text."""
    names = ", ".join(f"'c{position}': 'VARCHAR'" for position in range(width))
    return (
        f"read_csv({quoted(str(path))}, auto_detect=false, delim={quoted(separator)}, quote={quoted(quote)}, "
        f"escape={quoted(quote)}, header=false, compression='{compression}', columns={{{names}}}{more})"
    )


def line_of(path: Path, compression: str, layout: Layout, row: int) -> int | None:
    """Line on which a row of delimited text ends, found by reading the file once more; None if it cannot be."""
    if compression == "zstd":
        return None
    head = layout.skipped + (layout.names is not None)
    ends = 0
    with opened(path, compression) as file, io.TextIOWrapper(file, "utf-8-sig", errors="replace", newline="") as text:

        def counted() -> Iterator[str]:
            nonlocal ends
            for line in text:
                ends += 1
                yield line

        lines = counted()
        for _ in range(head):
            next(lines, None)
        rows = (fields for fields in split_lines(lines, layout.separator) if len(fields) == layout.width)
        next(islice(rows, row - 1, None), None)
    return ends
