"""The best machine of the family for a network: the one that came with a shipped network, or that of a file."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from elsewhere.checks import checked, seen_text
from elsewhere.data import ImageSet, load_images
from elsewhere.latents import encode, load_autoencoder
from elsewhere.machines.family import FamilyCalibration
from elsewhere.machines.mixing import Mix
from elsewhere.machines.table import BEST
from elsewhere.networks import SHIPPED, load_network


@checked
def shipped_family(network: str) -> FamilyCalibration:
    """The settings of the best machine of the family for a shipped network, as `els.calibrate_family` found them.

    Args:
        network: name of a shipped network.

    Raises:
        FileNotFoundError: none came with this network.

    Example:
        >>> len(shipped_family("fashion-unet").sigmas)
        20
    """
    with as_file(files("elsewhere.networks") / "shipped" / f"{network}.{BEST}.json") as path:
        if network in SHIPPED and path.is_file():
            return FamilyCalibration.load(path)
    raise FileNotFoundError(
        f"no calibrated family came with the network {seen_text(network)}, only with {', '.join(SHIPPED)}: run "
        f"`elsewhere calibrate --machine {BEST}` for it, then read its file (FamilyCalibration.load, or --family)"
    )


@checked
def best_machine(network: str, data: ImageSet | None = None, **settings: Any) -> Mix:
    """The best machine of the family for a shipped network.

    Args:
        network: name of a shipped network.
        data: training images; None: those of the network.
        settings: of the engine: see `SoftmaxMachine`.

    Raises:
        FileNotFoundError: no calibrated family came with this network.

    Example:
        >>> from elsewhere import make_noise
        >>> best_machine("hands-resnet")(make_noise(1, (1, 32, 32)), sigma=1.0).shape
        torch.Size([1, 1, 32, 32])
    """
    family = shipped_family(network)
    if data is None:
        spec: Any = getattr(load_network(network), "spec")  # noqa: B009
        autoencoder = spec.training.get("autoencoder")
        data = load_images(spec.data.removesuffix(" latents"))
        data = data if autoencoder is None else encode(data, load_autoencoder(autoencoder))
    return family.machine(data, **settings)


def choose_family(network: str | None, family: Path | None) -> FamilyCalibration:
    """The calibrated family of a file, else that of a shipped network.

    Args:
        network: name of a shipped network, or anything else.
        family: a file that `FamilyCalibration.save` wrote, or None.

    Raises:
        FileNotFoundError, ValueError: no such file, or not a file of a calibrated family; no shipped network.
    """
    if family is not None:
        return FamilyCalibration.load(family)
    if not network:
        raise ValueError(
            f"the machine {BEST} is calibrated to a network, and none was given: add --network, such as {SHIPPED[0]}, "
            "or --family"
        )
    return shipped_family(network)
