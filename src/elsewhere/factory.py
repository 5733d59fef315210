"""The factory: from what a user names to machines, windows, borders, classes and noise.

Messages name the options of the command line, from which the names come.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from elsewhere.checks import checked, seen_text
from elsewhere.data import ImageSet, LatentSet
from elsewhere.denoiser import DenoiserLike
from elsewhere.limits import require_memory
from elsewhere.machines.borders import Borders
from elsewhere.machines.equivariant_local import EquivariantLocalScore
from elsewhere.machines.locality import LocalitySchedule, published_locality
from elsewhere.machines.machine import Machine
from elsewhere.machines.table import (
    BORDERED,
    DEFAULT,
    SEARCHABLE,
    TABLE,
    WINDOWED,
    MachineName,
    WindowedName,
)
from elsewhere.machines.windowed import Window, WindowedMachine
from elsewhere.networks import SHIPPED
from elsewhere.networks.resnet import Padding
from elsewhere.phrases import count, listed
from elsewhere.sampling import make_noise

BYTES_PER_NUMBER = 64
"""Peak memory of a run, in bytes for every number in its images: noise, states, predictions and float64 sums."""

NETWORK_OF = {"fashion-mini": "fashion-resnet", "pixel-faces": "faces-resnet", "hands": "hands-resnet"}
"""Embedded set -> the shipped network whose calibrated windows are used when no other network is named."""
LATENT_NETWORK_OF = {"emoji latents": "emoji-latents"}
"""The same for the latents of a set."""


def network_of(data: ImageSet) -> str | None:
    """The shipped network of a set, None where there is none."""
    return (LATENT_NETWORK_OF if isinstance(data, LatentSet) else NETWORK_OF).get(data.name)


@checked
def shipped_locality(network: str, machine: WindowedName = DEFAULT) -> LocalitySchedule:
    """The windows with which a machine matches a shipped network best.

    A machine that was not calibrated to the network itself has the windows of the equivariant local machine.

    Args:
        network: name of a shipped network.
        machine: name of a machine with windows, such as "els".

    Raises:
        FileNotFoundError: no windows came with this network.
        TypeError, ValueError: not a name, or no machine with windows.

    Example:
        >>> shipped_locality("fashion-resnet", "ls")(1.0)
        5
    """
    if network not in SHIPPED:
        raise _no_windows(network)
    names = [f"{network}.locality.json"]
    if machine != DEFAULT:
        names.insert(0, f"{network}.{machine}.locality.json")
    for name in names:
        with as_file(files("elsewhere.networks") / "shipped" / name) as path:
            if path.is_file():
                return LocalitySchedule.load(path)
    raise _no_windows(network)


def _no_windows(network: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"no calibrated windows came with the network {seen_text(network)}, only with {', '.join(SHIPPED)}: run "
        "`elsewhere calibrate` for it, then read the file it writes (LocalitySchedule.load, or --locality)"
    )


def choose_window(
    machine: WindowedName, network: str | None, window: int | None, locality: Path | None, taper: bool = False
) -> tuple[Window, str]:
    """The window asked for, else those calibrated to a shipped network, else the published ones.

    Args:
        machine: name of a machine with windows.
        network: name of a shipped network, or anything else.
        window: odd side in pixels, or None.
        locality: a file that `LocalitySchedule.save` wrote, or None.
        taper: whether `window` is tapered.

    Returns:
        The window, and its source in words.

    Raises:
        FileNotFoundError, ValueError: no such file, or not a file of windows; both window and locality; taper without
            a window.
    """
    if window is not None and locality is not None:
        raise ValueError("--window and --locality are mutually exclusive: give one of them")
    if taper and window is None:
        raise ValueError("--taper goes with --window: a file of windows for each noise level says if they are tapered")
    if window is not None:
        source = f"{window} x {window} pixels at every noise level"
        return (LocalitySchedule((1.0,), (window,), taper=True), f"{source}, tapered") if taper else (window, source)
    if locality is not None:
        if not locality.exists():
            raise FileNotFoundError(f"--locality {locality}: no such file")
        return LocalitySchedule.load(locality), str(locality)
    try:
        return shipped_locality(network or "", machine), f"calibrated for {network}"
    except FileNotFoundError:
        if network in SHIPPED:
            raise
        return published_locality(), "published for CIFAR-10 (run `elsewhere calibrate` for better ones)"


def make_windowed(
    name: WindowedName, data: ImageSet, window: Window, borders: Borders, **settings: Any
) -> WindowedMachine:
    """A machine with windows.

    Args:
        name: which.
        data, window, borders, settings: as for the class; not every machine has borders.
    """
    machine = TABLE[name].make(data, window, borders, **settings)
    assert isinstance(machine, WindowedMachine)
    return machine


def choose_machines(
    names: Sequence[MachineName],
    data: ImageSet,
    network: str | None,
    borders: Borders,
    window: int | None = None,
    locality: Path | None = None,
    taper: bool = False,
    **settings: Any,
) -> tuple[dict[str, Machine], str]:
    """Machines of the table under their names in reports ("IS", "LS", "ELS"), and the source of their windows in words.

    `contenders.choose_contenders` takes every name that commands take.

    Args:
        names: which, in this order.
        data: training images.
        network, window, locality, taper: see `choose_window`.
        borders: used by the machines that have borders.
        settings: as for the classes.

    Raises:
        ValueError: window, locality or taper for machines none of which has windows.
    """
    if not set(names) & set(WINDOWED) and (window is not None or locality is not None or taper):
        titles = listed([f"the {TABLE[name].title} machine ({name})" for name in names])
        raise ValueError(
            f"{titles} {'has' if len(names) == 1 else 'have'} no window: leave out --window, --taper and --locality"
        )
    machines: dict[str, Machine] = {}
    source = f"none: the {TABLE[names[-1]].title} machine sees the whole image"
    for name in names:
        entry, sides = TABLE[name], None
        if entry.windows:
            sides, source = choose_window(name, network, window, locality, taper)
        machines[entry.report_name] = entry.make(data, sides, borders, **settings)
    return machines, source


def choose_searched(
    data: ImageSet,
    network: str | None,
    net: DenoiserLike | None,
    borders: Borders | None,
    window: int | None,
    locality: Path | None,
    taper: bool = False,
    **settings: Any,
) -> tuple[EquivariantLocalScore, str]:
    """The machine whose windows the fast engine searches, and the source of its windows in words.

    Args:
        data: training images.
        network, window, locality, taper: see `choose_window`; None takes the network shipped for these images.
        net, borders: see `choose_borders`.
        settings: as for the class.
    """
    [name] = SEARCHABLE
    sides, source = choose_window(name, network or NETWORK_OF.get(data.name), window, locality, taper)
    machine = TABLE[name].make(data, sides, choose_borders([name], borders, net), engine="fast", **settings)
    assert isinstance(machine, EquivariantLocalScore)
    return machine, source


def default_label(network: DenoiserLike | None) -> str:
    """What --label is where it was left out: "cycle" for a network that knows classes, else "none"."""
    return "cycle" if getattr(network, "num_classes", 0) else "none"


def borders_of(network: DenoiserLike | None) -> Borders:
    """Borders that match the padding of a network: "wrap" for circular padding, else "aware"."""
    options: Mapping[str, Any] = getattr(getattr(network, "spec", None), "options", {})
    padding = options.get("padding") or getattr(network, "padding", None)
    return "wrap" if padding == "circular" else "aware"


def choose_borders(machines: Sequence[str], asked: Borders | None, network: DenoiserLike | None = None) -> Borders:
    """The borders asked for, else those that match the padding of the network.

    Args:
        machines: names of the machines that draw, or "network".
        asked: the value of --borders, or None.
        network: see `borders_of`.

    Raises:
        ValueError: borders for machines none of which has borders.
    """
    if asked is not None and not set(machines) & set(BORDERED):
        raise ValueError(
            f"--borders {asked} is for {listed(BORDERED)}, and here draws {', '.join(machines)}: leave it out"
        )
    return asked or borders_of(network)


def network_options(
    kind: Literal["resnet", "unet", "dit"],
    width: int,
    blocks: int,
    padding: Padding,
    widths: str | None = None,
    normalise: bool = False,
    attention: str | None = None,
) -> dict[str, Any]:
    """Arguments of a network to train, as `TrainSettings.options` takes them.

    Args:
        kind: "resnet", "unet" or "dit".
        width: feature maps in every layer, or of every token of a DiT.
        blocks: residual blocks; of a UNet, layers of each level; of a DiT, its layers.
        padding: of a resnet.
        widths: feature maps of each level of a UNet, as in "32,64,64"; None: two levels of `width`.
        normalise: whether a UNet keeps group normalisation.
        attention: levels of a UNet with self-attention, as in "1,middle"; None: none.

    Raises:
        ValueError: circular padding for a UNet or DiT; widths, normalisation or attention for another network than a
            UNet; widths that are no list of numbers.
    """
    if kind != "unet":
        if widths is not None:
            raise ValueError(f"--widths {widths} is for a UNet: a {kind} has one --width")
        if normalise or attention is not None:
            given = "--normalise" if normalise else f"--attention {attention}"
            raise ValueError(f"{given} is for a UNet, not for a {kind}: give --network unet")
    if kind == "resnet":
        return {"width": width, "blocks": blocks, "padding": padding}
    if padding != "zeros":
        raise ValueError(f"--padding {padding} is for a resnet: a {kind} pads with zeros, leave it out")
    if kind == "dit":
        return {"width": width, "layers": blocks}
    options: dict[str, Any] = {"widths": [width, width], "layers": blocks}
    if widths is not None:
        try:
            options["widths"] = [int(part) for part in widths.split(",")]
        except ValueError:
            raise ValueError(
                f"--widths must be numbers with commas between them, as in 32,64,64, got {widths!r}"
            ) from None
    # Options that were left out stay out of the record: checkpoints and cards of older versions go on.
    if normalise:
        options["normalise"] = True
    if attention is not None:
        parts = [part.strip() for part in attention.split(",")]
        options["attention"] = [int(part) if part.isdecimal() else part for part in parts]
    return options


def check_shape(network: DenoiserLike | None, data: ImageSet) -> None:
    """Check that a network draws images of the shape of these.

    Raises:
        ValueError: the network draws other channels, or another size.
    """
    channels, size = getattr(network, "channels", None), getattr(network, "size", None)
    if channels is not None and channels != data.shape[0] and (isinstance(data, LatentSet) or channels not in (1, 3)):
        raise ValueError(
            f"the network draws {count(channels, 'channel')}, {data.name} has {data.shape[0]}: give --autoencoder for "
            "a network on latents, the one that it was trained with, and none for a network on images"
        )
    if channels is not None and channels != data.shape[0]:
        drawn, option = ("colour", "--colour") if channels == 3 else ("gray", "--gray")
        raise ValueError(
            f"the network draws {drawn} images, {data.name} has {'gray' if data.shape[0] == 1 else 'colour'} ones: "
            f"give {option}, or the images of the network"
        )
    if size is not None and tuple(size) != tuple(data.shape[1:]):
        raise ValueError(
            f"the network draws images of {size[0]}x{size[1]} pixels, those of {data.name} are "
            f"{data.shape[1]}x{data.shape[2]}: give --size {size[0]}, or the images of the network"
        )


def latent_canvas(data: ImageSet, canvas: tuple[int, int] | None) -> tuple[int, int] | None:
    """Height and width of what a machine draws for pictures of a height and width: of latents, where data are latents.

    Raises:
        ValueError: a size that the autoencoder cannot divide.
    """
    autoencoder = data.autoencoder if isinstance(data, LatentSet) else None
    if canvas is None or autoencoder is None:
        return canvas
    _, height, width = autoencoder.latent_shape(*canvas)
    return height, width


def picture_size(data: ImageSet) -> tuple[int, int]:
    """Height and width of the pictures of a set, in pixels, also where it has their latents."""
    pictures = data.pictures if isinstance(data, LatentSet) else data
    return (data if pictures is None else pictures).shape[1:]


def check_canvas(denoiser: DenoiserLike, canvas: tuple[int, int] | None) -> None:
    """Check that a denoiser can draw images of this height and width; None is the size of the training images.

    Raises:
        ValueError: the denoiser draws another size only.
    """
    size = getattr(denoiser, "size", None)
    if canvas is not None and size is not None and tuple(size) != canvas:
        raise ValueError(
            f"--size {canvas[0]}x{canvas[1]}: the machine draws {size[0]}x{size[1]} pixels only; draw other sizes "
            "with --machine els and a small --window"
        )


def draw_noise(count: int, shape: tuple[int, int, int], seed: int, kept: int = 0) -> Tensor:
    """The noise of `count` images; refuses, before it is drawn, what does not fit into memory.

    Args:
        count, shape, seed: see `make_noise`.
        kept: number of states and predictions that the run keeps until its end.

    Raises:
        MemoryError: noise, states and intermediate results need more memory than the machine has.
    """
    needed = (BYTES_PER_NUMBER + 4 * kept) * count * math.prod(shape)
    remedy = f"give a smaller --count or --size{', or leave out --keep' * bool(kept)}"
    require_memory(needed, f"--count {count} of {shape[1]}x{shape[2]} pixels", remedy)
    return make_noise(count, shape, seed)


def choose_labels(
    request: str | None, count: int, data: ImageSet, network: DenoiserLike | None = None, option: str = "--label"
) -> Tensor | None:
    """One class for each of `count` images.

    Args:
        request: number or name of a class, "cycle" for one class after the other, None or "none" for no class.
        count: how many.
        data: the training images, with their classes.
        network: the network that draws them, if there is one.
        option: what errors call the request.

    Returns:
        int64 (count,), or None.

    Raises:
        ValueError: the set or the network has no classes, or none of that number or name.
    """
    if request is None or request == "none":
        return None
    if data.labels is None:
        raise ValueError(f"{option} {request} was given but {data.name} has no classes: leave it out")
    classes = getattr(network, "num_classes", None)
    if classes == 0:
        raise ValueError(f"{option} {request} was given but the network has no classes: leave it out")
    present = sorted(set(data.labels.tolist()))
    if classes is not None:
        present = [label for label in present if label < classes]
    if request == "cycle":
        return torch.tensor([present[i % len(present)] for i in range(count)], dtype=torch.int64, device="cpu")
    number = data.classes.index(request) if request in data.classes else None
    if number is None and re.fullmatch(r"-?\d{1,18}", request, re.ASCII):
        number = int(request)
    if number is None or number not in present:
        known = ", ".join(data.classes) or f"0 to {(classes or data.num_classes) - 1}"
        raise ValueError(f"{option} {request!r} is no class of {data.name}: choose from {known}, cycle or none")
    return torch.full((count,), number, dtype=torch.int64, device="cpu")


def distinct_labels(request: str | None, data: ImageSet) -> list[int | None]:
    """The classes that a request of `choose_labels` names, each once; [None] for all classes together."""
    labels = choose_labels(request, max(1, data.num_classes), data)
    return [None] if labels is None else sorted(set(labels.tolist()))


def check_same_images(network: DenoiserLike, data: ImageSet) -> bool:
    """Check that a network was trained on exactly these images.

    Returns:
        True if it was; False if the network does not say what it was trained on.

    Raises:
        ValueError: the network was trained on other images.
    """
    spec = getattr(network, "spec", None)
    theirs = getattr(spec, "fingerprint", "")
    if theirs and theirs != data.fingerprint():
        raise ValueError(
            f"the network was trained on {getattr(spec, 'data', '') or 'other images'} ({theirs[:12]}), not on these "
            f"{count(len(data), 'image')} of {data.name} ({data.fingerprint()[:12]}): give its training images"
            f"{_difference(spec, data)}, or --any-data"
        )
    return bool(theirs)


def _difference(spec: Any, data: ImageSet) -> str:
    """What to change so that the images are the network's training images, where that can be seen."""
    size, shape = getattr(spec, "size", None), data.shape[1:]
    if size is not None and tuple(size) != shape:
        side = size[0] if size[0] == size[1] else f"{size[0]}x{size[1]}"
        return f", of {size[0]}x{size[1]} pixels, not {shape[0]}x{shape[1]} (--size {side}?)"
    return f" (these are {data.amount}: leave out --limit?)" if data.is_part else ""
