"""Where the weights of pasted patches went, for masks, patches of their own places, and patches from other places."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from elsewhere.engine.by_number import NumberJob
from elsewhere.engine.jobs import Average, Step
from elsewhere.engine.layout import Layout
from elsewhere.engine.patch_attribution import MaskAttribution, PatchAttribution
from elsewhere.engine.runner import run
from elsewhere.engine.same_place import SamePlaceJob
from elsewhere.engine.shifted_attribution import ShiftedAttribution
from elsewhere.engine.state import Attribution

if TYPE_CHECKING:
    from elsewhere.engine.planner import Planner


def of_masks(
    planner: Planner, layout: Layout, x: Tensor, sigma: float, label: int | None, top: int
) -> tuple[Average, Attribution]:
    """Where the weights of masked patches went, and their average."""
    ((step,),) = planner.plan(layout, x, sigma, label)
    assert isinstance(step.job, NumberJob)
    assert layout.response is not None
    assert layout.response.matrix is not None
    (state,) = run([step.job], planner.device)
    (found,) = run([MaskAttribution(step.job, state, layout.response.matrix, top)], planner.device)
    return step.job, found


def of_patches(
    planner: Planner, layout: Layout, x: Tensor, sigma: float, label: int | None, top: int
) -> tuple[Average, Attribution]:
    """Where the weights of patches of their own places went, and their average."""
    assert layout.metric is not None
    flat = torch.arange(x[0, 0].numel(), device=x.device).view(x.shape[2:])
    pixels = torch.cat([region.pixels(flat) for region in layout.regions])
    store, image_logs = planner.workspace.of_class(label), planner.image_logs(layout, x, sigma, label)
    job = SamePlaceJob(x, sigma, store, layout.metric, pixels, image_logs=image_logs)
    patches = planner.patches(layout, layout.regions[0], pixels, x)
    assert patches is not None
    (state,) = run([job], planner.device)
    (found,) = run([PatchAttribution(job, state, patches, planner.coverage(layout, x), top)], planner.device)
    return job, found


def of_shifted_patches(
    planner: Planner, layout: Layout, x: Tensor, sigma: float, label: int | None, top: int
) -> tuple[Average, Attribution]:
    """Where the weights of patches from other places went, and their average, for one image."""
    response, store = layout.response, planner.workspace.of_class(label)
    assert response is not None
    assert layout.metric is not None
    if response.profile is None:
        raise ValueError("the weights of patches of this shape are not known pixel by pixel: explain response=1")
    exact, single = replace(planner, engine="exact"), replace(layout, response=None)
    image_logs = planner.image_logs(layout, x, sigma, label)
    shared = [region for region in layout.regions if not planner.own_place(region, x)]
    steps = [
        step
        for group in exact.groups(shared, len(x), 0)
        for step in exact.region_steps(group, single, x, sigma, label, True, image_logs, merge=False)
    ]
    own = [region for region in layout.regions if planner.own_place(region, x)]
    if own:
        flat = torch.arange(x[0, 0].numel(), device=x.device).view(x.shape[2:])
        pixels = torch.cat([region.pixels(flat) for region in own])
        steps.append(Step(SamePlaceJob(x, sigma, store, layout.metric, pixels, image_logs=image_logs), pixels))
    states = run([step.job for step in steps], planner.device)
    memory = planner.workspace.memory // 2 // torch.get_num_threads()
    size, training = (x.shape[2], x.shape[3]), (len(store), *store.image_size)
    coverage = planner.coverage(layout, x)
    job = ShiftedAttribution(steps, states, response.profile, layout.wraps, coverage, size, training, top, memory)
    (found,) = run([job], planner.device)
    return steps[0].job, found
