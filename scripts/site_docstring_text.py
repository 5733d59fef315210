"""An extension of griffe, which reads the docstrings for the manual: examples, and links between docstrings."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import griffe

NAME = re.compile(r"(?<!\[)`([A-Z]\w+)`(?!\])")
"""A class. Names of functions are left alone: they may as well be those of arguments."""


class Text(griffe.Extension):
    """Sections named "Example" are read as examples, and `Name` becomes a link if the reference has that class.

    Griffe knows "Examples" only, and would show the lines of an "Example" as a quotation.
    """

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            text = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
            obj.docstring.value = NAME.sub(lambda found: _linked(found[1], obj.name), text)


def _linked(name: str, within: str) -> str:
    path = None if name == within else _in_reference().get(name)
    return f"[`{name}`][{path}]" if path else f"`{name}`"


@cache
def _in_reference() -> dict[str, str]:
    """Name -> path of all that the reference lists."""
    pages = (Path(__file__).resolve().parents[1] / "docs/reference").glob("*.md")
    paths = re.findall(r"^::: (\S+)", "\n".join(page.read_text(encoding="utf-8") for page in pages), re.MULTILINE)
    return {path.rsplit(".", 1)[1]: path for path in paths}
