"""`elsewhere compare`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from elsewhere.cli.groups import Words
from elsewhere.cli.options import (
    DEFAULT_MACHINES,
    YARDSTICK,
    AnyData,
    Data,
    Drawing,
    Engine,
    Images,
    Machines,
    Network,
    NetworkBorders,
    Sampler,
    Windows,
)
from elsewhere.cli.printing import command_line, print_comparison
from elsewhere.machines.table import BEST, NAMES
from elsewhere.phrases import listed
from elsewhere.terminal import results_in


@dataclass(frozen=True, eq=False, repr=False)
class NetworkWindows(Windows):
    """As `Windows`, with the borders that networks have."""

    borders: NetworkBorders = None


def compare(
    data: Data,
    network: Network,
    machines: Annotated[
        Machines, Words(f"Machines to compare, of {listed([*NAMES, BEST])}; or all but {BEST}. {YARDSTICK}")
    ] = DEFAULT_MACHINES,
    windows: NetworkWindows = NetworkWindows(),
    family: Annotated[
        Path | None,
        typer.Option(
            help=f"For {BEST}: the file that `elsewhere calibrate --machine {BEST}` wrote.",
            show_default="that of the shipped network",
        ),
    ] = None,
    drawing: Drawing = Drawing(count=32),
    sampler: Sampler = "euler",
    engine: Engine = Engine(),
    any_data: AnyData = False,
    reading: Images = Images(),
    out: Annotated[
        Path, typer.Option(help="Folder for report.html, results.json, results.csv, grid.png and scatter.png.")
    ] = Path("elsewhere-compare"),
) -> None:
    """Measure how well machines and a network agree.

    All of them draw from the same noises; then images are compared one by one. The network must have been trained on
    exactly the images that the machines read.

    \b
    Examples:
      elsewhere compare fashion-mini fashion-resnet --count 32 --out agreement
      elsewhere compare fashion-mini fashion-unet --machines best,els,is
      elsewhere compare fashion-mini fashion-unet --machines network:fashion-resnet --count 64
      elsewhere compare photos runs/photos --size 32 --locality windows/locality.json
    """
    with results_in(out, sources=[data]):
        import elsewhere as els
        from elsewhere.contenders import choose_contenders

        levels = drawing.levels.make()
        images, net = reading.load_pair(data, network, any_data, engine.device)
        chosen, source = choose_contenders(
            machines,
            images,
            network,
            net,
            windows.borders,
            windows.window,
            windows.locality,
            windows.taper,
            any_data,
            family,
            **engine.settings(),
        )
        result = els.compare(
            chosen,
            net,
            drawing.noise(images.shape),
            schedule=levels,
            label=drawing.labels(images, net),
            about={"network": network, "command": command_line(), "windows": source, "seed": str(drawing.seed)},
            progress=True,
            sampler=sampler,
            seed=drawing.seed,
        )
        result.save(out)
        print_comparison(f"{images.name} and {network}", result)
        typer.echo(f"windows: {source}")
        typer.echo(f"report: {out / 'report.html'}")
