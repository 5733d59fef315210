"""The sources of the fingers of a drawn hand: the training image with the largest weight at each finger tip."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elsewhere.analysis.explaining import explain
from elsewhere.anomalies.counting import finger_tips
from elsewhere.machines import EquivariantLocalScore
from elsewhere.sampling import Run

SOURCES = 256
"""Windows per pixel whose weights are summed by training image; at the last step fewer have a noticeable weight."""


@dataclass(frozen=True)
class Origins:
    """The training windows that K finger tips were made of.

    Attributes:
        tips: (row, column) of each tip in the drawn image, int64 (K, 2).
        image_ids: training image with the largest weight, int64 (K,).
        places: (row, column) of its best window, int64 (K, 2).
        weights: total weight of all windows of that training image, 0 to 1, (K,).
        images: those training images, uint8 (K, C, H, W).
        window: side of the windows in pixels.
    """

    tips: Tensor
    image_ids: Tensor
    places: Tensor
    weights: Tensor
    images: Tensor
    window: int


def origins_of_run(machine: EquivariantLocalScore, run: Run, label: int | None = None) -> Origins:
    """The sources of the finger tips of a drawn hand at the last step.

    Args:
        machine: what drew it, made from an ImageSet.
        run: of one hand, with its states.
        label: class that it was drawn with.

    Raises:
        ValueError: the machine was made from an array.
    """
    tips = torch.from_numpy(finger_tips(run.images[0]))
    return find_origins(machine, run.states[-2][0], run.sigmas[-2], tips, label)


def find_origins(
    machine: EquivariantLocalScore, x: Tensor, sigma: float, tips: Tensor, label: int | None = None
) -> Origins:
    """The training image with the largest weight at each of K pixels, and its best window.

    Args:
        machine: made from an ImageSet.
        x: the state before the last step, (C, H, W).
        sigma: its noise level.
        tips: (row, column) of the pixels, int64 (K, 2).
        label: class, passed to the machine.

    Raises:
        ValueError: the machine was made from an array.
    """
    if machine.data is None:
        raise ValueError(f"{machine!r} was made from an array: make it from an ImageSet")
    mosaic = explain(machine, x[None], sigma, SOURCES, label)
    row, column = tips.unbind(1)
    of_sources, weights = mosaic.image_ids[0, row, column], mosaic.weights[0, row, column]
    # Missing sources (-1) have weight 0.
    shares = weights.new_zeros(len(tips), len(machine.data)).scatter_add_(1, of_sources.clamp(min=0), weights)
    share, ids = shares.max(1)
    # Sources are sorted by weight, so the first match is the best.
    best = (of_sources == ids[:, None]).int().argmax(1)
    places = mosaic.positions[0, row, column, best]
    return Origins(tips, ids, places, share, machine.data.images[ids], mosaic.windows[0])
