"""From names to functions that make denoisers of training images: those of `transition`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from elsewhere.analysis.transitions import Maker
from elsewhere.contenders import choose_contenders
from elsewhere.data import ImageSet
from elsewhere.denoiser import DenoiserLike
from elsewhere.machines.table import TABLE
from elsewhere.networks import TrainSettings, train

TRAINED = "trained"
"""What the network that is trained from each number of images is called, before its kind."""


def named_makers(
    names: Sequence[str], *, training: TrainSettings | None = None, folder: Path | None = None, **options: Any
) -> dict[str, Maker]:
    """Name in reports -> maker: machines of the table, and a network that is trained from each number of images.

    Args:
        names: machines of the table, such as "is", "ls", "els".
        training: how to train; None for no network.
        folder: where networks are trained, each in a folder of its own, from which a repeated call goes on.
        options: windows, borders and settings of the engine, as for `choose_contenders`.

    Raises:
        ValueError: a name that is no machine of the table; training without a folder.
    """
    unknown = [name for name in names if name not in TABLE]
    if unknown:
        raise ValueError(f"machines must be of {', '.join(TABLE)}, got {unknown[0]!r}: others are not made from images")
    titles = [TABLE[name].report_name for name in names]
    found: dict[str, Maker] = {title: MachineMaker(title, tuple(names), options) for title in titles}
    if training is not None:
        if folder is None:
            raise ValueError("training needs a folder")
        found[f"{TRAINED} {training.kind}"] = NetworkMaker(training, folder)
    return found


@dataclass(frozen=True)
class MachineMaker:
    """Makes a machine of the table.

    Attributes:
        title: its name in reports.
        names: the machines that options are for, all together: a window belongs to some of them.
        options: arguments of `choose_contenders`.
    """

    title: str
    names: tuple[str, ...]
    options: Mapping[str, Any]

    def __call__(self, data: ImageSet) -> DenoiserLike:
        return choose_contenders(self.names, data, **self.options).denoisers[self.title]

    @property
    def settings(self) -> dict[str, str]:
        """What its points depend on: windows, and not how the engine computes."""
        return {name: str(self.options.get(name)) for name in ("window", "taper", "locality", "borders")}


@dataclass(frozen=True)
class NetworkMaker:
    """Trains a network, or goes on with it, in a folder of its own for each number of images."""

    training: TrainSettings
    folder: Path

    def __call__(self, data: ImageSet) -> DenoiserLike:
        return train(data, self.folder / f"{self.training.kind}-{len(data)}", self.training)

    @property
    def settings(self) -> dict[str, Any]:
        """What its points depend on."""
        return asdict(self.training)
