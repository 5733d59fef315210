"""Notebooks as Markdown with the outputs that are stored in them; nothing is executed."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

PICTURES = {"image/png": "png", "image/jpeg": "jpg", "image/gif": "gif", "image/svg+xml": "svg"}
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def convert(path: Path) -> tuple[str, dict[str, bytes]]:
    """The page, and the pictures that it shows by their names, which lie beside it."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        source = _text(cell["source"]).strip("\n")
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code" and source:
            parts.append(_fenced(source, "python"))
            parts += [
                _output(output, f"{path.stem}-{len(parts)}-{at}", pictures) for at, output in enumerate(cell["outputs"])
            ]
    return "\n\n".join(part for part in parts if part) + "\n", pictures


def _output(output: dict[str, Any], name: str, pictures: dict[str, bytes]) -> str:
    if output["output_type"] == "stream":
        # Warnings and progress bars are of the run, not of the page.
        return _fenced(_text(output["text"]), "text") if output["name"] == "stdout" else ""
    if output["output_type"] == "error":
        return _fenced("\n".join(output["traceback"]), "text")
    data = output["data"]
    if "text/html" in data:
        # Markdown would end the block at an empty line.
        lines = [line for line in _text(data["text/html"]).splitlines() if line.strip()]
        return '<div class="output">\n' + "\n".join(lines) + "\n</div>"
    for kind, suffix in PICTURES.items():
        if kind in data:
            content = _text(data[kind])
            pictures[f"{name}.{suffix}"] = content.encode() if suffix == "svg" else base64.b64decode(content)
            return f"![Output of the cell above]({name}.{suffix})"
    if "text/markdown" in data:
        return _text(data["text/markdown"])
    return _fenced(_text(data["text/plain"]), "text") if "text/plain" in data else ""


def _fenced(text: str, language: str) -> str:
    text = COLOURS.sub("", text).rstrip("\n")
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`{3,}", text))])
    return f"{fence}{language}\n{text}\n{fence}" if text.strip() else ""


def _text(lines: str | list[str]) -> str:
    return lines if isinstance(lines, str) else "".join(lines)
