"""`elsewhere board`."""

from pathlib import Path
from typing import Annotated

import typer

from elsewhere.cli.groups import Words
from elsewhere.cli.options import EVERY_MACHINE, YARDSTICK, AnyData, Engine, Levels, Machines, Sampler, Seed
from elsewhere.cli.printing import command_line, print_rows
from elsewhere.machines.table import ALL, BEST
from elsewhere.terminal import results_in


def board(
    networks: Annotated[
        str,
        typer.Option(
            help="Networks, shipped names or paths; all for those that come with the package, none for held-out images "
            "without a network; with commas between them."
        ),
    ] = "all",
    machines: Annotated[Machines, Words(f"Methods, with commas between them: {EVERY_MACHINE}; {YARDSTICK}.")] = (
        f"{BEST},{ALL}"
    ),
    data: Annotated[
        str | None,
        typer.Option(help="Training images, as in `compare`.", show_default="those that each network was trained on"),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=10_000, help="Images drawn on each network, and held out without one.")
    ] = 16,
    seed: Seed = 0,
    levels: Levels = Levels(),
    sampler: Sampler = "euler",
    engine: Engine = Engine(),
    any_data: AnyData = False,
    out: Annotated[
        Path, typer.Option(help="Folder for report.html, results.json, results.csv and the finished measurements.")
    ] = Path("elsewhere-board"),
) -> None:
    """Measure every machine on every network, on one page.

    How near every machine comes to every network, with paired intervals; its error at every noise level; seconds an
    image and peak memory. A machine that does not apply to a network does not end the board: its row says why. The same
    command goes on where a run was stopped: finished measurements are kept in the folder cells.
    Needs the extra `board`.

    \b
    Examples:
      elsewhere board --out board
      elsewhere board --networks fashion-unet --machines els,network:fashion-resnet --seeds 64 --out yardstick
      elsewhere board --networks none --seeds 64 --out denoising
    """
    kept = f"finished measurements are kept in {out}; the same command goes on from them"
    with results_in(out, kept, "cells/*.json", sources=[] if data is None else [data]):
        from elsewhere import results
        from elsewhere.analysis.board_subjects import named_subjects
        from elsewhere.analysis.scoreboard import board as measure

        schedule = levels.make()
        subjects = named_subjects(networks, machines, seeds, data=data, any_data=any_data, **engine.settings())
        found = measure(
            subjects,
            seeds,
            seed=seed,
            schedule=schedule,
            cache=out / "cells",
            about={"command": command_line()},
            progress=True,
            sampler=sampler,
        )
        found.save(out)
        for title, header, rows in results.board_rows(found):
            typer.echo(title)
            print_rows(header, rows)
        typer.echo(f"report: {out / 'report.html'}")
