"""Training a network on exactly the images a machine reads.

Everything random at a step is drawn from a generator seeded by (seed, step), and the order of the images by
(seed, epoch): a run that is killed and resumed takes the very steps that it would have taken, and a checkpoint needs
to hold tensors and one number only.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from elsewhere.data import ImageSet
from elsewhere.data.images import to_unit
from elsewhere.files import atomic_path, write_text
from elsewhere.networks.trained import NetworkSpec, TrainedNetwork, save_network
from elsewhere.optional import require
from elsewhere.pictures import save_grid, save_loss_plot
from elsewhere.progress import track
from elsewhere.sampling import make_noise, sample
from elsewhere.schedules import cosine

CHECKPOINT = "checkpoint.safetensors"
NETWORK = "network.safetensors"
LOSS_LOG = "loss.jsonl"
PRECISIONS = ("no", "bf16", "fp16")


@dataclass(frozen=True)
class TrainSettings:
    """How to train.

    Attributes:
        kind: "resnet" or "unet".
        options: arguments of the network, such as {"width": 64, "padding": "circular"}.
        steps: optimiser steps; the learning rate falls to zero over them.
        batch: images a step.
        learning_rate: peak of the warm-up and cosine decay, for AdamW.
        ema: decay of the averaged weights, which are the ones kept.
        label_dropout: share of the images whose class is hidden, so that the network also works without one.
        precision: "no" (float32), "bf16" or "fp16" arithmetic, weights always float32.
        checkpoint_every, log_every, sample_every: steps between checkpoints, loss log lines and sample grids.
        seed: of weights, order, noise levels and noise.

    Raises:
        ValueError: a number out of range.
    """

    kind: str = "resnet"
    options: dict[str, Any] = field(default_factory=dict)
    steps: int = 10_000
    batch: int = 64
    learning_rate: float = 1e-3
    warmup: int = 300
    ema: float = 0.999
    label_dropout: float = 0.15
    precision: str = "no"
    checkpoint_every: int = 500
    log_every: int = 50
    sample_every: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "checkpoint_every", "log_every", "sample_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate must be between 0 and 1, got {self.learning_rate}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be in [0, 1), got {self.ema}")
        if not 0 <= self.label_dropout <= 1:
            raise ValueError(f"label_dropout must be in [0, 1], got {self.label_dropout}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, got {self.seed}")

    def rate(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, then half a cosine to zero."""
        warmup = min(self.warmup, self.steps)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        done = (step - warmup) / max(1, self.steps - warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True)
class Batch:
    """What one step learns from: noisy images, their time in [0, 1], labels, and the v to predict."""

    x_vp: Tensor
    time: Tensor
    label: Tensor | None
    target: Tensor


def draw_batch(data: ImageSet, settings: TrainSettings, step: int) -> Batch:
    """The batch of a step, a function of (data, seed, step) alone."""
    count, size = len(data), settings.batch
    positions = torch.arange(step * size, (step + 1) * size)
    index = torch.empty(size, dtype=torch.int64)
    for epoch in (positions // count).unique().tolist():
        order = torch.randperm(count, generator=_generator(settings.seed, epoch, stream=0))
        inside = positions // count == epoch
        index[inside] = order[positions[inside] % count]
    generator = _generator(settings.seed, step, stream=1)
    clean = to_unit(data.images[index])
    noise = torch.randn(clean.shape, generator=generator)
    # One random offset, times evenly spread over (0, 1): less variance from batch to batch than independent times.
    time = (torch.arange(size) + torch.rand(size, generator=generator)) / size
    time = time.clamp(1e-3, 1 - 1e-3)
    a, s = (f(time * (math.pi / 2))[:, None, None, None] for f in (torch.cos, torch.sin))
    label = None
    if data.labels is not None:
        hidden = torch.rand(size, generator=generator) < settings.label_dropout
        label = torch.where(hidden, data.num_classes, data.labels[index])
    return Batch(a * clean + s * noise, time, label, a * noise - s * clean)


def _generator(seed: int, index: int, stream: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed * 2 + stream) * 1_000_000_007 + index)


def train(
    data: ImageSet,
    out: str | Path,
    settings: TrainSettings,
    *,
    command: str = "",
    restart: bool = False,
    progress: bool = False,
) -> TrainedNetwork:
    """Train a network, or go on where a run in the same folder stopped.

    Writes in `out`: `checkpoint.safetensors` every `checkpoint_every` steps (whole or not at all, so a kill at any
    moment loses at most one interval), `loss.jsonl` and `loss.png`, `samples.png`, and at the end
    `network.safetensors` (averaged weights) and `card.md`.

    Args:
        data: the training images; classes are used when they have labels.
        out: folder, made when missing.
        settings: how to train.
        command: the command line that asked for it, for the card.
        restart: drop a checkpoint found in `out` instead of going on from it.
        progress: show a bar with the time left.

    Returns:
        The network with averaged weights.

    Raises:
        ImportError: accelerate (or, for a UNet, diffusers) is not installed.
        ValueError: a checkpoint of other data or settings is in `out`.
    """
    accelerate: Any = require("accelerate", extra="train", purpose="training")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    channels, height, width = data.shape
    spec = NetworkSpec(
        settings.kind,
        channels,
        (height, width),
        data.num_classes,
        settings.options,
        data.name,
        data.fingerprint(),
        {"command": command, **asdict(settings)},
    )
    run = _Run(spec.build(), settings, spec)
    start = 0 if restart else run.resume(out / CHECKPOINT)
    log = _LossLog(out / LOSS_LOG, start)

    accelerator = accelerate.Accelerator(mixed_precision=settings.precision)
    run.to(accelerator.device)
    module, optimizer = accelerator.prepare(run.module, run.optimizer)
    module.train()
    losses: list[Tensor] = []
    for step in track(range(start, settings.steps), settings.steps, "training", progress, done=start):
        batch = draw_batch(data, settings, step)
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(step)
        moved = (None if t is None else t.to(accelerator.device) for t in (batch.x_vp, batch.time, batch.label))
        predicted = module(*moved)
        loss = (predicted.float() - batch.target.to(accelerator.device)).square().mean()
        optimizer.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        run.average.update_parameters(run.module)
        losses.append(loss.detach())
        done = step + 1
        if done % settings.log_every == 0 or done == settings.steps:
            value = float(torch.stack(losses).mean())
            losses.clear()
            if not math.isfinite(value):
                raise ValueError(f"the loss became {value} before step {done}: lower --learning-rate")
            log.add(done, value, settings.rate(step))
        if done % settings.checkpoint_every == 0 or done == settings.steps:
            run.save(out / CHECKPOINT, done)
        if done % settings.sample_every == 0 or done == settings.steps:
            save_loss_plot(out / "loss.png", log.lines)
            _save_samples(out / "samples.png", run.network(), spec)
    network = run.network()
    save_network(out / NETWORK, network.module, spec)
    write_text(out / "card.md", model_card(spec, log.lines))
    return network


class _Run:
    """Module, averaged module and optimiser, saved and restored together."""

    def __init__(self, module: nn.Module, settings: TrainSettings, spec: NetworkSpec) -> None:
        self.module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AveragedModel(self.module, multi_avg_fn=get_ema_multi_avg_fn(settings.ema))
        self.optimizer = torch.optim.AdamW(
            self.module.parameters(), settings.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
        )
        self.spec = spec

    def to(self, device: torch.device) -> None:
        self.module.to(device)
        self.average.to(device)

    def network(self) -> TrainedNetwork:
        """The averaged network, as a copy that further training does not touch."""
        module = self.spec.build()
        module.load_state_dict(self.average.module.state_dict())
        return TrainedNetwork(module, self.spec)

    def identity(self) -> str:
        """What must agree for a checkpoint to be continued; where it came from and how often it is saved need not."""
        free = ("command", "checkpoint_every", "log_every", "sample_every")
        fields = asdict(self.spec)
        fields["training"] = {k: v for k, v in self.spec.training.items() if k not in free}
        return json.dumps(fields, sort_keys=True)

    def save(self, path: Path, step: int) -> None:
        tensors = {f"module.{k}": v for k, v in self.module.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        with atomic_path(path) as beside:
            save_file(tensors, beside, {"step": str(step), "identity": self.identity()})

    def resume(self, path: Path) -> int:
        """Load a checkpoint if there is one; the number of steps it has done."""
        if not path.exists():
            return 0
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} is damaged ({error}): train with --restart to begin again") from error
        if metadata.get("identity") != self.identity():
            raise ValueError(f"{path} is from other data or settings: use another folder, or --restart to begin again")

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.module.load_state_dict(part("module."))
        self.average.load_state_dict(part("average."))
        optimizer = self.optimizer.state_dict()
        for name, value in part("optimizer.").items():
            index, key = name.split(".", 1)
            optimizer["state"].setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict(optimizer)
        return int(metadata["step"])


class _LossLog:
    """Lines {"step", "loss", "learning_rate"}; those past the checkpoint that a run resumes from are dropped."""

    def __init__(self, path: Path, start: int) -> None:
        self.path = path
        self.lines: list[dict[str, float]] = []
        if start and path.exists():
            for text in path.read_text(encoding="utf-8").splitlines():
                try:
                    line = json.loads(text)
                except json.JSONDecodeError:  # a line cut short by a kill
                    break
                if line["step"] > start:
                    break
                self.lines.append(line)
        write_text(path, "".join(json.dumps(line) + "\n" for line in self.lines))

    def add(self, step: int, loss: float, rate: float) -> None:
        self.lines.append({"step": step, "loss": loss, "learning_rate": rate})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.lines[-1]) + "\n")


def _save_samples(path: Path, network: TrainedNetwork, spec: NetworkSpec) -> None:
    noise = make_noise(16, (spec.channels, *spec.size), seed=0)
    label = torch.arange(16) % spec.num_classes if spec.num_classes else None
    save_grid(path, sample(network, noise, cosine(20), label).images, columns=8)


def model_card(spec: NetworkSpec, lines: list[dict[str, float]]) -> str:
    """What the network is, what it was trained on and how, as Markdown."""
    training = spec.training
    last = lines[-max(1, len(lines) // 20) :]
    loss = sum(line["loss"] for line in last) / max(1, len(last))
    parameters = sum(p.numel() for p in spec.build().parameters())
    seen = training["steps"] * training["batch"]
    rows = {
        "Kind": f"{spec.kind}, options {json.dumps(spec.options)}",
        "Parameters": f"{parameters:,}",
        "Images": f"{spec.data}, {spec.channels} x {spec.size[0]} x {spec.size[1]}, {spec.num_classes} classes",
        "Fingerprint of the training set": f"`{spec.fingerprint}`",
        "Images seen": f"{seen:,} ({training['steps']:,} steps of {training['batch']})",
        "Target": "v = a n - s x0, mean squared error, times spread evenly over the cosine schedule",
        "Precision": training["precision"],
        "Weights kept": f"moving average with decay {training['ema']}",
        "Loss, mean of the last twentieth": f"{loss:.5f}",
        "Seed": str(training["seed"]),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    command = training["command"] or "elsewhere.networks.train(...)"
    return (
        f"# {spec.kind} on {spec.data}\n\n| | |\n|---|---|\n{table}\n\nMade by\n\n```\n{command}\n```\n\n"
        "Meant for comparing a trained denoiser with the closed formulas on the same images. It knows nothing but its\n"
        "training set and is no general image generator.\n"
    )
