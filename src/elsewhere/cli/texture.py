"""`elsewhere texture`."""

from pathlib import Path
from typing import Annotated

import typer

from elsewhere.cli.groups import Words
from elsewhere.cli.options import Budget, Count, Gray, Picture, Seed
from elsewhere.cli.printing import command_line, print_rows
from elsewhere.terminal import check_replaces_nothing, parse_size, results_in


def texture(
    image: Picture,
    size: Annotated[
        str, typer.Option(metavar="HEIGHTxWIDTH", help="Size of the texture in pixels, such as 256x512.")
    ] = "256x256",
    tileable: Annotated[
        bool, typer.Option("--tileable", help="The texture goes on at its opposite edges, so that it tiles a plane.")
    ] = False,
    scales: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=16,
            help="Number of sizes, each half of the next: coarse structure is drawn first.",
            show_default="4, or as many as windows fit in",
        ),
    ] = None,
    window: Annotated[int, typer.Option(min=3, max=63, help="Odd side of the patches in pixels, at every scale.")] = 15,
    steps: Annotated[int, typer.Option(min=2, max=1000, help="Steps at each scale.")] = 10,
    finish: Annotated[
        int, typer.Option(min=0, max=20, help="Further steps at each scale at little noise, which make it sharper.")
    ] = 2,
    fold: Annotated[
        float,
        typer.Option(
            min=0.12,
            max=10.0,
            help="Width of the weights with which overlapping patches are averaged, in half sides of a patch: the "
            "narrower, the sharper. Published: 0.2, with --finish 0 and --scales 4.",
        ),
    ] = 0.12,
    longest: Annotated[
        int | None,
        typer.Option(min=3, max=20_000, help="Shrink IMAGE first, to this longer side.", show_default="as it is"),
    ] = None,
    gray: Gray = None,
    count: Annotated[Count, Words("How many textures, each from its own noise.")] = 1,
    seed: Annotated[Seed, Words("Seed of the noise: the same seed, the same textures.")] = 0,
    budget: Budget = Budget(),
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Begin again, though unfinished work of the same command is in the folder."),
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for texture.png, beside.png and texture.json.")] = Path(
        "elsewhere-texture"
    ),
) -> None:
    """Draw textures of any size from one image, coarse to fine.

    Time and memory are estimated first. After Ctrl-C, the same command goes on where it was stopped.

    \b
    Examples:
      elsewhere texture bricks.png --size 256x512 --out wall
      elsewhere texture photo.jpg --longest 128 --size 128x128 --tileable --seed 3
    """
    check_replaces_nothing(out, image)
    with results_in(out, "unfinished work is kept: the same command goes on there", "unfinished.npz"):
        from elsewhere.data import load_picture
        from elsewhere.data.pixels import is_transparent
        from elsewhere.textures import TextureSettings
        from elsewhere.textures.cost import estimate_cost
        from elsewhere.textures.files import draw_kept, save_texture
        from elsewhere.textures.plan import describe_scales, plan_texture
        from elsewhere.textures.process import check_run

        side, canvas = parse_size(size)
        if canvas is None:
            assert side is not None
            canvas = (side, side)
        chosen = TextureSettings(window, scales, steps, finish, fold, tileable)
        data = load_picture(image, longest=longest, gray=gray)
        if is_transparent(image):
            typer.echo(f"note: {image}: transparent pixels are laid on white", err=True)
        check_run(count, seed, budget.bytes(), (data.shape[0], *canvas))
        plan = plan_texture(data.scaled(), canvas, chosen, budget.bytes())
        print_rows(("canvas", "image", "its patches"), list(describe_scales(plan)))

        def begin(done: int) -> None:
            if done:
                typer.echo(f"note: {done / plan.work:.0%} were drawn before (--restart begins again)", err=True)
            typer.echo(f"note: {estimate_cost(plan, count, done)}", err=True)

        found = draw_kept(out, plan, count, seed, restart=restart, begin=begin, progress=True)
        about = {"command": command_line(), "image": {"name": data.name, "fingerprint": data.fingerprint()}}
        for path in save_texture(out, found, data.scaled(), plan, about):
            typer.echo(path)
