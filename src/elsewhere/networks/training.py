"""Training a network on exactly the images a machine reads.

Everything random at a step is drawn from a generator seeded by (seed, step), and the order of the images by
(seed, epoch): a run that is killed and resumed takes the very steps that it would have taken, and a checkpoint needs
to hold tensors and a few numbers only. On one machine's processor, with one number of threads, the weights agree bit
for bit; graphics cards add numbers in no fixed order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from elsewhere.checks import check_choice, check_fields, check_whole, checked
from elsewhere.data import ImageSet
from elsewhere.data.images import to_unit
from elsewhere.files import json_object, naming, only_process, write_text
from elsewhere.layout import torch_defaults
from elsewhere.networks.card import model_card
from elsewhere.networks.trained import (
    NetworkSpec,
    TrainedNetwork,
    check_fit,
    check_training_room,
    restore,
    save_network,
)
from elsewhere.optional import require
from elsewhere.pictures import save_grid, save_loss_plot
from elsewhere.progress import track
from elsewhere.sampling import make_noise, sample
from elsewhere.schedules import cosine
from elsewhere.tensor_files import check_finite, one_line, read_tensors, write_tensors

CHECKPOINT = "checkpoint.safetensors"
NETWORK = "network.safetensors"
LOSS_LOG = "loss.jsonl"
LOSS_PLOT = "loss.png"
SAMPLES = "samples.png"
CARD = "card.md"
LOCK = ".training.lock"
PRECISIONS = ("no", "bf16", "fp16")
MOST_STEPS = 10**9


@dataclass(frozen=True)
class TrainSettings:
    """How to train.

    Attributes:
        kind: "resnet" or "unet".
        options: arguments of the network, such as {"width": 64, "padding": "circular"}.
        steps: optimiser steps; the learning rate falls to zero over them.
        batch: images a step.
        learning_rate: peak of the warm-up and cosine decay, for AdamW.
        warmup: steps over which the learning rate rises.
        ema: decay of the averaged weights, which are the ones kept; see `ramped_average`.
        label_dropout: share of the images whose class is hidden, so that the network also works without one.
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
        check_choice("precision", self.precision, PRECISIONS)

    def rate(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, then half a cosine to zero.

        Raises:
            TypeError, ValueError: not a step of this training, 0 to `steps`.
        """
        check_whole("step", step, 0, self.steps)
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
    positions = torch.arange(step * size, (step + 1) * size, device="cpu")
    index = torch.empty(size, dtype=torch.int64, device="cpu")
    for epoch in range(int(positions[0]) // count, int(positions[-1]) // count + 1):
        order = torch.randperm(count, generator=_generator(settings.seed, epoch, stream=0), device="cpu")
        inside = positions // count == epoch
        index[inside] = order[positions[inside] % count]
    generator = _generator(settings.seed, step, stream=1)
    clean = to_unit(data.images[index])
    noise = torch.randn(clean.shape, generator=generator, dtype=torch.float32, device="cpu")
    # One random time in each of as many equal parts of (0, 1) as there are images: independent times vary more.
    time = (
        torch.arange(size, device="cpu") + torch.rand(size, generator=generator, dtype=torch.float32, device="cpu")
    ) / size
    time = time.clamp(1e-3, 1 - 1e-3)
    a, s = (f(time * (math.pi / 2))[:, None, None, None] for f in (torch.cos, torch.sin))
    label = None
    if data.labels is not None:
        hidden = torch.rand(size, generator=generator, dtype=torch.float32, device="cpu") < settings.label_dropout
        label = torch.where(hidden, data.num_classes, data.labels[index].to(torch.int64))
    return Batch(a * clean + s * noise, time, label, a * noise - s * clean)


def _generator(seed: int, index: int, stream: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed * 2 + stream) * 1_000_000_007 + index)


@checked
@torch_defaults()
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
    `network.safetensors` (averaged weights) and `card.md`. One process trains in a folder at a time: it holds a lock,
    `.training.lock`, which the system frees when the process ends, however it ends.

    Args:
        data: the training images; classes are used when they have labels. Sets smaller than a batch are repeated.
        out: folder, made when missing.
        settings: how to train.
        command: the command line that asked for it, for the card.
        restart: drop the checkpoint and the network found in `out` instead of going on from there.
        progress: show a bar with the time left.

    Returns:
        The network with averaged weights.

    Raises:
        ImportError: accelerate (or, for a UNet, diffusers) is not installed.
        TypeError: an argument of another kind.
        MemoryError: a network or a batch that the machine has no memory for.
        ValueError: the checkpoint in `out` is damaged or of other data or settings; options that the network does
            not take; precision that this machine does not have; a loss that is not finite any more.
        BlockingIOError: another training is running in `out`.
        OSError: a file cannot be written, for example because the disk is full; the last checkpoint stays.
    """
    accelerate: Any = require("accelerate", extra="train", purpose="training")
    out = Path(out)
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
    check_training_room(spec, settings.batch)
    run = _Run(spec, settings)
    with _accelerator(accelerate, settings.precision) as accelerator, _alone(out):
        _tidy(out, restart)
        start = run.resume(out / CHECKPOINT)
        log = _LossLog(out / LOSS_LOG, start)
        run.to(accelerator.device)
        run.use_scaler(accelerator.scaler)
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
            last = done == settings.steps
            if done % settings.log_every == 0 or last:
                log.add(done, float(torch.stack(losses).mean()), settings.rate(step))
                losses.clear()
            if done % settings.checkpoint_every == 0 or last:
                run.save(out / CHECKPOINT, done)
            if done % settings.sample_every == 0 or last:
                save_loss_plot(out / LOSS_PLOT, log.lines)
                _save_samples(out / SAMPLES, run.network(), spec)
        network = run.network()
        save_network(out / NETWORK, network.module, spec)
        write_text(out / CARD, model_card(network, log.lines))
        return network


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the lock of a training's folder, which is made when missing.

    Raises:
        BlockingIOError: another training holds it.
    """
    out.mkdir(parents=True, exist_ok=True)
    with only_process(out / LOCK) as alone:
        if not alone:
            raise BlockingIOError(f"another training is running in {out}: wait for it to end, or choose another folder")
        yield


@contextmanager
def _accelerator(accelerate: Any, precision: str) -> Iterator[Any]:
    """An Accelerator that leaves nothing behind: the precision it is made with is one for the whole process."""
    state = accelerate.state.AcceleratorState
    mine = not state._shared_state
    try:
        try:
            accelerator = accelerate.Accelerator(mixed_precision=precision)
        except ValueError as error:
            raise ValueError(f"precision {precision!r} is not available here: {error}") from error
        if precision == "fp16" and accelerator.scaler is None:
            # Accelerate would go on in float32 without a word.
            raise ValueError(f"precision 'fp16' is not available on {accelerator.device}: choose bf16 or no")
        if accelerator.num_processes > 1:
            raise ValueError(f"training runs in one process, got {accelerator.num_processes}: start it directly")
        yield accelerator
    finally:
        if mine:
            state._reset_state()


def _tidy(out: Path, restart: bool) -> None:
    """Remove what killed runs left half written, and on a restart also what the folder held."""
    for name in (CHECKPOINT, NETWORK, LOSS_LOG, LOSS_PLOT, SAMPLES, CARD):
        # As `atomic_path` names them: eight characters of chance after the stem.
        for path in out.glob(f".{Path(name).stem}-????????{Path(name).suffix}"):
            path.unlink(missing_ok=True)
    for name in (CHECKPOINT, NETWORK) if restart else ():
        (out / name).unlink(missing_ok=True)


def ramped_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """A moving average of weights with this decay, from step n on at most n / (n + 3).

    Early weights fade faster than with the decay alone, so that a run shorter than 1 / (1 - decay) steps does not end
    as the network it began with.
    """

    def update(averaged: Any, current: Any, count: Any) -> None:
        seen = int(count)
        get_ema_multi_avg_fn(min(decay, seen / (seen + 3)))(averaged, current, count)  # type: ignore[no-untyped-call]

    return update


class _Run:
    """Module, averaged module and optimiser, saved and restored together."""

    def __init__(self, spec: NetworkSpec, settings: TrainSettings) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            module = spec.build()
        self.module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AveragedModel(self.module, multi_avg_fn=ramped_average(settings.ema))
        self.optimizer = torch.optim.AdamW(
            self.module.parameters(), settings.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
        )
        self.spec = spec
        self.settings = settings
        self._scaler: Any = None
        self._scaling: dict[str, Any] = {}

    def use_scaler(self, scaler: Any) -> None:
        """Take the loss scaling of an Accelerator (None but for fp16) where a resumed run had left it."""
        self._scaler = scaler
        if scaler is not None and self._scaling:
            if self._scaling.keys() != scaler.state_dict().keys():
                raise ValueError(
                    "the checkpoint has no scale of the loss for fp16: begin again with restart=True "
                    "(in the command line --restart)"
                )
            scaler.load_state_dict(self._scaling)

    def to(self, device: torch.device) -> None:
        self.module.to(device)
        self.average.to(device)

    def network(self) -> TrainedNetwork:
        """The averaged network, as a copy that further training does not touch."""
        return TrainedNetwork(self.spec.rebuild(self.average.module.state_dict()), self.spec)

    def identity(self) -> str:
        """What must agree for a checkpoint to be continued; where it came from and how often it is saved need not."""
        free = ("command", "checkpoint_every", "log_every", "sample_every")
        fields = asdict(self.spec)
        fields["training"] = {k: v for k, v in self.spec.training.items() if k not in free}
        return json.dumps(fields, sort_keys=True)

    def save(self, path: Path, step: int) -> None:
        """Write a checkpoint, unless the weights have broken down: then the last one stays."""
        if not all(bool(torch.isfinite(p).all()) for p in self.module.parameters()):
            raise ValueError(f"the weights are not finite after step {step}: lower the learning rate")
        tensors = self._tensors()
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        metadata = {_STEP: str(step), _IDENTITY: self.identity()}
        if self._scaler is not None:
            metadata["scaling"] = json.dumps(self._scaler.state_dict())
        write_tensors(path, tensors, metadata)

    def _tensors(self) -> dict[str, Tensor]:
        """Weights and averaged weights, as a checkpoint names them."""
        tensors = {f"{_MODULE}{k}": v for k, v in self.module.state_dict().items()}
        return tensors | {f"average.{k}": v for k, v in self.average.state_dict().items()}

    def resume(self, path: Path) -> int:
        """Load a checkpoint if there is one; the number of steps it has done.

        Nothing is loaded before everything was checked.
        """
        if not path.exists():
            return 0
        again = "begin again with restart=True (in the command line --restart)"
        try:
            metadata, tensors = read_tensors(path)
            if not is_checkpoint(metadata):
                raise ValueError("it has no step and identity")
            theirs = json_object(metadata[_IDENTITY])
            step, scaling = int(metadata[_STEP]), json_object(metadata.get("scaling", "{}"))
        except ValueError as error:
            raise ValueError(f"{path} is damaged or no checkpoint ({one_line(error)}): {again}") from error
        mine = json.loads(self.identity())
        if theirs != mine:
            raise ValueError(
                f"{path} is from other data or settings ({_differences(theirs, mine)}): use another folder, or {again}"
            )
        try:
            self._check(path, step, tensors, scaling)
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({one_line(error)}): {again}") from error
        self._scaling = scaling
        self.module.load_state_dict(_part(tensors, _MODULE))
        self.average.load_state_dict(_part(tensors, "average."))
        self._resume_optimizer(_part(tensors, "optimizer."))
        return step

    def _check(self, path: Path, step: int, tensors: dict[str, Tensor], scaling: dict[str, Any]) -> None:
        """Make sure that a checkpoint holds what `save` writes; raises ValueError."""
        if not 1 <= step <= self.settings.steps:
            raise ValueError(f"it has done {step} steps, expected 1 to {self.settings.steps}")
        numbers = all(type(value) in (int, float) and 0 <= value < math.inf for value in scaling.values())
        if not numbers or scaling.get("scale") == 0:
            raise ValueError(f"the scale of the loss is {_short(scaling)}, expected positive numbers")
        check_finite(path, tensors)
        counts = {name: value for name, value in tensors.items() if name.endswith("n_averaged")}
        if any(value.dtype != torch.int64 or value.shape != () or int(value) < 0 for value in counts.values()):
            raise ValueError("the number of averaged steps is no integer of 0 or more")
        shapes = {name: tuple(value.shape) for name, value in self._tensors().items() if name not in counts}
        for index, parameter in enumerate(self.module.parameters()):
            shapes[f"optimizer.{index}.step"] = ()
            shapes |= {f"optimizer.{index}.{moment}": tuple(parameter.shape) for moment in ("exp_avg", "exp_avg_sq")}
        check_fit(shapes, {name: value for name, value in tensors.items() if name not in counts})
        never = [
            name for name in tensors if name.endswith((".step", ".exp_avg_sq")) and bool((tensors[name] < 0).any())
        ]
        if never:
            raise ValueError(f"{never[0]} is negative")

    def _resume_optimizer(self, tensors: dict[str, Tensor]) -> None:
        parameters = list(self.module.parameters())
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, key = name.split(".", 1)
            # The moments are laid out in memory as an uninterrupted run has them, so that sums round alike.
            laid_out = value if value.ndim == 0 else torch.empty_like(parameters[int(index)]).copy_(value)
            state.setdefault(int(index), {})[key] = laid_out.detach()
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})


_MODULE = "module."
_AVERAGE = "average.module."
_STEP = "step"
_IDENTITY = "identity"


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _differences(theirs: dict[str, Any], mine: dict[str, Any]) -> str:
    """Which fields of two identities differ, such as "steps 6000, now 8000"."""
    pairs = []
    training = theirs.get("training")
    for old, new in ((theirs, mine), (training if isinstance(training, dict) else {}, mine["training"])):
        for name in sorted(old.keys() | new.keys()):
            if name != "training" and old.get(name) != new.get(name):
                pairs.append(f"{name} {_short(old.get(name))}, now {_short(new.get(name))}")
    return "; ".join(dict.fromkeys(pairs))


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:12] + "..."


def is_checkpoint(metadata: Mapping[str, str]) -> bool:
    """Whether the metadata of a file are those of a training's checkpoint."""
    return _IDENTITY in metadata and _STEP in metadata


def read_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> TrainedNetwork:
    """The averaged weights of a checkpoint, to look at a run in progress.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, or not a checkpoint of this version.
        ImportError: a UNet without diffusers installed.
    """
    path = Path(path)
    return average_of(path, *read_tensors(path), device)


def average_of(
    path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor], device: str | torch.device
) -> TrainedNetwork:
    """The averaged network in the contents of a checkpoint; raises what `read_checkpoint` raises."""
    if not is_checkpoint(metadata):
        raise ValueError(f"{path} is not a checkpoint: expected a file written by `elsewhere train`")
    return restore(path, metadata[_IDENTITY], _part(tensors, _AVERAGE), device)


class _LossLog:
    """Lines {"step", "loss", "learning_rate"}; those past the checkpoint that a run resumes from are dropped."""

    def __init__(self, path: Path, start: int) -> None:
        self.path = path
        self.lines: list[dict[str, float]] = []
        if start and path.exists():
            for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    line = {name: json.loads(text)[name] for name in ("step", "loss", "learning_rate")}
                except (ValueError, KeyError, TypeError, RecursionError):  # a line cut short by a kill, or edited
                    break
                if not all(type(value) in (int, float) for value in line.values()) or line["step"] > start:
                    break
                self.lines.append(line)
        # No file before there is a line: a run that fails at its first step leaves nothing.
        if path.exists():
            write_text(path, "".join(json.dumps(line) + "\n" for line in self.lines))

    def add(self, step: int, loss: float, rate: float) -> None:
        if not math.isfinite(loss):
            raise ValueError(f"the loss became {loss} before step {step}: lower the learning rate")
        self.lines.append({"step": step, "loss": loss, "learning_rate": rate})
        with naming(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.lines[-1]) + "\n")


def _save_samples(path: Path, network: TrainedNetwork, spec: NetworkSpec) -> None:
    noise = make_noise(16, (spec.channels, *spec.size), seed=0)
    label = torch.arange(16, device="cpu") % spec.num_classes if spec.num_classes else None
    save_grid(path, sample(network, noise, cosine(20), label).images, columns=8)
