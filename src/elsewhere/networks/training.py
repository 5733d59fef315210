"""Training a network on exactly the images a machine reads.

Everything random at a step is drawn from a generator seeded by (seed, step), and the order of the images by
(seed, epoch): a run that is killed and resumed takes the very steps that it would have taken, and a checkpoint needs
to hold tensors and a few numbers only. On one machine's processor, with one number of threads, the weights agree bit
for bit; graphics cards add numbers in no fixed order.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from elsewhere.checks import checked
from elsewhere.data import ImageSet, LatentSet
from elsewhere.files import naming, only_process, write_text
from elsewhere.layout import torch_defaults
from elsewhere.networks.card import model_card
from elsewhere.networks.checkpoints import TrainingRun
from elsewhere.networks.train_settings import TrainSettings, draw_batch
from elsewhere.networks.trained import NetworkSpec, TrainedNetwork, check_training_room, save_network
from elsewhere.optional import require
from elsewhere.pictures import save_grid, save_loss_plot
from elsewhere.progress import track
from elsewhere.sampling import make_noise, sample
from elsewhere.schedules import cosine
from elsewhere.text import load_encoder

CHECKPOINT = "checkpoint.safetensors"
NETWORK = "network.safetensors"
LOSS_LOG = "loss.jsonl"
LOSS_PLOT = "loss.png"
SAMPLES = "samples.png"
CARD = "card.md"
LOCK = ".training.lock"

SAMPLED = 16
"""Pictures in `samples.png`."""


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
        data: the training images; classes are used when they have labels, captions when the settings name a text
            model. Sets smaller than a batch are repeated.
        out: folder, made when missing.
        settings: how to train.
        command: the command line that asked for it, for the card.
        restart: drop the checkpoint and the network found in `out` instead of going on from there.
        progress: show a bar with the time left.

    Returns:
        The network with averaged weights.

    Raises:
        ImportError: accelerate (or, for a UNet, diffusers; for captions, sentence-transformers) is not installed.
        FileNotFoundError: no such text model.
        TypeError: an argument of another kind.
        MemoryError: a network or a batch that the machine has no memory for.
        ValueError: a text model for images without captions; the checkpoint in `out` is damaged or of other data or
            settings; options that the network does not take; precision that this machine does not have; a loss that is
            not finite any more.
        BlockingIOError: another training is running in `out`.
        OSError: a file cannot be written, for example because the disk is full; the last checkpoint stays.
    """
    accelerate: Any = require("accelerate", extra="train", purpose="training")
    out = Path(out)
    channels, height, width = data.shape
    text = _embed(data, settings.text_model)
    spec = NetworkSpec(
        settings.kind,
        channels,
        (height, width),
        data.num_classes if text is None else 0,
        settings.options,
        data.name,
        data.fingerprint(),
        {"command": command, **asdict(settings), **_about(data, text), **_autoencoder(data)},
        settings.text_model,
        0 if text is None else text.shape[1],
    )
    check_training_room(spec, settings.batch)
    run = TrainingRun(spec, settings)
    with _accelerator(accelerate, settings.precision) as accelerator, _alone(out):
        _tidy(out, restart)
        start = run.resume(out / CHECKPOINT)
        log = _LossLog(out / LOSS_LOG, start)
        run.to(accelerator.device)
        run.use_scaler(accelerator.scaler)
        module, optimizer = accelerator.prepare(run.module, run.optimizer)
        module.train()
        losses: list[Tensor] = []
        words = () if text is None else (text,)
        for step in track(range(start, settings.steps), settings.steps, log.title, progress, done=start):
            batch = draw_batch(data, settings, step, *words)
            for group in optimizer.param_groups:
                group["lr"] = settings.rate(step)
            given = (batch.x_vp, batch.time, batch.label, batch.text)
            predicted = module(*(None if t is None else t.to(accelerator.device) for t in given))
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
                _save_samples(out / SAMPLES, _with_captions(run.network(), text), spec, data)
        network = run.network()
        save_network(out / NETWORK, network.module, spec)
        write_text(out / CARD, model_card(network, log.lines))
        return network


def _embed(data: ImageSet, model: str) -> Tensor | None:
    """Embeddings of the captions, float32 (N, width); None where no model is asked for.

    Raises:
        ValueError: the images have no captions.
    """
    if not model:
        return None
    if data.captions is None:
        raise ValueError(f"{data.name} has no captions: leave text_model (--captions) out, or take a set such as emoji")
    found = load_encoder(model).encoded(data.captions)
    # An image without a caption is learnt as one without words.
    return (
        found
        * torch.tensor([bool(caption.strip()) for caption in data.captions], dtype=torch.bool, device="cpu")[:, None]
    )


def _about(data: ImageSet, text: Tensor | None) -> dict[str, str]:
    """Which captions were learnt: the fingerprint of a set is that of its pixels and classes."""
    if text is None:
        return {}
    return {"captions": hashlib.sha256(json.dumps(data.captions).encode()).hexdigest()}


def _with_captions(network: TrainedNetwork, text: Tensor | None) -> TrainedNetwork:
    """Bound to as many captions as `_save_samples` draws pictures, spread over the set."""
    if text is None:
        return network
    return network.with_text(text[torch.arange(SAMPLED, device="cpu") * len(text) // SAMPLED])


def _autoencoder(data: ImageSet) -> dict[str, str]:
    """What the file of a network on latents says of their autoencoder."""
    if not isinstance(data, LatentSet) or data.autoencoder is None:
        return {}
    return {"autoencoder": data.autoencoder.name, "autoencoder_fingerprint": data.autoencoder.fingerprint}


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

    def title(self) -> str:
        """What the progress bar says: the last mean loss, where there is one."""
        return f"training, loss {self.lines[-1]['loss']:.3g}" if self.lines else "training"

    def add(self, step: int, loss: float, rate: float) -> None:
        if not math.isfinite(loss):
            raise ValueError(f"the loss became {loss} before step {step}: lower the learning rate")
        self.lines.append({"step": step, "loss": loss, "learning_rate": rate})
        with naming(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.lines[-1]) + "\n")


def _save_samples(path: Path, network: TrainedNetwork, spec: NetworkSpec, data: ImageSet) -> None:
    """A grid of images; of latents what their autoencoder makes of them, or nothing where it is unknown."""
    autoencoder = data.autoencoder if isinstance(data, LatentSet) else None
    if autoencoder is None and isinstance(data, LatentSet):
        return
    noise = make_noise(SAMPLED, (spec.channels, *spec.size), seed=0)
    label = torch.arange(SAMPLED, device="cpu") % spec.num_classes if spec.num_classes else None
    images = sample(network, noise, cosine(20), label).images
    save_grid(path, images if autoencoder is None else autoencoder.decode(images), columns=8)
