"""The steps of a run as a widget: the explanation view with a slider."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from elsewhere.analysis.explaining import explain_run
from elsewhere.analysis.mosaic_message import TOP
from elsewhere.analysis.mosaic_widget import widget
from elsewhere.checks import check_whole, checked
from elsewhere.denoiser import DenoiserLike, Label, check_request
from elsewhere.latents import DecodedRun
from elsewhere.sampling import Run


@checked
def run_widget(machine: DenoiserLike, run: Run, index: int = 0, label: Label = None) -> Any:
    """The explanation view of one image of a run, with a slider over the steps: what `Run.widget` returns.

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
    one = replace(run, images=run.images[index, None], states=[x[index, None] for x in run.states], predictions=[])
    _, labels = check_request({"machine": machine}, run.images, label, "run")
    mine = None if labels is None else labels[index, None]
    return widget(list(explain_run(machine, one, TOP, mine)), 0, TOP)
