"""Where the fingers of a drawn hand came from: the training window that weighs most at each finger tip."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elsewhere.anomalies.counting import finger_tips
from elsewhere.machines import EquivariantLocalScore
from elsewhere.sampling import sample
from elsewhere.schedules import Schedule


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
    return image, find_origins(machine, run.states[-2][0], run.sigmas[-2], torch.from_numpy(finger_tips(image)))


def find_origins(machine: EquivariantLocalScore, x: Tensor, sigma: float, tips: Tensor) -> Origins:
    """The training image that weighs most at each of some pixels, and its best window.

    Only windows that lie wholly inside an image are looked at: a tip nearer to the border than that is left out.

    Args:
        machine: with a window no larger than the image.
        x: the state before the last step, (C, H, W).
        sigma: its noise level.
        tips: (row, column), int64 (K, 2).

    Raises:
        ValueError: the machine was made from an array.
    """
    if machine.data is None:
        raise ValueError(f"{machine!r} does not know its training images: make it from an ImageSet")
    window = machine._window_at(sigma)
    radius = window // 2
    inside = (tips >= radius).all(1) & (tips[:, 0] < x.shape[1] - radius) & (tips[:, 1] < x.shape[2] - radius)
    tips = tips[inside]
    found_ids, found_places, found_weights = [], [], []
    keys = _windows(machine.data.scaled(), window)
    across = machine.data.shape[2] - window + 1
    for row, column in tips.tolist():
        query = x[:, row - radius : row + radius + 1, column - radius : column + radius + 1].reshape(-1)
        distances = (keys - query).square().sum(2).double()
        weights = torch.softmax((-distances / (2 * sigma**2)).flatten(), 0).view(distances.shape)
        shares = weights.sum(1)
        best = int(shares.argmax())
        place = int(weights[best].argmax())
        found_ids.append(best)
        found_places.append([place // across + radius, place % across + radius])
        found_weights.append(float(shares[best]))
    ids = torch.tensor(found_ids, dtype=torch.int64)
    places = torch.tensor(found_places, dtype=torch.int64).view(-1, 2)
    return Origins(tips, ids, places, torch.tensor(found_weights), machine.data.images[ids], window)


def _windows(images: Tensor, window: int) -> Tensor:
    """(N, places, C * window * window)."""
    return torch.nn.functional.unfold(images, window).transpose(1, 2)
