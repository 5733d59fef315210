"""`elsewhere index`."""

from pathlib import Path
from typing import Annotated

import typer

from elsewhere.cli.groups import Words
from elsewhere.cli.options import (
    THE_SHIPPED_ONE,
    AnyData,
    Budget,
    Data,
    Images,
    Label,
    OtherNetwork,
    Windows,
)
from elsewhere.cli.printing import print_rows
from elsewhere.terminal import results_in


def index(
    data: Data,
    network: Annotated[
        OtherNetwork,
        Words("Network whose windows and borders to index: as in `compare` and `explain`.", default=THE_SHIPPED_ONE),
    ] = None,
    windows: Windows = Windows(),
    label: Annotated[
        Label,
        Words(
            "Class: its number or name, cycle for every class on its own, or none for all classes together.",
            default="none",
        ),
    ] = None,
    budget: Budget = Budget(),
    any_data: AnyData = False,
    reading: Images = Images(),
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the indexes; the other commands look where ELSEWHERE_CACHE says.",
            show_default="ELSEWHERE_CACHE, or elsewhere in the user's cache folder",
        ),
    ] = None,
) -> None:
    """Build the indexes that the fast engine searches, before they are needed.

    One for every window of the schedule and every kind of place that many pixels share; each is a file of its own. The
    same command goes on where it was stopped, and other commands on the same images find what is there.

    \b
    Examples:
      elsewhere index fashion-mini
      elsewhere index photos --size 32 --locality windows/locality.json --label cycle
    """
    from elsewhere.files import default_folder

    folder = out or default_folder()
    kept = f"the indexes finished so far are kept in {folder}; the same command goes on from them"
    with results_in(folder, kept, "*.safetensors"):
        from elsewhere import factory, results

        images, net = reading.load_maybe_pair(data, network, any_data)
        machine, source = factory.choose_searched(
            images, network, net, windows.borders, windows.window, windows.locality, windows.taper,
            memory=budget.bytes(), cache=folder,
        )  # fmt: skip
        made = machine.prepare(factory.distinct_labels(label, images), progress=True)
        print_rows(*results.index_rows(made))
        typer.echo(f"windows: {source}")
        typer.echo(results.describe_indexes(made, folder))
