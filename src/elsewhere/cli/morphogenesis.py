"""`elsewhere morphogenesis`."""

from pathlib import Path
from typing import Annotated

import typer

from elsewhere.cli.groups import Words
from elsewhere.cli.options import Seed
from elsewhere.cli.printing import print_rows
from elsewhere.terminal import results_in


def morphogenesis(
    out: Annotated[Path, typer.Option(help="Folder for the pictures, the film and the figures.")] = Path(
        "elsewhere-morphogenesis"
    ),
    side: Annotated[
        int, typer.Option(min=16, max=4096, help="Side of the canvas in large.png; time and size grow with its square.")
    ] = 192,
    seed: Annotated[Seed, Words("Seed of everything.")] = 0,
) -> None:
    """Grow and heal patterns by local rules, beside reaction and diffusion.

    From one small pattern that reaction and diffusion made, the equivariant local machine grows others from noise, of
    any size, and heals wounds in patterns that it has never seen. Takes some minutes.

    \b
    Example:
      elsewhere morphogenesis --out patterns --side 256
    """
    with results_in(out):
        from elsewhere.morphogenesis import study
        from elsewhere.morphogenesis.tour import FILES, LARGE, seconds_of_large, tour
        from elsewhere.phrases import duration

        if side >= LARGE:
            waiting = duration(seconds_of_large(side, seed))
            typer.echo(f"note: large.png of {side}x{side} pixels takes about {waiting} on this machine", err=True)
        found = tour(out, seed, side, progress=True)
        print_rows(study.GROWTH_HEADER, [study.growth_row(growth) for growth in found.growths])
        typer.echo()
        rows = [row for place, recovery in found.recoveries for row in study.healing_rows(place, recovery)]
        print_rows(study.HEALING_HEADER, rows)
        for name in FILES:
            typer.echo(out / name)
