"""`elsewhere explain`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from elsewhere.cli.groups import Words
from elsewhere.cli.options import (
    KINDS_OF_NETWORK,
    ONE_MACHINE,
    AnyData,
    Data,
    DefaultDrawer,
    Drawing,
    Engine,
    LatentsAndCanvas,
    OtherNetwork,
    Prompting,
    Sampler,
    Windows,
)
from elsewhere.cli.printing import command_line, print_prompt, print_rows
from elsewhere.machines.table import AVERAGES, BEST, DEFAULT, NAMES, NETWORK, NETWORK_PREFIX, PROMPTED
from elsewhere.terminal import parse_pixel, results_in

WEIGHTLESS = tuple(name for name in NAMES if name not in AVERAGES)
OF_NETWORKS = (
    f"a trained network is no average of training images, so there are no weights to show: explain the machine that "
    f"is calibrated to it, with --machine {BEST} --network NAME"
)
REFUSED = {
    **dict.fromkeys(WEIGHTLESS, "its answer is no average of training images with weights: name another machine"),
    NETWORK: OF_NETWORKS,
    NETWORK_PREFIX: OF_NETWORKS,
}
"""Names that cannot be explained -> why."""


@dataclass(frozen=True, eq=False, repr=False)
class Explaining:
    """What to explain, and how to write it."""

    top: Annotated[int, typer.Option(min=1, max=1024, help="Sources named at each pixel.")] = 8
    every_step: Annotated[
        bool, typer.Option("--every-step", help="Explain every step, not the last one alone: also writes run.png.")
    ] = False
    pixel: Annotated[
        str | None,
        typer.Option(
            metavar="ROW,COLUMN",
            help="Pixel of every image whose patches mosaic.png shows, counted from 0.",
            show_default="one in varied surroundings",
        ),
    ] = None
    parquet: Annotated[
        bool,
        typer.Option("--parquet", help="Also write mosaic.parquet, a row for each explained step, pixel and source."),
    ] = False
    json: Annotated[bool, typer.Option("--json", help="Also write the same rows as mosaic.json, which is larger.")] = (
        False
    )


def explain(
    data: Data,
    machine: Annotated[
        DefaultDrawer,
        Words(
            f"What draws: {ONE_MACHINE}; but for {', '.join(WEIGHTLESS)}, which has no weights.",
            default=f"{DEFAULT}; {PROMPTED} with --prompt",
        ),
    ] = None,
    prompting: Annotated[
        Prompting,
        {
            "prompt": Words(
                "What to draw, in words that are compared with the captions of the images.", names=("--prompt",)
            )
        },
    ] = Prompting(),
    network: Annotated[
        OtherNetwork, Words(f"Network to compare the images with: {KINDS_OF_NETWORK}.", default="none")
    ] = None,
    windows: Windows = Windows(),
    drawing: Drawing = Drawing(count=4),
    sampler: Sampler = "euler",
    explaining: Explaining = Explaining(),
    engine: Engine = Engine(),
    any_data: AnyData = False,
    reading: LatentsAndCanvas = LatentsAndCanvas(),
    out: Annotated[Path, typer.Option(help="Folder for explanation.html, mosaic.png and explanation.json.")] = Path(
        "elsewhere-explain"
    ),
) -> None:
    """Name the training patches that every pixel was made of.

    A machine draws images; then every pixel gets its sources, with their weights, and every training image its share
    of the whole. With --network the machine is the one calibrated to that network, and how well both agree is shown
    beside each image. --parquet needs the extra `explain`; with --every-step it has the rows of every step.

    \b
    Examples:
      elsewhere explain fashion-mini --label trouser --every-step --out trousers-explained
      elsewhere explain fashion-mini --network fashion-resnet --count 4 --pixel 14,9 --out explained
      elsewhere explain fashion-mini --machine best --network fashion-unet --label cycle --out best-explained
      elsewhere explain emoji --prompt "a smiling cat with hearts" --pixel 12,10 --out cats-explained
      elsewhere explain patterns.npz --borders torus --size 48x96 --window 9 --out pattern-explained
    """
    with results_in(out, sources=[data]):
        from elsewhere import factory
        from elsewhere.analysis.checks import check_pixel
        from elsewhere.analysis.explanation import explain_images
        from elsewhere.analysis.mosaic_files import require_parquet
        from elsewhere.analysis.named_sources import pixel_rows
        from elsewhere.contenders import choose_contenders, split_contenders
        from elsewhere.latents.decoded import decoded
        from elsewhere.steering import check_one_prompt, steer

        levels = drawing.levels.make()
        if explaining.parquet:
            require_parquet()
        [name] = split_contenders(machine or (PROMPTED if prompting.prompt else DEFAULT), "--machine", REFUSED)
        (read, canvas), pixel = reading.split(), parse_pixel(explaining.pixel)
        images, net = read.load_maybe_pair(data, network, any_data, engine.device)
        found = choose_contenders([name], images, network, net, **windows.options(), **engine.settings())
        [chosen] = found.denoisers.values()
        drawn, canvas = canvas, factory.latent_canvas(images, canvas)
        factory.check_canvas(chosen, canvas)
        check_one_prompt(prompting.prompt, drawing.label)
        labels = None if prompting.prompt else drawing.labels(images, net)
        [steered] = steer(chosen, images, labels, **prompting.options())
        height, width = canvas or images.shape[1:]
        if pixel is not None:
            check_pixel(pixel, *(drawn or factory.picture_size(images)))
        result = explain_images(
            steered.denoiser,
            drawing.noise((images.shape[0], height, width)),
            schedule=levels,
            label=steered.labels,
            network=None if net is None else decoded(net, images),
            top=explaining.top,
            every_step=explaining.every_step,
            about={"command": command_line(), "seed": str(drawing.seed), **found.about()},
            progress=True,
            sampler=sampler,
            seed=drawing.seed,
        )
        files = result.save(out, pixel=pixel, parquet=explaining.parquet, json=explaining.json)
        if steered.prompt is not None:
            print_prompt(steered.prompt)
        print_rows(*result.table())
        print_rows(*pixel_rows(result.pixel_sources(pixel)))
        for path in files:
            typer.echo(path)
