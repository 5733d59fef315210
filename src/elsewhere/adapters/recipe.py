"""The settings of a machine as plain values for JSON, and the machine made again from them and its images."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from elsewhere.checks import check_type, checked, seen, seen_text
from elsewhere.data import ImageSet
from elsewhere.machines.locality import LocalitySchedule
from elsewhere.machines.machine import Machine
from elsewhere.machines.patch import PatchSchedule, PatchScore, PatchSettings
from elsewhere.machines.table import MACHINES, TABLE
from elsewhere.phrases import listed

PATCH = "patch"
"""The name of PatchScore, which is no machine of the table."""

OF_THE_PLACE = ("data", "cache", "memory", "device")
"""Arguments that belong to the computer, and the images, which are found by name."""

STORED = {"average": "averaged"}
"""Arguments that a machine keeps under another name."""

MISSING = object()


@checked
def recipe_of(machine: Machine) -> dict[str, Any]:
    """The name and the settings of a machine, as JSON can hold them: those that are not the defaults.

    Args:
        machine: of a class in `machines.table`, or a PatchScore.

    Raises:
        TypeError: not a machine.
        ValueError: a machine of another class, or with settings that are no plain values (weights of images, masks).

    Example:
        >>> import elsewhere as els
        >>> recipe_of(els.EquivariantLocalScore(els.load_images("fashion-mini", limit=20), window=5))
        {'machine': 'els', 'settings': {'window': 5}}
    """
    names = {entry.load(): entry.name for entry in MACHINES} | {PatchScore: PATCH}
    if type(machine) not in names:
        raise ValueError(
            f"{type(machine).__name__} cannot be saved: expected one of "
            f"{listed(sorted(kind.__name__ for kind in names))}; make it anew where it is used"
        )
    if getattr(machine.workspace, "weights", None) is not None:
        raise ValueError("a machine whose training images have weights cannot be saved: make it anew where it is used")
    settings = {}
    for name, default in _parameters(type(machine)).items():
        value = getattr(machine, STORED.get(name, name), MISSING)
        if name in OF_THE_PLACE or name == "weights" or value is MISSING or value == default:
            continue
        settings[name] = _plain(name, value)
    # A schedule of windows says itself whether they are tapered.
    if isinstance(settings.get("window"), dict) or not settings.get("taper", True):
        settings.pop("taper", None)
    if settings.get("masks", MISSING) is None:
        settings.pop("masks")
    return {"machine": names[type(machine)], "settings": settings}


@checked
def machine_from(recipe: Mapping[str, Any], data: ImageSet) -> Machine:
    """The machine of a recipe, with these training images.

    Args:
        recipe: what `recipe_of` returned.
        data: the images.

    Raises:
        TypeError: arguments of another kind.
        ValueError: not a recipe of this version.

    Example:
        >>> import elsewhere as els
        >>> machine_from({"machine": "is", "settings": {}}, els.load_images("fashion-mini", limit=20))
        IdealScore('fashion-mini', 20 images)
    """
    try:
        name, settings = recipe["machine"], dict(recipe["settings"])
        if name != PATCH and name not in TABLE:
            raise ValueError(f"the machine {seen_text(name)} is not known: expected {listed([*TABLE, PATCH])}")
        if isinstance(settings.get("window"), dict):
            window = settings["window"]
            settings["window"] = LocalitySchedule(
                tuple(window["sigmas"]), tuple(window["windows"]), taper=window["taper"]
            )
        if name == PATCH:
            return PatchScore(data, **{**settings, "settings": _patches(settings["settings"])})
        unknown = [key for key in settings if key not in _parameters(TABLE[name].load()) or key in OF_THE_PLACE]
        if unknown:
            raise ValueError(f"the setting {seen_text(unknown[0])} is not known")
        return TABLE[name].load()(data, **settings)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{seen_text(dict(recipe))} is no recipe of a machine: {error}") from error


def _parameters(kind: type) -> dict[str, Any]:
    """Name -> default of the arguments of a class, and of its bases where it passes further ones on to them."""
    found: dict[str, Any] = {}
    for base in kind.__mro__:
        if base is object or "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        for one in parameters:
            if one.name != "self" and one.kind is not one.VAR_KEYWORD:
                found.setdefault(one.name, one.default)
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            break
    return found


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, LocalitySchedule):
        return {"sigmas": list(value.sigmas), "windows": list(value.windows), "taper": value.taper}
    if isinstance(value, PatchSettings):
        return asdict(value)
    if isinstance(value, PatchSchedule):
        levels = zip(value.sigmas, value.settings, strict=True)
        return {"levels": [{"sigma": sigma, **asdict(one)} for sigma, one in levels]}
    if name == "masks" and not value:
        return None
    if value is not None and type(value) not in (bool, int, float, str):
        raise ValueError(f"a machine with {name}={seen(value)} cannot be saved: make it anew where it is used")
    return value


def _patches(content: Any) -> PatchSettings | PatchSchedule:
    check_type("settings", content, Mapping[str, Any])
    if "levels" not in content:
        return PatchSettings(**content)
    levels = [dict(level) for level in content["levels"]]
    sigmas = tuple(level.pop("sigma") for level in levels)
    return PatchSchedule(sigmas, tuple(PatchSettings(**level) for level in levels))
