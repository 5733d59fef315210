"""What commands print, and for whom."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from elsewhere.analysis import Comparison
    from elsewhere.prompts import Prompted


def command_line() -> str:
    """The command as it was typed, for the record."""
    return shlex.join(["elsewhere", *sys.argv[1:]])


def print_rows(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table; nothing where there are no rows, and no header where all of its cells are empty."""
    if not rows:
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*header, show_header=any(header), box=None, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*row)
    # Wider than any line where there is no terminal: files and pipes are not cut.
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 200)
    with console.capture() as drawn:
        console.print(table)
    typer.echo(drawn.get(), nl=False)


def print_comparison(title: str, comparison: Comparison) -> None:
    """Print how well machines and a network agree: medians over seeds, and the verdict if there is one."""
    from elsewhere.results import agreement_rows, describe_seeds

    typer.echo(f"{title}: {describe_seeds(comparison)}")
    print_rows(*agreement_rows(comparison))
    if comparison.verdict():
        typer.echo(f"{comparison.verdict()}\n")


def print_prompt(prompted: Prompted) -> None:
    """Print the captions to which a prompt gave the largest weights; for a network, which has none, one line."""
    from elsewhere.results import describe_prompt

    typer.echo(describe_prompt(prompted))
    print_rows(*prompted.table())
