"""`elsewhere audit`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from elsewhere.cli.groups import Words
from elsewhere.cli.options import Budget, Images, Seed
from elsewhere.cli.printing import command_line, print_rows
from elsewhere.terminal import results_in


def audit(
    training: Annotated[
        str,
        typer.Argument(
            metavar="TRAINING",
            help="Training images: fashion-mini, pixel-faces, emoji, hands, a folder, .npz, .npy, IDX (.gz), CIFAR-10, "
            "a zip of EDM, or hf:NAME.",
            show_default=False,
        ),
    ],
    generated: Annotated[
        str,
        typer.Argument(
            metavar="GENERATED",
            help="Images to look into, from the same kinds of sources, such as images.npz of `elsewhere sample`.",
            show_default=False,
        ),
    ],
    shift: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Find copies moved by up to this many pixels.",
            show_default="3, or what small images allow",
        ),
    ] = None,
    window: Annotated[int, typer.Option(min=1, help="Odd window side in pixels by which pixels are traced.")] = 3,
    pixels: Annotated[
        int,
        typer.Option(min=0, help="Trace the pixels of so many images that are no copies; takes longest, 0 for none."),
    ] = 32,
    by_class: Annotated[
        bool, typer.Option("--by-class", help="Trace pixels among training images of the image's own class only.")
    ] = False,
    null: Annotated[
        int, typer.Option(min=1, help="Training images to compare with the others, as a reference.")
    ] = 1000,
    seed: Annotated[Seed, Words("Seed that picks those images.")] = 0,
    budget: Annotated[Budget, {"memory": Words("Memory to work in beside the images: 512MB, 2GiB, ...")}] = Budget(),
    reading: Annotated[Images, {"limit": Words("Take only the first training images.")}] = Images(),
    out: Annotated[
        Path, typer.Option(help="Folder for report.html, results.json, results.csv, pairs.png and distances.png.")
    ] = Path("elsewhere-audit"),
) -> None:
    """Look for copies of training images among generated ones.

    Also copies that were moved, mirrored left to right or made noisy. Says how near every image is to the training
    images, beside how near those are to one another, and whether it is put together from training pixels.

    \b
    Examples:
      elsewhere audit fashion-mini trousers/images.npz --by-class --out audit
      elsewhere audit photos generated --size 32 --pixels 0
    """
    with results_in(out, sources=[training, generated]):
        import elsewhere as els
        from elsewhere import results

        found = els.audit(
            reading.load(training),
            replace(reading, limit=None).load(generated),
            shift=shift,
            window=window,
            pixels=pixels,
            by_class=by_class,
            null=null,
            seed=seed,
            memory=budget.bytes(),
            about={"command": command_line()},
            progress=True,
        )
        found.save(out)
        typer.echo(found.headline)
        print_rows(("verdict", "images"), [(verdict, str(count)) for verdict, count in found.counts().items()])
        typer.echo(results.describe_traced(found))
        print_rows(*results.traced_rows(found))
        typer.echo(f"report: {out / 'report.html'}")
