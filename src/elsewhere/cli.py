"""The command line: one function a command, no logic."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from elsewhere.data import load_images

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def main() -> None:
    """Elsewhere: what a diffusion network draws, in closed form."""


@app.command()
def train(
    data: str,
    out: Annotated[Path, typer.Option()],
    network: str = "resnet",
    width: int = 64,
    blocks: int = 4,
    padding: str = "zeros",
    steps: int = 10_000,
    batch: int = 64,
    learning_rate: float = 1e-3,
    precision: str = "no",
    checkpoint_every: int = 500,
    sample_every: int = 1000,
    seed: int = 0,
    restart: bool = False,
    limit: int | None = None,
) -> None:
    """Train."""
    from elsewhere.networks import TrainSettings
    from elsewhere.networks import train as run

    options = {"width": width, "blocks": blocks, "padding": padding}
    if network == "unet":
        options = {"widths": [width, width], "layers": blocks}
    settings = TrainSettings(
        kind=network,
        options=options,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        precision=precision,
        checkpoint_every=checkpoint_every,
        sample_every=sample_every,
        seed=seed,
    )
    run(
        load_images(data, limit),
        out,
        settings,
        command=" ".join(["elsewhere", *sys.argv[1:]]),
        restart=restart,
        progress=True,
    )
