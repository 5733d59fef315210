"""`elsewhere inpaint`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from elsewhere.cli.groups import Words
from elsewhere.cli.options import (
    KINDS_OF_NETWORK,
    ONE_MACHINE,
    YARDSTICK,
    Count,
    Engine,
    Images,
    Label,
    OtherNetwork,
    Seed,
    Windows,
)
from elsewhere.cli.printing import command_line, print_rows
from elsewhere.machines.table import DEFAULT, NETWORK
from elsewhere.terminal import check_replaces_nothing, results_in

if TYPE_CHECKING:
    from torch import Tensor

    from elsewhere.editing import Edit

STEPS = 20


def inpaint(
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE",
            help="An image file, or SET:NUMBER for an image of a set, such as fashion-mini:12.",
            show_default=False,
        ),
    ],
    mask: Annotated[
        Path | None, typer.Option(help="An image of the size of IMAGE, white where it is drawn anew.")
    ] = None,
    box: Annotated[
        str | None, typer.Option(metavar="TOP,LEFT,HEIGHTxWIDTH", help="Instead of --mask, a rectangle, from 0.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="--mask or --box mark what is kept; all the rest is drawn anew.")
    ] = False,
    extend: Annotated[
        str | None,
        typer.Option(
            metavar="PIXELS|HEIGHTxWIDTH",
            help="Draw around IMAGE: so many pixels on every side, or up to this size with IMAGE in the middle.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Training images, as for `elsewhere sample`. Images equal to IMAGE are left out of them.",
            show_default="the set of SET:NUMBER; for a file, its own patches, coarse to fine",
        ),
    ] = None,
    machine: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"With training images, what draws: {ONE_MACHINE}; {NETWORK} for --network; {YARDSTICK}.",
            show_default=DEFAULT,
        ),
    ] = None,
    network: Annotated[
        OtherNetwork, Words(f"Network to which the machine is calibrated, or that draws: {KINDS_OF_NETWORK}.")
    ] = None,
    windows: Annotated[Windows, {"borders": Words(default="aware")}] = Windows(),
    label: Annotated[Label, Words(default="none")] = None,
    count: Annotated[Count, Words("How many variants, each from its own noise.")] = 3,
    seed: Annotated[Seed, Words("Seed of the noise: the same seed, the same variants.")] = 0,
    rounds: Annotated[
        int, typer.Option(min=1, max=1000, help="How often each step is made: more fit the surroundings better.")
    ] = 4,
    steps: Annotated[
        int | None,
        typer.Option(
            min=2, max=1000, help="Steps of the reverse process.", show_default=f"{STEPS}; 10 a scale for own patches"
        ),
    ] = None,
    schedule: Annotated[
        Literal["cosine", "linear", "leading", "trailing", "karras"] | None,
        typer.Option(help="With training images, the noise levels.", show_default="cosine"),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--is/--no-is", help="Also draw with the ideal machine, where sizes allow it.")
    ] = True,
    engine: Engine = Engine(),
    reading: Annotated[
        Images, {"size": Words("Resize every image, IMAGE too, to this many pixels a side.")}
    ] = Images(),
    longest: Annotated[
        int | None,
        typer.Option(min=3, max=20_000, help="Shrink IMAGE first, to this longer side.", show_default="as it is"),
    ] = None,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart",
            help="With training images: begin again, though unfinished work of the same command is in the folder.",
        ),
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for inpaint.png, every variant and inpaint.json.")] = Path(
        "elsewhere-inpaint"
    ),
) -> None:
    """Draw a part of an image anew, the rest held: replace, keep or extend.

    With training images a machine or a network draws, next to the ideal machine (IS). Without them a photograph or
    texture is completed from its own patches. The time is estimated first. With training images, the same command goes
    on where Ctrl-C stopped it.

    \b
    Examples:
      elsewhere inpaint fashion-mini:12 --box 8,6,12x16 --out shirt
      elsewhere inpaint photo.png --mask hole.png --longest 128 --out filled
      elsewhere inpaint photo.png --extend 24 --longest 96 --count 1
      elsewhere inpaint face.png --mask eyes.png --keep --data pixel-faces --machine ls
    """
    check_replaces_nothing(out, Path(image))
    kept = "unfinished work is kept: the same command goes on there"
    with results_in(out, kept, "unfinished.npz", sources=[data] if data else []):
        from elsewhere import editing
        from elsewhere.contenders import split_contenders

        source = data or editing.set_of(image)

        def original() -> tuple[int, int]:
            shape = editing.load_subject(image, None)[0].shape
            return (shape[2], shape[3])

        before = None if longest is None and reading.size is None else original
        if source is None:
            editing.refuse_without_data(
                {
                    "--machine": machine, "--network": network, "--locality": windows.locality,
                    "--taper": windows.taper or None, "--borders": windows.borders, "--label": label,
                    "--schedule": schedule, "--restart": restart or None, "--size": reading.size,
                    "--limit": reading.limit,
                }
            )  # fmt: skip
            pixels, name = editing.load_subject(image, None, longest=longest, gray=reading.gray)
            edit = editing.choose_edit(pixels, mask, box, extend, keep, before)
            drawn = _from_itself(edit, windows.window, steps, count, rounds, seed, engine.budget.bytes())
            about: dict[str, Any] = {"data": None}
        else:
            [name_of] = split_contenders(machine or DEFAULT, "--machine")
            training, net = reading.load_for(name_of, source, network, engine.device)
            pixels, name = editing.load_subject(image, training, longest=longest, size=reading.size, gray=reading.gray)
            edit = editing.choose_edit(pixels, mask, box, extend, keep, before)
            training, equal = editing.without(training, pixels)
            if equal:
                typer.echo(f"note: {equal} of the training images equal IMAGE and are left out", err=True)
            drawn, about = _from_data(
                edit, training, name_of, network, net, windows, label, count, rounds, seed,
                (schedule or "cosine", steps or STEPS), compare, engine, out, restart,
            )  # fmt: skip
        about = {"command": command_line(), "image": name, "seed": seed, "rounds": rounds, **about}
        print_rows(*editing.edit_rows(edit, drawn))
        for path in editing.save_edit(out, edit, drawn, about):
            typer.echo(path)


def _from_itself(
    edit: "Edit", window: int | None, steps: int | None, count: int, rounds: int, seed: int, memory: int
) -> "dict[str, Tensor]":
    from elsewhere.textures import TextureSettings
    from elsewhere.textures.cost import estimate_cost
    from elsewhere.textures.plan import plan_filling
    from elsewhere.textures.process import check_run, run_filling

    check_run(count, seed, memory, tuple(edit.image.shape[1:]))
    settings = TextureSettings(window=window or 15, steps=steps or 10)
    plan = plan_filling(edit.image, edit.missing, settings, memory, rounds)
    typer.echo(f"note: {estimate_cost(plan, count)}", err=True)
    return {"own patches": run_filling(plan, edit.image, edit.missing, count, seed, progress=True).images}


def _from_data(
    edit: "Edit",
    training: Any,
    machine: Any,
    network: str | None,
    net: Any,
    windows: Windows,
    label: str | None,
    count: int,
    rounds: int,
    seed: int,
    levels: tuple[str, int],
    compare: bool,
    engine: Engine,
    out: Path,
    restart: bool,
) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    import elsewhere as els
    from elsewhere import factory
    from elsewhere.contenders import choose_contenders
    from elsewhere.kept_edits import EditRun, describe_cost, draw_kept

    found = choose_contenders(
        [machine], training, network, net, **windows.options(), any_data=True, **engine.settings()
    )
    [denoiser] = found.denoisers.values()
    factory.check_canvas(denoiser, edit.size)
    labels = factory.choose_labels(label, count, training, denoiser)
    chosen = {"network" if machine == NETWORK else machine.upper(): denoiser}
    if compare and machine != "is":
        if edit.size == training.shape[1:]:
            chosen["IS"] = els.IdealScore(training, memory=engine.budget.bytes())
        else:
            typer.echo("note: no comparison to IS, which draws images of the training images' size only", err=True)
    images = edit.image.expand(count, -1, -1, -1).contiguous()
    schedule = els.schedules.named(levels[0], levels[1])
    run = EditRun(chosen, images, edit.missing, schedule, labels, seed, rounds)

    def begin(done: int) -> None:
        if done:
            share = done / (run.calls * len(chosen))
            typer.echo(f"note: {share:.0%} were drawn before (--restart begins again)", err=True)
        typer.echo(f"note: {describe_cost(run, done)}", err=True)

    return draw_kept(out, run, restart=restart, begin=begin, progress=True), {
        "data": {"name": training.name, "images": len(training), "fingerprint": training.fingerprint()},
        "denoisers": {name: repr(one) for name, one in chosen.items()},
        **found.about(),
        "schedule": schedule.name,
    }
