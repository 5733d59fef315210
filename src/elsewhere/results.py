"""Files and tables of commands: drawn images with their settings, contact sheets, facts about a set of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from elsewhere import __version__
from elsewhere.analysis.board_result import REFERENCE, Paired, geometric_mean
from elsewhere.analysis.finals import judge_finals
from elsewhere.data import ImageSet, LatentSet, load_images
from elsewhere.data.request import BEYOND
from elsewhere.denoiser import DenoiserLike
from elsewhere.engine.search.cache import WORTH_KEEPING
from elsewhere.files import json_text, write_text
from elsewhere.machines.base import Prepared
from elsewhere.machines.windowed import Window
from elsewhere.notices import warn
from elsewhere.phrases import count, decimal, duration
from elsewhere.pictures import save_grid, shrunk
from elsewhere.pixel_values import RANGE_KEY, save_arrays
from elsewhere.sampling import Run
from elsewhere.schedules import Schedule

if TYPE_CHECKING:
    from elsewhere.analysis import Audit, Comparison
    from elsewhere.analysis.attention_result import AttentionResult
    from elsewhere.analysis.board_result import BoardResult
    from elsewhere.machines.family import FamilyCalibration
    from elsewhere.prompts import Prompted

FORMAT = "elsewhere.run/1"
COLUMNS = 8
"""Images in a row of grids and contact sheets."""
SHEET_SIDE = 512
"""Pixels of the longer side of an image on a contact sheet, at most: a PNG of whole large images takes minutes."""

BYTES_COMPRESSED = 80e6
"""Bytes of images a second that one core compresses into an .npz."""

FEW_CAPTIONS = 5
"""Captions that `elsewhere data` shows."""

LONG = 20
"""Seconds from which work without a bar is announced."""

MOST_KINDS = 6
"""Most kinds of things left out that one line names."""

LICENCES = {
    "fashion-mini": "MIT, (c) 2017 Zalando SE: from the training images of Fashion-MNIST",
    "pixel-faces": "CC0 1.0: pixel-art portraits by DiceBear, drawn by a generator, not photographs",
    "emoji": "SIL OFL 1.1, (c) 2022 Google Inc.: Noto Color Emoji; names (c) 2022 Unicode, Inc.",
    "hands": "MIT, as the software: five fingers each, drawn by code when asked for; hands:COUNT for more of them",
}


def save_run(
    folder: Path,
    run: Run,
    denoiser: DenoiserLike,
    data: ImageSet,
    schedule: Schedule,
    labels: Tensor | None,
    about: Mapping[str, Any],
    columns: int | None = None,
) -> list[Path]:
    """Write grid.png, images.npz (float32, clipped to [-1, 1]) and run.json (all settings).

    Networks exceed [-1, 1] slightly: the entry "clipped" of run.json has the fraction of clipped pixels and their
    range. If images are far outside [-1, 1], there is a Python warning, and an entry in "warnings". If the run has
    states, trajectory.npz has `states` (levels, B, C, H, W), `predictions` and `sigmas`.

    Args:
        folder: created if missing. Files of these names are replaced, each completely or not at all.
        run: the run.
        denoiser, data, schedule, labels: what it was drawn with.
        about: further settings to store in run.json.
        columns: images in a row of grid.png; None: as many as fit.

    Returns:
        The files written.

    Raises:
        OSError: the folder cannot be written.
    """
    window = getattr(denoiser, "window", None)
    images = run.images.float().cpu()
    findings = judge_finals(images, denoiser)
    for sentence in findings:
        warn(sentence)
    settings = {
        "format": FORMAT,
        "warnings": [*about.get("warnings", ()), *findings],
        **{name: value for name, value in about.items() if name != "warnings"},
        "denoiser": repr(denoiser),
        "data": {
            "name": data.name,
            "images": len(data),
            "of": data.total,
            "shape": data.shape,
            "fingerprint": data.fingerprint(),
            **({"autoencoder": data.autoencoder.name} if isinstance(data, LatentSet) and data.autoencoder else {}),
        },
        "window_at_each_sigma": None if window is None else _sides(window, run.sigmas),
        "schedule": schedule.name,
        "sigmas": list(run.sigmas),
        "sampler": run.sampler,
        "count": len(run.images),
        "size": list(run.images.shape[2:]),
        "labels": None if labels is None else labels.tolist(),
        "clipped": clipped(images),
        "version": __version__,
        "torch": torch.__version__,
    }
    arrays = {
        "images": images.clamp(-1, 1).numpy(),
        # States the range, which cannot be inferred from images that are all bright.
        RANGE_KEY: np.array([-1.0, 1.0]),
    }
    if labels is not None:
        arrays["labels"] = labels.numpy()
    files = [folder / "grid.png", folder / "images.npz", folder / "run.json"]
    longest = max(images.shape[2:])
    fitting = min(max(1, COLUMNS * 64 // longest), COLUMNS, len(images))
    save_grid(files[0], images, fitting if columns is None else columns)
    save_arrays(files[1], arrays)
    if run.states:
        files.insert(2, folder / "trajectory.npz")
        states, predictions = (torch.stack(steps).float().cpu().numpy() for steps in (run.states, run.predictions))
        save_arrays(files[2], {"states": states, "predictions": predictions, "sigmas": np.array(run.sigmas)})
    write_text(files[-1], json_text(settings) + "\n")
    return files


def joined(runs: Sequence[Run]) -> Run:
    """Runs of the same noise levels and sampler as one, their images one after the other."""
    if len(runs) == 1:
        return runs[0]
    steps = [
        [torch.cat(step) for step in zip(*kept, strict=True)]
        for kept in ([run.states for run in runs], [run.predictions for run in runs])
    ]
    images = torch.cat([run.images for run in runs])
    return Run(images, runs[0].sigmas, states=steps[0], predictions=steps[1], sampler=runs[0].sampler)


def about_prompts(prompts: Sequence[Prompted]) -> dict[str, Any]:
    """What run.json says of prompts: "prompts", one for each row of images; nothing without prompts."""
    return {"prompts": [prompt.about() for prompt in prompts]} if prompts else {}


def describe_prompt(prompted: Prompted) -> str:
    """A prompt and what it did, as one line."""
    if prompted.about_prompt is None:
        return f"{prompted.prompt!r}: the network's own answer to its {prompted.encoder} embedding"
    away = "" if prompted.guidance == 1 else f", guidance {prompted.guidance:g} away from "
    away += "" if not away else "no prompt" if prompted.negative is None else repr(prompted.negative)
    about = prompted.about_prompt
    return (
        f"{prompted.prompt!r}: {about.effective:.1f} effective images of {int((about.weights > 0).sum())} with a "
        f"weight, temperature {about.temperature:.3g} ({about.scorer.name}){away}"
    )


def _sides(window: Window, sigmas: Sequence[float]) -> list[int]:
    """Window side in pixels at each noise level but the final 0."""
    return [window if isinstance(window, int) else window(sigma) for sigma in sigmas[:-1]]


def clipped(images: Tensor) -> dict[str, float]:
    """The "share" of the pixels outside [-1, 1], up to rounding; the "lowest" and the "highest" pixel."""
    share = float((images.abs() > 1 + 1e-6).double().mean())
    return {"share": share, "lowest": float(images.min()), "highest": float(images.max())}


def describe_clipping(images: Tensor) -> str:
    """What `save_run` clipped, as a sentence; empty for nothing."""
    found = clipped(images)
    if not found["share"]:
        return ""
    return (
        f"{found['share']:.1%} of the pixels were outside -1..1 ({found['lowest']:.3g} to {found['highest']:.3g}); "
        "they are clipped in images.npz"
    )


def facts(data: ImageSet) -> list[tuple[str, str]]:
    """Facts about a set of images, as (name, value)."""
    channels, height, width = data.shape
    lines = [
        ("name", data.name),
        ("images", data.amount.removesuffix(" images").removesuffix(" image")),
        ("size", f"{height} x {width} pixels, {'gray' if channels == 1 else 'colour'}"),
        ("values", f"{int(data.images.min())} to {int(data.images.max())} of 0 to 255"),
        ("distinct", str(len({image.numpy().tobytes() for image in data.images}))),
        ("fingerprint", data.fingerprint()),
    ]
    if data.labels is not None:
        counts = torch.bincount(data.labels)
        named = [f"{data.classes[i] if i < len(data.classes) else i} ({int(n)})" for i, n in enumerate(counts) if n]
        lines.append(("classes", ", ".join(named)))
    if data.captions is not None:
        shown = [f'"{words}"' for words in data.captions[:FEW_CAPTIONS]]
        lines.append(("captions", ", ".join(shown) + (", ..." if len(data) > FEW_CAPTIONS else "")))
    if data.left_out:
        lines.append(("left out", _kinds(data.left_out)))
    if data.name in LICENCES:
        lines.append(("licence", LICENCES[data.name]))
    return lines


def describe_left_out(data: ImageSet) -> str:
    """The files of a source that were not read, except those beyond --limit, in one line; empty if there are none."""
    return _kinds({kind: number for kind, number in data.left_out.items() if kind != BEYOND})


def _kinds(left_out: Mapping[str, int]) -> str:
    """The most frequent kinds: "dangling links (3), .txt files (2)"."""
    kinds = sorted(left_out.items(), key=lambda kind: -kind[1])
    named = [f"{kind} ({number})" for kind, number in kinds[:MOST_KINDS]]
    rest = kinds[MOST_KINDS:]
    return ", ".join([*named, f"{len(rest)} more kinds ({sum(number for _, number in rest)})"] if rest else named)


def built_in_sets() -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of a table of the built-in sets of images."""
    rows: list[tuple[str, ...]] = []
    for name in LICENCES:
        data = load_images(name)
        channels, height, width = data.shape
        size = f"{height} x {width} {'gray' if channels == 1 else 'colour'}"
        rows.append((name, str(len(data)), size, str(data.num_classes or "none"), LICENCES[name]))
    return ("set", "images", "size", "classes", "licence"), rows


def index_rows(made: Sequence[Prepared]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of a table of indexes, one row per window side and class."""
    together: dict[tuple[int, int | None], list[Prepared]] = {}
    for one in made:
        together.setdefault((one.window, one.label), []).append(one)
    rows: list[tuple[str, ...]] = [
        (
            str(window),
            "all" if label is None else str(label),
            str(len(some)),
            str(sum(one.windows for one in some)),
            str(sum(one.keys for one in some)),
            f"{sum(one.nbytes for one in some) / 1e6:.1f} MB",
            f"{sum(one.seconds for one in some):.1f} s",
        )
        for (window, label), some in together.items()
    ]
    return ("window", "class", "indexes", "training windows", "that differ", "size", "time"), rows


def describe_indexes(made: Sequence[Prepared], folder: Path) -> str:
    """Number, size and folder of the indexes, as a sentence."""
    if not made:
        return "no indexes: small sets are computed without one"
    kept = sum(one.windows >= WORTH_KEEPING for one in made)
    size, seconds = sum(one.nbytes for one in made) / 1e6, sum(one.seconds for one in made)
    small = len(made) - kept
    left_out = f"; {small} of less than {WORTH_KEEPING} windows are rebuilt when needed" if small else ""
    return f"indexes: {len(made)}, {size:.1f} MB, {seconds:.1f} s; {kept} kept in {folder}{left_out}"


def describe_seeds(comparison: Comparison) -> str:
    """What the numbers of `agreement_rows` are: "medians over 8 seeds", or "1 seed"."""
    over = "medians over " if comparison.seeds > 1 else ""
    return f"{over}{count(comparison.seeds, 'seed')}"


def agreement_rows(comparison: Comparison) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of a table of medians over seeds, one row a machine."""
    rows: list[tuple[str, ...]] = [
        (name, *(decimal(comparison.median(name, metric)) for metric in ("pearson_r", "r_squared", "mse")))
        for name in comparison.machines
    ]
    return ("", "Pearson r", "R^2", "MSE"), rows


def family_rows(found: FamilyCalibration) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of a table of the settings of every noise level."""
    rows: list[tuple[str, ...]] = [
        (f"{sigma:.4g}", str(one.window), "tapered" if one.taper else "square", one.keys, f"{one.pedestal:g}",
         str(one.response), f"{share:.2f}")
        for sigma, one, share in zip(found.sigmas, found.settings, found.wiener, strict=True)
    ]  # fmt: skip
    return ("sigma", "window", "weights", "keys", "pedestal", "response", "Wiener"), rows


def board_rows(board: BoardResult) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Title, header and rows of a table for each section of a board, the best method first."""
    tables = []
    for section in board.sections:
        drawn = ("Pearson r", "R^2", "MSE", "r against the best rival") if section.network else ()
        rows: list[tuple[str, ...]] = []
        for row in section.ranked:
            if row.why:
                rows.append((row.name, f"not measured: {row.why}"))
                continue
            numbers: list[str] = []
            if section.network:
                numbers += [decimal(row.median(metric)) for metric in ("pearson_r", "r_squared", "mse")]
                numbers.append(_against(section.paired(row.name)))
            ratio = section.mean_relative(row.name)
            numbers.append(f"{geometric_mean(row.rms):.4f}" if ratio is None else f"{ratio:.2f} x {REFERENCE}")
            memory = "-" if row.memory is None else f"{row.memory / 2**20:.0f} MiB"
            rows.append((row.name, *numbers, f"{row.seconds:.3g}", memory))
        over = f"medians over {count(section.seeds, 'seed')}" if section.network else count(section.seeds, "image")
        title = f"{section.name}: {over}" if section.network else f"{section.name} without a network: {over}"
        tables.append((title, ("", *drawn, "rms of x0hat", "seconds an image", "peak memory"), rows))
    return tables


def attention_rows(found: AttentionResult) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows: for each denoiser and window the gaps over all noise levels, and attention beyond it."""
    keys = ("gap_image", "gap_noise", "gap_masked", "attention_beyond", "attention_distance")
    forms = dict(zip(keys, (".4f", ".4f", ".4f", ".1%", ".1f"), strict=True))
    rows = [
        (
            row["network"],
            str(row["window"]),
            *("-" if row[key] is None else format(row[key], form) for key, form in forms.items()),
        )
        for row in found.summary()
    ]
    header = ("rms change of x0hat", "window", "another image", "fresh noise", "attention held to it")
    return (*header, "attention outside", "mean distance"), rows


def short_names(sources: Sequence[str]) -> dict[str, str]:
    """Name in tables -> source: the last part of each path, or as much of it as tells it from the others.

    Raises:
        ValueError: one source given twice.

    Example:
        >>> short_names(["runs/a/step500", "runs/b/step500", "fashion-unet"])
        {'a/step500': 'runs/a/step500', 'b/step500': 'runs/b/step500', 'fashion-unet': 'fashion-unet'}
    """
    if len(set(sources)) < len(sources):
        raise ValueError(f"NETWORK must be different networks, got {', '.join(sources)}: name each once")
    found = {}
    for source in sources:
        parts = Path(source).parts
        endings = ("/".join(parts[-size:]) for size in range(1, len(parts)))
        alone = (text for text in endings if sum(f"/{other}".endswith(f"/{text}") for other in sources) == 1)
        found[next(alone, source)] = source
    return found


def _against(paired: Paired | None) -> str:
    if paired is None:
        return "-"
    interval = "" if paired.low is None else f" ({paired.low:+.3f} to {paired.high:+.3f})"
    return f"{paired.difference:+.3f}{interval} {paired.rival}"


def describe_traced(found: Audit) -> str:
    """How many of the generated images had their pixels traced, in words."""
    traced = found.summary()["pixels"]["generated"]
    return f"images whose pixels were traced: {traced['traced'] if traced else 0} of {len(found.verdicts)}"


def traced_rows(found: Audit) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of a table of the images whose pixels were traced; no rows where there are none."""
    traced = found.summary()["pixels"]["generated"]
    rows: list[tuple[str, ...]] = []
    for name, key, form in (
        ("locally consistent pixels", "consistent", "{:.1%}"),
        ("effective number of sources", "sources", "{:.0f}"),
    ):
        if traced is None:
            break
        n = {part: form.format(value) for part, value in traced[key].items()}
        quartiles, ends = f"{n['lower_quartile']} to {n['upper_quartile']}", f"{n['lowest']} to {n['highest']}"
        if traced["traced"] == 1:
            quartiles = ends = "-"
        rows.append((name, n["median"], quartiles, ends))
    return ("of these", "median", "quartiles", "lowest and highest"), rows


def refuse_without_source(given: Mapping[str, object]) -> None:
    """Refuse options that need a set of images.

    Args:
        given: option -> its value, or None.

    Raises:
        ValueError: a value is not None.
    """
    options = [name for name, value in given.items() if value is not None]
    if options:
        raise ValueError(f"SOURCE is required with {', '.join(options)}: name the images, for example fashion-mini")


def save_contact_sheet(path: Path, data: ImageSet, number: int, seed: int | None = None) -> None:
    """Write a PNG of the first images, or of a random choice of them; all where there are no more than `number`.

    Images larger than SHEET_SIDE are shrunk to it.
    """
    index = torch.arange(min(number, len(data)), device="cpu")
    if seed is not None:
        index = (
            torch.randperm(len(data), generator=torch.Generator().manual_seed(seed), device="cpu")[: len(index)]
            .sort()
            .values
        )
    images = shrunk(data.images[index], SHEET_SIDE)
    save_grid(path, ImageSet(images).scaled(), min(COLUMNS, len(index)))


def describe_saving(data: ImageSet) -> str:
    """How long `data.save` takes for an .npz, in words; empty where that is not long."""
    seconds = data.images.numel() / BYTES_COMPRESSED
    if seconds < LONG:
        return ""
    return f"compressing {data.images.numel() / 1e9:.1f} GB of images takes about {duration(seconds)}"
