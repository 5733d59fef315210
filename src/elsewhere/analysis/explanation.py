"""Images drawn and explained: the pictures, the numbers and the files of `elsewhere explain`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elsewhere import __version__
from elsewhere.analysis.checks import describe, give_warnings, training_note, warn_of_other_images
from elsewhere.analysis.coherence import coherence_length, plain
from elsewhere.analysis.explaining import Mosaic, check_explained, explain, explain_run
from elsewhere.analysis.figures import head_figure
from elsewhere.analysis.finals import judge_finals
from elsewhere.analysis.metrics import pearson_r, r_squared
from elsewhere.analysis.mosaic_files import save_json, save_parquet
from elsewhere.analysis.mosaic_plots import mosaic_figure, run_figure
from elsewhere.checks import check_fields, checked
from elsewhere.denoiser import DenoiserLike, Label, check_request
from elsewhere.files import json_text, write_text
from elsewhere.phrases import decimal
from elsewhere.pictures import Column, save_figure
from elsewhere.sampling import draw
from elsewhere.schedules import Schedule, cosine

FORMAT = "elsewhere.explanation/1"
LISTED = 1e-3
"""Credits of less than this are summed up in the file, not listed."""


@dataclass(frozen=True)
class Explanation:
    """Images that a machine drew, and the training patches that they were made of.

    Attributes:
        mosaics: of every step from noise to image, or of the last step alone.
        network: what a trained network drew from the same noises, (B, C, H, W), or None.
        settings: what is needed to run this again.
        warnings: what a reader must know before the numbers: sentences, none when all is well.
    """

    mosaics: tuple[Mosaic, ...]
    network: Tensor | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.mosaics:
            raise ValueError("mosaics is empty: an explanation has one or more")

    @property
    def mosaic(self) -> Mosaic:
        """Of the last step, whose prediction is the image itself."""
        return self.mosaics[-1]

    @property
    def agreement(self) -> dict[str, np.ndarray]:
        """ "pearson_r" and "r_squared" of machine and network, image by image; empty without a network.

        NaN, and a warning, where one is undefined: see `analysis.pearson_r` and `analysis.r_squared`.
        """
        if self.network is None:
            return {}
        images = self.mosaic.x0
        metrics = {"pearson_r": pearson_r, "r_squared": r_squared}
        return {name: metric(images, self.network).cpu().numpy() for name, metric in metrics.items()}

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and rows of a table in words, one row an image."""
        header = ("image", "most credit", *("Pearson r", "R^2")[: len(self.agreement)], "patch side", "beyond the top")
        credits, lengths = self.mosaic.credits(), coherence_length(self.mosaic).tolist()
        rows: list[tuple[str, ...]] = []
        both = self.agreement
        for i, credit in enumerate(credits):
            share, source = credit.max(0)
            agreement = [decimal(values[i]) for values in both.values()]
            left_over = float(self.mosaic.unexplained[i].mean())
            most = f"{float(share):.1%} to #{int(source)}"
            rows.append(
                (
                    str(i),
                    most,
                    *agreement,
                    f"{lengths[i]:.2f} pixels" if lengths[i] == lengths[i] else "undefined: plain",
                    f"{left_over:.1%}",
                )
            )
        return header, rows

    def to_json(self) -> str:
        """Everything but the pixels, as JSON text: credits of at least 0.1 % one by one, smaller ones as "others"."""
        mosaic = self.mosaic
        agreement, lengths, is_plain = self.agreement, coherence_length(mosaic), plain(mosaic)
        images = []
        for i, credit in enumerate(mosaic.credits()):
            listed = [(n, share) for n, share in enumerate(credit.tolist()) if share >= LISTED]
            listed.sort(key=lambda entry: -entry[1])
            images.append(
                {
                    **{name: float(values[i]) for name, values in agreement.items()},
                    "credits": [{"image": n, "share": share} for n, share in listed],
                    "others": float(credit.sum()) - sum(share for _, share in listed),
                    "unexplained_by_top": float(mosaic.unexplained[i].mean()),
                    "coherence_length": float(lengths[i]),
                    "plain_pixels": float(is_plain[i].double().mean()),
                }
            )
        steps = [
            {
                "sigma": mosaic.sigmas[0],
                "window": mosaic.windows[0],
                "coherence_length": coherence_length(mosaic).tolist(),
                "unexplained_by_top": mosaic.unexplained.mean((1, 2)).tolist(),
            }
            for mosaic in self.mosaics
        ]
        content = {
            "format": FORMAT,
            "settings": self.settings,
            "warnings": self.warnings,
            "images": images,
            "steps": steps,
        }
        return json_text(content)

    @checked
    def save(
        self, folder: str | Path, *, pixel: tuple[int, int] | None = None, parquet: bool = False, json: bool = False
    ) -> list[Path]:
        """Write explanation.json, mosaic.png, and with every step explained also run.png.

        Args:
            folder: where to; it is made.
            pixel: row and column of the pixel whose patches are shown; see `Mosaic.plot`.
            parquet: also write mosaic.parquet, the tables of all steps that were explained.
            json: also write them as mosaic.json.

        Returns:
            The files written, each whole or not at all.

        Raises:
            ImportError: pyarrow is missing.
            OSError: the folder cannot be made or written.
            ValueError: no such pixel.
        """
        folder = Path(folder)
        files = [folder / "explanation.json", folder / "mosaic.png"]
        figure = mosaic_figure(self.mosaic, pixel=pixel, beside=self._beside())
        head_figure(figure, self.warnings)
        write_text(files[0], self.to_json() + "\n")
        save_figure(files[1], figure)
        if len(self.mosaics) > 1:
            files.append(folder / "run.png")
            save_figure(files[-1], run_figure(self.mosaics))
        if parquet:
            files.append(folder / "mosaic.parquet")
            save_parquet(self.mosaics, files[-1])
        if json:
            files.append(folder / "mosaic.json")
            save_json(self.mosaics, files[-1])
        return files

    def _beside(self) -> Column | None:
        if self.network is None:
            return None
        numbers = zip(*self.agreement.values(), strict=True)
        return Column("network", "", self.network, [f"r {decimal(r)}, R² {decimal(r2)}" for r, r2 in numbers])


@checked
def explain_images(
    machine: DenoiserLike,
    noise: Tensor | np.ndarray,
    *,
    schedule: Schedule | None = None,
    label: Label = None,
    network: DenoiserLike | None = None,
    top: int = 8,
    every_step: bool = False,
    about: Mapping[str, str] | None = None,
    progress: bool = False,
) -> Explanation:
    """Draw images with a machine, and say of which training patches they were made.

    A trained network has no patches to name. With one given, it draws from the same noises, and how well the machine
    agrees with it on each image says how far the machine's explanation is one of the network's image too.

    Args:
        machine: an IdealScore, LocalScore or EquivariantLocalScore; for a network, the one calibrated to it.
        noise: standard normal (B, C, H, W).
        schedule: `schedules.cosine(20)` when None.
        label: class of every image or (B,), None for none.
        network: D(x, sigma, label=None), or None.
        top: how many sources to name at each pixel.
        every_step: explain every step, not the last one alone; takes two to three times as long as drawing.
        about: further settings to put on record, such as the seed of the noise or the command line.
        progress: show bars with the time left.

    Returns:
        An Explanation; `.save(folder)` writes the numbers and the pictures.

    Raises:
        TypeError, ValueError: see `explain`; noise or label that do not fit machine or network.
    """
    known = check_explained(machine, top)
    schedule = cosine() if schedule is None else schedule
    denoisers = {"machine": machine} if network is None else {"machine": machine, "network": network}
    x, labels = check_request(denoisers, noise, label)
    if network is not None:
        warn_of_other_images(network, known.data)
    theirs = (
        None
        if network is None
        else draw(network, x, schedule, labels, keep=False, progress=progress, name="network").images
    )
    run = draw(machine, x, schedule, labels, keep=True, progress=progress, name="machine")
    if every_step:
        mosaics = tuple(explain_run(machine, run, top, labels, progress=progress))
    else:
        last = len(schedule.sigmas) - 2
        mosaics = (replace(explain(machine, run.states[last].detach(), run.sigmas[last], top, labels), step=last),)
    settings = {
        "machine": describe(machine),
        "network": None if network is None else describe(network),
        "data": known.data.name if known.data else "",
        "data_images": len(known),
        "data_total": known.data.total if known.data else None,
        "schedule": schedule.name,
        "sigmas": list(schedule.sigmas),
        "seeds": len(x),
        "labels": None if labels is None else labels.tolist(),
        "top": top,
        "version": __version__,
        "torch": torch.__version__,
        **({"about": dict(about)} if about else {}),
    }
    findings = [] if theirs is None else judge_finals(theirs)
    give_warnings(findings)
    notes = (*findings, *([] if network is None else training_note(network, known.data)))
    return Explanation(mosaics, theirs, settings, notes)
