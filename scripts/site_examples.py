"""An extension of griffe, which reads the docstrings for the manual: sections named "Example" are read as examples."""

from __future__ import annotations

from typing import Any

import griffe


class Examples(griffe.Extension):
    """Griffe knows "Examples" only, and would show the lines of an "Example" as a quotation."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
