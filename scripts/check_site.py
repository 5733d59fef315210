"""Check a built site: links lead to files and anchors that are there, and no page loads anything from another server.

    python scripts/check_site.py build/site

MkDocs checks links in Markdown; this also checks those in HTML, in the theme, and in what hooks made.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {
    "img": "src",
    "script": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "link": "href",
}
"""Tags whose attribute a browser loads without a click."""
NOT_LOADED = ("canonical", "prev", "next", "alternate")
"""Relations of <link> that say something about a page; nothing is loaded for them."""
LINKS = {"a": "href", **LOADS}
IN_STYLES = re.compile(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""")


class Parser(HTMLParser):
    """The anchors of a page, and its links with their tags."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[tuple[str, str]] = []
        self.style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        self.style = tag == "style"
        if tag == "link" and given.get("rel") in NOT_LOADED:
            return
        if given.get(LINKS.get(tag, "")):
            self.links.append((tag, given[LINKS[tag]]))
        self.links += [(tag, part.split()[0]) for part in given.get("srcset", "").split(",") if part.strip()]
        self.links += [("style", found) for found in in_style(given.get("style", ""))]

    def handle_data(self, data: str) -> None:
        if self.style:
            self.links += [("style", found) for found in in_style(data)]


def in_style(text: str) -> list[str]:
    return [first or second for first, second in IN_STYLES.findall(text)]


def faults(site: Path) -> Iterator[str]:
    """One sentence for each link that leads nowhere or would load something from another server."""
    site = site.resolve()
    pages = {path: parse(path) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        for tag, link in page.links:
            yield from (f"{path.relative_to(site)}: {fault}" for fault in fault_of(tag, link, path, site, pages))
    for path in sorted(site.rglob("*.css")):
        for link in in_style(path.read_text(encoding="utf-8")):
            yield from (f"{path.relative_to(site)}: {fault}" for fault in fault_of("style", link, path, site, pages))


def parse(path: Path) -> Parser:
    parser = Parser()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser


def fault_of(tag: str, link: str, path: Path, site: Path, pages: dict[Path, Parser]) -> Iterator[str]:
    parts = urlsplit(link)
    if parts.scheme in ("data", "mailto", "javascript"):
        return
    if parts.scheme or parts.netloc:
        if tag != "a":
            yield f"<{tag}> loads {link} from another server: keep a copy in the site"
        return
    if path.name == "404.html" and parts.path.startswith("/"):
        # This page is shown at any depth, so its links begin with the folder of the site on its server.
        return
    target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
    target = target / "index.html" if target.is_dir() else target
    # Anchors of the theme begin with two underscores: the top of the page, and what its scripts add.
    anchor = "" if parts.fragment.startswith("__") else unquote(parts.fragment)
    if not target.is_file():
        yield f"<{tag}> leads to {link}, which is not there"
    elif tag == "a" and target in pages and anchor and anchor not in pages[target].anchors:
        yield f"<{tag}> leads to {link}, but there is no such anchor"


if __name__ == "__main__":
    found = sorted(set(faults(Path(sys.argv[1]))))
    print("\n".join(found), file=sys.stderr)
    sys.exit(f"{len(found)} links are wrong" if found else 0)
