"""Optional libraries, asked for by name only where they are used."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType


def require(module: str, *, extra: str, purpose: str, names: Sequence[str] = ()) -> ModuleType:
    """Import an optional library.

    Args:
        module: the library.
        extra: the extra of this package that brings it.
        purpose: what needs it, for the message.
        names: what will be used of it; libraries such as diffusers import the parts of them at their first use.

    Raises:
        ImportError: it is missing, and the message names the extra that brings it; or it is there and fails to import,
            for example because another library does not fit.
    """
    try:
        found = importlib.import_module(module)
        for name in names:
            getattr(found, name)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] != module.split(".")[0]:
            raise ImportError(_fails(module, purpose, error)) from error
        raise ImportError(
            f"{purpose} needs the library {module}, which is not installed: pip install 'elsewhere[{extra}]'"
        ) from error
    # A library that is broken fails in any way: a torchvision made for another torch with a RuntimeError.
    except Exception as error:
        raise ImportError(_fails(module, purpose, error)) from error
    return found


def _fails(module: str, purpose: str, error: Exception) -> str:
    text = " ".join(str(error).split())
    if "torchvision" in text:
        remedy = (
            "the installed torchvision does not fit the installed torch: pip uninstall torchvision, or install both "
        )
        remedy += "from the same index"
    else:
        remedy = f"pip install --upgrade {module}"
    return f"{purpose} needs the library {module}, which is installed but cannot be imported ({text[-200:]}): {remedy}"
