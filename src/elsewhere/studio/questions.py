"""Questions of the page: JSON objects from an untrusted client, read field by field with checks."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

LARGEST_QUESTION = 512 * 1024
"""Bytes of a question: enough for the pictures of an audit."""
MOST_ITEMS = 256
"""Items of a list in a question."""


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
    def parse(cls, body: bytes) -> Question:
        """The question in a request's body.

        Raises:
            TypeError, ValueError: no JSON object, or a longer one than LARGEST_QUESTION.
        """
        if len(body) > LARGEST_QUESTION:
            raise ValueError(f"question must have at most {LARGEST_QUESTION:,} bytes, got {len(body):,}")
        try:
            return cls(json.loads(body))
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise ValueError("question must be JSON text") from error

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
            ValueError: anything else, or nothing without a default.
        """
        value = self.take(field, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"{self.name}.{field} must be a whole number from {least} to {most}, got {_seen(value)}")
        return value

    def number(self, field: str, least: float, most: float, default: float | None = None) -> float:
        """A finite number from `least` to `most`.

        Raises:
            ValueError: anything else, or nothing without a default.
        """
        value = self.take(field, default)
        right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not right or not least <= value <= most:
            raise ValueError(f"{self.name}.{field} must be a number from {least:g} to {most:g}, got {_seen(value)}")
        return float(value)

    def choice(self, field: str, choices: Sequence[str], default: str | None = None) -> str:
        """One of some names.

        Raises:
            ValueError: anything else, or nothing without a default.
        """
        value = self.take(field, default)
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"{self.name}.{field} must be one of {', '.join(choices)}, got {_seen(value)}")
        return value

    def items(self, field: str, most: int = MOST_ITEMS, default: Sequence[Any] | None = None) -> list[Any]:
        """A list of at most `most` items.

        Raises:
            ValueError: anything else, or nothing without a default.
        """
        value = self.take(field, default)
        if not isinstance(value, list | tuple) or len(value) > most:
            raise ValueError(f"{self.name}.{field} must be a list of at most {most} items, got {_seen(value)}")
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
            raise ValueError(f"{self.name} has unknown fields: {', '.join(_seen(one) for one in sorted(self._left))}")


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
        ValueError: an item that is none, or is out of range.
    """
    inner = Question({str(i): value for i, value in enumerate(values)}, name)
    return [inner.whole(str(i), least, most) for i in range(len(values))]


def _seen(value: object) -> str:
    text = json.dumps(value) if value is not None else "nothing"
    return text if len(text) <= 60 else f"{text[:57]}..."
