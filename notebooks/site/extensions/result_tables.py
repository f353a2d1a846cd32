"""Tables of the benchmark pages, from the JSON files that the benchmarks write."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

# A number, perhaps a bound or in brackets, with its error or a word behind it.
_FIGURE = re.compile(
    r"[-+<>~ \[]*\.?\d[\d.,e-]*\]?( ?(±|\+-) ?[\d.]+)?( ?[^\W\d]+| %)?|"
)


def write_tables(results: Path, folder: Path) -> None:
    """Write one Markdown file into `folder` for each JSON file in `results`."""
    folder.mkdir(parents=True)
    for path in sorted(results.glob("*.json")):
        (folder / f"{path.stem}.md").write_text(
            table(json.loads(path.read_text(encoding="utf-8"))), encoding="utf-8"
        )


def table(result: dict[str, Any]) -> str:
    """A result as a Markdown table, above it where, when and how it was measured."""
    columns, rows = result["columns"], result["rows"]
    sides = ["--:" if _is_figures(rows, at) else "---" for at in range(len(columns))]
    shown = [columns, sides, *([_shown(cell) for cell in row] for row in rows)]
    lines = ["| " + " | ".join(cells) + " |" for cells in shown]
    libraries = result.get("versions", {}).items()
    versions = ", ".join(f"{name} {version}" for name, version in libraries)
    machine = "; ".join(filter(None, [result["machine"], versions]))
    measured = f"Measured on {result['date']}: {machine}."
    return "\n".join([measured, "", "```sh", result["command"], "```", "", *lines, ""])


def _is_figures(rows: list[list[Any]], at: int) -> bool:
    """Whether a column has figures alone, which stand under one another."""
    return all(
        not isinstance(row[at], str) or _FIGURE.fullmatch(row[at]) for row in rows
    )


def _shown(cell: Any) -> str:
    if cell is None or cell == "":
        return "–"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
