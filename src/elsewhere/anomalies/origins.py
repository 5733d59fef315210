"""Where the fingers of a drawn hand came from: the training window that weighs most at each finger tip."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elsewhere.analysis.explaining import explain
from elsewhere.anomalies.counting import finger_tips
from elsewhere.machines import EquivariantLocalScore
from elsewhere.sampling import sample
from elsewhere.schedules import Schedule

SOURCES = 256
"""The heaviest windows of a pixel are added up to the share of each training image; at the last step few count."""


@dataclass(frozen=True)
class Origins:
    """The training windows that finger tips were taken from.

    Attributes:
        tips: (row, column) of every tip in the drawn image, int64 (K, 2).
        image_ids: which training image, int64 (K,).
        places: (row, column) there, int64 (K, 2).
        weights: share of that training image, all its windows together, in the mean, (K,).
        images: those training images, uint8 (K, C, H, W).
        window: side of the windows.
    """

    tips: Tensor
    image_ids: Tensor
    places: Tensor
    weights: Tensor
    images: Tensor
    window: int


def draw_with_origins(
    machine: EquivariantLocalScore, noise: Tensor, schedule: Schedule, label: int | None = None
) -> tuple[Tensor, Origins]:
    """Draw one hand, and look up its finger tips at the last step.

    Args:
        machine: knows its training images by name, that is, was made from an ImageSet.
        noise: (1, C, H, W).
        schedule: noise levels.
        label: passed to the machine.

    Returns:
        The image (C, H, W), and where its tips came from.
    """
    run = sample(machine, noise, schedule, label, keep=True)
    image = run.images[0]
    tips = torch.from_numpy(finger_tips(image))
    return image, find_origins(machine, run.states[-2][0], run.sigmas[-2], tips, label)


def find_origins(
    machine: EquivariantLocalScore, x: Tensor, sigma: float, tips: Tensor, label: int | None = None
) -> Origins:
    """The training image that weighs most at each of some pixels, and its best window.

    Args:
        machine: as above.
        x: the state before the last step, (C, H, W).
        sigma: its noise level.
        tips: (row, column), int64 (K, 2).
        label: passed to the machine.

    Raises:
        ValueError: the machine was made from an array.
    """
    if machine.data is None:
        raise ValueError(f"{machine!r} does not know its training images: make it from an ImageSet")
    mosaic = explain(machine, x[None], sigma, SOURCES, label)
    row, column = tips.unbind(1)
    of_sources, weights = mosaic.image_ids[0, row, column], mosaic.weights[0, row, column]
    # What has no source weighs nothing.
    shares = weights.new_zeros(len(tips), len(machine.data)).scatter_add_(1, of_sources.clamp(min=0), weights)
    share, ids = shares.max(1)
    # Sources come in the order of their weights.
    best = (of_sources == ids[:, None]).int().argmax(1)
    places = mosaic.positions[0, row, column, best]
    return Origins(tips, ids, places, share, machine.data.images[ids], mosaic.windows[0])
