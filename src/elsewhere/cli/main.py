"""The program `elsewhere` and its commands."""

from typing import Annotated

import typer

from elsewhere import __version__
from elsewhere.cli.anomalies import anomalies
from elsewhere.cli.attention import attention
from elsewhere.cli.audit import audit
from elsewhere.cli.board import board
from elsewhere.cli.calibrate import calibrate
from elsewhere.cli.compare import compare
from elsewhere.cli.data import data
from elsewhere.cli.demo import demo
from elsewhere.cli.explain import explain
from elsewhere.cli.groups import expand
from elsewhere.cli.index import index
from elsewhere.cli.inpaint import inpaint
from elsewhere.cli.morphogenesis import morphogenesis
from elsewhere.cli.reproduce import reproduce
from elsewhere.cli.sample import sample
from elsewhere.cli.studio import studio
from elsewhere.cli.texture import texture
from elsewhere.cli.train import train
from elsewhere.cli.transition import transition
from elsewhere.terminal import OneLineErrors

app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"elsewhere {__version__}")
        raise typer.Exit


def _kernels(wanted: bool) -> None:
    """Apart from the version: which kernels the processor can run is known to torch, which takes seconds to import."""
    if wanted:
        from elsewhere.engine.kernels.loader import describe

        typer.echo(f"elsewhere {__version__}, {describe()}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    kernels: Annotated[
        bool,
        typer.Option(
            "--kernels", callback=_kernels, is_eager=True, help="Print which compiled kernels are used, and stop."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", hidden=True, help="Show tracebacks; so does ELSEWHERE_DEBUG=1.")
    ] = False,
) -> None:
    """What an image diffusion network draws, in closed form.

    Start with `elsewhere demo`. Results go to standard output, progress and errors to standard error.
    Exit codes: 0 done, 2 bad input (one line says what), 130 stopped with Ctrl-C.
    """


for command in (
    demo, studio, sample, inpaint, texture, train, calibrate, compare, board, explain, index, morphogenesis, anomalies,
    attention, audit, transition, reproduce,
    data,
):  # fmt: skip
    app.command()(expand(command))
