"""`elsewhere demo`."""

from pathlib import Path
from typing import Annotated

import typer

from elsewhere.cli.options import Seed
from elsewhere.cli.printing import print_comparison
from elsewhere.terminal import results_in


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report and the pictures.")] = Path("elsewhere-demo"),
    count: Annotated[
        int,
        typer.Option(min=1, max=1000, help="Seeds on fashion-mini, classes in turn; a quarter as many on pixel-faces."),
    ] = 8,
    seed: Seed = 0,
) -> None:
    """Show formulas beside trained networks, from the same noise.

    Two networks that came with the package and three formulas (the ideal, the local and the equivariant local machine)
    draw from the same noise, and the agreement is measured. Needs no other files, and takes about a minute.

    \b
    Example:
      elsewhere demo --out elsewhere-demo --count 8
    """
    with results_in(out):
        from elsewhere.demo import REPORT
        from elsewhere.demo import demo as run

        results = run(out, count, seed, progress=True)
        for title, comparison in results.items():
            print_comparison(title, comparison)
        typer.echo(f"report: {out / REPORT}")
