"""`elsewhere calibrate`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from elsewhere.cli.groups import Words
from elsewhere.cli.options import (
    AnyData,
    Budget,
    Data,
    Device,
    Drawing,
    ImagesOrLatents,
    Network,
    NetworkBorders,
    Taper,
)
from elsewhere.cli.printing import print_rows
from elsewhere.machines.table import BEST, DEFAULT, CalibratedName
from elsewhere.terminal import parse_windows, results_in


def calibrate(
    data: Data,
    network: Network,
    machine: Annotated[
        CalibratedName,
        typer.Option(help=f"The machine whose windows are sought; {BEST} for the best machine of the whole family."),
    ] = DEFAULT,
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
    heldout: Annotated[
        int | None,
        typer.Option(min=1, help=f"For {BEST}: how many of the seeds decide what is kept.", show_default="six tenths"),
    ] = None,
    same_place: Annotated[
        bool,
        typer.Option("--same-place", help=f"For {BEST}: leave out windows under shifts, which take most of the time."),
    ] = False,
    drawing: Annotated[
        Drawing,
        {
            "count": Words("Seeds to average over; 20 or more are steady."),
            "seed": Words("Seed of the noise; compare with another one."),
        },
    ] = Drawing(count=20, seed=1),
    budget: Budget = Budget(),
    device: Device = None,
    any_data: AnyData = False,
    reading: ImagesOrLatents = ImagesOrLatents(),
    out: Annotated[
        Path, typer.Option(help="Folder for locality.json and its plots, or best.json, and the cache of finished work.")
    ] = Path("elsewhere-calibrate"),
) -> None:
    """Find the windows, or the whole machine, that come nearest to a network.

    The network draws its images; at every noise level on the way every window is tried, and the best one kept. The
    same command goes on where a run was stopped: finished scores are kept in cache.json.

    --machine best searches the whole family at each noise level: square and tapered windows, of the same place and
    under shifts, pedestals, pasted patches, and a share of the Wiener machine. Held-out seeds decide what is kept.

    \b
    Example:
      elsewhere calibrate fashion-mini fashion-resnet --count 20 --out windows
      elsewhere compare fashion-mini fashion-resnet --locality windows/locality.json
      elsewhere calibrate fashion-mini fashion-unet --machine best --count 24 --out best
      elsewhere compare fashion-mini fashion-unet --machines best,els --family best/best.json
    """
    kept = f"finished scores are kept in {out}; the same command goes on from them"
    with results_in(out, kept, "cache.json", sources=[data]):
        import elsewhere as els
        from elsewhere import factory, results
        from elsewhere.analysis import describe_gains, save_calibration_plots

        levels = drawing.levels.make()
        if machine == BEST:
            if windows is not None or taper or borders is not None or criterion != "cosine":
                raise ValueError(
                    f"--machine {BEST} tries windows, tapers and borders itself, by least squares: leave out "
                    "--windows, --taper, --borders and --criterion"
                )
            images, net = reading.load_pair(data, network, any_data, device)
            family = els.calibrate_family(
                net,
                images if device is None else images.to(device),
                drawing.noise(images.shape),
                heldout=heldout,
                schedule=levels,
                label=drawing.labels(images, net),
                keys=["same place"] if same_place else ["same place", factory.borders_of(net)],
                cache=out / "cache.json",
                memory=budget.bytes(),
                progress=True,
            )
            family.save(out / "best.json")
            print_rows(*results.family_rows(family))
            typer.echo(describe_gains(family))
            typer.echo(out / "best.json")
            return
        if heldout is not None or same_place:
            raise ValueError(f"--heldout and --same-place go with --machine {BEST}: leave them out")
        sides = None if windows is None else parse_windows(windows)
        images, net = reading.load_pair(data, network, any_data, device)
        found = els.calibrate(
            factory.make_windowed(
                machine,
                images,
                3,
                factory.choose_borders([machine], borders, net),
                taper=taper,
                memory=budget.bytes(),
                device=device,
            ),
            net,
            drawing.noise(images.shape),
            schedule=levels,
            label=drawing.labels(images, net),
            windows=sides,
            criterion=criterion,
            cache=out / "cache.json",
            progress=True,
        )
        found.save(out / "locality.json")
        save_calibration_plots(found, out)
        print_rows(
            ("sigma", "window"), [(f"{s:.4g}", str(w)) for s, w in zip(found.sigmas, found.windows, strict=True)]
        )
        for name in ("locality.json", "scores.png", "windows.png"):
            typer.echo(out / name)
