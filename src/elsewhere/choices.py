"""From what a user names to what the library works with: machines, their windows, classes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from elsewhere.checks import checked, seen_text
from elsewhere.data import ImageSet
from elsewhere.denoiser import Denoiser, DenoiserLike
from elsewhere.limits import require_memory
from elsewhere.machines import EquivariantLocalScore, IdealScore, LocalitySchedule, LocalScore
from elsewhere.machines.base import SoftmaxMachine, Window, WindowedMachine
from elsewhere.machines.equivariant_local import Borders
from elsewhere.machines.locality import published_locality
from elsewhere.networks import SHIPPED, load_network
from elsewhere.networks.resnet import Padding
from elsewhere.phrases import count
from elsewhere.sampling import make_noise

MachineName = Literal["is", "ls", "els"]
WindowedName = Literal["ls", "els"]

A_PIXEL = 64
"""Bytes that a run takes at its peak for every number in its images: noise, states, predictions, float64 sums."""

NETWORK_OF = {"fashion-mini": "fashion-resnet", "pixel-faces": "faces-resnet", "hands": "hands-resnet"}
"""The shipped network whose calibrated windows stand for an embedded set when no other network is named."""


def make_windowed(
    name: WindowedName, data: ImageSet, window: Window, borders: Borders, **settings: Any
) -> WindowedMachine:
    """The machine of that name: "ls" local, "els" equivariant local.

    Args:
        name: which; "ls" has no use for borders.
        data, window, borders, settings: as for the machine's class.
    """
    if name == "ls":
        return LocalScore(data, window, **settings)
    return EquivariantLocalScore(data, window, borders, **settings)


@checked
def shipped_locality(network: str, machine: WindowedName = "els") -> LocalitySchedule:
    """The windows with which a machine was found to match a shipped network best.

    The local machine uses those of the equivariant one where it has none of its own.

    Raises:
        FileNotFoundError: none came with this network.
        TypeError, ValueError: not a name, or an unknown kind of machine.
    """
    if network not in SHIPPED:
        raise _no_windows(network)
    names = [f"{network}.ls.locality.json"] if machine == "ls" else []
    for name in [*names, f"{network}.locality.json"]:
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
    """The window that was asked for, else the calibrated ones of a shipped network, else the published ones.

    Args:
        machine: "ls" or "els".
        network: name of a shipped network, or anything else.
        window: odd side, or None.
        locality: a file of windows, or None.
        taper: whether the window that was asked for is tapered.

    Returns:
        The window, and in words where it comes from.

    Raises:
        FileNotFoundError, ValueError: no such file, or not a file of windows; both window and locality given, or
            taper without a window.
    """
    if window is not None and locality is not None:
        raise ValueError("--window and --locality both say which windows to look through: give one of them")
    if taper and window is None:
        raise ValueError(
            "--taper goes with --window: windows for each noise level say themselves whether they are tapered"
        )
    if window is not None:
        words = f"{window} x {window} pixels at every noise level"
        return (LocalitySchedule((1.0,), (window,), taper=True), f"{words}, tapered") if taper else (window, words)
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


def choose_machines(
    names: Sequence[MachineName],
    data: ImageSet,
    network: str | None,
    borders: Borders,
    window: int | None = None,
    locality: Path | None = None,
    taper: bool = False,
    **settings: Any,
) -> tuple[dict[str, SoftmaxMachine], str]:
    """Machines under the names that reports give them ("IS", "LS", "ELS"), and where their windows come from.

    Args:
        names: which, in this order.
        data: training images.
        network, window, locality, taper: see `choose_window`.
        borders, settings: as for the machines' classes.

    Raises:
        ValueError: windows given that none of them looks through.
    """
    machines: dict[str, SoftmaxMachine] = {}
    origin = "none: the ideal machine sees the whole image"
    if set(names) == {"is"} and (window is not None or locality is not None or taper):
        raise ValueError("the ideal machine (is) has no window: leave out --window, --taper and --locality")
    for name in names:
        if name == "is":
            machines["IS"] = IdealScore(data, **settings)
        else:
            sides, origin = choose_window(name, network, window, locality, taper)
            machines[name.upper()] = make_windowed(name, data, sides, borders, **settings)
    return machines, origin


def choose_denoiser(
    name: MachineName | Literal["network"],
    data: ImageSet,
    network: str | None,
    borders: Borders,
    window: int | None = None,
    locality: Path | None = None,
    taper: bool = False,
    **settings: Any,
) -> tuple[Denoiser, str]:
    """One machine, or the trained network, and where its windows come from.

    The windows are those of the shipped network that was trained on the embedded set that `data` comes from.

    Raises:
        ValueError: a network was named for a machine, or none, or windows for a network.
    """
    if name != "network":
        if network is not None:
            raise ValueError(f"--network {network} was given for the machine {name}: it goes with --machine network")
        machines, origin = choose_machines(
            [name], data, NETWORK_OF.get(data.name), borders, window, locality, taper, **settings
        )
        return machines[name.upper()], origin
    if network is None:
        raise ValueError("--machine network needs --network: a shipped name, a file or a folder")
    if window is not None or locality is not None or taper:
        raise ValueError("a trained network has no window to set: leave out --window, --taper and --locality")
    return load_network(network), "none: a trained network"


def split_names(text: str) -> list[MachineName]:
    """Names of machines from "is,ls,els", none twice.

    Raises:
        ValueError: a name that is none of them, or given twice.
    """
    names = [part.strip().lower() for part in text.split(",")]
    for name in names:
        if name not in ("is", "ls", "els") or names.count(name) > 1:
            raise ValueError(f"--machines must be names of is, ls and els, each once, got {text!r}")
    return cast("list[MachineName]", names)


def default_label(network: DenoiserLike | None) -> str:
    """The classes that show most of a network: all of them in turn, where it knows any."""
    return "cycle" if getattr(network, "num_classes", 0) else "none"


def borders_of(network: DenoiserLike | None) -> Borders:
    """What the machine must do at the borders to be like the network: "wrap" for circular padding, else "aware"."""
    options: Mapping[str, Any] = getattr(getattr(network, "spec", None), "options", {})
    return "wrap" if options.get("padding") == "circular" else "aware"


def choose_borders(
    machines: Sequence[MachineName | Literal["network"]], asked: Borders | None, network: DenoiserLike | None = None
) -> Borders:
    """The borders that were asked for, else those of a machine that is to be like the network.

    Args:
        machines: who draws.
        asked: the value of --borders, or None.
        network: see `borders_of`.

    Raises:
        ValueError: borders were asked for, but none of the machines is els, the only one that has them to choose.
    """
    if asked is not None and "els" not in machines:
        raise ValueError(f"--borders {asked} is for els, and here draws {', '.join(machines)}: leave it out")
    return asked or borders_of(network)


def network_options(kind: Literal["resnet", "unet"], width: int, blocks: int, padding: Padding) -> dict[str, Any]:
    """Arguments of a network to train, as `TrainSettings.options` takes them.

    Raises:
        ValueError: circular padding for a UNet.
    """
    if kind == "resnet":
        return {"width": width, "blocks": blocks, "padding": padding}
    if padding != "zeros":
        raise ValueError(f"--padding {padding} is for a resnet: a UNet pads with zeros, leave it out")
    return {"widths": [width, width], "layers": blocks}


def check_shape(network: DenoiserLike | None, data: ImageSet) -> None:
    """Make sure that a network draws images like these.

    Raises:
        ValueError: it draws other colours, or another size.
    """
    channels, size = getattr(network, "channels", None), getattr(network, "size", None)
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


def check_canvas(denoiser: DenoiserLike, canvas: tuple[int, int] | None) -> None:
    """Make sure that images of this height and width can be drawn.

    Raises:
        ValueError: what draws knows one size only, and it is another.
    """
    size = getattr(denoiser, "size", None)
    if canvas is not None and size is not None and tuple(size) != canvas:
        raise ValueError(
            f"--size {canvas[0]}x{canvas[1]}: {denoiser!r} draws {size[0]}x{size[1]} pixels only; draw other sizes "
            "with --machine els and a small --window"
        )


def draw_noise(count: int, shape: tuple[int, int, int], seed: int, kept: int = 0) -> Tensor:
    """The noise of `count` images, once it is known that there is memory to draw them.

    Args:
        count, shape, seed: see `make_noise`.
        kept: states and predictions of the run that are kept until its end.

    Raises:
        MemoryError: noise, states and what is computed from them would take more than the machine has.
    """
    needed = (A_PIXEL + 4 * kept) * count * math.prod(shape)
    remedy = f"give a smaller --count or --size{', or leave out --keep' * bool(kept)}"
    require_memory(needed, f"--count {count} of {shape[1]}x{shape[2]} pixels", remedy)
    return make_noise(count, shape, seed)


def choose_labels(
    request: str | None, count: int, data: ImageSet, network: DenoiserLike | None = None
) -> Tensor | None:
    """One class for each of `count` images.

    Args:
        request: number or name of a class, "cycle" for one class after the other, None or "none" for no class.
        count: how many.
        data: has the classes.
        network: a network that is to draw them.

    Returns:
        int64 (count,), or None.

    Raises:
        ValueError: the set or the network has no classes, or none of that number or name.
    """
    if request is None or request == "none":
        return None
    if data.labels is None:
        raise ValueError(f"--label {request} was given but {data.name} has no classes: leave it out")
    classes = getattr(network, "num_classes", None)
    if classes == 0:
        raise ValueError(f"--label {request} was given but the network has no classes: leave it out")
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
        raise ValueError(f"--label {request!r} is no class of {data.name}: choose from {known}, cycle or none")
    return torch.full((count,), number, dtype=torch.int64, device="cpu")


def distinct_labels(request: str | None, data: ImageSet) -> list[int | None]:
    """Every class that a request of `choose_labels` names, once; [None] for all classes together."""
    labels = choose_labels(request, max(1, data.num_classes), data)
    return [None] if labels is None else sorted(set(labels.tolist()))


def check_same_images(network: DenoiserLike, data: ImageSet) -> bool:
    """Whether the network is known to have been trained on exactly these images.

    Returns:
        False where the network does not say what it was trained on.

    Raises:
        ValueError: it was trained on others.
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
    """What to change so that the images are those that a network was trained on, as far as can be seen."""
    size, shape = getattr(spec, "size", None), data.shape[1:]
    if size is not None and tuple(size) != shape:
        side = size[0] if size[0] == size[1] else f"{size[0]}x{size[1]}"
        return f", of {size[0]}x{size[1]} pixels, not {shape[0]}x{shape[1]} (--size {side}?)"
    return f" (these are {data.amount}: leave out --limit?)" if data.is_part else ""


def describe_window(window: Window, sigmas: tuple[float, ...]) -> list[int]:
    """Window side at each noise level but the final 0."""
    return [window if isinstance(window, int) else window(sigma) for sigma in sigmas[:-1]]
