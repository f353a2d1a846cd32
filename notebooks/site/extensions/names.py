"""Names of the public interface become links wherever they stand as code in a text."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from extensions.short_names import by_short_name

_NAME = re.compile(r"([A-Za-z_][\w.]*)(\(.*\))?", re.DOTALL)
_PLAIN = (nodes.reference, nodes.title, nodes.term)  # what holds links of its own


def _link(app: Any, doctree: Any, page: str) -> None:
    objects = app.env.get_domain("py").objects
    names = by_short_name(name for name, one in objects.items() if not one.aliased)
    for literal in list(doctree.findall(nodes.literal)):
        match = _NAME.fullmatch(literal.astext())
        full = names.get(match[1]) if match else None
        parent = literal.parent
        while parent is not None and not isinstance(parent, _PLAIN):
            parent = parent.parent
        if full is None or parent is not None or objects[full].docname == page:
            continue
        target = app.builder.get_relative_uri(page, objects[full].docname)
        address = f"{target}#{objects[full].node_id}"
        link = nodes.reference("", "", internal=True, refuri=address)
        literal.replace_self(link)
        link += literal


def setup(app: Any) -> dict[str, bool]:
    """Connect after all names are known."""
    app.connect("doctree-resolved", _link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
