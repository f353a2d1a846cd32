"""Results that are to stand on the site: one JSON file a table, with the machine, the date and the versions."""

from __future__ import annotations

import datetime
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "published"
SYSTEM = f"{platform.system()} {platform.machine()}"
LIBRARIES = ("fastals", "implicit", "irspack", "hnswlib", "numpy", "scipy", "numba")


def publish(
    name: str, title: str, command: str, columns: list[str], rows: list[list[Any]], machine: str | None = None,
    versions: dict[str, str] | None = None,
) -> Path:  # fmt: skip
    """Write the table `name`; a cell is a text, an integer or None, and all rows are as long as the columns.

    ``machine`` is this one if it is not given; ``versions`` are those of libraries in other environments.
    """
    if any(len(row) != len(columns) for row in rows):
        raise ValueError(f"every row must have {len(columns)} cells, one a column")
    table = {
        "title": title,
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine or f"{os.cpu_count()} cores, {processor()}, {SYSTEM}",
        "versions": {library: version(library) for library in LIBRARIES if _installed(library)} | (versions or {}),
        "columns": columns,
    }
    text = json.dumps(table, indent=2, ensure_ascii=False).removesuffix("\n}")
    lines = ",\n    ".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path = FOLDER / f"{name}.json"
    path.write_text(f'{text},\n  "rows": [\n    {lines}\n  ]\n}}\n', encoding="utf-8")
    return path


def processor() -> str:
    """The processor's name where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return platform.processor() or platform.machine()


def _installed(library: str) -> bool:
    try:
        version(library)
    except PackageNotFoundError:
        return False
    return True
