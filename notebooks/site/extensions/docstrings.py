"""Docstrings are written for the terminal; what reStructuredText would take otherwise is put right for the site.

An indented paragraph before the first section is a formula, a bar is an absolute value and no substitution, and
headings in the docstrings of modules do not divide a page.
"""

from __future__ import annotations

import re
from typing import Any

_LITERAL = re.compile("(``.*?``)")
_UNDERLINE = re.compile("-{3,}$")


def prepared(lines: list[str], is_module: bool) -> list[str]:
    """Lines of a docstring as reStructuredText."""
    out: list[str] = []
    formula, in_section = False, False
    for at, line in enumerate(lines):
        starts = line.startswith("    ") and at > 0 and not lines[at - 1].strip() and not in_section
        if starts and not formula:
            out += ["::", ""]
        formula = starts or (formula and (line.startswith("    ") or not line.strip()))
        if _UNDERLINE.fullmatch(line):
            in_section = not is_module
            if is_module:
                out[-1] = f".. rubric:: {out[-1]}"
                line = ""
        out.append(line if formula or line.lstrip().startswith((">>>", "...")) else _without_substitutions(line))
    return out


def _without_substitutions(line: str) -> str:
    parts = _LITERAL.split(line)
    return "".join(part if part.startswith("``") else part.replace("|", r"\|") for part in parts)


def _process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = prepared(lines, what == "module")


def setup(app: Any) -> dict[str, bool]:
    """Connect before numpydoc does."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
