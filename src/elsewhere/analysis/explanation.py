"""Draw images and explain them: the work behind `elsewhere explain`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elsewhere import __version__
from elsewhere.analysis.checks import describe, give_warnings, training_note, warn_of_other_images
from elsewhere.analysis.explaining import Mosaic, check_explained, explain, explain_run
from elsewhere.analysis.explanation_files import explanation_json, save_explanation
from elsewhere.analysis.explanation_result import ExplanationResult
from elsewhere.analysis.finals import judge_finals
from elsewhere.analysis.mosaics_of_mixes import weightless_parts
from elsewhere.checks import check_choice, check_seed, checked
from elsewhere.denoiser import DenoiserLike, Label, check_noise
from elsewhere.latents import Decoded
from elsewhere.machines.mixing import Mix
from elsewhere.phrases import listed
from elsewhere.prompts import Prompted
from elsewhere.samplers import NAMES as SAMPLERS
from elsewhere.samplers import SamplerName
from elsewhere.sampling import draw
from elsewhere.schedules import Schedule, cosine


class Explanation(ExplanationResult):
    """An `ExplanationResult` that can be written to files."""

    def to_json(self) -> str:
        """Everything except the pixels, as JSON text."""
        return explanation_json(self)

    @checked
    def save(
        self, folder: str | Path, *, pixel: tuple[int, int] | None = None, parquet: bool = False, json: bool = False
    ) -> list[Path]:
        """Write explanation.json, mosaic.png, explanation.html and further files; see `save_explanation`.

        Args:
            folder: created if missing.
            pixel: row and column of the pixel whose patches are shown.
            parquet, json: also write mosaic.parquet or mosaic.json.

        Returns:
            The files written.

        Raises:
            ImportError: pyarrow is not installed and `parquet` was given.
            OSError: the folder cannot be created or written.
            ValueError: the pixel is outside the image.
        """
        return save_explanation(self, folder, pixel=pixel, parquet=parquet, json=json)


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
    about: Mapping[str, Any] | None = None,
    progress: bool = False,
    sampler: SamplerName = "euler",
    seed: int = 0,
) -> Explanation:
    """Draw images with a machine and find the training patches that they were made of.

    A trained network has no patches. If one is given, it draws from the same noise; the agreement on each image shows
    how far the machine's explanation also holds for the network's image.

    Args:
        machine: as for `explain`, such as an EquivariantLocalScore, `best_machine(...)` or `prompted(...)`; with a
            network, the one calibrated for it.
        noise: standard normal (B, C, H, W).
        schedule: noise levels; None: `schedules.cosine(20)`.
        label: class of every image or (B,); None: all training images.
        network: D(x, sigma, label=None), or None.
        top: number of sources for each pixel, 1 to 1024.
        every_step: explain every step, not only the last one; this takes two to three times as long as drawing.
        about: further settings to store in the result, such as the seed of the noise or the command line.
        progress: show progress bars with the time left.
        sampler, seed: see `sample`; machine and network draw with the same one. Whatever it is, the image is the
            machine's prediction at the last step, which is what is explained.

    Returns:
        An Explanation; `.save(folder)` writes the numbers and the pictures.

    Raises:
        TypeError, ValueError: see `explain`; noise or labels that the machine or the network cannot take.

    Example:
        >>> import elsewhere as els
        >>> machine = els.EquivariantLocalScore(els.load_images("fashion-mini", limit=20), window=5)
        >>> found = explain_images(machine, els.make_noise(1, (1, 28, 28)), schedule=els.schedules.cosine(3))
        >>> found.mosaic.step
        2
    """
    known = check_explained(machine, top)
    inner = machine.machine if isinstance(machine, Decoded) else machine
    under = inner if isinstance(inner, Prompted) else None
    check_choice("sampler", sampler, SAMPLERS)
    check_seed(seed)
    if network is not None and isinstance(network, Decoded) != isinstance(known, Decoded):
        raise ValueError("machine and network must both be decoded, or neither")
    schedule = cosine() if schedule is None else schedule
    denoisers = {"machine": machine} if network is None else {"machine": machine, "network": network}
    x, labels = check_noise(denoisers, noise, label, schedule.sigmas[0])
    if network is not None:
        warn_of_other_images(network, known.data)
    how: dict[str, Any] = {"progress": progress, "sampler": sampler, "seed": seed}
    theirs = None if network is None else draw(network, x, schedule, labels, keep=False, name="network", **how).images
    if isinstance(network, Decoded) and theirs is not None:
        theirs = network.decode(theirs)
    run = draw(machine, x, schedule, labels, keep=True, name="machine", **how)
    if every_step:
        mosaics = tuple(explain_run(machine, run, top, labels, progress=progress))
    else:
        last = len(schedule.sigmas) - 2
        mosaics = (replace(explain(machine, run.states[last].detach(), run.sigmas[last], top, labels), step=last),)
    settings = {
        "machine": describe(machine),
        "network": None if network is None else describe(network),
        "data": known.data.name if known.data else "",
        "data_images": len(mosaics[-1].store),
        "data_total": known.data.total if known.data else None,
        "schedule": schedule.name,
        "sigmas": list(schedule.sigmas),
        "sampler": sampler,
        "seeds": len(x),
        "labels": None if labels is None else labels.tolist(),
        "top": top,
        **({} if under is None else {"prompt": under.about()}),
        "version": __version__,
        "torch": torch.__version__,
        **({"about": dict(about)} if about else {}),
    }
    findings = [] if theirs is None else judge_finals(theirs)
    give_warnings(findings)
    notes = (*findings, *_weightless(known, mosaics[-1]))
    notes += () if network is None else tuple(training_note(network, known.data))
    captions = (known.data.captions if known.data else None) or ()
    about_prompt = None if under is None else under.about_prompt
    words = () if about_prompt is None else tuple(zip(*about_prompt.words(), strict=True))
    return Explanation(mosaics, theirs, settings, notes, captions, words)


def _weightless(machine: DenoiserLike, mosaic: Mosaic) -> list[str]:
    """A sentence on the parts of a mix that no training image explains, or []."""
    if not isinstance(machine, Mix) or not any(mosaic.weightless):
        return []
    parts = listed(weightless_parts(machine, mosaic.sigmas[0]))
    return [
        f"{mosaic.weightless[0]:.1%} of the last step's prediction comes from parts of the machine without weights on "
        f"training images ({parts}): no training image explains this share."
    ]
