"""Captions beside a folder of images: metadata.jsonl or captions.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from elsewhere.data.request import Request
from elsewhere.files import json_object

LINES, OBJECT = "metadata.jsonl", "captions.json"
UNUSED = "captions of files that are not there"


def caption_file(folder: Path) -> Path | None:
    """The file with the captions of a folder's images: metadata.jsonl, else captions.json, else None."""
    return next((folder / name for name in (LINES, OBJECT) if (folder / name).is_file()), None)


def read_captions(path: Path, names: Sequence[str], request: Request) -> tuple[str, ...] | None:
    """The caption of each image, "" where the file has none for it; None where the file has no captions.

    `metadata.jsonl` is that of Hugging Face's image folders: one JSON object a line, with "file_name" and "text".
    `captions.json` is one JSON object, from the name of a file to its caption.

    Args:
        path: the file.
        names: the images, by their paths relative to the folder of the file, with "/".
        request: in its `left_out` the captions of other files are counted.

    Raises:
        ValueError: damaged; the message names the line.
        TypeError: a caption that is no string; the message names the line or the entry.
    """
    found = _of_lines(path) if path.name == LINES else _of_object(path)
    if not found:
        return None
    request.left_out[UNUSED] += len(found.keys() - set(names))
    return tuple(found.get(name, "") for name in names)


def _of_lines(path: Path) -> dict[str, str]:
    found = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json_object(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number} is no JSON object ({error}): repair or remove it") from error
        # Hugging Face's files can have other columns than text, such as boxes.
        if "text" not in row:
            continue
        name, words = row.get("file_name"), row["text"]
        if not isinstance(name, str) or not isinstance(words, str):
            raise TypeError(
                f"{path}, line {number} must have two strings, file_name and text, got {json.dumps(row)[:80]}"
            )
        found[name] = words
    return found


def _of_object(path: Path) -> dict[str, str]:
    try:
        found = json_object(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON object ({error}): repair or remove it") from error
    for name, words in found.items():
        if not isinstance(words, str):
            raise TypeError(f"{path} must give each file a string, got {json.dumps(words)[:80]} for {name!r}")
    return found
