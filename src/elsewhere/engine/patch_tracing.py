"""Where the weights of pasted patches went, for masks, patches of their own places, and patches from other places."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from elsewhere.engine.by_number import NumberJob
from elsewhere.engine.jobs import Average, Step
from elsewhere.engine.layout import Layout
from elsewhere.engine.patch_attribution import MaskAttribution, PatchAttribution
from elsewhere.engine.planner import Planner, Traced
from elsewhere.engine.runner import run
from elsewhere.engine.same_place import SamePlaceJob
from elsewhere.engine.shifted_attribution import ShiftedAttribution
from elsewhere.engine.state import Attribution, SoftmaxState


def trace_patches(
    planner: Planner, layout: Layout, x: Tensor, sigma: float, label: int | None, top: int | None
) -> Traced:
    """Where the weights of pasted patches went; see `Planner.trace`.

    Raises:
        ValueError: all weights need more than the memory, or those of patches of this shape are not known.
    """
    flat = torch.arange(x[0, 0].numel(), device=x.device)
    store = planner.workspace.of_class(label)
    # Keys of an attribution are the training images, or each of their pixels.
    places = 1
    if layout.metric is not None and layout.metric.matrix is not None:
        passes, met = _of_masks, len(store)
    elif all(planner.own_place(region, x) for region in layout.regions):
        passes, met = _of_patches, len(store)
    else:
        places = store.pixels[0, 0].numel()
        passes, met = _of_shifted_patches, len(store) * places
    if top is None:
        planner.check_room(len(x) * len(flat) * met)
    kept = min(top or met, met)
    job, found = passes(planner, layout, x, sigma, label, kept)
    mean = planner.average(layout, x, sigma, label)[0].double().flatten(2).transpose(1, 2).flatten(0, 1)
    state = SoftmaxState(mean.new_zeros(len(mean)), mean.new_ones(len(mean)), mean)
    keys = found.top.keys.view(len(x), -1, kept)
    known, there, width = keys.clamp(min=0), (keys >= 0).long(), store.image_size[1]
    if places > 1:
        located = known // places, known % places // width, known % width
    else:
        row, column = flat[None, :, None] // width, flat[None, :, None] % width
        located = known, row.expand(keys.shape), column.expand(keys.shape)
    return Traced(Step(job, flat), state, found, there, located)


def _of_masks(
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


def _of_patches(
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


def _of_shifted_patches(
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
