"""Where the weights of pasted patches went, for masks, patches of their own places, and patches from other places."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from elsewhere.engine.by_number import NumberJob
from elsewhere.engine.jobs import Average, Step
from elsewhere.engine.layout import Layout
from elsewhere.engine.patch_attribution import MaskAttribution, PatchAttribution
from elsewhere.engine.patch_candidates import CandidateAttribution, Found
from elsewhere.engine.planner import Planner, Traced
from elsewhere.engine.runner import run
from elsewhere.engine.same_place import SamePlaceJob
from elsewhere.engine.shifted_attribution import ShiftedAttribution
from elsewhere.engine.state import Attribution, SoftmaxState

# Up to this many sources of a pixel are looked for among candidates; for more all pairs of pixels are weighed.
MOST_SOURCES = 64
# Weights of single pixels that are kept for each source that is wanted, and at least (benchmarks/explain_patches.py).
KEPT_A_SOURCE, LEAST_KEPT = 2, 16


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
        if top is not None and top <= MOST_SOURCES and layout.metric is not None and layout.metric.profile is not None:
            passes = _of_candidates
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


def _of_candidates(
    planner: Planner, layout: Layout, x: Tensor, sigma: float, label: int | None, top: int
) -> tuple[Average, Attribution]:
    """As `_of_shifted_patches`, for few sources of a pixel: the largest, among candidates."""
    response, store = layout.response, planner.workspace.of_class(label)
    assert response is not None
    if response.profile is None:
        raise ValueError("the weights of patches of this shape are not known pixel by pixel: explain response=1")
    exact, single = replace(planner, engine="exact"), replace(layout, response=None)
    coverage, (height, width) = planner.coverage(layout, x), x.shape[2:]
    reaches = _reach(response.profile, coverage.view(height, width), layout.wraps.x)
    area, kept = height * width, max(LEAST_KEPT, KEPT_A_SOURCE * top)
    logs = torch.full((area, kept), -math.inf, dtype=torch.float64, device=x.device)
    image, row, column = (torch.zeros(area, kept, dtype=torch.int64, device=x.device) for _ in range(3))
    log_total, complete = coverage.new_full((area,), math.inf), torch.ones(area, dtype=torch.bool, device=x.device)
    shares = coverage.new_zeros(1, len(store))
    job: Average | None = None
    for steps in exact.plan(single, x, sigma, label, merge=False):
        states = run([step.job for step in steps], planner.device)
        passes = []
        for step, state in zip(steps, states, strict=True):
            job, pixels = step.job, step.pixels
            assert pixels is not None
            log_total[pixels] = state.log_total
            # Weights of the patches of a pixel count as often as they are pasted.
            counted = replace(state, total=state.total / reaches[pixels])
            passes.append(step.job.attribution(counted, 1, min(kept, step.job.keys_met)))
        for step, found, one in zip(steps, run(passes, planner.device), passes, strict=True):
            assert step.pixels is not None
            pixels, keys, some = step.pixels, found.top.keys, found.top.keys.shape[1]
            logs[pixels, :some] = found.top.logs - reaches[pixels, None].log()
            places = one.locate(keys.clamp(min=0), pixels[:, None] // width, pixels[:, None] % width)
            for into, at in zip((image, row, column), places, strict=True):
                into[pixels, :some] = at.expand(keys.shape)
            complete[pixels] = step.job.keys_met <= kept
            shares += found.shares
    rows, columns = _met(planner, layout, x)
    best = Found(logs, image, row, column, log_total, rows, columns, complete, shares)
    image_logs = planner.image_logs(layout, x, sigma, label)
    assert job is not None
    return job, CandidateAttribution(layout, x, sigma, store, image_logs, coverage, best, top).run()


def _reach(profile: Tensor, coverage: Tensor, wraps: bool) -> Tensor:
    """How much of all pixels the patch of each pixel makes up, float64 (H W): 1 but near edges."""
    found, radius = 1 / coverage, len(profile) // 2
    for axis, side in enumerate(coverage.shape):
        at = torch.arange(side, device=coverage.device)
        offset = at - at[:, None] + radius
        steps = [offset + turn * side for turn in range(-radius // side - 1, radius // side + 2)] if wraps else [offset]
        band = coverage.new_zeros(side, side)
        for step in steps:
            within = (step >= 0) & (step < len(profile))
            band += profile.to(coverage)[step.clamp(0, len(profile) - 1)].where(within, 0)
        found = torch.tensordot(band, found, ([1], [axis])).movedim(0, axis)
    return found.flatten()


def _met(planner: Planner, layout: Layout, x: Tensor) -> tuple[Tensor, Tensor]:
    """First and last row and column of the keys that each pixel meets, int64 (H W, 2); none for other pixels."""
    height, width = x.shape[2:]
    rows, columns = (x.new_zeros(height, width, 2, dtype=torch.int64) for _ in range(2))
    rows[..., 0] = columns[..., 0] = 1
    for region in layout.regions:
        here = slice(region.rows.start, region.rows.stop), slice(region.columns.start, region.columns.stop)
        if planner.own_place(region, x):
            at = (
                torch.arange(height, device=x.device)[here[0], None, None],
                torch.arange(width, device=x.device)[here[1]],
            )
            rows[here], columns[here] = at[0], at[1][:, None]
            continue
        assert region.places is not None
        for into, line in ((rows, region.places.rows), (columns, region.places.columns)):
            into[here] = into.new_tensor([line.start - layout.padding, line.stop - 1 - layout.padding])
    return rows.flatten(0, 1), columns.flatten(0, 1)
