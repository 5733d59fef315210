"""The closed formulas, one idea a file; all but the linear ones are one softmax average. `table` lists them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from elsewhere.machines.table import MACHINES

if TYPE_CHECKING:
    from elsewhere.machines.composite import PatchComposite as PatchComposite
    from elsewhere.machines.equivariant import EquivariantScore as EquivariantScore
    from elsewhere.machines.equivariant_local import EquivariantLocalScore as EquivariantLocalScore
    from elsewhere.machines.family import FamilyCalibration as FamilyCalibration
    from elsewhere.machines.golden import GoldenSubset as GoldenSubset
    from elsewhere.machines.ideal import IdealScore as IdealScore
    from elsewhere.machines.local import LocalScore as LocalScore
    from elsewhere.machines.locality import LocalitySchedule as LocalitySchedule
    from elsewhere.machines.mixing import Mix as Mix
    from elsewhere.machines.mixing import MixSchedule as MixSchedule
    from elsewhere.machines.mixing import mix as mix
    from elsewhere.machines.nearest import Nearest as Nearest
    from elsewhere.machines.patch import PatchSchedule as PatchSchedule
    from elsewhere.machines.patch import PatchScore as PatchScore
    from elsewhere.machines.patch import PatchSettings as PatchSettings
    from elsewhere.machines.pca_locality import PCALocality as PCALocality
    from elsewhere.machines.smoothed import SmoothedIdeal as SmoothedIdeal
    from elsewhere.machines.wiener import Wiener as Wiener

    ESM = EquivariantScore
    """Short for `EquivariantScore`."""

_HOMES = {entry.class_name: entry for entry in MACHINES}
# What is not a machine of the table, and its module.
_OTHERS = {
    "FamilyCalibration": "family",
    "LocalitySchedule": "locality",
    "Mix": "mixing",
    "MixSchedule": "mixing",
    "PatchSchedule": "patch",
    "PatchScore": "patch",
    "PatchSettings": "patch",
    "mix": "mixing",
}

_ALIASES = {"ESM": "EquivariantScore"}

__all__ = sorted([*_HOMES, *_ALIASES, *_OTHERS])

if not TYPE_CHECKING:
    # Imported when first used: the table of names is read without torch, which takes seconds to import.
    def __getattr__(name: str) -> object:
        name = _ALIASES.get(name, name)
        if name in _HOMES:
            return _HOMES[name].load()
        if name in _OTHERS:
            return getattr(import_module(f"elsewhere.machines.{_OTHERS[name]}"), name)
        raise AttributeError(f"module 'elsewhere.machines' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
