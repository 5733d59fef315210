"""From names of networks and machines to the subjects of the board."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from elsewhere.analysis.board_cells import Contender, weights_digest
from elsewhere.analysis.scoreboard import BoardSubject
from elsewhere.best import choose_family
from elsewhere.checks import check_whole
from elsewhere.contenders import choose_contenders, load_yardstick, split_contenders
from elsewhere.data import ImageSet, load_images
from elsewhere.denoiser import Denoiser
from elsewhere.factory import (
    NETWORK_OF,
    borders_of,
    check_same_images,
    check_shape,
    choose_labels,
    choose_window,
    default_label,
)
from elsewhere.machines.borders import Borders
from elsewhere.machines.table import ALL, BEST, BEST_REPORT, NETWORK, NETWORK_PREFIX, TABLE
from elsewhere.networks import SHIPPED, load_network

NONE = "none"
"""In place of a network: held-out images."""
REFUSED = {NETWORK: f"--networks names the networks; {NETWORK_PREFIX}NAME measures a network in place of a machine"}
"""Names that the board cannot take -> why."""


def named_subjects(
    networks: str,
    machines: str,
    count: int,
    *,
    data: str | None = None,
    any_data: bool = False,
    **settings: Any,
) -> list[BoardSubject]:
    """The subjects that the command `board` measures.

    Args:
        networks: names or paths with commas between them; "all" for those that come with the package, "none" for
            held-out images without a network.
        machines: see `contenders.split_contenders`; "network" is refused.
        count: images drawn on a network, and held out without one.
        data: training images; None: for each network those that it names, and without a network every embedded set.
        any_data: go on although a network was trained on other images.
        settings: as for the classes of machines.

    Raises:
        FileNotFoundError, ValueError: no such network, machine or images; images other than a network's.
    """
    check_whole("count", count, 1)
    every = split_contenders(machines, refused=REFUSED)
    yardsticks = [name.removeprefix(NETWORK_PREFIX) for name in every if name.startswith(NETWORK_PREFIX)]
    names = [name for name in every if not name.startswith(NETWORK_PREFIX)]
    found: list[BoardSubject] = []
    loaded: dict[str, ImageSet] = {}

    def images(source: str) -> ImageSet:
        if source not in loaded:
            loaded[source] = load_images(source)
        return loaded[source]

    for source in _split_networks(networks):
        if source == NONE:
            sets = [data] if data is not None else list(NETWORK_OF)
            found += [_held_out(images(name), names, count, settings) for name in sets]
            continue
        net = load_network(source, settings.get("device") or "cpu")
        ours = images(data or _images_of(source, net))
        check_shape(net, ours)
        if not any_data:
            check_same_images(net, ours)
        rivals = [name for name in yardsticks if name != source]
        found.append(_network(source, net, ours, names, rivals, count, any_data, settings))
    return found


def _split_networks(text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",")]
    found = [name for part in parts for name in (SHIPPED if part.lower() == ALL else [part])]
    found = [NONE if name.lower() == NONE else name for name in found]
    if not all(found) or len(set(found)) < len(found):
        raise ValueError(
            f"--networks must be all, none, or names or paths of networks with commas between them, each once, "
            f"got {text!r}"
        )
    return found


def _images_of(source: str, network: Denoiser) -> str:
    named = getattr(getattr(network, "spec", None), "data", "")
    if named not in NETWORK_OF:
        raise ValueError(
            f"--networks {source} was trained on {named or 'unknown images'}, which do not come with the package: give "
            "its training images with --data"
        )
    return str(named)


def _network(
    source: str,
    net: Denoiser,
    data: ImageSet,
    names: Sequence[str],
    yardsticks: Sequence[str],
    count: int,
    any_data: bool,
    settings: dict[str, Any],
) -> BoardSubject:
    contenders = [_machine(name, data, source, borders_of(net), settings) for name in names]
    contenders += [_yardstick(name, data, any_data) for name in yardsticks]
    if not contenders:
        raise ValueError(f"--machines leaves nothing to measure on {source}: name a machine, or another network")
    label = choose_labels(default_label(net), count, data, net)
    return BoardSubject(source, contenders, net, data.shape, data=_described(data), label=label)


def _held_out(data: ImageSet, names: Sequence[str], count: int, settings: dict[str, Any]) -> BoardSubject:
    """Images from all over the set are held out; the machines read the others."""
    if not names:
        raise ValueError("--networks none measures machines: name some with --machines")
    if 2 * count > len(data):
        raise ValueError(f"--seeds {count} holds out more than half of {data.name} ({len(data)} images): give fewer")
    held = torch.linspace(0, len(data) - 1, count, dtype=torch.float64, device="cpu").round().to(torch.int64)
    kept = torch.ones(len(data), dtype=torch.bool, device="cpu")
    kept[held] = False
    training = data.rows(kept)
    contenders = [_machine(name, training, NETWORK_OF.get(data.name), "aware", settings) for name in names]
    return BoardSubject(
        data.name,
        contenders,
        held_out=data.rows(held).scaled(),
        data=_described(training),
    )


def _machine(name: str, data: ImageSet, network: str | None, borders: Borders, settings: dict[str, Any]) -> Contender:
    if name == BEST:
        return _best(data, network, settings)
    entry = TABLE[name]

    def make() -> Denoiser:
        bordered = borders if entry.borders else None
        return choose_contenders([name], data, network, borders=bordered, **settings).denoisers[entry.report_name]

    # The repr of a schedule has its windows.
    window = repr(choose_window(name, network, None, None)[0]) if entry.windows else ""
    key = json.dumps([name, data.fingerprint(), borders if entry.borders else "", window, settings], sort_keys=True)
    return Contender(entry.report_name, make, key, entry.title)


def _best(data: ImageSet, network: str | None, settings: dict[str, Any]) -> Contender:
    """The calibrated machine of a shipped network; for another network its row says that there is none."""

    def make() -> Denoiser:
        return choose_contenders([BEST], data, network, **settings).denoisers[BEST_REPORT]

    try:
        family = repr(choose_family(network, None))
    except FileNotFoundError:
        family = ""
    key = json.dumps([BEST, data.fingerprint(), family, settings], sort_keys=True)
    return Contender(BEST_REPORT, make, key, "calibrated")


def _yardstick(source: str, data: ImageSet, any_data: bool) -> Contender:
    try:
        key = weights_digest(load_network(source))
    except ValueError:
        key = source  # the row will say what is wrong with it
    return Contender(source, partial(load_yardstick, source, data, any_data), key, "trained network", "network")


def _described(data: ImageSet) -> str:
    return f"{data.name}, {data.amount}, fingerprint {data.fingerprint()[:12]}"
