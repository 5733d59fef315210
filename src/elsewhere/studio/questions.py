"""Questions of the page: JSON objects from an untrusted client, read field by field with checks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from elsewhere.checks import check_choice, check_number, check_type, check_whole, seen, seen_text

LARGEST_QUESTION = 512 * 1024
"""Bytes of a question: enough for the pictures of an audit."""
MOST_ITEMS = 256
"""Items of a list in a question."""
MOST_NAMED = 3
"""Unknown fields that a message names."""


class Question:
    """A JSON object. Every field has to be read once: `finish` refuses unknown ones.

    Args:
        fields: the object.
        name: how errors call it.

    Raises:
        TypeError: not an object.
    """

    def __init__(self, fields: object, name: str = "question") -> None:
        if not isinstance(fields, Mapping):
            raise TypeError(f"{name} must be a JSON object, got {type(fields).__name__}")
        self.fields = {str(key): value for key, value in fields.items()}
        self.name = name
        self._left = set(self.fields)

    @classmethod
    def parse(cls, body: bytes, name: str = "question", most: int = LARGEST_QUESTION) -> Question:
        """The question in a request's body.

        Args:
            body: JSON text.
            name: how errors call it.
            most: bytes that it may have.

        Raises:
            TypeError, ValueError: no JSON object, one with a field twice, or a longer one.
        """
        if len(body) > most:
            raise ValueError(f"{name} must have at most {most:,} bytes, got {len(body):,}")
        try:
            fields = json.loads(body, object_pairs_hook=_unique, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            # Python's own words name settings of its parser.
            raise ValueError(f"{name} must be JSON text with each field once and finite numbers") from error
        return cls(fields, name)

    @property
    def key(self) -> str:
        """Text that is equal for equal questions."""
        return canonical(self.fields)

    def has(self, field: str) -> bool:
        """Whether a field is there and not null; it counts as read."""
        self._left.discard(field)
        return self.fields.get(field) is not None

    def take(self, field: str, default: Any = None) -> Any:
        """A field as it came; its default where it is missing or null."""
        self._left.discard(field)
        value = self.fields.get(field)
        return default if value is None else value

    def whole(self, field: str, least: int, most: int, default: int | None = None) -> int:
        """A whole number from `least` to `most`.

        Raises:
            TypeError, ValueError: anything else, or nothing without a default.
        """
        return check_whole(f"{self.name}.{field}", self.take(field, default), least, most)

    def number(self, field: str, least: float, most: float, default: float | None = None) -> float:
        """A finite number from `least` to `most`.

        Raises:
            TypeError, ValueError: anything else, or nothing without a default.
        """
        return check_number(f"{self.name}.{field}", self.take(field, default), least, most)

    def text(self, field: str, default: str | None = None) -> str:
        """Text.

        Raises:
            TypeError: anything else, or nothing without a default.
        """
        value = self.take(field, default)
        check_type(f"{self.name}.{field}", value, str)
        return str(value)

    def choice(self, field: str, choices: Sequence[str], default: str | None = None) -> str:
        """One of some names.

        Raises:
            TypeError, ValueError: anything else, or nothing without a default.
        """
        return check_choice(f"{self.name}.{field}", self.take(field, default), choices)

    def items(self, field: str, most: int = MOST_ITEMS, default: Sequence[Any] | None = None) -> list[Any]:
        """A list of at most `most` items.

        Raises:
            ValueError: anything else, or nothing without a default.
        """
        value = self.take(field, default)
        if not isinstance(value, list | tuple) or len(value) > most:
            raise ValueError(f"{self.name}.{field} must be a list of at most {most} items, got {seen(value)}")
        return list(value)

    def part(self, field: str) -> Question:
        """A question inside of this one.

        Raises:
            TypeError: no object.
        """
        return Question(self.take(field), f"{self.name}.{field}")

    def finish(self) -> None:
        """Refuse fields that were not read.

        Raises:
            ValueError: there are such fields.
        """
        if self._left:
            left = sorted(self._left)
            more = "" if len(left) <= MOST_NAMED else f" and {len(left) - MOST_NAMED} more"
            raise ValueError(f"{self.name} has unknown fields: {', '.join(map(seen_text, left[:MOST_NAMED]))}{more}")


def canonical(value: Any) -> str:
    """JSON text that is equal for equal values: fields sorted, null ones left out, as `keyOf` of source.js."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: plain(value[name]) for name in sorted(value) if value[name] is not None}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    return json.dumps(plain(value), separators=(",", ":"), ensure_ascii=False)


def whole_numbers(values: Sequence[Any], name: str, least: int, most: int) -> list[int]:
    """Whole numbers of a list.

    Raises:
        TypeError, ValueError: an item that is none, or is out of range.
    """
    return [check_whole(f"{name}[{i}]", value, least, most) for i, value in enumerate(values)]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field occurs twice")
    return fields


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no JSON")
