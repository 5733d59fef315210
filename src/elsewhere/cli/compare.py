"""`elsewhere compare`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from elsewhere.cli.groups import Words
from elsewhere.cli.options import (
    DEFAULT_MACHINES,
    EVERY_MACHINE,
    YARDSTICK,
    AnyData,
    Data,
    Drawing,
    Engine,
    Guiding,
    ImagesOrLatents,
    Machines,
    Network,
    NetworkBorders,
    Processes,
    Prompting,
    Sampler,
    Windows,
)
from elsewhere.cli.printing import command_line, print_comparison
from elsewhere.machines.table import NETWORK, NETWORK_PREFIX
from elsewhere.terminal import results_in

REFUSED = {
    NETWORK: f"every machine is compared with NETWORK already; {NETWORK_PREFIX}NAME compares a further network with it"
}
"""Names that cannot be compared -> why."""


@dataclass(frozen=True, eq=False, repr=False)
class NetworkWindows(Windows):
    """As `Windows`, with the borders that networks have."""

    borders: NetworkBorders = None


def compare(
    data: Data,
    network: Network,
    machines: Annotated[
        Machines, Words(f"Machines to compare, with commas between them: {EVERY_MACHINE}; {YARDSTICK}.")
    ] = DEFAULT_MACHINES,
    windows: NetworkWindows = NetworkWindows(),
    prompting: Annotated[
        Prompting,
        {
            "prompt": Words(
                "What to draw, in words: machines weigh the captions of the images, the network must take words.",
                names=("--prompt",),
            )
        },
    ] = Prompting(),
    drawing: Drawing = Drawing(count=32),
    sampler: Sampler = "euler",
    guiding: Guiding = Guiding(),
    engine: Engine = Engine(),
    processes: Processes = Processes(),
    any_data: AnyData = False,
    reading: ImagesOrLatents = ImagesOrLatents(),
    out: Annotated[
        Path, typer.Option(help="Folder for report.html, results.json, results.csv, grid.png and scatter.png.")
    ] = Path("elsewhere-compare"),
) -> None:
    """Measure how well machines and a network agree.

    All of them draw from the same noises; then images are compared one by one. The network must have been trained on
    exactly the images that the machines read. --guidance guides the machines and the network alike.

    \b
    Examples:
      elsewhere compare fashion-mini fashion-resnet --count 32 --out agreement
      elsewhere compare fashion-mini fashion-unet --machines best,els,is
      elsewhere compare fashion-mini fashion-unet --machines network:fashion-resnet --count 64
      elsewhere compare fashion-mini fashion-resnet --label trouser --guidance 3 --sampler heun --steps 10
      elsewhere compare photos runs/photos --size 32 --locality windows/locality.json
    """
    with results_in(out, sources=[data]):
        import elsewhere as els
        from elsewhere import results
        from elsewhere.contenders import choose_contenders, split_contenders
        from elsewhere.steering import check_one_prompt, steer

        levels = drawing.levels.make()
        names = split_contenders(machines, refused=REFUSED)
        images, net = reading.load_pair(data, network, any_data, engine.device)
        chosen = choose_contenders(
            names,
            images,
            network,
            net,
            **windows.options(),
            any_data=any_data,
            **processes.options(),
            **engine.settings(),
        )
        check_one_prompt(prompting.prompt, drawing.label)
        labels = None if prompting.prompt else drawing.labels(images, net)
        steered = {
            name: steer(one, images, labels, **prompting.options(), **guiding.options())[0]
            for name, one in {**chosen.denoisers, NETWORK: net}.items()
        }
        theirs = steered.pop(NETWORK)
        result = els.compare(
            {name: one.denoiser for name, one in steered.items()},
            theirs.denoiser,
            drawing.noise(images.shape),
            schedule=levels,
            label=theirs.labels,
            about={
                "network": network,
                "command": command_line(),
                "seed": str(drawing.seed),
                **chosen.about(),
                **results.about_prompts([one.prompt for one in steered.values() if one.prompt is not None][:1]),
            },
            progress=True,
            sampler=sampler,
            seed=drawing.seed,
        )
        result.save(out)
        print_comparison(f"{images.name} and {network}", result)
        typer.echo(f"windows: {chosen.windows}")
        typer.echo(f"report: {out / 'report.html'}")
