"""Optional libraries, asked for by name only where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional library.

    Raises:
        ImportError: it is missing; the message names the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs the library {module}, which is not installed: pip install 'elsewhere[{extra}]'"
        ) from error
