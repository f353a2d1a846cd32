"""Docstrings are written for the terminal; the site needs some of it put otherwise.

An indented paragraph before the first section is a formula; a bar is an absolute value
and no substitution; Recall@20 is no address; the initial of an author is no number of a
list. Headings in the docstrings of modules do not divide a page, and their references
are a list.
"""

from __future__ import annotations

import re
from typing import Any

_LITERAL = re.compile("(``.*?``)")
_UNDERLINE = re.compile("-{3,}$")
_REFERENCE = re.compile(r"\.\. (\[\d+\]) (.*)")


def prepared(lines: list[str], is_module: bool) -> list[str]:
    """Lines of a docstring as reStructuredText."""
    out: list[str] = []
    formula, in_section = False, False
    for at, line in enumerate(lines):
        starts = (
            line.startswith("    ")
            and at > 0
            and not lines[at - 1].strip()
            and not in_section
        )
        if starts and not formula:
            out += [".. code-block:: text", ""]
        formula = starts or (formula and (line.startswith("    ") or not line.strip()))
        if _UNDERLINE.fullmatch(line):
            in_section = not is_module
            if is_module:
                out[-1] = f".. rubric:: {out[-1]}"
                line = ""
        reference = _REFERENCE.fullmatch(line)
        if reference:
            number, text = reference.groups()
            line = f"{number[1:-1]}. \\{text}" if is_module else f".. {number} \\{text}"
        elif is_module:
            line = re.sub(r"(\[\d+\])_", r"\1", line)
        is_code = formula or line.lstrip().startswith((">>>", "..."))
        out.append(line if is_code else _plain(line))
    return out


def _plain(line: str) -> str:
    """A line in which bars and at signs stand for themselves."""
    parts = _LITERAL.split(line)
    return "".join(
        part if part.startswith("``") else re.sub("([|@])", r"\\\1", part)
        for part in parts
    )


def _process(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    lines[:] = prepared(lines, what == "module")


def _skip(
    app: Any, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out the fields of named tuples, which the class describes itself."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app: Any) -> dict[str, bool]:
    """Connect before numpydoc does."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
