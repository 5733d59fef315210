"""`elsewhere train`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from elsewhere.cli.groups import Words
from elsewhere.cli.options import Data, ImagesOrLatents, Seed
from elsewhere.cli.printing import command_line
from elsewhere.terminal import results_in


@dataclass(frozen=True, eq=False, repr=False)
class Architecture:
    """The network to train."""

    network: Annotated[
        Literal["resnet", "unet", "dit"],
        typer.Option(
            help="Kind: a small residual network, diffusers' UNet, or its transformer on patches of 4 pixels."
        ),
    ] = "resnet"
    width: Annotated[
        int, typer.Option(min=1, max=4096, help="Feature maps in every layer; for a dit, a multiple of 16.")
    ] = 64
    blocks: Annotated[
        int,
        typer.Option(min=1, max=1000, help="Residual blocks; for a UNet, layers of each level; for a dit, its layers."),
    ] = 4
    widths: Annotated[
        str | None,
        typer.Option(help="Feature maps of each level of a UNet, as in 32,64,64.", show_default="--width, --width"),
    ] = None
    normalise: Annotated[
        bool, typer.Option("--normalise", help="Keep the group normalisation of a UNet, which sees the whole image.")
    ] = False
    attention: Annotated[
        str | None,
        typer.Option(
            metavar="LEVELS",
            help="Levels of a UNet with self-attention, as in 1,middle: 0 has the whole image, 1 half its sides, ...; "
            "middle is the block below the coarsest level.",
            show_default="none",
        ),
    ] = None
    padding: Annotated[
        Literal["zeros", "circular"], typer.Option(help="Padding of a resnet: zeros feels the borders.")
    ] = "zeros"


@dataclass(frozen=True, eq=False, repr=False)
class Optimiser:
    """How to train it."""

    steps: Annotated[int, typer.Option(min=1, help="Steps of the optimiser.")] = 10_000
    batch: Annotated[int, typer.Option(min=1, max=65_536, help="Images a step.")] = 64
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate, between 0 and 1.")] = 1e-3
    precision: Annotated[
        Literal["no", "bf16", "fp16"], typer.Option(help="Mixed precision: no (float32), bf16 or fp16.")
    ] = "no"
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 500
    sample_every: Annotated[int, typer.Option(min=1, help="Steps between grids of samples.")] = 1000
    seed: Annotated[Seed, Words("Seed of weights, order and noise.")] = 0


@dataclass(frozen=True, eq=False, repr=False)
class Captions:
    """The words to learn."""

    captions: Annotated[
        bool, typer.Option("--captions", help="Learn the captions of the images, in the place of their classes.")
    ] = False
    text_model: Annotated[
        str | None,
        typer.Option(
            help="With --captions: the sentence encoder, a folder that sentence-transformers saved.",
            show_default="all-MiniLM-L6-v2",
        ),
    ] = None

    def chosen(self) -> str:
        """The encoder, "" for none."""
        from elsewhere.text import MODEL

        if self.text_model is not None and not self.captions:
            raise ValueError(f"--text-model {self.text_model} goes with --captions: give both or neither")
        return (self.text_model or MODEL) if self.captions else ""


def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, loss, samples, and at the end the network.")],
    architecture: Architecture = Architecture(),
    optimiser: Optimiser = Optimiser(),
    words: Captions = Captions(),
    restart: Annotated[bool, typer.Option("--restart", help="Drop the checkpoint in --out and begin again.")] = False,
    reading: ImagesOrLatents = ImagesOrLatents(),
) -> None:
    """Train a network on exactly the images a machine reads.

    The same command goes on where a run was stopped, at most one checkpoint interval back. Needs the extra `train`,
    for a UNet or a dit also `networks`, for captions `text`.

    \b
    Examples:
      elsewhere train fashion-mini --width 64 --blocks 4 --steps 20000 --out runs/fashion
      elsewhere train emoji --captions --network unet --widths 32,48,64,64 --blocks 1 --out runs/emoji
      elsewhere train fashion-mini --network unet --normalise --attention 1,middle --out runs/attention
    """
    kept = f"the last checkpoint in {out} is kept; the same command goes on from it"
    with results_in(out, kept, "checkpoint.safetensors", sources=[data]):
        from elsewhere import factory
        from elsewhere.networks import TrainSettings
        from elsewhere.networks import train as run

        options = factory.network_options(
            architecture.network,
            architecture.width,
            architecture.blocks,
            architecture.padding,
            architecture.widths,
            architecture.normalise,
            architecture.attention,
        )
        settings = TrainSettings(
            kind=architecture.network, options=options, text_model=words.chosen(), **asdict(optimiser)
        )
        run(reading.load(data), out, settings, command=command_line(), restart=restart, progress=True)
        for name in ("network.safetensors", "card.md", "loss.png", "samples.png"):
            typer.echo(out / name)
