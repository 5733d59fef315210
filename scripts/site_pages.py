"""A hook of MkDocs: pages that are made of files outside docs/, and links from pages to files outside docs/.

CONTRIBUTING, CHANGELOG and the notebooks become pages. A link to any other file of the repository leads to a copy of
that file in the site, so it works without the address of a repository.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))  # MkDocs loads hooks by their path.
from site_notebooks import convert

LINK = re.compile(r"(?<=\]\()(?P<path>[^)\s#:]+)(?=(#[^)\s]*)?\))")
COPIES = {
    "assets/icon.svg": "src/elsewhere/page/icon.svg",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
"""Path in the site's sources, and the file of the repository that it is."""
STANDS_FOR = {"README.md": "index.md"}
"""Files that are no page of the site, and the page that says the same."""


def _root(config: MkDocsConfig) -> Path:
    return Path(config.config_file_path).parent


def _notebooks(config: MkDocsConfig) -> list[Path]:
    """In the order of their names."""
    return sorted((_root(config) / "notebooks").glob("*.ipynb"))


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """A section of notebooks after the how-to guides, where there are any."""
    pages = [f"notebooks/{path.stem}.md" for path in _notebooks(config)]
    if pages and config.nav:
        titles = [next(iter(entry)) for entry in config.nav]
        after = titles.index("How-to guides") + 1 if "How-to guides" in titles else len(titles)
        config.nav.insert(after, {"Notebooks": pages})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for uri, origin in COPIES.items():
        files.append(File.generated(config, uri, abs_src_path=str(_root(config) / origin)))
    for path in _notebooks(config):
        page, pictures = convert(path)
        page += f"\n[Download this notebook](../files/notebooks/{path.name})\n"
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page))
        files.append(File.generated(config, f"files/notebooks/{path.name}", abs_src_path=str(path)))
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to files of the repository become links to pages or files of the site."""
    here = page.file.src_uri
    folder = "notebooks" if here.startswith("notebooks/") else posixpath.dirname(COPIES.get(here, f"docs/{here}"))

    def inside(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link["path"]))
        uri = _uri(target, config, files)
        return posixpath.relpath(uri, posixpath.dirname(here) or ".") if uri else link["path"]

    return LINK.sub(inside, markdown)


def _uri(target: str, config: MkDocsConfig, files: Files) -> str | None:
    """Where the site has a file of the repository; None if there is no such file."""
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    if target.startswith("notebooks/") and target.endswith(".ipynb"):
        return target.removesuffix(".ipynb") + ".md"
    if target in STANDS_FOR:
        return STANDS_FOR[target]
    for uri, origin in COPIES.items():
        if origin == target:
            return uri
    if not (_root(config) / target).is_file():
        return None
    # As text, which browsers show instead of saving or running it.
    uri = f"files/{target}.txt"
    if files.get_file_from_path(uri) is None:
        files.append(File.generated(config, uri, abs_src_path=str(_root(config) / target)))
    return uri
