"""From names to denoisers: machines of the table, the calibrated one, and trained networks.

`sample`, `explain`, `anomalies`, `compare` and `board` take the same names, and this is the only place that makes
denoisers of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elsewhere.best import choose_family
from elsewhere.cluster import distributed
from elsewhere.data import ImageSet
from elsewhere.denoiser import Denoiser, DenoiserLike
from elsewhere.factory import check_same_images, check_shape, choose_borders, choose_machines, network_of
from elsewhere.machines.base import SoftmaxMachine
from elsewhere.machines.borders import Borders
from elsewhere.machines.family import FamilyCalibration
from elsewhere.machines.table import ALL, BEST, BEST_REPORT, CHOICES, NAMES, NETWORK, NETWORK_PREFIX, TABLE
from elsewhere.networks import SHIPPED, load_network
from elsewhere.phrases import listed


@dataclass(frozen=True)
class Contenders:
    """Denoisers made from names.

    Attributes:
        denoisers: name in reports -> denoiser, in the order of the names.
        windows: the source of the machines' windows, in words.
        family: the settings of the calibrated machine, if that is one of them.
    """

    denoisers: dict[str, Denoiser]
    windows: str
    family: FamilyCalibration | None = None

    def about(self) -> dict[str, Any]:
        """What result files say of them, so that they can be made again: "windows" and, of the calibrated machine,
        "family", which `FamilyCalibration.load` and --family read from such a file."""
        return {"windows": self.windows, **({} if self.family is None else {"family": self.family.content()})}


def split_contenders(text: str, option: str = "--machines", refused: Mapping[str, str] | None = None) -> list[str]:
    """Names from a list such as "is,best,network:fashion-unet".

    Args:
        text: names with commas between them, each once: those of the table, in any case; "all" for all of these;
            "best"; "network"; "network:" and the name or path of a network.
        option: what it was given for; an option that is no plural takes one name.
        refused: names that the command cannot take -> why; "network:" stands for all names that begin with it.

    Raises:
        ValueError: no such name, one given twice, or one that the command cannot take.

    Example:
        >>> split_contenders("ELS, network:fashion-unet")
        ['els', 'network:fashion-unet']
    """
    several = option.endswith("s")
    found: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        if part.lower().startswith(NETWORK_PREFIX):
            found.append(NETWORK_PREFIX + part[len(NETWORK_PREFIX) :].strip())
        elif part.lower() == ALL and several:
            found += NAMES
        else:
            found.append(part.lower())
    networks = [name for name in found if name.startswith(NETWORK_PREFIX)]
    if (
        any(name not in CHOICES and name not in networks for name in found)
        or len(set(found)) < len(found)
        or not (several or len(found) == 1)
    ):
        what, ends = ("names", f", each once, or {ALL}") if several else ("one name", "")
        known = listed([*CHOICES, f"{NETWORK_PREFIX}NAME"])
        raise ValueError(f"{option} must be {what} of {known}{ends}, got {text!r}")
    if NETWORK_PREFIX in networks:
        raise ValueError(
            f"{option} must have a name or path after each {NETWORK_PREFIX}, got {text!r}: for example "
            f"{NETWORK_PREFIX}{SHIPPED[0]}"
        )
    for name in found:
        if why := (refused or {}).get(NETWORK_PREFIX if name in networks else name):
            raise ValueError(f"{option} {name}: {why}")
    return found


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
    names: Sequence[str],
    data: ImageSet,
    network: str | None = None,
    net: DenoiserLike | None = None,
    borders: Borders | None = None,
    window: int | None = None,
    locality: Path | None = None,
    taper: bool = False,
    family: Path | None = None,
    any_data: bool = False,
    shards: int | None = None,
    cluster: str | None = None,
    **settings: Any,
) -> Contenders:
    """Denoisers under their names in reports: machines ("ELS"), the calibrated one ("Best"), networks.

    Args:
        names: see `split_contenders`, which checks them.
        data: training images.
        network: name or path of the network whose calibrated windows and whose best machine are used, and which
            "network" stands for; None: the shipped one of the embedded set `data`, if there is one.
        net: that network where it is loaded already.
        borders: see `choose_borders`.
        window, locality, taper: see `choose_window`.
        family: for "best": see `choose_family`.
        any_data: see `load_yardstick`.
        shards, cluster: see `distributed`, for all machines; networks are not split. None: nothing is.
        settings: as for the classes of machines.

    Raises:
        FileNotFoundError, ValueError: as the functions that are named above; options of machines where none of the
            names takes them; "network" without a network.

    Example:
        >>> from elsewhere import load_images
        >>> list(choose_contenders(["best", "is"], load_images("hands", 20)).denoisers)
        ['Best', 'IS']
    """
    calibrated = network or network_of(data)
    device = settings.get("device") or "cpu"
    if family is not None and BEST not in names:
        raise ValueError(
            f"--family goes with the machine {BEST}, got {', '.join(names)}: name it, or leave out --family"
        )
    of_table = [name for name in names if name in TABLE]
    if not of_table and (window is not None or locality is not None or taper or borders is not None):
        who = "the calibrated machine has" if BEST in names else "trained networks have"
        raise ValueError(f"{who} no windows to set: leave out --window, --taper, --locality and --borders")
    if not of_table and BEST not in names and (shards is not None or cluster is not None):
        raise ValueError("trained networks have no training images to split: leave out --shards and --cluster")
    machines: Mapping[str, Denoiser] = {}
    source = "calibrated" if BEST in names else "none: trained networks"
    if of_table:
        bordered = choose_borders(of_table, borders, net)
        machines, source = choose_machines(of_table, data, calibrated, bordered, window, locality, taper, **settings)
    found: dict[str, Denoiser] = {}
    chosen = choose_family(calibrated, family) if BEST in names else None
    for name in names:
        if name in TABLE:
            found[TABLE[name].report_name] = _split(name, machines[TABLE[name].report_name], shards, cluster)
        elif name == BEST and chosen is not None:
            found[BEST_REPORT] = _split(name, chosen.machine(data, **settings), shards, cluster)
        elif name == NETWORK:
            found[NETWORK] = _own_network(network, net, data, device)
        else:
            source_of = name.removeprefix(NETWORK_PREFIX)
            found[source_of] = load_yardstick(source_of, data, any_data, device)
    if chosen is not None:
        best = str(family) if family is not None else f"calibrated for {calibrated}"
        source = f"{BEST} {best}" + (f"; the others {source}" if of_table else "")
    return Contenders(found, source, chosen)


def _split(name: str, machine: Denoiser, shards: int | None, cluster: str | None) -> Denoiser:
    """The machine split among processes, where that was asked for."""
    if shards is None:
        if cluster is not None:
            raise ValueError(f"--cluster {cluster} needs --shards, the number of processes: for example --shards 2")
        return machine
    if not isinstance(machine, SoftmaxMachine):
        raise ValueError(f"--shards goes with a single softmax average, {name} is none: leave out {name} or --shards")  # noqa: TRY004
    try:
        return distributed(machine, shards, cluster=cluster)
    except ValueError as error:
        raise ValueError(f"--shards {shards}: {error}") from error


def _own_network(network: str | None, net: DenoiserLike | None, data: ImageSet, device: str) -> Denoiser:
    if network is None:
        raise ValueError(f"the machine {NETWORK} needs --network: a shipped name, a file or a folder")
    loaded = net if isinstance(net, Denoiser) else load_network(network, device)
    check_shape(loaded, data)
    return loaded
