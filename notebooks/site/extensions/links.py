"""Links inside the built site that lead nowhere: no such file, or no such anchor."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit


class _Page(HTMLParser):
    """The anchors of a page and where its links, pictures and scripts point."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.targets.append(value)


def broken_links(root: Path) -> list[str]:
    """One line a link below `root` to a file or an anchor that does not exist."""
    places = [
        path
        for path in sorted(root.rglob("*.html"))
        if "_static" not in path.relative_to(root).parts
    ]
    pages = {path.resolve(): _Page(path) for path in places}
    found = []
    for path, page in pages.items():
        for target in page.targets:
            address, anchor = urldefrag(target)
            if urlsplit(address).scheme or address.startswith("//"):
                continue
            file = (
                (path.parent / unquote(urlsplit(address).path)).resolve()
                if address
                else path
            )
            there = file.is_file() and (
                not anchor
                or file not in pages
                or unquote(anchor) in pages[file].anchors
            )
            if not there:
                found.append(f"{path.relative_to(root.resolve())}: {target}")
    return found
