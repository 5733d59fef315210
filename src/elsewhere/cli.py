"""The command line: one function a command. Each reads its options, calls the library and prints the result."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from elsewhere.limits import LARGEST_SIDE
from elsewhere.terminal import (
    OneLineErrors,
    check_file,
    parse_memory,
    parse_pixel,
    parse_size,
    parse_value_range,
    parse_windows,
    results_in,
)

if TYPE_CHECKING:
    from elsewhere.analysis import Audit, Comparison
    from elsewhere.data import ImageSet
    from elsewhere.denoiser import Denoiser

# Commands import the library themselves: it brings torch, which takes seconds, and a misspelt option need not wait.

app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="Training images: fashion-mini, pixel-faces, hands, a folder, .npz, .npy, IDX (.gz), or hf:NAME.",
        show_default=False,
    ),
]
Network = Annotated[
    str,
    typer.Argument(
        metavar="NETWORK",
        help="Trained network: a shipped name, a folder or file that `elsewhere train` wrote, or a diffusers folder.",
        show_default=False,
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Take only the first images.", show_default="all")]
Size = Annotated[
    int | None,
    typer.Option(
        min=1, max=LARGEST_SIDE, help="Resize every image to this many pixels a side.", show_default="as stored"
    ),
]
Canvas = Annotated[
    str | None,
    typer.Option(
        metavar="SIDE|HEIGHTxWIDTH",
        help="SIDE resizes every training image to this many pixels a side, as in the other commands; HEIGHTxWIDTH "
        "draws images of this size from the training images as they are.",
        show_default="as stored",
    ),
]
Gray = Annotated[
    bool | None,
    typer.Option("--gray/--colour", help="Turn colours to gray, or gray to colour.", show_default="as stored"),
]
IgnoreLabels = Annotated[
    bool, typer.Option("--ignore-labels", help="Read the images alone, for labels that are no single class number.")
]
Count = Annotated[int, typer.Option(min=1, max=10_000, help="How many images, each from its own noise.")]
Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of the noise: the same seed, the same images.")]
Steps = Annotated[int, typer.Option(min=1, max=10_000, help="Steps of the reverse process.")]
ScheduleName = Annotated[
    Literal["cosine", "linear", "karras"],
    typer.Option("--schedule", help="Noise levels: the published cosine ones, DDPM's, or EDM's (Karras)."),
]
Label = Annotated[
    str | None,
    typer.Option(
        help="Class: its number or name, cycle for one class after the other, or none for all classes together.",
        show_default="none",
    ),
]
NetworkLabel = Annotated[
    str | None,
    typer.Option(
        help="Class: its number or name, cycle for one class after the other, or none for all classes together.",
        show_default="cycle if the network knows classes, else none",
    ),
]
Borders = Annotated[
    Literal["aware", "wrap"] | None,
    typer.Option(
        help="Borders of els: aware of them, as a network with zero padding, or wrapping, as with circular padding.",
        show_default="as the network pads",
    ),
]
AnyBorders = Annotated[
    Literal["aware", "wrap", "torus"] | None,
    typer.Option(
        help="Borders of els: aware of them, wrapping round, or torus: training images wrap round too.",
        show_default="as the network pads",
    ),
]
WindowSide = Annotated[
    int | None, typer.Option(min=1, help="One odd window side in pixels for every noise level.", show_default=False)
]
Taper = Annotated[
    bool,
    typer.Option(
        "--taper",
        help="With --window: its pixels count the less the farther they are from its centre, as networks see.",
    ),
]
Locality = Annotated[
    Path | None,
    typer.Option(
        help="File of windows for each noise level, as `elsewhere calibrate` writes it.",
        show_default="those calibrated for the shipped network, else published ones",
    ),
]
Memory = Annotated[str, typer.Option(help="Memory that a machine may use beside the images: 512MB, 2GiB, ...")]
EngineName = Annotated[
    Literal["auto", "exact", "fast"],
    typer.Option(
        "--engine",
        help="How els weighs windows: exact reads all of them, fast searches an index for those that matter, auto is "
        "fast for many images. The other machines read all of them.",
    ),
]
Tolerance = Annotated[
    float,
    typer.Option(min=1e-5, max=0.1, help="Error of a prediction that the fast engine aims for, pixels being in -1..1."),
]
AnyData = Annotated[
    bool, typer.Option("--any-data", help="Go on although the network was trained on other images: a warning remains.")
]


def _version(wanted: bool) -> None:
    if wanted:
        from elsewhere import __version__
        from elsewhere.engine.kernels.loader import describe

        typer.echo(f"elsewhere {__version__} ({describe()})")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version and stop.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", hidden=True, help="Show tracebacks; so does ELSEWHERE_DEBUG=1.")
    ] = False,
) -> None:
    """What an image diffusion network draws, in closed form.

    Start with `elsewhere demo`. Results go to standard output, progress and errors to standard error.
    Exit codes: 0 done, 2 bad input (one line says what), 130 stopped with Ctrl-C.
    """


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report and the pictures.")] = Path("elsewhere-demo"),
    count: Annotated[
        int,
        typer.Option(min=1, max=1000, help="Seeds on fashion-mini, classes in turn; a quarter as many on pixel-faces."),
    ] = 8,
    seed: Seed = 0,
) -> None:
    """Show formulas beside trained networks, from the same noise.

    The ideal, the local and the equivariant local machine draw what two networks draw that came with the package, and
    the agreement is measured. Needs nothing else, and a few minutes.

    \b
    Example:
      elsewhere demo --out elsewhere-demo --count 8
    """
    with results_in(out):
        from elsewhere.demo import REPORT
        from elsewhere.demo import demo as run

        results = run(out, count, seed, progress=_watched())
        for title, comparison in results.items():
            _print_comparison(title, comparison)
        typer.echo(f"report: {out / REPORT}")


@app.command()
def sample(
    data: Data,
    machine: Annotated[
        Literal["is", "ls", "els", "network"],
        typer.Option(help="What draws: the ideal, local or equivariant local machine, or a trained network."),
    ] = "els",
    network: Annotated[
        str | None,
        typer.Option(help="With --machine network: a shipped name, a trained folder or file, or a diffusers folder."),
    ] = None,
    window: WindowSide = None,
    taper: Taper = False,
    locality: Locality = None,
    borders: Annotated[
        Literal["aware", "wrap", "torus"] | None,
        typer.Option(
            help="Borders of els: aware of them, wrapping round, or torus: training images wrap round too.",
            show_default="aware",
        ),
    ] = None,
    label: Label = None,
    count: Annotated[
        int, typer.Option("--count", "--seeds", min=1, max=10_000, help="How many images, each from its own noise.")
    ] = 8,
    seed: Seed = 0,
    steps: Steps = 20,
    schedule: ScheduleName = "cosine",
    memory: Memory = "1GB",
    engine: EngineName = "auto",
    tolerance: Tolerance = 1e-3,
    keep: Annotated[
        bool, typer.Option("--keep", help="Also write trajectory.npz: every state and prediction.")
    ] = False,
    limit: Limit = None,
    size: Canvas = None,
    gray: Gray = None,
    ignore_labels: IgnoreLabels = False,
    out: Annotated[Path, typer.Option(help="Folder for grid.png, images.npz and run.json.")] = Path("elsewhere-sample"),
) -> None:
    """Draw images with a machine, or with a trained network.

    \b
    Examples:
      elsewhere sample fashion-mini --label trouser --count 8 --out trousers
      elsewhere sample pixel-faces --machine ls --window 7 --out faces
      elsewhere sample fashion-mini --machine network --network fashion-resnet --label cycle
      elsewhere sample photos --size 256x512 --count 1 --out wide
    """
    with results_in(out):
        import elsewhere as els
        from elsewhere import choices, results

        levels = els.schedules.named(schedule, steps)
        side, canvas = parse_size(size)
        images = _load(data, limit, side, gray, ignore_labels)
        denoiser, origin = choices.choose_denoiser(
            machine,
            images,
            network,
            choices.choose_borders([machine], borders),
            window,
            locality,
            taper,
            memory=parse_memory(memory),
            engine=engine,
            tolerance=tolerance,
        )
        if machine == "network":
            choices.check_shape(denoiser, images)
        choices.check_canvas(denoiser, canvas)
        labels = choices.choose_labels(label, count, images, denoiser)
        noise = choices.draw_noise(
            count, (images.shape[0], *(canvas or images.shape[1:])), seed, kept=2 * steps if keep else 0
        )
        run = els.sample(denoiser, noise, levels, labels, keep=keep, progress=_watched())
        about = {"command": _command(), "seed": seed, "windows": origin}
        for path in results.save_run(out, run, denoiser, images, levels, labels, about):
            typer.echo(path)
        if results.describe_clipping(run.images):
            typer.echo(f"note: {results.describe_clipping(run.images)}", err=True)


@app.command()
def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, loss, samples, and at the end the network.")],
    network: Annotated[
        Literal["resnet", "unet"], typer.Option(help="Kind: a small residual network, or diffusers' UNet.")
    ] = "resnet",
    width: Annotated[int, typer.Option(min=1, max=4096, help="Feature maps in every layer.")] = 64,
    blocks: Annotated[
        int, typer.Option(min=1, max=1000, help="Residual blocks; for a UNet, layers of each level.")
    ] = 4,
    padding: Annotated[
        Literal["zeros", "circular"], typer.Option(help="Padding of a resnet: zeros feels the borders.")
    ] = "zeros",
    steps: Annotated[int, typer.Option(min=1, help="Steps of the optimiser.")] = 10_000,
    batch: Annotated[int, typer.Option(min=1, max=65_536, help="Images a step.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate, between 0 and 1.")] = 1e-3,
    precision: Annotated[
        Literal["no", "bf16", "fp16"], typer.Option(help="Mixed precision: no (float32), bf16 or fp16.")
    ] = "no",
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 500,
    sample_every: Annotated[int, typer.Option(min=1, help="Steps between grids of samples.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of weights, order and noise.")] = 0,
    restart: Annotated[bool, typer.Option("--restart", help="Drop the checkpoint in --out and begin again.")] = False,
    limit: Limit = None,
    size: Size = None,
    gray: Gray = None,
    ignore_labels: IgnoreLabels = False,
) -> None:
    """Train a network on exactly the images a machine reads.

    The same command goes on where a run was stopped, at most one checkpoint interval back. Needs the extra `train`,
    for a UNet also `networks`.

    \b
    Example:
      elsewhere train fashion-mini --width 64 --blocks 4 --steps 20000 --out runs/fashion
    """
    with results_in(
        out, f"the last checkpoint in {out} is kept; the same command goes on from it", "checkpoint.safetensors"
    ):
        from elsewhere import choices
        from elsewhere.networks import TrainSettings
        from elsewhere.networks import train as run

        settings = TrainSettings(
            kind=network,
            options=choices.network_options(network, width, blocks, padding),
            steps=steps,
            batch=batch,
            learning_rate=learning_rate,
            precision=precision,
            checkpoint_every=checkpoint_every,
            sample_every=sample_every,
            seed=seed,
        )
        images = _load(data, limit, size, gray, ignore_labels)
        run(images, out, settings, command=_command(), restart=restart, progress=_watched())
        for name in ("network.safetensors", "card.md", "loss.png", "samples.png"):
            typer.echo(out / name)


@app.command()
def calibrate(
    data: Data,
    network: Network,
    machine: Annotated[Literal["ls", "els"], typer.Option(help="The machine whose windows are sought.")] = "els",
    borders: Borders = None,
    windows: Annotated[
        str | None,
        typer.Option(help="Odd sides to try: 3,5,9 or 3-15.", show_default="3 to the side of the image"),
    ] = None,
    taper: Annotated[
        bool,
        typer.Option(
            "--taper", help="Windows whose pixels count the less the farther they are from the centre, as networks see."
        ),
    ] = False,
    criterion: Annotated[
        Literal["cosine", "least-squares"],
        typer.Option(help="Similarity of the scores (published), or mean squared difference of the images."),
    ] = "cosine",
    label: NetworkLabel = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Seeds to average over; 20 or more are steady.")] = 20,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of the noise; compare with another one.")] = 1,
    steps: Steps = 20,
    schedule: ScheduleName = "cosine",
    memory: Memory = "1GB",
    any_data: AnyData = False,
    limit: Limit = None,
    size: Size = None,
    gray: Gray = None,
    ignore_labels: IgnoreLabels = False,
    out: Annotated[
        Path, typer.Option(help="Folder for locality.json, its plots, and the cache of finished work.")
    ] = Path("elsewhere-calibrate"),
) -> None:
    """Find the windows that make a machine most like a network.

    The network draws its images; at every noise level on the way every window is tried, and the best one kept. The
    same command goes on where a run was stopped: finished scores are kept in cache.json.

    \b
    Example:
      elsewhere calibrate fashion-mini fashion-resnet --count 20 --out windows
      elsewhere compare fashion-mini fashion-resnet --locality windows/locality.json
    """
    with results_in(out, f"finished scores are kept in {out}; the same command goes on from them", "cache.json"):
        import elsewhere as els
        from elsewhere import choices
        from elsewhere.analysis import save_calibration_plots

        levels = els.schedules.named(schedule, steps)
        sides = None if windows is None else parse_windows(windows)
        images, net = _load_pair(data, limit, size, gray, ignore_labels, network, any_data)
        found = els.calibrate(
            choices.make_windowed(
                machine,
                images,
                3,
                choices.choose_borders([machine], borders, net),
                taper=taper,
                memory=parse_memory(memory),
            ),
            net,
            choices.draw_noise(count, images.shape, seed),
            schedule=levels,
            label=choices.choose_labels(choices.default_label(net) if label is None else label, count, images, net),
            windows=sides,
            criterion=criterion,
            cache=out / "cache.json",
            progress=_watched(),
        )
        found.save(out / "locality.json")
        save_calibration_plots(found, out)
        _print_rows(
            ("sigma", "window"), [(f"{s:.4g}", str(w)) for s, w in zip(found.sigmas, found.windows, strict=True)]
        )
        for name in ("locality.json", "scores.png", "windows.png"):
            typer.echo(out / name)


@app.command()
def compare(
    data: Data,
    network: Network,
    machines: Annotated[str, typer.Option(help="Machines to compare, of is, ls and els.")] = "is,ls,els",
    window: WindowSide = None,
    taper: Taper = False,
    locality: Locality = None,
    borders: Borders = None,
    label: NetworkLabel = None,
    count: Count = 32,
    seed: Seed = 0,
    steps: Steps = 20,
    schedule: ScheduleName = "cosine",
    memory: Memory = "1GB",
    engine: EngineName = "auto",
    tolerance: Tolerance = 1e-3,
    any_data: AnyData = False,
    limit: Limit = None,
    size: Size = None,
    gray: Gray = None,
    ignore_labels: IgnoreLabels = False,
    out: Annotated[
        Path, typer.Option(help="Folder for report.html, results.json, results.csv, grid.png and scatter.png.")
    ] = Path("elsewhere-compare"),
) -> None:
    """Measure how well machines and a network agree.

    All of them draw from the same noises; then images are compared one by one. The network must have been trained on
    exactly the images that the machines read.

    \b
    Examples:
      elsewhere compare fashion-mini fashion-resnet --count 32 --out agreement
      elsewhere compare photos runs/photos --size 32 --locality windows/locality.json
    """
    with results_in(out):
        import elsewhere as els
        from elsewhere import choices

        levels = els.schedules.named(schedule, steps)
        images, net = _load_pair(data, limit, size, gray, ignore_labels, network, any_data)
        drawers = choices.split_names(machines)
        chosen, origin = choices.choose_machines(
            drawers,
            images,
            network,
            choices.choose_borders(drawers, borders, net),
            window,
            locality,
            taper,
            memory=parse_memory(memory),
            engine=engine,
            tolerance=tolerance,
        )
        result = els.compare(
            chosen,
            net,
            choices.draw_noise(count, images.shape, seed),
            schedule=levels,
            label=choices.choose_labels(choices.default_label(net) if label is None else label, count, images, net),
            about={"network": network, "command": _command(), "windows": origin, "seed": str(seed)},
            progress=_watched(),
        )
        result.save(out)
        _print_comparison(f"{images.name} and {network}", result)
        typer.echo(f"windows: {origin}")
        typer.echo(f"report: {out / 'report.html'}")


@app.command()
def explain(
    data: Data,
    machine: Annotated[
        Literal["is", "ls", "els"], typer.Option(help="What draws: the ideal, local or equivariant local machine.")
    ] = "els",
    network: Annotated[
        str | None,
        typer.Option(
            help="Network to hold the images against: a shipped name, a trained folder or file, or a diffusers folder.",
            show_default="none",
        ),
    ] = None,
    window: WindowSide = None,
    taper: Taper = False,
    locality: Locality = None,
    borders: AnyBorders = None,
    label: NetworkLabel = None,
    count: Count = 4,
    seed: Seed = 0,
    steps: Steps = 20,
    schedule: ScheduleName = "cosine",
    top: Annotated[int, typer.Option(min=1, max=1024, help="Sources named at each pixel.")] = 8,
    every_step: Annotated[
        bool, typer.Option("--every-step", help="Explain every step, not the last one alone: also writes run.png.")
    ] = False,
    pixel: Annotated[
        str | None,
        typer.Option(
            metavar="ROW,COLUMN",
            help="Pixel of every image whose patches mosaic.png shows, counted from 0.",
            show_default="one in varied surroundings",
        ),
    ] = None,
    parquet: Annotated[
        bool,
        typer.Option("--parquet", help="Also write mosaic.parquet, a row for each explained step, pixel and source."),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Also write the same rows as mosaic.json, which is larger.")
    ] = False,
    memory: Memory = "1GB",
    engine: EngineName = "auto",
    tolerance: Tolerance = 1e-3,
    any_data: AnyData = False,
    limit: Limit = None,
    size: Canvas = None,
    gray: Gray = None,
    ignore_labels: IgnoreLabels = False,
    out: Annotated[Path, typer.Option(help="Folder for mosaic.png and explanation.json.")] = Path("elsewhere-explain"),
) -> None:
    """Name the training patches that every pixel was made of.

    A machine draws images; then every pixel gets its sources, with their weights, and every training image its share
    of the whole. With --network the machine is the one calibrated to that network, and how well both agree is shown
    beside each image. --parquet needs the extra `explain`; with --every-step it has the rows of every step.

    \b
    Examples:
      elsewhere explain fashion-mini --label trouser --every-step --out trousers-explained
      elsewhere explain fashion-mini --network fashion-resnet --count 4 --pixel 14,9 --out explained
      elsewhere explain patterns.npz --borders torus --size 48x96 --window 9 --out pattern-explained
    """
    with results_in(out):
        import elsewhere as els
        from elsewhere import choices
        from elsewhere.analysis.checks import check_pixel
        from elsewhere.analysis.explanation import explain_images
        from elsewhere.analysis.mosaic_files import require_parquet

        levels = els.schedules.named(schedule, steps)
        if parquet:
            require_parquet()
        (side, canvas), shown = parse_size(size), parse_pixel(pixel)
        images, net = _load_maybe_pair(data, limit, side, gray, ignore_labels, network, any_data)
        chosen, origin = choices.choose_machines(
            [machine],
            images,
            network or choices.NETWORK_OF.get(images.name),
            choices.choose_borders([machine], borders, net),
            window,
            locality,
            taper,
            memory=parse_memory(memory),
            engine=engine,
            tolerance=tolerance,
        )
        choices.check_canvas(chosen[machine.upper()], canvas)
        height, width = canvas or images.shape[1:]
        if shown is not None:
            check_pixel(shown, height, width)
        result = explain_images(
            chosen[machine.upper()],
            choices.draw_noise(count, (images.shape[0], height, width), seed),
            schedule=levels,
            label=choices.choose_labels(choices.default_label(net) if label is None else label, count, images, net),
            network=net,
            top=top,
            every_step=every_step,
            about={"command": _command(), "windows": origin, "seed": str(seed)},
            progress=_watched(),
        )
        files = result.save(out, pixel=shown, parquet=parquet, json=json)
        _print_rows(*result.table())
        for path in files:
            typer.echo(path)


@app.command()
def index(
    data: Data,
    network: Annotated[
        str | None,
        typer.Option(
            help="Network whose windows and borders to index: as in `compare` and `explain`.",
            show_default="the one shipped for these images",
        ),
    ] = None,
    window: WindowSide = None,
    locality: Locality = None,
    borders: AnyBorders = None,
    label: Annotated[
        str | None,
        typer.Option(
            help="Class: its number or name, cycle for every class on its own, or none for all classes together.",
            show_default="none",
        ),
    ] = None,
    memory: Memory = "1GB",
    any_data: AnyData = False,
    limit: Limit = None,
    size: Size = None,
    gray: Gray = None,
    ignore_labels: IgnoreLabels = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the indexes; the other commands look where ELSEWHERE_CACHE says.",
            show_default="ELSEWHERE_CACHE, or elsewhere in the user's cache folder",
        ),
    ] = None,
) -> None:
    """Build the indexes that the fast engine searches, before they are needed.

    One for every window of the schedule and every kind of place that many pixels share; each is a file of its own. The
    same command goes on where it was stopped, and other commands on the same images find what is there.

    \b
    Examples:
      elsewhere index fashion-mini
      elsewhere index photos --size 32 --locality windows/locality.json --label cycle
    """
    from elsewhere.files import default_folder

    folder = out or default_folder()
    with results_in(
        folder, f"the indexes finished so far are kept in {folder}; the same command goes on from them", "*.safetensors"
    ):
        import elsewhere as els
        from elsewhere import choices, results

        images, net = _load_maybe_pair(data, limit, size, gray, ignore_labels, network, any_data)
        sides, origin = choices.choose_window("els", network or choices.NETWORK_OF.get(images.name), window, locality)
        machine = els.EquivariantLocalScore(
            images,
            sides,
            choices.choose_borders(["els"], borders, net),
            engine="fast",
            memory=parse_memory(memory),
            cache=folder,
        )
        made = machine.prepare(choices.distinct_labels(label, images), progress=_watched())
        _print_rows(*results.index_rows(made))
        typer.echo(f"windows: {origin}")
        typer.echo(results.describe_indexes(made, folder))


@app.command()
def morphogenesis(
    out: Annotated[Path, typer.Option(help="Folder for the pictures, the film and the figures.")] = Path(
        "elsewhere-morphogenesis"
    ),
    side: Annotated[
        int, typer.Option(min=16, max=4096, help="Side of the canvas in large.png; time and size grow with its square.")
    ] = 192,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of everything.")] = 0,
) -> None:
    """Grow and heal patterns by local rules, beside reaction and diffusion.

    From one small pattern that reaction and diffusion made, the equivariant local machine grows others from noise, of
    any size, and heals wounds in patterns that it has never seen. Takes some minutes.

    \b
    Example:
      elsewhere morphogenesis --out patterns --side 256
    """
    with results_in(out):
        from elsewhere.morphogenesis import study
        from elsewhere.morphogenesis.tour import FILES, tour

        found = tour(out, seed, side, progress=_watched())
        _print_rows(study.GROWTH_HEADER, [study.growth_row(growth) for growth in found.growths])
        typer.echo()
        rows = [row for place, recovery in found.recoveries for row in study.healing_rows(place, recovery)]
        _print_rows(study.HEALING_HEADER, rows)
        for name in FILES:
            typer.echo(out / name)


@app.command()
def anomalies(
    subject: Annotated[
        Literal["hands", "trousers", "pullovers"],
        typer.Argument(
            metavar="SUBJECT",
            help="What is drawn and counted: fingers of hands, legs of trousers, or sleeves of pullovers.",
            show_default=False,
        ),
    ],
    machines: Annotated[
        str, typer.Option(help="Who draws, of is, ls, els and network; els costs by far the most.")
    ] = "is,ls,els,network",
    network: Annotated[
        str | None,
        typer.Option(
            help="Trained network: a shipped name, a trained folder or file, or a diffusers folder.",
            show_default="the one shipped for these images",
        ),
    ] = None,
    windows: Annotated[str, typer.Option(help="Late windows, odd sides: 3,5,9 or 3-15.")] = "3,5,9",
    large: Annotated[int, typer.Option(min=1, help="The window before it shrinks, an odd side.")] = 25,
    shrink: Annotated[
        str, typer.Option(help="Noise levels at which the large window shrinks to a late one; '' for none.")
    ] = "2,1,0.5",
    locality: Locality = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Pictures of every point of the measurement.")] = 100,
    els_count: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Pictures of the points of els.", show_default="as --count"),
    ] = None,
    seed: Seed = 0,
    steps: Steps = 20,
    schedule: ScheduleName = "cosine",
    memory: Memory = "1GB",
    any_data: AnyData = False,
    out: Annotated[
        Path, typer.Option(help="Folder for results.json, rates.png, grid.png, origins.png and the drawn pictures.")
    ] = Path("elsewhere-anomalies"),
) -> None:
    """Count extra limbs, and measure what windows have to do with them.

    Machines and a network draw from the same noises, and image analysis counts. Measured is the rate of wrong numbers
    for constant windows and for windows that shrink at a noise level, whether the machines are wrong on the same seeds
    as the network, and whether late windows too small to count are to blame. The same command goes on where it was
    stopped, also with more pictures. Needs the extra `anomalies`.

    \b
    Examples:
      elsewhere anomalies hands --machines is,ls,network --count 500 --out hands
      elsewhere anomalies trousers --windows 3,7 --shrink 1 --count 20 --out trousers
    """
    with results_in(out, f"the pictures drawn so far are kept in {out}; the same command goes on from them", "*.npz"):
        import elsewhere as els
        from elsewhere.analysis.checks import give_warnings
        from elsewhere.anomalies import measure, plan
        from elsewhere.anomalies.figures import save_pictures

        counted, images, points = plan.prepare(
            subject,
            plan.split_drawers(machines),
            network,
            any_data,
            plan.Windows(parse_windows(windows), large, plan.parse_levels(shrink), locality),
            els.schedules.named(schedule, steps),
            count,
            els_count,
            memory=parse_memory(memory),
        )
        result = measure(
            counted,
            points,
            images,
            out,
            schedule=els.schedules.named(schedule, steps),
            seed=seed,
            about={"command": _command()},
            progress=_watched(),
        )
        give_warnings(result.notes)
        for header, rows in result.tables():
            _print_rows(header, rows)
        for path in save_pictures(out, result):
            typer.echo(path)
        typer.echo(out / "results.json")


@app.command()
def audit(
    training: Annotated[
        str,
        typer.Argument(
            metavar="TRAINING",
            help="Training images: fashion-mini, pixel-faces, a folder, .npz, .npy, IDX (.gz), or hf:NAME.",
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
        int, typer.Option(min=1, help="Training images to hold against the others, for comparison.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed that picks those images.")] = 0,
    memory: Annotated[str, typer.Option(help="Memory to work in beside the images: 512MB, 2GiB, ...")] = "1GB",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Take only the first training images.", show_default="all")
    ] = None,
    size: Size = None,
    gray: Gray = None,
    ignore_labels: IgnoreLabels = False,
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
    with results_in(out):
        import elsewhere as els

        found = els.audit(
            _load(training, limit, size, gray, ignore_labels),
            _load(generated, None, size, gray, ignore_labels),
            shift=shift,
            window=window,
            pixels=pixels,
            by_class=by_class,
            null=null,
            seed=seed,
            memory=parse_memory(memory),
            about={"command": _command()},
            progress=_watched(),
        )
        found.save(out)
        typer.echo(found.headline)
        _print_rows(("verdict", "images"), [(verdict, str(count)) for verdict, count in found.counts().items()])
        _print_traced(found)
        typer.echo(f"report: {out / 'report.html'}")


@app.command()
def data(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="fashion-mini, pixel-faces, hands, a folder, .npz, .npy, IDX (.gz), hf:NAME; none lists the sets.",
            show_default=False,
        ),
    ] = None,
    limit: Limit = None,
    size: Size = None,
    crop: Annotated[
        bool,
        typer.Option("--crop/--stretch", help="Reach --size by cutting the middle out, or by changing proportions."),
    ] = True,
    gray: Gray = None,
    ignore_labels: IgnoreLabels = False,
    split: Annotated[str, typer.Option(help="Part of a source that has several: train, test, ...")] = "train",
    value_range: Annotated[
        str | None,
        typer.Option(
            metavar="BLACK,WHITE",
            help="Values of black and white in the source, such as 0,1 or 0,4095.",
            show_default="as the source declares",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write a contact sheet, a PNG.", show_default=False)] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Write the images as they were read, an .npz for the other commands.", show_default=False),
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Images on the contact sheet.")] = 64,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=2**31 - 1, help="Seed that picks the images of the sheet.", show_default="the first ones"
        ),
    ] = None,
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
            {"--limit": limit, "--size": size, "--value-range": value_range, "--out": out, "--save": save}
        )
        _print_rows(*results.built_in_sets())
        return
    images = _load(
        source,
        limit,
        size,
        gray,
        ignore_labels,
        fit="crop" if crop else "stretch",
        split=split,
        value_range=parse_value_range(value_range),
    )
    # Files first: whoever reads the output may stop reading.
    if out is not None:
        results.save_contact_sheet(out, images, count, seed)
    if save is not None:
        results.save_images(save, images)
    _print_rows(("", ""), results.facts(images))
    for path in (out, save):
        if path is not None:
            typer.echo(path)


def _load(
    source: str, limit: int | None, size: int | None, gray: bool | None, ignore_labels: bool, **others: Any
) -> ImageSet:
    """The images that every command reads; what was not taken of the source is said on standard error."""
    from elsewhere.data import load_images
    from elsewhere.results import describe_left_out

    images = load_images(source, limit, size=size, gray=gray, labels=not ignore_labels, **others)
    if said := describe_left_out(images):
        typer.echo(f"note: {source}: left out {said}", err=True)
    if images.is_part:
        typer.echo(f"note: {images.name}: {images.amount} were read (--limit)", err=True)
    return images


def _load_pair(
    source: str,
    limit: int | None,
    size: int | None,
    gray: bool | None,
    ignore_labels: bool,
    network: str,
    any_data: bool,
) -> tuple[ImageSet, Denoiser]:
    from elsewhere.analysis.checks import give_warnings, training_note
    from elsewhere.choices import check_same_images, check_shape
    from elsewhere.networks import load_network

    images, net = _load(source, limit, size, gray, ignore_labels), load_network(network)
    check_shape(net, images)
    if not any_data:
        check_same_images(net, images)
    # Said before the long work; results and reports say it again.
    give_warnings(training_note(net, images))
    return images, net


def _load_maybe_pair(
    source: str,
    limit: int | None,
    size: int | None,
    gray: bool | None,
    ignore_labels: bool,
    network: str | None,
    any_data: bool,
) -> tuple[ImageSet, Denoiser | None]:
    if network is None:
        return _load(source, limit, size, gray, ignore_labels), None
    return _load_pair(source, limit, size, gray, ignore_labels, network, any_data)


def _watched() -> bool:
    """Whether somebody sees the progress; in a file or a pipe it would be noise."""
    return sys.stderr.isatty()


def _command() -> str:
    return shlex.join(["elsewhere", *sys.argv[1:]])


def _print_comparison(title: str, comparison: Comparison) -> None:
    """Medians over seeds, one row a machine."""
    from elsewhere.phrases import count, decimal

    rows = [
        (name, *(decimal(comparison.median(name, metric)) for metric in ("pearson_r", "r_squared", "mse")))
        for name in comparison.machines
    ]
    over = "medians over " if comparison.seeds > 1 else ""
    typer.echo(f"{title}: {over}{count(comparison.seeds, 'seed')}")
    _print_rows(("", "Pearson r", "R^2", "MSE"), rows)
    if comparison.verdict():
        typer.echo(f"{comparison.verdict()}\n")


def _print_traced(found: Audit) -> None:
    traced = found.summary()["pixels"]["generated"]
    typer.echo(f"images whose pixels were traced: {traced['traced'] if traced else 0} of {len(found.verdicts)}")
    if traced is None:
        return
    rows = []
    for name, key, form in (
        ("locally consistent pixels", "consistent", "{:.1%}"),
        ("effective number of sources", "sources", "{:.0f}"),
    ):
        n = {part: form.format(value) for part, value in traced[key].items()}
        quartiles, ends = f"{n['lower_quartile']} to {n['upper_quartile']}", f"{n['lowest']} to {n['highest']}"
        if traced["traced"] == 1:
            quartiles = ends = "-"
        rows.append((name, n["median"], quartiles, ends))
    _print_rows(("of these", "median", "quartiles", "lowest and highest"), rows)


def _print_rows(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
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
