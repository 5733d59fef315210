"""`elsewhere studio`."""

from pathlib import Path
from typing import Annotated

import typer

from elsewhere.cli.groups import Words
from elsewhere.cli.options import KINDS_OF_NETWORK, AnyData, Images, OtherNetwork
from elsewhere.terminal import results_in


def studio(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="Training images of your own, as in the other commands; the embedded sets are always there.",
            show_default=False,
        ),
    ] = None,
    network: Annotated[
        OtherNetwork, Words(f"Network that was trained on DATA: {KINDS_OF_NETWORK}.", default="the shipped one")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port on this machine.", show_default="any free one")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export",
            "--out",
            help="Write the page with recorded answers into this folder instead of serving it: it opens from the disk, "
            "or from any web server.",
            show_default=False,
        ),
    ] = None,
    any_data: AnyData = False,
    reading: Images = Images(),
) -> None:
    """Draw, explain and play in the browser: formulas beside a trained network.

    Prints an address with a random token and serves it to this machine alone until Ctrl-C. Needs the extra `studio`.

    \b
    Examples:
      elsewhere studio
      elsewhere studio photos --size 32 --network runs/photos
      elsewhere studio --export site
    """
    from elsewhere.optional import require

    if network is not None and data is None:
        raise ValueError(f"--network {network} goes with DATA, the images that it was trained on: name them")
    require("uvicorn", extra="studio", purpose="the studio")
    require("starlette", extra="studio", purpose="the studio")
    from elsewhere.studio.subjects import Subjects, own_subject

    def subjects() -> Subjects:
        if data is None:
            return Subjects()
        images, net = reading.load_maybe_pair(data, network, any_data)
        return Subjects([own_subject(images, net, network or "")])

    if export is not None:
        with results_in(export, sources=[data] if data else []):
            from elsewhere.studio.export import export_site

            for path in export_site(subjects(), export, progress=True):
                typer.echo(path)
        return
    from elsewhere.studio.serve import serve

    serve(subjects(), port, browser=browser, announce=lambda address: typer.echo(f"studio: {address}"))
