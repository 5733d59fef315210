"""The best machine of the family for a network: a patch machine and a Wiener share for each noise level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from elsewhere.checks import check_levels, check_number, check_path, check_type, checked
from elsewhere.files import check_format, details, entry, json_object, json_text, write_text
from elsewhere.machines.levels import check_decreasing
from elsewhere.machines.machine import Data
from elsewhere.machines.mixing import Mix, MixSchedule
from elsewhere.machines.patch import FORMAT as PATCHES
from elsewhere.machines.patch import PatchSchedule, PatchScore, PatchSettings, read_levels
from elsewhere.machines.table import ENGINE_SETTINGS
from elsewhere.machines.wiener import Wiener

FORMAT = "elsewhere.family/1"
WRITTEN = "`elsewhere calibrate --machine best` and FamilyCalibration.save write one"
PATCH, WIENER = "patch", "wiener"


@dataclass(frozen=True)
class FamilyCalibration:
    """Settings of a patch machine, and the share of a Wiener machine mixed with it, for each noise level.

    D = (1 - w) D_patch + w D_Wiener. The settings of the nearest level in log sigma are used.

    Attributes:
        sigmas: noise levels, strictly decreasing, within `schedules.SIGMAS`.
        settings: one `PatchSettings` a level.
        wiener: w, 0 to 1, one a level.
        shrinkage: of the Wiener machine, 0 to 1: see `Wiener`.
        details: how it was found, kept in the file.

    Raises:
        TypeError, ValueError: lengths differ, sigmas not decreasing or out of range, shares out of range.

    Example:
        >>> import elsewhere as els
        >>> one = els.PatchSettings(window=7, taper=True, keys="same place")
        >>> found = els.FamilyCalibration((10.0, 0.1), (one, one), (0.0, 0.2))
        >>> data = els.load_images("fashion-mini", limit=20)
        >>> found.machine(data).shares_at(0.1)
        {'patch': 0.8, 'wiener': 0.2}
    """

    sigmas: tuple[float, ...]
    settings: tuple[PatchSettings, ...]
    wiener: tuple[float, ...]
    shrinkage: float = 0.0
    details: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_type("details", self.details, dict)
        check_type("settings", self.settings, Sequence[PatchSettings])
        shares = check_levels("wiener", self.wiener)
        for share in shares:
            check_number("wiener", share, 0, 1)
        object.__setattr__(self, "settings", tuple(self.settings))
        object.__setattr__(self, "sigmas", check_decreasing(self.sigmas, len(self.settings), "settings"))
        check_decreasing(self.sigmas, len(shares), "shares in wiener")
        object.__setattr__(self, "wiener", shares)
        object.__setattr__(self, "shrinkage", check_number("shrinkage", self.shrinkage, 0, 1))

    @property
    def schedule(self) -> PatchSchedule:
        """The settings of the patch machine alone."""
        return PatchSchedule(self.sigmas, self.settings)

    @property
    def shares(self) -> MixSchedule:
        """The shares of both machines, "patch" and "wiener"."""
        return MixSchedule(self.sigmas, tuple({PATCH: 1 - share, WIENER: share} for share in self.wiener))

    def machine(self, data: Data, **engine: Any) -> Mix:
        """The machine, of training images: a mix of a `PatchScore` and a `Wiener`.

        Args:
            data: an ImageSet, or floats (N, C, H, W) in [-1, 1].
            engine: settings of the engine: see `SoftmaxMachine`.

        Raises:
            TypeError, ValueError: as `PatchScore` and `Wiener`.
        """
        linear = {name: value for name, value in engine.items() if name not in ENGINE_SETTINGS}
        return self.mixed(PatchScore(data, self.schedule, **engine), Wiener(data, shrinkage=self.shrinkage, **linear))

    @checked
    def mixed(self, patch: PatchScore, wiener: Wiener) -> Mix:
        """The machine made of two that exist: `patch` with the settings of this calibration, and `wiener` as it is.

        Raises:
            TypeError: other machines.
        """
        return Mix({PATCH: patch.with_settings(self.schedule), WIENER: wiener}, self.shares)

    def save(self, path: str | Path) -> None:
        """Write as JSON, whole or not at all.

        Raises:
            OSError: the file cannot be written.
            TypeError, ValueError: not a path, or details that JSON cannot hold.
        """
        path = check_path("path", path)
        write_text(path, json_text({**self.content(), "details": self.details}) + "\n")

    def content(self) -> dict[str, Any]:
        """What `save` writes, without details: the settings, for JSON."""
        rows = zip(self.sigmas, self.settings, self.wiener, strict=True)
        levels = [{"sigma": sigma, **asdict(one), "wiener": share} for sigma, one, share in rows]
        return {"format": FORMAT, "levels": levels, "shrinkage": self.shrinkage}

    @classmethod
    def load(cls, path: str | Path) -> FamilyCalibration:
        """Read a file written by `save`, or the settings of the machine in a result, such as run.json of
        `elsewhere sample --machine best`. A file written by `PatchSchedule.save` is a patch machine alone: its Wiener
        shares are 0. So commands take any `PatchScore`, as `--machine best --family FILE`.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not such a file.
        """
        path = check_path("path", path)
        if not path.is_file():
            raise FileNotFoundError(f"no calibrated family at {path}: {WRITTEN}")
        try:
            content = json_object(path.read_bytes())
            content = _within(content)
            if content.get("format") == PATCHES:
                sigmas, settings, levels = read_levels(content)
                return cls(sigmas, settings, (0.0,) * len(levels), details=details(content))
            check_format(content, FORMAT)
            sigmas, settings, levels = read_levels(content, (WIENER,))
            shares = tuple(level[WIENER] for level in levels)
            return cls(sigmas, settings, shares, entry(content, "shrinkage"), details(content))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a calibrated family: {error}; {WRITTEN}") from error


def _within(content: dict[str, Any]) -> dict[str, Any]:
    """The settings in the result of a command that drew with them; the content itself where it has none."""
    settings = _object(content, "settings")
    for holder in (content, settings, _object(settings, "about")):
        if found := _object(holder, "family"):
            return found
    return content


def _object(content: dict[str, Any], name: str) -> dict[str, Any]:
    value = content.get(name)
    return value if isinstance(value, dict) else {}
