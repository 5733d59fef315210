"""`elsewhere sample`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elsewhere.cli.groups import Words
from elsewhere.cli.options import (
    KINDS_OF_NETWORK,
    ONE_MACHINE,
    THE_SHIPPED_ONE,
    YARDSTICK,
    Data,
    DefaultDrawer,
    Drawing,
    Engine,
    ImagesAndCanvas,
    OtherNetwork,
    Prompting,
    Sampler,
    Windows,
)
from elsewhere.cli.printing import command_line, print_prompt
from elsewhere.machines.table import DEFAULT, NETWORK, PROMPTED
from elsewhere.terminal import results_in

if TYPE_CHECKING:
    from elsewhere.denoiser import Denoiser


@dataclass(frozen=True, eq=False, repr=False)
class Guiding:
    """Towards which class, and away from what."""

    guidance: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1000,
            help="Classifier-free guidance towards --label or --prompt: 0 draws without it, 1 with it, more moves away "
            "from what all images share.",
            show_default="none",
        ),
    ] = None
    negative: Annotated[
        str | None,
        typer.Option(
            help="With --guidance: a class to move away from, its number or name.", show_default="all classes together"
        ),
    ] = None
    negative_prompt: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="With --prompt and --guidance: words to move away from.", show_default="no prompt"
        ),
    ] = None


def sample(
    data: Data,
    machine: Annotated[
        DefaultDrawer,
        Words(
            f"What draws: {ONE_MACHINE}; {NETWORK} for the one that --network names; {YARDSTICK}.",
            default=f"{DEFAULT}; {PROMPTED} with --prompt",
        ),
    ] = None,
    network: Annotated[
        OtherNetwork,
        Prompting,
        Words(
            f"Network to which the machine is calibrated, or with --machine {NETWORK} the one that draws: "
            f"{KINDS_OF_NETWORK}.",
            default=THE_SHIPPED_ONE,
        ),
    ] = None,
    windows: Annotated[Windows, {"borders": Words(default="aware")}] = Windows(),
    drawing: Annotated[
        Drawing, {"label": Words(default="none"), "count": Words(names=("--count", "--seeds"))}
    ] = Drawing(count=8),
    sampler: Sampler = "euler",
    prompting: Prompting = Prompting(),
    guiding: Guiding = Guiding(),
    engine: Engine = Engine(),
    keep: Annotated[
        bool, typer.Option("--keep", help="Also write trajectory.npz: every state and prediction.")
    ] = False,
    reading: ImagesAndCanvas = ImagesAndCanvas(),
    out: Annotated[Path, typer.Option(help="Folder for grid.png, images.npz and run.json.")] = Path("elsewhere-sample"),
) -> None:
    """Draw images with a machine, or with a trained network.

    \b
    Examples:
      elsewhere sample fashion-mini --label trouser --count 8 --out trousers
      elsewhere sample pixel-faces --machine ls --window 7 --out faces
      elsewhere sample fashion-mini --machine network --network fashion-resnet --label cycle
      elsewhere sample fashion-mini --label trouser --guidance 3 --sampler heun --steps 10
      elsewhere sample fashion-mini --machine best --network fashion-unet --label cycle --out best
      elsewhere sample photos --size 256x512 --count 1 --out wide
      elsewhere sample emoji --prompt "a smiling cat with hearts" --count 8 --out cats
      elsewhere sample emoji --prompt "a red car" --prompt "flowers" --guidance 2 --count 4 --out two-rows
    """
    with results_in(out, sources=[data]):
        import elsewhere as els
        from elsewhere import factory, results
        from elsewhere.contenders import choose_contenders, split_contenders

        levels = drawing.levels.make()
        chosen_machine = machine or (PROMPTED if prompting.prompt else DEFAULT)
        [name] = split_contenders(chosen_machine, "--machine")
        factory.check_prompt_or_label(prompting.prompt, drawing.label)
        read, canvas = reading.split()
        images, net = read.load_for(name, data, network, engine.device)
        chosen = choose_contenders(
            [name], images, network, net, **windows.options(), any_data=True, **engine.settings()
        )
        [denoiser] = chosen.denoisers.values()
        factory.check_canvas(denoiser, canvas)
        prompts = prompting.drawers(
            denoiser, images, guiding.guidance if prompting.prompt else None, guiding.negative_prompt
        )
        labels = factory.choose_labels(drawing.label, drawing.count, images, denoiser)
        if prompts and guiding.negative is not None:
            raise ValueError("--negative is a class: with --prompt give --negative-prompt, words")
        drawers: list[Denoiser] = [*prompts] or [
            factory.guide(denoiser, guiding.guidance, labels, guiding.negative, images)
        ]
        height, width = canvas or images.shape[1:]
        noise = drawing.noise((images.shape[0], height, width), kept=2 * levels.steps if keep else 0)
        runs = [
            els.sample(
                drawer,
                noise,
                levels,
                labels if drawer is denoiser else None,
                sampler=sampler,
                seed=drawing.seed,
                keep=keep,
                progress=True,
            )
            for drawer in drawers
        ]
        run = results.joined(runs)
        about = {
            "command": command_line(),
            "machine": name,
            "seed": drawing.seed,
            **chosen.about(),
            **results.about_prompts(prompts),
        }
        columns = drawing.count if len(runs) > 1 else None
        drawer = drawers[0] if len(drawers) == 1 else denoiser
        for path in results.save_run(out, run, drawer, images, levels, labels, about, columns):
            typer.echo(path)
        for prompt in prompts:
            print_prompt(prompt)
        if results.describe_clipping(run.images):
            typer.echo(f"note: {results.describe_clipping(run.images)}", err=True)
