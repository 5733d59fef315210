"""`elsewhere anomalies`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from elsewhere.cli.groups import Words
from elsewhere.cli.options import (
    DEFAULT_MACHINES,
    EVERY_MACHINE,
    KINDS_OF_NETWORK,
    THE_SHIPPED_ONE,
    YARDSTICK,
    AnyData,
    Budget,
    Count,
    Family,
    Levels,
    Locality,
    Machines,
    MaybeCount,
    OtherNetwork,
    Sampler,
    Seed,
)
from elsewhere.cli.printing import command_line, print_rows
from elsewhere.machines.table import NETWORK
from elsewhere.terminal import parse_windows, results_in


@dataclass(frozen=True, eq=False, repr=False)
class TriedWindows:
    """The windows of the measurement."""

    windows: Annotated[str, typer.Option(help="Late windows, odd sides: 3,5,9 or 3-15.")] = "3,5,9"
    large: Annotated[int, typer.Option(min=1, help="The window before it shrinks, an odd side.")] = 25
    shrink: Annotated[
        str, typer.Option(help="Noise levels at which the large window shrinks to a late one; '' for none.")
    ] = "2,1,0.5"
    locality: Locality = None
    family: Family = None


def anomalies(
    subject: Annotated[
        Literal["hands", "trousers", "pullovers"],
        typer.Argument(
            metavar="SUBJECT",
            help="What is drawn and counted: fingers of hands, legs of trousers, or sleeves of pullovers.",
            show_default=False,
        ),
    ],
    machines: Annotated[
        Machines,
        Words(
            f"Who draws, with commas between them: {EVERY_MACHINE}; {NETWORK} for the one that --network names; "
            f"{YARDSTICK}. els costs by far the most."
        ),
    ] = f"{DEFAULT_MACHINES},{NETWORK}",
    network: Annotated[OtherNetwork, Words(f"Trained network: {KINDS_OF_NETWORK}.", default=THE_SHIPPED_ONE)] = None,
    tried: TriedWindows = TriedWindows(),
    count: Annotated[Count, Words("Pictures of every point of the measurement.")] = 100,
    els_count: Annotated[MaybeCount, Words("Pictures of the points of els.", default="as --count")] = None,
    seed: Seed = 0,
    levels: Levels = Levels(),
    sampler: Sampler = "euler",
    budget: Budget = Budget(),
    any_data: AnyData = False,
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for report.html, results.json, rates.png, grid.png, origins.png and the drawn pictures."
        ),
    ] = Path("elsewhere-anomalies"),
) -> None:
    """Count extra limbs, and measure what windows have to do with them.

    Machines and a network draw from the same noises, and image analysis counts. Measured is the rate of wrong numbers
    for constant windows and for windows that shrink at a noise level, whether the machines are wrong on the same seeds
    as the network, and whether late windows too small to count are to blame. The same command goes on where it was
    stopped, also with more pictures. Needs the extra `anomalies`.

    \b
    Examples:
      elsewhere anomalies hands --machines is,ls,network --count 500 --out hands
      elsewhere anomalies trousers --windows 3,7 --shrink 1 --count 20 --out trousers
    """
    with results_in(out, f"the pictures drawn so far are kept in {out}; the same command goes on from them", "*.npz"):
        from elsewhere.analysis.checks import give_warnings
        from elsewhere.anomalies import measure, plan
        from elsewhere.anomalies.figures import save_pictures
        from elsewhere.contenders import split_contenders

        schedule, names = levels.make(), split_contenders(machines)
        counted, images, points = plan.prepare(
            subject,
            names,
            network,
            any_data,
            plan.Windows(parse_windows(tried.windows), tried.large, plan.parse_levels(tried.shrink), tried.locality),
            schedule,
            count,
            els_count,
            tried.family,
            memory=budget.bytes(),
        )
        result = measure(
            counted,
            points,
            images,
            out,
            schedule=schedule,
            seed=seed,
            about={"command": command_line(), **plan.about(names, counted, network, tried.family)},
            progress=True,
            sampler=sampler,
        )
        give_warnings(result.notes)
        for header, rows in result.tables():
            print_rows(header, rows)
        for path in save_pictures(out, result):
            typer.echo(path)
        typer.echo(out / "results.json")
