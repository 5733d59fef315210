"""`elsewhere data`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from elsewhere.cli.groups import Words
from elsewhere.cli.options import Count, Images, MaybeSeed
from elsewhere.cli.printing import print_rows
from elsewhere.terminal import check_file, check_outside, parse_value_range


@dataclass(frozen=True, eq=False, repr=False)
class Source:
    """What to take of a source, and how."""

    crop: Annotated[
        bool,
        typer.Option("--crop/--stretch", help="Reach --size by cutting the middle out, or by changing proportions."),
    ] = True
    resample: Annotated[
        Literal["lanczos", "bilinear"],
        typer.Option(help="Filter that reaches --size; most published runs used bilinear."),
    ] = "lanczos"
    split: Annotated[str, typer.Option(help="Part of a source that has several: train, test, ...")] = "train"
    value_range: Annotated[
        str | None,
        typer.Option(
            metavar="BLACK,WHITE",
            help="Values of black and white in the source, such as 0,1 or 0,4095.",
            show_default="as the source declares",
        ),
    ] = None


def data(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="fashion-mini, pixel-faces, emoji, hands, a folder, .npz, .npy, IDX (.gz), CIFAR-10 (.bin, "
            ".tar.gz), a zip of EDM, hf:NAME; none lists the sets.",
            show_default=False,
        ),
    ] = None,
    reading: Images = Images(),
    part: Source = Source(),
    out: Annotated[Path | None, typer.Option(help="Write a contact sheet, a PNG.", show_default=False)] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Write the images as they were read, an .npz for the other commands.", show_default=False),
    ] = None,
    count: Annotated[Count, Words("Images on the contact sheet.")] = 64,
    seed: Annotated[MaybeSeed, Words("Seed that picks the images of the sheet.", default="the first ones")] = None,
) -> None:
    """Say what is in a set of images.

    Without SOURCE: which sets came with the package, or are drawn by it.

    \b
    Examples:
      elsewhere data fashion-mini --out clothes.png
      elsewhere data photos --size 32 --save photos.npz
      elsewhere data hands:4000 --save hands.npz
    """
    for path, suffix, option in ((out, ".png", "--out"), (save, ".npz", "--save")):
        if path is not None:
            check_file(path, suffix, option)
    from elsewhere import results

    if source is None:
        results.refuse_without_source(
            {
                "--limit": reading.limit,
                "--size": reading.size,
                "--value-range": part.value_range,
                "--out": out,
                "--save": save,
            }
        )
        print_rows(*results.built_in_sets())
        return
    if out is not None:
        check_outside(out, source)
    images = reading.load(
        source,
        fit="crop" if part.crop else "stretch",
        split=part.split,
        resample=part.resample,
        value_range=parse_value_range(part.value_range),
    )
    # Files first: whoever reads the output may stop reading.
    if out is not None:
        results.save_contact_sheet(out, images, count, seed)
    if save is not None:
        if waiting := results.describe_saving(images):
            typer.echo(f"note: {waiting}", err=True)
        images.save(save)
    print_rows(("", ""), results.facts(images))
    for path in (out, save):
        if path is not None:
            typer.echo(path)
