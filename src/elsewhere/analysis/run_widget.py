"""The steps of a run as a widget: the explanation view with a slider."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from elsewhere.analysis.explaining import check_run, explain
from elsewhere.analysis.mosaic import MosaicResult
from elsewhere.analysis.mosaic_message import TOP
from elsewhere.analysis.mosaic_widget import step_title, widget
from elsewhere.checks import check_whole, checked
from elsewhere.denoiser import DenoiserLike, Label, check_request
from elsewhere.latents import DecodedRun
from elsewhere.sampling import Run


@checked
def run_widget(machine: DenoiserLike, run: Run, index: int = 0, label: Label = None) -> Any:
    """The explanation view of one image of a run, with a slider over the steps: what `Run.widget` returns.

    The last step is explained at once, another one when the slider asks for it.

    Args:
        machine: what drew the run, or another average over training windows; see `explain`.
        run: from `sample(..., keep=True)`.
        index: image of the batch.
        label: class that the run was drawn with.

    Raises:
        ImportError: anywidget is not installed (extra `notebook`).
        TypeError, ValueError: a run without states, no such image; see `explain`.
    """
    if isinstance(run, DecodedRun) and run.latents is not None:
        run = run.latents  # what the machine was asked
    index = check_whole("index", index, 0, len(run.images) - 1)
    known = check_run(machine, run, TOP, label)
    _, labels = check_request({"machine": machine}, run.images, label, "run")
    mine = None if labels is None else labels[index, None]
    steps = list(zip(run.states, run.sigmas[:-1], strict=False))

    def mosaic_at(step: int) -> MosaicResult:
        x, sigma = steps[step]
        return replace(explain(known, x[index, None].detach(), sigma, TOP, mine), step=step)

    return widget([step_title(step, sigma) for step, (_, sigma) in enumerate(steps)], mosaic_at, 0, TOP)
