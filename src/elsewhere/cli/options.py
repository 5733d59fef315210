"""Options that several commands share, each written once, and the groups in which commands take them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from elsewhere.limits import LARGEST_SIDE
from elsewhere.machines.table import BEST, DEFAULTS, NAMES, NETWORK, SEARCHABLE, MachineName
from elsewhere.phrases import listed
from elsewhere.samplers import SamplerName
from elsewhere.terminal import parse_memory, parse_size

if TYPE_CHECKING:
    from torch import Tensor

    from elsewhere.data import ImageSet
    from elsewhere.denoiser import Denoiser
    from elsewhere.schedules import Schedule

KINDS_OF_NETWORK = "a shipped name, a trained folder or file, or a diffusers folder"
THE_SHIPPED_ONE = "the one shipped for these images"
AS_PADDED = "as the network pads"

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="Training images: fashion-mini, pixel-faces, emoji, hands, a folder, .npz, .npy, IDX (.gz), CIFAR-10, "
        "a zip of EDM, or hf:NAME.",
        show_default=False,
    ),
]
Picture = Annotated[
    Path, typer.Argument(metavar="IMAGE", help="An image file such as photo.png or photo.jpg.", show_default=False)
]
Network = Annotated[
    str,
    typer.Argument(
        metavar="NETWORK",
        help="Trained network: a shipped name, a folder or file that `elsewhere train` wrote, or a diffusers folder.",
        show_default=False,
    ),
]
OtherNetwork = Annotated[str | None, typer.Option()]
Machine = Annotated[MachineName, typer.Option()]
Drawer = Annotated[str, typer.Option(metavar="NAME")]
DefaultDrawer = Annotated[str | None, typer.Option(metavar="NAME")]
Machines = Annotated[str, typer.Option(metavar="NAMES")]
EVERY_MACHINE = f"{', '.join(NAMES)}; all for all of these; {BEST} for the one calibrated to the network"
ONE_MACHINE = f"{', '.join(NAMES)}, or {BEST} for the one calibrated to the network"
YARDSTICK = f"{NETWORK}:NAME for a network in place of a machine"
Family = Annotated[
    Path | None,
    typer.Option(
        help=f"For {BEST}: the file that `elsewhere calibrate --machine {BEST}` wrote, or PatchSchedule.save, or a "
        "result that was drawn with one, such as run.json.",
        show_default="that of the shipped network",
    ),
]
DEFAULT_MACHINES = ",".join(DEFAULTS)
AnyData = Annotated[
    bool,
    typer.Option("--any-data", help="Go on with a warning although the network was trained on other images."),
]
Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of the noise: the same seed, the same images.")]
MaybeSeed = Annotated[int | None, *Seed.__metadata__]
Count = Annotated[int, typer.Option(min=1, max=10_000, help="How many images, each from its own noise.")]
MaybeCount = Annotated[int | None, *Count.__metadata__]
Locality = Annotated[
    Path | None,
    typer.Option(
        help="File of windows for each noise level, as `elsewhere calibrate` writes it.",
        show_default="those calibrated for the shipped network, else published ones",
    ),
]
Window = Annotated[
    int | None, typer.Option(min=1, help="One odd window side in pixels for every noise level.", show_default=False)
]
Taper = Annotated[
    bool,
    typer.Option(
        "--taper",
        help="With --window: pixel weights decrease with the distance from its centre, as networks see.",
    ),
]
Borders = Annotated[
    Literal["aware", "wrap", "torus"] | None,
    typer.Option(
        help="Borders of els: aware of them, wrapping round, or torus: training images wrap round too.",
        show_default=AS_PADDED,
    ),
]
NetworkBorders = Annotated[
    Literal["aware", "wrap"] | None,
    typer.Option(
        help="Borders of els: aware of them, as a network with zero padding, or wrapping, as with circular padding.",
        show_default=AS_PADDED,
    ),
]
Label = Annotated[
    str | None,
    typer.Option(
        help="Class: its number or name, cycle for one class after the other, or none for all classes together.",
        show_default="cycle if the network knows classes, else none",
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Take only the first images.", show_default="all")]
Size = Annotated[
    int | None,
    typer.Option(
        min=1, max=LARGEST_SIDE, help="Resize every image to this many pixels a side.", show_default="as stored"
    ),
]
Canvas = Annotated[
    str | None,
    typer.Option(
        metavar="SIDE|HEIGHTxWIDTH",
        help="SIDE resizes every training image to this many pixels a side, as in the other commands; HEIGHTxWIDTH "
        "draws images of this size from the training images as they are.",
        show_default="as stored",
    ),
]
Gray = Annotated[
    bool | None,
    typer.Option("--gray/--colour", help="Turn colours to gray, or gray to colour.", show_default="as stored"),
]
Sampler = Annotated[
    SamplerName,
    typer.Option(
        help="How a step is made: euler (DDIM), heun (EDM; two calls a step), dpmpp-2m (DPM-Solver++), or ancestral, "
        "which adds noise from --seed."
    ),
]


def _present(device: str | None) -> str | None:
    """A device that is there, refused before any work begins; torch is not imported where none is named."""
    if device is not None:
        from elsewhere.checks import check_device

        check_device("device", device)
    return device


Device = Annotated[
    str | None,
    typer.Option(
        callback=_present,
        metavar="NAME",
        help="Where machines and networks compute: cpu, cuda, cuda:1, mps. The fast engine runs on cpu only.",
        show_default="cpu",
    ),
]
IgnoreLabels = Annotated[
    bool, typer.Option("--ignore-labels", help="Read the images alone, for labels that are no single class number.")
]


@dataclass(frozen=True, eq=False, repr=False)
class Images:
    """How to read a set of images."""

    limit: Limit = None
    size: Size = None
    gray: Gray = None
    ignore_labels: IgnoreLabels = False

    def load(self, source: str, **others: Any) -> "ImageSet":
        """The images; standard error says what was left out of the source."""
        from elsewhere.data import load_images
        from elsewhere.results import describe_left_out

        images = load_images(
            source,
            self.limit,
            size=self.size,
            gray=self.gray,
            labels=not self.ignore_labels,
            progress=True,
            **others,
        )
        if left_out := describe_left_out(images):
            typer.echo(f"note: {source}: left out {left_out}", err=True)
        if images.is_part:
            typer.echo(f"note: {images.name}: {images.amount} were read (--limit)", err=True)
        return images

    def load_pair(
        self, source: str, network: str, any_data: bool, device: str | None = None
    ) -> "tuple[ImageSet, Denoiser]":
        """The images, and a network that draws images like these; it was trained on them unless `any_data`."""
        from elsewhere.analysis.checks import give_warnings, training_note
        from elsewhere.factory import check_same_images, check_shape
        from elsewhere.networks import load_network

        images, net = self.load(source), load_network(network, device or "cpu")
        check_shape(net, images)
        if not any_data:
            check_same_images(net, images)
        # Before the long work; results and reports repeat it.
        give_warnings(training_note(net, images))
        return images, net

    def load_maybe_pair(
        self, source: str, network: str | None, any_data: bool, device: str | None = None
    ) -> "tuple[ImageSet, Denoiser | None]":
        """As `load_pair`, without a network where none was named."""
        return (self.load(source), None) if network is None else self.load_pair(source, network, any_data, device)

    def load_for(
        self, machine: str, source: str, network: str | None, device: str | None
    ) -> "tuple[ImageSet, Denoiser | None]":
        """What a machine draws from, and the network to which it is calibrated: none where the network itself draws.

        Images that the network was not trained on are warned of.
        """
        return self.load_maybe_pair(source, None if machine == NETWORK else network, any_data=True, device=device)


@dataclass(frozen=True, eq=False, repr=False)
class ImagesAndCanvas:
    """How to read a set of images, and of what size to draw images from them."""

    limit: Limit = None
    size: Canvas = None
    gray: Gray = None
    ignore_labels: IgnoreLabels = False

    def split(self) -> tuple[Images, tuple[int, int] | None]:
        """How to read the images, and height and width of what is drawn, None for the size of the images."""
        side, canvas = parse_size(self.size)
        return Images(self.limit, side, self.gray, self.ignore_labels), canvas


AutoencoderName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Work on latents, and decode what is drawn: a shipped autoencoder (emoji-vae) or a diffusers folder.",
        show_default="none: work on pixels",
    ),
]


@dataclass(frozen=True, eq=False, repr=False)
class ImagesOrLatents(Images):
    """How to read a set of images, and with what to encode it."""

    autoencoder: AutoencoderName = None

    def load(self, source: str, **others: Any) -> "ImageSet":
        """The images, or their latents."""
        from elsewhere.latents import encode, load_autoencoder

        images = super().load(source, **others)
        if self.autoencoder is None:
            return images
        return encode(images, load_autoencoder(self.autoencoder), progress=True)


@dataclass(frozen=True, eq=False, repr=False)
class LatentsAndCanvas(ImagesAndCanvas):
    """How to read a set of images, with what to encode it, and of what size to draw images from it."""

    autoencoder: AutoencoderName = None

    def split(self) -> tuple[Images, tuple[int, int] | None]:
        """As `ImagesAndCanvas.split`; height and width are of pictures, also where they are drawn from latents."""
        side, canvas = parse_size(self.size)
        return ImagesOrLatents(self.limit, side, self.gray, self.ignore_labels, self.autoencoder), canvas


@dataclass(frozen=True, eq=False, repr=False)
class Levels:
    """The noise levels of a run."""

    steps: Annotated[int, typer.Option(min=1, max=10_000, help="Steps of the reverse process.")] = 20
    schedule: Annotated[
        Literal["cosine", "linear", "leading", "trailing", "karras"],
        typer.Option(
            help="Noise levels: the published cosine ones, DDPM's, DDPM's spaced as 'leading' or 'trailing', or "
            "EDM's (Karras)."
        ),
    ] = "cosine"

    def make(self) -> "Schedule":
        """The schedule."""
        import elsewhere as els

        return els.schedules.named(self.schedule, self.steps)


@dataclass(frozen=True, eq=False, repr=False)
class Drawing:
    """What to draw: of which classes, how many, from which noise, in which steps."""

    label: Label = None
    count: Count = 8
    seed: Seed = 0
    levels: Levels = Levels()

    def labels(self, images: "ImageSet", network: "Denoiser | None") -> "Tensor | None":
        """The class of every image; without --label every class in turn if the network knows classes."""
        from elsewhere import factory

        request = factory.default_label(network) if self.label is None else self.label
        return factory.choose_labels(request, self.count, images, network)

    def noise(self, shape: tuple[int, int, int], kept: int = 0) -> "Tensor":
        """The noise of every image of a shape (C, H, W), for a run that keeps so many states and predictions."""
        from elsewhere import factory

        return factory.draw_noise(self.count, shape, self.seed, kept)


@dataclass(frozen=True, eq=False, repr=False)
class Guiding:
    """Towards which class, and away from what."""

    guidance: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1000,
            help="Classifier-free guidance towards --label or --prompt: 0 draws without it, 1 with it, more moves away "
            "from what all images share.",
            show_default="none",
        ),
    ] = None
    negative: Annotated[
        str | None,
        typer.Option(
            help="With --guidance: a class to move away from, its number or name.", show_default="all classes together"
        ),
    ] = None
    negative_prompt: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="With --prompt and --guidance: words to move away from.", show_default="no prompt"
        ),
    ] = None

    def options(self) -> dict[str, Any]:
        """Arguments of `steer`."""
        names = ("guidance", "negative", "negative_prompt")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, eq=False, repr=False)
class Prompting:
    """What to draw in words, and how they become weights of training images."""

    prompt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="What to draw, in words that are compared with the captions of the images; again for further rows.",
            show_default="none",
        ),
    ] = None
    temperature: Annotated[
        float | None,
        typer.Option(
            min=1e-3,
            max=100,
            help="With --prompt: weights are proportional to exp(similarity / temperature); larger ones let more "
            "images count.",
            show_default="the one at which ten images count",
        ),
    ] = None
    most: Annotated[
        int, typer.Option(min=1, help="With --prompt: only so many images, the most similar ones, have a weight.")
    ] = 64
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --prompt: what compares words: all-MiniLM-L6-v2, a folder of a sentence-transformers model, or "
            "words for words that are equal.",
            show_default="all-MiniLM-L6-v2 with the extra text, else words",
        ),
    ] = None

    def options(self) -> dict[str, Any]:
        """Arguments of `steer`."""
        return {
            "prompts": self.prompt or [],
            "temperature": self.temperature,
            "most": self.most,
            "encoder": self.encoder,
        }


@dataclass(frozen=True, eq=False, repr=False)
class Windows:
    """Through which windows machines look, and what they do at the borders."""

    window: Window = None
    taper: Taper = False
    locality: Locality = None
    borders: Borders = None
    family: Family = None

    def options(self) -> dict[str, Any]:
        """Arguments of `choose_contenders`."""
        names = ("window", "taper", "locality", "borders", "family")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, eq=False, repr=False)
class Budget:
    """What a machine may use."""

    memory: Annotated[str, typer.Option(help="Memory that a machine may use beside the images: 512MB, 2GiB, ...")] = (
        "1GB"
    )

    def bytes(self) -> int:
        """The memory in bytes."""
        return parse_memory(self.memory)


@dataclass(frozen=True, eq=False, repr=False)
class Processes:
    """Among which processes the training images are split."""

    shards: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10_000,
            help="Split the training images of is, esm, ls or els into so many parts, which are asked one after the "
            "other, or with --cluster each in a process of its own.",
            show_default="not split",
        ),
    ] = None
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="auto|HOST:PORT",
            help="With --shards: processes of Ray, on the cluster that this computer belongs to or on this computer "
            "alone (auto), or on the cluster at an address. Needs the extra 'cluster'.",
            show_default="none",
        ),
    ] = None

    def options(self) -> dict[str, Any]:
        """Arguments of `choose_contenders`."""
        return {"shards": self.shards, "cluster": self.cluster}


@dataclass(frozen=True, eq=False, repr=False)
class Engine:
    """How machines compute."""

    budget: Budget = Budget()
    engine: Annotated[
        Literal["auto", "exact", "fast"],
        typer.Option(
            help=f"How {listed(SEARCHABLE)} weighs windows: exact reads all of them, fast searches an index for those "
            "that matter, auto is fast for many images. The other machines read all of them."
        ),
    ] = "auto"
    tolerance: Annotated[
        float,
        typer.Option(
            min=1e-5, max=0.1, help="Error of a prediction that the fast engine aims for, pixels being in -1..1."
        ),
    ] = 1e-3
    device: Device = None

    def settings(self) -> dict[str, Any]:
        """Arguments of a machine."""
        found = {"memory": self.budget.bytes(), "engine": self.engine, "tolerance": self.tolerance}
        return found if self.device is None else {**found, "device": self.device}
