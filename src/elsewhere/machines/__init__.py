"""The closed formulas: one idea a file, each a setting of one softmax average; `table` lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsewhere.machines.table import MACHINES

if TYPE_CHECKING:
    from elsewhere.machines.equivariant_local import EquivariantLocalScore as EquivariantLocalScore
    from elsewhere.machines.ideal import IdealScore as IdealScore
    from elsewhere.machines.local import LocalScore as LocalScore
    from elsewhere.machines.locality import LocalitySchedule as LocalitySchedule
    from elsewhere.machines.mixing import Mix as Mix
    from elsewhere.machines.mixing import MixSchedule as MixSchedule
    from elsewhere.machines.mixing import mix as mix

_HOMES = {entry.class_name: entry for entry in MACHINES}
_OTHERS = {"LocalitySchedule": "locality", "Mix": "mixing", "MixSchedule": "mixing", "mix": "mixing"}
"""What is no machine of the table, and its module."""

__all__ = sorted([*_HOMES, *_OTHERS])

if not TYPE_CHECKING:
    # Imported when first used: the table of names is read without torch, which takes seconds to import.
    def __getattr__(name: str) -> object:
        if name in _HOMES:
            return _HOMES[name].load()
        if name in _OTHERS:
            from importlib import import_module

            return getattr(import_module(f"elsewhere.machines.{_OTHERS[name]}"), name)
        raise AttributeError(f"module 'elsewhere.machines' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
