"""`elsewhere attention`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from elsewhere.cli.groups import Words
from elsewhere.cli.options import AnyData, Data, Device, Images, Levels, Seed
from elsewhere.cli.printing import command_line, print_rows
from elsewhere.machines.table import BEST, NAMES, NETWORK, NETWORK_PREFIX
from elsewhere.terminal import parse_windows, results_in

REFUSED = {
    NETWORK: "networks are arguments of this command: name them after DATA",
    NETWORK_PREFIX: "networks are arguments of this command: name them after DATA",
    BEST: "its windows belong to one network: in Python, give its machine to els.attention_report",
}
"""Names that stand for no machine here -> why."""


def attention(
    data: Data,
    networks: Annotated[
        list[str],
        typer.Argument(
            metavar="NETWORK...",
            help="Trained networks: shipped names, trained folders or files, or diffusers folders.",
            show_default=False,
        ),
    ],
    machines: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help=f"Machines to measure beside the networks, with commas between them: {', '.join(NAMES)}.",
            show_default="none",
        ),
    ] = None,
    windows: Annotated[
        str | None,
        typer.Option(
            help="Odd sides of windows in pixels: 7,13,27.",
            show_default="a quarter, a half, three quarters and all of the image",
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=2, max=10_000, help="Training images, each with its own noise.")] = 16,
    pixels: Annotated[
        int, typer.Option(min=1, max=10_000, help="Pixels of each image where what is outside is exchanged.")
    ] = 4,
    levels: Annotated[Levels, {"steps": Words("Noise levels.")}] = Levels(steps=8),
    seed: Annotated[Seed, Words("Seed of images, pixels and noise.")] = 0,
    device: Device = None,
    any_data: AnyData = False,
    reading: Images = Images(),
    out: Annotated[
        Path,
        typer.Option(help="Folder for report.html, results.json, results.csv, gap.png, attention.png and where.png."),
    ] = Path("elsewhere-attention"),
) -> None:
    """Measure how far networks look: their locality gap, and where their attention looks.

    A local denoiser answers the same at a pixel whatever lies outside the window around it. How much the answer changes
    is measured for three things outside: another image, fresh noise, and nothing, with every self-attention layer held
    to the window. Beside it: distance and share of attention beyond the window, for every layer, head and noise level.

    \b
    Examples:
      elsewhere attention fashion-mini fashion-unet fashion-resnet --machines is --out locality
      elsewhere attention fashion-mini runs/attention runs/convolution --windows 7,13,19,27 --out attention
    """
    with results_in(out, sources=[data]):
        import elsewhere as els
        from elsewhere import results
        from elsewhere.contenders import choose_contenders, load_yardstick, split_contenders

        sides = None if windows is None else parse_windows(windows)
        names = [] if machines is None else split_contenders(machines, refused=REFUSED)
        called = results.short_names(networks)
        images, first = reading.load_pair(data, networks[0], any_data, device)
        others = [load_yardstick(source, images, any_data, device or "cpu") for source in networks[1:]]
        denoisers = dict(zip(called, (first, *others), strict=True))
        if names:
            settings: dict[str, Any] = {} if device is None else {"device": device}
            denoisers |= choose_contenders(names, images, networks[0], first, **settings).denoisers
        found = els.attention_report(
            denoisers,
            images,
            windows=sides,
            schedule=levels.make(),
            count=count,
            pixels=pixels,
            seed=seed,
            about={"command": command_line()},
            progress=True,
        )
        found.save(out)
        print_rows(*results.attention_rows(found))
        typer.echo(f"report: {out / 'report.html'}")
