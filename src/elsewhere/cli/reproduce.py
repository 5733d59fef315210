"""`elsewhere reproduce`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from elsewhere.cli.groups import Words
from elsewhere.cli.options import Engine, Limit, Seed
from elsewhere.cli.printing import print_rows
from elsewhere.terminal import parse_named, results_in


def reproduce(
    protocol: Annotated[
        Literal["kamb", "studio", "golddiff", "pspc", "nda"],
        typer.Argument(metavar="PAPER", help="kamb, studio, golddiff, pspc or nda.", show_default=False),
    ],
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SET=SOURCE",
            help="Images of a set, as DATA of the other commands: mnist=FOLDER. Can be given several times.",
            show_default=False,
        ),
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROW=NETWORK",
            help="Network of a row, as NETWORK of the other commands: mnist/resnet=FOLDER. Can be given several times.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=10_000, help="How many noises, the same for all machines.")] = 16,
    seed: Seed = 0,
    machines: Annotated[
        str | None, typer.Option(help="Machines to draw, as the published table calls them.", show_default="all")
    ] = None,
    limit: Annotated[Limit, Words("Take only the first images: no reproduction, but a quick trial.")] = None,
    engine: Engine = Engine(),
    out: Annotated[Path, typer.Option(help="Folder for table.md, results.json and results.csv.")] = Path(
        "elsewhere-reproduce"
    ),
) -> None:
    """Print the numbers that a paper states beside our own.

    Machines and networks draw as the paper did: its steps, noise levels, windows, clipping and metric. Rows without
    --data and --network are listed with what they need. Published weights are not read: networks are your own.

    \b
    Examples:
      elsewhere reproduce kamb
      elsewhere reproduce kamb --data mnist=digits --network mnist/resnet=runs/digits --seeds 8 --out kamb
    """
    sources = parse_named(data or (), "--data", "SET=SOURCE")
    networks = parse_named(network or (), "--network", "ROW=NETWORK")
    kept = f"the rows finished so far are kept in {out}"
    with results_in(out, kept, sources=list(sources.values())):
        from elsewhere.analysis import reproduce_files
        from elsewhere.analysis.reproduce_run import reproduce as run

        result = run(
            protocol,
            sources,
            networks,
            seeds=seeds,
            seed=seed,
            machines=None if machines is None else [name.strip() for name in machines.split(",")],
            limit=limit,
            settings=engine.settings(),
            folder=out,
            progress=True,
        )
        for line in reproduce_files.describe_protocol(result):
            typer.echo(line)
        print_rows(reproduce_files.HEADER, reproduce_files.table_rows(result))
        for line in reproduce_files.shared_notes(result):
            typer.echo(line)
        typer.echo(f"table: {out / 'table.md'}")
