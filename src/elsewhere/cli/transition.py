"""`elsewhere transition`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from elsewhere.cli.groups import Words
from elsewhere.cli.options import (
    KINDS_OF_NETWORK,
    AnyData,
    Count,
    Data,
    Engine,
    Images,
    Levels,
    Machines,
    Seed,
    Windows,
)
from elsewhere.cli.printing import command_line, print_rows
from elsewhere.terminal import parse_counts, results_in


def transition(
    data: Data,
    machines: Annotated[Machines, Words("Machines, with commas between them, or none.")] = "is,ls,els",
    counts: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBERS",
            help="Numbers of training images, 3 or more, with commas between them.",
            show_default="10,30,100,300,... and all",
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Networks that were trained on all of these images, with commas between them, such as checkpoints of "
            f"one training: {KINDS_OF_NETWORK}.",
            show_default="none",
        ),
    ] = None,
    any_data: AnyData = False,
    train: Annotated[
        Literal["no", "resnet", "unet"],
        typer.Option(help="Also train a network from each number of images; needs the extra `train`."),
    ] = "no",
    train_steps: Annotated[int, typer.Option(min=1, help="With --train: steps of the optimiser.")] = 2000,
    width: Annotated[int, typer.Option(min=1, max=4096, help="With --train: feature maps in every layer.")] = 32,
    blocks: Annotated[
        int, typer.Option(min=1, max=1000, help="With --train: blocks; of a UNet, layers of a level.")
    ] = 3,
    count: Annotated[Count, Words("Images that each draws for each number.")] = 64,
    seed: Annotated[Seed, Words("Seed of the noise, and of the choice of training images.")] = 0,
    levels: Levels = Levels(),
    windows: Windows = Windows(),
    engine: Engine = Engine(),
    reading: Images = Images(),
    out: Annotated[
        Path,
        typer.Option(help="Folder for report.html, results.json, results.csv, transition.png and finished points."),
    ] = Path("elsewhere-transition"),
) -> None:
    """Find from how many training images on copying ends.

    Machines are made from 10, 30, 100, ... training images and draw from the same noise. The share of copies among
    what they draw is given against the number of training images, with intervals; copies are what `elsewhere audit`
    calls so. The same command goes on where a run was stopped.

    \\b
    Examples:
      elsewhere transition fashion-mini --out transition
      elsewhere transition emoji --counts 10,100,1000 --count 32
      elsewhere transition fashion-mini --machines is,els --train resnet --train-steps 3000
      elsewhere transition fashion-mini --network fashion-unet,fashion-resnet
    """
    kept = f"finished points are kept in {out}; the same command goes on from them"
    with results_in(out, kept, "points/*.json", sources=[data]):
        import elsewhere as els
        from elsewhere import factory
        from elsewhere.analysis.transition_makers import named_makers
        from elsewhere.contenders import load_yardstick, split_contenders
        from elsewhere.networks import TrainSettings

        schedule, numbers = levels.make(), parse_counts(counts, "--counts")
        names = [] if machines.strip() == "none" else split_contenders(machines)
        if windows.family is not None:
            raise ValueError("--family goes with the machine best, which is not made here: leave it out")
        if not names and network is None and train == "no":
            raise ValueError("--machines none leaves nothing to measure: give --network or --train, or name machines")
        images = reading.load(data)
        options = {name: value for name, value in windows.options().items() if name != "family"}
        how = None
        if train != "no":
            how = TrainSettings(
                kind=train, options=factory.network_options(train, width, blocks, "zeros"), steps=train_steps
            )
        makers = named_makers(names, training=how, folder=out / "networks", **options, **engine.settings())
        sources = [] if network is None else [name.strip() for name in network.split(",")]
        found = els.transition(
            images,
            makers,
            numbers,
            networks={name: load_yardstick(name, images, any_data, engine.device or "cpu") for name in sources},
            images=count,
            schedule=schedule,
            seed=seed,
            cache=out / "points",
            about={
                "command": command_line(),
                "windows": {name: str(value) for name, value in options.items()},
                **({} if how is None else {"training": asdict(how)}),
            },
            progress=True,
        )
        files = found.save(out)
        print_rows(*found.table())
        typer.echo(found.headline)
        for path in files:
            typer.echo(path)
