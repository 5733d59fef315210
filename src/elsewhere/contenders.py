"""Contenders: the machines, and networks in place of machines, that are compared with a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elsewhere.best import choose_family
from elsewhere.data import ImageSet
from elsewhere.denoiser import Denoiser, DenoiserLike
from elsewhere.factory import (
    check_same_images,
    check_shape,
    choose_borders,
    choose_machines,
    split_names,
)
from elsewhere.machines.borders import Borders
from elsewhere.machines.table import BEST, BEST_REPORT, NAMES, NETWORK_PREFIX
from elsewhere.networks import SHIPPED, load_network


def split_contenders(text: str) -> tuple[list[str], list[str]]:
    """Names of machines, and sources of networks in place of machines, from a list such as "is,network:fashion-unet".

    Args:
        text: names of machines as in `split_names`, "best", and "network:" with a name or path; with commas between
            them.

    Raises:
        ValueError: no such machine, no name after "network:", or one given twice.

    Example:
        >>> split_contenders("els,network:fashion-unet")
        (['els'], ['fashion-unet'])
    """
    parts = [part.strip() for part in text.split(",")]
    sources = [part[len(NETWORK_PREFIX) :].strip() for part in parts if part.lower().startswith(NETWORK_PREFIX)]
    names = [part for part in parts if not part.lower().startswith(NETWORK_PREFIX)]
    if not all(sources) or len(set(sources)) < len(sources):
        raise ValueError(
            f"--machines must have a name or path after each {NETWORK_PREFIX}, each once, got {text!r}: "
            f"for example {NETWORK_PREFIX}{SHIPPED[0]}"
        )
    return split_names(",".join(names), (*NAMES, BEST)) if names else [], sources


def load_yardstick(source: str, data: ImageSet, any_data: bool, device: str = "cpu") -> Denoiser:
    """A network that stands in place of a machine; it draws images like these and was trained on them.

    Args:
        source: as for `load_network`.
        data: training images of the machines.
        any_data: whether it may have been trained on other images.
        device: where it computes.

    Raises:
        FileNotFoundError, ValueError: no such network, or one of other images.
    """
    network = load_network(source, device)
    check_shape(network, data)
    if not any_data:
        check_same_images(network, data)
    return network


def choose_contenders(
    text: str,
    data: ImageSet,
    network: str,
    net: DenoiserLike,
    borders: Borders | None = None,
    window: int | None = None,
    locality: Path | None = None,
    taper: bool = False,
    any_data: bool = False,
    family: Path | None = None,
    **settings: Any,
) -> tuple[dict[str, Denoiser], str]:
    """What is compared with a network: machines under their names in reports, and networks under their own.

    Args:
        text: see `split_contenders`.
        data: training images.
        network, window, locality, taper: see `choose_window`.
        net, borders: see `choose_borders`.
        any_data: see `load_yardstick`.
        family: for "best": see `choose_family`.
        settings: as for the classes of machines.

    Returns:
        Name -> denoiser, and the source of the machines' windows in words.

    Raises:
        FileNotFoundError, ValueError: as the functions that are named above; options of machines where none is named.
    """
    names, sources = split_contenders(text)
    device = settings.get("device") or "cpu"
    networks: dict[str, Denoiser] = {source: load_yardstick(source, data, any_data, device) for source in sources}
    if family is not None and BEST not in names:
        raise ValueError(f"--family goes with --machines {BEST}, got {text!r}: add it, or leave out --family")
    best: dict[str, Denoiser] = {}
    if BEST in names:
        best[BEST_REPORT] = choose_family(network, family).machine(data, **settings)
    others = [name for name in names if name != BEST]
    if not others:
        if window is not None or locality is not None or taper or borders is not None:
            who = "the calibrated machine has" if best else "trained networks have"
            raise ValueError(f"{who} no windows to set: leave out --window, --taper, --locality and --borders")
        return {**best, **networks}, "calibrated" if best else "none: trained networks"
    machines, source = choose_machines(
        others, data, network, choose_borders(others, borders, net), window, locality, taper, **settings
    )
    return {**best, **machines, **networks}, source
