"""`elsewhere sample`."""

from pathlib import Path
from typing import Annotated

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
    Guiding,
    LatentsAndCanvas,
    OtherNetwork,
    Processes,
    Prompting,
    Sampler,
    Windows,
)
from elsewhere.cli.printing import command_line, print_prompt
from elsewhere.machines.table import DEFAULT, NETWORK, PROMPTED
from elsewhere.terminal import results_in


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
    processes: Processes = Processes(),
    keep: Annotated[
        bool, typer.Option("--keep", help="Also write trajectory.npz: every state and prediction.")
    ] = False,
    reading: LatentsAndCanvas = LatentsAndCanvas(),
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
      elsewhere sample emoji --autoencoder emoji-vae --count 8 --out decoded
      elsewhere sample photos --size 256x512 --count 1 --out wide
      elsewhere sample emoji --prompt "a smiling cat with hearts" --count 8 --out cats
      elsewhere sample emoji --prompt "a red car" --prompt "flowers" --guidance 2 --count 4 --out two-rows
    """
    with results_in(out, sources=[data]):
        import elsewhere as els
        from elsewhere import factory, results
        from elsewhere.contenders import choose_contenders, split_contenders
        from elsewhere.steering import check_prompt_or_label, steer

        levels = drawing.levels.make()
        chosen_machine = machine or (PROMPTED if prompting.prompt else DEFAULT)
        [name] = split_contenders(chosen_machine, "--machine")
        check_prompt_or_label(prompting.prompt, drawing.label)
        read, canvas = reading.split()
        images, net = read.load_for(name, data, network, engine.device)
        chosen = choose_contenders(
            [name], images, network, net, **windows.options(), any_data=True, **processes.options(), **engine.settings()
        )
        [denoiser] = chosen.denoisers.values()
        canvas = factory.latent_canvas(images, canvas)
        factory.check_canvas(denoiser, canvas)
        labels = factory.choose_labels(drawing.label, drawing.count, images, denoiser)
        steered = steer(denoiser, images, labels, **prompting.options(), **guiding.options())
        height, width = canvas or images.shape[1:]
        noise = drawing.noise((images.shape[0], height, width), kept=2 * levels.steps if keep else 0)
        runs = [
            els.sample(
                one.denoiser,
                noise,
                levels,
                one.labels,
                sampler=sampler,
                seed=drawing.seed,
                keep=keep,
                progress=True,
            )
            for one in steered
        ]
        prompts = [one.prompt for one in steered if one.prompt is not None]
        about = {
            "command": command_line(),
            "machine": name,
            "seed": drawing.seed,
            **chosen.about(),
            **results.about_prompts(prompts),
        }
        run, drawer = results.joined(runs), steered[0].denoiser if len(steered) == 1 else denoiser
        columns = drawing.count if len(runs) > 1 else None
        for path in results.save_run(out, run, drawer, images, levels, labels, about, columns):
            typer.echo(path)
        for prompt in prompts:
            print_prompt(prompt)
        if results.describe_clipping(run.images):
            typer.echo(f"note: {results.describe_clipping(run.images)}", err=True)
