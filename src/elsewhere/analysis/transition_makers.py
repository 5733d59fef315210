"""From names to functions that make denoisers of training images: those of `transition`."""

from __future__ import annotations

from collections.abc import Sequence
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
    found: dict[str, Maker] = {
        TABLE[name].report_name: _machine(TABLE[name].report_name, names, options) for name in names
    }
    if training is not None:
        if folder is None:
            raise ValueError("training needs a folder")
        found[f"{TRAINED} {training.kind}"] = _network(training, folder)
    return found


def _machine(title: str, names: Sequence[str], options: dict[str, Any]) -> Maker:
    def make(data: ImageSet) -> DenoiserLike:
        # All together: options such as a window belong to some of them.
        return choose_contenders(names, data, **options).denoisers[title]

    return make


def _network(training: TrainSettings, folder: Path) -> Maker:
    def make(data: ImageSet) -> DenoiserLike:
        return train(data, folder / f"{training.kind}-{len(data)}", training)

    return make
