"""Values in the words of a message."""

from __future__ import annotations

from reprlib import Repr

REMEDIES: dict[str, tuple[type, str]] = {
    "label": (str, ": the number of a class is data.classes.index(name)"),
    "network": (str, ": load_network reads a network by its name or path"),
    "shape": (object, ": give channels, height and width, such as data.shape"),
}
"""What messages add for some arguments where a value of this type was given."""

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


def remedy_for(name: str, value: object) -> str:
    """What to do about a value of the wrong kind, as the end of a message; often nothing."""
    kind, remedy = REMEDIES.get(name, (object, ""))
    return remedy if isinstance(value, kind) else ""


def seen(value: object) -> str:
    """A value with its type, short enough for a message."""
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}, not an instance of it"
    return f"{type(value).__name__} {seen_text(value)}"


def seen_text(value: object) -> str:
    """A value, short enough for a message."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None and len(shape):
        return f"{dtype} of shape {tuple(shape)}"
    try:
        text = " ".join(_SHORT.repr(value).split())
    except Exception:  # an integer of more digits than Python prints, or a faulty __repr__
        return "(too long to show)"
    return text if len(text) <= 80 else text[:77] + "..."
