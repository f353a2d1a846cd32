"""Formulas as MathML, which browsers draw themselves, without script or network."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert

# Bars around a norm are fences: no space beside them, as between operators.
_BAR = re.compile('<mo( stretchy="false")?>&#x0007C;</mo>')


def mathml(formula: str, display: str) -> str:
    """A formula of LaTeX as MathML."""
    return _BAR.sub(
        '<mo stretchy="false" lspace="0" rspace="0">&#x0007C;</mo>',
        convert(formula, display=display),
    )


def _inline(self: Any, node: nodes.math) -> None:
    self.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def _display(self: Any, node: nodes.math_block) -> None:
    self.body.append(self.starttag(node, "div", CLASS="math display"))
    self.body.append(mathml(node.astext(), "block") + "</div>\n")
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Register the renderer "mathml" with Sphinx."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
