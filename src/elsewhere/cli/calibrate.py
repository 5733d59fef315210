"""`elsewhere calibrate`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from elsewhere.cli.groups import Words
from elsewhere.cli.options import AnyData, Budget, Data, Drawing, Images, Network, NetworkBorders, Taper
from elsewhere.cli.printing import is_watched, print_rows
from elsewhere.machines.table import DEFAULT, WindowedName
from elsewhere.terminal import parse_windows, results_in


def calibrate(
    data: Data,
    network: Network,
    machine: Annotated[WindowedName, typer.Option(help="The machine whose windows are sought.")] = DEFAULT,
    borders: NetworkBorders = None,
    windows: Annotated[
        str | None,
        typer.Option(help="Odd sides to try: 3,5,9 or 3-15.", show_default="3 to the side of the image"),
    ] = None,
    taper: Annotated[
        Taper, Words("Tapered windows: pixel weights decrease with the distance from the centre, as networks see.")
    ] = False,
    criterion: Annotated[
        Literal["cosine", "least-squares"],
        typer.Option(help="Similarity of the scores (published), or mean squared difference of the images."),
    ] = "cosine",
    drawing: Annotated[
        Drawing,
        {
            "count": Words("Seeds to average over; 20 or more are steady."),
            "seed": Words("Seed of the noise; compare with another one."),
        },
    ] = Drawing(count=20, seed=1),
    budget: Budget = Budget(),
    any_data: AnyData = False,
    reading: Images = Images(),
    out: Annotated[
        Path, typer.Option(help="Folder for locality.json, its plots, and the cache of finished work.")
    ] = Path("elsewhere-calibrate"),
) -> None:
    """Find the windows that make a machine most like a network.

    The network draws its images; at every noise level on the way every window is tried, and the best one kept. The
    same command goes on where a run was stopped: finished scores are kept in cache.json.

    \b
    Example:
      elsewhere calibrate fashion-mini fashion-resnet --count 20 --out windows
      elsewhere compare fashion-mini fashion-resnet --locality windows/locality.json
    """
    kept = f"finished scores are kept in {out}; the same command goes on from them"
    with results_in(out, kept, "cache.json", sources=[data]):
        import elsewhere as els
        from elsewhere import factory
        from elsewhere.analysis import save_calibration_plots

        levels = drawing.levels.make()
        sides = None if windows is None else parse_windows(windows)
        images, net = reading.load_pair(data, network, any_data)
        found = els.calibrate(
            factory.make_windowed(
                machine, images, 3, factory.choose_borders([machine], borders, net), taper=taper, memory=budget.bytes()
            ),
            net,
            drawing.noise(images.shape),
            schedule=levels,
            label=drawing.labels(images, net),
            windows=sides,
            criterion=criterion,
            cache=out / "cache.json",
            progress=is_watched(),
        )
        found.save(out / "locality.json")
        save_calibration_plots(found, out)
        print_rows(
            ("sigma", "window"), [(f"{s:.4g}", str(w)) for s, w in zip(found.sigmas, found.windows, strict=True)]
        )
        for name in ("locality.json", "scores.png", "windows.png"):
            typer.echo(out / name)
