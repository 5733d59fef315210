"""How to train a network, and what one step learns from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from elsewhere.checks import check_choice, check_fields, check_whole
from elsewhere.data import ImageSet

PRECISIONS = ("no", "bf16", "fp16")
MOST_STEPS = 10**9


@dataclass(frozen=True)
class TrainSettings:
    """How to train.

    Attributes:
        kind: "resnet", "unet" or "dit".
        options: arguments of the network, such as {"width": 64, "padding": "circular"}.
        steps: optimiser steps; the learning rate falls to zero over them.
        batch: images a step.
        learning_rate: peak of the warm-up and cosine decay, for AdamW.
        warmup: steps over which the learning rate rises; a tenth of all steps if that is less.
        ema: decay of the averaged weights, which are the ones kept; see `ramped_average`.
        label_dropout: share of the images whose class is hidden, so that the network also works without one.
        text_model: sentence encoder whose embeddings of the captions the network learns, as
            `elsewhere.text.load_encoder` takes it: "all-MiniLM-L6-v2" or a folder; "" for none. A network with words
            learns no classes.
        text_dropout: share of the images whose caption is hidden, so that the network also works without words.
        precision: "no" (float32), "bf16" or "fp16" (graphics cards only) arithmetic, weights always float32.
        checkpoint_every, log_every, sample_every: steps between checkpoints, loss log lines and sample grids.
        seed: of weights, order, noise levels and noise.

    Raises:
        TypeError: an argument of another kind.
        ValueError: a number out of range, an unknown precision.
    """

    kind: str = "resnet"
    options: dict[str, Any] = field(default_factory=dict)
    steps: int = 10_000
    batch: int = 64
    learning_rate: float = 1e-3
    warmup: int = 300
    ema: float = 0.999
    label_dropout: float = 0.15
    text_model: str = ""
    text_dropout: float = 0.1
    precision: str = "no"
    checkpoint_every: int = 500
    log_every: int = 50
    sample_every: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"steps": 1, "batch": 1, "checkpoint_every": 1, "log_every": 1, "sample_every": 1, "warmup": 0}
        check_fields(self)
        for name, smallest in least.items():
            # A generator is seeded by the number of a step.
            check_whole(name, getattr(self, name), smallest, limit=MOST_STEPS)
        check_whole("seed", self.seed, 0)
        if self.seed >= 2**31:
            raise ValueError(f"seed must be below {2**31}, got {self.seed}")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate must be between 0 and 1, got {self.learning_rate}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be in [0, 1), got {self.ema}")
        if not 0 <= self.label_dropout <= 1:
            raise ValueError(f"label_dropout must be in [0, 1], got {self.label_dropout}")
        if not 0 < self.text_dropout < 1:
            raise ValueError(f"text_dropout must be between 0 and 1, got {self.text_dropout}")
        check_choice("precision", self.precision, PRECISIONS)

    def rate(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, then half a cosine to zero.

        Raises:
            TypeError, ValueError: not a step of this training, 0 to `steps`.
        """
        check_whole("step", step, 0, self.steps)
        # A short training is not all warm-up.
        warmup = min(self.warmup, max(1, self.steps // 10))
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        done = (step - warmup) / max(1, self.steps - warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True)
class Batch:
    """What one step learns from: noisy images, their time in [0, 1], labels, the v to predict, and embeddings
    of captions, zero where they are hidden."""

    x_vp: Tensor
    time: Tensor
    label: Tensor | None
    target: Tensor
    text: Tensor | None = None


def draw_batch(data: ImageSet, settings: TrainSettings, step: int, text: Tensor | None = None) -> Batch:
    """The batch of a step, a function of (data, text, seed, step) alone; `text` (N, width) embeds the captions."""
    count, size = len(data), settings.batch
    positions = torch.arange(step * size, (step + 1) * size, device="cpu")
    index = torch.empty(size, dtype=torch.int64, device="cpu")
    for epoch in range(int(positions[0]) // count, int(positions[-1]) // count + 1):
        order = torch.randperm(count, generator=_generator(settings.seed, epoch, stream=0), device="cpu")
        inside = positions // count == epoch
        index[inside] = order[positions[inside] % count]
    generator = _generator(settings.seed, step, stream=1)
    clean = data[index].scaled()
    noise = torch.randn(clean.shape, generator=generator, dtype=torch.float32, device="cpu")
    # One random time in each of as many equal parts of (0, 1) as there are images: independent times vary more.
    time = (
        torch.arange(size, device="cpu") + torch.rand(size, generator=generator, dtype=torch.float32, device="cpu")
    ) / size
    time = time.clamp(1e-3, 1 - 1e-3)
    a, s = (f(time * (math.pi / 2))[:, None, None, None] for f in (torch.cos, torch.sin))
    label = None
    if text is not None:
        shown = torch.rand(size, generator=generator, dtype=torch.float32, device="cpu") >= settings.text_dropout
        text = text[index] * shown[:, None]
    elif data.labels is not None:
        hidden = torch.rand(size, generator=generator, dtype=torch.float32, device="cpu") < settings.label_dropout
        label = torch.where(hidden, data.num_classes, data.labels[index].to(torch.int64))
    return Batch(a * clean + s * noise, time, label, a * noise - s * clean, text)


def _generator(seed: int, index: int, stream: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed * 2 + stream) * 1_000_000_007 + index)
