"""Tables of measured results for the benchmark pages, from the JSON files that the benchmarks write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_tables(results: Path, folder: Path) -> None:
    """Write one Markdown file into `folder` for each JSON file in `results`."""
    folder.mkdir(parents=True)
    for path in sorted(results.glob("*.json")):
        (folder / f"{path.stem}.md").write_text(table(json.loads(path.read_text(encoding="utf-8"))), encoding="utf-8")


def table(result: dict[str, Any]) -> str:
    """A result as a Markdown table, above it where and when it was measured, and how."""
    columns, rows = result["columns"], result["rows"]
    lines = ["| " + " | ".join(columns) + " |"]
    lines.append("| " + " | ".join("---" if _is_text(rows, at) else "--:" for at in range(len(columns))) + " |")
    lines += ["| " + " | ".join(_shown(cell) for cell in row) + " |" for row in rows]
    versions = ", ".join(f"{name} {version}" for name, version in result.get("versions", {}).items())
    measured = f"Measured on {result['date']}: {result['machine']}{f'; {versions}' if versions else ''}."
    return "\n".join([measured, "", "```sh", result["command"], "```", "", *lines, ""])


def _is_text(rows: list[list[Any]], at: int) -> bool:
    return all(isinstance(row[at], str) and not row[at][:1].isdigit() and row[at][:1] not in ".[><" for row in rows)


def _shown(cell: Any) -> str:
    if cell is None:
        return ""
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
